"""The explorer in a real browser: its controls moved as a learner does, with mouse and keyboard; what changed, read."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from minigpt.course.inside import Inside, look_inside, visible
from minigpt.generation.generate import distribution
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.checkpoint import load_model
from tests.browser.jupyterlab import Lab, Notebook

TEXT = "Once upon a time, there was a kind pony named Ida."
CODE = """
from minigpt.weights.checkpoint import load_model
from minigpt.course import explore, start_lesson
start_lesson()
model, tokenizer = load_model("storyteller")
explore(model.double(), tokenizer, {text!r}, {settings})
"""
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
KERNEL = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}


class Explorer:
    """The explorer of a notebook with one cell, which was run."""

    def __init__(self, page: Page, lab: Lab, text: str = TEXT, settings: str = "") -> None:
        cell = nbformat.v4.new_code_cell(CODE.format(text=text, settings=settings), id="explore")
        notebook = nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL)
        nbformat.write(notebook, lab.root / "notebooks" / "try_explore.ipynb")
        self.page, self.notebook = page, lab.open(page, "try_explore")
        self.notebook.menu("Run", "runmenu:run-all")
        self.box = page.locator(".minigpt-explorer")
        self.attention, self.lens = self.picture("looks at"), self.picture("if it stopped after")
        self.bars = self.picture("What comes after")
        expect(self.attention).to_be_visible()
        expect(
            self.box.locator('[role=slider][aria-label^="temperature"]')
        ).to_be_visible()  # a script names the sliders, soon after

    def picture(self, words: str) -> Locator:
        """The picture in whose description these words stand."""
        return self.box.locator(f'svg[role=img][aria-label*="{words}"]')

    def control(self, name: str) -> Locator:
        """The control with this label, as a screen reader would name it."""
        return self.box.get_by_label(name, exact=True)

    def expect_bars(self, text: str, **settings: Any) -> None:
        """The ten bars are what the model says after the last token of the text, computed here."""
        _, tokenizer = storyteller()
        logits = inside(text).logits[-1:]
        before, after = distribution(logits)[0], distribution(logits, **settings)[0]
        for place, i in enumerate(logits[0].topk(10).indices.tolist()):
            tip = f"{visible(tokenizer, i)}: drawn with {after[i]:.1%}; the model gives {before[i]:.1%}"
            expect(self.bars.locator("title").nth(place)).to_have_text(tip)


@cache
def storyteller() -> tuple[GPT, Tokenizer]:
    model, tokenizer = load_model("storyteller")
    return model.double(), tokenizer


def inside(text: str) -> Inside:
    model, tokenizer = storyteller()
    assert tokenizer.end_of_text is not None
    return look_inside(model, [tokenizer.end_of_text, *tokenizer.encode(text)])


def looks(text: str, layer: int, head: int, position: int) -> list[str]:
    """The tips of a row of the matrix: whom a token looks at, computed here."""
    found, (_, tokenizer) = inside(text), storyteller()
    names = [f"«{visible(tokenizer, i)}» at {place}" for place, i in enumerate(found.ids)]
    weights = found.weights[layer - 1, head - 1, position].tolist()
    seen = [(name, weight) for name, weight in zip(names, weights, strict=True) if round(weight, 2) >= 0.01]
    return [f"{names[position]} looks at {name}: {weight:.2f}" for name, weight in seen]


@pytest.fixture
def dark(lab: Lab) -> Iterator[None]:
    """JupyterLab's dark theme."""
    folder = lab.root.parent / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "themes.jupyterlab-settings"
    settings.write_text(json.dumps({"theme": "JupyterLab Dark"}))
    yield
    settings.unlink()


