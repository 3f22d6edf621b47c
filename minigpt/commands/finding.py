"""A model by its name or its folder: its checkpoint, the model itself, its tokenizer."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt.config import InputError, nearest

if TYPE_CHECKING:
    from minigpt.model.gpt import GPT
    from minigpt.text.tokenizer import Tokenizer
    from minigpt.weights.checkpoint import Checkpoint


def find(model: str) -> "Checkpoint":
    """The checkpoint of a model, after a word about newer ones that cannot be used."""
    from minigpt.weights import checkpoint, pretrained

    if model not in checkpoint.BUNDLED and not Path(model).exists():
        known = [*checkpoint.BUNDLED, *pretrained.RELEASES]
        raise InputError(f"there is no model and no folder called {model!r}; {nearest(model, known)}")
    found, problems = checkpoint.find(model)
    for problem in problems:
        print(f"passed over: {problem}", file=sys.stderr)
    if problems:
        print(f"the newest good checkpoint is {str(found.folder)!r}", file=sys.stderr)
    return found


def load(model: str) -> "tuple[GPT, Tokenizer]":
    """A model with its tokenizer: one of ours, or a GPT-2 by name or in the layout of transformers."""
    from minigpt.weights import checkpoint, pretrained

    if pretrained.is_gpt2(model):
        return pretrained.load(model)
    found = find(model)
    return checkpoint.build_model(found), found.tokenizer


def load_tokenizer(model: str) -> "Tokenizer":
    """The tokenizer of a model, or from a file of its own."""
    from minigpt.text import tokenizer
    from minigpt.weights import pretrained

    if Path(model).is_file():
        return tokenizer.load_tokenizer(Path(model))
    return pretrained.load_gpt2_tokenizer(model) if pretrained.is_gpt2(model) else find(model).tokenizer
