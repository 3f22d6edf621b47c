"""Making token shards: a text of any size is cut into pieces, and several processes tokenize them in bounded memory.

The text is cut only where no token could reach over the cut, so the shards hold the tokens of the whole text. Every
shard is one piece of one source and appears when it is complete: work that was stopped goes on where it was.
"""

import hashlib
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from minigpt.config import InputError
from minigpt.text.shards import Manifest, Shard, is_intact, new_file, token_dtype, tokenizer_sha256
from minigpt.text.tokenizer import Tokenizer

VALIDATION_BYTES = 2**23
"""Most text in the validation split: to measure a model on it should stay cheap."""

BLOCK = 2**20
"""Bytes of text that a process tokenizes at a time."""

STEP = 2**16
"""Bytes that are searched for a cut at a time."""

# Before the last white space of a run GPT-2's pattern ends a word, whatever stands further left or right. Not so at the
# end of the text, where the run might go on. White space is Unicode's White_Space, in UTF-8.
SPACE = rb"(?:[\t-\r ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
CHARACTER = rb"(?:[\x00-\x7f]|[\xc0-\xdf].|[\xe0-\xef]..|[\xf0-\xff]...)"
TEXT_CUT = re.compile(rb"(?s)(?=%b(?!%b)%b)" % (SPACE, SPACE, CHARACTER))
LINE_CUT = re.compile(rb"\n")


# Cutting.


def is_documents(source: Path) -> bool:
    """Whether a source is JSON lines, each with a document as "text", and not one long text."""
    return source.suffix == ".jsonl"


def _cut(source: Path, file: BinaryIO, start: int, end: int) -> int:
    """The first place from `start` on where the source may be cut, or `end` if there is none before."""
    file.seek(start)
    tail = b""
    while start < end and (block := file.read(min(STEP, end - start))):
        start += len(block)
        block = tail + block
        if match := (LINE_CUT if is_documents(source) else TEXT_CUT).search(block):
            return start - len(block) + match.end()
        tail = block[-6:]  # where TEXT_CUT may begin, which sees up to seven bytes
    return end


