"""A learner's first day: JupyterLab opens on the first page, every page runs from top to bottom, exercises answer.

Each page is judged by the file that JupyterLab saves. What is in the browser's window is only a part of it.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from playwright.sync_api import Page, expect

from notebooks.build import NOTEBOOKS, exercises, read_source, tags
from tests.browser.jupyterlab import Lab, code
from tests.course.cases import attention_by_hand as attention
from tests.course.cases import feed_forward
from tests.course.cases import start_here as start
from tests.portable.__main__ import LONG

# Of the lessons that train for more than a minute one: nbval runs the others. It comes first, because it takes longest.
TRAINS = "10"
PAGES = sorted(
    (path for path in NOTEBOOKS.glob("*.ipynb") if path.stem.startswith(TRAINS) or not path.stem.startswith(LONG)),
    key=lambda path: (not path.stem.startswith(TRAINS), path.stem),
)


def test_make_lab_opens_on_the_page_that_says_where_to_begin(page: Page, lab: Lab) -> None:
    page.goto(lab.url)
    expect(page.get_by_role("heading", name="Start here")).to_be_visible()
    picture = page.get_by_role("img", name="The GPT as a loop").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 100, "the picture is broken"
    expect(page.locator(".jp-DirListing")).to_contain_text("01_next_token_game.ipynb")
    assert not page.get_by_text("Would you like to").count(), "JupyterLab asks about news"


def test_a_lesson_can_be_read_before_it_is_run(page: Page, lab: Lab) -> None:
    notebook = lab.open(page, "04_attention_by_hand")
    cells = nbformat.read(notebook.path, as_version=4).cells
    drawn = next(cell.id for cell in cells if "plots.curves(" in cell.source)
    figure = notebook.cell(drawn).locator(".jp-OutputArea .jp-RenderedSVG img")
    expect(figure).to_be_visible()  # not in a notebook that JupyterLab does not trust
    assert figure.evaluate("image => image.naturalWidth") > 100
    box = notebook.cell(next(cell.id for cell in cells if "alert-warning" in cell.source)).locator(".alert")
    expect(box).to_have_css("color", "rgb(34, 34, 34)")  # on JupyterLab's pale orange


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_runs_from_top_to_bottom(page: Page, lab: Lab, path: Path) -> None:
    notebook = lab.open(page, path.stem)
    saved = notebook.restart_and_run_all(seconds=3600)  # only a hang reaches it: lesson 10 trains for minutes
    stored = nbformat.read(path, as_version=4)
    assert [cell.id for cell in saved.cells] == [cell.id for cell in stored.cells]
    for cell in code(saved):
        errors = [output.evalue for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in tags(cell), f"{cell.id} ends with {errors}"
    assert [cell.execution_count for cell in code(saved)] == list(range(1, len(code(saved)) + 1))
    for ours, theirs in zip(code(saved), code(stored), strict=True):
        if "nbval-ignore-output" not in tags(ours):
            assert shown(ours) == shown(theirs), f"{ours.id} shows something else than what is stored"


def shown(cell: NotebookNode) -> dict[str, str]:
    """What a cell shows, by kind. How a stream was cut into pieces does not count, nor does a widget's name."""
    kinds: dict[str, str] = {}
    for output in cell.outputs:
        if output.output_type == "stream":
            kinds[output.name] = kinds.get(output.name, "") + output.text
        elif output.output_type == "error":
            kinds["error"] = f"{output.ename}: {output.evalue}"
        else:
            for kind, text in output.data.items():
                kinds[kind] = kinds.get(kind, "") + str(text)
    kinds.pop("application/vnd.jupyter.widget-view+json", None)
    return kinds


# Each exercise with a typical mistake, words of its hint, and a right answer that is not the lesson's own solution.
@pytest.mark.parametrize(
    ("name", "exercise", "wrong", "hint", "right"),
    [
        ("00_start_here", "mean", start.total, "That is their sum", start.number_by_number),
        ("04_attention_by_hand", "softmax", attention.not_divided, "They sum to 1.5032", attention.softmax_by_torch),
        ("06_feed_forward", "ffn", feed_forward.without_b1, "Is its bias there?", feed_forward.with_linear),
    ],
    ids=["mean", "softmax", "ffn"],
)
def test_an_untouched_a_wrong_and_a_right_answer(
    page: Page, lab: Lab, name: str, exercise: str, wrong: Callable[..., Any], hint: str, right: Callable[..., Any]
) -> None:
    source = read_source(NOTEBOOKS / "source" / f"{name}.py")
    found = next(found for found in exercises(source) if f"check.{exercise}(" in found.check.source)
    answer, verdict = found.answer.id, found.check.id
    notebook = lab.open(page, name)
    notebook.clear_outputs()
    notebook.run(next(cell.id for cell in source.cells if "setup" in tags(cell)))
    notebook.run(answer)
    expect(notebook.run(verdict)).to_contain_text(f"○ {exercise}: not attempted yet")
    notebook.write(answer, as_typed(wrong, exercise))
    notebook.run(answer)
    below = notebook.run(verdict)
    expect(below).to_contain_text(f"✗ {exercise}: ")
    expect(below).to_contain_text(hint)
    notebook.write(answer, as_typed(right, exercise))
    notebook.run(answer)
    expect(notebook.run(verdict)).to_contain_text(f"✓ {exercise}: right")


def as_typed(answer: Callable[..., Any], name: str) -> str:
    """The code of an answer to an exercise, under the exercise's name."""
    return inspect.getsource(answer).replace(f"def {answer.__name__}(", f"def {name}(", 1)
