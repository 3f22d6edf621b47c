"""What the commands print: one JSON object, a table, or text that fits the terminal."""

import json
import shutil
import sys
import textwrap
from typing import Any


def print_json(value: Any) -> None:
    """Print one JSON object; letters beyond ASCII stay as they are, where the terminal or the file can hold them."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a pipe on Windows; half a surrogate pair, too, has no other form
        text = json.dumps(value, indent=1)
    print(text)


def quoted(path: object) -> str:
    """A path as one word of a command line, in every shell."""
    text = str(path)
    return f'"{text}"' if any(character.isspace() for character in text) else text


def print_table(rows: dict[str, Any]) -> None:
    """Print a line for each row: its name, then its value, the thousands of whole numbers apart."""
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value}")


def wrap(text: str) -> str:
    """A text in lines as wide as the terminal, with at most 100 characters."""
    width = min(100, shutil.get_terminal_size().columns)
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())
