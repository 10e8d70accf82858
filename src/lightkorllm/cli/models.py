"""한국어를 하는 모델의 목록과, 그중 들어가는 것을 보여 줍니다."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightkorllm.catalog import Entry
    from lightkorllm.fitting.places import Place


def run(argv: Sequence[str], *, prog: str) -> None:
    """The catalogue, with what of it fits the card of `--vram` or what is found here."""
    from lightkorllm.fitting.options import ModelsOptions
    from lightkorllm.options import load

    options = load(ModelsOptions, argv, prog=prog)

    from dataclasses import asdict

    from lightkorllm import catalog
    from lightkorllm.cli import _json
    from lightkorllm.fitting import places

    place = places.find(vram=options.vram)
    rated = [(entry, fit(entry, place)) for entry in catalog.entries()]
    if options.json:
        told = [{**asdict(entry), "fits": how or None} for entry, how in rated]
        _json.show({"place": {"name": place.name, "room": place.room}, "models": told})
        return
    _show([each for each in rated if each[1] or options.all], place, of=len(rated))


def fit(entry: Entry, place: Place) -> str:
    """How an entry fits: `as_it_comes`, only `four_bit`, or "" not at all."""
    from lightkorllm.memory import GIB

    if entry.as_it_comes * GIB <= place.room:
        return "as_it_comes"
    return "four_bit" if entry.four_bit * GIB <= place.room else ""


def _show(rated: list[tuple[Entry, str]], place: Place, *, of: int) -> None:
    from lightkorllm.memory import text

    words = {"as_it_comes": "그대로", "four_bit": "4비트로", "": "-"}
    print(f"{place.name}: {text(place.free)} 남음")
    for entry, how in rated:
        licence = entry.licence or "모델 카드의 라이선스"
        form = "4비트 GPTQ" if entry.format == "gptq" else "16비트"
        print(
            f"\n{entry.name}  [{words[how]}]\n"
            f"  {entry.repository}\n"
            f"  {entry.parameters / 1e9:.1f}B, {form}{', GGUF도 있음' if entry.gguf else ''}, "
            f"문맥 {entry.context:,}, 4비트로 약 {entry.four_bit:g} GB\n"
            f"  {licence}{' (비상업)' if entry.non_commercial else ''}, "
            f"프롬프트 형식 {entry.prompt_format}\n"
            f"  {entry.advice}"
        )
    if len(rated) < of:
        print(f"\n{of - len(rated)}개는 들어가지 않아 뺐습니다(--all로 모두 봅니다).")
    print(
        "\n그대로: 받은 그대로 들어감, 4비트로: quantize로 줄이거나 4비트 GGUF를 받으면 들어감."
        "\n쓰기: lightkorllm serve --model 이름, 자세히: lightkorllm fit 이름"
        "\n메모리는 4비트에 약 2,000토큰일 때의 어림입니다. 라이선스는 쓰기 전에 읽어 주세요."
    )
