"""Making shards: their tokens are those of the whole text, no crash loses or spoils anything, memory stays bounded."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.config import InputError
from minigpt.text import prepare as prepare_module
from minigpt.text import sources as sources_module
from minigpt.text.prepare import plan, prepare
from minigpt.text.shards import Manifest, open_shards, verify
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer, Tokenizer
from tests.text.samples import STORIES, TEXT, tokenizer

N_SHARDS = 7  # of at most 5000 bytes, see make()


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no test cuts the power


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def ids_in(folder: Path, *splits: str) -> list[int]:
    """The ids in the files, read by nothing of ours."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = [shard["file"] for split in splits or ("train", "val") for shard in manifest["shards"][split]]
    return [i for file in files for i in np.fromfile(folder / file, manifest["dtype"]).tolist()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Cutting.


@given(st.lists(TEXT.filter(len), min_size=1, max_size=3), st.integers(1, 150), *[st.integers(1, 40)] * 2)
@settings(max_examples=100)
def test_shards_hold_the_tokens_of_the_whole_texts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], shard_bytes: int, block: int, step: int
) -> None:
    folder = tmp_path_factory.mktemp("whole")
    sources = [write(folder / f"{i}.txt", text) for i, text in enumerate(texts)]
    sizes = [len(text.encode()) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(sources_module, "BLOCK", block)
        patch.setattr(sources_module, "STEP", step)
        try:
            manifest, _ = prepare(sources, folder / "shards", tokenizer(), shard_bytes=shard_bytes)
        except InputError as error:
            if stretch := re.search(r"/(\d).txt' cannot be cut between bytes (\d+) and (\d+)", str(error)):
                number, start, end = map(int, stretch.groups())
                assert not re.search(rb"[ \n](?=[!-~])", texts[number].encode()[start:end])
            else:
                assert "nowhere to cut off the last tenth" in str(error)
                last_tenth = "".join(texts).encode()[sum(sizes) - sum(sizes) // 10 :]
                assert not re.search(rb"[ \n][!-~]", last_tenth)
            return
    assert ids_in(folder / "shards") == [i for text in texts for i in tokenizer().encode(text)]
    shards = manifest.all_shards()
    for number, size in enumerate(sizes):
        pieces = [(shard.start, shard.end) for shard in shards if shard.source == number]
        assert [0, *(end for _, end in pieces)] == [*(start for start, _ in pieces), size], "the whole source, once"
    assert all(0 < shard.end - shard.start <= 2 * shard_bytes for shard in shards)
    assert all(shard.text_bytes == shard.end - shard.start for shard in shards)
    train = sum(shard.text_bytes for shard in manifest.shards["train"])
    assert train >= sum(sizes) * 9 // 10 and manifest.shards["val"]
    assert verify(folder / "shards") == len(shards)


def test_the_last_tenth_is_for_validation_but_no_more_than_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [write(tmp_path / f"{i}.txt", "word " * (200 * i)) for i in (1, 2, 3)]  # 1000, 2000 and 3000 bytes
    shards = plan(sources, 700)
    # A cut is before the white space, so 4 bytes after the border at 5400 of 6000 bytes, 2400 of the last 3000.
    assert [(s.source, s.start, s.end) for s in shards["val"]] == [(2, 2404, 3000)]
    assert [(s.source, s.start, s.end) for s in shards["train"]][:3] == [(0, 0, 504), (0, 504, 1000), (1, 0, 669)]
    assert [s.file for s in shards["train"]] == [f"train-{i:05}.bin" for i in range(len(shards["train"]))]
    monkeypatch.setattr(prepare_module, "VALIDATION_BYTES", 50)
    assert [(s.source, s.start, s.end) for s in plan(sources, 700)["val"]] == [(2, 2954, 3000)]
    monkeypatch.setattr(prepare_module, "VALIDATION_BYTES", 10**9)
    many = [write(tmp_path / f"many{i}.txt", "word " * 20) for i in range(40)]
    assert [(s.source, s.start) for s in plan(many, 700)["val"]] == [(36, 0), (37, 0), (38, 0), (39, 0)]


def test_documents_come_after_an_end_of_text_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "BLOCK", 100)
    texts = ["one\nstory", "", " 从前 ", f"it says {END_OF_TEXT} itself", *(f"document {i}" for i in range(30))]
    lines = [json.dumps({"id": i, "text": text}, ensure_ascii=i % 2 == 0) for i, text in enumerate(texts)]
    lines.insert(5, "")  # a blank line is no document
    source = write(tmp_path / "documents.jsonl", "\n".join(lines))  # nothing ends the last line
    manifest, _ = prepare([source], tmp_path / "shards", tokenizer(), shard_bytes=300)
    end = tokenizer().end_of_text
    assert end is not None and len(manifest.shards["train"]) > 3
    assert ids_in(tmp_path / "shards") == [i for text in texts for i in [end, *tokenizer().encode(text)]]
    for shard in manifest.all_shards():
        assert np.fromfile(tmp_path / "shards" / shard.file, np.uint16)[0] == end
    assert sum(shard.text_bytes for shard in manifest.all_shards()) == sum(len(text.encode()) for text in texts)


def test_many_tokens_need_four_bytes_each(tmp_path: Path) -> None:
    characters = "".join(map(chr, range(0x10000, 0x10000 + 70_000))) + " "
    text = "".join(f"{c} " for c in characters[::1000])
    prepare([write(tmp_path / "text.txt", text)], tmp_path / "shards", CharTokenizer(characters))
    assert Manifest.load(tmp_path / "shards").dtype == "uint32"
    assert CharTokenizer(characters).decode(ids_in(tmp_path / "shards")) == text


# Going on after a stop.


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "stories.txt", STORIES)


