"""Options, declared once: each field below is a flag, a `LIGHTKORLLM_*` variable and a TOML key.

One precedence everywhere: command line, then environment, then config file, then the default.
"""

from __future__ import annotations

import os
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from tyro.conf import UseAppendAction, arg

from lightkorllm.errors import OptionError
from lightkorllm.generation import MAX_SEED

ENV_PREFIX = "LIGHTKORLLM_"

ALIASES = {"model": "quantized_model_dir", "ngrok": "ngrock", "ngrok_token": "ngrock_token"}

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class ModelOptions:
    """어떤 모델을 어떻게 올릴지 정합니다."""

    quantized_model_dir: Annotated[
        str | None, arg(aliases=["--model"], metavar="QUANTIZED_MODEL_DIR")
    ] = None
    """모델: .gguf 파일, 모델 폴더, 저장소 이름, 또는 lightkorllm models가 보여 주는 이름.
    생략하면 내장 모델(Gemma 3 270M)을 씁니다."""

    peft_lora_dir: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="PEFT_LORA_DIR")] = ()
    """(선택) LoRA 어댑터: PEFT 폴더나 GGUF 파일. 이름=경로 꼴로 여러 번 줄 수 있고, none이면
    내장 모델의 한국어 어댑터도 쓰지 않습니다."""

    engine: Literal["auto", "llamacpp", "transformers"] = "auto"
    """모델을 돌릴 엔진. auto면 GGUF는 llama.cpp로, 모델 폴더는 CUDA가 있거나 빔 탐색을 하면
    transformers로, 아니면 GGUF로 옮겨 llama.cpp로 돌립니다."""

    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """모델을 올릴 장치: auto, cpu, cuda:0 …"""

    context_length: Annotated[int, arg(metavar="CONTEXT_LENGTH")] = 0
    """요청 하나의 문맥 길이(토큰). 0이면 모델의 최대 길이와 4096 중 작은 쪽입니다."""

    n_parallel: Annotated[int, arg(metavar="N_PARALLEL")] = 4
    """동시에 답하는 요청 수."""

    max_queue: Annotated[int, arg(metavar="MAX_QUEUE")] = 32
    """차례를 기다릴 수 있는 요청 수. 넘치면 429로 답합니다."""

    threads: Annotated[int, arg(metavar="THREADS")] = 0
    """계산에 쓸 CPU 스레드 수. 0이면 코어 하나를 남기고 씁니다."""

    gpu_layers: Annotated[int, arg(metavar="GPU_LAYERS")] = -1
    """GPU에 올릴 층 수(GGUF). -1이면 되는 만큼 모두 올립니다."""

    kv_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    """KV 캐시의 자료형. q8_0은 KV 메모리를 절반 가까이 줄입니다."""

    seed: Annotated[int | None, arg(metavar="SEED")] = None
    """요청에 seed가 없을 때 쓸 난수 씨앗. 생략하면 매번 새로 뽑습니다."""

    def __post_init__(self) -> None:
        _at_least(self, 0, "context_length", "max_queue", "threads")
        _at_least(self, 1, "n_parallel")
        _at_least(self, -1, "gpu_layers")
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise OptionError("--seed", f"0 이상 {MAX_SEED} 이하여야 합니다 (받은 값: {self.seed})")


