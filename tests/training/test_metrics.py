"""A run's metrics: a line a step, valid JSON whatever was measured, cut where a resumed run begins."""

import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minigpt.config import InputError
from minigpt.training.metrics import Metrics, read_metrics


def test_a_line_a_step_and_numbers_that_json_can_hold(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.write({"step": 1, "loss": 2.5, "mfu": None, "updated": True})
    metrics.write({"step": 2, "loss": math.nan, "gradient_norm": math.inf, "updated": False})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    strict = [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) for line in lines]
    assert strict == read_metrics(tmp_path)
    assert strict[1] == {"step": 2, "loss": None, "gradient_norm": None, "updated": False}


def test_what_comes_after_a_step_is_cut(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.cut(5)
    assert list(tmp_path.iterdir()) == [], "nothing there, nothing made"
    for step in range(1, 8):
        metrics.write({"step": step})
    with metrics.path.open("a") as file:
        file.write('{"step": 8, "lo')
    metrics.cut(5)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("step", ["17", "null", '"4"', "true", "1.5", "[1]"])
def test_a_line_that_is_damaged_is_told_of_and_stays(
    tmp_path: Path, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = Metrics(tmp_path)
    for number in range(1, 6):
        metrics.write({"step": number, "loss": 1.0})
    lines = metrics.path.read_bytes().splitlines(keepends=True)
    lines[2] = f'{{"step": {step}'.encode() + (b"\n" if step == "17" else b"}\n")
    lines[3] = lines[3].replace(b"loss", b"lo\xf0s")
    metrics.path.write_bytes(b"".join(lines))
    metrics.cut(4)
    assert metrics.path.read_bytes() == b"".join(lines[:4])
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    assert "passed over what is damaged, line 3, 4" in capsys.readouterr().err
    metrics.cut(2)
    assert metrics.path.read_bytes() == b"".join(lines[:4]), "nobody knows which steps these were"


def test_a_log_that_another_program_holds_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(tmp_path)
    metrics.write({"step": 1})
    metrics.write({"step": 2})

    def as_on_windows(old: Path, new: Path) -> None:
        raise PermissionError(13, "The process cannot access the file")

    monkeypatch.setattr(Path, "replace", as_on_windows)
    with pytest.raises(InputError, match=r"cannot access the file\): make room, or close the program that has it open"):
        metrics.cut(1)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    metrics.cut(2)  # nothing to change, so nothing to write


def test_tensorboard_gets_the_same_numbers_or_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not installed
    with pytest.raises(InputError, match="pip install tensorboard"):
        Metrics(tmp_path, tensorboard=True)

    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

    board: Any = ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    Metrics(tmp_path, tensorboard=True).write({"step": 3, "loss": 1.5, "mfu": None})
    assert written == [("loss", 1.5, 3)]
