"""Data to fine-tune on: conversations of a task or of one's own file, and a second data set mixed in.

A row is a conversation with its loss mask. As everywhere, the batch is a function of the step: a task's examples are
made as they are needed, and a file's lines are dealt anew in each epoch.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minigpt.config import InputError, nearest
from minigpt.text.batch import Batch
from minigpt.text.chat import (
    END_OF_TURN,
    EncodedChat,
    KnownChat,
    encode_chat,
    pack_chats,
    read_chats,
    special_id,
)
from minigpt.text.comments import COMMENT_TASKS
from minigpt.text.data import Data
from minigpt.text.example_files import choose_held_out, file_sha256, format_of, label_file_data
from minigpt.text.labels import LabelData, comment_data
from minigpt.text.tasks import TASKS, Example, example_at
from minigpt.text.tokenizer import Tokenizer

TOGETHER = 8
"""Steps whose rows are sorted by length, so that rows of like length share a step and little of it is padding."""

HELD_OUT = 500
"""Examples of a task in its validation split and in its test split."""

MOST_DRAWS = 1000
"""Of one example. When none has fitted by then, none will."""


Line = TypeVar("Line")


class RowData:
    """Rows of uneven length as batches; `row` and `size` say which rows there are."""

    def __init__(self, spec: dict[str, Any], tokenizer: Tokenizer) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self._sorted = lru_cache(maxsize=2)(self._sort)  # two, because the next batch is made ahead

    def row(self, split: str, index: int, seed: int = 0) -> EncodedChat:
        """Row number `index` of a split: of "train" without end, of the others as many as `size` says."""
        raise NotImplementedError

    def size(self, split: str) -> int:
        """Rows in a held-out split."""
        raise NotImplementedError

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """A batch of the training split. TOGETHER steps share out their rows by length, in a random order."""
        window, place = divmod(step, TOGETHER)
        order = np.argsort(np.random.Philox(key=seed, counter=[0, 0, 1, window]).random_raw(TOGETHER))
        first = int(order[place]) * batch_size
        return pack_chats(self.tokenizer, self._sorted(window, batch_size, seed)[first : first + batch_size])

    def _sort(self, window: int, batch_size: int, seed: int) -> list[EncodedChat]:
        count = TOGETHER * batch_size
        rows = [self.row("train", index, seed) for index in range(window * count, (window + 1) * count)]
        return sorted(rows, key=lambda row: len(row.ids))

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Every row of a held-out split once, in order."""
        for start in range(0, self.size(split), batch_size):
            indices = range(start, min(start + batch_size, self.size(split)))
            yield pack_chats(self.tokenizer, [self.row(split, index) for index in indices])

    def text_bytes(self, split: str) -> int:
        """Bytes of what `batches(split)` asks for: the answers."""
        special = set(self.tokenizer.special_tokens.values())
        total = 0
        for index in range(self.size(split)):
            row = self.row(split, index)
            words = [i for i, told in zip(row.ids, row.learned, strict=True) if told and i not in special]
            total += len(self.tokenizer.decode(words).encode())
        return total


class ChatData(RowData):
    """Conversations to learn answers from: a task of the story world, or a file of one's own.

    A task has the splits of the story world, and what does not fit into the context is drawn again. A file has the
    splits "train", "val" and "all"; what does not fit is refused or, with `skip_bad`, left out and listed.

    Args:
        name: one of TASKS, or the path of a file of JSON lines (`minigpt.text.chat.read_chats`).
        tokenizer: one with chat tokens.
        context_length: of the model.
        held_out: examples in each held-out split of a task.
        skip_bad: leave out lines of a file that cannot be used.

    Attributes: `spec`, `tokenizer`, `context_length`, `left_out` (a message for each line that is).

    Raises:
        InputError: for a tokenizer without chat tokens, or as `read_chats`.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        context_length: int,
        *,
        held_out: int = HELD_OUT,
        skip_bad: bool = False,
    ) -> None:
        super().__init__({"name": name, "format": "chats"}, tokenizer)
        self.context_length = context_length
        self.left_out: list[str] = []
        self._held_out = held_out
        self._splits: dict[str, list[KnownChat]] = {}  # of a file
        special_id(tokenizer, END_OF_TURN)  # better now than in the first step
        if name in TASKS:
            self.example("train", 0)  # where nothing fits, this says so
            return
        found = read_chats(Path(name), tokenizer, context_length, skip_bad=skip_bad)
        self.left_out = found.left_out
        chats = [KnownChat("", chat, frozenset([chat[-1].content])) for chat in found.messages]
        val = choose_held_out([_given(chat) for chat in chats])
        self._splits = {
            "train": [chat for chat in chats if _given(chat) not in val],
            "val": [chat for chat in chats if _given(chat) in val],
            "all": chats,
        }
        if not self._splits["train"]:
            raise InputError(
                f"in all lines of {name!r} the same is asked: at least two different conversations are needed, one to "
                "learn from and one to measure on"
            )
        self.spec |= {"sha256": file_sha256(Path(name)), "skip_bad": skip_bad}

    def example(self, split: str, index: int, seed: int = 0) -> KnownChat:
        """Conversation number `index` of a split, which fits into the context.

        Raises:
            InputError: for a split that the data does not have, or a task that does not fit into this context.
        """
        if self._splits:
            return _line_at(self._splits, split, index, seed, self.spec["name"])
        return _fitting(self.spec["name"], split, index, seed, self._fits)

    def row(self, split: str, index: int, seed: int = 0) -> EncodedChat:
        """The conversation, encoded."""
        return encode_chat(self.tokenizer, self.example(split, index, seed).messages)

    def size(self, split: str) -> int:
        """Conversations in a held-out split."""
        if self._splits:
            return len(_lines_of(self._splits, split, self.spec["name"]))
        return self._held_out

    def drawn_again(self, count: int = 100) -> int:
        """How many of the first `count` training examples of a task are too long as first drawn."""
        if self._splits:
            return 0
        return sum(not self._fits(example_at(self.spec["name"], "train", index)) for index in range(count))

    def _fits(self, example: KnownChat) -> bool:
        return len(encode_chat(self.tokenizer, example.messages).ids) - 1 <= self.context_length


def _fitting(task: str, split: str, index: int, seed: int, fits: Callable[[Example], bool]) -> Example:
    """The first example that fits, of those that have this number: 0 is the task's own, others are far behind."""
    for attempt in range(MOST_DRAWS):
        example = example_at(task, split, index + attempt * 2**40, seed)
        if fits(example):
            return example
    raise InputError(
        f"no example of {task} fits into this model's context, in {MOST_DRAWS} draws: take a model with a longer one "
        "(the storyteller has 192 tokens)"
    )


