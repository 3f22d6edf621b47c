"""What a reader meets on a page: a time that is true, lines that fit, and terms that the glossary knows."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unicodedata import east_asian_width

import nbformat
import pytest
from nbformat import NotebookNode

from notebooks.build import GUARD, NOTEBOOKS, minutes, read_source
from tests.course.test_notebooks import each_source

TOLERANCE, LONGEST = 15, 100  # minutes
COLUMNS = 88  # of code and printed text beside two sidebars on a page of 1,280 pixels

BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

# Plain words in bold because the sentence turns on them; they name nothing that a reader would look up.
STRESSED = {
    *("add", "adds", "both", "doubled", "halved", "later", "looks", "mean"),
    *("once", "people", "size", "skipped", "sum", "work", "you"),
}
LABELS = {"You will be able to", "Time", "Builds on", "Next", "Shift+Enter"}


@each_source
def test_the_time_in_the_header_is_true(path: Path) -> None:
    source = read_source(path)
    header = re.search(r"\*\*Time\*\* (\d+) min", source.cells[0].source)
    assert header, "the header lacks «**Time** 60 min»"
    stated, counted = int(header[1]), minutes(source)
    assert max(stated, counted) <= LONGEST, (
        f"{path.stem}: the header says {stated} min, counted are {counted:.0f}, and {LONGEST} are the most. "
        "Shorten it, or mark a section as «(optional)» in its heading"
    )
    assert abs(stated - counted) <= TOLERANCE, f"{path.stem}: the header says {stated} min, counted are {counted:.0f}"


def lesson_of(*cells: NotebookNode) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=list(cells))


def test_the_rule_of_time() -> None:
    prose, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    text, lines = "word " * 300, "x = 1\n\n" * 20  # two minutes each
    assert minutes(lesson_of(prose(text), code(lines))) == pytest.approx(4)
    assert minutes(lesson_of(prose("### Exercise 1 · a, b (★☆☆, 7 min)"))) == pytest.approx(7, abs=0.1)
    optional = [prose("## Aside (optional)\n" + text), code(lines), prose("### Exercise 2 · c (★☆☆, 9 min)\n" + text)]
    assert minutes(lesson_of(*optional)) == 0
    assert minutes(lesson_of(*optional, prose("## On\n" + text))) == pytest.approx(2, abs=0.1)
    deeper = [prose("### Aside (optional)\n" + text), prose("#### Deeper\n" + text), prose("### On\n" + text)]
    assert minutes(lesson_of(*deeper)) == pytest.approx(2, abs=0.1)
    nothing = "```mermaid\na b c\n```\n![a b c](d.svg) · — | | <br> (https://a.b/c-d)\n"
    assert minutes(lesson_of(prose(nothing))) == 0
    assert minutes(lesson_of(prose("[one two](three.ipynb) <b>four</b> $f(x)$"))) == pytest.approx(4 / 150)
    setup = code("import a\nimport b", metadata={"tags": ["setup"]})
    assert minutes(lesson_of(setup)) == 0


@each_source
def test_code_and_printed_text_fit_the_page(path: Path) -> None:
    lesson = nbformat.read(NOTEBOOKS / f"{path.stem}.ipynb", as_version=4)
    solved = nbformat.read(NOTEBOOKS / "solutions" / f"{path.stem}.ipynb", as_version=4)
    wide = [*too_wide(read_source(path)), *too_wide(lesson, outputs_only=True), *too_wide(solved, outputs_only=True)]
    assert not wide, f"{path.stem}: over {COLUMNS} columns\n" + "\n".join(wide)


def too_wide(notebook: NotebookNode, outputs_only: bool = False) -> Iterator[str]:
    """Lines of code, of code in prose, and of printed text that a page cannot show without scrolling sideways."""
    for cell in notebook.cells:
        texts = [] if outputs_only else [cell.source] if cell.cell_type == "code" else FENCED.findall(cell.source)
        texts = [text for text in texts if not text.startswith("```mermaid")]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            drawn = any(mime.startswith("image/") or mime == "text/html" for mime in data)
            texts += [output.get("text", ""), "" if drawn else data.get("text/plain", "")]
        for line in (line for text in texts for line in text.splitlines()):
            width = sum(1 + (east_asian_width(letter) in "WF") for letter in line)
            if width > COLUMNS:
                yield f"  {cell.id}: {width} columns: {line.strip()[:60]}…"


def test_what_build_puts_in_front_fits_too() -> None:
    assert max(map(len, GUARD.splitlines())) <= COLUMNS


def test_what_is_too_wide() -> None:
    prose, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    edge, wide = "x" * COLUMNS, "x" * (COLUMNS + 1)
    chinese = "字" * (COLUMNS // 2 + 1)
    printed = nbformat.v4.new_output("stream", text=f"{edge}\n{wide}\n")
    value = nbformat.v4.new_output("execute_result", data={"text/plain": chinese})
    picture = nbformat.v4.new_output("execute_result", data={"text/plain": wide, "image/svg+xml": "<svg/>"})
    table = prose(f"| {wide} |\n\n```mermaid\n{wide}\n```")
    assert not list(too_wide(lesson_of(code(edge, outputs=[picture]), table)))
    found = [
        code(wide, id="a"),
        code("", id="b", outputs=[printed]),
        code("", id="c", outputs=[value]),
        prose(f"```\n{wide}\n```", id="d"),
    ]
    assert [line.split()[0] for line in too_wide(lesson_of(*found))] == ["a:", "b:", "c:", "d:"]
    assert [line.split()[0] for line in too_wide(lesson_of(*found), outputs_only=True)] == ["b:", "c:"]


@each_source
def test_the_glossary_has_every_term_that_a_lesson_sets_in_bold(path: Path) -> None:
    missing = [term for term in terms(read_source(path)) if not known(term)]
    assert not missing, (
        f"{path.stem}: not in site/glossary.md: {', '.join(missing)}. Bold is for a term where it is introduced; "
        "for stress write *italics*"
    )


def terms(source: NotebookNode) -> Iterator[str]:
    """What stands in bold in running prose and names something: up to four words that begin with a letter.

    No sentence, no lead of a paragraph or a list («**Step 1.** …», «- **Pad**: …»), no label of the header.
    """
    for cell in source.cells:
        text = FENCED.sub("", cell.source) if cell.cell_type == "markdown" else ""
        for match in BOLD.finditer(text):
            words = " ".join(match[1].split())
            line = text[: match.start()].rpartition("\n")[2]
            leads = not line.strip(" -*0123456789.") and text[match.end() : match.end() + 1] in (":", ".")
            sentence = words[-1] in ".?!:…" or len(words.split()) > 4
            if leads or sentence or line.startswith("#") or not re.match(r"[^\W\d_]{2}", words) or words in LABELS:
                continue
            if words not in STRESSED:
                yield words


@cache
def glossary() -> frozenset[str]:
    """The names that the glossary explains: in bold at the beginning of an entry, or in italics within one."""
    text = (NOTEBOOKS.parent / "site" / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^\*\*(.+?)\*\* · (.+)$", text, re.MULTILINE)
    heads = [name for head, _ in entries for name in head.split(", ")]
    return frozenset(map(_plain, heads + [name for _, text in entries for name in re.findall(r"\*([^*]+)\*", text)]))


def known(term: str) -> bool:
    """Whether the glossary has a term, in this spelling, in the plural, or as the first word of two."""
    return _plain(term) in glossary() or any(name.startswith(f"{_plain(term)} ") for name in glossary())


def _plain(term: str) -> str:
    """A term in small letters and, by a plain rule, in the singular."""
    return re.sub(r"(?<=[^s])s$", "", term.lower().replace("-", " "))


def test_what_a_term_is() -> None:
    text = """\
