"""start_lesson() makes numbers and figures the same on every machine."""

import io
from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from minigpt.course import start_lesson
from minigpt.course.lesson import SVG_METADATA


@pytest.fixture(autouse=True)
def settings_restored() -> Iterator[None]:
    """The settings of torch, numpy and matplotlib are global: no other test should see these."""
    threads = torch.get_num_threads()
    with matplotlib.rc_context(), np.printoptions():
        yield
    torch.set_printoptions(profile="default")
    torch.set_num_threads(threads)


def drawing() -> bytes:
    figure, file = Figure(figsize=(2, 1)), io.BytesIO()
    axes = figure.subplots()
    axes.plot([0, 1], label="a clipped line with a marker", marker="o")
    axes.legend()
    figure.savefig(file, format="svg", metadata=SVG_METADATA)
    return file.getvalue()


def test_one_thread_and_four_decimals() -> None:
    torch.set_num_threads(2)
    start_lesson()
    assert torch.get_num_threads() == 1
    assert str(torch.tensor([1e-3, 1e4 / 3])) == "tensor([   0.0010, 3333.3333])"
    assert str(np.array([1e-9, 1 / 3])) == "[0.     0.3333]"


def test_drawing_twice_gives_the_same_bytes() -> None:
    with matplotlib.rc_context({"svg.hashsalt": None}):
        assert drawing() != drawing()  # matplotlib's own ids are random
    start_lesson()
    assert drawing() == drawing()
    assert b"<dc:date>" not in drawing() and b"<text" not in drawing()
