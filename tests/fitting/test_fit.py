"""`lightkorllm fit`: numbers from headers alone, what fits, and what to change where it doesn't."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fake_hub
import hollow
import manual
from lightkorllm import catalog, cli, fitting, gguf_header, memory
from lightkorllm.errors import LightKorError, OptionError
from lightkorllm.fitting import FitOptions, Place, Verdict, places, report

GIB = memory.GIB
KANANA = "kakaocorp/kanana-1.5-2.1b-instruct-2505"


def card(size: float, name: str = "") -> Place:
    return replace(places.find(vram=size), name=name or f"{size:g} GB 카드")


def ram(size: float) -> Place:
    return Place("ram", "주 메모리", int(size * GIB), int(size * GIB))


def judged(model: Path | str, place: Place, **options: Any) -> Verdict:
    return fitting.judge(fitting.find(str(model)), place, FitOptions(**options))


@pytest.fixture
def llama_2_ko(tmp_path: Path) -> Path:
    config = {**hollow.LLAMA_2_KO, "quantization_config": hollow.GPTQ}
    return hollow.write(tmp_path / "ko", config, hollow.llama(hollow.LLAMA_2_KO, group=128))


@pytest.fixture
def llama_3(tmp_path: Path) -> Path:
    return hollow.write(tmp_path / "l3", hollow.LLAMA_3_8B, hollow.llama(hollow.LLAMA_3_8B))


@pytest.fixture
def polyglot(tmp_path: Path) -> Path:
    tensors = hollow.gpt_neox(hollow.POLYGLOT_12_8B)
    return hollow.write(tmp_path / "polyglot", hollow.POLYGLOT_12_8B, tensors)


def test_the_originals_own_figures_come_out(llama_2_ko: Path) -> None:
    """It said: 5 GB loaded, at most 7 GB while answering."""
    found = judged(llama_2_ko, card(8), context_length=2048)
    assert found.loaded is not None
    assert 4.3 <= found.loaded / GIB <= 5.0
    assert found.total / GIB <= 7
    assert found.fits


@pytest.mark.case("Q18")
def test_the_context_and_the_heads_of_keys_count(llama_2_ko: Path, llama_3: Path) -> None:
    def cache(model: Path, context: int) -> float:
        (part,) = (p for p in judged(model, card(24), context_length=context).parts
                   if p.name == "KV 캐시")  # fmt: skip
        return part.size / GIB

    assert cache(llama_2_ko, 1024) == 0.5
    assert cache(llama_2_ko, 2048) == 1
    assert cache(llama_3, 2048) == 0.25
    assert cache(llama_3, 32768) == 4
    assert cache(llama_3, 0) == 0.5  # as serve chooses, not the model's 131,072


@pytest.mark.case("Q18")
def test_parts_add_up_and_requests_multiply_the_cache(llama_3: Path) -> None:
    one, four = (judged(llama_3, card(24), n_parallel=number) for number in (1, 4))
    assert one.total == sum(part.size for part in one.parts)
    assert four.total - one.total == pytest.approx(3 * 0.5 * GIB, rel=0.15)


def test_the_longest_context_fits_and_a_step_more_does_not(llama_3: Path) -> None:
    longest = judged(llama_3, card(24)).longest
    assert 0 < longest < 131_072
    assert judged(llama_3, card(24), context_length=longest).fits
    assert not judged(llama_3, card(24), context_length=longest + 256).fits


def test_the_longest_context_is_the_models_own_where_all_fits(llama_2_ko: Path) -> None:
    assert judged(llama_2_ko, card(24)).longest == 2048


def test_a_local_window_saves_on_transformers_alone(tmp_path: Path) -> None:
    gemma = hollow.write(tmp_path / "gemma", hollow.GEMMA_3_4B, hollow.gemma3_4b())
    on_card = judged(gemma, card(24), context_length=8192)
    in_llamacpp = judged(gemma, ram(24), context_length=8192)
    caches = [next(p.size for p in v.parts if p.name == "KV 캐시") for v in (on_card, in_llamacpp)]
    each = 2 * 4 * 256 * 2
    assert caches == [each * (5 * 8192 + 29 * 1024), each * 34 * 8192]
    assert "1,024토큰" in " ".join(in_llamacpp.notes)


def test_sixteen_bits_that_are_too_many_are_to_be_quantised(llama_3: Path) -> None:
    found = judged(llama_3, card(8))
    assert not found.fits
    (change,) = found.changes
    assert change.words == f"4비트로 양자화(lightkorllm quantize --model {llama_3})"
    assert change.total <= card(8).room


def test_fewer_requests_come_before_a_shorter_context(llama_2_ko: Path) -> None:
    found = judged(llama_2_ko, card(6), n_parallel=4)
    assert not found.fits
    assert [change.words for change in found.changes] == ["--n_parallel 1", "--context_length 512"]
    for change in found.changes:
        assert change.total <= card(6).room


def test_narrower_keys_and_values_come_first_in_llamacpp(llama_2_ko: Path) -> None:
    place = ram(5.5)
    found = judged(llama_2_ko, place, n_parallel=1)
    assert not found.fits
    assert found.changes[0].words == "--kv_type q8_0"
    assert judged(llama_2_ko, place, n_parallel=1, kv_type="q8_0").fits


def test_what_is_left_is_a_part_of_the_layers_on_the_card(
    llama_2_ko: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ram", lambda: memory.Space(16 * GIB, 16 * GIB))
    (change,) = judged(llama_2_ko, card(4)).changes
    assert "--engine llamacpp --gpu_layers 2" in change.words
    assert change.total <= card(4).room


def test_the_changes_of_a_change_are_what_fit_then_says(llama_2_ko: Path) -> None:
    change = judged(llama_2_ko, card(6), n_parallel=4).changes[0]
    again = judged(llama_2_ko, card(6), n_parallel=1)
    assert again.fits
    assert again.total == change.total


def test_serving_without_a_card_counts_the_copy_but_does_not_need_it(llama_2_ko: Path) -> None:
    found = judged(llama_2_ko, ram(8))
    copied = next(part.size for part in found.parts if part.name == "가중치의 사본")
    assert copied == found.spare == pytest.approx(6.476e9 * 4.5 / 8, rel=0.01)
    assert found.total > ram(8).room
    assert found.fits


def test_gtx_16_is_told_to_take_gguf_and_computes_in_wide_numbers(llama_3: Path) -> None:
    place = replace(card(6, "NVIDIA GeForce GTX 1660"), capability=(7, 5), maker="nvidia")
    found = judged(llama_3, place)
    assert "float32" in found.how
    assert any("GGUF" in note for note in found.notes)


def test_an_engine_that_cannot_run_it_is_refused() -> None:
    with pytest.raises(OptionError, match=r"llama\.cpp로만"):
        judged("", card(8), engine="transformers")


@pytest.mark.case("F20")
def test_a_12_8b_model_on_a_free_t4_is_told_no_and_what_would_fit(polyglot: Path) -> None:
    t4 = replace(card(15, "Tesla T4"), capability=(7, 5), maker="nvidia")
    for train in (False, True):
        found = judged(polyglot, t4, train=train)
        assert not found.fits
        assert found.changes[0].words.startswith("4비트로 양자화")
        assert found.smaller
        told = "\n".join(report.lines(found))
        assert "들어가지 않습니다" in told
        for name in found.smaller:
            assert name in told
            entry = catalog.find(name)
            assert entry is not None
            assert entry.four_bit * GIB <= t4.room


@pytest.mark.case("F20")
def test_4_bit_training_of_7b_agrees_with_what_others_measured(llama_2_ko: Path) -> None:
    """LLaMA-Factory's wiki: 6, 7 and 9 GB at 1k, 2k and 4k tokens (landscape.md, E4)."""
    for tokens, measured in ((1024, 6), (2048, 7), (4096, 9)):
        found = judged(llama_2_ko, card(10), train=True, max_length=tokens, train_batch_size=1)
        assert "checkpointing 켬" in found.parts[2].reason
        assert found.total / 1e9 == pytest.approx(measured, rel=0.2)


