"""The Reading page has the primary sources of all lessons, each once, where the course first needs it."""

import re
from collections.abc import Iterator
from functools import cache

import pytest

from notebooks.build import NOTEBOOKS, read_source

PAGE = NOTEBOOKS.parent / "site" / "reading.md"
SOURCES = [path for path in sorted((NOTEBOOKS / "source").glob("*.py")) if path.stem != "00_start_here"]

ADDRESS = re.compile(r"https?://[^\s()<>]+")
ENTRY = re.compile(r"- (?P<who>[^*]+?), \*(?P<title>[^*]+)\* \((?P<address>https://[^\s()]+)\)\. (?P<text>.+)")
END_OF_SENTENCE = re.compile(r"[.?!](?: (?=[A-Z0-9«`])|$)")
HEADING = re.compile(r"## \[(?P<title>.+)\]\(\.\./notebooks/(?P<stem>\w+)\.ipynb\)")


@cache
def citations() -> list[tuple[str, str, str]]:
    """The primary sources of all lessons, as (lesson, address, what the lesson says of it)."""
    found = []
    for path in SOURCES:
        cell = next(cell.source for cell in read_source(path).cells if "## Primary sources" in cell.source)
        for item in re.split(r"^- ", cell.partition("## Primary sources")[2], flags=re.MULTILINE)[1:]:
            found += [(path.stem, address, item) for address in ADDRESS.findall(item)]
    return found


def in_lessons() -> dict[str, str]:
    """Each address among the primary sources, with the lesson that has it first."""
    return {address: lesson for lesson, address, _ in reversed(citations())}


def words(text: str) -> set[str]:
    """The words and numbers of a text."""
    return set(re.findall(r"\w+", text))


def entries(page: str) -> Iterator[tuple[str, str]]:
    """Each entry of the page below the heading of a lesson, as (lesson, line)."""
    lesson = ""
    for line in page.splitlines():
        if heading := HEADING.fullmatch(line):
            lesson = heading["stem"]
        elif line.startswith("- "):
            yield lesson, line


def malformed(line: str) -> str | None:
    """What an entry lacks of «- Authors year, *Title* (address). Sentence. Sentence.»; what has no date has no year."""
    entry = ENTRY.fullmatch(line)
    if not entry:
        return "is not «- Authors year, *Title* (https://…). Sentence. Sentence.»"
    year = re.search(r" (\d{4})$", entry["who"])
    if "et al." in entry["who"] and not year:
        return "has no year"
    if year and not 1900 <= int(year[1]) <= 2030:
        return f"is of the year {year[1]}"
    sentences = END_OF_SENTENCE.findall(entry["text"])
    if len(sentences) != 2 or not END_OF_SENTENCE.search(entry["text"][-1]):
        return f"has {len(sentences)} sentences, not two"
    return None


def test_every_source_of_a_lesson_is_on_the_page_and_no_other() -> None:
    page = [ADDRESS.findall(line)[0] for _, line in entries(PAGE.read_text(encoding="utf-8"))]
    lessons = set(in_lessons())
    assert lessons - set(page) == set(), "in a lesson, and not in site/reading.md"
    assert set(page) - lessons == set(), "in site/reading.md, and in no lesson"
    assert len(page) == len(set(page)) > 100, sorted({address for address in page if page.count(address) > 1})


def test_a_source_stands_below_the_lesson_that_needs_it_first() -> None:
    first = in_lessons()
    for lesson, line in entries(PAGE.read_text(encoding="utf-8")):
        address = ADDRESS.findall(line)[0]
        assert first.get(address) == lesson, f"{address} belongs to {first.get(address)}, not to {lesson}"


def test_the_headings_are_the_lessons_in_order() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    headings = [HEADING.fullmatch(line) for line in lines if line.startswith("## ")]
    found = [(heading["stem"], heading["title"]) for heading in headings if heading]
    titles = {path.stem: read_source(path).cells[0].source.splitlines()[0].removeprefix("# ") for path in SOURCES}
    first = in_lessons().values()  # a lesson whose sources all stood before has nothing to say here
    assert found == [(path.stem, titles[path.stem]) for path in SOURCES if path.stem in first]
    assert len(found) == len(headings)


def test_every_entry_says_two_sentences() -> None:
    wrong = {line: malformed(line) for _, line in entries(PAGE.read_text(encoding="utf-8"))}
    assert [f"{line[:60]}… {problem}" for line, problem in wrong.items() if problem] == []


def test_lessons_and_page_agree_on_author_and_year() -> None:
    dated = re.compile(r"- (\w+)[^*]*? (\d{4}), \*")
    lines = [line for _, line in entries(PAGE.read_text(encoding="utf-8")) if "- OpenAI" not in line]
    known = {ADDRESS.findall(line)[0]: set(match.groups()) for line in lines if (match := dated.match(line))}
    wrong = [item for _, address, item in citations() if not known.get(address, set()) <= words(item)]
    assert wrong == [] and len(known) > 100


def test_all_addresses_of_lessons_are_https_and_no_bracket_cuts_one() -> None:
    assert [address for address in in_lessons() if not address.startswith("https://")] == []
    cut = [item for _, _, item in citations() if re.search(r"https://[^\s()]*\(", item)]
    assert cut == [], "write %28 and %29: a page ends an address at a bracket"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("- Ada et al. 2020, *On A, and B?* (https://a.org/b#c). It shows GPT-3.5. Read section 3.2.1 of it.", None),
        ("- Hugging Face, *A format* (https://a.org). One. Two.", None),
        ("- Ada 2020, *A* (http://a.org). One. Two.", "is not"),
        ("- Ada 2020, A (https://a.org). One. Two.", "is not"),
        ("- Ada et al., *A* (https://a.org). One. Two.", "no year"),
        ("- Ada 1020, *A* (https://a.org). One. Two.", "1020"),
        ("- Ada 2020, *A* (https://a.org). Only one.", "1 sentences"),
        ("- Ada 2020, *A* (https://a.org). One. Two. Three.", "3 sentences"),
        ("- Ada 2020, *A* (https://a.org). One. Two", "1 sentences"),
    ],
)
def test_the_form_of_an_entry(line: str, problem: str | None) -> None:
    found = malformed(line)
    assert (problem is None) == (found is None) and (problem or "") in (found or ""), found


def test_an_entry_below_no_lesson_is_seen() -> None:
    page = "- a\n## [Lesson 4 · B](../notebooks/04_b.ipynb)\n\n- b\n"
    assert list(entries(page)) == [("", "- a"), ("04_b", "- b")]
