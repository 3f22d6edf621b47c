"""JupyterLab as a learner meets it: the server that `minigpt lab` starts, and a notebook in the browser's page."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import nbformat
from nbformat import NotebookNode
from playwright.sync_api import Locator, Page, Response, TimeoutError, expect

COURSE = Path(__file__).parents[2]
FOLDERS, FILES = ("notebooks", "figures", "minigpt", "labconfig"), ("README.md", "pyproject.toml")
ADDRESS = re.compile(r"http://(?:localhost|127\.0\.0\.1):\d+/\S*token=(\w+)")
COUNT = re.compile(r"\[\d+\]")  # beside a cell that has run; [*] while it runs
OF_THE_USER = [f"JUPYTER_{kind}_DIR" for kind in ("CONFIG", "DATA", "RUNTIME")]
OF_THE_USER += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"]


@contextmanager
def running_lab(folder: Path) -> Iterator["Lab"]:
    """What `make lab` runs, on a copy of the course in the given folder, for a user without a display.

    The copy holds the working tree without what no lesson needs. There a notebook can be saved, and nobody edits a
    file midway.
    """
    root = folder / "course"
    for name in FOLDERS:
        shutil.copytree(COURSE / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in FILES:
        shutil.copy2(COURSE / name, root)
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {
        "PYTHONPATH": str(root),  # else the kernels would import the working tree's package
        "OMP_NUM_THREADS": "1",  # two lessons run at once on what may be two cores
        # Nothing of the user's own JupyterLab (open tabs, theme, extensions) comes in, and nothing of ours gets out.
        **{name: str(folder / name.lower()) for name in OF_THE_USER},
        # A learner may have no network: what a kernel asks of it fails at once, on every machine.
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1"),
    }
    with socket.socket() as free:  # two servers that look for a free port at once can find the same one
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("minigpt")), "lab", "--port", str(port)]
    with open(folder / "lab.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            lab = _address(folder / "lab.log", process, root)
            yield lab
            # As File › Shut Down does: JupyterLab ends its kernels, which no signal to it would reach, and itself.
            lab.ask("api/shutdown", "POST")
            process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # after an error: `minigpt lab` and the server that it started
            process.wait(30)


def _address(log: Path, process: "subprocess.Popen[bytes]", root: Path) -> "Lab":
    """Wait for the address that a user without a display reads and opens."""
    limit = time.monotonic() + 90  # the first start on a fresh machine compiles much
    while time.monotonic() < limit and process.poll() is None:
        if found := ADDRESS.search(log.read_text(encoding="utf-8")):
            return Lab(found[0], found[1], root)
        time.sleep(0.2)
    raise AssertionError(f"minigpt lab printed no address:\n{log.read_text(encoding='utf-8')}")


@dataclass
class Lab:
    """A running JupyterLab: the address of its first page, as printed; its token; the folder that it shows."""

    url: str
    token: str
    root: Path

    @property
    def base(self) -> str:
        """The address without a path, such as http://localhost:8888."""
        return self.url.partition("/lab")[0]

    def open(self, page: Page, name: str) -> "Notebook":
        """Open a notebook of the folder notebooks/, such as 04_attention_by_hand, as stored, with a new kernel."""
        self.end_kernels()  # those of earlier tests: they live on after their page
        if (COURSE / "notebooks" / f"{name}.ipynb").exists():
            shutil.copy2(COURSE / "notebooks" / f"{name}.ipynb", self.root / "notebooks")
        page.goto(f"{self.base}/doc/tree/notebooks/{name}.ipynb?token={self.token}", wait_until="domcontentloaded")
        notebook = Notebook(page, self.root / "notebooks" / f"{name}.ipynb")
        notebook.wait_until_idle(180)
        return notebook

    def end_kernels(self) -> None:
        """End all kernels, as the panel of running kernels does: each holds some hundred megabytes."""
        for session in json.loads(self.ask("api/sessions")):
            self.ask(f"api/sessions/{session['id']}", "DELETE")

    def ask(self, path: str, method: str = "GET") -> bytes:
        """Call the server without the browser."""
        request = Request(f"{self.base}/{path}", method=method, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=30) as answer:
            return answer.read()