def test_the_longest_row_can_be_learned_and_a_longer_one_not(llama_2_ko: Path) -> None:
    longest = judged(llama_2_ko, card(8), train=True).longest
    options: dict[str, Any] = {"train": True, "train_batch_size": 1}
    assert judged(llama_2_ko, card(8), max_length=longest, **options).fits


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_page_shows_what_the_command_writes(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (shown,) = (
        block.text
        for block in manual.blocks(manual.page("models.md", language))
        if block.text.startswith("$")
    )
    command, _, expected = shown.partition("\n")
    config = {**hollow.LLAMA_2_KO, "quantization_config": hollow.GPTQ}
    tensors = hollow.llama(hollow.LLAMA_2_KO, group=128)
    hollow.write(tmp_path / "llama-2-ko-7b-4bit", config, tensors)
    monkeypatch.chdir(tmp_path)

    assert cli.main(command.split()[2:]) == 0
    assert capsys.readouterr().out == expected


def test_the_numbers_are_told_as_json(llama_2_ko: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", str(llama_2_ko), "--vram", "6", "--context", "2048", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fits"] is True
    assert told["total"] == sum(told["parts"].values())
    assert told["longest"] == 2048
    assert told["command"].startswith("lightkorllm serve --model ")


def test_a_sentence_says_that_it_fits_and_how_to_start(
    llama_2_ko: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fit", str(llama_2_ko), "--vram", "6", "--context", "2048"]) == 0
    told = capsys.readouterr().out
    assert "들어갑니다." in told
    assert "--context_length 2048 --n_parallel 1" in told
    assert "serve의 기본값은 동시에 4개라" in told


@pytest.mark.parametrize("flag", ["--vram", "--context", "--n_parallel"])
def test_a_nonsense_number_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", flag, "-1"]) == 2
    assert "이상이어야" in capsys.readouterr().err


def _on_hub(argv: list[str], server: fake_hub.FakeHub, home: Path) -> dict[str, Any]:
    environment = {
        **os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", **fake_hub.cache_in(home),
        "HF_HUB_DISABLE_XET": "1", "PYTHONUTF8": "1",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "lightkorllm", "fit", *argv, "--json"],
        env=environment, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_a_repository_is_judged_by_its_settings_and_headers_alone(tmp_path: Path) -> None:
    tensors = hollow.llama(hollow.LLAMA_3_8B, dtype="BF16")
    halves = [dict(list(tensors.items())[part::2]) for part in (0, 1)]
    index = {"weight_map": {name: f"model-{n}.safetensors"
                            for n, half in enumerate(halves) for name in half}}  # fmt: skip
    files = {
        "config.json": json.dumps(hollow.LLAMA_3_8B).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{f"model-{n}.safetensors": fake_hub.Hollow(*hollow.header(half))
           for n, half in enumerate(halves)},
    }  # fmt: skip
    with fake_hub.running({KANANA: files}) as server:
        told = _on_hub(["kanana-1.5-2.1b", "--vram", "24"], server, tmp_path / "home")
    assert told["parameters"] == 8_030_261_248
    assert told["parts"]["가중치"] == 2 * told["parameters"]
    assert told["command"].startswith("lightkorllm serve --model kanana-1.5-2.1b ")


def test_an_old_gptq_repository_is_judged_too(tmp_path: Path) -> None:
    tensors = hollow.llama(hollow.LLAMA_2_KO, group=128)
    files = {
        "config.json": json.dumps(hollow.LLAMA_2_KO).encode(),
        "quantize_config.json": json.dumps(hollow.GPTQ_SETTINGS).encode(),
        "gptq_model-4bit-128g.safetensors": fake_hub.Hollow(*hollow.header(tensors)),
        "pytorch_model.bin": b"pickle",
    }
    with fake_hub.running({"WGNW/llama-2-7b-ko-auto-gptq-full-v2": files}) as server:
        told = _on_hub(["llama-2-ko-7b-gptq", "--vram", "8"], server, tmp_path / "home")
        assert not [path for path in server.paths if path.endswith(".bin")]
    assert 4.3 <= told["loaded"] / GIB <= 5.0


def test_a_repository_of_gguf_files_is_judged_by_the_usual_one(
    tmp_path: Path, embedded_gguf: Path
) -> None:
    start = embedded_gguf.read_bytes()[: gguf_header.read(embedded_gguf).data_start]
    size = embedded_gguf.stat().st_size
    files: dict[str, bytes] = {
        "model-Q4_K_M.gguf": fake_hub.Hollow(start, size),
        "model-Q8_0.gguf": fake_hub.Hollow(b"", size),
    }
    with fake_hub.running({"ours/ko-GGUF": files}) as server:
        told = _on_hub(["ours/ko-GGUF", "--vram", "4"], server, tmp_path / "home")
    assert told["parts"]["가중치"] == size


def test_a_repository_that_is_not_there_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["fit", "nobody/nothing"]) == 2
    assert "nobody/nothing" in capsys.readouterr().err


def test_a_broken_folder_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LightKorError, match="가중치 파일"):
        fitting.find(str(tmp_path))


def test_models_marks_what_fits_and_leaves_out_what_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["models", "--vram", "4", "--json"]) == 0
    told = {each["name"]: each["fits"] for each in json.loads(capsys.readouterr().out)["models"]}
    assert told["hyperclovax-0.5b"] == "as_it_comes"
    assert told["kanana-1.5-2.1b"] == "four_bit"
    assert told["kanana-1.5-8b"] is None

    assert cli.main(["models", "--vram", "4"]) == 0
    shown = capsys.readouterr().out
    assert "kanana-1.5-2.1b  [4비트로]" in shown
    assert "kanana-1.5-8b" not in shown
    assert "비상업" in shown

    assert cli.main(["models", "--vram", "4", "--all"]) == 0
    assert all(entry.name in capsys.readouterr().out for entry in catalog.entries()[:1])