@dataclass(frozen=True)
class ChatOptions(ModelOptions):
    """모델과 어떻게 말할지 정합니다."""

    max_new_token: Annotated[int, arg(metavar="MAX_NEW_TOKEN")] = 256
    """답 하나에서 새로 만들 최대 토큰 수."""

    num_beams: Annotated[int, arg(metavar="NUM_BEAMS")] = 1
    """빔 탐색의 빔 수. 1보다 크면 transformers 엔진이 필요하고 스트리밍은 할 수 없습니다."""

    early_stopping: bool = False
    """빔 탐색에서 빔이 다 끝나는 즉시 멈춥니다."""

    max_history: Annotated[int, arg(metavar="MAX_HISTORY")] = 0
    """대화 프롬프트에 넣을 지난 문답 수의 상한. 0이면 문맥에 들어가는 만큼 넣습니다."""

    human_str: Annotated[str, arg(metavar="HUMAN_STR")] = "### 사용자"
    """프롬프트에서 사용자 말 앞에 붙는 이름표."""

    ai_str: Annotated[str, arg(metavar="AI_STR")] = "### AI"
    """프롬프트에서 AI 말 앞에 붙는 이름표."""

    stop_str: Annotated[str, arg(metavar="STOP_STR")] = "### 사용자"
    """이 문자열이 나오면 답을 끝냅니다(lightkor 형식)."""

    prompt_format: Annotated[str, arg(metavar="PROMPT_FORMAT")] = "auto"
    """프롬프트 형식: auto, lightkor, koalpaca, kullm_ko, eeve, chatml, template …"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, 1, "max_new_token", "num_beams")
        _at_least(self, 0, "max_history")
        for name in ("human_str", "ai_str"):
            if not getattr(self, name).strip():
                raise OptionError(f"--{name}", "이름표는 비워 둘 수 없습니다")


@dataclass(frozen=True)
class ServeOptions(ChatOptions):
    """한국어 LLM을 HTTP API로 서비스합니다."""

    host: Annotated[str, arg(metavar="HOST")] = "127.0.0.1"
    """서버 주소. 0.0.0.0이면 다른 컴퓨터에서도 접속할 수 있습니다."""

    port: Annotated[int, arg(metavar="PORT")] = 5989
    """서버 포트."""

    tunnel: Literal["none", "ngrok", "cloudflare"] = "none"
    """인터넷에서 닿는 공개 주소를 엽니다. ngrok은 토큰이, cloudflare는 cloudflared 프로그램이
    필요합니다. 키도 있어야 합니다."""

    ngrock: Annotated[bool, arg(aliases=["--ngrok"])] = False
    """--tunnel ngrok과 같습니다. pip install "lightkorllm[tunnel]"이 필요합니다."""

    ngrock_token: Annotated[str | None, arg(aliases=["--ngrok_token"], metavar="NGROCK_TOKEN")] = (
        field(default=None, repr=False)
    )
    """ngrok 인증 토큰. NGROK_AUTHTOKEN 환경 변수로도 줄 수 있습니다."""

    api_key: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="API_KEY")] = field(
        default=(), repr=False
    )
    """API 키 또는 이름:키. 여러 번 줄 수 있고, 하나라도 있으면 Bearer 헤더가 필요합니다."""

    api_key_file: Annotated[Path | None, arg(metavar="FILE")] = None
    """키의 이름과 SHA-256을 한 줄에 하나씩 적은 파일. lightkorllm keys new가 만들어 줍니다."""

    allow_anyone: bool = False
    """키 없이 네트워크나 터널에 여는 것을 허락합니다."""

    rate_limit: Annotated[str | None, arg(metavar="RATE")] = None
    """키 하나(키가 없으면 주소 하나)가 물을 수 있는 횟수: 30/minute, 2/second;500/day …"""

    max_concurrent: Annotated[int, arg(metavar="MAX_CONCURRENT")] = 0
    """키 하나(키가 없으면 주소 하나)가 한꺼번에 받을 수 있는 답의 수. 0이면 제한이 없습니다."""

    cors_origins: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ORIGIN")] = ()
    """브라우저에서 이 서버를 불러도 되는 웹 페이지의 주소. 여러 번 줄 수 있고, *는 모두입니다."""

    max_body: Annotated[int, arg(metavar="MAX_BODY")] = 1024 * 1024
    """요청 본문의 최대 크기(바이트). 넘으면 413으로 답합니다."""

    keep_alive: Annotated[int, arg(metavar="KEEP_ALIVE")] = 0
    """아무도 묻지 않으면 모델을 메모리에서 내리기까지의 시간(분). 0이면 내리지 않습니다."""

    drain_seconds: Annotated[int, arg(metavar="DRAIN_SECONDS")] = 10
    """끝낼 때 하던 답을 기다려 주는 시간(초)."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """로그를 어디까지 보일지."""

    log_format: Literal["plain", "json"] = "plain"
    """로그 한 줄의 꼴."""

    log_text: bool = False
    """질문과 답의 글도 로그에 남깁니다."""

    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """같은 옵션을 적은 TOML 파일. 명령줄, 환경 변수, 파일, 기본값 차례로 우선합니다."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, 1, "max_body")
        _at_least(self, 0, "drain_seconds", "keep_alive", "max_concurrent")
        if not 1 <= self.port <= 65535:
            raise OptionError("--port", f"1 이상 65535 이하여야 합니다 (받은 값: {self.port})")
        if self.ngrock and self.tunnel == "cloudflare":
            raise OptionError("--tunnel", "--ngrock과 --tunnel cloudflare 중 하나만 쓸 수 있습니다")

    @property
    def tunnel_kind(self) -> str:
        """Which tunnel is wanted; "" for none."""
        return "ngrok" if self.ngrock else self.tunnel.replace("none", "")


