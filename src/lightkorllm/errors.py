"""The one exception tree of the project; statuses and exit codes are chosen at the doors.

LightKorError
├── UserError                what the caller sent or asked for cannot be done
│   ├── BadRequest           a field is wrong; names the field
│   │   ├── Unsupported      the field is right, but this engine cannot do it
│   │   └── TemplateFailed   the model's own chat template refused the conversation
│   ├── ContextOverflow      the question alone is longer than the context
│   ├── BodyTooLarge         the request body is over the limit
│   ├── Unauthorized         no valid API key came with the request
│   ├── LimitReached         the caller's key has used up its share for now
│   ├── StrangerPage         a web page of another site asked, and CORS does not let it
│   ├── NoSuchModel          the `model` of a request is not one that is served
│   ├── NoSuchRoute          there is nothing at that address
│   └── WrongMethod          the address wants another HTTP method
├── SetupError               the program was started in a way that cannot work
│   ├── OptionError          a command-line, environment or config value is wrong
│   ├── MissingPackage       an optional package is not installed
│   ├── ModelNotFound        there is no such model
│   ├── ModelBroken          the model is there but cannot be loaded
│   ├── DataBroken           a data set is not there or cannot be read
│   ├── NotEnough            too little memory or disk for what was asked
│   └── PortInUse            another program listens on the port
├── JobError                 a long job started and did not end well
│   ├── QuantizationFailed   quantising broke off; nothing half-written is left
│   └── UploadFailed         the result is there, but could not be sent to the hub
└── EngineError              the engine could not answer
    ├── EngineBusy           every slot and queue place is taken
    ├── EngineUnavailable    loading, restarting or stopping
    └── EngineFailed         the answer broke off

Messages are Korean sentences for a person; `code` is stable and for programs.
"""

from __future__ import annotations

from typing import ClassVar


class LightKorError(Exception):
    """Root of every error that this package raises on purpose."""

    code: ClassVar[str] = "internal_error"
    param: str | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UserError(LightKorError):
    """What the caller sent or asked for cannot be done."""

    code = "invalid_request"


class BadRequest(UserError):
    """A field is wrong. `param` is its path in the request, such as `history.history[2].type`."""

    code = "bad_request"

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"`{param}`: {problem}" if param else problem)
        self.param = param or None
        self.problem = problem


class Unsupported(BadRequest):
    """The field is well formed, but the engine that is running cannot do it."""

    code = "unsupported_parameter"


class TemplateFailed(BadRequest):
    """The model's own chat template refused the conversation."""

    code = "template_error"


class ContextOverflow(UserError):
    """The newest question (with its instruction) does not fit in the context.

    `prompt_tokens` is what the shortest possible prompt needs, `context_length` what there is,
    both in tokens and both including the one token that an answer needs at least.
    """

    code = "context_length_exceeded"
    param = "input"

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        super().__init__(
            f"질문이 너무 깁니다: {prompt_tokens:,}토큰이 필요하지만 "
            f"이 모델의 문맥 길이는 {context_length:,}토큰입니다. 질문이나 지시문을 줄여 주세요."
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class BodyTooLarge(UserError):
    """The request body is over the limit, both in bytes."""

    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"요청 본문이 너무 큽니다. 최대 {limit:,}바이트까지 받습니다.")
        self.limit = limit


class Unauthorized(UserError):
    """No valid API key came with the request."""

    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("API 키가 필요합니다. `Authorization: Bearer <키>` 헤더를 보내 주세요.")


class LimitReached(UserError):
    """The caller's key (or address) has used up its share for now. `retry_after` is in seconds."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StrangerPage(UserError):
    """A web page of another site asked, and `--cors_origins` does not let it in."""

    code = "cross_origin_refused"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"다른 사이트({origin})의 페이지가 보낸 요청이라 받지 않습니다. "
            "허락하려면 서버를 `--cors_origins 그_주소` 옵션으로 시작해 주세요."
        )


class NoSuchModel(UserError):
    """The `model` of a request is not one that is served here."""

    code = "model_not_found"
    param = "model"

    def __init__(self, model: str, *, known: tuple[str, ...]) -> None:
        super().__init__(f"{model!r} 모델은 없습니다. 쓸 수 있는 모델: {', '.join(known)}")


class NoSuchRoute(UserError):
    """There is nothing at the address that was asked for."""

    code = "not_found"

    def __init__(self) -> None:
        super().__init__(
            "그런 주소는 없습니다. POST /chatweb, POST /inferweb, POST /v1/chat/completions, "
            "GET /v1/models, GET /health 를 쓸 수 있습니다."
        )


class WrongMethod(UserError):
    """The address wants another HTTP method."""

    code = "method_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "이 주소는 다른 메서드로 불러야 합니다. /inferweb 과 /chatweb 은 POST입니다."
        )


class SetupError(LightKorError):
    """The program was started in a way that cannot work."""

    code = "setup_error"


class OptionError(SetupError):
    """A value from the command line, the environment or the config file is wrong."""

    code = "bad_option"

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option
        self.problem = problem


class MissingPackage(SetupError):
    """An optional package is not installed; the message says how to get it."""

    code = "missing_package"

    def __init__(self, purpose: str, *, extra: str) -> None:
        super().__init__(
            f'{purpose} 설치되어 있지 않습니다. 설치: pip install "lightkorllm[{extra}]"'
        )
        self.extra = extra


class ModelNotFound(SetupError):
    """There is no such model file, folder or name."""

    code = "model_missing"


class ModelBroken(SetupError):
    """The model is there but cannot be loaded."""

    code = "model_broken"


class DataBroken(SetupError):
    """A data set is not there, or cannot be read as one: it is never used by half."""

    code = "data_broken"


class NotEnough(SetupError):
    """There is too little memory or disk; the message has both numbers."""

    code = "not_enough"


class PortInUse(SetupError):
    """Another program listens on the port already."""

    code = "port_in_use"

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"{host}:{port} 포트는 이미 다른 프로그램이 쓰고 있습니다. "
            f"그 프로그램을 끝내거나 `--port {port + 1}`처럼 다른 포트를 지정해 주세요."
        )


class JobError(LightKorError):
    """A long job started and did not end well."""

    code = "job_failed"


class QuantizationFailed(JobError):
    """Quantising broke off; nothing half-written is left."""

    code = "quantization_failed"


class FinetuningFailed(JobError):
    """Fine-tuning broke off; the message says what was kept and what to change."""

    code = "finetuning_failed"


class UploadFailed(JobError):
    """The result is there, but could not be sent to the hub."""

    code = "upload_failed"


class EngineError(LightKorError):
    """The engine could not answer."""

    code = "engine_error"


class EngineBusy(EngineError):
    """Every slot and queue place is taken. `retry_after` is in seconds."""

    code = "too_many_requests"

    def __init__(self, *, slots: int, queue: int, retry_after: int = 2) -> None:
        super().__init__(
            f"지금 요청이 너무 많습니다(동시 {slots}개, 대기 {queue}개가 모두 찼습니다). "
            f"{retry_after}초 뒤에 다시 시도해 주세요."
        )
        self.retry_after = retry_after


class EngineUnavailable(EngineError):
    """The engine is loading, restarting or stopping. `retry_after` is in seconds."""

    code = "engine_unavailable"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineFailed(EngineError):
    """The answer broke off: the engine crashed or sent something that is not an answer."""

    code = "engine_failed"
