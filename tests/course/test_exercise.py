"""The core of the checks, tried on one tiny exercise: whatever a learner hands in, one useful line and no traceback."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from minigpt.course.exercise import NOT_ATTEMPTED, YOUR_TURN, Exercise, close


@Exercise
def mean(answer: Any) -> str | None:
    """The arithmetic mean of a list."""
    if close(answer([1.0, 2.0, 6.0]), 9.0):
        return "That is the sum. How many numbers share it?"
    if abs(answer([1.0, 2.0, 6.0]) - 3.0) > 1e-6:
        return "Try [1, 2, 6] on paper: the mean is 3."
    return None


def right(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def untouched(numbers: list[float]) -> float:
    raise NotImplementedError(YOUR_TURN)


def total(numbers: list[float]) -> float:
    return sum(numbers)


def median(numbers: list[float]) -> float:
    return sorted(numbers)[1]


def forgot_return(numbers: list[float]) -> float:  # type: ignore[return]
    sum(numbers) / len(numbers)


def fails(numbers: list[float]) -> float:
    numbers.clear()
    return 1 / len(numbers)


def words(numbers: list[float]) -> str:
    return "three"


class ModuleWithoutForward(nn.Module):
    def __init__(self, numbers: list[float]) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (right, "✓ mean: right\n"),
        (untouched, "○ mean: not attempted yet\n"),
        (total, "✗ mean: That is the sum. How many numbers share it?\n"),
        (median, "✗ mean: Try [1, 2, 6] on paper: the mean is 3.\n"),
        (forgot_return, "✗ mean: forgot_return([1.0, 2.0, 6.0]) returns None. Does your function end with `return`?\n"),
        (
            fails,
            "✗ mean: fails([1.0, 2.0, 6.0]) stops at the line `return 1 / len(numbers)` "
            "with ZeroDivisionError: division by zero\n",
        ),
        (
            words,
            "✗ mean: words([1.0, 2.0, 6.0]) returns 'three', and that cannot be used here "
            "(TypeError: unsupported operand type(s) for -: 'str' and 'float')\n",
        ),
        (3.0, "✗ mean: Hand over the function itself, without calling it: check.mean(mean).\n"),
    ],
)
def test_each_answer_gets_its_own_line(answer: Any, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    mean(answer)
    assert capsys.readouterr().out == line


def test_hint_says_nothing_about_a_right_answer() -> None:
    assert mean.hint(right) is None
    assert mean.hint(untouched) == NOT_ATTEMPTED


def test_a_wrong_number_of_parameters_is_a_hint() -> None:
    def mean_of_two(a: float, b: float) -> float:
        return (a + b) / 2

    assert "mean_of_two([1.0, 2.0, 6.0]) stops with TypeError" in str(mean.hint(mean_of_two))


def test_a_missing_forward_is_not_an_untouched_stub() -> None:
    @Exercise
    def layer(answer: Any) -> str | None:
        """A layer."""
        answer([1.0])(torch.zeros(1))
        return None

    hint = str(layer.hint(ModuleWithoutForward))
    assert hint.startswith("ModuleWithoutForward([1.0]) returns") and "forward" in hint


def test_none_is_fine_where_the_signature_promises_it() -> None:
    def find(numbers: list[float]) -> float | None:
        return None

    def change(numbers: list[float]) -> None:
        return None

    @Exercise
    def anything(answer: Any) -> str | None:
        """Any answer will do."""
        answer([])
        return None

    assert anything.hint(find) is None
    assert anything.hint(change) is None


def test_a_check_knows_its_name_and_purpose() -> None:
    assert (mean.name, mean.__doc__) == ("mean", "The arithmetic mean of a list.")


def test_long_values_are_shortened() -> None:
    @Exercise
    def long(answer: Any) -> str | None:
        """Long input."""
        answer(list(range(1000)), torch.zeros(10, 10))
        return None

    hint = str(long.hint(lambda numbers, tensor: numbers[tensor]))
    assert hint.startswith("<lambda>([0, 1, 2, 3,") and "26, …, a tensor of shape (10, 10)) stops" in hint


@pytest.mark.parametrize(
    ("actual", "expected", "verdict"),
    [
        ([0.1, 0.2], [0.1, 0.2 + 1e-9], True),
        (np.array([0.1, 0.2]), [0.1, 0.2], True),
        (torch.tensor([[1.0, 2.0]]), [[1.0, 2.0]], True),
        ([torch.tensor(1.0), torch.tensor(2.0)], [1.0, 2.0], True),
        (3, 3.0, True),
        (1e9 + 1, 1e9, True),
        ([0.1, 0.2], [0.1, 0.3], False),
        ([1.0, 1.0], 1.0, False),
        ([[1.0, 2.0]], [1.0, 2.0], False),
        ([[1.0], [2.0, 3.0]], [1.0, 2.0], False),
        ("three", 3.0, False),
        (None, 3.0, False),
        (float("nan"), 3.0, False),
    ],
)
def test_close_compares_shape_and_values(actual: Any, expected: Any, verdict: bool) -> None:
    assert close(actual, expected) is verdict
