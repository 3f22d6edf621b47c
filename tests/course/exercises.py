"""Every exercise of the course with its check, and the namespace in which a learner would solve it."""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from minigpt.course import check
from minigpt.course.exercise import Exercise
from notebooks.build import NOTEBOOKS, checks, exercises, read_source, tags


class Solved(NamedTuple):
    """One exercise as the lesson's source solves it."""

    cell: str
    """The source of the cell, markers included."""
    answer: str
    """What the check is given, nearly always the name of the function."""
    names: dict[str, Any]
    """What the cell sees: the lesson's set-up and its earlier exercises, run."""

    def run(self, code: Any) -> Any:
        """The answer, when this code stands in the cell."""
        names = dict(self.names)
        exec(code, names)
        return eval(self.answer, names)


def modules_of(package: ModuleType) -> dict[str, ModuleType]:
    """The modules in a package, by their short names."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}


CHECKS = {
    (lesson, value.name): value
    for lesson, module in modules_of(check).items()
    for value in vars(module).values()
    if isinstance(value, Exercise)
}


@cache
def solved(lesson: str) -> dict[str, Solved]:
    """The exercises of a lesson by the check that judges them: its set-up and its exercises are run, nothing else."""
    (path,) = (p for p in (NOTEBOOKS / "source").glob("*.py") if p.stem.partition("_")[2] == lesson)
    source = read_source(path)
    names: dict[str, Any] = {}
    for cell in source.cells:
        if "setup" in tags(cell):
            exec(cell.source, names)
    found = {}
    for exercise in exercises(source):
        before = dict(names)
        exec(exercise.answer.source, names)
        found.update({name: Solved(exercise.answer.source, answer, before) for name, answer in checks(exercise.check)})
    return found


def solution(lesson: str, name: str) -> Callable[..., Any]:
    """The solution of an exercise."""
    exercise = solved(lesson)[name]
    return exercise.run(exercise.cell)
