"""Damage to every kind of file that a command reads: a message each time, never a traceback, nothing lost in silence.

    python -m tests.damage 2000        all of it, in some minutes; the same damages every time

Two promises are kept by every command: it ends with 0, or with 2 and one message; and a file that has a seal (a
checkpoint's, a manifest's, a shard's) is refused, passed over aloud, or still says the same.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from minigpt.cli import main
from minigpt.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer
from minigpt.weights import checkpoint, gpt2_layout
from minigpt.weights.gguf import load_gguf
from minigpt.weights.llama import export_llama
from minigpt.weights.pretrained import export_gpt2
from tests.weights.llama_files import write_gguf

TEXT = "the cat sat on the mat, and the dog sat on the log. Größe, 你好. " * 60
STRANGE: list[Any] = [None, -1, 0, 1, 10**30, 1e308, "x", "", [], {}, True, [[]], {"a": 1}, 0.5, "\ud800", "é"]


@dataclass(frozen=True)
class Reader:
    """A kind of file, the commands that read it, and what must come out where it has a seal."""

    name: str
    file: str
    """In the folder that `undamaged` makes."""
    commands: tuple[str, ...]
    sealed: bool = False
    """What the last command prints may not change without a word on stderr."""


CHECKPOINT = "run/checkpoints/step-00000004"
TRAIN = "train --out run --resume --max-steps 5"
GENERATE = "generate the --model run --seed 1 --max-new-tokens 3"
FROM_GPT2 = "generate the --model {} --seed 1 --max-new-tokens 3"
READERS = [
    *(
        Reader(f"a checkpoint's {name}", f"{CHECKPOINT}/{name}", (TRAIN, GENERATE), sealed=True)
        for name in ("config.json", "model.safetensors", "training.safetensors", "tokenizer.json")
    ),
    Reader(
        "the only checkpoint", "alone/config.json", ("generate the --model alone --seed 1 --max-new-tokens 3",), True
    ),
    Reader("metrics", "run/metrics.jsonl", (TRAIN,)),
    Reader(
        "a tokenizer",
        "bpe.json",
        ("tokenizer the --model bpe.json", "data prepare text.txt --out x --tokenizer bpe.json --workers 1"),
    ),
    Reader("a manifest", "tokens/manifest.json", ("data tokens --verify --context-length 8 --json",), sealed=True),
    Reader("a shard", "tokens/train-00000.bin", ("data tokens --verify --context-length 8 --json",), sealed=True),
    Reader("shards' tokenizer", "tokens/tokenizer.json", ("data tokens --context-length 8 --json",), sealed=True),
    Reader(
        "documents",
        "documents.jsonl",
        (
            "data prepare documents.jsonl --out y --tokenizer bpe.json --workers 1",
            "data prepare documents.jsonl --out z --tokenizer bpe.json --workers 1 --skip-bad",
            "tokenizer --train documents.jsonl --vocab-size 270 --out made.json",
        ),
    ),
    Reader(
        "a text",
        "text.txt",
        (
            "data text.txt --context-length 8 --vocab-size 270 --num 1",
            "data prepare text.txt --out w --tokenizer bpe.json --workers 1 --skip-bad",
        ),
    ),
    Reader(
        "a GGUF",
        "small.gguf",
        (
            "tokenizer the --model small.gguf",
            FROM_GPT2.format("small.gguf"),
            "evaluate --model small.gguf --data t.txt",
        ),
    ),
    *(
        Reader(f"{kind}'s {name}", f"{kind}/{name}", (FROM_GPT2.format(kind),))
        for kind, names in {
            "gpt2": ("config.json", "model.safetensors", "vocab.json", "merges.txt"),
            "gpt2-old": ("pytorch_model.bin", "tokenizer.json"),
            "gpt2-parts": ("model.safetensors.index.json",),
            "llama": ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        }.items()
        for name in names
    ),
]


def undamaged(folder: Path) -> None:
    """One sound file of every kind, in a folder that is the working directory."""
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder / "t.txt").write_text("the cat", encoding="utf-8")
    export_llama(*load_gguf(write_gguf(folder / "small.gguf")), folder / "llama")
    lines = [json.dumps({"text": f"document {i}, {'so ' * i}", "id": i}) for i in range(60)]
    (folder / "documents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = BPETokenizer.train(TEXT, 270)
    tokenizer.save(folder / "bpe.json")
    small = "--preset tiny --threads 1 --precision float32 --batch-size 2 --context-length 8 --d-model 8 --n-layers 1"
    prepare = "data prepare text.txt --out tokens --tokenizer bpe.json --workers 1 --shard-mb 0.001"
    for command in (prepare, f"train {small} --data tokens --out run --max-steps 4 --save-every 2"):
        assert run(command)[0] == 0, command
    shutil.copytree(folder / CHECKPOINT, folder / "alone")
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=270, context_length=8, n_layers=1, n_heads=2, d_model=8))
    for kind in ("gpt2", "gpt2-old", "gpt2-parts"):
        export_gpt2(model, tokenizer, folder / kind)
    tensors = gpt2_layout.to_gpt2(model)
    torch.save(tensors, folder / "gpt2-old" / "pytorch_model.bin")
    (folder / "gpt2-old" / "model.safetensors").unlink()
    _one_file_of_a_tokenizer(folder / "gpt2-old")
    (folder / "gpt2-parts" / "model.safetensors").rename(folder / "gpt2-parts" / "part.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "part.safetensors")}
    (folder / "gpt2-parts" / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _one_file_of_a_tokenizer(folder: Path) -> None:
    """The tokenizer as transformers writes it today."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    cut = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    added = [{"id": vocabulary.pop(END_OF_TEXT), "content": END_OF_TEXT}]
    whole = {"normalizer": None, "pre_tokenizer": cut, "added_tokens": added}
    whole |= {"model": {"vocab": vocabulary, "merges": merges}}
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()


