"""Texts with a label each, as batches for a classifier: the label is the target at a text's last token."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from minigpt.config import IGNORE, InputError, nearest
from minigpt.text.batch import Batch, dealt
from minigpt.text.comments import LANGUAGES, comment_at, comment_world
from minigpt.text.tokenizer import Tokenizer

LabelledText = tuple[str, str]
"""A text and its label."""


class LabelData:
    """Labelled texts, one in each row: the end-of-text token, as before every story, then the text, then padding.

    Training goes through all of its texts in one random order after the other.

    Args:
        spec: what a run writes down to find the same data again; the labels are added.
        labels: their number in this order is the target.
        splits: the texts of "train", "val" and "test".
        tokenizer: with an end-of-text token.
        context_length: the most tokens in a row.
        left_out: of a file, a word on each line that could not be used.

    Raises:
        InputError: for a split without texts, an unknown label, or a text that is empty or does not fit.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        labels: Sequence[str],
        splits: Mapping[str, Sequence[LabelledText]],
        tokenizer: Tokenizer,
        context_length: int,
        left_out: Sequence[str] = (),
    ) -> None:
        self.spec = spec | {"labels": list(labels)}
        self.labels = list(labels)
        self.splits = splits
        self.tokenizer = tokenizer
        self.left_out = left_out
        if tokenizer.end_of_text is None:
            raise InputError("a classifier needs a tokenizer with an end-of-text token; train one with special_tokens")
        self._end = tokenizer.end_of_text
        self._rows = {split: self._encode(split, texts, context_length) for split, texts in splits.items()}

    def _encode(self, split: str, texts: Sequence[LabelledText], context_length: int) -> list[tuple[list[int], int]]:
        """The ids and the label's number of each text."""
        if not texts:
            raise InputError(f"the {split} part of {self.spec['name']} has no texts; give at least one")
        rows = []
        for number, (text, label) in enumerate(texts, start=1):
            ids = self.tokenizer.encode(text)
            where = f"text {number} of the {split} part of {self.spec['name']}"
            if not 1 <= len(ids) < context_length:
                raise InputError(
                    f"{where} has {len(ids)} tokens, and a row holds 1 to {context_length - 1}: leave it out, "
                    "or take a model with a larger context_length"
                )
            if label not in self.labels:
                raise InputError(f"{where} has the label {label!r}; {nearest(label, self.labels)}")
            rows.append(([self._end, *ids], self.labels.index(label)))
        return rows

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """The next texts of the training split's random orders, which depend on the seed and the step alone."""
        rows, count = self._rows["train"], len(self._rows["train"])
        places = range(step * batch_size, (step + 1) * batch_size)
        return self._pack([rows[dealt(seed, place // count, count)[place % count]] for place in places])

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """All texts of a split in order."""
        rows = self._split(split)
        for start in range(0, len(rows), batch_size):
            yield self._pack(rows[start : start + batch_size])

    def size(self, split: str) -> int:
        """Texts in a split."""
        return len(self._split(split))

    def targets(self, split: str) -> torch.Tensor:
        """The number of each text's label, (N,)."""
        return torch.tensor([label for _, label in self._split(split)])

    def text_bytes(self, split: str) -> int:
        """Bytes of the split's texts."""
        self._split(split)
        return sum(len(text.encode()) for text, _ in self.splits[split])

    def _split(self, split: str) -> list[tuple[list[int], int]]:
        if split not in self._rows:
            raise InputError(f"{self.spec['name']} has no split {split!r}; choose from {', '.join(self._rows)}")
        return self._rows[split]

    def _pack(self, rows: list[tuple[list[int], int]]) -> Batch:
        inputs = torch.full((len(rows), max(len(ids) for ids, _ in rows)), self._end)
        targets = torch.full_like(inputs, IGNORE)
        for i, (ids, label) in enumerate(rows):
            inputs[i, : len(ids)] = torch.tensor(ids)
            targets[i, len(ids) - 1] = label  # by the place: padding has the id of a real token
        return inputs, targets


def comment_data(
    task: str,
    tokenizer: Tokenizer,
    context_length: int,
    *,
    train: int = 10000,
    held_out: int = 2000,
    language: str = "en",
    seed: int = 0,
) -> LabelData:
    """The comments of a task as data: `train` of them to learn from, `held_out` in each of "val" and "test".

    Args:
        task: sentiment or moderation.
        tokenizer: with an end-of-text token.
        context_length: the most tokens in a row.
        train: how many comments there are to learn from.
        held_out: comments in each held-out split, the same for every seed.
        language: en or zh.
        seed: which comments to learn from.

    Raises:
        InputError: for an unknown task or language, or as `LabelData`.
    """
    world = comment_world(task)
    if language not in LANGUAGES:
        raise InputError(f"there are no comments in {language!r}; choose from {', '.join(LANGUAGES)}")

    def texts(split: str, count: int, seed: int) -> list[LabelledText]:
        comments = (comment_at(task, split, index, seed) for index in range(count))
        return [(getattr(comment, LANGUAGES[language]), comment.label) for comment in comments]

    sizes = {"train": (train, seed), "val": (held_out, 0), "test": (held_out, 0)}
    splits = {split: texts(split, count, dice) for split, (count, dice) in sizes.items()}
    spec = {"name": task, "language": language, "train": train, "held_out": held_out, "seed": seed}
    return LabelData(spec, world.labels, splits, tokenizer, context_length)
