"""Every figure is drawn by the script of its name, comes out the same each time, and is shown somewhere, described."""

import re
from pathlib import Path

import pytest

from figures.build import FIGURES, NAMES, svg

ROOT = FIGURES.parent
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "notebooks" / "source").glob("*.py"))]
each_figure = pytest.mark.parametrize("name", NAMES)


def test_every_figure_has_its_script_and_every_script_its_figure() -> None:
    assert sorted(path.stem for path in FIGURES.glob("*.svg")) == NAMES
    assert "gpt" in NAMES, "the README shows the whole GPT"


@each_figure
def test_redrawing_gives_the_same_bytes(name: str) -> None:
    stored = (FIGURES / f"{name}.svg").read_bytes()
    assert stored == svg(name).encode("utf-8"), f"figures/{name}.svg is stale: make figures FIGURES={name}"


@each_figure
def test_a_figure_stands_on_its_own(name: str) -> None:
    drawing = (FIGURES / f"{name}.svg").read_text(encoding="utf-8")
    assert len(drawing) < 500_000
    assert "<dc:date>" not in drawing and "<text" not in drawing
    assert not re.search(r'href="(?!#)', drawing), "it loads something from elsewhere"
    assert "fill: #ffffff" in drawing, "it has no page of its own, and would vanish on a dark theme"


@each_figure
def test_a_figure_is_shown_with_a_description(name: str) -> None:
    found = [alt for page in PAGES for alt in descriptions(page, name)]
    assert found, f"no page shows figures/{name}.svg"
    assert all(len(alt.split()) >= 4 for alt in found), found


def descriptions(page: Path, name: str) -> list[str]:
    """The alt texts with which a page shows a figure."""
    text = re.sub(r"\n# ?", "\n", page.read_text(encoding="utf-8")) if page.suffix == ".py" else page.read_text("utf-8")
    file = rf"[\w./]*figures/{name}\.svg"
    alts = re.findall(rf"!\[([^\]]*)\]\({file}\)", text)
    for image in re.findall(rf"<img[^>]*{file}[^>]*>", text):
        alts += re.findall(r'alt="([^"]*)"', image) or [""]
    return alts


def test_descriptions_are_found_in_both_spellings(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('![four words](../figures/a.svg)<img src="figures/a.svg" alt="b c"><img src="figures/a.svg">')
    assert descriptions(page, "a") == ["four words", "b c", ""]
    lesson = tmp_path / "lesson.py"
    lesson.write_text("# %% [markdown]\n# ![a text over\n# two lines](../figures/a.svg)\n")
    assert descriptions(lesson, "a") == ["a text over\ntwo lines"]
