"""The explorer's pictures are the same where a processor rounds otherwise, and change with what the eye sees."""

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest

from minigpt.course import pictures
from minigpt.course.pictures import Choice

TOKENS, IDS = ["Pip", "␣saw", "␣it", "."], [7, 12, 40, 3]
WEIGHTS = [[1.0, 0, 0, 0], [0.125, 0.875, 0, 0], [0.375, 0.3749999, 0.2500001, 0], [0.625, 0.245, 0.065, 0.065]]
CHOICES = [("␣a", 0.0625, 0.1875), ("␣b", 0.5625, 0.5), ("␣c", 0.375, 0.3125)]
GUESSES = [[("a", 0.125), ("b", 0.0625)], [("b", 0.875), ("a", 1 / 3)]]


def every_picture(*noise: float) -> dict[str, str]:
    """All pictures; the numbers of noise are the relative errors of what they are given, over and over."""
    errors = cycle(noise or [0.0])

    def off(number: float) -> float:
        return number * (1 + next(errors))

    weights = [[off(weight) for weight in row] for row in WEIGHTS]
    choices = [Choice(token, off(before), off(after)) for token, before, after in CHOICES]
    guesses = [[(token, off(probability)) for token, probability in row] for row in GUESSES]
    drawn = {
        "arcs": pictures.arcs(TOKENS, IDS, weights, 2, "head 1"),
        "matrix": pictures.matrix(TOKENS, weights, 2, "head 1"),
        "bars": pictures.bars(choices, "next", off(0.0625), "nothing left", came=1),
        "lens": pictures.lens(["embeddings", "block 1"], guesses, "after «it»"),
    }
    return {name: pictures.svg(picture) for name, picture in drawn.items()}


DRAWN = every_picture()


@pytest.mark.parametrize("seed", range(3))
def test_another_processor_s_rounding_draws_the_same_picture(seed: int) -> None:
    """Also where a number is the half that decides between two decimals, and where two are equally large."""
    noise = np.random.default_rng(seed).normal(scale=1e-6, size=101).tolist()
    assert every_picture(*noise) == DRAWN


def test_what_the_eye_sees_changes_the_picture() -> None:
    changed = every_picture(0.03, -0.03)
    assert not [name for name in DRAWN if DRAWN[name] == changed[name]]


def test_every_picture_is_drawn_here() -> None:
    def draws(value: object) -> bool:
        return isinstance(value, Callable) and value.__annotations__.get("return") is pictures.Picture  # type: ignore[arg-type]

    public = {name for name, value in vars(pictures).items() if hasattr(value, "__annotations__") and draws(value)}
    assert public - {"message", "stacked"} == set(DRAWN), "these two draw no numbers"
