"""A file of the package imports only what stands above it in this list, and importing minigpt stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minigpt

PACKAGE = Path(minigpt.__file__).parent
ORDER = [
    "config",
    "runtime",
    "bpe",
    "tokenizer",
    "stories",
    "shards",
    "prepare",
    "data",
    "kv_cache",
    "attention",
    "feed_forward",
    "model",
    "decoding",
    "generate",
    "beam_search",
    "evaluate",
    "optim",
    "metrics",
    "checkpoint",
    "gpt2_layout",
    "pretrained",
    "trainer",
    "cli",
]
FILES = sorted(path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


def imported(path: Path) -> set[str]:
    """The modules of minigpt that a file imports, also inside functions; "" is the package itself."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = ("minigpt." if node.level else "") + (node.module or "")
            module = module.rstrip(".")
            names |= {f"minigpt.{alias.name}" for alias in node.names} if module == "minigpt" else {module}
    return {name.partition(".")[2].split(".")[0] for name in names if name.split(".")[0] == "minigpt"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_imports_only_what_stands_above_it(path: Path) -> None:
    assert path.stem in ORDER, f"{path.name} has no place in the order of the package"
    above = ORDER[: ORDER.index(path.stem)]
    below = imported(path) - set(above)
    assert not below, f"{path.name} imports minigpt.{', minigpt.'.join(sorted(below))}; it may import {above}"


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    lines = ["import minigpt, minigpt.cli", "from . import data", "from .runtime import x", "def f():"]
    file.write_text("\n".join([*lines, "    from minigpt import GPT"]))
    assert imported(file) == {"cli", "data", "runtime", "GPT", ""}


def test_import_minigpt_loads_nothing_that_only_lessons_or_tests_need() -> None:
    unwanted = ["matplotlib", "IPython", "ipykernel", "jupyterlab", "pytest", "transformers", "minigpt.course"]
    program = f"import sys, minigpt; print([name for name in {unwanted} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
