"""minigpt data, data prepare and tokenizer: texts, and the tokens they are cut into."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from minigpt.commands.finding import load_tokenizer
from minigpt.commands.output import print_json, print_table, quoted, wrap
from minigpt.config import InputError

if TYPE_CHECKING:
    from minigpt.text.shards import Manifest
    from minigpt.text.tokenizer import Tokenizer


def data(
    name: Positional[str] = "stories",
    num: int = 3,
    context_length: int = 192,
    tokenizer: Literal["auto", "char", "bpe"] = "auto",
    vocab_size: int = 1024,
    verify: bool = False,
    json: bool = False,
) -> int:
    """Look at a data set: its size, its tokens, and a few rows. `minigpt data prepare --help`: texts of any size.

    Args:
        name: stories, shakespeare, or the path of a text file or of a folder that `minigpt data prepare` made.
        num: how many rows to show.
        context_length: tokens in a row.
        tokenizer: one token per character, or byte pairs learned from the text.
        vocab_size: size of a byte-pair vocabulary.
        verify: compare every file of tokens with its hash, too.
        json: print one JSON object.
    """
    from minigpt.text import shards, stories
    from minigpt.text.data import StoryData, TextData, load_data

    if num < 0:
        raise InputError(f"num is {num}; it must be at least 0")
    source = load_data(name, context_length, tokenizer, vocab_size)
    report: dict[str, Any] = {"data": source.spec["name"], "vocab_size": source.tokenizer.vocab_size}
    if verify and not isinstance(source, TextData):
        raise InputError(f"{name} has no files to verify: leave --verify out")
    if isinstance(source, StoryData):
        examples = [stories.story_at("train", index) for index in range(num)]
        report |= {
            "different stories": stories.world().n_stories,
            "entropy (bits per story)": round(stories.entropy(), 4),
            "training stories": "made as needed, none twice",
            "validation and test stories": source.held_out,
            "examples": [{"plot": s.plot, "bits": s.bits, "text": s.text} for s in examples],
        }
    elif isinstance(source, TextData):
        rows = source.batch_at(0, max(1, num))[0][:num]
        report |= _sizes(source.manifest)
        if verify:
            report["files verified"] = shards.verify(source.folder)
        report |= {
            "folder": str(source.folder),
            "examples": [{"text": source.tokenizer.decode(row.tolist())} for row in rows],
        }
    if json:
        print_json(report)
        return 0
    examples_shown = report.pop("examples")
    print_table(report)
    for example in examples_shown:
        heading = f"{example['plot']}, {example['bits']:.1f} bits" if "plot" in example else "a training row"
        print(f"\n[{heading}]\n{wrap(example['text'])}")
    return 0


def _sizes(manifest: "Manifest") -> dict[str, int]:
    report: dict[str, int] = {}
    for split, shards in manifest.shards.items():
        report |= {
            f"{split} tokens": sum(shard.tokens for shard in shards),
            f"{split} bytes": sum(shard.text_bytes for shard in shards),
            f"{split} shards": len(shards),
        }
    return report


def data_prepare(
    files: Positional[tuple[Path, ...]],
    out: Path,
    tokenizer: str = "gpt2",
    workers: int = 0,
    shard_mb: float = 64,
    skip_bad: bool = False,
    json: bool = False,
) -> int:
    """Tokenize texts of any size into a folder for `--data`, in parallel; the same command again goes on.

    The last tenth of the text, at most 8 MB, becomes the validation split.

    Args:
        files: texts in UTF-8: .jsonl, .ndjson and .json with a "text" in each line; anything else is one long text, in
            which an end-of-text token, written out, ends a document.
        out: the folder.
        tokenizer: gpt2, a bundled model, a run's folder, or a tokenizer file.
        workers: processes; 0 means one for each core.
        shard_mb: megabytes of text in a file of tokens, about.
        skip_bad: leave out documents (of a long text: lines) that cannot be used, and count them, instead of stopping.
        json: print one JSON object.
    """
    from minigpt.text.prepare import prepare

    used = load_tokenizer(tokenizer)
    if workers == 0:
        # What taskset or a container leaves to this process; and Windows cannot wait for more than 61 at once.
        workers = min(61, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    manifest, n_kept = prepare(
        list(files), out, used, workers=workers, shard_bytes=round(shard_mb * 1e6), skip_bad=skip_bad
    )
    report: dict[str, Any] = {"folder": str(out), "vocab_size": used.vocab_size, **_sizes(manifest)}
    report["shards kept"] = n_kept
    if left_out := [shard for shard in manifest.all_shards() if shard.left_out]:
        report["left out"] = sum(shard.left_out for shard in left_out)
        report["the first of them"] = left_out[0].first_left_out
    if json:
        print_json(report)
        return 0
    print_table(report)
    print(f"\nTry: minigpt data {quoted(out)}    minigpt train --data {quoted(out)} --out run")
    return 0


def tokenizer(
    text: Positional[str] = "",
    model: str = "storyteller",
    train: str | None = None,
    vocab_size: int = 2048,
    num_stories: int = 20_000,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Show how a text is cut into tokens, or train a tokenizer.

    Args:
        text: the text to cut.
        model: whose tokenizer: a model as for `minigpt generate`, or a tokenizer file.
        train: train a byte-pair tokenizer on this data instead: stories, or the path of a text or of documents.
        vocab_size: its size.
        num_stories: how many training stories to learn from.
        out: the file to write it to.
        json: print one JSON object.
    """
    from minigpt.text import stories
    from minigpt.text.sources import read_texts
    from minigpt.text.tokenizer import BPETokenizer

    if train is not None:
        if out is None:
            raise InputError("where should the tokenizer go? Add --out FILE.json")
        if num_stories < 1:
            raise InputError(f"num_stories is {num_stories}; it must be at least 1")
        texts = (
            [stories.story_at("train", i).text for i in range(num_stories)]
            if train == "stories"
            else read_texts(Path(train))
        )
        made = BPETokenizer.train(texts, vocab_size)
        made.save(out)
        if json:
            print_json({"out": str(out), "vocab_size": made.vocab_size})
        else:
            print(f"{out}: {made.vocab_size} tokens")
        return 0
    used = load_tokenizer(model)
    ids = used.encode(text)
    pieces = [_shown(used, i) for i in ids]
    if json:
        print_json({"ids": ids, "tokens": pieces})
    elif not text:
        print(f'{used.vocab_size} tokens; give a text to see it cut: minigpt tokenizer "Once upon a time"')
    else:
        for i, piece in zip(ids, pieces, strict=True):
            print(f"{i:>6}  '{piece}'")
        print(f"{len(ids)} tokens for {len(text.encode())} bytes")
    return 0


def _shown(tokenizer: "Tokenizer", token: int) -> str:
    r"""A token as one can tell it from others: bytes that are no character as \xe4, and what has no shape escaped."""
    from minigpt.text.tokenizer import CharTokenizer

    text = tokenizer.decode([token])
    if not isinstance(tokenizer, CharTokenizer):
        text = tokenizer.token_bytes(token).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
