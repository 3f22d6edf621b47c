"""A model by its name, its file or its folder, whoever made it."""

from pathlib import Path

from minigpt.config import InputError, nearest
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights import checkpoint, gpt2_layout, pretrained

SMOLLM2 = "smollm2"
NAMES = [*checkpoint.BUNDLED, SMOLLM2, *pretrained.RELEASES]
"""Models that have a name: bundled, brought by pip, downloaded when first asked for."""


def is_foreign(name: str) -> bool:
    """Whether this is a model that others have made: by its name, a .gguf file, a folder in the layout of transformers.

    Of such a model nobody here knows what it was trained on.
    """
    return name == SMOLLM2 or _is_gguf(name) or pretrained.is_gpt2(name)


def _is_gguf(name: str) -> bool:
    return Path(name).suffix.lower() == ".gguf" and Path(name).is_file()


def load_model(name: str = "storyteller") -> tuple[GPT, Tokenizer]:
    """A trained model and its tokenizer, on the CPU, in evaluation mode.

    Args:
        name: "storyteller", which is bundled; "smollm2", which `make lab` brings; gpt2, gpt2-medium, gpt2-large,
            gpt2-xl, which are downloaded once; a run's or a checkpoint's folder; a GGUF file of the Llama kind; a
            folder of a GPT-2 or a Llama in the layout of transformers.

    Raises:
        InputError: when there is nothing of that name, or nothing that can be used.
    """
    # Imported where they are needed: the storyteller should not wait for what reads other people's files.
    if name == SMOLLM2:
        from minigpt.weights.smollm2 import load_smollm2

        return load_smollm2()
    if _is_gguf(name):
        from minigpt.weights.gguf import load_gguf

        return load_gguf(name)
    if pretrained.is_gpt2(name):
        from minigpt.weights.llama import is_llama, load_llama

        return load_llama(name) if is_llama(name) else pretrained.load(name)
    if name not in checkpoint.BUNDLED and not Path(name).exists():
        raise InputError(f"there is no model and no folder called {name!r}; {nearest(name, NAMES)}")
    return checkpoint.load_model(name)


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a model that others have made, without its weights. Errors: `load_model`."""
    from minigpt.weights.gguf import tokenizer_in
    from minigpt.weights.llama import is_llama, read_tokenizer
    from minigpt.weights.smollm2 import checked_path

    if name == SMOLLM2:
        return tokenizer_in(checked_path())
    if _is_gguf(name):
        return tokenizer_in(name)
    return read_tokenizer(Path(name)) if is_llama(name) else pretrained.load_gpt2_tokenizer(name)


def export(model: GPT, tokenizer: Tokenizer, out: str | Path) -> str:
    """Write a model for transformers: in the layout of Llama where it is one, else in GPT-2's. Returns which.

    Raises:
        InputError: as `export_llama` or `export_gpt2`.
    """
    from minigpt.weights.llama import export_llama
    from minigpt.weights.llama_layout import KINDS

    kinds = sum(getattr(model.config, name) == kind for name, kind in KINDS.items())
    if kinds == len(KINDS):
        export_llama(model, tokenizer, out)
        return "Llama"
    if not kinds:
        pretrained.export_gpt2(model, tokenizer, out)
        return "GPT-2"
    gpt2_layout.check_layout(model.config)  # says what is not GPT-2's
    return ""