# **No** heading
**Time** 60 min. A **query** asks. **Attention** (lesson 4) fetches, and **two words** too.
**Step 1, scores.** First. It is **not a term because it is long**, nor **W**, nor **16 bytes**. **Really?**
- **Pad**: what a list explains itself
1. **Merge.** And this.
```
x **y** z
```
**Softmax**, at the
beginning, and **over
two lines**"""
    cell = nbformat.v4.new_markdown_cell(text)
    assert list(terms(lesson_of(cell))) == ["query", "Attention", "two words", "Softmax", "over two lines"]


def test_what_the_glossary_knows() -> None:
    assert all(map(known, ["attention", "Attention", "tokens", "BPE", "byte-pair encoding", "one-hot", "world size"]))
    assert not known("phlogiston") and not known("")


def test_the_glossary_is_in_alphabetical_order_and_names_everything_once() -> None:
    text = (NOTEBOOKS.parent / "site" / "glossary.md").read_text(encoding="utf-8")
    heads = [head.lower() for head in re.findall(r"^\*\*(.+?)\*\* ·", text, re.MULTILINE)]
    assert heads == sorted(set(heads))


def _headings(path: Path) -> set[str]:
    """The anchors of a lesson's headings, as far as the two kinds of them agree: words in small letters and dashes."""
    cells = (cell.source for cell in read_source(path).cells if cell.cell_type == "markdown")
    return {_anchor(text) for cell in cells for text in re.findall(r"^#+ (.+)$", cell, re.MULTILINE)}


def _anchor(heading: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")


def test_every_question_is_answered_and_leads_to_a_section_of_a_lesson() -> None:
    text = (NOTEBOOKS.parent / "site" / "questions.md").read_text(encoding="utf-8")
    _, *questions = re.split(r"^### ", text, flags=re.MULTILINE)
    assert len(questions) > 35 and len(set(questions)) == len(questions)
    for question in questions:
        heading, _, answer = question.partition("\n")
        links = re.findall(r"\]\(\.\./([^)]+)\)", answer)
        assert links and heading.endswith("?"), heading
        for link in links:
            file, _, anchor = link.partition("#")
            assert (NOTEBOOKS.parent / file).is_file(), f"{heading}: there is no {file}"
            if anchor:
                source = NOTEBOOKS / "source" / f"{Path(file).stem}.py"
                assert _anchor(anchor) in _headings(source), f"{heading}: no section #{anchor} in {file}"
