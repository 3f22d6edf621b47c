"""Every lesson has the shape that CONTRIBUTING.md asks for, and stored outputs that any machine could have made.

Whether the outputs are true is nbval's business, and whether notebooks and sources agree is build.py's; `make test`
runs both beside these tests.
"""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

import minigpt
from notebooks.build import NOTEBOOKS, exercises, read_source, strays, tags, unexecuted

SOURCES = sorted((NOTEBOOKS / "source").glob("*.py"))
PAGES = [NOTEBOOKS / f"{source.stem}.ipynb" for source in SOURCES]
SOLUTIONS = [NOTEBOOKS / "solutions" / path.name for path in PAGES]
START, APPENDIX, *LESSONS = PAGES  # the first two are no lessons: they teach nothing about a GPT
TEACHING = [APPENDIX, *LESSONS]
LAST = "25_limits"  # ends the course: its «Next» leads out of it
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", TEACHING, ids=lambda path: path.stem)
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
each_notebook = pytest.mark.parametrize(
    "path", PAGES + SOLUTIONS, ids=lambda path: str(path.relative_to(NOTEBOOKS).with_suffix(""))
)

IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<target>[^)\s]+)[^)]*\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
EXERCISE = re.compile(r"### Exercise (\d+) · .+ \((★☆☆|★★☆|★★★), \d+ min\)")


