"""`lightkorllm doctor`: what works here is tried, and what is missing comes with its command."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from lightkorllm import cli, doctor
from lightkorllm.doctor import Check, engines, machine, packages

REQUIREMENTS = [
    "flask<4,>=3.1",
    "tomli>=2; python_version < '3.11'",
    "존재하지-않는-꾸러미>=1; extra == 'gptq'",
    "numpy; extra == 'gptq'",
    "lightkorllm[gptq]; extra == 'train'",
    'pytest!=1 ; python_version >= "3" and extra == "tunnel"',
    "secret-tool; extra == 'dev'",
]


def _by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_packages_are_told_by_the_extra_that_they_belong_to() -> None:
    found = _by_name(list(packages.of_requirements(REQUIREMENTS)))
    assert found["서빙"].state == "ok"
    assert "flask 3" in found["서빙"].found
    assert found["ngrok 공개 주소 [tunnel]"].state == "ok"
    assert not any("secret-tool" in check.found for check in found.values())


def test_what_is_missing_comes_with_the_command_that_mends_it() -> None:
    check = _by_name(list(packages.of_requirements(REQUIREMENTS)))[
        "양자화와 transformers 엔진 [gptq]"
    ]
    assert check.state == "missing"
    assert "없음: 존재하지-않는-꾸러미" in check.found
    assert "numpy" in check.found
    assert check.mend == 'pip install "lightkorllm[gptq]"'


def test_serving_needs_its_packages_and_one_engine() -> None:
    needed = Check("서빙", "ok", "", needed=True)
    llamacpp = Check("llama.cpp 엔진", "ok", "", is_engine=True)
    broken = Check("llama.cpp 엔진", "bad", "", is_engine=True)
    optional = Check("미세조정", "missing", "")
    assert doctor.serving_works([needed, llamacpp, optional])
    assert not doctor.serving_works([needed, broken])
    assert not doctor.serving_works([Check("서빙", "bad", "", needed=True), llamacpp])


def test_a_child_that_crashes_is_an_answer_and_not_the_end() -> None:
    assert "Error" in engines.tried("import 존재하지_않는_모듈")["error"]
    assert "번호" in engines.tried("import os; os.abort()")["error"]
    assert "답이 없습니다" in engines.tried("import time; time.sleep(60)", patience=0.5)["error"]
    assert engines.tried("print('소음'); print('{\"a\": 1}')") == {"a": 1}


def test_a_port_that_is_taken_is_told_with_another() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        number = sock.getsockname()[1]
        taken = machine.port(number)
    assert taken.state == "missing"
    assert f"--port {number + 1}" in taken.mend
    assert machine.port(number).state == "ok"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    check = machine.cache_folder(tmp_path / "캐시")
    tmp_path.chmod(stat.S_IRWXU)
    assert check.state == "bad"
    assert check.mend


def test_a_file_where_the_cache_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "lightkorllm").write_text("", encoding="utf-8")
    check = machine.cache_folder(tmp_path / "lightkorllm")
    assert (check.state, check.needed) == ("bad", True)


@pytest.mark.model
def test_here_serving_works_and_is_told_in_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["serving_works"] is True
    names = {check["name"]: check for check in told["checks"]}
    assert names["llama.cpp 엔진"]["state"] == "ok"
    assert names["파이썬"]["found"] == sys.version.split()[0]
    assert {"메모리", "디스크", "캐시 폴더", "포트 5989", "그림의 한글 글꼴"} <= set(names)
