"""Make the notebooks from their sources.

From notebooks/source/NN_name.py come, executed and with their outputs,

- notebooks/NN_name.ipynb, the lesson, in which every exercise is a stub;
- notebooks/solutions/NN_name.ipynb, its set-up cell and every exercise with its solution and its check.

``python notebooks/build.py 01 10`` builds these two lessons, without a name all of them. ``--check`` builds nothing and
executes nothing: it tells where a notebook is not what its source makes, and whether it was executed (that the stored
outputs are still true is for ``pytest --nbval``). ``--minutes`` tells how long each lesson takes, by the rule of
`minutes`.
"""

import argparse
import ast
import difflib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from tqdm import tqdm

from minigpt.course.exercise import YOUR_TURN

NOTEBOOKS = Path(__file__).parent
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
SOLUTION = re.compile(rf"^( *){BEGIN}\n(.*?)^ *{END}$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^### (Exercise \d+ · .+)$", re.MULTILINE)
STATED = re.compile(r"^### Exercise \d+ · .*, (\d+) min\)$")
OPTIONAL = "(optional)"
WORDS_A_MINUTE, LINES_A_MINUTE = 150, 10
# Diagrams, pictures, tags, addresses in brackets and bare ones.
NO_PROSE = re.compile(
    r"^```.*?^```|!\[[^\]]*\]\([^)]*\)|<[^<>]+>|(?<=\])\([^)\s]+\)|\(?https?://\S+", re.MULTILINE | re.DOTALL
)
WORD = re.compile(r"\S*[^\W_]\S*")  # a formula counts as what stands between its spaces
GUARD = """\
try:
    import minigpt.course
except ModuleNotFoundError as error:
    advice = "run `make lab` in the folder of the course"
    raise SystemExit(f"no {error.name} here: {advice}") from None

"""  # at the top of the set-up cell: what a learner reads where minigpt is not installed, or in another kernel
WIDGET = "application/vnd.jupyter.widget-view+json"
ALERT = '<div class="alert alert-warning">'
DARK_ALERT = '<div class="alert alert-warning" style="color: #222">'  # JupyterLab writes orange on pale orange, 2:1
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},  # no version: a rebuild on another Python gives the same file
}


class SourceError(Exception):
    """A source that does not follow the rules of CONTRIBUTING.md."""


@dataclass
class ExerciseCells:
    """The cells of one exercise: the heading of its text, the cell with the solution, and the cell that checks it."""

    heading: str
    answer: NotebookNode
    check: NotebookNode


def read_source(path: Path) -> NotebookNode:
    """The cells of a source as they stand there, with solutions; ids come from the lesson's name and the position."""
    notebook = jupytext.read(path, fmt="py:percent")
    lesson = path.stem.replace("_", "-")
    for position, cell in enumerate(notebook.cells, start=1):
        cell.id = f"{lesson}-{position:03}"
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's own note
    return notebook


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def exercises(notebook: NotebookNode) -> Iterator[ExerciseCells]:
    """The exercises of a source, in order.

    Raises:
        SourceError: an exercise without heading, markers, or a check in the next code cell.
    """
    heading = ""
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            heading = next(iter(HEADING.findall(cell.source)), heading)
        has_markers = BEGIN in cell.source or END in cell.source
        if has_markers != ("exercise" in tags(cell)):
            raise SourceError(f"{cell.id}: the tag exercise and the markers of a solution come together")
        if not has_markers:
            continue
        blocks = SOLUTION.findall(cell.source)
        in_pairs = len(blocks) == cell.source.count(BEGIN) == cell.source.count(END)
        if not in_pairs or not all(indent for indent, _ in blocks):
            raise SourceError(f"{cell.id}: {BEGIN} and {END} must stand in pairs, on lines of their own, in a function")
        check = next((later for later in notebook.cells[position + 1 :] if later.cell_type == "code"), None)
        if check is None or not checks(check):
            raise SourceError(f"{cell.id}: the next code cell must check the exercise: check.name(name)")
        if not heading:
            raise SourceError(f"{cell.id}: no heading «### Exercise 1 · …» above it")
        yield ExerciseCells(heading, cell, check)


