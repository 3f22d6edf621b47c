"""The command line: its help, wrong commands and flags, and how it ends."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt.cli import COMMANDS
from tests.commands.runs import Call


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_names_every_command(call: Call, arguments: list[str]) -> None:
    status, out, err = call(*arguments)
    assert status == 0 and err == ""
    assert all(re.search(rf"^  {name} +[A-Z].*\.$", out, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(call: Call, name: str) -> None:
    status, out, err = call(name, "--help")
    assert status == 0 and err.strip() == ""
    options = re.findall(r"(--[a-z][a-z0-9-]+)", out)
    assert "--help" in options and len(options) >= 3
    lines = re.sub(r"[│╭╮╰╯─]", " ", out)
    for option in set(options) - {"--help"}:
        if not option.startswith("--no-"):
            assert re.search(rf"{option}\b[^\n]*\s+\S", lines), f"{option} has no help"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["data", "prepare", "--help"], ["generate", "--nmu", "3"], ["nonsense"]],
)
def test_help_and_typing_errors_do_not_wait_for_torch(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom minigpt.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["generate", "evaluate", "chat", "serve", "export"])
def test_commands_that_only_load_a_model_are_read_without_typeguard(name: str) -> None:
    program = (
        "import sys\nfrom minigpt.cli import main\ntry: main()\nexcept SystemExit: sys.exit('typeguard' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, name, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "there is no command 'trian'; did you mean 'train'"),
        ("--verbose", "there is no command '--verbose'"),
        ("train --max-stepz 5", "Perhaps you meant: --max-steps"),
        ("generate --temprature 2", "Perhaps you meant: --temperature"),
        ("evaluate --sampels 5", "Perhaps you meant: --samples"),
        ("evaluate --samples many", "Error parsing --samples: invalid literal for int() with base 10: 'many'"),
        ("generate one two", "Unrecognized options: two"),
        ("train --optimizer sgd", "invalid choice 'sgd' for argument '--optimizer'"),
        ("data --tokenizer words", "invalid choice 'words' for argument '--tokenizer'"),
    ],
)
def test_bad_input_gives_one_message_and_exit_status_2(
    refused: Callable[[str], str], arguments: str, message: str
) -> None:
    assert message in refused(arguments)


def test_what_the_system_refuses_is_no_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied", "/root/secret")

    monkeypatch.setitem(COMMANDS, "data", refuse)
    status, out, err = call("data")
    assert (status, out) == (2, "") and "Permission denied: '/root/secret'" in err


def test_ctrl_c_outside_training_is_quiet(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "doctor", interrupted)
    assert call("doctor") == (130, "", "")


def test_output_that_cannot_hold_a_character_gets_its_code(text_run: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "minigpt", "generate", "\u4f60", "--model", "text_run"]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 2 and b"unknown character '\\u4f60'" in done.stderr and b"Traceback" not in done.stderr
    done = subprocess.run([*command[:3], "train", "--help"], capture_output=True, env=environment)
    assert done.returncode == 0 and b"cuda:1, \\u2026" in done.stdout


def test_as_a_program_it_exits_with_the_status() -> None:
    command = [sys.executable, "-m", "minigpt"]
    done = subprocess.run([*command, "generate", "--model", "xyz"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "minigpt: error: there is no model and no folder called 'xyz'; choose from storyteller, helper, smollm2, "
        "gpt2, gpt2-medium, gpt2-large, gpt2-xl\n"
    )
    assert subprocess.run([*command, "--help"], capture_output=True, text=True).returncode == 0
