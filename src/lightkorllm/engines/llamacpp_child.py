"""The child process that holds llama.cpp: reads its settings from stdin, serves, ends with us.

Run as `python -m lightkorllm.engines.llamacpp_child`. The first line of stdin is JSON (the key
must not stand in a process list); the first line of stdout is `{"url": …}` or `{"error": …}`.
When stdin closes, whatever the reason, the process ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

from lightkorllm.processes import end_with_parent


def main() -> None:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # sent to the whole group: the parent's to handle
        signal.signal(number, signal.SIG_IGN)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints is log, not answer
    settings = json.loads(sys.stdin.buffer.readline())
    end_with_parent(settings["parent"])
    try:
        server = _serve(settings)
        answer.write(json.dumps({"url": server.listening_address}) + "\n")
    except Exception as error:  # the parent turns it into its own error
        answer.write(json.dumps({"error": str(error)}, ensure_ascii=False) + "\n")
        answer.flush()
        os._exit(1)
    answer.flush()
    sys.stdin.buffer.read()
    os._exit(0)  # native threads are not waited for


def _serve(settings: dict[str, Any]) -> Any:
    import xllamacpp

    if settings["gpu_layers"] and settings["needs_gpu"] and not _gpus(xllamacpp):
        raise RuntimeError(
            "GPU를 찾지 못했습니다. --device cpu 로 시작하거나 GPU용 xllamacpp를 설치해 주세요"
        )
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.cors_origins = ""
    params.ui = False
    params.offline = True
    params.n_ctx = settings["context_length"] * settings["n_parallel"]
    params.n_parallel = settings["n_parallel"]
    params.n_gpu_layers = settings["gpu_layers"]
    if settings["main_gpu"] is not None:
        params.main_gpu = settings["main_gpu"]
        params.split_mode = xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.n_threads_http = 2 * settings["n_parallel"] + 8  # a stream keeps one busy
    params.cache_ram_mib = settings["prompt_cache_mib"]
    params.swa_full = True  # without it a sliding window forgets the prefix between turns
    kv_type = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + settings["kv_type"].upper())
    params.cache_type_k = params.cache_type_v = kv_type
    params.lora_adapters = [_adapter(xllamacpp, path) for path in settings["adapters"]]
    params.lora_init_without_apply = True
    return xllamacpp.Server(params)


def _gpus(xllamacpp: Any) -> list[Any]:
    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    return [device for device in xllamacpp.get_device_info() if device["type"] != cpu]


def _adapter(xllamacpp: Any, path: str) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path = path
    adapter.scale = 1.0
    return adapter


if __name__ == "__main__":
    threading.current_thread().name = "llamacpp"
    main()
