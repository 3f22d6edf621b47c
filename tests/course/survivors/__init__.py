"""Which mutants of the solutions their checks accept, and which of them may: those that mean the same.

Each lesson's survivors stand in ``LESSON.toml`` with the reason why the check is right to accept them.
"""

import os
import resource
import tomllib
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from minigpt.course.exercise import Exercise
from tests.course.exercises import CHECKS, solved
from tests.course.mutants import Endless, mutants
from tests.course.wrapped import wrapped

LISTS = Path(__file__).parent
ACCEPTED, REFUSED = "+", "-"
SECONDS = 10  # of computing for one mutant, many times what a check needs


def survivors(lesson: str, name: str, known: Collection[str] = ()) -> tuple[int, list[str]]:
    """How many mutants of an exercise were made, and the names of those that its check accepts.

    Those in `known` count as accepted without being run: to accept takes a check longest.

    They run in a child process. One that does not come to an end (a list that holds itself, printed) kills it after
    some seconds of computing, counts as refused, and the next child goes on behind it.

    Raises:
        RuntimeError: the solution is refused after its mutants have run: one of them spoiled what the check keeps.
    """
    exercise = solved(lesson)[name]
    made = [*mutants(exercise), *wrapped(exercise)]
    names = [mutant for mutant, _ in made]
    answers = [(mutant in known, make) for mutant, make in made]
    answers.append((False, lambda: exercise.run(exercise.cell)))
    verdicts = ""
    while len(verdicts) <= len(names):
        verdicts += _verdicts_of_a_child(CHECKS[lesson, name], answers[len(verdicts) :])
        if len(verdicts) <= len(names):
            verdicts += REFUSED
    if verdicts[-1] == REFUSED:
        raise RuntimeError(f"after its mutants, the solution of {name} is refused")
    return len(names), [mutant for mutant, verdict in zip(names, verdicts, strict=False) if verdict == ACCEPTED]


def _verdicts_of_a_child(check: Exercise, answers: list[tuple[bool, Callable[[], Any]]]) -> str:
    """One letter for each answer, up to one that never ends; those that are known to be right are not run."""
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # other threads do nothing here that a fork could tear apart
        child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("ignore")
            for known, make in answers:
                used = resource.getrusage(resource.RUSAGE_SELF)
                resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS, -1))
                os.write(writer, (ACCEPTED if known else _verdict(check, make)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        verdicts = pipe.read()
    os.waitpid(child, 0)
    return verdicts


def _verdict(check: Exercise, make: Callable[[], Any]) -> str:
    torch.manual_seed(0)
    try:
        return ACCEPTED if check.hint(make()) is None else REFUSED
    except (Exception, Endless):  # the cell itself may fail, too
        return REFUSED


def listed(lesson: str) -> dict[str, dict[str, str]]:
    """The survivors that are right, by exercise, each with its reason."""
    path = LISTS / f"{lesson}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
