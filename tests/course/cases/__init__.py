"""Answers to try on the checks: one module for each lesson, with the same name as its module in minigpt.course.check.

Each module has ``ANSWERS``, from the name of a check to an ``Answers``. See CONTRIBUTING.md.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Answers(NamedTuple):
    """Answers to one exercise, besides the solution that stands in the lesson's source."""

    right: list[Callable[..., Any]]
    """Two or more right answers, each found in another way."""
    wrong: dict[Callable[..., Any], str]
    """Four or more typical mistakes, each with words that only its own hint has."""