def parsed(cell: NotebookNode) -> ast.Module:
    """The code of a cell, with Jupyter's own lines (%magic, !command) as calls."""
    return ast.parse(TransformerManager().transform_cell(cell.source))


def checks(cell: NotebookNode) -> list[tuple[str, str]]:
    """What a cell checks, as (check, answer): ``check.softmax(my_softmax)`` gives ("softmax", "my_softmax")."""
    return [
        (call.func.attr, ast.unparse(call.args[0]))
        for call in ast.walk(parsed(cell))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) == "check"
        and call.args
    ]


def lesson_from(source: NotebookNode) -> NotebookNode:
    """The lesson: every solution replaced by a stub. Not yet executed."""
    list(exercises(source))  # raises SourceError
    cells = [nbformat.from_dict(cell) for cell in source.cells]
    for cell in cells:
        if "exercise" in tags(cell):
            cell.source = SOLUTION.sub(rf'\1raise NotImplementedError("{YOUR_TURN}")', cell.source)
    return _notebook(cells)


def solutions_from(source: NotebookNode, name: str) -> NotebookNode:
    """The solutions: the set-up cell, then heading, answer and check of every exercise. Not yet executed."""
    title = source.cells[0].source.splitlines()[0].removeprefix("# ")
    first = nbformat.v4.new_markdown_cell(f"# Solutions\n\nThe exercises of [{title}](../{name}.ipynb), solved.")
    cells = [first, *(nbformat.from_dict(cell) for cell in source.cells if "setup" in tags(cell))]
    for exercise in exercises(source):
        heading = nbformat.v4.new_markdown_cell(f"## {exercise.heading}", id=f"{exercise.answer.id}-heading")
        answer, check = nbformat.from_dict(exercise.answer), nbformat.from_dict(exercise.check)
        answer.source = re.sub(rf"^ *({BEGIN}|{END})\n?", "", answer.source, flags=re.MULTILINE).rstrip()
        cells += [heading, answer, check]
    first.id = f"{source.cells[0].id}-solutions"
    return _notebook(cells)


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    setup = next((cell for cell in cells if "setup" in tags(cell)), None)
    if setup is not None:
        setup.source = GUARD + setup.source
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace(ALERT, DARK_ALERT)
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def minutes(source: NotebookNode) -> float:
    """How long a lesson takes: words of prose at 150 a minute, lines of code at 10, and what its exercises state.

    Counted as the learner sees them: stubs in place of solutions. Imports, diagrams and addresses take no time, nor
    does a section whose heading says «(optional)», down to the next heading of its level or a higher one.
    """
    words = lines = stated = 0
    optional = 0  # the level of the heading that opened an optional section
    for cell in lesson_from(source).cells:
        if cell.cell_type == "code":
            if not optional and "setup" not in tags(cell):
                lines += sum(bool(line.strip()) for line in cell.source.splitlines())
            continue
        for line in NO_PROSE.sub("", cell.source).splitlines():
            level = len(line) - len(line.lstrip("#"))
            if level and (not optional or level <= optional):
                optional = level if OPTIONAL in line else 0
            if not optional:
                words += len(WORD.findall(line))
                stated += sum(int(number) for number in STATED.findall(line))
    return words / WORDS_A_MINUTE + lines / LINES_A_MINUTE + stated


def built_from(source: Path) -> dict[Path, NotebookNode]:
    """The two notebooks that a source makes, not yet executed, by the path where each belongs."""
    cells, folder = read_source(source), source.parent.parent
    return {
        folder / f"{source.stem}.ipynb": lesson_from(cells),
        folder / "solutions" / f"{source.stem}.ipynb": solutions_from(cells, source.stem),
    }


