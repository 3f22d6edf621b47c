"""Data to fine-tune on: conversations of a task or of one's own file, and a second data set mixed in.

A row is a conversation with its loss mask. As everywhere, the batch is a function of the step: a task's examples are
made as they are needed, and a file's lines are dealt anew in each epoch.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.config import InputError, nearest
from minigpt.text.batch import Batch, dealt
from minigpt.text.chat import (
    EncodedChat,
    KnownChat,
    encode_chat,
    end_of_turn,
    pack_chats,
    read_chats,
)
from minigpt.text.chinese import tokens_per_character
from minigpt.text.comments import COMMENT_TASKS
from minigpt.text.data import Data
from minigpt.text.example_files import choose_held_out, file_sha256, format_of, label_file_data
from minigpt.text.labels import LabelData, comment_data
from minigpt.text.tasks import ALL_TASKS, CHINESE_TASKS, TASKS, example_at, teaching_at
from minigpt.text.tokenizer import Tokenizer

TOGETHER = 8
"""Steps whose rows are sorted by length, so that rows of like length share a step and little of it is padding."""

HELD_OUT = 500
"""Examples of a task in its validation split and in its test split."""

MOST_DRAWS = 1000
"""Of one example. When none has fitted by then, none will."""


class ChatData:
    """Conversations to learn answers from: a task of the story world, or a file of one's own.

    A task has the splits of the story world, and what does not fit into the context is drawn again. A file has the
    splits "train", "val" and "all"; what does not fit is refused or, with `skip_bad`, left out and listed.

    Args:
        name: one of TASKS, ALL_TASKS, or the path of a file of JSON lines (`minigpt.text.chat.read_chats`).
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
        self.spec: dict[str, Any] = {"name": name, "format": "chats"}
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.left_out: list[str] = []
        self._held_out = held_out
        self._splits: dict[str, list[KnownChat]] = {}  # of a file
        self._sorted = lru_cache(maxsize=2)(self._sort)  # two, because the next batch is made ahead
        end_of_turn(tokenizer)  # better now than in the first step
        if name in (*TASKS, ALL_TASKS):
            self.example("train", 0)  # where nothing fits, this says so
            if name in CHINESE_TASKS and tokens_per_character(tokenizer) <= 1:
                self.spec["chinese"] = True  # an adapter's base has these tokens, too
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
        return self._draw(split, index, seed)[0]

    def row(self, split: str, index: int, seed: int = 0) -> EncodedChat:
        """The conversation, encoded. What a task is learned from is made for that: `minigpt.text.tasks.teaching_at`."""
        if self._splits or split != "train":
            return self._draw(split, index, seed)[1]
        for attempt in range(MOST_DRAWS):
            messages = teaching_at(self.spec["name"], index + attempt * 2**40, seed)
            while messages:
                if self._fits(row := encode_chat(self.tokenizer, messages)):
                    return row
                messages = messages[:-2]  # one question less about the same story
        raise self._too_short()

    def _draw(self, split: str, index: int, seed: int) -> tuple[KnownChat, EncodedChat]:
        """Number `index` of a split: a file's line, or a task's first example that fits, its own or one far behind.

        A file's training split goes on for ever, dealt anew in each epoch.
        """
        if self._splits:
            lines = self._lines(split)
            if split == "train":
                index = dealt(seed, index // len(lines), len(lines))[index % len(lines)]
            return lines[index], self._encode(lines[index])
        for attempt in range(MOST_DRAWS):
            example = example_at(self.spec["name"], split, index + attempt * 2**40, seed)
            if self._fits(row := self._encode(example)):
                return example, row
        raise self._too_short()

    def _too_short(self) -> InputError:
        return InputError(
            f"no example of {self.spec['name']} fits into this model's context, in {MOST_DRAWS} draws: take a model "
            "with a longer one (the storyteller has 192 tokens)"
        )

    def _encode(self, chat: KnownChat) -> EncodedChat:
        return encode_chat(self.tokenizer, chat.messages)

    def _fits(self, row: EncodedChat) -> bool:
        return len(row.ids) - 1 <= self.context_length  # the last id is a target only

    def _lines(self, split: str) -> list[KnownChat]:
        if split not in self._splits:
            raise InputError(f"{self.spec['name']!r} has no split {split!r}; {nearest(split, list(self._splits))}")
        return self._splits[split]

    def size(self, split: str) -> int:
        """Conversations in a held-out split."""
        return len(self._lines(split)) if self._splits else self._held_out

    def drawn_again(self, count: int = 100) -> int:
        """How many of the first `count` training examples of a task are too long as first drawn."""
        if self._splits:
            return 0
        first = (example_at(self.spec["name"], "train", index) for index in range(count))
        return sum(not self._fits(self._encode(example)) for example in first)

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
        """Every conversation of a held-out split once, in order."""
        for start in range(0, self.size(split), batch_size):
            indices = range(start, min(start + batch_size, self.size(split)))
            yield pack_chats(self.tokenizer, [self.row(split, index) for index in indices])

    def text_bytes(self, split: str) -> int:
        """Bytes of what `batches(split)` asks for: the answers."""
        chats = (self.example(split, index) for index in range(self.size(split)))
        said = (message.content for chat in chats for message in chat.messages if message.role == "assistant")
        return sum(len(words.encode()) for words in said)


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
    name: str, tokenizer: Tokenizer, context_length: int, *, language: str = "en", skip_bad: bool = False
) -> ChatData | LabelData:
    """The data of a task, or of a file of JSON lines; the language is that of comments.

    Raises:
        InputError: for another language without comments; as `format_of`, `ChatData`, `comment_data` and
            `label_file_data`.
    """
    if language != "en" and name not in COMMENT_TASKS:
        raise InputError(
            f"--language {language} is for the comments of {' and '.join(COMMENT_TASKS)}; {name!r} is as it is: leave "
            "--language out"
        )
    if format_of(name) == "chats":
        return ChatData(name, tokenizer, context_length, skip_bad=skip_bad)
    if name in COMMENT_TASKS:
        return comment_data(name, tokenizer, context_length, language=language)
    return label_file_data(name, tokenizer, context_length, skip_bad=skip_bad)


def _given(chat: KnownChat) -> str:
    """All but the last answer, as one text."""
    return "\0".join(part for message in chat.messages[:-1] for part in (message.role, message.content))
