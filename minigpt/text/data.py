"""Training data: named data sets, token files read through a memory map, and the batch of every step.

The batch is a function of the step, not of what was read before. Exact resume, the same order for any number of
processes, and an evaluation that never disturbs training all follow from that.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import platformdirs
import torch

from minigpt.config import IGNORE, GPTConfig, InputError
from minigpt.text import stories
from minigpt.text.batch import Batch, pad_rows
from minigpt.text.shards import Manifest, Shard, open_shards, token_dtype, tokenizer_sha256
from minigpt.text.sources import read_text
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class Data(Protocol):
    """What a trainer and an evaluation need of a data set."""

    spec: dict[str, Any]
    """What a run writes down to find the same data again; "name" is what `load_data` was given."""
    tokenizer: Tokenizer

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """The global batch of a training step, the same whatever came before it."""

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Every token of a held-out split once, in order."""

    def text_bytes(self, split: str) -> int:
        """Bytes of UTF-8 text that `batches(split)` covers."""


def check_labels(config: GPTConfig, data: Data) -> None:
    """Raise InputError where a classifier would learn tokens or a language model labels."""
    known = len(data.spec.get("labels", []))
    if config.n_labels != known:
        raise InputError(
            f"the model has n_labels {config.n_labels}, and {data.spec['name']} has {known} labels: a classifier needs "
            "labelled texts and an n_labels as large as theirs, a language model other texts and n_labels 0"
        )


class StoryData:
    """Stories of the story world, one in each row, generated as they are needed, so that none comes twice.

    A row is the end-of-text token, the story, and the end-of-text token again: the model learns to start from nothing
    and when to stop. Rows are padded to the longest of their batch.
    """

    def __init__(self, tokenizer: Tokenizer, context_length: int, held_out: int = 1000) -> None:
        self.spec: dict[str, Any] = {"name": "stories"}
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.held_out = held_out
        """Stories in the validation split and in the test split."""
        if tokenizer.end_of_text is None:
            raise InputError("stories need a tokenizer with an end-of-text token; train one with special_tokens")
        self._end = tokenizer.end_of_text

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """The stories number step * batch_size … of the training split."""
        rows = range(step * batch_size, (step + 1) * batch_size)
        return self._pack([stories.story_at("train", row, seed).text for row in rows])

    def held_out_stories(self, split: str) -> list[stories.Story]:
        """The stories of the validation or test split."""
        return _held_out_stories(split, self.held_out)

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """The held-out stories, `batch_size` at a time."""
        texts = [story.text for story in self.held_out_stories(split)]
        for start in range(0, len(texts), batch_size):
            yield self._pack(texts[start : start + batch_size])

    def text_bytes(self, split: str) -> int:
        """Bytes of the held-out stories."""
        return sum(len(story.text.encode()) for story in self.held_out_stories(split))

    def _pack(self, texts: list[str]) -> Batch:
        end = self._end
        rows = [[end, *self.tokenizer.encode(text), end] for text in texts]
        longest = max(map(len, rows))
        if longest > self.context_length + 1:
            raise InputError(
                f"a story of {longest - 2} tokens does not fit into context_length {self.context_length}: choose a "
                f"context_length of at least 192, or a tokenizer with a larger vocabulary"
            )
        return pad_rows(rows, end)


@cache
def _held_out_stories(split: str, count: int) -> list[stories.Story]:
    """Kept, because one in ten draws falls into a held-out split, and every measurement needs them all."""
    return [stories.story_at(split, index) for index in range(count)]


