"""Every mutant of every solution is refused by its check, or listed with the reason why it is right."""

from collections.abc import Iterator

import pytest

from tests.course.exercises import CHECKS, Solved
from tests.course.mutants import Endless, mutants
from tests.course.survivors import LISTS, listed, survivors
from tests.course.wrapped import wrapped

CELL = '''
def first(values: list[float], limit: float) -> float:
    """The first number below the limit."""
    ### BEGIN SOLUTION
    i = 0
    while values[i] >= limit:
        i += 1
    return values[i]
    ### END SOLUTION
'''


@pytest.mark.parametrize(("lesson", "name"), sorted(CHECKS))
def test_a_mutant_is_refused_or_means_the_same(lesson: str, name: str) -> None:
    reasons = listed(lesson).get(name, {})
    # To accept takes a check longest. `python -m tests.course.survivors` runs them all.
    trusted = [mutant for position, mutant in enumerate(reasons) if position % 8]
    made, accepted = survivors(lesson, name, known=trusted)
    assert made >= 6
    assert not [mutant for mutant in accepted if mutant not in reasons], "accepted, and not listed as right"
    assert not [mutant for mutant in reasons if mutant not in accepted], "listed, but refused or not made any more"


def test_lists_belong_to_exercises_and_give_reasons() -> None:
    names = {(path.stem, name) for path in LISTS.glob("*.toml") for name in listed(path.stem)}
    assert names <= set(CHECKS)
    assert all(reason for lesson, name in names for reason in listed(lesson)[name].values())


def made_of(cell: str) -> Iterator[str]:
    return (name for name, _ in mutants(Solved(cell, "first", {})))


def test_a_name_shows_the_change() -> None:
    names = list(made_of(CELL))
    assert {"i = {0 → 1}", "while values[i] >{= → } limit:", "{i += 1 → pass}", "i {+ → -}= 1"} <= set(names)
    assert len(names) == len(set(names))
    assert names == list(made_of(CELL))


def test_signature_and_docstring_stay_as_they_are() -> None:
    assert not [name for name in made_of(CELL.replace("limit: float", "limit: float = 3.0")) if "def " in name]
    assert not [name for name in made_of(CELL) if "first number" in name]


def test_an_endless_loop_ends() -> None:
    answers = dict(mutants(Solved(CELL, "first", {})))
    with pytest.raises(Endless):
        answers["{i += 1 → pass}"]()([5.0, 1.0], 2.0)
    assert answers["i = {0 → 1}"]()([5.0, 1.0], 2.0) == 1.0


def test_arguments_and_results_are_changed_around_the_solution() -> None:
    answers = dict(wrapped(Solved(CELL, "first", {})))
    values = [5.0, 1.23456]
    assert answers["{values changed in place}"]()(values, 2.0) == 1.23456
    assert values == [5.0, 1.23456, 5.0]
    assert answers["{result rounded to 2 digits}"]()([1.23456], 2.0) == 1.23
