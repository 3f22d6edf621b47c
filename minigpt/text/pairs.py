"""Pairs of answers, of which one is preferred: read from a file, as token ids, and as data to measure on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minigpt.config import InputError
from minigpt.text.batch import Batch, dealt, pad_rows
from minigpt.text.chat import END_OF_TURN, Message, encode_answer, encode_prompt, special_id
from minigpt.text.example_files import choose_held_out, file_sha256
from minigpt.text.sources import json_of, read_lines
from minigpt.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Pair:
    """A prompt and two answers to it, as token ids; the answers with the token that ends them."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def line_of(prompt: str | Sequence[Message], chosen: str, rejected: str) -> str:
    """A line of a file of pairs; a prompt is the beginning of a text ("" for none), or a conversation."""
    given = prompt if isinstance(prompt, str) else [{"role": m.role, "content": m.content} for m in prompt]
    return json.dumps({"prompt": given, "chosen": chosen, "rejected": rejected}, ensure_ascii=False)


def encode_pair(tokenizer: Tokenizer, prompt: str | Sequence[Message], chosen: str, rejected: str) -> Pair:
    """A pair as a model reads it: after the end-of-text token, or in the template of a chat.

    Raises:
        InputError: for answers that are equal or, to a chat, empty, and as `encode_prompt`.
    """
    if chosen == rejected:
        raise InputError("the chosen and the rejected answer are equal, so nothing is preferred: leave the pair out")
    if isinstance(prompt, str):
        if (end := tokenizer.end_of_text) is None:
            raise InputError("this model's tokenizer has no end-of-text token, so it cannot end an answer")
        ids, encode = [end, *tokenizer.encode(prompt)], tokenizer.encode
    else:
        if not (chosen.strip() and rejected.strip()):
            raise InputError("an answer is empty; give it words")
        ids, end = encode_prompt(tokenizer, prompt), special_id(tokenizer, END_OF_TURN)
        encode = partial(encode_answer, tokenizer)
    return Pair(ids, [*encode(chosen), end], [*encode(rejected), end])


class PairData:
    """The pairs of a file of JSON lines: {"prompt": "Once", "chosen": " upon a time", "rejected": " twice"} in each.

    A prompt is the beginning of a text, or a list of messages as in a file of conversations. A tenth of the pairs is
    held out; measured is the loss of their chosen answers.

    Args:
        path: the file.
        tokenizer: of the model.
        context_length: of the model. A pair that is longer is never cut.
        skip_bad: leave out lines that cannot be used; else the first is refused.

    Attributes: `spec`, `tokenizer`, `train` and `val` (pairs), `left_out` (a message for each line that is).

    Raises:
        InputError: as `read_lines` and `encode_pair`, for a pair that does not fit, and for fewer than two pairs.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer, context_length: int, *, skip_bad: bool = False) -> None:
        def use(line: bytes) -> tuple[str, Pair]:
            found = json_of(line)
            keys = ("chosen", "prompt", "rejected")
            if not isinstance(found, dict) or tuple(sorted(found)) != keys:
                raise InputError('this line is no JSON object with "prompt", "chosen" and "rejected" and nothing else')
            if not all(isinstance(found[key], str) for key in ("chosen", "rejected")):
                raise InputError("an answer is no string")
            pair = encode_pair(tokenizer, _prompt(found["prompt"]), found["chosen"], found["rejected"])
            longest = len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) - 1
            if longest > context_length:
                raise InputError(
                    f"this pair needs {longest} tokens of context and the model has {context_length}: shorten it"
                )
            return line.decode(), pair

        form = line_of("Once", " upon a time", " twice")
        lines, self.left_out = read_lines(path, use, skip_bad=skip_bad, needs=("pair of answers", form))
        held_out = choose_held_out([line for line, _ in lines])
        self.train = [pair for line, pair in lines if line not in held_out]
        self.val = [pair for line, pair in lines if line in held_out]
        if not self.train:
            raise InputError(f"{str(path)!r} has one pair only: at least two are needed, one to measure on")
        self.tokenizer = tokenizer
        self.spec: dict[str, Any] = {
            "name": str(path), "format": "pairs", "sha256": file_sha256(path), "skip_bad": skip_bad,
        }  # fmt: skip

    def pairs_at(self, step: int, count: int, seed: int = 0) -> list[int]:
        """Which of the training pairs a step takes; they are dealt anew in each epoch."""
        n = len(self.train)
        return [dealt(seed, i // n, n)[i % n] for i in range(step * count, (step + 1) * count)]

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """The chosen answers of a step's pairs."""
        return self._chosen([self.train[i] for i in self.pairs_at(step, batch_size, seed)])

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """The chosen answers of the pairs held out."""
        pairs = self._of(split)
        for start in range(0, len(pairs), batch_size):
            yield self._chosen(pairs[start : start + batch_size])

    def text_bytes(self, split: str) -> int:
        """Bytes of the chosen answers."""
        return sum(len(self.tokenizer.decode(pair.chosen[:-1]).encode()) for pair in self._of(split))

    def _of(self, split: str) -> list[Pair]:
        if split not in ("train", "val"):
            raise InputError(f"{self.spec['name']!r} has no split {split!r}; choose from train, val")
        return self.train if split == "train" else self.val

    def _chosen(self, pairs: list[Pair]) -> Batch:
        return pack_answers([(pair.prompt, pair.chosen) for pair in pairs])


def pack_answers(rows: Sequence[tuple[list[int], list[int]]]) -> Batch:
    """Prompts with answers as one batch, in which the answers' tokens are the targets."""
    learned = [[False] * len(prompt) + [True] * len(answer) for prompt, answer in rows]
    return pad_rows([[*prompt, *answer] for prompt, answer in rows], 0, learned)


def _prompt(found: Any) -> str | list[Message]:
    if isinstance(found, str):
        return found
    if not isinstance(found, list) or not all(
        isinstance(m, dict) and sorted(m) == ["content", "role"] and all(isinstance(v, str) for v in m.values())
        for m in found
    ):
        raise InputError('the "prompt" is neither a string nor a list of messages with "role" and "content"')
    return [Message(**message) for message in found]
