"""Writing with the model: from logits to a distribution, from a distribution to a token, token after token."""

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.kv_cache import KVCache
from minigpt.model import GPT


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Logits (B, V) with all but the k largest at minus infinity (Fan et al. 2018).

    Tokens that tie with the k-th stay, so that the result does not depend on the order of the vocabulary.
    """
    kth = logits.topk(k).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < kth, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Logits (B, V) with all but the nucleus at minus infinity (Holtzman et al. 2020, section 3.1).

    The nucleus is the smallest set of most probable tokens whose probabilities sum to at least p.
    """
    ordered, order = logits.sort(descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the more probable tokens hold already
    outside = before >= p  # from the most probable token to the least
    outside = outside.scatter(dim=-1, index=order, src=outside)  # in the vocabulary's order
    return logits.masked_fill(outside, -math.inf)


def distribution(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The probabilities (B, V), float64, from which the next token is drawn.

    First the temperature, then top-k, then top-p. Dividing logits by a temperature below 1 makes probable tokens more
    probable (Ackley et al. 1985; Holtzman et al. 2020, section 3.3); temperature 0 is the limit: all on the largest.

    Args:
        logits: (B, V).
        temperature: 0 or more.
        top_k: keep this many of the most probable tokens, 1 to V.
        top_p: keep the smallest set of tokens that together has this probability, above 0, at most 1.
    """
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.size(-1)).double()
    logits = logits.double()
    # With the largest logit at 0, dividing by a tiny temperature cannot overflow.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    return logits.softmax(dim=-1)


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """One token for each row, by inverting the cumulative distribution.

    Lay the tokens side by side on a line, each as long as its probability, and see which one the number hits.

    Args:
        probabilities: (B, V).
        uniform: (B,), random numbers, at least 0 and below 1.

    Returns:
        token ids (B,).
    """
    line = probabilities.cumsum(dim=-1)  # (B, V): where each token ends
    return torch.searchsorted(line, uniform[:, None] * line[:, -1:], right=True)[:, 0]


def sample(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token id for each row of the logits (B, V), drawn from `distribution`; temperature 0 is greedy."""
    uniform = torch.rand(logits.size(0), dtype=torch.float64, device=logits.device, generator=generator)
    return draw(distribution(logits, temperature, top_k, top_p), uniform)


def generate(
    model: GPT,
    prompt: list[int],
    max_new_tokens: int,
    *,
    num: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int | None = None,
    use_cache: bool = True,
) -> list[list[int]]:
    """Continue a prompt `num` times.

    Sample i depends on the seed and on i alone: not on `num`, max_new_tokens or the cache, nor on when others stop. One
    exception: each of these may change the order of additions and so the last digit of a logit, which can turn a draw
    that was as close as that.

    Text longer than the context: the model reads the last context_length tokens, as a text of their own. Every token
    then stands at another position and gets another position vector, so no cached key is valid any more, and each
    further token costs a pass over the whole window.

    Args:
        model: the model, on any device; its training mode is left as it is.
        prompt: token ids, at least one, at most context_length.
        max_new_tokens: each sample ends after this many tokens, or before its stop token.
        num: how many samples.
        temperature: as for `distribution`; 0 is greedy, and then all samples are the same.
        top_k: as for `distribution`.
        top_p: as for `distribution`.
        stop_token: a sample ends where this token is drawn, which is not part of the result.
        seed: 0 or more; None draws other samples every time.
        use_cache: False computes everything anew for each token: the plain definition, and slow.

    Returns:
        `num` lists of new token ids, without prompt and stop token.

    Raises:
        InputError: listing everything that is wrong with the arguments; or if the logits are not finite.
    """
    task = _Task(model, prompt, max_new_tokens, num, temperature, top_k, top_p, stop_token, seed, use_cache)
    samples: list[list[int]] = [[] for _ in range(num)]
    for new in _steps(task):
        for i, token in new.items():
            samples[i].append(token)
    return samples


def stream(
    model: GPT,
    prompt: list[int],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int | None = None,
    use_cache: bool = True,
) -> Iterator[int]:
    """The tokens of one sample, each as soon as it is drawn. Arguments, errors and tokens are those of `generate`."""
    task = _Task(model, prompt, max_new_tokens, 1, temperature, top_k, top_p, stop_token, seed, use_cache)
    return (new[0] for new in _steps(task))


@dataclass(frozen=True)
class _Task:
    """The arguments of `generate`, checked."""

    model: GPT
    prompt: list[int]
    max_new_tokens: int
    num: int
    temperature: float
    top_k: int | None
    top_p: float | None
    stop_token: int | None
    seed: int | None
    use_cache: bool

    def __post_init__(self) -> None:
        vocab_size, context_length = self.model.config.vocab_size, self.model.config.context_length
        problems = []
        if not self.prompt:
            problems.append("the prompt is empty; give at least one token, for example the one that starts a text")
        if len(self.prompt) > context_length:
            problems.append(
                f"the prompt has {len(self.prompt)} tokens, and the model's context holds {context_length}: "
                f"shorten it, or pass its last {context_length} tokens"
            )
        given = self.prompt if self.stop_token is None else [*self.prompt, self.stop_token]
        unknown = [token for token in given if not 0 <= token < vocab_size]
        if unknown:
            problems.append(
                f"token id {unknown[0]} is not in the vocabulary of {vocab_size} tokens (0 to {vocab_size - 1}): "
                "use the tokenizer that the model was trained with"
            )
        if self.max_new_tokens < 0:
            problems.append(f"max_new_tokens is {self.max_new_tokens}; it must be at least 0")
        if self.num < 1:
            problems.append(f"num is {self.num}; it must be at least 1")
        if not 0 <= self.temperature < math.inf:
            problems.append(f"temperature is {self.temperature}; it must be 0 (greedy) or a positive number")
        if self.top_k is not None and not 1 <= self.top_k <= vocab_size:
            problems.append(f"top_k is {self.top_k}; it must be between 1 and the vocabulary's size, {vocab_size}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.seed is not None and self.seed < 0:
            problems.append(f"seed is {self.seed}; it must be at least 0")
        if problems:
            raise InputError("cannot generate: " + "; ".join(problems))


def _last_logits(model: GPT, ids: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
    """What the model says after the last of ids (B, T): logits (B, V), without dropout."""
    training = model.training
    if training:
        model.eval()
    try:
        logits: Tensor = model.output_head(model.hidden_states(ids, cache, position)[:, -1])
        return logits
    finally:
        if training:
            model.train()


@torch.inference_mode()
def _steps(task: _Task) -> Iterator[dict[int, int]]:
    """For each step, {sample: its new token} for the samples that have not stopped."""
    model, context_length = task.model, task.model.config.context_length
    device, dtype = model.token_embedding.weight.device, model.token_embedding.weight.dtype
    seed = secrets.randbits(64) if task.seed is None else task.seed
    generators = [np.random.default_rng((seed, i)) for i in range(task.num)]  # so that no sample moves another
    cache = KVCache(model.config, task.num, device=device, dtype=dtype) if task.use_cache else None
    cached = 0  # tokens of each row that the cache holds
    ids = torch.tensor([task.prompt], device=device)  # (1, T): the samples share the prompt, so it is read once
    rows = list(range(task.num))  # the sample that each row of the batch belongs to
    stopped: set[int] = set()
    for step in range(task.max_new_tokens):
        if ids.size(1) > context_length:
            cache = None  # from here on, every token moves to another position at every step
        if cache is not None:
            logits = _last_logits(model, ids[:, cached:], cache, cached)  # first the prompt, then one token each step
            cached = ids.size(1)
        else:
            logits = _last_logits(model, ids[:, -context_length:])
        if step == 0 and not logits.isfinite().all():
            raise InputError("the model's logits are not finite: its training has diverged; use an earlier checkpoint")
        probabilities = distribution(logits, task.temperature, task.top_k, task.top_p).expand(len(rows), -1)
        uniform = torch.tensor([generators[i].random() for i in rows], dtype=torch.float64, device=device)
        tokens = draw(probabilities, uniform)  # (len(rows),)
        ids = torch.cat([ids.expand(len(rows), -1), tokens[:, None]], dim=1)
        drawn = dict(zip(rows, tokens.tolist(), strict=True))
        stopped.update(i for i, token in drawn.items() if token == task.stop_token)
        new = {i: token for i, token in drawn.items() if i not in stopped}
        if not new:
            return
        yield new
        if len(new) <= 0.75 * len(rows):  # drop stopped rows, but not at every stop: it copies the cache
            keep = [row for row, i in enumerate(rows) if i in new]
            ids, rows = ids[keep], [rows[row] for row in keep]
            if cache is not None:
                cache.keep(keep, cached)
