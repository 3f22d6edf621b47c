"""A crew of processes runs functions side by side, and says what went wrong in one of them."""

import os
import time
from collections.abc import Callable

import pytest

from minigpt.course.crew import Crew


def double(x: int) -> int:
    return 2 * x


def who(start: int) -> list[str]:
    return [str(double(start)), os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ["MASTER_ADDR"]]


def divide() -> float:
    return 1 / (int(os.environ["RANK"]) - 1)


def leave() -> None:
    os._exit(0)


def wait() -> None:
    time.sleep(600)


def test_every_process_runs_the_function_and_answers_by_rank() -> None:
    crew = Crew(3, "import os")
    assert crew.run(who, 4, needs=(double,)) == [["8", str(rank), "3", "127.0.0.1"] for rank in range(3)]
    assert crew.run(double, 5) == [10, 10, 10]
    crew.dismiss()
    assert all(process.returncode is not None for process in crew.processes)


@pytest.mark.parametrize(
    ("job", "words"),
    [(divide, "ZeroDivisionError"), (leave, "no answer: it died"), (wait, "more than 5 seconds")],
)
def test_what_went_wrong_is_told_and_nobody_is_left_behind(job: Callable[[], None], words: str) -> None:
    crew = Crew(2, "import os, time", limit=5)
    with pytest.raises(RuntimeError, match=words):
        crew.run(job)
    assert all(process.returncode is not None for process in crew.processes)
    with pytest.raises(RuntimeError, match="Run the cell that starts this crew again"):
        crew.run(double, 1)
