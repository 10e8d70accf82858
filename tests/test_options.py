"""Options: declared once, one precedence, every fault named."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightkorllm.errors import OptionError
from lightkorllm.options import ServeOptions, load, split_adapter
from lightkorllm.terminal.options import TerminalOptions


def _load(*argv: str, **environ: str) -> ServeOptions:
    return load(ServeOptions, argv, prog="main.py", environ=environ)


def test_nothing_said_gives_the_defaults() -> None:
    assert _load() == ServeOptions()


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "설정.toml"
    file.write_text('port = 1001\nhost = "1.1.1.1"\nmax_history = 3\n', encoding="utf-8")
    options = _load(
        "--port", "1003", "--config", str(file), LIGHTKORLLM_PORT="1002", LIGHTKORLLM_HOST="2.2.2.2"
    )
    assert (options.port, options.host, options.max_history) == (1003, "2.2.2.2", 3)
    assert options.max_new_token == 256


@pytest.mark.parametrize("flag", ["--config", "--config="])
def test_the_config_file_may_be_named_in_the_environment_too(tmp_path: Path, flag: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text("\ufeffport = 1001\n", encoding="utf-8")
    argv = [flag, str(file)] if flag == "--config" else [flag + str(file)]
    assert _load(*argv).port == _load(LIGHTKORLLM_CONFIG=str(file)).port == 1001


def test_repeated_flags_replace_what_a_lower_place_says() -> None:
    options = _load("--api_key", "c", "--api_key", "d", LIGHTKORLLM_API_KEY="a,b")
    assert options.api_key == ("c", "d")
    assert _load(LIGHTKORLLM_API_KEY="a, b").api_key == ("a", "b")


def test_a_switch_from_the_environment_can_be_switched_off_again() -> None:
    assert _load(LIGHTKORLLM_EARLY_STOPPING="1").early_stopping
    assert not _load("--no_early_stopping", LIGHTKORLLM_EARLY_STOPPING="true").early_stopping


@pytest.mark.parametrize(("alias", "field"), [("--model", "quantized_model_dir")])
def test_short_names_mean_the_long_ones(alias: str, field: str) -> None:
    assert getattr(_load(alias, "모델.gguf"), field) == "모델.gguf"
    assert _load("--ngrok", "--ngrok_token", "t") == _load("--ngrock", "--ngrock_token", "t")


def test_one_file_serves_the_server_and_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "설정.toml"
    file.write_text('port = 1001\nmax_history = 3\ncors_origins = ["*"]\n', encoding="utf-8")
    assert _load("--config", str(file)).port == 1001
    told = load(TerminalOptions, ["--config", str(file)], prog="chat", environ={})
    assert told.max_history == 3


@pytest.mark.parametrize("text", ["0.5", "1", "1e-3"])
def test_numbers_with_a_point_come_from_everywhere(tmp_path: Path, text: str) -> None:
    file = tmp_path / "설정.toml"
    file.write_text(f"temperature = {text}\n", encoding="utf-8")
    for argv, environ in (
        (["--temperature", text], {}),
        ([], {"LIGHTKORLLM_TEMPERATURE": text}),
        (["--config", str(file)], {}),
    ):
        assert load(TerminalOptions, argv, prog="x", environ=environ).temperature == float(text)
    with pytest.raises(OptionError, match="숫자여야"):
        load(TerminalOptions, [], prog="x", environ={"LIGHTKORLLM_TEMPERATURE": "따뜻하게"})


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"LIGHTKORLLM_PROT": "1"}, "LIGHTKORLLM_PROT"),
        ({"LIGHTKORLLM_PORT": "많이"}, "LIGHTKORLLM_PORT"),
        ({"LIGHTKORLLM_EARLY_STOPPING": "yes?"}, "true"),
        ({"LIGHTKORLLM_KV_TYPE": "f8"}, "q8_0"),
    ],
)
def test_a_wrong_environment_variable_is_named(environ: dict[str, str], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        _load(**environ)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("prot = 1", "prot"),
        ('port = "많이"', "port"),
        ("port = true", "port"),
        ("api_key = 3", "api_key"),
        ("port = ", "TOML"),
        ("[server]\nport = 1", "server"),
    ],
)
def test_a_wrong_config_file_is_named_with_its_key(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "설정.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=word) as refused:
        _load("--config", str(file))
    assert "설정.toml" in str(refused.value)


@pytest.mark.parametrize("argv", [["--prot", "3"], ["--port", "abc"], ["그냥"], ["--kv_type", "x"]])
def test_a_wrong_command_line_exits_with_2_and_a_korean_hint(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        _load(*argv)
    assert stop.value.code == 2
    assert "main.py --help" in capsys.readouterr().err


ORIGINAL = (
    "quantized_model_dir peft_lora_dir device max_new_token num_beams max_history early_stopping "
    "port ngrock ngrock_token human_str ai_str stop_str"
)


@pytest.mark.parametrize("name", ORIGINAL.split())
def test_help_shows_every_flag_of_the_original(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        _load("--help")
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert "usage: main.py" in shown
    assert f"--{name}" in shown
    if name not in ("early_stopping", "ngrock"):
        assert name.upper() in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("n_parallel", 0),
        ("max_queue", -1),
        ("max_new_token", 0),
        ("max_history", -1),
        ("gpu_layers", -2),
        ("max_body", 0),
        ("human_str", " "),
    ],
)
def test_options_refuse_nonsense_when_they_are_made(field: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"--{field}"):
        ServeOptions(**{field: value})  # type: ignore[arg-type]


def test_adapters_are_named_or_named_after_their_file() -> None:
    assert split_adapter("말투=어댑터/a.gguf") == ("말투", "어댑터/a.gguf")
    assert split_adapter("어댑터/말투.gguf") == ("말투", "어댑터/말투.gguf")
    for wrong in ("=a", "a="):
        with pytest.raises(OptionError, match="--peft_lora_dir"):
            split_adapter(wrong)