class MixedData:
    """Two data sets: a share of the steps takes its batch from the second, evenly spread; measured on the first.

    Steps and not rows, because the loss of a step is a mean over its targets: a story has twenty times as many as an
    answer, and would outvote it in any batch that they share.

    Args:
        first: what to learn.
        second: what not to forget.
        share: of the steps, above 0 and below 1.

    Raises:
        InputError: for another share, or data sets with different tokenizers.
    """

    def __init__(self, first: Data, second: Data, share: float) -> None:
        if not 0 < share < 1:
            raise InputError(f"the share of {second.spec['name']} is {share}; it must be above 0 and below 1")
        if first.tokenizer.vocab_size != second.tokenizer.vocab_size:
            raise InputError("the two data sets have different tokenizers: make both with the same")
        self.first, self.second, self.share = first, second, share
        self.spec: dict[str, Any] = first.spec | {"mixed": second.spec["name"], "share": share}
        self.tokenizer = first.tokenizer

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """The next batch of one of the two."""
        seen = int(step * self.share)  # batches of the second before this step
        if int((step + 1) * self.share) > seen:
            return self.second.batch_at(seen, batch_size, seed)
        return self.first.batch_at(step - seen, batch_size, seed)

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Those of the first."""
        return self.first.batches(split, batch_size)

    def text_bytes(self, split: str) -> int:
        """Those of the first."""
        return self.first.text_bytes(split)


def is_task(spec: dict[str, Any]) -> bool:
    """Whether a run's data are those of a task or of a file of examples, and not stories or a text."""
    return spec.get("format") == "chats" or "labels" in spec


def finetuning_data(
    name: str, tokenizer: Tokenizer, context_length: int, *, skip_bad: bool = False
) -> ChatData | LabelData:
    """The data of a task, or of a file of JSON lines.

    Raises:
        InputError: as `format_of`, `ChatData`, `comment_data` and `label_file_data`.
    """
    if format_of(name) == "chats":
        return ChatData(name, tokenizer, context_length, skip_bad=skip_bad)
    if name in COMMENT_TASKS:
        return comment_data(name, tokenizer, context_length)
    return label_file_data(name, tokenizer, context_length, skip_bad=skip_bad)


# Files.


def _given(chat: KnownChat) -> str:
    """All but the last answer, as one text."""
    return "\0".join(part for message in chat.messages[:-1] for part in (message.role, message.content))


def _lines_of(splits: dict[str, list[Line]], split: str, name: str) -> list[Line]:
    """The lines of a split. Raises InputError for one that there is not."""
    if split not in splits:
        raise InputError(f"{name!r} has no split {split!r}; {nearest(split, list(splits))}")
    return splits[split]


def _line_at(splits: dict[str, list[Line]], split: str, index: int, seed: int, name: str) -> Line:
    """Line number `index` of a split; the training split goes on for ever, dealt anew in each epoch."""
    lines = _lines_of(splits, split, name)
    if split == "train":
        epoch, place = divmod(index, len(lines))
        index = _deal(seed, epoch, len(lines))[place]
    return lines[index]


@lru_cache(maxsize=8)
def _deal(seed: int, epoch: int, count: int) -> list[int]:
    """The numbers below `count` in random order. Philox is the generator of `TextData.batch_at`, too."""
    raw = np.random.Philox(key=seed, counter=[0, 0, 2, epoch]).random_raw(count)
    order: list[int] = np.argsort(raw, kind="stable").tolist()
    return order
