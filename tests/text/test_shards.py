"""A folder of shards: its manifest, and every way in which the folder can be other than the manifest tells."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minigpt.config import InputError
from minigpt.text.prepare import prepare
from minigpt.text.shards import Manifest, Shard, new_file, open_shards, token_dtype, tokenizer_sha256, verify
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer, Tokenizer

TEXT = "".join(f"{i} bottles of beer on the wall, " for i in range(200))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    prepare([tmp_path / "text.txt"], tmp_path / "shards", CharTokenizer.train(TEXT), shard_bytes=2000)
    return tmp_path / "shards"


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    shards = {"train": [Shard("a.bin", 0, 0, 9, "x", 3, 9, "y"), Shard("b.bin", 1, 5, 6)], "val": []}
    manifest = Manifest("uint32", "hash", shards, {"name": "n"}, [{"file": "f", "bytes": 9}], 64)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest and manifest.all_shards() == shards["train"]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_finished_folder_is_opened_and_verified(folder: Path) -> None:
    manifest, tokenizer = open_shards(folder)
    assert tokenizer.contents() == CharTokenizer.train(TEXT).contents() and manifest.dtype == "uint16"
    assert verify(folder) == len(manifest.all_shards()) == 4
    text = "".join(tokenizer.decode(np.fromfile(folder / s.file, "uint16").tolist()) for s in manifest.all_shards())
    assert text == TEXT


def test_ids_get_as_many_bytes_as_they_need() -> None:
    assert token_dtype(CharTokenizer("".join(map(chr, range(0x10000, 0x20000))))) == "uint16"
    assert token_dtype(CharTokenizer("".join(map(chr, range(0x10000, 0x20001))))) == "uint32"


def test_tokenizers_differ_in_their_hash() -> None:
    plain = BPETokenizer([(97, 98)], (END_OF_TEXT,))
    others: list[Tokenizer] = [BPETokenizer([(97, 98)]), BPETokenizer([(97, 99)], (END_OF_TEXT,)), CharTokenizer("ab")]
    assert len({tokenizer_sha256(tokenizer) for tokenizer in [plain, *others]}) == 4
    assert tokenizer_sha256(BPETokenizer([(97, 98)], (END_OF_TEXT,))) == tokenizer_sha256(plain)


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with new_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with pytest.raises(ZeroDivisionError), new_file(path) as file:
        file.write(b"half")
        print(1 // 0)
    assert path.read_bytes() == b"new" and [p.name for p in tmp_path.iterdir()] == ["file"]


def edit(path: Path, change: Callable[[dict], object]) -> None:
    contents = json.loads(path.read_text())
    contents.pop("seal")  # as an earlier version wrote it
    change(contents)
    path.write_text(json.dumps(contents))


AGAIN = "Run the same `minigpt data prepare` again: it makes what is missing or damaged"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "train-00001.bin").unlink(), f"shard '.*train-00001.bin' is missing. {AGAIN}"),
        (
            lambda f: os.truncate(f / "train-00001.bin", 2000),
            rf"train-00001.bin' has 2000 bytes, but its \d+ tokens of uint16 should have \d+: .*. {AGAIN}",
        ),
        (
            lambda f: np.fromfile(f / "val-00000.bin", "uint16").astype("uint32").tofile(f / "val-00000.bin"),
            r"val-00000.bin' has \d+ bytes, but its \d+ tokens of uint16 should have \d+: it was cut short or replaced",
        ),
        (
            lambda f: edit(f / "manifest.json", lambda m: m.update(dtype="uint32")),
            r"train-00000.bin' has \d+ bytes, but its \d+ tokens of uint32 should have",
        ),
        (
            lambda f: (f / "tokenizer.json").unlink(),
            f"cannot read the tokenizer .*tokenizer.json: No such file.* {AGAIN}",
        ),
        (
            lambda f: CharTokenizer(TEXT[:1]).save(f / "tokenizer.json"),
            f"tokenizer.json in '.*' is not the one that its shards were made with. {AGAIN}",
        ),
        (lambda f: edit(f / "manifest.json", lambda m: m.update(spec={})), f"shards' is not finished. {AGAIN}"),
        (
            lambda f: edit(f / "manifest.json", lambda m: m.update(format=2)),
            "manifest.json' has format 2, and this minigpt reads 1: prepare it anew",
        ),
        (
            lambda f: edit(f / "manifest.json", lambda m: m.update(dtype="float32")),
            r"manifest.json' is damaged or of another program \(dtype is 'float32'\)",
        ),
        (
            lambda f: edit(f / "manifest.json", lambda m: m.pop("format")),
            "of another program .'format'.: take a folder",
        ),
        (lambda f: edit(f / "manifest.json", lambda m: m["shards"].pop("val")), "of another program .'val'"),
        (lambda f: edit(f / "manifest.json", lambda m: m.update(owner="me")), "of another program .*'owner'"),
        (
            lambda f: (f / "manifest.json").write_text(
                re.sub(r'"text_bytes": \d+', '"text_bytes": 77', (f / "manifest.json").read_text(), count=1)
            ),
            "manifest.json' is damaged or of another program .it was changed since it was written",
        ),
        (lambda f: os.truncate(f / "manifest.json", 100), "manifest.json' is damaged or of another program"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json' is damaged or of another program"),
        (lambda f: (f / "manifest.json").write_bytes(b"\xff"), "manifest.json' is damaged or of another program"),
        (
            lambda f: (f / "manifest.json").unlink(),
            "shards' is a folder; give the path of one text file, or .* has no manifest.json",
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_remedy(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message):
        open_shards(folder)
    with pytest.raises(InputError, match=message):
        verify(folder)


def test_a_changed_token_is_found_by_its_hash_alone(folder: Path) -> None:
    content = bytearray((folder / "train-00002.bin").read_bytes())
    content[-1] ^= 1
    (folder / "train-00002.bin").write_bytes(content)
    open_shards(folder)
    with pytest.raises(InputError, match=f"train-00002.bin' was changed since it was made. {AGAIN}"):
        verify(folder)


def test_a_folder_in_the_cache_has_another_remedy(folder: Path) -> None:
    edit(folder / "manifest.json", lambda m: m.update(sources=[]))
    (folder / "val-00000.bin").unlink()
    with pytest.raises(InputError, match="is missing. Delete the folder: it is made anew when it is needed"):
        open_shards(folder)
