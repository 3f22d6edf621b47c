"""A file of the package imports only what stands above it in this list, and importing minigpt stays cheap."""

import ast
import importlib
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

import minigpt

PACKAGE = Path(minigpt.__file__).parent
ROOMS = {  # from the ground up; within a room, too
    "": ["config", "runtime"],
    "text": [
        *("bpe", "special_tokens", "tokenizer", "stories", "chinese", "comments"),
        *("batch", "shards", "sources", "choices", "chat_template", "chat", "tasks", "prepare", "data", "labels"),
        *("example_files", "finetuning", "pairs"),
    ],
    "model": [
        "kv_cache",
        "attention",
        "feed_forward",
        "norm",
        "gpt",
        "counted",
        "lora",
        "int8",
        "vocabulary",
        "classifier",
    ],
    "generation": ["recorded", "decoding", "generate", "together", "beam_search", "speculative", "conversation"],
    "weights": [
        *("checkpoint", "adapter", "gpt2_layout", "pretrained", "blocks", "gguf_file", "llama_layout"),
        *("tokenizer_json", "gguf", "llama", "smollm2", "models"),
    ],
    "evaluation": [
        *("loss", "rolling", "floor", "truth", "gap", "stories", "evaluate"),
        *("intervals", "calibration", "choices", "answers", "labels", "tasks", "laws"),
    ],
    "training": [
        *("shard", "muon", "optim", "parts", "step", "stopping", "metrics", "state", "trainer"),
        *("options", "answers", "rewards", "preferences"),
    ],
    "commands": [
        "output",
        "finding",
        "machine",
        "texts",
        "training",
        "finetuning",
        "tuning",
        "tasks",
        "models",
        "chat",
        "writer",
        "serving",
        "serve",
    ],
}
ORDER = [f"{room}.{name}".lstrip(".") for room, names in ROOMS.items() for name in names] + ["cli"]
FOLDERS = ["minigpt", *(f"minigpt.{room}" for room in ROOMS if room)]
FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.stem.startswith("__") and path.relative_to(PACKAGE).parts[0] != "course"
}


def all_imports(path: Path, folder: str = "minigpt") -> set[str]:
    """The modules that a file in a folder imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), folder)
            names |= {f"{module}.{alias.name}" for alias in node.names} if module in FOLDERS else {module}
    return names


def imported(path: Path, folder: str = "minigpt") -> set[str]:
    """Of these, the modules of minigpt, without its name; "" is the package itself."""
    return {name.partition(".")[2] for name in all_imports(path, folder) if name.split(".")[0] == "minigpt"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_what_stands_above_it(name: str) -> None:
    assert name in ORDER, f"{name} has no place in the order of the package"
    above = ORDER[: ORDER.index(name)]
    below = imported(FILES[name], f"minigpt.{name}".rpartition(".")[0]) - set(above)
    assert not below, f"{name} imports minigpt.{', minigpt.'.join(sorted(below))}; it may import {above}"


@pytest.mark.parametrize("name", ORDER)
def test_every_line_of_the_order_is_a_file(name: str) -> None:
    assert name in FILES, f"the order names {name}, and there is no such file"


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    file = tmp_path / "gpt.py"
    lines = ["import minigpt, minigpt.cli", "from . import attention", "from .kv_cache import x", "def f():"]
    lines += ["    from minigpt import GPT, config", "    from ..text import data", "    from ..runtime import x"]
    lines += ["from minigpt.text import bpe as pairs", "from minigpt.training.optim import x"]
    file.write_text("\n".join(lines))
    seen = {"", "cli", "GPT", "config", "runtime", "model.attention", "model.kv_cache", "text.data", "text.bpe"}
    assert imported(file, "minigpt.model") == seen | {"training.optim"}


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "figures").rglob("*.py")), ids=lambda path: path.stem)
def test_figures_read_results_and_import_no_benchmark(path: Path) -> None:
    """benchmarks draws through figures, so the arrow runs one way."""
    assert "benchmarks" not in {name.split(".")[0] for name in all_imports(path)}


def test_the_face_is_the_rooms_own_names_and_editors_see_the_same() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (editors,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in ast.walk(editors)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == sorted(minigpt.__all__) and set(seen) <= set(dir(minigpt))
    for name, module in seen.items():
        assert module and getattr(minigpt, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="no attribute 'GTP'; it has BPETokenizer, GPT"):
        minigpt.GTP  # noqa: B018


def test_import_minigpt_waits_for_nothing() -> None:
    program = "import sys, minigpt; dir(minigpt); print([n for n in ('torch', 'numpy', 'tyro') if n in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_the_whole_package_loads_nothing_that_only_lessons_or_tests_need() -> None:
    unwanted = ["matplotlib", "IPython", "ipykernel", "jupyterlab", "pytest", "transformers", "minigpt.course"]
    unwanted += ["torch._dynamo", "torch.distributed.fsdp", "sympy"]  # half a second and more, for few
    everything = ", ".join(f"minigpt.{name}" for name in FILES)
    program = f"import sys, {everything}; print([name for name in {unwanted} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
