"""Multiple choice: a beginning, several ways to go on, one of them right. Tasks of our own, and files of others.

A line of a file is one question: {"context": "Ice is frozen ", "choices": ["water", "sand"], "answer": 0}. The text of
a choice is the context and the choice as they stand, with nothing between; `answer` counts from 0.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minigpt.config import InputError, nearest
from minigpt.text.sources import json_of, read_lines, use_lines

CHOICE_TASKS = ("everyday", "everyday-zh")
"""Simple facts of daily life in English and in Chinese, 30 questions each with four choices; our own text."""

FORM = '{"context": "Ice is frozen ", "choices": ["water", "sand"], "answer": 0}'


@dataclass(frozen=True)
class Question:
    """One question: the text before, the choices, and which of them is right, counted from 0.

    Raises:
        InputError: for fewer than two choices, an empty one, two equal ones, or an answer that is none of them.
    """

    context: str
    choices: Sequence[str]
    answer: int

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise InputError(f"there are {len(self.choices)} choices; give at least 2")
        seen: dict[str, int] = {}
        for i, choice in enumerate(self.choices):
            if not choice.strip():
                raise InputError(f"choice {i} is empty, so it has no tokens to score: write it out or leave it away")
            if choice.strip() in seen:
                raise InputError(
                    f"choices {seen[choice.strip()]} and {i} are both {choice.strip()!r}: no two may agree"
                )
            seen[choice.strip()] = i
        if not 0 <= self.answer < len(self.choices):
            raise InputError(
                f'"answer" is {self.answer}, so no choice is right: with {len(self.choices)} choices it is a number '
                f"from 0 to {len(self.choices) - 1}"
            )


def _question(line: bytes) -> Question:
    found = json_of(line)
    if not isinstance(found, dict):
        raise InputError(f"this line is no JSON object; it must be like {FORM}")
    if missing := [key for key in ("context", "choices", "answer") if key not in found]:
        raise InputError(f'this line has no "{missing[0]}"; it must be like {FORM}')
    context, choices, answer = (found[key] for key in ("context", "choices", "answer"))
    if not isinstance(context, str):
        raise InputError('"context" is no string')
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise InputError('"choices" is no list of strings')
    if not isinstance(answer, int) or isinstance(answer, bool):
        raise InputError('"answer" is no whole number: it says which choice is right, counted from 0')
    return Question(context, choices, answer)


def read_questions(path: Path, *, skip_bad: bool = False) -> tuple[list[Question], list[str]]:
    """The questions of a file of JSON lines in UTF-8, and a word on each line left out. Empty lines do not count.

    Args:
        path: the file.
        skip_bad: leave out lines that cannot be used, and tell of each; else the first is refused.

    Raises:
        InputError: for a file that cannot be read or has no question, and, with its number, for a line that is none.
    """
    return read_lines(path, _question, skip_bad=skip_bad, needs=("question", FORM))


def load_questions(name: str) -> list[Question]:
    """The questions of one of CHOICE_TASKS, or of a file.

    Raises:
        InputError: as `read_questions`, and for what is neither.
    """
    path = Path(__file__).with_name("choices") / f"{name}.jsonl" if name in CHOICE_TASKS else Path(name)
    if not path.exists():
        raise InputError(f"there is no task and no file called {name!r}; {nearest(name, list(CHOICE_TASKS))}")
    return read_questions(path)[0]


def is_multiple_choice(name: str) -> bool:
    """Whether a name is one of CHOICE_TASKS, or a file in which the first line that is an object has "choices"."""
    if name in CHOICE_TASKS or not Path(name).is_file():
        return name in CHOICE_TASKS
    with suppress(InputError):
        return next(("choices" in line for line in use_lines(Path(name), json_of) if isinstance(line, dict)), False)
    return False
