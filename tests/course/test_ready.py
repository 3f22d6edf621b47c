"""A lesson opened where something is missing or too old says what to run, and shows no traceback."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from minigpt.course.ready import NotReady, check_packages
from notebooks.build import GUARD

COURSE = Path(__file__).parents[2]
MINIMUM = next(
    line.removeprefix("torch>=")
    for line in tomllib.loads((COURSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    if line.startswith("torch>=")
)
OTHER_TORCH = """
from importlib import metadata
import sys

def version(name, real=metadata.version):
    if name == "torch":
        {what}
    return real(name)

metadata.version = version
sys.modules["torch"] = None  # an import of it would fail
"""


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("import sys; sys.modules['minigpt'] = None", "no minigpt"),
        (OTHER_TORCH.format(what="raise metadata.PackageNotFoundError"), "torch is not installed. Run `make lab`"),
        (OTHER_TORCH.format(what="return '2.8.1'"), f"torch is of version 2.8.1, and the lessons need >={MINIMUM}."),
    ],
    ids=["no package", "no torch", "old torch"],
)
def test_in_jupyter_the_first_cell_says_what_to_run(before: str, message: str) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (before, f"{GUARD}print('on')")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, allow_errors=True).execute()
    assert cells[0].outputs == []
    error = next(output for output in cells[1].outputs if output.output_type == "error")
    shown = "\n".join(error.traceback)
    assert message in shown and "make lab" in shown
    assert "Traceback" not in shown and "---->" not in shown and len(shown.splitlines()) <= 4


def test_a_python_without_any_package_says_what_to_run(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", f"{GUARD}print('on')"]  # -S: without what pip has installed
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "no minigpt here: run `make lab` in the folder of the course\n"


@pytest.mark.parametrize("version", [f"{MINIMUM}.0", f"{MINIMUM}.1+cpu", "2.14.0.dev20261101+cu130", "3.0.0"])
def test_a_torch_of_the_minimum_or_later_will_do(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "torch" else installed(name))
    check_packages()


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1")
    with pytest.raises(NotReady, match=r"numpy is of version 0\.0\.1.*torch is of version 0\.0\.1.*make lab"):
        check_packages()


def test_a_copy_that_was_not_installed_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    check_packages()