def _at_least(options: ModelOptions, low: int, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value < low:
            raise OptionError(f"--{name}", f"{low} 이상이어야 합니다 (받은 값: {value})")


def load(
    kind: type[OptionsT],
    argv: Sequence[str],
    *,
    prog: str,
    environ: Mapping[str, str] = os.environ,
) -> OptionsT:
    """Options of `kind` from a command line, the environment and the config file it names.

    Raises `OptionError` with the place of the fault; exits as command lines do on `--help` and
    on a flag that does not exist.
    """
    lower = {**_from_file(kind, _config_path(argv, environ)), **_from_environment(kind, environ)}
    repeated = {name: lower.pop(name) for name in _repeatable(kind) if name in lower}
    options: Any = _from_command_line(kind, argv, prog=prog, default=kind(**lower))
    told: OptionsT = replace(
        options, **{k: v for k, v in repeated.items() if not getattr(options, k)}
    )
    return told


def _from_command_line(
    kind: type[OptionsT], argv: Sequence[str], *, prog: str, default: OptionsT
) -> OptionsT:
    import tyro

    try:
        told: OptionsT = tyro.cli(
            kind,
            prog=prog,
            args=list(argv),
            default=default,
            use_underscores=True,
        )
    except SystemExit as stop:
        if stop.code:
            sys.stderr.write(f"명령줄 옵션을 알아듣지 못했습니다. 확인: {prog} --help\n")
        raise
    return told


def _repeatable(kind: type[Any]) -> list[str]:
    return [f.name for f in fields(kind) if isinstance(f.default, tuple)]


def _config_path(argv: Sequence[str], environ: Mapping[str, str]) -> Path | None:
    path = environ.get(ENV_PREFIX + "CONFIG") or None
    for index, word in enumerate(argv):
        if word == "--config":
            path = "".join(argv[index + 1 : index + 2])
        elif word.startswith("--config="):
            path = word.partition("=")[2]
    return Path(path) if path else None


def _from_file(kind: type[Any], path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise OptionError(
            "--config", f"{path} 파일을 읽을 수 없습니다 ({error.strerror})"
        ) from None
    except ValueError as error:
        raise OptionError("--config", f"{path} 파일이 올바른 TOML이 아닙니다 ({error})") from None
    hints = _field_types(kind)
    table = {ALIASES.get(name, name): value for name, value in table.items()}
    unknown = sorted(set(table) - set(hints) - set(_field_types(ServeOptions)))
    if unknown:
        raise OptionError("--config", f"{path} 파일에 모르는 항목이 있습니다: {', '.join(unknown)}")
    return {
        name: _typed(f"{path}의 {name}", value, hints[name])
        for name, value in table.items()
        if name in hints  # others are meant for the server
    }


def _from_environment(kind: type[Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Unknown `LIGHTKORLLM_*` names are errors too: a typo must not be silent."""
    hints = _field_types(kind)
    others = _field_types(ServeOptions)
    found = {}
    for variable, text in environ.items():
        name = variable.removeprefix(ENV_PREFIX).lower()
        name = ALIASES.get(name, name)
        if not variable.startswith(ENV_PREFIX) or not text:
            continue
        if name not in hints and name in others:
            continue  # meant for the server
        if name not in hints:
            raise OptionError(variable, "그런 옵션은 없습니다. 환경 변수 이름을 확인하세요")
        found[name] = _typed(variable, _from_text(text, hints[name]), hints[name])
    return found


def _field_types(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _from_text(text: str, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if hint is bool:
        return {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)
    for kind in (int, float):
        if kind in (hint, *get_args(hint)):
            try:
                return kind(text)
            except ValueError:
                return text
    return text


def _typed(place: str, value: Any, hint: Any) -> Any:
    """`value` as the field wants it. Raises `OptionError` naming `place` where it does not fit."""
    if get_origin(hint) is tuple:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(items)
        raise OptionError(place, f"문자열 목록이어야 합니다 (받은 값: {value!r})")
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise OptionError(
            place, f"{', '.join(get_args(hint))} 중 하나여야 합니다 (받은 값: {value!r})"
        )
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if Path in kinds:
        return Path(value)
    if type(value) in kinds:
        return value
    if float in kinds and type(value) is int:
        return float(value)
    wanted = {int: "정수", float: "숫자", bool: "true 또는 false", str: "문자열"}[kinds[0]]
    raise OptionError(place, f"{wanted}여야 합니다 (받은 값: {value!r})")


def split_adapter(text: str) -> tuple[str, str]:
    """`name=path` or `path` as (name, path); a bare path is named after its last part."""
    name, sign, path = text.partition("=")
    if not sign:
        return Path(text).name.removesuffix(".gguf") or "adapter", text
    if not name.strip() or not path.strip():
        raise OptionError("--peft_lora_dir", f"이름=경로 꼴이어야 합니다 (받은 값: {text!r})")
    return name.strip(), path.strip()
