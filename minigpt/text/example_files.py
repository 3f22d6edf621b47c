"""Files of examples, JSON lines with conversations or labelled texts: which they are, and what is held out of them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minigpt.config import InputError, nearest
from minigpt.text.choices import CHOICE_TASKS, is_multiple_choice
from minigpt.text.comments import COMMENT_TASKS
from minigpt.text.labels import LabelData, LabelledText
from minigpt.text.sources import json_of, read_lines, use_lines
from minigpt.text.tasks import ALL_TASKS, TASKS
from minigpt.text.tokenizer import Tokenizer


def format_of(name: str) -> str:
    """What a task or a file teaches, "chats" or "labels"; a file's first line that is one or the other decides.

    Raises:
        InputError: for what is no task, and for a file in which no line is one or the other.
    """
    if is_multiple_choice(name):
        raise InputError(
            f"{name!r} is multiple choice: it is there to measure and has no conversations or labels to learn from. "
            "`minigpt evaluate --task` takes it"
        )
    if name in (*TASKS, ALL_TASKS, *COMMENT_TASKS):
        return "labels" if name in COMMENT_TASKS else "chats"
    if not Path(name).exists():
        known = [*TASKS, ALL_TASKS, *COMMENT_TASKS, *CHOICE_TASKS]
        raise InputError(
            f"there is no task and no file called {name!r}; {nearest(name, known)}; or give the path of a file of JSON "
            "lines"
        )
    problem = ""
    for line in use_lines(Path(name), json_of):
        if isinstance(line, InputError):
            problem = problem or f" ({line})"
        elif isinstance(line, dict) and line.keys() & {"messages", "label"}:
            return "chats" if "messages" in line else "labels"
    raise InputError(
        f"{name!r} has no conversation and no labelled text{problem}: in each line "
        'must be {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]} or '
        '{"text": "I like it", "label": "positive"}'
    )


def file_sha256(path: Path) -> str:
    """What says that a file is still the same."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def choose_held_out(given: Sequence[str]) -> set[str]:
    """Of all that is given in a file, what is kept to measure on: a tenth, at least one.

    Which, a hash decides and not the place in the file: sorting it changes nothing, and lines in which the same is
    given go the same way.
    """
    different = sorted(set(given), key=lambda text: hashlib.sha256(text.encode()).digest())
    return set(different[: max(1, len(different) // 10)])


@dataclass(frozen=True)
class LabelFile:
    """What `read_labels` found: the texts with their labels, and a word on each line left out."""

    texts: list[LabelledText]
    left_out: list[str]


def read_labels(path: Path, tokenizer: Tokenizer, context_length: int, *, skip_bad: bool = False) -> LabelFile:
    """The labelled texts of a file of JSON lines: {"text": "I like it", "label": "positive"} in each.

    Args:
        path: the file, in UTF-8. Empty lines do not count.
        tokenizer: of the model.
        context_length: of the model. A text that is longer is never cut: what decides may stand at its end.
        skip_bad: leave out lines that cannot be used, and tell of each; else the first is refused.

    Raises:
        InputError: for a file that cannot be read or has no such line, and, with its number, for a line that is not
            like that, or does not fit into the context.
    """

    def use(line: bytes) -> LabelledText:
        found = json_of(line)
        if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("text", "label")):
            raise InputError('this line is no JSON object with two strings, "text" and "label"')
        for key in ("text", "label"):
            if not found[key].strip():
                raise InputError(f'the "{key}" is empty')
        if (length := 1 + len(tokenizer.encode(found["text"]))) > context_length:  # 1: the end-of-text token before it
            raise InputError(
                f"this text needs {length} tokens of context and the model has {context_length}: shorten it"
            )
        return found["text"], found["label"]

    form = '{"text": "…", "label": "…"}'
    texts, left_out = read_lines(path, use, skip_bad=skip_bad, needs=("labelled text", form))
    return LabelFile(texts, left_out)


def label_file_data(
    name: str,
    tokenizer: Tokenizer,
    context_length: int,
    *,
    labels: Sequence[str] | None = None,
    skip_bad: bool = False,
) -> LabelData:
    """The labelled texts of a file as data with the splits "train", "val" and "all".

    Of each label a tenth of its texts is held out, at least one.

    Args:
        name: path of the file.
        tokenizer: of the model.
        context_length: of the model.
        labels: those of a classifier, to measure it on any file: there is only the split "all" then.
        skip_bad: as for `read_labels`.

    Raises:
        InputError: as `read_labels`; when all labels are the same, or one has a single text; for an unknown label.
    """
    found = read_labels(Path(name), tokenizer, context_length, skip_bad=skip_bad)
    spec = {"name": name, "sha256": file_sha256(Path(name)), "skip_bad": skip_bad}
    if labels is not None:
        if unknown := sorted({label for _, label in found.texts} - set(labels)):
            raise InputError(f"{name!r} has the label {unknown[0]!r}, which this model does not tell: it tells "
                             f"{', '.join(labels)}")  # fmt: skip
        return LabelData(spec, labels, {"all": found.texts}, tokenizer, context_length)
    label_of: dict[str, str] = {}
    for text, label in found.texts:
        label_of.setdefault(text, label)  # a text with two labels is on one side only
    counts = Counter(label_of.values())
    if rare := [label for _, label in found.texts if counts[label] < 2]:
        raise InputError(
            f"{name!r} has one text only with the label {rare[0]!r}: each label needs at least two different ones, one "
            "to learn from and one to measure on"
        )
    if len(counts) < 2:
        raise InputError(f"{name!r} has one label only, {found.texts[0][1]!r}: there is nothing to tell apart")
    val = {text for label in counts for text in choose_held_out([t for t, its in label_of.items() if its == label])}
    splits = {
        "train": [line for line in found.texts if line[0] not in val],
        "val": [line for line in found.texts if line[0] in val],
        "all": found.texts,
    }
    return LabelData(spec, sorted(counts), splits, tokenizer, context_length, found.left_out)
