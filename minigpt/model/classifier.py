"""A GPT that tells labels apart: the same blocks, and another output head (Radford et al. 2018, section 3.2).

The label is read where the last real token of a text stands: attention is causal, so only there has all of the text
been seen. What stands there after padding is about padding.
"""

from dataclasses import replace

import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.model.gpt import GPT, empty_model


@torch.no_grad()
def with_labels(model: GPT, n_labels: int, seed: int = 0) -> GPT:
    """A copy of the model with a new output head, drawn from GPT-2's normal(0, 0.02), a row for each label.

    Raises:
        InputError: for fewer than two labels.
    """
    if n_labels < 2:
        raise InputError(f"n_labels is {n_labels}; a classifier tells at least 2 labels apart")
    classifier = empty_model(replace(model.config, n_labels=n_labels, tie_embeddings=False))
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    head = torch.randn(n_labels, model.config.d_model, generator=torch.Generator().manual_seed(seed))
    weights["output_head.weight"] = 0.02 * head.to(weights["output_head.weight"])
    classifier.load_state_dict(weights, assign=True)
    return classifier.train(model.training)


def class_logits(model: GPT, ids: Tensor, lengths: Tensor) -> Tensor:
    """What a classifier says about texts: logits (B, n_labels), read at each row's last real token.

    The length decides which token that is, and never the padding's id, which may be a real token's as well.

    Args:
        model: a classifier.
        ids: (B, T), each row padded at its end.
        lengths: (B,), how many ids of each row are real, 1 to T.

    Raises:
        InputError: for a language model, or lengths that are not those of such rows.
    """
    if not model.config.n_labels:
        raise InputError("the model is a language model and has no labels: make it a classifier with `with_labels`")
    if lengths.shape != ids.shape[:1] or lengths.min() < 1 or lengths.max() > ids.size(1):
        raise InputError(f"lengths are {lengths.tolist()}; each of {len(ids)} rows has 1 to {ids.size(1)} real ids")
    last = model.hidden_states(ids)[torch.arange(len(ids), device=ids.device), lengths - 1]  # (B, d_model)
    logits: Tensor = model.output_head(last)
    return logits