# Processors, systems and builds as they name themselves.
MACHINE = re.compile(
    r"\b(AVX\w*|AMX|SSE\d|NEON|EPYC|Xeon|Ryzen|Apple M\d|x86_64|aarch64|arm64|Linux|Darwin"
    r"|\d+\.\d+\.\d+\+(cpu|cu\d+))\b"
)
# What reads a clock, or asks the machine what it is.
ASKS = re.compile(
    r"\b(perf_counter|process_time|monotonic|time\.time|datetime\.now|timeit|cpu_count|get_num_threads|get_cpu_capability"
    r"|platform\.\w+|getrusage|fastest_threads|has_bfloat16_units|doctor)\b|^%%?time"
)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def markdown(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def number(path: Path) -> int:
    return int(path.stem[:2])


def section(notebook: NotebookNode, title: str) -> str:
    """The text under the heading ``## title``."""
    text = "\n\n".join(markdown(notebook))
    assert f"## {title}\n" in text, f"no section «## {title}»"
    return re.split(r"^## ", text.partition(f"## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_first_and_the_training_lesson_are_there() -> None:
    assert {"01_next_token_game", "10_training_on_a_cpu"} <= {path.stem for path in LESSONS}
    assert (START.stem, APPENDIX.stem) == ("00_start_here", "00b_torch_and_slopes")


def test_every_source_has_its_notebooks_and_every_notebook_its_source() -> None:
    assert not strays()
    assert not [path for path in PAGES + SOLUTIONS if not path.exists()]
    assert all(re.fullmatch(r"\d\db?_[a-z0-9_]+", source.stem) for source in SOURCES)


@each_page
def test_the_header_says_what_for_how_long_after_what_and_where(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    titles = {START: "# Start here", APPENDIX: r"# Appendix · \S"}
    title = titles.get(path, rf"# Lesson {number(path)} · \S")
    assert re.match(title, first.source), "the title is «# Lesson 1 · The next-token game»"
    for part in (r"\*\*You will be able to\*\*", r"\*\*Time\*\*.* min", r"\*\*Builds on\*\* \S"):
        assert re.search(part, first.source), f"the header lacks {part}"
    assert IMAGE.search(first.source), "the header lacks the picture of where this part sits in the GPT"


@each_page
def test_the_first_code_cell_sets_the_lesson_up(path: Path) -> None:
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert "setup" in tags(code[0]) and "start_lesson()" in code[0].source


@each_lesson
def test_the_lesson_ends_with_what_to_remember_sources_and_the_next_one(path: Path) -> None:
    lesson = read(path)
    remember = re.findall(r"^(?:\d\.|-) \S", section(lesson, "What to remember"), re.MULTILINE)
    assert len(remember) == 5, f"{len(remember)} things to remember, not five"
    sources = re.findall(r"^- .*\(?https?://", section(lesson, "Primary sources"), re.MULTILINE)
    assert sources, "no primary source with its address"
    last = lesson.cells[-1].source
    following = [other.name for other in LESSONS if number(other) == number(path) + 1]
    wanted = f"]({following[0]})" if following else "planned"
    if path.stem == LAST:
        wanted = "](../site/"
    assert re.search(r"\*\*Next\*\* ", last) and wanted in last, f"the last cell lacks «**Next** …» with {wanted}"


@each_lesson
def test_a_common_claim_is_put_right(path: Path) -> None:
    assert any('<div class="alert alert-warning" ' in text for text in markdown(read(path)))


@each_source
def test_exercises_are_numbered_rated_and_timed(path: Path) -> None:
    headings = [f"### {exercise.heading}" for exercise in exercises(read_source(path))]
    matches = [EXERCISE.fullmatch(heading) for heading in headings]
    assert all(matches), f"a heading is «### Exercise 1 · title (★☆☆, 5 min)», not one of {headings}"
    assert [int(match[1]) for match in matches if match] == list(range(1, len(headings) + 1))
    fewest, most = {START.stem: (1, 1), APPENDIX.stem: (4, 6)}.get(path.stem, (2, 5))
    assert fewest <= len(headings) <= most, f"{len(headings)} exercises, and {fewest} to {most} are wanted"


def test_the_start_page_and_the_readme_have_the_same_map_with_the_times_that_lessons_state() -> None:
    row = re.compile(r"^\| (\d\db?) \| \[.+\]\((?:notebooks/)?(.+)\) \| .+ \| (\d+) min \|$", re.MULTILINE)
    readme = (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
    start = "\n".join(markdown(read(START)))
    rows = row.findall(readme)
    shown, at_start = ([line[0].replace("(notebooks/", "(") for line in row.finditer(text)] for text in (readme, start))
    assert at_start in (shown, shown[1:]), "the start page and the README list other lessons"
    stated = [re.search(r"\*\*Time\*\* (\d+)\b", read(path).cells[0].source) for path in TEACHING]
    listed = [
        (path.stem.partition("_")[0], path.name, time[1]) for path, time in zip(TEACHING, stated, strict=True) if time
    ]
    assert rows == listed
    hours = round(sum(int(minutes) for _, _, minutes in rows[1:]) / 60)
    assert f"about {hours} hours" in start


@each_notebook
def test_stubs_are_not_attempted_and_solutions_are_right(path: Path) -> None:
    mark = "✓" if path in SOLUTIONS else "○"
    ids = {exercise.check.id for exercise in exercises(read_source(NOTEBOOKS / "source" / f"{path.stem}.py"))}
    verdicts = [cell.outputs for cell in read(path).cells if cell.id in ids]
    assert len(verdicts) == len(ids)
    for outputs in verdicts:
        assert outputs and all(line.startswith(mark) for line in outputs[0].text.splitlines()), outputs


@each_notebook
def test_the_notebook_was_run_from_top_to_bottom(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert not unexecuted(notebook)


@each_notebook
def test_outputs_are_fit_to_store(path: Path) -> None:
    notebook = read(path)
    assert path.stat().st_size < 1_500_000
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            kind, text = output.output_type, json.dumps(output, ensure_ascii=False)
            assert kind != "error" or "raises-exception" in tags(cell), f"{cell.id}: {output.get('ename')}"
            stderr = output.get("name") == "stderr" and "nbval-ignore-output" not in tags(cell)
            assert not stderr, f"{cell.id}: writes to stderr: {output.get('text')}"
            local = re.search(r"(/(root|home|work|tmp|Users|private|var)/[\w.-]+|[A-Z]:\\\\|site-packages)", text)
            assert not local, f"{cell.id}: shows a path of one machine: {local[0]}"
            assert not re.search(r"\bat 0x[0-9a-f]{6,}", text), f"{cell.id}: shows an address in memory"
            assert not re.search(r"\w*Warning\b", text), f"{cell.id}: a warning, which another machine may not give"
            named = "nbval-ignore-output" not in tags(cell) and MACHINE.search(text)
            assert not named, f"{cell.id}: shows {named[0]!r} of one machine: tag it nbval-ignore-output"
            for mime in output.get("data", {}):
                assert mime not in ("image/png", "image/jpeg"), f"{cell.id}: nbval cannot compare {mime}; use SVG"
            drawing = output.get("data", {}).get("image/svg+xml", "")
            dated = "<dc:date>" in drawing or "<dc:creator>" in drawing
            assert not dated, f"{cell.id}: a date or a version in an SVG: was start_lesson() called?"
            assert "<image" not in drawing, f"{cell.id}: a bitmap in an SVG: draw it with pcolormesh instead of imshow"


@each_notebook
def test_what_a_clock_or_the_machine_says_is_compared_nowhere(path: Path) -> None:
    """Such numbers are shown under the tag nbval-ignore-output; later cells may assert about them in silence."""
    for cell in read(path).cells:
        if cell.cell_type == "code" and cell.outputs and "nbval-ignore-output" not in tags(cell):
            asked = ASKS.search(cell.source)
            assert not asked, f"{cell.id}: what {asked[0]} says is shown, and compared: tag it nbval-ignore-output"


def test_the_machine_is_seen_where_it_speaks() -> None:
    assert all(map(MACHINE.search, ["cpu instructions  AVX512", "AMD EPYC", "torch 2.13.0+cpu", "Linux x86_64"]))
    assert all(
        map(ASKS.search, ["start = time.perf_counter()", "%timeit f()", "torch.get_num_threads()", "!minigpt doctor"])
    )
    assert not any(map(ASKS.search, ["the time of a step", "a doctorate", "timeless"]))
    assert not any(map(MACHINE.search, ["neon", "summary", "linux", "0.13.0", "51.5 GFLOP"]))


@each_notebook
def test_images_are_local_and_described(path: Path) -> None:
    for text in markdown(read(path)):
        for image in IMAGE.finditer(text):
            assert len(image["alt"].split()) >= 4, f"the alt text {image['alt']!r} does not say what the eye sees"
            assert (path.parent / image["target"]).is_file(), f"no file {image['target']}"
        assert "<img" not in text, "write ![alt text](../figures/name.svg)"


@each_notebook
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for text in markdown(read(path)):
        for link in LINK.finditer(text):
            target = link["target"].partition("#")[0]
            if target and not re.match(r"https?://|mailto:", target):
                assert (path.parent / target).exists(), f"no file {target}"


def definition(tree: ast.Module | ast.ClassDef, name: str) -> ast.stmt | None:
    """What a module or a class binds to a (dotted) name: a function, a class or a constant."""
    first, _, rest = name.partition(".")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == first:
            return definition(node, rest) if rest else node
        if isinstance(node, ast.FunctionDef) and node.name == first:
            return node
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if first in [ast.unparse(target) for target in targets]:
                return node
    return None


def code_of(node: ast.stmt | None) -> str:
    """Code without docstrings and comments, in one spelling; empty where there is none."""
    if node is None:
        return ""
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part, clean=False) is not None:
            part.body = part.body[1:] or [ast.Pass()]
    return ast.unparse(node)


@each_source
def test_what_a_lesson_builds_is_what_the_package_has(path: Path) -> None:
    for cell in read_source(path).cells:
        for tag in tags(cell):
            prefix, _, place = tag.partition(":minigpt.")
            if prefix != "package":
                continue
            file, name = Path(minigpt.__file__).parent, place
            while file.is_dir():
                part, _, name = name.partition(".")
                file /= part
            file = file.with_suffix(".py")
            theirs = code_of(definition(ast.parse(file.read_text(encoding="utf-8")), name))
            ours = code_of(definition(ast.parse(cell.source), name.rpartition(".")[2]))
            assert theirs, f"{tag}: minigpt has no {place}"
            assert ours == theirs, f"{cell.id} and {file.name} define {name} differently"


def test_the_comparison_of_definitions_sees_code_and_nothing_else() -> None:
    method = '    def f(self, x: int) -> int:\n        """Doc."""\n        return x  # why\n'
    package = ast.parse(f'class A:\n    """Doc."""\n{method}')
    same = ast.parse("def f(self, x: int) -> int:\n\n    return (x)")
    other = ast.parse("def f(self, x: int) -> int:\n    return -x")
    assert code_of(definition(package, "A.f")) == code_of(definition(same, "f")) != ""
    assert code_of(definition(package, "A.f")) != code_of(definition(other, "f"))
    assert definition(package, "A.g") is None and definition(package, "B") is None
    assert code_of(definition(ast.parse("LIMIT: int = 3"), "LIMIT")) == "LIMIT: int = 3"


@each_source
def test_tags_are_known(path: Path) -> None:
    """A misspelt tag would switch off what it asks for."""
    known = {"setup", "exercise", "nbval-ignore-output", "raises-exception"}
    for cell in read_source(path).cells:
        unknown = [tag for tag in tags(cell) if tag not in known and not tag.startswith("package:minigpt.")]
        assert not unknown, f"{cell.id}: {unknown}; the tags are {sorted(known)} and package:minigpt.<module>.<name>"
