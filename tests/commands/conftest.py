"""A folder of shards for all tests in this folder."""

from pathlib import Path

import pytest

from minigpt.cli import main
from minigpt.text.tokenizer import BPETokenizer
from tests.commands.runs import TEXT


@pytest.fixture(scope="module")
def shards(world: Path) -> Path:
    """A folder of shards, from two texts."""
    (world / "more.txt").write_text("a bird in the hand is worth two in the bush. " * 30)
    BPETokenizer.train(TEXT, 270).save(world / "bpe.json")
    arguments = ["text.txt", "more.txt", "--out", "shards", "--tokenizer", "bpe.json", "--workers", "1"]
    assert main(["data", "prepare", *arguments, "--shard-mb", "0.0005"]) == 0
    return world / "shards"
