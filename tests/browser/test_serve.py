"""The page of `minigpt serve`, in Chromium: a question is asked, its answer grows, and both stay on the page."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

STORY = "Once there was a shy owl, and her name was Mia. Mia had a red kite and loved to fly it."


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the bundled helper is served, on a port that is free."""
    log: Path = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "minigpt", "serve", "--model", "helper", "--port", "0"]
    with log.open("w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as server:
        assert server.stdout is not None
        first = server.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+) is a page", first)
        try:
            assert found, f"{first}{log.read_text()}"
            yield found[1]
        finally:
            server.terminate()


def ask(page: Page, words: str) -> None:
    page.get_by_label("Your message").fill(words)
    page.get_by_role("button", name="Send").click()


def test_a_conversation_on_the_page(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, f"{STORY} What is the name of the owl?")
    said = page.locator("#said p")
    expect(said).to_have_count(2)
    expect(said.nth(1)).not_to_be_empty()
    ask(page, "<b>What</b> is she like?")  # what was typed is shown as it was typed
    expect(said).to_have_count(4)
    expect(said.nth(2)).to_have_text("<b>What</b> is she like?")
    expect(said.nth(3)).not_to_be_empty()


def test_what_the_server_refuses_is_shown_as_its_sentence(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "owl " * 300)
    expect(page.locator("#said p").nth(1)).to_contain_text("the context 192: shorten it")
