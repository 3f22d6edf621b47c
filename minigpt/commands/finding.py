"""A model by its name or its folder: its checkpoint, the model itself, its tokenizer, and an adapter beside it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt.config import InputError, nearest

if TYPE_CHECKING:
    from minigpt.model.gpt import GPT
    from minigpt.text.tokenizer import Tokenizer
    from minigpt.weights.checkpoint import Checkpoint


def find(model: str) -> "Checkpoint":
    """The checkpoint of a model, after a word about newer ones that cannot be used."""
    from minigpt.weights import checkpoint, models

    if model not in checkpoint.BUNDLED and not Path(model).exists():
        raise InputError(f"there is no model and no folder called {model!r}; {nearest(model, models.NAMES)}")
    found, problems = checkpoint.find(model)
    for problem in problems:
        print(f"passed over: {problem}", file=sys.stderr)
    if problems:
        print(f"the newest good checkpoint is {str(found.folder)!r}", file=sys.stderr)
    return found


def load(model: str, adapter: Path | None = None) -> "tuple[GPT, Tokenizer]":
    """A model with its tokenizer: one of ours, or somebody else's; see `minigpt.weights.models.load_model`.

    An adapter's file is merged into it.
    """
    loaded, used, _ = load_with_data(model, adapter)
    return loaded, used


def load_with_data(model: str, adapter: Path | None = None) -> "tuple[GPT, Tokenizer, dict[str, Any]]":
    """As `load`, and what the model, or the adapter, was trained on: the spec of its data, {} where nobody knows."""
    from minigpt.model.lora import merged
    from minigpt.weights import checkpoint, models
    from minigpt.weights.adapter import adapter_data, load_adapter

    loaded: GPT
    used: Tokenizer
    spec: dict[str, Any]
    if models.is_foreign(model):
        loaded, used, spec = *models.load_model(model), {}
    else:
        found = find(model)
        loaded, used, spec = checkpoint.build_model(found), found.tokenizer, found.run.get("data", {})
    if adapter is not None:
        spec = adapter_data(adapter)
        if spec.get("format") == "chats":
            loaded, used = with_chat_tokens(loaded, used, chinese=spec.get("chinese", False))
        loaded = merged(load_adapter(adapter, loaded))
    if spec.get("format") == "pairs":  # they say nothing about right answers; the task that they were made of does
        spec = {"name": spec["task"], "format": "chats"} if "task" in spec else {}
    return loaded, used, spec


def with_chat_tokens(model: "GPT", tokenizer: "Tokenizer", *, chinese: bool = False) -> "tuple[GPT, Tokenizer]":
    """A model and its tokenizer with the tokens of a chat, always the same; as they are where they have them.

    With `chinese`, also with those of `add_chinese_tokens`.
    """
    from minigpt.model.vocabulary import with_more_tokens
    from minigpt.text.chat import add_chat_tokens
    from minigpt.text.chinese import add_chinese_tokens

    tokenizer = add_chat_tokens(tokenizer)
    if chinese:
        tokenizer = add_chinese_tokens(tokenizer)
    if model.config.vocab_size < tokenizer.vocab_size:
        model = with_more_tokens(model, tokenizer.vocab_size)
    return model, tokenizer


def load_tokenizer(model: str) -> "Tokenizer":
    """The tokenizer of a model, or from a file of its own."""
    from minigpt.text import tokenizer
    from minigpt.weights import models

    if models.is_foreign(model):
        return models.load_tokenizer(model)
    if Path(model).is_file():
        return tokenizer.load_tokenizer(Path(model))
    return find(model).tokenizer
