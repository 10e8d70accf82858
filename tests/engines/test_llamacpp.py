"""llama.cpp in its child process: real answers, real crashes, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings
from lightkorllm.errors import EngineFailed, ModelBroken, ModelNotFound
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams

pytestmark = pytest.mark.model

ASK = GenerationRequest(
    "### 사용자:\n한국의 수도는 어디인가요?\n\n### AI:\n", SamplingParams(max_tokens=16)
)


def _ask(seed: int | None = None, *, temperature: float = 1.0, tokens: int = 24) -> SamplingParams:
    return SamplingParams(max_tokens=tokens, temperature=temperature, seed=seed)


def _text(engine: LlamaCppEngine, params: SamplingParams) -> str:
    return Reply.join(engine.stream(GenerationRequest(ASK.prompt, params))).text


@pytest.fixture
def own_engine(embedded_gguf: Path) -> Iterator[LlamaCppEngine]:
    """An engine that the test may crash."""
    engine = LlamaCppEngine(LlamaCppSettings(embedded_gguf, context_length=512, n_parallel=2))
    yield engine
    engine.close()


def _gone(pid: int, within: float = 10.0) -> bool:
    end = time.monotonic() + within
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.case("S28")
def test_temperature_zero_is_greedy(llamacpp: LlamaCppEngine) -> None:
    assert _text(llamacpp, _ask(1, temperature=0)) == _text(llamacpp, _ask(2, temperature=0))


@pytest.mark.case("S29")
def test_the_same_seed_gives_the_same_text_and_another_another(llamacpp: LlamaCppEngine) -> None:
    first, again, other = (_text(llamacpp, _ask(seed)) for seed in (42, 42, 43))
    assert first == again
    assert first != other


@pytest.mark.case("S29")
def test_without_a_seed_two_fresh_starts_differ(embedded_gguf: Path) -> None:
    texts = []
    for _ in range(2):
        engine = LlamaCppEngine(LlamaCppSettings(embedded_gguf, context_length=512, n_parallel=1))
        texts.append(_text(engine, _ask()))
        engine.close()
    assert texts[0] != texts[1]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crash_ends_the_answer_clearly_and_the_next_one_succeeds(
    own_engine: LlamaCppEngine, how: signal.Signals
) -> None:
    stream = own_engine.stream(GenerationRequest(ASK.prompt, _ask(tokens=400)))
    next(chunk for chunk in stream if chunk.text)
    assert own_engine.pid
    crashed = own_engine.pid
    os.kill(crashed, how)
    with pytest.raises(EngineFailed, match="끊"):
        list(stream)
    started = time.monotonic()
    assert Reply.join(own_engine.stream(ASK)).usage.completion_tokens > 0
    assert time.monotonic() - started < 10
    assert own_engine.restarts == 1
    assert own_engine.pid != crashed
    assert own_engine.slots.busy == 0


def test_a_crash_between_requests_is_not_noticed_by_the_next_one(
    own_engine: LlamaCppEngine,
) -> None:
    assert own_engine.pid
    os.kill(own_engine.pid, signal.SIGKILL)
    assert own_engine.count_tokens("안녕") > 1
    assert Reply.join(own_engine.stream(ASK)).usage.completion_tokens > 0


def test_closing_the_engine_ends_its_child(embedded_gguf: Path) -> None:
    engine = LlamaCppEngine(LlamaCppSettings(embedded_gguf, context_length=256, n_parallel=1))
    pid = engine.pid
    assert pid
    engine.close()
    engine.close()
    assert _gone(pid, within=3)


@pytest.mark.parametrize("moment", ["loading", "loaded"])
def test_the_child_ends_even_when_its_parent_is_killed(embedded_gguf: Path, moment: str) -> None:
    program = f"""
        import threading, time
        from pathlib import Path
        from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings
        settings = LlamaCppSettings(Path({str(embedded_gguf)!r}), context_length=256, n_parallel=1)
        held = []
        threading.Thread(target=lambda: held.append(LlamaCppEngine(settings))).start()
        while {moment == "loaded"} and not held:
            time.sleep(0.01)
        time.sleep(0.4)
        print("now", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        said = parent.stdout.readline()
        children = psutil.Process(parent.pid).children()
        parent.kill()
        assert said == b"now\n"
        (child,) = children
        assert _gone(child.pid, within=5)


@pytest.mark.case("K19")
def test_a_model_under_a_hangul_path_with_spaces_loads(embedded_gguf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "모델 저장소" / "라마　7b"
    folder.mkdir(parents=True)
    shutil.copy(embedded_gguf, folder / "한국어 모델.gguf")
    engine = LlamaCppEngine(
        LlamaCppSettings(folder / "한국어 모델.gguf", context_length=256, n_parallel=1)
    )
    try:
        assert Reply.join(engine.stream(ASK)).usage.completion_tokens > 0
        assert engine.info.name == "한국어 모델"
    finally:
        engine.close()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="없는모델"):
        LlamaCppEngine(LlamaCppSettings(tmp_path / "없는모델.gguf"))


def test_a_file_that_breaks_off_is_refused_with_its_name(
    embedded_gguf: Path, tmp_path: Path
) -> None:
    with embedded_gguf.open("rb") as whole:
        half = whole.read(100_000_000)
    (tmp_path / "반쪽.gguf").write_bytes(half)
    (tmp_path / "머리만.gguf").write_bytes(half[:50_000])
    (tmp_path / "글.gguf").write_text("안녕하세요", encoding="utf-8")
    for name in ("반쪽", "머리만", "글"):
        with pytest.raises(ModelBroken, match=name):
            LlamaCppEngine(LlamaCppSettings(tmp_path / f"{name}.gguf", context_length=256))


def test_a_device_that_is_not_there_is_refused(embedded_gguf: Path) -> None:
    with pytest.raises(ModelBroken, match="GPU"):
        LlamaCppEngine(LlamaCppSettings(embedded_gguf, needs_gpu=True))


def test_the_context_is_cut_to_what_the_model_was_made_for(own_engine: LlamaCppEngine) -> None:
    assert own_engine.info.context_length == 512
    assert own_engine.info.bos == "<bos>"
    assert own_engine.info.chat_template is None


def test_the_prefix_of_a_conversation_is_not_computed_again(llamacpp: LlamaCppEngine) -> None:
    long = "### 사용자:\n" + "대한민국의 역사와 문화에 대해 자세히 설명해 주세요. " * 10
    Reply.join(llamacpp.stream(GenerationRequest(long, SamplingParams(max_tokens=1))))
    again = Reply.join(
        llamacpp.stream(GenerationRequest(long + "네?", SamplingParams(max_tokens=1)))
    )
    assert again.usage.cached_tokens > again.usage.prompt_tokens / 2


def test_special_tokens_in_names_and_logs_stay_out_of_process_lists(
    own_engine: LlamaCppEngine,
) -> None:
    assert own_engine.pid
    arguments = " ".join(psutil.Process(own_engine.pid).cmdline())
    environment = " ".join(psutil.Process(own_engine.pid).environ().values())
    assert own_engine._key not in arguments + environment


@pytest.mark.case("S08")
def test_answers_that_are_made_together_are_not_mixed_up(llamacpp: LlamaCppEngine) -> None:
    words = "서울 부산 대구 인천 광주 대전 울산 세종 제주 강릉 전주 춘천".split()
    got: dict[str, str] = {}

    def ask(word: str) -> None:
        schema = json.dumps({"enum": [word]}, ensure_ascii=False)
        params = SamplingParams(max_tokens=24, json_schema=schema)
        got[word] = Reply.join(llamacpp.stream(GenerationRequest(ASK.prompt, params))).text

    threads = [threading.Thread(target=ask, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {word: json.loads(text) for word, text in got.items()} == {word: word for word in words}