def run(command: str) -> tuple[int, str, str]:
    """A command in this process: exit status, stdout, stderr. What is no message is raised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(command.split())
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, out.getvalue(), err.getvalue()


# The damages.


def in_bytes(content: bytes, dice: random.Random) -> bytes:
    """What disks, cables, editors and programs of others do."""
    place, length = dice.randrange(len(content) + 1), dice.choice((1, 2, 8, 100))
    flipped = bytearray(content or b"\0")
    flipped[min(place, len(flipped) - 1)] ^= 1 << dice.randrange(8)
    kinds: list[Callable[[], bytes]] = [
        lambda: bytes(flipped),
        lambda: content[:place],
        lambda: content[:place] + content[place + length :],
        lambda: content[:place] + dice.randbytes(length) + content[place:],
        lambda: content[:place] + bytes(length) + content[place + length :],
        lambda: content[:place] + content[place : place + length] * 2 + content[place + length :],
        lambda: b"",
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: b"<!DOCTYPE html><html>404</html>",
        lambda: content.decode("latin-1").encode("utf-16"),
        lambda: b"[" * 100_000,
        lambda: content[:place] + b"9" * 5000 + content[place:],
        lambda: content + content,
    ]
    return dice.choice(kinds)()


def in_json(content: bytes, dice: random.Random) -> bytes:
    """Another value, one less or one more, somewhere in what a JSON file or a line of one says."""
    lines = content.split(b"\n")
    number = dice.randrange(len(lines)) if len(lines) > 1 and lines[0][:1] == b"{" and lines[0][-1:] == b"}" else None
    try:
        whole = json.loads(content if number is None else lines[number])
    except ValueError:
        return in_bytes(content, dice)
    at = whole
    for _ in range(dice.randrange(1, 6)):
        keys = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else []
        if not keys:
            break
        key = dice.choice(list(keys))
        if isinstance(at[key], dict | list) and at[key] and dice.random() < 0.7:
            at = at[key]
        elif dice.random() < 0.2:
            del at[key]
            break
        else:
            at[key] = dice.choice(STRANGE)
            break
    changed = json.dumps(whole).encode()
    return changed if number is None else b"\n".join([*lines[:number], changed, *lines[number + 1 :]])


def resealed(content: bytes) -> bytes:
    """A damaged config.json of a checkpoint with a seal that fits: what a careless program might write."""
    try:
        config = json.loads(content)
        config["sha256"].pop("config.json", None)
        config["sha256"]["config.json"] = checkpoint._seal(config)
        return json.dumps(config).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return content


def sweep(count: int, say: Callable[[str], object] = print) -> list[str]:
    """Do so many damages, the readers in turn, and tell what went wrong."""
    failures = []
    # Nobody cuts the power, and waiting for the disk would take most of the time.
    with (
        patch("os.fsync"),
        tempfile.TemporaryDirectory() as temporary,
        contextlib.chdir(temporary),
        _cache(Path(temporary)),
    ):
        sound = Path(temporary) / "sound"
        sound.mkdir()
        with contextlib.chdir(sound):
            undamaged(sound)
        expected = {}
        for number in range(count):
            reader, dice = READERS[number % len(READERS)], random.Random(number)
            place = Path(temporary) / "damaged"
            shutil.copytree(sound, place)
            with contextlib.chdir(place):
                if reader.sealed and reader.name not in expected:
                    expected[reader.name] = [run(command)[:2] for command in reader.commands]
                    shutil.rmtree(place)
                    shutil.copytree(sound, place)
            with contextlib.chdir(place):
                problem = _one(reader, dice, expected.get(reader.name))
            shutil.rmtree(place)
            if problem:
                failures.append(f"damage {number}, {reader.name}: {problem}")
                say(failures[-1])
            if (number + 1) % 100 == 0:
                say(f"{number + 1} damages, {len(failures)} failures")
    return failures


@contextlib.contextmanager
def _cache(folder: Path) -> Any:
    before = os.environ.get("MINIGPT_CACHE")
    os.environ["MINIGPT_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        os.environ.pop("MINIGPT_CACHE")
        if before is not None:
            os.environ["MINIGPT_CACHE"] = before


def _one(reader: Reader, dice: random.Random, expected: list[tuple[int, str]] | None) -> str:
    """Damage one file, run the commands; an empty text, or what went wrong."""
    path = Path(reader.file)
    content = path.read_bytes()
    damaged = (in_json if path.suffix in (".json", ".jsonl") and dice.random() < 0.6 else in_bytes)(content, dice)
    if reader.file.endswith("config.json") and dice.random() < 0.3:
        damaged, expected = resealed(damaged), None
    path.write_bytes(damaged)
    lines = damaged.splitlines()
    for number, command in enumerate(reader.commands):
        try:
            status, out, err = run(command)
        except Exception:
            return f"{command}\n{traceback.format_exc()}"
        if status not in (0, 2) or (status == 2 and ("error: " not in err or "Traceback" in err)):
            return f"{command}: exit status {status}, {err!r}"
        told = "passed over" in err + out
        if expected and status == 0 and not told and out != expected[number][1] and "--resume" not in command:
            return f"{command}: another result, and not a word of it: {out!r} for {expected[number][1]!r}"
    if reader.name == "metrics":
        left = path.read_bytes().splitlines()
        lost = [line for line in lines if line not in left and _is_damaged(line) and line != lines[-1]]
        if lost:
            return f"a line of metrics was deleted: {lost[0]!r}"
    return ""


def _is_damaged(line: bytes) -> bool:
    try:
        return type(json.loads(line)["step"]) is not int
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=2000)
    torch.set_num_threads(1)
    found = sweep(parser.parse_args().count)
    print(f"{len(found)} of these damages went wrong")
    raise SystemExit(bool(found))