def test_a_learner_types_points_and_turns(page: Page, lab: Lab) -> None:
    shown = Explorer(page, lab)
    shown.expect_bars(TEXT)

    # Type: the tokens, the last position and the bars follow.
    shown.control("text").fill("Hana saw that Ken")
    expect(shown.attention.locator("g.token")).to_have_count(6)
    expect(shown.control("position")).to_have_value("5")
    shown.expect_bars("Hana saw that Ken")

    # Point at a token.
    shown.control("text").fill(TEXT)
    expect(shown.attention.locator("g.token")).to_have_count(14)
    shown.attention.locator("g.token", has_text="␣pony").click()
    expect(shown.control("position")).to_have_value("10")
    expect(shown.bars).to_have_attribute("aria-label", re.compile("What comes after «␣pony»"))
    expect(shown.bars.locator("title").first).to_have_text(re.compile("^␣named: drawn with 100.0%"))
    expect(shown.lens.locator("title").last).to_have_text(re.compile("^after feed-forward 3: "))

    # Another head, then the matrix, whose rows are tokens to point at as well.
    shown.control("layer").select_option("3")
    shown.control("head").select_option("2")
    expect(shown.attention).to_have_attribute("aria-label", re.compile("^Layer 3, head 2: what «␣pony»"))
    shown.control("attention as").select_option("matrix")
    expect(shown.attention).to_have_attribute("aria-label", re.compile("a triangle of 14 rows"))
    shown.attention.locator("g.token").nth(12).locator("text").first.click()
    expect(shown.control("position")).to_have_value("12")
    row = shown.attention.locator("g.token").nth(12)
    expect(row.locator("title")).to_have_text(looks(TEXT, layer=3, head=2, position=12))

    # The saved file holds the state of the widgets, for the next day, and the picture, for where nothing draws widgets.
    saved = shown.notebook.save()
    assert WIDGET_STATE in saved.metadata["widgets"]
    (output,) = saved.cells[0].outputs
    assert "␣Ida" in output.data["image/svg+xml"]


def test_all_of_it_works_with_the_keyboard_alone(page: Page, lab: Lab) -> None:
    shown = Explorer(page, lab, "Once upon", "temperature=1")
    press = page.keyboard.press

    # From the text, Tab leads through every control and past none.
    shown.control("text").focus()
    names = []
    for _ in range(9):
        press("Tab")
        names.append(
            page.evaluate("""() => {
            const here = document.activeElement;
            return here.getAttribute('aria-label') || here.labels?.[0]?.textContent || here.textContent }""")
        )
    order = ["draw the next token", "step back", "position", "layer", "head", "attention as"]
    assert names[:6] == order
    assert [name for name in names[6:] if not re.match(r"\d", name)] == ["temperature", "top-k (0: all)"], names

    shown.control("temperature").focus()
    press("Home")  # 0: greedy
    expect(shown.bars).to_contain_text("1 of 1,861 tokens can be drawn")
    shown.expect_bars("Once upon", temperature=0)
    page.get_by_role("button", name="draw the next token").focus()
    press("Enter")
    expect(shown.control("text")).to_have_value("Once upon a")
    press("Space")
    expect(shown.control("text")).to_have_value("Once upon a time")
    expect(shown.box.get_by_role("status")).to_contain_text("drew «␣time», probability 100.0%")
    page.get_by_role("button", name="step back").focus()
    press("Enter")
    expect(shown.control("text")).to_have_value("Once upon a")
    expect(shown.control("position")).to_have_value("3")

    shown.control("position").focus()
    press("ArrowDown")
    expect(shown.bars).to_have_attribute("aria-label", re.compile("What comes after «␣upon»"))
    expect(shown.bars).to_contain_text("comes here")

    shown.control("temperature").focus()
    press("ArrowRight")
    press("End")
    expect(shown.bars).to_contain_text("1,861 of 1,861 tokens can be drawn")
    shown.control("top-k (0: all)").focus()
    press("ArrowRight")
    press("ArrowRight")
    expect(shown.bars).to_contain_text("2 of 1,861 tokens can be drawn")
    shown.expect_bars("Once upon", temperature=3, top_k=2)
    press("Home")
    shown.control("top-p (1: all)").focus()
    press("Home")
    expect(shown.bars).to_contain_text("1 of 1,861 tokens can be drawn")  # the nucleus of 0.05: ␣a has more than that


def test_what_cannot_be_read_is_one_message_and_goes_away(page: Page, lab: Lab) -> None:
    shown = Explorer(page, lab)
    shown.control("text").fill("pony " * 200)
    expect(shown.box.get_by_role("alert")).to_contain_text("the model's context holds 192: delete")
    expect(shown.box.locator("svg")).to_have_count(0)
    expect(page.get_by_role("button", name="draw the next token")).to_be_disabled()
    shown.control("text").fill("<img src=x onerror=alert(1)> \U0001f98a")
    expect(shown.attention).to_be_visible()
    expect(shown.box.get_by_role("alert")).to_have_count(0)
    expect(shown.box.locator("img")).to_have_count(0)
    shown.control("text").fill("")
    expect(shown.attention.locator("g.token")).to_have_count(1)
    expect(page.get_by_role("button", name="step back")).to_be_disabled()
    assert "Traceback" not in page.locator(".jp-Notebook").inner_text()


