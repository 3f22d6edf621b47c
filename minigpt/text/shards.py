"""A folder of token shards: a text of any size as files of token ids, with a manifest of hashes.

The folder holds `tokenizer.json`, the shards, which are nothing but ids (`train-00000.bin`, …, `val-00000.bin`, …), and
`manifest.json`, which tells where the text of each shard stands and what the file must hold.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from minigpt.config import InputError
from minigpt.text.tokenizer import Tokenizer, load_tokenizer

FORMAT = 1
"""Of manifest.json; to be raised when an older program could not read what a newer one writes."""


@dataclass(frozen=True)
class Shard:
    """One file of token ids: where its text stands and, once it is made, what it holds."""

    file: str
    source: int
    """Number of the source, from 0."""
    start: int
    """First byte of its piece of the source."""
    end: int
    """The byte after the last."""
    source_sha256: str = ""
    """Of that piece."""
    tokens: int = 0
    text_bytes: int = 0
    """UTF-8 text in these tokens: the whole piece or, of JSON lines, the documents alone."""
    sha256: str = ""
    """Of the file; empty as long as the shard is not made."""
    left_out: int = 0
    """Documents (of a long text: lines) of the piece that could not be used."""
    first_left_out: str = ""
    """Where the first of them stands."""


@dataclass
class Manifest:
    """What `manifest.json` tells of a folder of shards."""

    dtype: str
    """uint16, or uint32 for a vocabulary of more than 65,536 tokens."""
    tokenizer_sha256: str
    shards: dict[str, list[Shard]]
    """Of the splits train and val, in the order of the text; of an unfinished folder those that are made."""
    spec: dict[str, Any] = field(default_factory=dict)
    """What a run writes down to know this data again; empty as long as the folder is not finished."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """File and bytes of each."""
    shard_bytes: int = 0
    """About how many bytes of text were asked for in a shard; 0 for no limit."""

    def all_shards(self) -> list[Shard]:
        """The shards of both splits."""
        return [shard for shards in self.shards.values() for shard in shards]

    @property
    def remedy(self) -> str:
        """How to get back what is missing or damaged."""
        if self.sources:
            return "Run the same `minigpt data prepare` again: it makes what is missing or damaged"
        return "Delete the folder: it is made anew when it is needed"

    def save(self, folder: Path) -> None:
        """Write the manifest, whole or not at all."""
        contents = {"format": FORMAT} | asdict(self)
        with new_file(folder / "manifest.json") as file:
            file.write(json.dumps(contents | {"seal": _seal(contents)}, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """The manifest of a folder.

        Raises:
            InputError: when it is missing, damaged, or of another program or format.
        """
        path = folder / "manifest.json"
        try:
            contents = json.loads(path.read_bytes())
            if contents["format"] != FORMAT:
                raise InputError(
                    f"{str(path)!r} has format {contents['format']}, and this minigpt reads {FORMAT}: prepare it anew"
                )
            seal = contents.pop("seal", None)  # of an earlier version, which had none
            if seal not in (None, _seal(contents)):
                raise ValueError("it was changed since it was written")
            del contents["format"]
            contents["shards"] = {name: [Shard(**s) for s in contents["shards"][name]] for name in ("train", "val")}
            manifest = cls(**contents)
            if manifest.dtype not in ("uint16", "uint32"):
                raise ValueError(f"dtype is {manifest.dtype!r}")
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(
                f"{str(folder)!r} is a folder; give the path of one text file, or of a folder that `minigpt data "
                "prepare` has made: this one has no manifest.json"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{str(path)!r} is damaged or of another program ({error}): take a folder that `minigpt data prepare` "
                "has made, or prepare the text anew into another folder"
            ) from None
        return manifest


def _seal(contents: dict[str, Any]) -> str:
    """SHA-256 of what a manifest says, whatever its white space."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """SHA-256 of what a tokenizer saves."""
    return hashlib.sha256(json.dumps(tokenizer.contents()).encode()).hexdigest()


def token_dtype(tokenizer: Tokenizer) -> str:
    """The smallest type of the two that holds every id."""
    return "uint16" if tokenizer.vocab_size <= 2**16 else "uint32"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and on the disk."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with suppress(OSError):  # there is half a file after a failure, and none after success
            unfinished.unlink()


def open_shards(folder: Path) -> tuple[Manifest, Tokenizer]:
    """The manifest and the tokenizer of a finished folder. Sizes are checked, which is cheap; hashes by `verify`.

    Raises:
        InputError: naming what is missing, not finished, or not of the size that the manifest tells.
    """
    manifest = Manifest.load(folder)
    if not manifest.spec:
        raise InputError(f"{str(folder)!r} is not finished. {manifest.remedy}")
    try:
        tokenizer = load_tokenizer(folder / "tokenizer.json")
    except InputError as error:
        raise InputError(f"{error} {manifest.remedy}") from None
    if tokenizer_sha256(tokenizer) != manifest.tokenizer_sha256:
        raise InputError(
            f"tokenizer.json in {str(folder)!r} is not the one that its shards were made with. {manifest.remedy}"
        )
    for shard in manifest.all_shards():
        path = folder / shard.file
        if not path.is_file():
            raise InputError(f"shard {str(path)!r} is missing. {manifest.remedy}")
        found, expected = path.stat().st_size, shard.tokens * np.dtype(manifest.dtype).itemsize
        if found != expected:
            raise InputError(
                f"shard {str(path)!r} has {found} bytes, but its {shard.tokens} tokens of {manifest.dtype} should have "
                f"{expected}: it was cut short or replaced. {manifest.remedy}"
            )
    return manifest, tokenizer


def is_intact(folder: Path, shard: Shard) -> bool:
    """Whether the file is there and has the hash that the manifest tells."""
    try:
        with (folder / shard.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    except OSError:
        return False


def verify(folder: Path) -> int:
    """Compare every shard with its hash, and return how many there are.

    Raises:
        InputError: naming the first that was changed.
    """
    manifest, _ = open_shards(folder)
    for shard in tqdm(manifest.all_shards(), "verifying", unit="shard", leave=False, disable=None):
        if not is_intact(folder, shard):
            raise InputError(f"shard {str(folder / shard.file)!r} was changed since it was made. {manifest.remedy}")
    return len(manifest.all_shards())
