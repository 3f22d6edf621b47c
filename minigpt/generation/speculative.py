"""Speculative decoding: a draft guesses some tokens, the model checks them in one pass, and the text is the model's.

Leviathan, Kalman and Matias 2023, «Fast Inference from Transformers via Speculative Decoding» (section 2.3; proof in
appendix A.1). One pass over a few tokens takes far less time than as many passes over one, because they share the
fetch of the weights. What is accepted follows the model's distribution exactly, however bad the guesses are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.generation.generate import distribution, draw, prompt_problems
from minigpt.model.gpt import GPT
from minigpt.model.kv_cache import KVCache

Draft = Callable[[list[int]], Tensor]
"""From all ids so far the probabilities (V,), float64, of the next token: a table, or a small model's `Reader.next`."""


def accept(p: Tensor, q: Tensor, guesses: Sequence[int], uniform: Tensor) -> list[int]:
    """The tokens that one pass adds: the guesses up to the first that is refused, then one of the model's own.

    A guess x is accepted with probability min(1, p(x) / q(x)). In the place of a refused one comes a token drawn from
    what p has more than q; behind the last, where all were accepted, one drawn from p.

    Args:
        p: (K + 1, V), the model's distribution at the place of each guess, and behind the last.
        q: (K, V), the distribution that each guess was drawn from.
        guesses: K tokens.
        uniform: (K + 1,), random numbers, at least 0 and below 1: one for each guess, and one for the last token.

    Returns:
        1 to K + 1 tokens.
    """
    for i, guess in enumerate(guesses):
        if uniform[i] * q[i, guess] >= p[i, guess]:
            more = (p[i] - q[i]).clamp(min=0)  # (V,); `draw` divides by its sum
            return [*guesses[:i], int(draw(more[None], uniform[-1:]))]
    return [*guesses, int(draw(p[-1:], uniform[-1:]))]


class Reader:
    """A model that keeps what it has computed: of a text that begins as the last one did, only the rest is read.

    Args:
        model: the model.
        temperature, top_k, top_p: as for `distribution`.
    """

    def __init__(
        self, model: GPT, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
    ) -> None:
        weight = model.final_norm.weight
        self.model, self.options = model, (temperature, top_k, top_p)
        self.cache = KVCache(model.config, 1, device=weight.device, dtype=weight.dtype)
        self.read: list[int] = []

    @torch.inference_mode()
    def last(self, ids: list[int], n: int) -> Tensor:
        """The distributions (n, V) of what comes after each of the last n of ids, in one pass."""
        same = 0
        while same < min(len(ids) - n, len(self.read)) and ids[same] == self.read[same]:
            same += 1
        self.read = ids[:]
        training = self.model.training
        self.model.eval()
        try:
            new = torch.tensor([ids[same:]], device=self.cache.keys.device)  # (1, T)
            states = self.model.hidden_states(new, self.cache, same)[0, -n:]
            logits = self.model.output_head(states)[:, : self.model.config.vocab_size]
        finally:
            self.model.train(training)
        return distribution(logits.cpu(), *self.options)

    def next(self, ids: list[int]) -> Tensor:
        """The probabilities (V,) of the next token: a `Draft`."""
        return self.last(ids, 1)[0]


@dataclass
class Speculation:
    """A text written with guesses, and how good these were."""

    tokens: list[int]
    """Without prompt and stop token."""
    passes: int
    """Of the model, the one that reads the prompt among them."""
    judged: int
    """Guesses that were accepted or refused; those behind a refused one are not."""
    accepted: int
    overlap: float
    """How many of the judged should be accepted on average: for each, the sum of min(p, q) over all tokens, which is
    1 less the total variation distance of p and q (corollary 3.6)."""


def speculate(
    model: GPT,
    draft: Draft,
    prompt: list[int],
    max_new_tokens: int,
    *,
    guesses: int = 4,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int = 0,
) -> Speculation:
    """Continue a prompt as `generate` would: the same distribution of texts, in fewer passes.

    Args:
        model: the one whose text is wanted.
        draft: guesses; with the same vocabulary, at any temperature.
        prompt: token ids, at least one; with max_new_tokens at most as many as the context holds.
        max_new_tokens: the text ends after so many, or before the stop token.
        guesses: K, how many tokens are guessed before each pass; 0 is plain decoding.
        temperature, top_k, top_p: as for `distribution`, of the model.
        stop_token: ends the text and is not part of it.
        seed: of all draws.

    Raises:
        InputError: for a prompt that `generate` would refuse, or a text that could outgrow the context.
    """
    problems = prompt_problems(model, [prompt], stop_token)
    if guesses < 0:
        problems.append(f"guesses is {guesses}; it must be at least 0")
    if len(prompt) + max_new_tokens > model.config.context_length:
        problems.append(
            f"the prompt has {len(prompt)} tokens and may grow by {max_new_tokens}, and the model's context holds "
            f"{model.config.context_length}: ask for fewer"
        )
    if problems:
        raise InputError("cannot generate: " + "; ".join(problems))
    reader, generator = Reader(model, temperature, top_k, top_p), np.random.default_rng(seed)
    ids, end, told = prompt[:], len(prompt) + max_new_tokens, Speculation([], 0, 0, 0, 0.0)
    while len(ids) < end and (len(ids) == len(prompt) or ids[-1] != stop_token):
        guessed: list[int] = []
        drafted: list[Tensor] = []
        for _ in range(min(guesses, end - len(ids) - 1)):  # the pass adds one more
            drafted.append(draft(ids + guessed))
            guessed.append(int(draw(drafted[-1][None], torch.tensor([generator.random()], dtype=torch.float64))))
            if guessed[-1] == stop_token:
                break
        p = reader.last(ids + guessed, len(guessed) + 1)  # (K + 1, V)
        q = torch.stack(drafted) if drafted else p[:0]
        new = accept(p, q, guessed, torch.tensor(generator.random(len(guessed) + 1)))
        judged = min(len(new), len(guessed))
        told.passes += 1
        told.judged += judged
        told.accepted += len(new) - 1
        told.overlap += torch.minimum(p[:judged], q[:judged]).sum().item()
        if stop_token in new:
            new = new[: new.index(stop_token) + 1]
        ids += new
    told.tokens = ids[len(prompt) :]
    if stop_token is not None and told.tokens[-1:] == [stop_token]:
        told.tokens.pop()
    return told
