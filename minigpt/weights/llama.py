"""Folders of Llama-like models in Hugging Face's layout, in and out; what stands in them is in `llama_layout.py`."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from minigpt.config import fit_vocabulary
from minigpt.model.gpt import GPT, holding, parameter_count
from minigpt.model.lora import merged
from minigpt.runtime import keep_freed_memory
from minigpt.text.tokenizer import CharTokenizer, ForeignTokenizer, Tokenizer
from minigpt.weights import gguf, llama_layout, pretrained
from minigpt.weights.tokenizer_json import from_tokenizer_json, to_tokenizer_files

PART_BYTES = 5 * 10**9
"""Of a file of weights; a larger model has several, as transformers writes them."""


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def is_llama(folder: str | Path) -> bool:
    """Whether a folder's config.json says that it is a Llama."""
    try:
        return bool(_json(Path(folder) / "config.json").get("model_type") == "llama")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False


def load_llama(folder: str | Path) -> tuple[GPT, ForeignTokenizer]:
    """The model of a folder and its tokenizer, on the CPU, in evaluation mode.

    Raises:
        InputError: if a file is missing or damaged, the model is not one of ours, its tokenizer works in another way,
            or its weights need more memory than there is, before it is taken.
    """
    keep_freed_memory()
    folder = Path(folder)
    with pretrained.reading(folder / "config.json"):
        config = llama_layout.from_llama_config(_json(folder / "config.json"))
    tokenizer = read_tokenizer(folder)
    with pretrained.reading(folder):
        config = fit_vocabulary(config, tokenizer.vocab_size)
        gguf.check_memory(4 * parameter_count(config))
    tensors = pretrained.read_tensors(folder)
    with pretrained.reading(folder):
        return holding(config, llama_layout.from_llama(tensors, config)), tokenizer


def read_tokenizer(folder: Path) -> ForeignTokenizer:
    """The tokenizer of a folder, whose chat template may stand in a file of its own. Errors: `load_llama`."""
    settings: dict[str, Any] = {}
    if (path := folder / "tokenizer_config.json").exists():
        with pretrained.reading(path):
            settings = dict(_json(path))
    if (path := folder / "chat_template.jinja").exists():
        with pretrained.reading(path):
            settings["chat_template"] = path.read_text(encoding="utf-8")
    with pretrained.reading(folder / "tokenizer.json"):
        return from_tokenizer_json(_json(folder / "tokenizer.json"), settings)


def export_llama(model: GPT, tokenizer: Tokenizer, out: str | Path, part_bytes: int = PART_BYTES) -> None:
    """Write a folder that `load_llama` reads, and transformers' AutoModelForCausalLM and AutoTokenizer.

    A CharTokenizer is left out: transformers has nothing like it.

    Args:
        model: on any device; its numbers are written as they are, adapters merged.
        tokenizer: the model's.
        out: a folder that is not there yet, or empty. It appears when it is complete.
        part_bytes: the most bytes in a file of weights, one tensor at least.

    Raises:
        InputError: for a model that is no Llama, if there is something at `out`, or if it cannot be written.
    """
    model = merged(model)
    ends = tokenizer.end_of_turn if isinstance(tokenizer, ForeignTokenizer) else None
    end = tokenizer.special_tokens[ends] if ends else tokenizer.end_of_text
    config = llama_layout.to_llama_config(model.config, tokenizer.end_of_text, end)
    files = {"config.json": json.dumps(config, indent=1)}
    if not isinstance(tokenizer, CharTokenizer):
        files |= to_tokenizer_files(tokenizer, model.config.context_length)
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in llama_layout.to_llama(model).items():
        size += tensor.nbytes
        if size > part_bytes and parts[-1]:
            parts.append({})
            size = tensor.nbytes
        parts[-1][name] = tensor
    n = len(parts)
    names = ["model.safetensors"] if n == 1 else [f"model-{i:05}-of-{n:05}.safetensors" for i in range(1, n + 1)]
    if n > 1:
        total = sum(tensor.nbytes for part in parts for tensor in part.values())
        places = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        files["model.safetensors.index.json"] = json.dumps(index, indent=1)
    pretrained.write_folder(out, dict(zip(names, parts, strict=True)), files)