def make(source: Path, folder: Path, **options: Any) -> tuple[Manifest, int]:
    return prepare([source], folder, tokenizer(), **{"shard_bytes": 5000} | options)


def test_a_crash_at_any_moment_loses_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(source, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    replace, kept_before = os.replace, -1
    for moment in range(100):
        calls = 0

        def crash(old: Any, new: Any, moment: int = moment) -> None:
            nonlocal calls
            calls += 1
            if calls > moment:
                raise SystemExit
            replace(old, new)

        folder = tmp_path / f"crash{moment}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", crash)
            patch.setattr(Path, "unlink", lambda path: None)  # nobody tidies up after kill -9
            try:
                make(source, folder)
            except SystemExit:
                assert list(folder.glob("*.unfinished*")) or list(folder.glob("*.tmp"))
            else:
                break
        for path in folder.glob("*.tmp"):
            path.unlink()  # the tokenizer's own
        if (folder / "manifest.json").exists():
            with pytest.raises(InputError, match="is not finished. Run the same `minigpt data prepare` again"):
                open_shards(folder)
        _, n_kept = make(source, folder)
        assert contents(folder) == whole and n_kept >= kept_before
        kept_before = n_kept
    assert kept_before == N_SHARDS and moment == 2 + 2 * N_SHARDS + 1, "two files, each shard and manifest, manifest"