class Notebook:
    """An open notebook. The page holds only the cells inside the window; the saved file, ``path``, has them all."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.path = page, path

    def wait_until_idle(self, seconds: float) -> None:
        """Wait for the kernel. The status bar tells it; the notebook's own sign says idle where there is no kernel."""
        self.page.locator("#jp-main-statusbar").get_by_text("Idle").first.wait_for(timeout=1000 * seconds)

    def menu(self, name: str, command: str) -> None:
        """Choose an entry of the menu bar by its command, such as runmenu:run-all."""
        self.page.locator("#jp-MainMenu").get_by_text(name, exact=True).click()
        self.page.locator(f'.lm-Menu [data-command="{command}"]').first.click()

    def clear_outputs(self) -> None:
        """Take away what is stored: outputs, and the counts that tell what has run."""
        self.menu("Edit", "editmenu:clear-all")

    def restart_and_run_all(self, seconds: float) -> NotebookNode:
        """Clear all outputs, so that none passes for a new one, restart and run all; returns the file once it is done.

        A cell's execution count is stored when it has run, so the file tells how far the notebook is. It is done, too,
        when an error has ended the run; there are cells that show one on purpose.
        """
        self.clear_outputs()
        self.menu("Run", "runmenu:restart-and-run-all")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        expect(self.page.locator(".jp-Dialog")).to_have_count(0)  # until then it takes every key

        def done(notebook: NotebookNode) -> bool:
            return all(cell.execution_count for cell in code(notebook)) or failed(notebook)

        return self.saved_when(done, seconds)

    def saved_when(self, done: Callable[[NotebookNode], bool], seconds: float) -> NotebookNode:
        """Save again and again until the file is as wanted, and return it."""
        limit = time.monotonic() + seconds
        while not done(notebook := self.save()):
            assert time.monotonic() < limit, f"{self.path.name}: not done after {seconds:.0f} s"
            self.page.wait_for_timeout(1000)
        return notebook

    def save(self) -> NotebookNode:
        """Save with the keyboard, once more where a busy page missed the key, and read what JupyterLab has written."""
        for patience in (10_000, 20_000, 60_000):
            try:
                with self.page.expect_response(self._is_save, timeout=patience):
                    self.page.keyboard.press("Control+s")
                return nbformat.read(self.path, as_version=4)
            except TimeoutError:
                pass
        raise AssertionError(
            f"{self.path.name} was not saved; the page says {self.page.locator('body').inner_text()!r}"
        )

    def _is_save(self, response: Response) -> bool:
        return response.request.method == "PUT" and self.path.name in response.url

    def cell(self, cell_id: str) -> Locator:
        """The cell with this id, scrolled to."""
        position = [cell.id for cell in nbformat.read(self.path, as_version=4).cells].index(cell_id)
        wanted = self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{position}"]')
        for _ in range(400):
            if wanted.count():
                break
            inside = self.page.locator(".jp-Notebook .jp-Cell[data-windowed-list-index]")
            first = int(inside.first.get_attribute("data-windowed-list-index") or 0)
            panel = self.page.locator(".jp-WindowedPanel-outer").first
            panel.evaluate("(panel, down) => panel.scrollBy(0, down)", -400 if position < first else 400)
            self.page.wait_for_timeout(50)
        wanted.scroll_into_view_if_needed()
        return wanted

    def run(self, cell_id: str) -> Locator:
        """Run a cell, and return the place below it. Its new count shows the end, so clear the old counts before."""
        cell = self.cell(cell_id)
        prompt = cell.locator(".jp-InputArea-prompt")
        before = prompt.inner_text()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).to_have_text(COUNT)
        return cell.locator(".jp-Cell-outputArea")

    def write(self, cell_id: str, text: str) -> None:
        """Replace what stands in a cell."""
        self.cell(cell_id).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def failed(notebook: NotebookNode) -> bool:
    """Whether an error has ended a run."""
    return any(
        output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", [])
        for cell in code(notebook)
        for output in cell.outputs
    )
