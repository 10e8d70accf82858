"""Which engines run here: each is imported in a child, where a crash costs an answer only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from lightkorllm.doctor.checks import Check

_PATIENCE = 180  # seconds that an import may take on a slow disk
_LLAMACPP = """
import json, xllamacpp
devices = [device["description"] for device in xllamacpp.get_device_info()]
print(json.dumps({"devices": devices}))
"""
_TORCH = """
import json, torch, transformers
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
print(json.dumps({
    "version": torch.__version__, "built_for": torch.version.cuda or torch.version.hip,
    "cards": [torch.cuda.get_device_name(number) for number in range(count)],
    "metal": torch.backends.mps.is_available(),
}))
"""
_GPTQ = """
import json, gptqmodel
print(json.dumps({"version": gptqmodel.__version__}))
"""


def checks() -> Iterator[Check]:
    yield _llamacpp()
    if find_spec("torch") is None or find_spec("transformers") is None:
        yield Check(
            "transformers 엔진", "missing", "torch가 없음", 'pip install "lightkorllm[gptq]"'
        )
        return
    told = tried(_TORCH)
    yield _torch(told)
    if find_spec("gptqmodel") is not None and "error" not in told:
        yield _gptq()
        yield _kernels(on_card=bool(told["cards"]))


def tried(program: str, *, patience: float = _PATIENCE) -> dict[str, Any]:
    """What a program prints last, as JSON; {"error": its last line} where it fails."""
    environment = {**os.environ, "PYTHONUTF8": "1", "GPTQMODEL_CPU_WORKERS": "2"}
    try:
        ran = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"{patience:.0f}초가 지나도 답이 없습니다"}
    if ran.returncode == 0 and ran.stdout.strip():
        found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
        return found
    lines = ran.stderr.strip().splitlines()
    return {"error": lines[-1][:200] if lines else f"끝낸 번호 {ran.returncode}"}


def _llamacpp() -> Check:
    if find_spec("xllamacpp") is None:
        return Check(
            "llama.cpp 엔진", "bad", "xllamacpp가 없음", "pip install xllamacpp", is_engine=True
        )
    told = tried(_LLAMACPP)
    if "error" in told:
        return Check(
            "llama.cpp 엔진",
            "bad",
            told["error"],
            "pip install --force-reinstall xllamacpp",
            is_engine=True,
        )
    return Check("llama.cpp 엔진", "ok", ", ".join(told["devices"]) or "CPU", is_engine=True)


def _torch(told: dict[str, Any]) -> Check:
    if "error" in told:
        return Check(
            "transformers 엔진",
            "bad",
            told["error"],
            'pip install --force-reinstall "lightkorllm[gptq]"',
            is_engine=True,
        )
    devices = [*told["cards"], *(["Metal"] if told["metal"] else [])] or ["CPU"]
    found = f"torch {told['version']}: {', '.join(devices)}"
    has_driver = shutil.which("nvidia-smi") is not None
    mend = ""
    if has_driver and not told["cards"]:
        mend = "카드가 torch에 보이지 않습니다. CUDA용 torch를 까세요: https://pytorch.org"
    return Check("transformers 엔진", "ok", found, mend, is_engine=True)


def _gptq() -> Check:
    told = tried(_GPTQ)
    if "error" in told:
        return Check(
            "GPTQModel", "bad", told["error"], 'pip install --force-reinstall "lightkorllm[gptq]"'
        )
    return Check("GPTQModel", "ok", str(told["version"]))


def _kernels(*, on_card: bool) -> Check:
    """GPTQModel's fast kernels are compiled at first use, where there is a compiler."""
    tools = ("nvcc", "ninja") if on_card else ("c++",)
    lacking = [tool for tool in tools if not _is_here(tool)]
    if not lacking:
        return Check("GPTQ 커널", "ok", "빠른 커널을 처음 쓸 때 컴파일합니다")
    slower = "Triton과 Torch" if on_card else "Torch"
    mend = "CUDA toolkit과 ninja를 까세요" if on_card else "C++ 컴파일러를 까세요(g++ 따위)"
    return Check(
        "GPTQ 커널", "missing", f"{', '.join(lacking)} 없음. {slower} 커널로 돌립니다", mend
    )


def _is_here(tool: str) -> bool:
    if tool == "ninja" and find_spec("ninja"):
        return True
    names = ("c++", "g++", "clang++", "cl") if tool == "c++" else (tool,)
    return any(shutil.which(name) for name in names)