def command(source: Path, folder: Path, file: Path) -> list[str]:
    arguments = ["data", "prepare", source, "--out", folder, "--tokenizer", file, "--workers", 2, "--shard-mb", 0.03]
    return [sys.executable, "-m", "minigpt", *map(str, arguments)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    # 4.8 MB: on a busy machine a good part of it is done before this process has its turn again.
    source = write(tmp_path / "stories.txt", STORIES * 180)
    tokenizer().save(tmp_path / "tokenizer.json")
    folder = tmp_path / "shards"
    started = subprocess.Popen(
        command(source, folder, tmp_path / "tokenizer.json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not (folder / "manifest.json").exists() or len(Manifest.load(folder).all_shards()) < 3:
        assert started.poll() is None, started.communicate()
        time.sleep(0.005)
    started.send_signal(how)
    out, err = started.communicate(timeout=60)  # waits for all that can write there, so for its processes as well
    if how == signal.SIGKILL:
        assert started.returncode == -9 and out == b"" and b"Traceback" not in err  # Python's tracker tidies up aloud
    else:
        assert started.returncode == 130 and (out, err) == (b"", b"")
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("train-*.bin")}
    recorded = [shard.file for shard in Manifest.load(folder).all_shards()]
    assert 3 <= len(recorded) < 150

    _, n_kept = prepare([source], folder, tokenizer(), shard_bytes=30_000)
    assert n_kept == len(recorded)
    assert all((folder / name).stat().st_mtime_ns == before[name] for name in recorded), "what was made is not touched"
    prepare([source], tmp_path / "whole", tokenizer(), shard_bytes=30_000)
    assert contents(folder) == contents(tmp_path / "whole")


def test_several_processes_make_the_same_files_as_one(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "one")
    _, n_kept = make(source, tmp_path / "two", workers=2)
    assert n_kept == 0 and contents(tmp_path / "two") == contents(tmp_path / "one")


def test_only_what_is_missing_or_damaged_is_made_again(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    make(source, folder)
    whole = contents(folder)
    assert make(source, folder)[1] == N_SHARDS
    (folder / "train-00001.bin").unlink()
    (folder / "train-00003.bin").write_bytes(whole["train-00003.bin"][:-2])
    damaged = bytearray(whole["val-00000.bin"])
    damaged[7] ^= 1
    (folder / "val-00000.bin").write_bytes(damaged)
    (folder / "tokenizer.json").unlink()
    assert make(source, folder)[1] == N_SHARDS - 3
    assert contents(folder) == whole


def test_a_moved_source_is_the_same_source(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "shards")
    assert make(source.rename(tmp_path / "moved.txt"), tmp_path / "shards")[1] == N_SHARDS


def test_another_text_tokenizer_or_size_is_refused(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    make(source, folder)
    whole = contents(folder)
    with pytest.raises(InputError, match=r"begun with --shard-mb 0.005. Go on with the same, or choose another --out"):
        make(source, folder, shard_bytes=6000)
    with pytest.raises(InputError, match=r"begun with another tokenizer\. Go on"):
        prepare([source], folder, BPETokenizer.train(STORIES[:999], 300), shard_bytes=5000)
    size = len(STORIES)
    with pytest.raises(
        InputError, match=rf"other sources, or they have changed: they had \[{size}\] bytes, now \[{size}, "
    ):
        prepare([source, source], folder, tokenizer(), shard_bytes=5000)
    for place in (100, size - 100):  # as long as before
        text = bytearray(STORIES.encode())
        text[place] = ord("#")
        source.write_bytes(text)
        with pytest.raises(
            InputError, match=r"stories.txt' has changed since .*(train|val)-0000\d.bin' was made from it"
        ):
            make(source, folder)
    cut = Manifest.load(folder).shards["train"][0].end
    source.write_text(f"{STORIES[: cut - 5]}{'#' * 10}{STORIES[cut + 5 :]}")
    with pytest.raises(InputError, match="begun with sources that have changed since"):
        make(source, folder)
    source.write_text(STORIES + "more")
    with pytest.raises(InputError, match="they had"):
        make(source, folder)
    assert contents(folder) == whole, "nothing was touched"


def test_a_folder_with_other_files_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    write(tmp_path / "full" / "train-00000.bin", "mine")
    with pytest.raises(InputError, match="full' holds other files: choose an --out that is empty or does not exist"):
        make(source, tmp_path / "full")
    assert contents(tmp_path / "full") == {"train-00000.bin": b"mine"}
    write(tmp_path / "full" / "manifest.json", '{"name": "of another program"}')
    with pytest.raises(InputError, match="manifest.json' is damaged or of another program"):
        make(source, tmp_path / "full")
    with pytest.raises(InputError, match="stories.txt' could not be written"):
        make(source, source)


def test_a_full_disk_is_named_and_finished_shards_are_kept(source: Path, tmp_path: Path) -> None:
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "shards"
    text = tmp_path / "text.txt"
    text.write_text("a " * 12_000 + STORIES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))  # enough for a shard of stories, not of single letters
    try:
        with pytest.raises(InputError, match=r"shards' could not be written .*make room.* the same command goes on"):
            prepare([text], folder, CharTokenizer.train(text.read_text()), shard_bytes=5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(folder.glob("*.unfinished"))
    prepare([text], folder, CharTokenizer.train(text.read_text()), shard_bytes=5000)
    assert CharTokenizer.train(text.read_text()).decode(ids_in(folder)) == text.read_text()


class Deadly(BPETokenizer):
    """Kills the process that encodes with it, as a system without memory does."""

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_a_process_that_dies_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has died, perhaps for want of memory. Run the same command again"):
        prepare([source], tmp_path / "shards", Deadly([], (END_OF_TEXT,)), workers=2, shard_bytes=5000)
    with pytest.raises(InputError, match="is not finished"):
        open_shards(tmp_path / "shards")


def test_memory_is_bounded_by_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "large.txt", STORIES * 120)
    monkeypatch.setattr(sources_module, "BLOCK", 2**14)
    prepare([source], tmp_path / "shards", tokenizer(), shard_bytes=10**6)  # loads and caches what it will
    for path in (tmp_path / "shards").glob("*.bin"):
        path.unlink()
    tracemalloc.start()
    try:
        prepare([source], tmp_path / "shards", tokenizer(), shard_bytes=10**6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000 < source.stat().st_size // 3, "and ids take ten times as much as their text"


def test_a_process_that_makes_shards_does_not_load_torch() -> None:
    program = "import sys, minigpt.text.prepare; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


# What cannot be used.


def lines(bad: bytes) -> bytes:
    return b'{"text": "a"}\n' * 50 + bad * 9  # the bad ones begin at byte 700


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"a.txt' is empty; leave it out"),
        ("a.txt", b"a\0b c d" * 100, r"a.txt' is not a text file: it has zero bytes"),
        (
            "a.txt",
            b"one two three " * 50 + b"\xff four" * 20,
            r"a.txt', line 1 \(byte \d+\): byte \d+ of it is not UTF-8",
        ),
        ("a.txt", b"x" * 3000, r"a.txt' cannot be cut between bytes \d+ and \d+: there is no white space. Give a lar"),
        ("a.txt", b"hello", r"a.txt: 5 bytes, and nowhere to cut off the last tenth for validation"),
        (
            "a.jsonl",
            lines(b'{"text": 3}\n'),
            r"a.jsonl', line 51 .byte 700.: this line is no JSON object with a string call",
        ),
        ("a.jsonl", lines(b"[1]\n"), r"a.jsonl', line 51 .byte 700.: this line is no JSON object"),
        ("a.jsonl", lines(b'{"txt": "a"}\n'), r"a.jsonl', line 51 .byte 700.: this line is no JSON object"),
        ("a.jsonl", lines(b'{"text": "a\n'), r"a.jsonl', line 51 .byte 700.: this line is not JSON"),
        ("a.jsonl", lines(b'{"text": "\xff"}\n'), r"a.jsonl', line 51 .byte 700.: byte 10 of it is not UTF-8"),
        (
            "a.jsonl",
            lines(b'{"text": "\\ud800"}\n'),
            r"a.jsonl', line 51 .byte 700.: the text has half a su",
        ),
        ("a.jsonl", b'{"text": "' + b"a " * 2000 + b'"}\n' * 2, r"a.jsonl' cannot be cut .*there is no end of a line"),
        ("a.jsonl", b'{"text": "a"}', r"nowhere to cut off"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        make(tmp_path / name, tmp_path / "shards", shard_bytes=1000)


def test_an_error_of_a_process_arrives(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stories.txt', line \d+ \(byte \d+\): unknown character"):
        prepare([source], tmp_path / "shards", CharTokenizer("abc"), workers=2, shard_bytes=5000)


def test_values_that_cannot_work_are_named(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    with pytest.raises(InputError, match="workers is 0; it must be at least 1"):
        make(source, folder, workers=0)
    with pytest.raises(InputError, match="a shard of 0 bytes holds no text: give a larger --shard-mb"):
        make(source, folder, shard_bytes=0)
    with pytest.raises(InputError, match=r"nowhere.txt' cannot be read \(No such file or directory\); give the paths"):
        make(tmp_path / "nowhere.txt", folder)
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\); give the paths of .txt or .jsonl files"):
        make(tmp_path, folder)
    without: Tokenizer = BPETokenizer.train("abc", 257, special_tokens=())
    with pytest.raises(InputError, match=r"documents \(.jsonl\) need a tokenizer with an end-of-text token"):
        prepare([write(tmp_path / "a.jsonl", '{"text": "a"}\n')], folder, without)
    assert not folder.exists()
