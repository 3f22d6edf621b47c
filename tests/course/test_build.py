"""notebooks/build.py makes a lesson and its solutions from one source, the same bytes each time, and sees decay."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from minigpt.course import exercise
from notebooks import build

SOURCE = '''\
# %% [markdown]
# # Lesson 1 · Doubling
#
# What it means to double.

# %% tags=["setup"]
from minigpt.course import check, start_lesson

start_lesson()
check.__dict__["double"] = lambda answer: print("checked")

# %%
for number in (1, 2):
    print(number)
number * 1.5

# %% [markdown]
# ### Exercise 1 · double a number (★☆☆, 2 min)
#
# Write a function that doubles.

# %% tags=["exercise"]
def double(number: float) -> float:
    """Twice the number."""
    ### BEGIN SOLUTION
    twice = 2 * number
    return twice
    ### END SOLUTION


# %%
check.double(double)

# %% tags=["nbval-ignore-output"]
import time

now = time.time()
now

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(2, 1))
_ = axes.plot([1, 2], label="a line")
'''
LESSON, SOLUTIONS = "01_doubling.ipynb", "solutions/01_doubling.ipynb"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source in a folder laid out as notebooks/ is."""
    notebooks = tmp_path / "notebooks"
    (notebooks / "source").mkdir(parents=True)
    (notebooks / "solutions").mkdir()
    path = notebooks / "source" / "01_doubling.py"
    path.write_text(SOURCE)
    monkeypatch.setattr(build, "NOTEBOOKS", notebooks)
    return path


def built(source: Path) -> tuple[NotebookNode, NotebookNode]:
    """Lesson and solutions, not executed."""
    notebooks = build.built_from(source)
    return notebooks[build.NOTEBOOKS / LESSON], notebooks[build.NOTEBOOKS / SOLUTIONS]


def test_the_lesson_has_a_stub_where_the_source_has_the_solution(source: Path) -> None:
    lesson, _ = built(source)
    (stub,) = [cell.source for cell in lesson.cells if build.tags(cell) == ["exercise"]]
    assert stub.split("\n")[1:] == ['    """Twice the number."""', '    raise NotImplementedError("your turn")']
    assert exercise.YOUR_TURN == "your turn"
    assert len(lesson.cells) == 8


def test_the_solutions_hold_setup_and_exercises_only(source: Path) -> None:
    _, solutions = built(source)
    texts = [cell.source for cell in solutions.cells]
    assert texts[0] == "# Solutions\n\nThe exercises of [Lesson 1 · Doubling](../01_doubling.ipynb), solved."
    assert "start_lesson()" in texts[1]
    assert texts[2] == "## Exercise 1 · double a number (★☆☆, 2 min)"
    assert texts[3].endswith('"""Twice the number."""\n    twice = 2 * number\n    return twice')
    assert texts[4:] == ["check.double(double)"]


def test_the_setup_cell_begins_with_what_to_run_where_the_package_is_missing(source: Path) -> None:
    for notebook in built(source):
        (setup,) = [cell.source for cell in notebook.cells if "setup" in build.tags(cell)]
        assert setup.startswith(build.GUARD + "from minigpt.course import")
        assert sum(build.GUARD.strip() in cell.source for cell in notebook.cells) == 1


def test_a_misconception_reads_on_the_colours_of_jupyterlab(source: Path) -> None:
    source.write_text(SOURCE.replace("# What it means", f"# {build.ALERT}It is hard.</div>\n#\n# What it means"))
    lesson, _ = built(source)
    assert '<div class="alert alert-warning" style="color: #222">It is hard.</div>' in lesson.cells[0].source


def test_ids_are_stable_and_valid(source: Path) -> None:
    lesson, solutions = built(source)
    assert [cell.id for cell in lesson.cells] == [f"01-doubling-{position:03}" for position in range(1, 9)]
    for notebook in (lesson, solutions):
        nbformat.validate(notebook)
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_two_builds_give_the_same_bytes_and_pass_the_check(source: Path) -> None:
    source.write_text(SOURCE.replace("time.time()", "7.0"))
    files = []
    for _ in range(2):
        assert build.main([]) == 0
        files.append([(build.NOTEBOOKS / name).read_bytes() for name in (LESSON, SOLUTIONS)])
        assert build.main(["--check"]) == 0
    assert files[0] == files[1]
    assert b"image/svg+xml" in files[0][0] and b"<dc:date>" not in files[0][0]


