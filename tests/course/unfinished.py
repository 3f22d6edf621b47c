"""Lessons for which a rule does not hold yet. The lists only get shorter: a lesson that passes must leave its list.

``pytest tests/course/test_reading.py tests/course/test_names.py -k 04 --runxfail`` shows what is left in lesson 4.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notebooks.build import NOTEBOOKS

# test_reading.py: minutes counted, lines over 88 columns, terms that the glossary lacks
TIME: dict[str, str] = {}
WIDTH: dict[str, str] = {
    "10": "a progress bar that ends with a validation",
}
GLOSSARY: dict[str, str] = {}
# test_names.py: names with two meanings
NAMES: dict[str, str] = {}


def each_source(unfinished: dict[str, str]) -> Callable[[Any], Any]:
    """Run a test with every lesson's source; one that is not finished is expected to fail, and must."""
    sources = sorted((NOTEBOOKS / "source").glob("*.py"))
    return pytest.mark.parametrize("path", [_lesson(source, unfinished) for source in sources])


def _lesson(source: Path, unfinished: dict[str, str]) -> Any:
    number = source.stem.partition("_")[0]
    marks = [pytest.mark.xfail(reason=unfinished[number])] if number in unfinished else []
    return pytest.param(source, id=source.stem, marks=marks)
