"""Build the site: the lessons with their stored outputs, the solutions folded, the reference, the glossary, the README.

``python site/build.py`` writes build/site/index.html and what belongs to it. Nothing is executed and nothing fetched.
First the pages are collected into a folder laid out like the repository, so that a link from a lesson to another lesson
or to a figure leads to the same place here. What the page needs and the notebook does not is added on the way. Then
Sphinx makes HTML of it, and every warning is an error.
"""

import argparse
import ast
import json
import re
import shutil
import sys
from html import unescape
from pathlib import Path
from textwrap import shorten
from typing import Any

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parent.parent
HERE = ROOT / "site"
CARDS = [f"minigpt/{name}/MODEL_CARD.md" for name in ("storyteller", "helper")]
MARKDOWN = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", *CARDS]
NOT_A_PAGE = ["__init__", "__main__"]  # modules without a page of their own

TO_MODULE = re.compile(r"\]\((?:\.\./)*(minigpt(?:/\w+)*)\.py\)")
TO_SITE = re.compile(r"\]\(((?:\.\./)*)site/")  # those pages stand one folder higher here
TO_FOLDER = re.compile(r"\]\(((?:notebooks/)?solutions)/?\)")
BARE_ADDRESS = re.compile(
    r"(?<![<(\"'`])(?<!\]\()\bhttps?://[^\s<>()`]+[^\s<>()`.,;:]|(?<=[^\]]\()https?://[^\s<>()`]+"
)
EXERCISE = re.compile(r"^#{2,3} (Exercise (\d+) · .+)$", re.MULTILINE)
SVG_NAME = re.compile(r'<svg[^>]* aria-label="(.+?)"', re.DOTALL)
SVG_WORD = re.compile(r"<!-- (.+?) -->", re.DOTALL)  # matplotlib draws letters and notes here what they say
FENCED = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)

SETUP = "what this lesson imports"
HOW_TO_RUN = """\
:::{note}
You can read this lesson here, with all its outputs. To run it and to have your exercises checked, open it in
JupyterLab: `make lab` in a clone of the repository sets everything up. [How to start](../README.md#start)
:::
"""


def markdown(cell_id: str, text: str) -> dict[str, Any]:
    """A new cell of text."""
    return {"cell_type": "markdown", "id": cell_id, "metadata": {}, "source": text}


def for_the_site(text: str, depth: int) -> str:
    """Markdown as JupyterLab shows it: bare addresses become links. A link to a file of the package leads to its page.

    Args:
        text: what a page or a cell says.
        depth: how many folders below the root it stands.
    """
    up = "../" * depth
    parts = FENCED.split(text)  # every other one is code
    for i in range(0, len(parts), 2):
        part = TO_MODULE.sub(lambda m: f"]({up}reference/{m[1].replace('/', '.')}.rst)", parts[i])
        part = TO_SITE.sub(r"](\1", part)
        part = TO_FOLDER.sub(r"](\1/index.md)", part)
        parts[i] = BARE_ADDRESS.sub(lambda m: f"<{m[0]}>", part)
    return "".join(parts)


def picture_in_words(svg: str) -> str:
    """The alternative text of a picture: the name it gives itself, or else the words written in it, without ticks."""
    if name := SVG_NAME.search(svg):
        return unescape(name[1])
    words = dict.fromkeys(unescape(word) for word in SVG_WORD.findall(svg))
    return shorten("Plot with the words: " + "; ".join(word for word in words if re.search(r"[^\W\d_]", word)), 300)