def say_something_else(lesson: NotebookNode) -> None:
    lesson.cells[2].source = lesson.cells[2].source.replace("(1, 2)", "(1, 3)")


def change_an_id(lesson: NotebookNode) -> None:
    lesson.cells[2].id = "another"


def drop_a_tag(lesson: NotebookNode) -> None:
    del lesson.cells[6].metadata["tags"]


def add_a_cell(lesson: NotebookNode) -> None:
    lesson.cells.append(nbformat.v4.new_markdown_cell("more"))


def name_a_python(lesson: NotebookNode) -> None:
    lesson.metadata.language_info.version = "3.11.7"


def clear_outputs(lesson: NotebookNode) -> None:
    for cell in lesson.cells[1:]:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def run_a_cell_again(lesson: NotebookNode) -> None:
    lesson.cells[2].execution_count = 9


def lose_an_ignored_output(lesson: NotebookNode) -> None:
    lesson.cells[6].outputs = []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (say_something_else, "-for number in (1, 3):\n    +for number in (1, 2):"),
        (change_an_id, "-[code another {}]\n    +[code 01-doubling-003 {}]"),
        (drop_a_tag, '+[code 01-doubling-007 {"tags": ["nbval-ignore-output"]}]'),
        (add_a_cell, "-more"),
        (name_a_python, '"version": "3.11.7"'),
        (clear_outputs, "execution counts are [None, None, None, None, None, None], not 1 to 6"),
        (run_a_cell_again, "execution counts are [1, 9, 3, 4, 5, 6], not 1 to 6"),
        (lose_an_ignored_output, "cell 01-doubling-007 shows something, but has no output"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_sees_a_notebook_that_is_not_what_its_source_makes(
    source: Path, change: Callable[[NotebookNode], None], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lesson = stored(source)
    change(lesson)
    nbformat.write(lesson, build.NOTEBOOKS / LESSON)
    assert build.main(["--check"]) == 1
    assert complaint in capsys.readouterr().err


def stored(source: Path) -> NotebookNode:
    """A lesson as it would be stored, with counts and outputs but without the time that a kernel takes."""
    for path, notebook in build.built_from(source).items():
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for count, cell in enumerate(code, start=1):
            cell.execution_count, cell.outputs = count, [nbformat.v4.new_output("stream", text="output\n")]
        nbformat.write(notebook, path)
    assert build.main(["--check"]) == 0
    return nbformat.read(build.NOTEBOOKS / LESSON, as_version=4)


def test_the_check_sees_a_missing_and_a_stray_notebook(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(source)
    (build.NOTEBOOKS / SOLUTIONS).rename(build.NOTEBOOKS / "solutions" / "02_tripling.ipynb")
    assert build.main(["--check"]) == 1
    complaints = capsys.readouterr().err
    assert "solutions/01_doubling.ipynb: not built yet" in complaints
    assert "solutions/02_tripling.ipynb: has no source" in complaints


def test_a_lesson_that_fails_is_not_stored(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(SOURCE.replace("print(number)", "print(1 / 0)"))
    assert build.main(["01"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not (build.NOTEBOOKS / LESSON).exists()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    ### END SOLUTION\n", "", "must stand in pairs"),
        ('tags=["exercise"]', "", "come together"),
        ("### Exercise 1 · double", "### Double", "no heading"),
        ("check.double(double)", "double(1)", "the next code cell must check the exercise"),
        ("    ### BEGIN", "### BEGIN", "must stand in pairs, on lines of their own, in a function"),
    ],
)
def test_an_exercise_that_breaks_the_rules_is_refused(source: Path, old: str, new: str, complaint: str) -> None:
    assert old in SOURCE
    source.write_text(SOURCE.replace(old, new))
    with pytest.raises(build.SourceError, match=complaint):
        build.built_from(source)


def test_an_unknown_lesson_is_named(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build.main(["02"])
    assert stop.value.code == 2
    assert "no lesson begins with '02'; there are 01_doubling" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("print(1)", True),
        ("x = 1\nx", True),
        ("check.double(double)", True),
        ("[1, 2][0] + 1", True),
        ("x = 1", False),
        ("x;", False),
        ("def f():\n    print(1)", False),
        ("axes.plot([1])", False),
        ("!ls", False),
    ],
)
def test_which_cells_surely_show_something(code: str, verdict: bool) -> None:
    assert build.shows(nbformat.v4.new_code_cell(code)) is verdict
