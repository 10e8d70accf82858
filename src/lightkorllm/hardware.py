"""How a model is computed on the hardware at hand: device, number type, GPTQ kernel, and advice.

The decisions are functions of plain values, so that every card can be tested without one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lightkorllm.errors import MissingPackage, OptionError

_TURING = (7, 5)
_AMPERE = (8, 0)
_VOLTA = (7, 0)
_WIDE_RANGE = ("gemma2", "gemma3", "gemma3_text")  # their activations do not fit in float16


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and in what numbers to compute. `dtype` is torch's name, `backend` GPTQModel's.

    `advice` is a Korean sentence for the log where this machine has a better way.
    """

    device: str
    dtype: str
    backend: str = "auto"
    advice: str = ""


def on_cuda(
    name: str,
    capability: tuple[int, int],
    *,
    device: str = "cuda:0",
    gptq: bool = False,
    model_type: str = "",
) -> Compute:
    """The numbers for a CUDA card, by the name it gives itself and its compute capability.

    GTX 16 cards give NaN in float16 and have no bfloat16 (pytorch/pytorch#58123); cards before
    Volta compute float16 many times slower than float32; Turing has no bfloat16.
    """
    if "GTX 16" in name or capability < _VOLTA:
        return Compute(device, "float32", "gptq_torch" if gptq else "auto", advice=_gguf(name))
    if capability >= _AMPERE:
        return Compute(device, "bfloat16")
    if model_type in _WIDE_RANGE:
        return Compute(device, "float32", "gptq_torch" if gptq else "auto", advice=_gguf(name))
    return Compute(device, "float16")


def on_cpu(features: frozenset[str], *, gptq: bool = False) -> Compute:
    """The numbers for a CPU with these instruction sets, as Linux names them.

    Packed weights are always multiplied in bfloat16: no packed kernel takes float32. GPTQModel
    itself picks the AVX-512 one where the CPU and a compiler allow it, else ATen's.
    """
    if gptq:
        return Compute("cpu", "bfloat16")
    return Compute("cpu", "bfloat16" if features & {"avx512_bf16", "amx_bf16"} else "float32")


def choose(device: str, *, gptq: bool, model_type: str, dtype: str = "auto") -> Compute:
    """How to compute on `--device` as the user wrote it, in `dtype` unless that is `auto`.

    Raises `OptionError` for a device that isn't here, and `MissingPackage`.
    """
    try:
        import torch
    except ImportError:
        raise MissingPackage("PyTorch가", extra="gptq") from None
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        chosen = on_cpu(cpu_features(), gptq=gptq)
    elif device == "mps":
        chosen = _on_metal(gptq=gptq)
    else:
        chosen = _on_card(int(device.partition(":")[2] or 0), gptq=gptq, model_type=model_type)
    return chosen if dtype == "auto" else replace(chosen, dtype=dtype)


def _on_metal(*, gptq: bool) -> Compute:
    import torch

    if not torch.backends.mps.is_available():
        raise OptionError("--device", "이 컴퓨터에는 Metal(mps)이 없습니다")
    return Compute("mps", "float32" if gptq else "float16")


def _on_card(number: int, *, gptq: bool, model_type: str) -> Compute:
    import torch

    count = torch.cuda.device_count()
    if number >= count:
        raise OptionError("--device", f"cuda:{number} 장치가 없습니다 (CUDA 장치: {count}개)")
    return on_cuda(
        torch.cuda.get_device_name(number),
        torch.cuda.get_device_capability(number),
        device=f"cuda:{number}",
        gptq=gptq,
        model_type=model_type,
    )


def has_cuda() -> bool:
    """Whether there is a CUDA card that PyTorch can use; also False without PyTorch."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def cpu_features() -> frozenset[str]:
    """Names of the instruction sets of this CPU that matter here; empty where unknown."""
    import torch

    known = torch.cpu.get_capabilities()
    return frozenset(name for name, present in known.items() if present is True)


def _gguf(name: str) -> str:
    return (
        f"{name}에서는 float16이 맞지 않아 float32로 계산합니다. 메모리를 두 배로 쓰고 느리니, "
        "GGUF 모델(`lightkorllm export`)을 llama.cpp 엔진으로 쓰는 편이 낫습니다."
    )