class TextData:
    """A long text as tokens in one or more memory-mapped files, its shards; a row starts anywhere in one of them.

    Attributes: `folder`, `manifest` (what the folder holds), `spec`, `tokenizer`, `context_length`.

    Raises:
        InputError: when the folder is not what its manifest tells, or no shard of a split is longer than a row.
    """

    def __init__(self, folder: Path, context_length: int) -> None:
        self.folder = folder
        self.context_length = context_length
        self.manifest, self.tokenizer = open_shards(folder)
        self.spec: dict[str, Any] = {"name": str(folder)} | self.manifest.spec
        for split, shards in self.manifest.shards.items():
            longest = max(shard.tokens for shard in shards)
            if longest <= context_length:
                where = " in its longest shard" if len(shards) > 1 else ""
                raise InputError(
                    f"the {split} part of {self.spec['name']} has {longest} tokens{where}, and a row "
                    f"needs context_length + 1 = {context_length + 1}: give a longer text"
                    + (f", or a context_length below {longest}" if longest > 1 else "")
                )
        windows = [max(0, shard.tokens - context_length) for shard in self.manifest.shards["train"]]
        self._windows_before = np.cumsum([0, *windows], dtype=np.uint64)  # in the shards before each, and in all
        # Not all at once: each open file counts, and a process may have a thousand.
        self._open = lru_cache(maxsize=256)(partial(np.memmap, dtype=self.manifest.dtype, mode="r"))

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """`batch_size` windows at random places, which depend on the seed and the step alone."""
        # Philox is a counter-based generator (Salmon et al. 2011): it jumps to any step at once.
        random = np.random.Philox(key=seed, counter=[0, 0, 0, step])
        places = random.random_raw(batch_size) % self._windows_before[-1]  # each is a window of one of the shards
        shards = np.searchsorted(self._windows_before, places, side="right") - 1
        starts = places - self._windows_before[shards]
        windows = [self._window("train", *at) for at in zip(shards.tolist(), starts.tolist(), strict=True)]
        rows = torch.from_numpy(np.stack(windows))  # (B, T + 1)
        return rows[:, :-1], rows[:, 1:]

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Windows side by side, so that every token but the first of a shard is guessed once; the last is padded."""
        length = self.context_length
        places = (
            (i, start) for i, shard in enumerate(self._shards(split)) for start in range(0, shard.tokens - 1, length)
        )
        while rows := list(islice(places, batch_size)):
            inputs = torch.zeros(len(rows), length, dtype=torch.int64)
            targets = torch.full((len(rows), length), IGNORE)
            for j, (i, start) in enumerate(rows):
                row = torch.from_numpy(self._window(split, i, start))
                inputs[j, : len(row) - 1] = row[:-1]
                targets[j, : len(row) - 1] = row[1:]
            yield inputs, targets

    def text_bytes(self, split: str) -> int:
        """Bytes of UTF-8 text behind the split's targets: all but those of each shard's first token."""
        shards, tokenizer = self._shards(split), self.tokenizer
        first = [int(self._window(split, i, 0)[0]) for i, shard in enumerate(shards) if shard.tokens]
        first = [token for token in first if token not in tokenizer.special_tokens.values()]  # those stand for no text
        if isinstance(tokenizer, CharTokenizer):
            heads = tokenizer.decode(first).encode()
        else:
            heads = tokenizer.decode_bytes(first)  # not a text, if a token is a part of a character
        return sum(shard.text_bytes for shard in shards) - len(heads)

    def _shards(self, split: str) -> list[Shard]:
        if split not in self.manifest.shards:
            raise InputError(f"{self.spec['name']} has no split {split!r}; choose from train, val")
        return self.manifest.shards[split]

    def _window(self, split: str, shard: int, start: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The T + 1 tokens from a place of a shard on, or as many as there are."""
        tokens = self._open(self.folder / self.manifest.shards[split][shard].file)
        return tokens[start : start + self.context_length + 1].astype(np.int64)


def cache_folder() -> Path:
    """Where downloads and token files are kept: MINIGPT_CACHE, or the system's folder for caches."""
    return Path(os.environ.get("MINIGPT_CACHE") or platformdirs.user_cache_path("minigpt"))


def download_shakespeare() -> Path:
    """The path of tiny Shakespeare (1.1 MB), downloaded once and checked.

    Raises:
        InputError: when it is not in the cache and cannot be fetched.
    """
    import pooch  # here, because in a notebook it writes a warning about progress bars

    folder = cache_folder()
    try:
        return Path(
            pooch.retrieve(
                SHAKESPEARE_URL, f"sha256:{SHAKESPEARE_SHA256}", "tinyshakespeare.txt", folder, progressbar=False
            )
        )
    except Exception as error:  # pooch lets every kind of network error through
        raise InputError(
            f"tiny Shakespeare is not in {folder} and could not be downloaded ({type(error).__name__}). Go online, "
            f"or put the file there as tinyshakespeare.txt, or train on any text of your own: --data path/to/file.txt"
        ) from None


