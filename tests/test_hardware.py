"""How to compute on which card: decided from names and numbers, so tested without any card."""

from __future__ import annotations

import pytest

from lightkorllm import hardware
from lightkorllm.errors import OptionError


@pytest.mark.case("Q13")
@pytest.mark.parametrize("gptq", [False, True])
@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 2060", "Tesla T4", "Quadro RTX 4000"])
def test_turing_cards_compute_in_float16_since_they_have_no_bfloat16(name: str, gptq: bool) -> None:
    compute = hardware.on_cuda(name, (7, 5), gptq=gptq, model_type="llama")
    assert (compute.dtype, compute.backend, compute.advice) == ("float16", "auto", "")


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (12, 0)])
def test_newer_cards_compute_in_bfloat16(capability: tuple[int, int]) -> None:
    assert hardware.on_cuda("NVIDIA GeForce RTX 3060", capability).dtype == "bfloat16"


@pytest.mark.case("Q14")
@pytest.mark.parametrize("gptq", [False, True])
@pytest.mark.parametrize(
    "name", ["NVIDIA GeForce GTX 1650", "GeForce GTX 1660 SUPER", "NVIDIA GeForce GTX 1660 Ti"]
)
def test_gtx_16_cards_compute_in_float32_and_are_advised_to_use_gguf(name: str, gptq: bool) -> None:
    compute = hardware.on_cuda(name, (7, 5), gptq=gptq)
    assert compute.dtype == "float32"
    assert compute.backend == ("gptq_torch" if gptq else "auto")
    assert name in compute.advice
    assert "GGUF" in compute.advice


def test_cards_before_volta_compute_in_float32() -> None:
    assert hardware.on_cuda("NVIDIA GeForce GTX 1080", (6, 1)).dtype == "float32"
    assert hardware.on_cuda("Tesla V100-SXM2-16GB", (7, 0)).dtype == "float16"


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_gemma_does_not_compute_in_float16_whose_range_it_leaves(family: str) -> None:
    assert hardware.on_cuda("Tesla T4", (7, 5), model_type=family).dtype == "float32"
    assert hardware.on_cuda("RTX 3060", (8, 6), model_type=family).dtype == "bfloat16"


def test_packed_weights_on_a_cpu_are_computed_in_bfloat16_whatever_the_cpu() -> None:
    for features in (frozenset(), frozenset({"avx2"}), frozenset({"avx512_bf16"})):
        assert hardware.on_cpu(features, gptq=True).dtype == "bfloat16"
    assert hardware.on_cpu(frozenset({"avx2"})).dtype == "float32"


def test_a_card_that_is_not_there_is_refused_with_the_number_that_are() -> None:
    import torch

    count = torch.cuda.device_count()
    with pytest.raises(OptionError, match=f"CUDA 장치: {count}개"):
        hardware.choose(f"cuda:{count}", gptq=False, model_type="llama")


def test_a_number_type_that_is_asked_for_is_taken() -> None:
    assert (
        hardware.choose("cpu", gptq=False, model_type="llama", dtype="float64").dtype == "float64"
    )
