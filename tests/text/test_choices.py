"""Questions with choices: what a file must hold, with the line that does not, and the tasks of our own."""

import json
from collections import Counter
from pathlib import Path

import pytest

from minigpt.config import InputError
from minigpt.text.choices import CHOICE_TASKS, Question, is_multiple_choice, load_questions, read_questions
from minigpt.text.example_files import format_of

GOOD = {"context": "Ice is frozen ", "choices": ["water", "sand"], "answer": 0}


def write(tmp_path: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (tmp_path / "f.jsonl").write_text(text, encoding="utf-8")
    return tmp_path / "f.jsonl"


def test_lines_become_questions(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + json.dumps(GOOD), "", {"context": "", "choices": ["你", "b", "c"], "answer": 2})
    questions, left_out = read_questions(path)
    assert questions == [Question("Ice is frozen ", ["water", "sand"], 0), Question("", ["你", "b", "c"], 2)]
    assert left_out == [] and load_questions(str(path)) == questions and is_multiple_choice(str(path))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("3", "no JSON object"),
        ({"context": "x", "choices": ["a", "b"]}, 'no "answer"'),
        ({"choices": ["a", "b"], "answer": 0}, 'no "context"'),
        (GOOD | {"context": 3}, '"context" is no string'),
        (GOOD | {"choices": "ab"}, '"choices" is no list of strings'),
        (GOOD | {"choices": ["a", 3]}, '"choices" is no list of strings'),
        (GOOD | {"answer": "0"}, '"answer" is no whole number'),
        (GOOD | {"answer": True}, '"answer" is no whole number'),
        (GOOD | {"answer": 2}, '"answer" is 2, so no choice is right: with 2 choices it is a number from 0 to 1'),
        (GOOD | {"answer": -1}, '"answer" is -1, so no choice is right'),
        (GOOD | {"choices": ["a"]}, "there are 1 choices; give at least 2"),
        (GOOD | {"choices": ["a", "b", " a"]}, "choices 0 and 2 are both 'a'"),
        (GOOD | {"choices": ["a", " "]}, "choice 1 is empty, so it has no tokens"),
    ],
)
def test_a_bad_line_is_one_message_with_its_number(tmp_path: Path, line: object, words: str) -> None:
    path = write(tmp_path, GOOD, "", line)
    with pytest.raises(InputError, match="line 3: ") as raised:
        read_questions(path)
    assert words in str(raised.value)
    questions, left_out = read_questions(path, skip_bad=True)
    assert len(questions) == 1 and len(left_out) == 1 and "line 3" in left_out[0]


def test_what_is_no_task_and_what_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no task and no file called 'everydy'; did you mean 'everyday'"):
        load_questions("everydy")
    with pytest.raises(InputError, match="has no question"):
        load_questions(str(write(tmp_path, "")))
    assert not is_multiple_choice("nowhere") and not is_multiple_choice(str(tmp_path))
    assert not is_multiple_choice(str(write(tmp_path, {"text": "a", "label": "b"})))
    for name in ("everyday", str(write(tmp_path, GOOD))):
        with pytest.raises(InputError, match="is multiple choice: it is there to measure"):
            format_of(name)


@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_our_own_tasks_give_no_hint(name: str) -> None:
    questions = load_questions(name)
    assert len(questions) == 30 and len({question.context for question in questions}) == 30
    assert all(len(question.choices) == 4 for question in questions)
    places = Counter(question.answer for question in questions)
    assert max(places.values()) <= 8, "always answering the same place is no better than guessing"
    longest = sum(max(q.choices, key=len) == q.choices[q.answer] for q in questions)
    assert longest <= 15, "nor is always taking the longest"