def execute(notebook: NotebookNode, path: Path) -> None:
    """Run every cell in the folder where the notebook belongs, and write it there once all have run."""
    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    with tqdm(total=code, desc=str(path.relative_to(NOTEBOOKS.parent)), unit="cell") as bar:
        NotebookClient(
            notebook,
            timeout=3600,  # for one cell: only a hang reaches it, on a machine busy with other work, too
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=lambda **_: bar.update(),
        ).execute()
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop(WIDGET, None)  # it is dead without its kernel; the picture beside it stays
    notebook.metadata = nbformat.from_dict(METADATA)  # without what the kernel wrote
    path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8", newline="\n")


def outline(notebook: NotebookNode) -> list[str]:
    """All of a notebook that its source decides, as lines to compare: metadata, and each cell but for its outputs."""
    lines = [json.dumps(notebook.metadata, sort_keys=True)]
    for cell in notebook.cells:
        metadata = json.dumps(cell.metadata, sort_keys=True)
        lines += ["", f"[{cell.cell_type} {cell.id} {metadata}]", *cell.source.split("\n")]
    return lines


def unexecuted(notebook: NotebookNode) -> list[str]:
    """What shows that a notebook was not run from top to bottom in one go, or lost outputs since."""
    problems = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        problems.append(f"execution counts are {counts}, not 1 to {len(code)}")
    silent = [cell.id for cell in code if shows(cell) and not cell.outputs]
    return problems + [f"cell {cell_id} shows something, but has no output" for cell_id in silent]


def shows(cell: NotebookNode) -> bool:
    """Whether a code cell surely has an output: it prints or checks outside any function, or ends with a value."""
    body = parsed(cell).body
    values = [node.value for node in body if isinstance(node, ast.Expr)]
    calls = [value for value in values if isinstance(value, ast.Call)]
    if checks(cell) or any(ast.unparse(call.func) == "print" for call in calls):
        return True
    last = body[-1] if body else None
    return isinstance(last, ast.Expr) and last.value not in calls and not cell.source.rstrip().endswith(";")


def check(source: Path) -> list[str]:
    """Where the notebooks of a source are not what it makes. Empty when all is well."""
    problems = []
    for path, wanted in built_from(source).items():
        if not path.exists():
            problems.append(f"{path}: not built yet")
            continue
        stored = nbformat.read(path, as_version=4)
        changes = list(difflib.unified_diff(outline(stored), outline(wanted), "stored", "source", n=1, lineterm=""))
        if changes:
            problems.append(f"{path}: not what {source.name} makes\n    " + "\n    ".join(changes))
        problems += [f"{path}: {problem}" for problem in unexecuted(stored)]
    return problems


def strays() -> list[str]:
    """Notebooks that no source makes."""
    stored = [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")]
    return [f"{path}: has no source" for path in stored if not (NOTEBOOKS / "source" / f"{path.stem}.py").exists()]


def main(arguments: list[str] | None = None) -> int:
    """Build or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="how a lesson's name begins, such as 01; without a name, all")
    parser.add_argument("--minutes", action="store_true", help="build nothing; tell how long the lessons take")
    parser.add_argument("--check", action="store_true", help="build nothing; tell which notebooks are stale")
    options = parser.parse_args(arguments)
    sources = sorted((NOTEBOOKS / "source").glob("*.py"))
    for name in options.names:
        if not any(source.stem.startswith(name) for source in sources):
            parser.error(f"no lesson begins with {name!r}; there are {', '.join(source.stem for source in sources)}")
    chosen = [source for source in sources if not options.names or source.stem.startswith(tuple(options.names))]

    if options.minutes:
        for source in chosen:
            print(f"{source.stem:<27} {minutes(read_source(source)):4.0f} min")
        return 0

    problems = []
    for source in chosen:
        try:
            if options.check:
                problems += check(source)
            else:
                for path, notebook in built_from(source).items():
                    execute(notebook, path)
        except (SourceError, CellExecutionError) as error:
            problems.append(f"{source}: {error}")
    if options.check and not options.names:
        problems += strays()
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print(f"{'fresh' if options.check else 'built'}: {', '.join(source.stem for source in chosen)}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in the test that runs the notebooks again
    sys.exit(main())
