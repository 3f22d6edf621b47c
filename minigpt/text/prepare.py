"""Making token shards: a text of any size is cut into pieces, and several processes tokenize them in bounded memory.

The text is cut only where no token could reach over the cut, so the shards hold the tokens of the whole text. Every
shard is one piece of one source and appears when it is complete: work that was stopped goes on where it was.
"""

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

import numpy as np
from tqdm import tqdm

from minigpt.config import InputError
from minigpt.text.shards import Manifest, Shard, is_intact, new_file, token_dtype, tokenizer_sha256
from minigpt.text.sources import cut, is_documents, measure, pieces, read_blocks, texts_in, where
from minigpt.text.tokenizer import END_OF_TEXT, Tokenizer

VALIDATION_BYTES = 2**23
"""Most text in the validation split: to measure a model on it should stay cheap."""


def plan(sources: list[Path], shard_bytes: int) -> dict[str, list[Shard]]:
    """Which shards to make; the last tenth of all sources together, VALIDATION_BYTES at most, is for validation.

    Raises:
        InputError: for a source that cannot be read, is empty or cannot be cut, and for sources that are too short.
    """
    if shard_bytes < 1:
        raise InputError(f"a shard of {shard_bytes} bytes holds no text: give a larger --shard-mb, such as 64")
    starts, sizes = zip(*map(measure, sources), strict=True)
    border = sum(sizes) - min(sum(sizes) // 10, VALIDATION_BYTES)  # counted from the beginning of the source
    shards: dict[str, list[Shard]] = {"train": [], "val": []}
    for number, (source, first, size) in enumerate(zip(sources, starts, sizes, strict=True)):
        with source.open("rb") as file:
            middle = cut(source, file, border, size) if first < border < size else min(max(border, first), size)
            for split, start, end in (("train", first, middle), ("val", middle, size)):
                for piece in pieces(source, file, start, end, shard_bytes):
                    shards[split].append(Shard(f"{split}-{len(shards[split]):05}.bin", number, *piece))
        border -= size
    if not (shards["train"] and shards["val"]):
        raise InputError(
            f"{', '.join(map(str, sources))}: {sum(sizes)} bytes, and nowhere to cut off the last tenth for "
            "validation: give a longer text"
        )
    return shards


# One shard.


@dataclass(frozen=True)
class Task:
    """What a process must know to make a shard."""

    source: Path
    folder: Path
    shard: Shard
    """As planned or, if it was made before, as the manifest has it."""
    skip_bad: bool = False
    """Leave out what cannot be used, and count it; else refuse it."""


def make_shard(tokenizer: Tokenizer, task: Task) -> tuple[Shard, bool]:
    """Write one shard, or find it as it was made before; the second value tells whether it was found.

    Of JSON lines, each document comes after an end-of-text token: a shard begins with one, as generation does. In one
    long text, END_OF_TEXT becomes that token, as corpora write it between their documents; within a document of JSON
    lines it is text like any other, so that no document can end itself.

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
    documents = is_documents(source)
    start = [tokenizer.end_of_text] if documents else []
    encode = partial(tokenizer.encode, allow_special=not documents)
    left_out: list[int] = []
    with new_file(task.folder / shard.file) as file:
        for place, block in read_blocks(source, shard.start, shard.end):
            read.update(block)
            for text, found in texts_in(source, place, block, encode, left_out if task.skip_bad else None):
                ids = start + found
                content = np.array(ids, token_dtype(tokenizer)).tobytes()
                written.update(content)
                file.write(content)
                tokens += len(ids)
                text_bytes += len(text.encode())
                if not documents and tokenizer.end_of_text is not None:
                    text_bytes -= len(END_OF_TEXT) * found.count(tokenizer.end_of_text)  # it stands for no text
    made = replace(
        shard, source_sha256=read.hexdigest(), tokens=tokens, text_bytes=text_bytes, sha256=written.hexdigest(),
        left_out=len(left_out), first_left_out=where(source, left_out[0]) if left_out else "",
    )  # fmt: skip
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
    sources: list[Path],
    folder: Path,
    tokenizer: Tokenizer,
    *,
    workers: int = 1,
    shard_bytes: int = 64_000_000,
    skip_bad: bool = False,
) -> tuple[Manifest, int]:
    """Tokenize texts of any size into a folder of shards, or go on where an earlier call was stopped.

    Args:
        sources: files in UTF-8: one long text each or, called .jsonl, .ndjson or .json, an object with a "text" in each
            line.
        folder: where the shards go.
        tokenizer: for documents it needs an end-of-text token.
        workers: processes. Each holds one BLOCK of text and its tokens, however large sources and shards are.
        shard_bytes: about how many bytes of text go into a shard.
        skip_bad: leave out documents (of a long text: lines) that cannot be used, and count them; else refuse them.

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

            tasks = [Task(sources[shard.source], folder, made.get(shard.file, shard), skip_bad) for shard in every]
            _make_all(tokenizer, tasks, min(workers, len(tasks)), done)
        manifest.shards = {split: [made[shard.file] for shard in planned[split]] for split in empty}
        # Not how much was left out: earlier versions did not count it, and what is there has its own hash.
        shards = [
            {key: value for key, value in asdict(shard).items() if "left_out" not in key}
            for shard in manifest.all_shards()
        ]
        contents = json.dumps([manifest.tokenizer_sha256, *shards])
        manifest.spec = {"tokenizer": "auto", "sha256": hashlib.sha256(contents.encode()).hexdigest()}
        manifest.save(folder)
        for left in folder.glob("*.unfinished"):  # by a process that was killed
            left.unlink()
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} could not be written ({error}): make room, close what has it open, or choose another "
            "--out. Finished shards are kept: the same command goes on"
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
