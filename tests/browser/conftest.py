"""A browser, a page that may not leave the machine, and a JupyterLab, for all tests in this folder.

`make test-browser` runs them. `pytest tests` passes them by (norecursedirs in pyproject.toml): they need Chromium, and
minutes.
"""

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.jupyterlab import Lab, running_lab

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60_000  # milliseconds that a busy machine may take until the page is as expected
FLAGS = [
    "--disable-gpu",  # draws the same with and without one
    "--disable-background-networking",  # the browser's own errands are not the page's requests
    # As on a laptop without a network. A name that cannot be resolved cannot be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]


def stays_here(url: str) -> bool:
    """Whether a request does not leave the machine: to itself, or to what the page already holds."""
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about", "file") or parts.hostname in ("localhost", "127.0.0.1", "::1")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. It is not skipped where there is none: a test that did not run has not passed."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail(
            f"no browser: none of {', '.join(NAMES)} is on the PATH. On Debian: apt-get install chromium", pytrace=False
        )
    # Chromium refuses to start as root, the user of many a container, unless told so.
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS + as_root)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of a fresh user. After the test: no request left the machine, and no script of the page failed."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    outside = sorted({url for url in requests if not stays_here(url)})
    assert not outside, f"requests left the machine: {outside}"
    assert not errors, f"a script of the page failed: {errors}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the course, as `make lab` starts it; one for each process of pytest."""
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