CONTRAST = """text => {
    const channels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const light = colour => { const [r, g, b] = channels(colour)
        .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b };
    const mix = (top, share, below) => channels(top)
        .map((c, i) => share * c + (1 - share) * channels(below)[i]).join(' ');
    let ground = getComputedStyle(document.body).getPropertyValue('--jp-layout-color0');
    const probe = document.createElement('span');
    probe.style.color = ground; document.body.append(probe); ground = getComputedStyle(probe).color; probe.remove();
    for (const rect of text.parentElement.querySelectorAll(':scope > rect')) {  // boxes under the text
        const [a, b] = [rect.getBoundingClientRect(), text.getBoundingClientRect()], style = getComputedStyle(rect);
        const under = a.left <= b.left + 1 && b.right <= a.right + 1 && a.top <= b.top && b.bottom <= a.bottom;
        if (under && style.fill != 'none')
            ground = mix(style.fill, Number(style.fillOpacity), ground);
    }
    const [one, other] = [light(getComputedStyle(text).fill), light(ground)];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


def check_contrast(shown: Explorer, is_light: str) -> None:
    """Every word of the pictures has at least 4.5:1 (WCAG 2.2, 1.4.3)."""
    assert shown.page.locator("body").get_attribute("data-jp-theme-light") == is_light
    for view in ("arcs", "matrix"):
        shown.control("attention as").select_option(view)
        expect(shown.attention).to_have_attribute(
            "aria-label", re.compile("row of boxes" if view == "arcs" else "triangle")
        )
        words = shown.box.locator("svg text").all()
        assert len(words) > 60
        for word in words:
            assert word.evaluate(CONTRAST) >= 4.5, word.inner_html()
    word = shown.box.locator("svg text").first
    word.evaluate("text => { text.style.fill = '#808080' }")
    assert word.evaluate(CONTRAST) < 5, "the measure sees grey"


def test_it_reads_on_a_light_theme(page: Page, lab: Lab) -> None:
    check_contrast(Explorer(page, lab), "true")


@pytest.mark.usefixtures("dark")
def test_it_reads_on_a_dark_theme(page: Page, lab: Lab) -> None:
    check_contrast(Explorer(page, lab), "false")


def test_a_stored_lesson_shows_the_picture_before_anything_runs(page: Page, lab: Lab) -> None:
    notebook = lab.open(page, "13_generation")
    cell = cell_that_explores(notebook)
    picture = cell.locator("img[src^='data:image/svg+xml']")
    expect(picture).to_be_visible()
    assert 700 < picture.evaluate("image => image.complete && image.naturalWidth") <= 800  # else a column cuts it off
    assert picture.evaluate("image => image.width <= image.closest('.jp-OutputArea').clientWidth"), "it is cut off"
    expect(page.locator(".minigpt-explorer")).to_have_count(0)


def cell_that_explores(notebook: Notebook) -> Locator:
    """The cell with the explorer, scrolled to."""
    cells = nbformat.read(notebook.path, as_version=4).cells
    return notebook.cell(next(cell.id for cell in cells if cell.source.startswith("explore(")))


def test_in_a_notebook_saved_and_opened_the_next_day_it_shows_what_it_showed(page: Page, lab: Lab) -> None:
    shown = Explorer(page, lab)
    shown.control("text").fill("Hana saw that Ken")
    expect(shown.attention.locator("g.token")).to_have_count(6)

    def holds_it(notebook: nbformat.NotebookNode) -> bool:
        return "Hana saw that Ken" in str(notebook.metadata.get("widgets", {}).get(WIDGET_STATE))

    shown.attention.locator("g.token").last.click()  # out of the text field, which keeps its keys to itself
    shown.notebook.saved_when(holds_it, 60)
    lab.open(page, "try_explore")  # with a new kernel, in which nothing has run
    expect(page.locator(".jp-InputArea-prompt").first).to_have_text(re.compile(r"\[\d+\]:"))  # as it was saved
    again = page.locator('.minigpt-explorer svg[role=img][aria-label*="looks at"]')
    expect(again.locator("g.token")).to_have_count(6)
    assert not page.get_by_text("Error displaying widget").count()
    for words in ("if it stopped after", "What comes after"):
        expect(page.locator(f'.minigpt-explorer svg[role=img][aria-label*="{words}"]')).to_be_visible()
