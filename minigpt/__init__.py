"""A GPT to learn from and to work with: small, typed, tested, fast.

The names of a first hour are here (`minigpt.load_model`, `minigpt.generate`, …); all others live in the rooms, one for
each thing that happens to a text: text, model, generation, weights, evaluation, training.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time a name is imported when it is first asked for
    from minigpt.config import GPTConfig, InputError, TrainConfig, preset
    from minigpt.evaluation.evaluate import evaluate
    from minigpt.generation.generate import generate, stream_text
    from minigpt.model.gpt import GPT
    from minigpt.text.data import load_data
    from minigpt.text.stories import verify
    from minigpt.text.tokenizer import BPETokenizer
    from minigpt.training.trainer import Trainer
    from minigpt.weights.models import load_model

_HOME = {
    "BPETokenizer": "text.tokenizer",
    "GPT": "model.gpt",
    "GPTConfig": "config",
    "InputError": "config",
    "TrainConfig": "config",
    "Trainer": "training.trainer",
    "evaluate": "evaluation.evaluate",
    "generate": "generation.generate",
    "load_data": "text.data",
    "load_model": "weights.models",
    "preset": "config",
    "stream_text": "generation.generate",
    "verify": "text.stories",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """A name of a first hour, from its room (PEP 562): `import minigpt` alone does not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'minigpt' has no attribute {name!r}; it has {', '.join(_HOME)}")
    value = globals()[name] = getattr(import_module(f"minigpt.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    """What tab completion offers."""
    return sorted({*globals(), *_HOME} - {"import_module", "TYPE_CHECKING", "Any"})
