"""The core of the exercise checks: run the learner's function and say one useful thing about it."""

import re
import traceback
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import torch

YOUR_TURN = "your turn"  # what the stub of every exercise raises, as NotImplementedError
NOT_ATTEMPTED = "not attempted yet"


class Exercise:
    """The check of one exercise. It decorates a function that looks for mistakes::

        @Exercise
        def mean(answer: Callable[[list[float]], float]) -> str | None:
            \"\"\"The arithmetic mean of a list.\"\"\"
            if close(answer([1.0, 2.0, 6.0]), 9.0):
                return "That is the sum. How many numbers share it?"
            if not close(answer([1.0, 2.0, 6.0]), 3.0):
                return "Try [1, 2, 6] on paper: the mean is 3."
            return None

    The function gets the learner's answer and returns the hint for the first mistake that it sees, or None where there
    is none. It need not guard against errors: a stub, an exception in the answer, a forgotten ``return`` and a result
    of an unusable kind are told apart here. A lesson calls ``check.mean(mean)``, which prints one verdict and never a
    traceback.
    """

    def __init__(self, find_hint: Callable[[Callable[..., Any]], str | None]) -> None:
        self.name = find_hint.__name__
        self._find_hint = find_hint
        update_wrapper(self, find_hint)

    def __call__(self, answer: Any) -> None:
        """Print the verdict on the learner's function."""
        hint = self.hint(answer)
        if hint is None:
            print(f"✓ {self.name}: right")
        elif hint == NOT_ATTEMPTED:
            print(f"○ {self.name}: {NOT_ATTEMPTED}")
        else:
            print(f"✗ {self.name}: {hint}")

    def hint(self, answer: Any) -> str | None:
        """None for a right answer, NOT_ATTEMPTED for an untouched stub, otherwise one hint."""
        if not callable(answer):
            return f"Hand over the function itself, without calling it: check.{self.name}({self.name})."
        attempt = Attempt(answer)
        try:
            return self._find_hint(attempt)
        except Exception as error:
            if isinstance(error, NotImplementedError) and str(error) == YOUR_TURN:
                return NOT_ATTEMPTED
            if isinstance(error, NothingReturned):
                return f"{attempt.call} returns None. Does your function end with `return`?"
            what = f"{type(error).__name__}: {error}".rstrip(": ")
            if error is attempt.error:
                return f"{attempt.call} stops{_where(error, answer)} with {what}"
            return f"{attempt.call} returns {_short(attempt.result)}, and that cannot be used here ({what})"


class Attempt:
    """The learner's function, remembering its latest call so that a hint can quote it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._inputs: list[tuple[str, torch.Tensor | str]] = []
        self.result: Any = None
        self.error: Exception | None = None
        update_wrapper(self, function)  # a check may look at its signature or its name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function.

        Raises:
            NothingReturned: the function returned None although its signature does not say ``-> None``.
        """
        named = [("", value) for value in args] + [(f"{key}=", value) for key, value in kwargs.items()]
        self._inputs = [(name, _kept(value)) for name, value in named]  # first: the function may change its input
        try:
            self.result = self.function(*args, **kwargs)
        except Exception as error:
            self.error = error
            raise
        promise = getattr(self.function, "__annotations__", {}).get("return", "")
        if self.result is None and promise is not None and "None" not in str(promise):
            raise NothingReturned
        return self.result

    @property
    def call(self) -> str:
        """The latest call as one would write it."""
        name = getattr(self.function, "__name__", "your function")
        inputs = [key + (value if isinstance(value, str) else _short(value)) for key, value in self._inputs]
        return f"{name}({', '.join(inputs)})"


class NothingReturned(Exception):
    """A function that should return something returned None."""


def close(actual: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    """Whether numbers (one, or a list, array or tensor of them) have the shape and the values expected.

    The tolerance is relative for values above 1 and absolute below. What is no array of numbers is not close.
    """
    expected = torch.as_tensor(expected, dtype=torch.float64)
    try:
        actual = torch.as_tensor(actual, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return False
    return actual.shape == expected.shape and bool(torch.allclose(actual, expected, rtol=tolerance, atol=tolerance))


def _kept(value: Any) -> torch.Tensor | str:
    """An input as it is now. A small tensor's text is slow to make, and a check may call 8,000 times."""
    small = isinstance(value, torch.Tensor) and value.numel() <= 8
    return value.detach().clone() if small else _short(value)


def same_slopes(answer: Callable[..., Any], truth: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> bool:
    """Whether an answer that is a tensor passes gradients on as the true function does, to every one of its inputs.

    An answer that is no tensor (a list, an array) or goes through numpy has no gradient to be asked for.
    """
    mine, theirs = ([x.detach().clone().requires_grad_() for x in inputs] for _ in range(2))
    try:
        got = answer(*mine)
    except RuntimeError as error:
        if "numpy" in str(error).lower():
            return True
        raise
    if not isinstance(got, torch.Tensor):
        return True
    expected = truth(*theirs)
    weights = torch.linspace(1, 2, expected.numel(), dtype=expected.dtype).sin().view(expected.shape)
    if not got.requires_grad:
        return False
    slopes = torch.autograd.grad((got * weights).sum(), mine, allow_unused=True)
    wanted = torch.autograd.grad((expected * weights).sum(), theirs)
    return all(slope is not None and close(slope, want, 1e-4) for slope, want in zip(slopes, wanted, strict=True))


def _short(value: Any) -> str:
    """A value on one line, as a hint quotes it."""
    if isinstance(value, torch.Tensor) and value.numel() > 4:
        return f"a tensor of shape {tuple(value.shape)}"
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))  # an address in memory tells nobody anything
    return text if len(text) <= 100 else text[:99] + "…"


def _where(error: Exception, answer: Callable[..., Any]) -> str:
    """The learner's own line on which an error arose, where it can be read."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    frames = traceback.extract_tb(error.__traceback__)
    call = max(position for position, frame in enumerate(frames) if frame.filename == __file__)  # in Attempt.__call__
    lines = [frame.line for frame in frames[call + 1 :] if frame.filename == file and frame.line]
    return f" at the line `{lines[-1]}`" if lines else ""
