"""A file of the package imports only what stands above it in this list, and importing minigpt stays cheap."""

import ast
import subprocess
import sys
from importlib.util import resolve_name
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
    "commands.output",
    "commands.finding",
    "commands.machine",
    "commands.texts",
    "commands.training",
    "commands.models",
    "cli",
]
FOLDERS = ["minigpt", "minigpt.commands"]
FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path
    for pattern in ("*.py", "commands/*.py")
    for path in sorted(PACKAGE.glob(pattern))
    if not path.stem.startswith("__")
}


def imported(path: Path, folder: str = "minigpt") -> set[str]:
    """The modules of minigpt that a file in a folder imports, also inside functions; "" is the package itself."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), folder)
            names |= {f"{module}.{alias.name}" for alias in node.names} if module in FOLDERS else {module}
    return {name.partition(".")[2] for name in names if name.split(".")[0] == "minigpt"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_what_stands_above_it(name: str) -> None:
    assert name in ORDER, f"{name} has no place in the order of the package"
    above = ORDER[: ORDER.index(name)]
    below = imported(FILES[name], f"minigpt.{name}".rpartition(".")[0]) - set(above)
    assert not below, f"{name} imports minigpt.{', minigpt.'.join(sorted(below))}; it may import {above}"


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    lines = ["import minigpt, minigpt.cli", "from . import data", "from .runtime import x", "def f():"]
    file.write_text("\n".join([*lines, "    from minigpt import GPT"]))
    assert imported(file) == {"cli", "data", "runtime", "GPT", ""}
    lines = ["from . import texts", "from .output import x", "from .. import data", "from ..runtime import x"]
    lines += ["from minigpt.commands import finding", "from minigpt.commands.models import x"]
    file.write_text("\n".join(lines))
    seen = {"commands.texts", "commands.output", "data", "runtime", "commands.finding", "commands.models"}
    assert imported(file, "minigpt.commands") == seen


def test_import_minigpt_loads_nothing_that_only_lessons_or_tests_need() -> None:
    unwanted = ["matplotlib", "IPython", "ipykernel", "jupyterlab", "pytest", "transformers", "minigpt.course"]
    program = f"import sys, minigpt; print([name for name in {unwanted} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