def with_words(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell of code whose picture has an alternative text."""
    for output in cell["outputs"]:
        if svg := "".join(output.get("data", {}).get("image/svg+xml", "")):
            note = {"mystnb": {"image": {"alt": picture_in_words(svg)}}}
            cell = cell | {"metadata": cell["metadata"] | note}
    return cell


def is_setup(cell: dict[str, Any]) -> bool:
    """Whether a cell only imports what the lesson needs."""
    return "setup" in cell["metadata"].get("tags", [])


def folded(cell: dict[str, Any], what: str) -> dict[str, Any]:
    """A cell whose code is shown on a click."""
    prompts = {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
    return cell | {"metadata": {"tags": ["hide-input"], "mystnb": prompts}}


def page_number(name: str) -> str:
    """What a page's name begins with, such as 04 or 00b: part of the anchors of its exercises."""
    return name.partition("_")[0]


def lesson(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """A lesson: how to run it below its header, and each exercise linked with its solution."""
    cells: list[dict[str, Any]] = []
    number, solved = 0, True
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = for_the_site("".join(cell["source"]), depth=1)
            if heading := EXERCISE.search(text):
                number = int(heading[2])
                text = text.replace(heading[0], f"(exercise-{page_number(name)}-{number})=\n{heading[0]}")
            cell = cell | {"source": text}
        else:
            cell = with_words(cell)
        cells.append(folded(cell, SETUP) if is_setup(cell) else cell)
        if len(cells) == 1:
            cells.append(markdown("how-to-run", HOW_TO_RUN))
        if cell["cell_type"] == "code" and not solved:  # the check follows the stub
            link = f"[Solution of exercise {number}](#solution-{page_number(name)}-{number})"
            cells.append(markdown(f"solution-{number}", link))
            solved = True
        if "exercise" in cell["metadata"].get("tags", []):
            solved = False
    return notebook | {"cells": cells}


def solutions(notebook: dict[str, Any], name: str, following: str) -> dict[str, Any]:
    """The solutions of a lesson, each folded, with the way back to its exercise and on to the following lesson."""
    cells: list[dict[str, Any]] = []
    title = re.search(r"\[(.+?)\]", "".join(notebook["cells"][0]["source"]))
    assert title, f"{name}: the solutions do not name their lesson"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = for_the_site("".join(cell["source"]), depth=2).replace("# Solutions", f"# Solutions: {title[1]}", 1)
            if heading := EXERCISE.search(text):
                key = f"{page_number(name)}-{heading[2]}"
                back = f"[Back to the exercise](#exercise-{key})"
                text = text.replace(heading[0], f"(solution-{key})=\n{heading[0]}\n\n{back}")
            cell = cell | {"source": text}
        if "exercise" in cell["metadata"].get("tags", []):
            cell = folded(cell, "the solution")
        cells.append(folded(cell, SETUP) if is_setup(cell) else cell)
    cells.append(markdown("next", following))
    return notebook | {"cells": cells}


def as_glossary(text: str) -> str:
    """Paragraphs «**term** · what it means» as MyST wants them: each term gets an anchor and a place in the search."""
    head, *entries = re.split(r"^\*\*", text, flags=re.MULTILINE)
    items = [entry.strip().replace("** · ", "\n  ", 1) for entry in entries]
    return head + "```{glossary}\n" + "\n\n".join(items) + "\n```\n"


def collect(source: Path) -> None:
    """Write the pages that Sphinx reads."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "figures", source / "figures", ignore=shutil.ignore_patterns("*.py", "draw", "__pycache__"))
    for path in HERE.glob("*.md"):  # they stand one folder deeper in the repository than here
        text = for_the_site(path.read_text(encoding="utf-8").replace("](../", "]("), depth=0)
        (source / path.name).write_text(as_glossary(text) if path.stem == "glossary" else text, encoding="utf-8")
    for name in MARKDOWN:
        page = source / name
        page.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        page.write_text(for_the_site(text, depth=name.count("/")), encoding="utf-8")

    folder = source / "notebooks" / "solutions"
    folder.mkdir(parents=True)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path, following in zip(paths, [*paths[1:], None], strict=True):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        (source / "notebooks" / path.name).write_text(json.dumps(lesson(notebook, path.stem)), encoding="utf-8")
        answers = json.loads((path.parent / "solutions" / path.name).read_text(encoding="utf-8"))
        onward = f"**Next** · [](../{following.name})" if following else "**Next** · [the lessons](../../index.md)"
        (folder / path.name).write_text(json.dumps(solutions(answers, path.stem, onward)), encoding="utf-8")
    toctree = "\n".join(path.stem for path in paths)
    (folder / "index.md").write_text(
        "# Solutions\n\nOf every exercise. Try it first: the check in the lesson knows the usual mistakes.\n\n"
        f"```{{toctree}}\n{toctree}\n```\n",
        encoding="utf-8",
    )
    reference(source / "reference")


def reference(folder: Path) -> None:
    """A page for each module of the package, and a table of them all."""
    folder.mkdir()
    modules = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path
        for path in sorted((ROOT / "minigpt").rglob("*.py"), key=lambda path: (len(path.parts), path))  # rooms last
        if path.stem not in NOT_A_PAGE and path.parent.name != "check"
    }
    rows = []
    for name, path in modules.items():
        about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
        rows.append(f"   * - :doc:`{name}`\n     - {' '.join(about.split())}")
        page = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n   :members:\n"
        (folder / f"{name}.rst").write_text(page, encoding="utf-8")
    title = "The package, module by module"
    head = f"{title}\n{'=' * len(title)}\n\n.. list-table::\n   :widths: 30 70\n\n"
    toctree = "\n.. toctree::\n   :hidden:\n\n" + "".join(f"   {name}\n" for name in modules)
    (folder / "index.rst").write_text(head + "\n".join(rows) + "\n" + toctree, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Build the site; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the site to read.")
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "build" / "site", help="folder of the HTML files")
    out = parser.parse_args(arguments).out
    source = out.with_name(f"{out.name}-source")
    shutil.rmtree(out, ignore_errors=True)
    collect(source)
    options = ["--fresh-env", "--fail-on-warning", "--quiet", "--conf-dir", str(HERE)]
    status = build_main([*options, "--doctree-dir", str(source / ".doctrees"), str(source), str(out)])
    if status == 0:
        print(f"{out / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
