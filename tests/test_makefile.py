"""The README's plain commands are those of the Makefile."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> list[str]:
    """The commands of a target."""
    (lines,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in lines.splitlines()]


def test_plain_commands_are_what_make_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block.strip().splitlines() for block in re.findall(r"^```\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)]
    assert [
        '.venv/bin/python -m pip install -c constraints.txt -e ".[dev]"',
        *recipe("lint"),
        *recipe("test"),
    ] in blocks
    assert recipe("test-browser") in blocks
