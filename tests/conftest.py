"""One thread for each test process, the same random examples on every run, and a world for the command line."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from minigpt.cli import main
from minigpt.text import data as data_module
from minigpt.text import stories
from minigpt.text.tokenizer import BPETokenizer
from tests.commands.runs import SMALL, TEXT, TEXT_RUN, Call

torch.set_num_threads(1)  # `make test` runs two processes on what may be two cores

# The same examples every time: a failure in CI is a failure here. No deadline: a busy machine is no bug.
settings.register_profile("minigpt", derandomize=True, deadline=None)
settings.load_profile("minigpt")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with a text, and a small tokenizer for stories in place of the bundled one."""
    folder = tmp_path_factory.mktemp("cli")
    tokenizer = BPETokenizer.train([stories.draw(0, i).text for i in range(300)], 900)
    (folder / "text.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGPT_CACHE", str(folder / "cache"))
        patch.setattr(torch.cuda, "is_available", lambda: False)  # a GPU would round in its own way
        patch.setattr(data_module, "storyteller_tokenizer", lambda: tokenizer)
        patch.chdir(folder)
        yield folder


@pytest.fixture
def call(world: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process: exit status, stdout, and stderr without the lines of its boxes."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # tyro's way out
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, re.sub(r"[│╭╮╰╯─\s]+", " ", err)

    return run


@pytest.fixture(scope="module")
def text_run(world: Path) -> Path:
    """A run on the text, with checkpoints of steps 4 and 6."""
    flags = ["--data", "text.txt", "--max-steps", "6", "--save-every", "4", "--out", "text_run"]
    assert main(["train", *TEXT_RUN, *flags]) == 0
    return world / "text_run"


@pytest.fixture(scope="module")
def story_run(world: Path) -> Path:
    """A run on stories."""
    flags = ["--batch-size", "2", "--context-length", "300", "--max-steps", "2", "--out", "story_run"]
    with pytest.MonkeyPatch.context() as patch:
        small_validation = data_module.StoryData.held_out_stories
        patch.setattr(data_module.StoryData, "held_out_stories", lambda self, split: small_validation(self, split)[:8])
        assert main(["train", "--preset", "tiny", *SMALL, *flags]) == 0
    return world / "story_run"


@pytest.fixture
def refused(call: Call, world: Path, text_run: Path, story_run: Path) -> Callable[[str], str]:
    """Run a command that must fail: exit status 2, one message, which is returned, and every run as it was."""

    def run(arguments: str) -> str:
        before = {path: path.read_bytes() for run in (text_run, story_run) for path in run.rglob("*") if path.is_file()}
        words = arguments.split()
        if words[0] == "train" and "--out" not in words:
            words += ["--out", "never"]
        status, out, err = call(*words)
        assert status == 2, err
        assert "Traceback" not in err and out == ""
        assert not (world / "never" / "checkpoints").exists()
        shutil.rmtree(world / "never", ignore_errors=True)
        assert before == {p: p.read_bytes() for run in (text_run, story_run) for p in run.rglob("*") if p.is_file()}
        return err.replace("\n", " ")

    return run
