"""LightKorLLM: quantise, fine-tune, try and serve a Korean language model on your own machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightkorllm.chat import ChatModel
    from lightkorllm.finetuning import Finetuned
    from lightkorllm.quantization import Quantised

__all__ = ["__version__", "finetune", "load", "quantize"]

__version__ = "0.1.0"


def load(model: str | None = None, **options: object) -> ChatModel:
    """A model to talk to: `load("model.gguf").reply(Conversation.ask("안녕?"), SamplingParams())`.

    `model` is what `--model` takes, None the embedded model; `options` are fields of
    `options.ChatOptions`. Close it with `.close()`. Raises a `SetupError` where it can't be run.
    """
    from lightkorllm.chat import open_chat
    from lightkorllm.options import ChatOptions

    return open_chat(ChatOptions(quantized_model_dir=model, **options))  # type: ignore[arg-type]


def finetune(
    model: str | None, data: str, output: str | None = None, **options: object
) -> Finetuned:
    """Teach a model a LoRA adapter: `finetune("./model-4bit", "상담.csv", "./adapter").folder`.

    `model` None is the embedded model; `options` are fields of `finetuning.FinetuneOptions`.
    Raises a `SetupError` for what would fail, before anything is loaded, and `FinetuningFailed`
    where the run breaks off; the same call goes on from what was saved.
    """
    from pathlib import Path

    from lightkorllm import finetuning

    if output is not None:
        options["train_output_dir"] = Path(output)
    return finetuning.finetune(
        finetuning.FinetuneOptions(model, data, **options)  # type: ignore[arg-type]
    )


def quantize(model: str, output: str | None = None, **options: object) -> Quantised:
    """Quantise a model: `quantize("./model", "./model-4bit").folder`.

    `options` are fields of `quantization.QuantizeOptions`. Raises a `SetupError` for what would
    fail, before anything is loaded, and `QuantizationFailed` where the run breaks off.
    """
    from pathlib import Path

    from lightkorllm import quantization

    folder = None if output is None else Path(output)
    return quantization.quantize(
        quantization.QuantizeOptions(model, folder, **options)  # type: ignore[arg-type]
    )
