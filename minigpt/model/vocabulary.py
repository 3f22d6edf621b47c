"""A trained model gets tokens that it has never seen, such as those of a chat."""

from dataclasses import replace

import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.model.gpt import GPT, empty_model


@torch.no_grad()
def with_more_tokens(model: GPT, vocab_size: int, seed: int = 0) -> GPT:
    """A copy of the model with `vocab_size` tokens; those that it knew keep their rows, bit for bit.

    A new row is the mean of the old ones, so that the new token takes little from the others (Hewitt 2021,
    «Initializing New Word Embeddings for Pretrained Language Models»), plus GPT-2's normal(0, 0.02): without it all
    new tokens would be one. Rows of padding (`pad_vocab`) have never been a token and are drawn anew as well. The rows
    are the same on every processor, so that an adapter knows its base again: they are made in float64 and rounded.

    Raises:
        InputError: when the model has more tokens than that already.
    """
    known = model.config.vocab_size
    if vocab_size < known:
        raise InputError(f"the model has {known} tokens already: a vocab_size of {vocab_size} would take some away")
    grown = empty_model(replace(model.config, vocab_size=vocab_size))
    random = torch.Generator().manual_seed(seed)

    def longer(weight: Tensor) -> Tensor:  # (vocab_size, d_model)
        rows = (grown.config.padded_vocab_size - known, weight.size(1))
        new = weight[:known].double().mean(0) + 0.02 * torch.randn(rows, generator=random, dtype=torch.float64)
        return torch.cat([weight[:known], new.to(weight)])

    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights["token_embedding.weight"] = longer(weights["token_embedding.weight"])
    if not model.config.tie_embeddings and not model.config.n_labels:  # a classifier's head has no rows of tokens
        weights["output_head.weight"] = longer(weights["output_head.weight"])
    elif model.config.tie_embeddings:
        weights["output_head.weight"] = weights["token_embedding.weight"]
    grown.load_state_dict(weights, assign=True)
    if model.config.tie_embeddings:
        grown.output_head.weight = grown.token_embedding.weight
    return grown.train(model.training)
