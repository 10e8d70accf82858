"""Repository names: fetched from a hub, or told plainly why not; pickles and code stay there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fake_hub
import tiny
from lightkorllm import hub

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"\x80\x04pickle",
    "modeling_x.py": b"raise SystemExit('code of the repository was run')",
    "LICENSE": "라이선스".encode(),
}


def _run(program: str, server: fake_hub.FakeHub, home: Path) -> subprocess.CompletedProcess[str]:
    """A fresh process: the library reads its address and its off switch when it is imported."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HUB_OFFLINE": "0",
        **fake_hub.cache_in(home),
        "HF_TOKEN": "hf_testtoken",
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.case("Q17")
def test_a_repository_is_fetched_without_its_pickles_and_its_code(tmp_path: Path) -> None:
    program = "from lightkorllm import hub; print(hub.resolve('ours/ko'))"
    with fake_hub.running({"ours/ko": dict(FILES)}) as server:
        ran = _run(program, server, tmp_path / "home")
    assert ran.returncode == 0, ran.stderr
    folder = Path(ran.stdout.strip())
    names = {file.name for file in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "LICENSE"}
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    fetched = [path for path in server.paths if "resolve" in path]
    assert not [path for path in fetched if path.endswith((".bin", ".py"))]


def test_serving_takes_a_repositorys_name_and_goes_by_it(tmp_path: Path) -> None:
    program = (
        "from lightkorllm import hub; from pathlib import Path\n"
        "from lightkorllm.engines import opening; from lightkorllm.options import ModelOptions\n"
        "options = ModelOptions(quantized_model_dir='ours/ko', peft_lora_dir=('말투=ours/lora',))\n"
        "opening.check(options); found = opening.located(options)\n"
        "print(hub.name_of(Path(found.quantized_model_dir)))\n"
        "name, _, path = found.peft_lora_dir[0].partition('=')\n"
        "print(name, (Path(path) / 'adapter_config.json').is_file())\n"
    )
    lora = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
    with fake_hub.running({"ours/ko": dict(FILES), "ours/lora": lora}) as server:
        ran = _run(program, server, tmp_path / "home")
    assert ran.stdout.splitlines() == ["ko", "말투 True"], ran.stderr


def test_a_name_of_the_catalogue_is_the_repository_that_it_stands_for(tmp_path: Path) -> None:
    program = (
        "from lightkorllm import hub; from pathlib import Path\n"
        "from lightkorllm.engines import opening; from lightkorllm.options import ModelOptions\n"
        "options = ModelOptions(quantized_model_dir='kanana-1.5-2.1b')\n"
        "opening.check(options); found = opening.located(options)\n"
        "print(hub.name_of(Path(found.quantized_model_dir)))\n"
    )
    repository = "kakaocorp/kanana-1.5-2.1b-instruct-2505"
    with fake_hub.running({repository: dict(FILES)}) as server:
        ran = _run(program, server, tmp_path / "home")
    assert ran.stdout.split() == ["kanana-1.5-2.1b-instruct-2505"], ran.stderr


def test_a_repository_of_gguf_files_gives_the_usual_one(tmp_path: Path) -> None:
    program = (
        "from lightkorllm import hub\n"
        "from lightkorllm.errors import ModelNotFound\n"
        "print(hub.resolve_model('ours/ko-GGUF').read_text())\n"
        "try: hub.resolve_model('ours/other-GGUF')\n"
        "except ModelNotFound as error: print(error.message)\n"
    )
    several = {"ko-Q4_K_M.gguf": b"four bit", "ko-Q8_0.gguf": b"eight", "README.md": b"#"}
    unusual = {"a-Q5_K_M.gguf": b"five", "a-Q8_0.gguf": b"eight"}
    with fake_hub.running({"ours/ko-GGUF": several, "ours/other-GGUF": unusual}) as server:
        ran = _run(program, server, tmp_path / "home")
        assert not [path for path in server.paths if "Q8_0" in path]
    told, refused = ran.stdout.splitlines()
    assert told == "four bit", ran.stderr
    assert "a-Q5_K_M.gguf, a-Q8_0.gguf" in refused


def test_a_repository_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    with fake_hub.running({}) as server:
        ran = _run(
            "from lightkorllm.cli import main; raise SystemExit("
            "main(['quantize', '--model', 'nobody/nothing']))",
            server,
            tmp_path / "home",
        )
    assert ran.returncode == 2
    assert "nobody/nothing" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_folder_is_uploaded_whole_and_only_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "모델"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "README.md").write_text("# 모델 카드", encoding="utf-8")
    program = (
        "from pathlib import Path; from lightkorllm import hub;"
        f"print(hub.upload(Path({str(folder)!r}), 'me/my-model'))"
    )
    with fake_hub.running({}) as server:
        ran = _run(program, server, tmp_path / "home")
        assert ran.returncode == 0, ran.stderr
        assert server.repositories["me/my-model"] == {
            "config.json": b"{}",
            "README.md": "# 모델 카드".encode(),
        }
        assert "Bearer hf_testtoken" in server.tokens


def test_a_finished_adapter_is_uploaded_without_the_names_of_local_folders(tmp_path: Path) -> None:
    base = tiny.llama(tmp_path / "작은-모델")
    data = tmp_path / "상담.jsonl"
    data.write_text('{"question": "배송은요?", "answer": "이틀이면 옵니다."}', encoding="utf-8")
    arguments = (
        f"finetune --model {base} --dataset {data} --output_dir {tmp_path / 'lora'} "
        "--max_train_step 1 --samples 0 --force --device cpu --upload_dir me/my-lora"
    )
    program = f"from lightkorllm.cli import main; raise SystemExit(main({arguments.split()!r}))"
    with fake_hub.running({}) as server:
        ran = _run(program, server, tmp_path / "home")
        assert ran.returncode == 0, ran.stderr
        sent = server.repositories["me/my-lora"]
    assert "올렸습니다" in ran.stdout
    assert set(sent) == {file.name for file in (tmp_path / "lora").iterdir()}
    assert not [name for name, content in sent.items() if str(tmp_path).encode() in content]
    assert b"base_model:" not in sent["README.md"]  # a folder's name is no repository's


def test_an_upload_that_fails_leaves_the_folder_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    program = (
        "from pathlib import Path; from lightkorllm import hub\n"
        "from lightkorllm.errors import UploadFailed\n"
        f"try: hub.upload(Path({str(tmp_path)!r}), 'bad//name')\n"
        "except UploadFailed as error: print(error.message)\n"
    )
    with fake_hub.running({}) as server:
        ran = _run(program, server, tmp_path / "home")
    assert "그대로" in ran.stdout, ran.stderr
    assert (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("beomi/llama-2-ko-7b", True),
        ("WGNW/llama-2-7b-ko-auto-gptq-full-v2", True),
        ("./모델", False),
        ("../x", False),
        ("a/b/c", False),
        ("/절대/경로", False),
        ("모델", False),
        ("a/..", False),
    ],
)
def test_only_owner_and_name_look_like_a_repository(text: str, is_name: bool) -> None:
    assert hub.is_name(text) is is_name


def test_a_folder_that_is_here_is_never_looked_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.resolve("owner/name") == Path("owner/name")
