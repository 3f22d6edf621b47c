"""Every check accepts the lesson's solution and two other right answers, and tells at least four mistakes apart."""

import re

import pytest

from minigpt.course import check
from minigpt.course.exercise import NOT_ATTEMPTED
from tests.course import cases
from tests.course.cases import Answers
from tests.course.exercises import CHECKS, modules_of, solution, solved

ANSWERS: dict[tuple[str, str], Answers] = {
    (lesson, name): answers for lesson, module in modules_of(cases).items() for name, answers in module.ANSWERS.items()
}
each_check = pytest.mark.parametrize(("lesson", "name"), sorted(CHECKS))


@each_check
def test_a_check_is_reached_by_its_name(lesson: str, name: str) -> None:
    message = f"minigpt/course/check/__init__.py lacks it, or another lesson has a check of the name {name}"
    assert getattr(check, name, None) is CHECKS[lesson, name], message


@each_check
def test_the_check_accepts_the_solution(lesson: str, name: str) -> None:
    assert CHECKS[lesson, name].hint(solution(lesson, name)) is None


@each_check
def test_the_check_accepts_other_right_answers(lesson: str, name: str) -> None:
    answers = ANSWERS[lesson, name].right
    assert len(set(answers)) >= 2, "two other right answers are needed"
    for answer in answers:
        assert CHECKS[lesson, name].hint(answer) is None, answer.__name__


@each_check
def test_the_check_tells_mistakes_apart(lesson: str, name: str) -> None:
    wrong = ANSWERS[lesson, name].wrong
    hints = {answer: CHECKS[lesson, name].hint(answer) for answer in wrong}
    assert len(wrong) >= 4, f"only {len(wrong)} mistakes"
    for answer, words in wrong.items():
        hint = hints[answer]
        assert hint is not None, f"{answer.__name__} is accepted"
        assert hint != NOT_ATTEMPTED, f"{answer.__name__} passes for an untouched stub"
        assert not re.search(r"0x[0-9a-f]{6,}|/(home|tmp)/", hint), f"{answer.__name__}: one machine's hint, {hint!r}"
        assert words in hint, f"{answer.__name__}: the hint is {hint!r}, without {words!r}"
        others = [other.__name__ for other in wrong if other is not answer and words in str(hints[other])]
        assert not others, f"{words!r} also stands in the hint for {others}"


def test_answers_belong_to_checks_and_checks_to_exercises() -> None:
    assert set(ANSWERS) == set(CHECKS)
    for lesson in {lesson for lesson, _ in CHECKS}:
        assert set(solved(lesson)) == {name for of, name in CHECKS if of == lesson}
