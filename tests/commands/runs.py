"""What the small runs are made of that the commands are tested with."""

from collections.abc import Callable

TEXT = "the cat sat on the mat, and the dog sat on the log. " * 40
SMALL = ["--d-model", "16", "--n-layers", "1", "--threads", "1", "--precision", "float32", "--warmup-steps", "2"]
TEXT_RUN = ["--preset", "tiny", "--tokenizer", "char", "--context-length", "16", *SMALL]

Call = Callable[..., tuple[int, str, str]]
"""Runs a command: exit status, stdout, stderr."""
