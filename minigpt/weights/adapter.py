"""An adapter in a file of its own: small, and of use only beside the model that it was trained on.

A safetensors file holds the matrices A and B. Its metadata hold a rank, an alpha, the kinds of matrices, what data they
were trained on, the SHA-256 of the base model's weights, and one of all that the file says.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from minigpt.config import InputError
from minigpt.model.gpt import GPT
from minigpt.model.lora import LoRALinear, adapter_state, adapters, base_state, with_adapters

FORMAT = "minigpt adapter 1"


def _sha256(tensors: dict[str, Tensor], said: str = "") -> str:
    """Of names, shapes, types and numbers, in the order of the names, after what is said in words."""
    digest = hashlib.sha256(said.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(model: GPT) -> str:
    """SHA-256 of a model's weights; those of its adapters, if it has any, do not count."""
    state = base_state(model)
    if model.config.tie_embeddings:
        del state["output_head.weight"]
    return _sha256(state)


def save_adapter(path: Path, model: GPT, data: dict[str, Any] | None = None) -> None:
    """Write the adapters of a model to a file, whole or not at all.

    Args:
        path: of the file.
        model: one with adapters.
        data: what they were trained on, as the `spec` of the data says it.

    Raises:
        InputError: for a model without adapters or that has learned more than adapters, or when the file cannot be
            written; what was there before is untouched.
    """
    found, state = adapters(model), adapter_state(model)
    if not found:
        raise InputError("the model has no adapters to save: train it with lora, or save it as a checkpoint")
    if more := [name for name, p in model.named_parameters() if p.requires_grad and name not in state]:
        raise InputError(
            f"beside its adapters the model has learned {more[0]}, as a classifier's head: save it as a checkpoint, "
            "which holds all of it"
        )
    layer = model.get_submodule(found[0].name)
    assert isinstance(layer, LoRALinear)
    said: dict[str, Any] = {
        "rank": found[0].rank,
        "alpha": layer.scale * found[0].rank,
        "on": list(dict.fromkeys(adapter.matrix for adapter in found)),
        "base": fingerprint(model),
        "data": data or {},
    }
    text = json.dumps(said)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(tensors, unfinished, {"format": FORMAT, "adapter": text, "sha256": _sha256(tensors, text)})
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the adapter {str(path)!r} could not be written ({error}): make room, or choose another place"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the metadata of a file say, and the matrices."""
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"there is no adapter {str(path)!r}") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"the adapter {str(path)!r} is damaged or no safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{str(path)!r} is no adapter that this minigpt can read: its format is {metadata.get('format')!r}, not "
            f"{FORMAT!r}"
        )
    text = metadata.get("adapter", "")
    if metadata.get("sha256") != _sha256(tensors, text):
        raise InputError(f"the adapter {str(path)!r} was changed since it was written: take another copy of it")
    said: dict[str, Any] = json.loads(text)
    return said, tensors


def adapter_data(path: Path) -> dict[str, Any]:
    """What the adapter in a file was trained on, as a run's data say it; {} where that is not known.

    Raises:
        InputError: for a file that cannot be read, was changed, or holds no adapter.
    """
    data: dict[str, Any] = _read(path)[0]["data"]
    return data


def load_adapter(path: Path, base: GPT) -> GPT:
    """The base model with the adapters of a file; it shares the base's weights and is in evaluation mode.

    `minigpt.model.lora.merged` makes a plain model of it.

    Raises:
        InputError: for a file that cannot be read, was changed, or holds no adapter; and for a base model with other
            weights than those that the adapter was trained beside.
    """
    said, tensors = _read(path)
    if (own := fingerprint(base)) != said["base"]:
        raise InputError(
            f"the adapter {str(path)!r} belongs to another base model: to one whose weights have the SHA-256 "
            f"{said['base'][:12]}…, and this model's have {own[:12]}…. Load it beside the model that it was trained on"
        )
    adapted = with_adapters(base, said["rank"], said["alpha"], said["on"])
    adapted.load_state_dict(tensors, strict=False)
    return adapted.eval()
