"""The loss of a text that is longer than the context: windows that overlap, each token scored once."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import InputError
from minigpt.generation.decoding import check_finite
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import Tokenizer

AT_ONCE = 512
"""Tokens whose logits are held at once."""


@torch.no_grad()
def rolling_log_likelihoods(model: GPT, ids: list[int], start: int, context: int | None = None) -> Tensor:
    """ln P of each token of a text, in order: (T,) in float64, without dropout.

    Each token is scored once, and sees at least `context` tokens before it, where the text has so many. More context
    costs more windows and makes the loss smaller: without the number, a perplexity says little. With `context` 1 it is
    what `lm-eval` calls rolling; with the whole context_length each token has a window of its own, which slides.

    Args:
        model: the model.
        ids: of the text.
        start: the token that stands before it, as a rule the end-of-text token.
        context: from 1 to the model's context_length. Default: half of it.

    Raises:
        InputError: for a context out of range, a classifier, or logits that are not finite.
    """
    room = model.config.context_length
    context = max(1, room // 2) if context is None else context
    if not 1 <= context <= room:
        raise InputError(f"context is {context}; it must be from 1 to the model's context length, {room}")
    if model.config.n_labels:
        raise InputError(f"this model tells {model.config.n_labels} labels apart and has no next token: take another")
    device = model.token_embedding.weight.device
    text = [start, *ids]
    training = model.training
    model.eval()
    found: list[Tensor] = []
    scored = 0
    while scored < len(ids):
        # The window ends behind the last token that it scores, and begins as early as the context allows.
        end = min(len(ids), scored + (room - context + 1 if scored else room))
        begin = max(0, end - room)
        states = model.hidden_states(torch.tensor([text[begin:end]], device=device))[0, scored - begin :]
        targets = torch.tensor(ids[scored:end], device=device)
        # Part by part: the logits of a context of 8,192 tokens and 49,152 words would take 1.6 GB.
        for part, expected in zip(states.split(AT_ONCE), targets.split(AT_ONCE), strict=True):
            logits = model.output_head(part)[:, : model.config.vocab_size]
            check_finite(logits)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            found.append(-F.cross_entropy(logits, expected, reduction="none").double().cpu())
        scored = end
    model.train(training)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def text_bits_per_byte(model: GPT, tokenizer: Tokenizer, text: str, context: int | None = None) -> float:
    """Bits that a model needs for each byte of a text: what may be compared between tokenizers.

    The tokens' losses are added up and divided by the bytes of the text, not of the tokens: a tokenizer with longer
    tokens has fewer and larger losses, and the same text. The end of the text is not scored.

    Args:
        model: the model.
        tokenizer: which belongs to it.
        text: not empty.
        context: as of `rolling_log_likelihoods`.

    Raises:
        InputError: as there, and for an empty text or a tokenizer without an end-of-text token to stand before it.
    """
    if not text:
        raise InputError("the text is empty, so it has no bytes to divide by: give a text")
    if tokenizer.end_of_text is None:
        raise InputError("this tokenizer has no end-of-text token, so nothing stands before the first token")
    found = rolling_log_likelihoods(model, tokenizer.encode(text), tokenizer.end_of_text, context)
    return -found.sum().item() / math.log(2) / len(text.encode())
