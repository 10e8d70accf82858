"""Conversations are saved as OpenAI's messages, and come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightkorllm import data
from lightkorllm.engines.echo import saying
from lightkorllm.errors import DataBroken, EngineFailed
from lightkorllm.terminal import files
from lightkorllm.terminal.talk import Talk as Said
from talking import Talk

TALK = (
    Said("친절하게")
    .add("user", "안녕?")
    .add("assistant", "반가워요. 👋\n또 만나요.")
    .add("user", "또?")
    .add("assistant", "또", stopped=True)
)


def test_a_conversation_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "대화.json"
    files.save(TALK, path)
    assert files.load(path) == TALK
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_holds_openais_messages_with_stopped_answers_marked(tmp_path: Path) -> None:
    path = tmp_path / "대화.json"
    files.save(TALK, path)
    text = path.read_text(encoding="utf-8")
    assert "반가워요. 👋" in text
    assert json.loads(text)["messages"][0] == {"role": "system", "content": "친절하게"}
    assert json.loads(text)["messages"][-1] == {
        "role": "assistant", "content": "또", "stopped": True,
    }  # fmt: skip


def test_what_is_saved_can_be_learned_from(tmp_path: Path) -> None:
    path = tmp_path / "대화.json"
    files.save(TALK, path)
    found = data.load(path)
    assert found.format == "messages"
    assert len(found.items) == 1
    assert not found.faults


def test_a_list_of_messages_is_a_conversation_too(tmp_path: Path) -> None:
    path = tmp_path / "대화.json"
    path.write_text(json.dumps(TALK.messages()), encoding="utf-8-sig")
    assert files.load(path) == TALK


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("아무 글", "JSON"),
        ("{}", "messages"),
        ('{"messages": "안녕?"}', "messages"),
        ('[{"role": "심판", "content": "안녕?"}]', "messages[0].role"),
        ('[{"role": "user", "content": "?"}, {"role": "user"}]', "messages[1].content"),
    ],
)
def test_what_is_no_conversation_is_told_and_nothing_is_lost(
    text: str, word: str, tmp_path: Path, talk: Talk
) -> None:
    path = tmp_path / "아무것.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataBroken) as refused:
        files.load(path)
    assert word in refused.value.message
    talking = talk()
    talking.says("안녕?")
    before = talking.session.talk
    assert talking.says(f"/불러오기 {path}").startswith("오류:")
    assert talking.session.talk == before


def test_saving_and_loading_by_command(tmp_path: Path, talk: Talk) -> None:
    path = tmp_path / "내 대화.json"
    talking = talk(saying("네", ".", EngineFailed("끊겼습니다.")))
    assert "저장하지 않았습니다" in talking.says(f"/저장 {path}")
    talking.says("안녕?")
    assert talking.says(f'/저장 "{path.with_suffix("")}"') == f"저장했습니다: {path}\n"
    other = talk()
    other.says(f"/load {path}")
    assert other.session.talk == talking.session.talk
    assert "또" in other.says("또")
    assert other.says(f"/save {path}") == f"저장했습니다: {path}\n"


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path, talk: Talk) -> None:
    path = tmp_path / "보고서.json"
    path.write_text("중요", encoding="utf-8")
    talking = talk()
    assert "이미 있습니다" in talking.says("안녕?", f"/저장 {path}")
    assert path.read_text(encoding="utf-8") == "중요"


def test_a_file_that_cannot_be_is_told(tmp_path: Path, talk: Talk) -> None:
    talking = talk()
    assert "적을 수 없습니다" in talking.says("안녕?", f"/저장 {tmp_path}/없는/대화.json")
    assert "읽을 수 없습니다" in talking.says(f"/불러오기 {tmp_path}/없는.json")
    assert "파일을 주세요" in talking.says("/불러오기")


def test_without_a_name_the_file_is_named_by_the_time(
    tmp_path: Path, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    talk().says("안녕?", "/저장")
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("대화-20")