def prepare_text(spec: dict[str, Any], text: str, vocab_size: int | None) -> Path:
    """Tokenize a text into the cache and return the folder; a text that was prepared before is not touched.

    Args:
        spec: what to write down about the source.
        text: the whole text; its last tenth becomes the validation split. END_OF_TEXT in it is a token of its own.
        vocab_size: None for one token per character, else the size of a byte-pair vocabulary learned from the training
            part.

    Raises:
        InputError: for a text of one character, or when the disk is full or cannot be written.
    """
    if len(text) < 2:
        raise InputError(f"{spec['name']} has {len(text)} characters; a model needs at least a few thousand to learn")
    spec = spec | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    # 3 is the version of such a folder: what an older minigpt has left here has another key and is never read.
    key = hashlib.sha256(json.dumps([3, spec, vocab_size]).encode()).hexdigest()[:16]
    folder = cache_folder() / f"text-{key}"
    with suppress(InputError):  # of one that is damaged, a new one is made
        Manifest.load(folder)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    cut = len(text) * 9 // 10
    near = text.find(END_OF_TEXT, max(0, cut - len(END_OF_TEXT) + 1), cut + len(END_OF_TEXT) - 1)
    cut = near if near >= 0 else cut  # not within a separator
    parts = {"train": text[:cut], "val": text[cut:]}
    special_tokens = (END_OF_TEXT,) if END_OF_TEXT in text else ()  # as corpora write it between their documents
    tokenizer: Tokenizer
    if vocab_size is None:
        tokenizer = CharTokenizer.train(text, special_tokens)
    else:
        tokenizer = BPETokenizer.train(parts["train"], vocab_size, special_tokens)
    manifest = Manifest(token_dtype(tokenizer), tokenizer_sha256(tokenizer), {}, spec)
    unfinished = folder.with_suffix(f".{os.getpid()}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed and had the same number
        unfinished.mkdir(parents=True)
        start = 0
        for split, part in parts.items():
            ids = np.array(tokenizer.encode(part, allow_special=True), manifest.dtype)
            ids.tofile(unfinished / f"{split}-00000.bin")
            content = part.encode()
            hashes = [hashlib.sha256(each).hexdigest() for each in (content, ids.tobytes())]
            end = start + len(content)
            text_bytes = len(content) - len(END_OF_TEXT) * part.count(END_OF_TEXT)  # which stands for no text
            manifest.shards[split] = [
                Shard(f"{split}-00000.bin", 0, start, end, hashes[0], len(ids), text_bytes, hashes[1])
            ]
            start = end
        tokenizer.save(unfinished / "tokenizer.json")
        manifest.save(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not (folder / "manifest.json").exists():  # else another process was faster
                raise
    except OSError as error:
        raise InputError(
            f"the tokens of {spec['name']} could not be written to {str(folder)!r} ({error}): make room, or set "
            "MINIGPT_CACHE to another folder"
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def storyteller_tokenizer() -> Tokenizer:
    """The tokenizer of the bundled model."""
    return load_tokenizer(Path(__file__).parents[1] / "storyteller" / "tokenizer.json")


def load_data(name: str, context_length: int, tokenizer: str = "auto", vocab_size: int = 1024) -> Data:
    """A data set by name ("stories", "shakespeare"), or by the path of a text file or a folder of shards.

    Args:
        name: which data.
        context_length: tokens in a row.
        tokenizer: "char", "bpe", or "auto": characters for shakespeare, bpe for a file. Stories have the bundled one,
            a folder of shards its own.
        vocab_size: size of a byte-pair vocabulary that is trained here.

    Raises:
        InputError: for data that cannot be used, with the reason.
    """
    if context_length < 1:
        raise InputError(f"context_length is {context_length}; it must be at least 1")
    if name == "stories":
        if tokenizer != "auto":
            raise InputError(
                f"tokenizer {tokenizer!r} is for text files; stories have the bundled model's: leave it out"
            )
        return StoryData(storyteller_tokenizer(), context_length)
    if os.path.isdir(name) and name != "shakespeare":
        data = TextData(Path(name), context_length)
        if tokenizer != "auto":
            raise InputError(f"tokenizer {tokenizer!r} is for text files; {name!r} has its own: --tokenizer auto")
        return data
    path = download_shakespeare() if name == "shakespeare" else Path(name)
    by_character = tokenizer == "char" or (tokenizer == "auto" and name == "shakespeare")
    if not by_character and vocab_size < 256:
        raise InputError(f"vocab_size is {vocab_size}; byte pairs need at least 256. Or take --tokenizer char")
    spec = {"name": name, "tokenizer": tokenizer}
    folder = prepare_text(spec, read_text(path), None if by_character else vocab_size)
    return TextData(folder, context_length)