def _pieces(source: Path, file: BinaryIO, start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a part of a source into equal pieces of about `most` bytes or less, never of more than twice that."""
    parts = -(-(end - start) // most)
    begin = start
    for part in range(1, parts + 1):
        place = max(begin, start + (end - start) * part // parts)
        limit = min(place + most, end)
        stop = _cut(source, file, place, limit)
        if stop == limit < end:
            raise InputError(
                f"{str(source)!r} cannot be cut between bytes {place} and {limit}: there is no "
                f"{'end of a line' if is_documents(source) else 'white space'}. Give a larger --shard-mb"
            )
        if stop > begin:
            yield begin, stop
        begin = stop


def plan(sources: list[Path], shard_bytes: int) -> dict[str, list[Shard]]:
    """Which shards to make; the last tenth of all sources together, VALIDATION_BYTES at most, is for validation.

    Raises:
        InputError: for a source that cannot be read, is empty or cannot be cut, and for sources that are too short.
    """
    if shard_bytes < 1:
        raise InputError(f"a shard of {shard_bytes} bytes holds no text: give a larger --shard-mb, such as 64")
    sizes = [_size(source) for source in sources]
    border = sum(sizes) - min(sum(sizes) // 10, VALIDATION_BYTES)  # counted from the beginning of the source
    shards: dict[str, list[Shard]] = {"train": [], "val": []}
    for number, (source, size) in enumerate(zip(sources, sizes, strict=True)):
        with source.open("rb") as file:
            middle = _cut(source, file, border, size) if 0 < border < size else min(max(border, 0), size)
            for split, start, end in (("train", 0, middle), ("val", middle, size)):
                for piece in _pieces(source, file, start, end, shard_bytes):
                    shards[split].append(Shard(f"{split}-{len(shards[split]):05}.bin", number, *piece))
        border -= size
    if not (shards["train"] and shards["val"]):
        raise InputError(
            f"{', '.join(map(str, sources))}: {sum(sizes)} bytes, and nowhere to cut off the last tenth for "
            "validation: give a longer text"
        )
    return shards


def _size(source: Path) -> int:
    try:
        with source.open("rb") as file:
            beginning = file.read(100_000)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise InputError(
            f"{str(source)!r} cannot be read ({error.strerror}); give the paths of .txt or .jsonl files in UTF-8"
        ) from None
    if not beginning:
        raise InputError(f"{str(source)!r} is empty; leave it out")
    if b"\0" in beginning:
        raise InputError(f"{str(source)!r} is not a text file: it has zero bytes; save it as plain text in UTF-8")
    return size


# One shard.


def read_blocks(source: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """A piece of a source as blocks of about BLOCK bytes, each with its place, cut like the pieces themselves."""
    with source.open("rb") as file:
        while start < end:
            stop = _cut(source, file, min(start + BLOCK, end), end)
            file.seek(start)
            block = file.read(stop - start)
            if len(block) < stop - start:
                raise InputError(f"{str(source)!r} has become shorter while it was read: bring the old text back")
            yield start, block
            start = stop


def texts_in(source: Path, place: int, block: bytes) -> Iterator[str]:
    """The block as text or, of JSON lines, its documents.

    Raises:
        InputError: naming the place of what is no UTF-8 or no document.
    """
    for line in block.split(b"\n") if is_documents(source) else [block]:
        where = f"{str(source)!r}, from byte {place}"
        place += len(line) + 1
        try:
            if not is_documents(source):
                yield line.decode()
            elif line.strip():
                document = json.loads(line)
                if not isinstance(document, dict) or not isinstance(document.get("text"), str):
                    raise InputError(f'{where}: this line is no JSON object with a string called "text"')
                yield document["text"]
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: byte {error.start} from there is not UTF-8; save it as plain UTF-8") from None
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{where}: this line is not JSON ({error})") from None


@dataclass(frozen=True)
class Task:
    """What a process must know to make a shard."""

    source: Path
    folder: Path
    shard: Shard
    """As planned or, if it was made before, as the manifest has it."""


def make_shard(tokenizer: Tokenizer, task: Task) -> tuple[Shard, bool]:
    """Write one shard, or find it as it was made before; the second value tells whether it was found.

    Of JSON lines, each document comes after an end-of-text token: a shard begins with one, as generation does.

    Raises:
        InputError: when the source cannot be tokenized, or has changed since the shard was made.
    """
    source, shard = task.source, task.shard
    if shard.sha256:
        digest = hashlib.sha256()
        for _, block in read_blocks(source, shard.start, shard.end):
            digest.update(block)
        if digest.hexdigest() != shard.source_sha256:
            raise InputError(
                f"{str(source)!r} has changed since {str(task.folder / shard.file)!r} was made from it: bring the old "
                "text back, or choose another --out"
            )
        if is_intact(task.folder, shard):
            return shard, True
    read, written = hashlib.sha256(), hashlib.sha256()
    tokens = text_bytes = 0
    start = [tokenizer.end_of_text] if is_documents(source) else []
    with new_file(task.folder / shard.file) as file:
        for place, block in read_blocks(source, shard.start, shard.end):
            read.update(block)
            for text in texts_in(source, place, block):
                try:
                    ids = start + tokenizer.encode(text)
                except InputError as error:
                    raise InputError(f"{str(source)!r}, from byte {place}: {error}") from None
                content = np.array(ids, token_dtype(tokenizer)).tobytes()
                written.update(content)
                file.write(content)
                tokens += len(ids)
                text_bytes += len(text.encode())
    made = replace(
        shard, source_sha256=read.hexdigest(), tokens=tokens, text_bytes=text_bytes, sha256=written.hexdigest()
    )
    return made, False


# All shards, in several processes.

_tokenizer: Tokenizer
"""Of a process that makes shards; it gets it when it starts."""


def _start_process(tokenizer: Tokenizer, parent: Connection) -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
    global _tokenizer
    _tokenizer = tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with suppress(EOFError, OSError):
            parent.recv()  # nothing is ever sent: this waits until the other end is closed
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _make(task: Task) -> tuple[Shard, bool]:
    return make_shard(_tokenizer, task)


def _make_all(tokenizer: Tokenizer, tasks: list[Task], workers: int, done: Callable[[Shard, bool], None]) -> None:
    """Make every shard in so many processes; one worker is this process. `done` is called here, as shards come."""
    if workers == 1:
        for task in tasks:
            done(*make_shard(tokenizer, task))
        return
    # Spawned, not forked: this process may have threads, and a lock that one of them held would stay locked in a copy.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    with reader, writer, ProcessPoolExecutor(workers, context, _start_process, (tokenizer, reader)) as pool:
        try:
            for future in as_completed([pool.submit(_make, task) for task in tasks]):
                done(*future.result())
        except BaseException as error:
            writer.close()  # ends the processes at once, as the death of this one would
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    "a process that makes shards has died, perhaps for want of memory. Run the same command again, "
                    "with fewer --workers: finished shards are kept"
                ) from None
            raise


def prepare(
    sources: list[Path], folder: Path, tokenizer: Tokenizer, *, workers: int = 1, shard_bytes: int = 64_000_000
) -> tuple[Manifest, int]:
    """Tokenize texts of any size into a folder of shards, or go on where an earlier call was stopped.

    Args:
        sources: files in UTF-8: one long text each or, called .jsonl, an object with a "text" in each line.
        folder: where the shards go.
        tokenizer: for .jsonl it needs an end-of-text token.
        workers: processes. Each holds one BLOCK of text and its tokens, however large sources and shards are.
        shard_bytes: about how many bytes of text go into a shard.

    Returns:
        the manifest, and how many of its shards were there already.

    Raises:
        InputError: when a source cannot be used or has changed, the folder holds something else, or the disk is full.
    """
    if not sources:
        raise InputError("there is no text to prepare: give the paths of .txt or .jsonl files")
    if workers < 1:
        raise InputError(f"workers is {workers}; it must be at least 1")
    if any(map(is_documents, sources)) and tokenizer.end_of_text is None:
        raise InputError("documents (.jsonl) need a tokenizer with an end-of-text token: choose another --tokenizer")
    planned = plan(sources, shard_bytes)
    files = [{"file": str(source), "bytes": source.stat().st_size} for source in sources]
    empty: dict[str, list[Shard]] = {"train": [], "val": []}
    manifest = Manifest(token_dtype(tokenizer), tokenizer_sha256(tokenizer), empty, {}, files, shard_bytes)
    every = [*planned["train"], *planned["val"]]
    n_kept = 0
    try:
        made = _begin(folder, manifest, every)
        tokenizer.save(folder / "tokenizer.json")
        with tqdm(
            desc="tokenizing", total=sum(s.end - s.start for s in every), unit="B", unit_scale=True, disable=None
        ) as bar:

            def done(shard: Shard, kept: bool) -> None:
                nonlocal n_kept
                n_kept += kept
                bar.update(shard.end - shard.start)
                if not kept:
                    made[shard.file] = shard
                    manifest.shards = {
                        split: [made[s.file] for s in planned[split] if s.file in made] for split in empty
                    }
                    manifest.save(folder)

            tasks = [Task(sources[shard.source], folder, made.get(shard.file, shard)) for shard in every]
            _make_all(tokenizer, tasks, min(workers, len(tasks)), done)
        manifest.shards = {split: [made[shard.file] for shard in planned[split]] for split in empty}
        contents = [manifest.tokenizer_sha256, *map(asdict, manifest.all_shards())]
        manifest.spec = {"tokenizer": "auto", "sha256": hashlib.sha256(json.dumps(contents).encode()).hexdigest()}
        manifest.save(folder)
        for left in folder.glob("*.unfinished"):  # by a process that was killed
            left.unlink()
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} could not be written ({error}): make room, or choose another --out. Finished shards are "
            "kept: the same command goes on"
        ) from None
    return manifest, n_kept


def _begin(folder: Path, manifest: Manifest, planned: list[Shard]) -> dict[str, Shard]:
    """Make the folder, or find in it the shards of an earlier call; by the names of their files."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "manifest.json").exists():
        if any(not path.name.endswith(".unfinished") for path in folder.iterdir()):
            raise InputError(f"{str(folder)!r} holds other files: choose an --out that is empty or does not exist")
        manifest.save(folder)
        return {}
    before = Manifest.load(folder)
    sizes, sizes_before = ([source["bytes"] for source in m.sources] for m in (manifest, before))
    pieces, pieces_before = (
        {(s.file, s.source, s.start, s.end) for s in every} for every in (planned, before.all_shards())
    )
    for what, same in (
        ("another tokenizer", before.tokenizer_sha256 == manifest.tokenizer_sha256),
        (f"--shard-mb {before.shard_bytes / 1e6:g}", before.shard_bytes == manifest.shard_bytes),
        (f"other sources, or they have changed: they had {sizes_before} bytes, now {sizes}", sizes == sizes_before),
        ("sources that have changed since", pieces_before <= pieces),
    ):
        if not same:
            raise InputError(f"{str(folder)!r} was begun with {what}. Go on with the same, or choose another --out")
    return {shard.file: shard for shard in before.all_shards()}
