"""Models of the Hugging Face hub, by repository name: fetched whole, looked at, or sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightkorllm import catalog
from lightkorllm.errors import MissingPackage, ModelNotFound, OptionError, UploadFailed

# Never pickles, never code: what we do not fetch, nobody can run by mistake.
_WANTED = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
    "quantize_config.json", "adapter_config.json", "tokenizer*", "special_tokens_map.json",
    "added_tokens.json", "vocab.*", "merges.txt", "chat_template*", "lightkorllm.json",
    "LICENSE*", "NOTICE*", "USE_POLICY*", "README.md",
)  # fmt: skip
_SETTINGS = ("config.json", "quantize_config.json", "*.safetensors.index.json")


def is_name(text: str) -> bool:
    """Whether a text looks like `owner/name`, the name of a repository."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text) is not None and ".." not in text


def check_name(name: str, *, option: str) -> None:
    """Raise `OptionError` for what can't be a repository's name, before hours of work for it."""
    part = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
    if not re.fullmatch(rf"(?:{part}/)?{part}", name) or "--" in name or ".." in name:
        raise OptionError(
            option, f"{name!r}은(는) 저장소 이름이 아닙니다. `내이름/모델이름`처럼 영문으로 주세요"
        )


def fetch(name: str) -> Path:
    """The local folder of a repository's model, downloaded where it isn't here yet.

    Of a repository that holds nothing but GGUF, the path of the usual file.
    Raises `ModelNotFound` where it cannot be had, and `MissingPackage`.
    """
    folder = _fetch(name, _WANTED)
    if any(folder.rglob("*.safetensors")):
        return folder
    ggufs = [file for file in files(name) if file.lower().endswith(".gguf")]
    return _fetch_file(name, usual_gguf(name, ggufs)) if ggufs else folder


def usual_gguf(name: str, ggufs: Sequence[str]) -> str:
    """The file of a repository that is usually wanted: Q4_K_M, or the only one.

    Raises `ModelNotFound` with the names where it can't be told.
    """
    usual = [file for file in ggufs if "q4_k_m" in file.lower()] or ggufs
    if len(usual) > 1:
        raise ModelNotFound(
            f"{name}에 GGUF가 여럿입니다: {', '.join(sorted(usual)[:8])}. 하나를 내려받아 그 "
            "파일의 경로를 주세요."
        )
    return usual[0]


def fetch_settings(name: str) -> Path:
    """The local folder of a repository's config and index alone. Raises as `fetch` does."""
    return _fetch(name, _SETTINGS)


def kept(name: str) -> Path | None:
    """The local folder of a repository that was fetched before; None where it was not."""
    hub = _hub()
    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except Exception:
        return None


def files(name: str) -> dict[str, int]:
    """Bytes of every file of a repository by name. Raises as `fetch` does."""
    hub = _hub()
    try:
        info = hub.HfApi().model_info(name, files_metadata=True)
    except Exception as error:
        raise _not_had(name, error) from error
    return {file.rfilename: file.size or 0 for file in info.siblings}


def first_bytes(name: str, file: str, count: int) -> bytes:
    """The first `count` bytes of a repository's file, or all where it is shorter.

    Raises as `fetch` does.
    """
    hub = _hub()
    headers = {**hub.utils.build_hf_headers(), "Range": f"bytes=0-{count - 1}"}
    found = b""
    try:
        url = hub.hf_hub_url(name, file)
        with hub.utils.get_session().stream("GET", url, headers=headers) as answer:
            if answer.is_error:
                answer.read()
            hub.utils.hf_raise_for_status(answer)
            for piece in answer.iter_bytes():
                found += piece
                if len(found) >= count:
                    break
    except Exception as error:
        raise _not_had(name, error) from error
    return found[:count]


def _fetch(name: str, patterns: Sequence[str]) -> Path:
    hub = _hub()
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:
        raise _not_had(name, error) from error


def _fetch_file(name: str, file: str) -> Path:
    hub = _hub()
    try:
        return Path(hub.hf_hub_download(name, file))
    except Exception as error:
        raise _not_had(name, error) from error


def _not_had(name: str, error: Exception) -> ModelNotFound:
    return ModelNotFound(
        f"{name} 폴더가 여기 없고, Hugging Face에서도 가져오지 못했습니다"
        f"({_reason(error)}). 이름과 인터넷 연결을 확인하고, 접근이 제한된 모델이면 "
        "`hf auth login`으로 먼저 로그인해 주세요."
    )


def resolve(text: str) -> Path:
    """A path that exists, or the folder of the repository of that name."""
    path = Path(text).expanduser()
    if path.exists() or not is_name(text):
        return path
    return fetch(text)


def repository(text: str) -> str | None:
    """The repository that a model's name stands for: itself or the catalogue's; None for paths."""
    if Path(text).expanduser().exists():
        return None
    if is_name(text):
        return text
    entry = catalog.find(text)
    return entry.repository if entry else None


def resolve_model(text: str) -> Path:
    """As `resolve`, and the folder of a model that the catalogue knows by that name.

    Raises `ModelNotFound`, with the nearest names, for a word that is none of these.
    """
    name = repository(text)
    if name:
        return fetch(name)
    path = Path(text).expanduser()
    if path.exists() or not re.fullmatch(r"[\w-]+(\.\d[\w-]*)*", text):
        return path
    near = ", ".join(catalog.nearest(text))
    raise ModelNotFound(
        f"모델을 찾을 수 없습니다: {text}. 폴더나 .gguf 파일도, 저장소(소유자/이름)도, 목록에 있는 "
        f"이름도 아닙니다. {f'비슷한 이름: {near}. ' if near else ''}"
        "전체 목록은 `lightkorllm models`로 보세요."
    )


def name_of(folder: Path) -> str:
    """What a model's folder is called: its own name, or in the hub's cache the repository's."""
    folder = folder.resolve()
    if folder.parent.name == "snapshots":
        return folder.parents[1].name.rpartition("--")[2]
    return folder.name


def upload(folder: Path, name: str) -> str:
    """Send a folder to a repository of the user's, made where it isn't there; its address.

    Raises `UploadFailed`; the folder stays as it is.
    """
    hub = _hub()
    try:
        api = hub.HfApi()
        api.create_repo(name, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=folder))
    except Exception as error:
        raise UploadFailed(
            f"{name} 저장소에 올리지 못했습니다({_reason(error)}). 결과는 {folder}에 그대로 "
            "있습니다. `hf auth login`으로 로그인했는지 확인해 주세요."
        ) from error


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingPackage(
            "Hugging Face 허브에 접속하는 huggingface_hub가", extra="gptq"
        ) from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
