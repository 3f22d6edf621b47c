"""The command line: minigpt COMMAND, the commands as COMMANDS lists them.

Every command prints for people, or one JSON object with `--json`. Bad input gives one message and exit status 2.
"""

import io
import sys
from collections.abc import Callable

import tyro

from minigpt.commands.chat import chat
from minigpt.commands.finetuning import Finetune, finetune, finetune_defaults
from minigpt.commands.machine import doctor, lab
from minigpt.commands.models import evaluate, export, generate
from minigpt.commands.serve import serve
from minigpt.commands.texts import data, data_prepare, tokenizer
from minigpt.commands.training import Train, train, train_defaults
from minigpt.commands.tuning import Tune, tune, tune_defaults
from minigpt.config import InputError, nearest

COMMANDS: dict[str, Callable[..., int]] = {
    "doctor": doctor,
    "lab": lab,
    "data": data,
    "tokenizer": tokenizer,
    "train": train,
    "finetune": finetune,
    "tune": tune,
    "evaluate": evaluate,
    "generate": generate,
    "chat": chat,
    "serve": serve,
    "export": export,
}


def _help() -> str:
    lines = [f"  {name:<10} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: minigpt COMMAND [options]", "", *lines, "", "minigpt COMMAND --help explains its options."]
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 2 bad input, 75 training stopped early, 130 Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for a terminal or file that cannot hold every character
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise InputError(f"there is no command {name!r}; {nearest(name, list(COMMANDS))}")
        program = f"minigpt {name}"
        if name == "train":
            return train(tyro.cli(Train, prog=program, args=rest, default=train_defaults(rest)))
        if name == "finetune":
            return finetune(tyro.cli(Finetune, prog=program, args=rest, default=finetune_defaults(rest)))
        if name == "tune":
            return tune(tyro.cli(Tune, prog=program, args=rest, default=tune_defaults(rest)))
        if name == "data" and rest[:1] == ["prepare"]:
            return tyro.cli(data_prepare, prog=f"{program} prepare", args=rest[1:])
        return tyro.cli(COMMANDS[name], prog=program, args=rest)
    except (InputError, OSError) as error:  # OSError: a full disk or a forbidden folder that nobody foresaw
        print(f"minigpt: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
