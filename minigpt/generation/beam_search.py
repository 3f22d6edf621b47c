"""Beam search: keep the few most probable beginnings, and return the texts that score best. No randomness."""

import math
from dataclasses import dataclass

import torch

from minigpt.config import InputError
from minigpt.generation.decoding import Decoding, check_finite
from minigpt.generation.generate import prompt_problems
from minigpt.model.gpt import GPT


@dataclass(frozen=True)
class Beam:
    """A continuation that beam search found."""

    tokens: list[int]
    """Without prompt and stop token."""
    log_probability: float
    """Of these tokens and the stop token, where there is one, in nats."""
    score: float
    """log_probability / length^length_penalty; the length counts the stop token."""


@torch.inference_mode()
def beam_search(
    model: GPT,
    prompt: list[int],
    max_new_tokens: int,
    *,
    beams: int,
    length_penalty: float = 1.0,
    stop_token: int | None = None,
) -> list[Beam]:
    """Search for the continuations with the best score (Sutskever et al. 2014, section 3.2).

    A longer text has more factors below 1, so probability alone prefers short ones. Dividing its logarithm by a power
    of the length repairs that (Wu et al. 2016, section 7, who divide by (5 + length)^penalty / 6^penalty).

    Each step extends every running beam by every token and looks at the best `beams` of all these: those that end with
    the stop token, or have max_new_tokens, are finished; the best `beams` of the others run on. The search is over when
    no running beam can still beat the worst of `beams` finished ones, whatever comes (`early_stopping="never"` in
    transformers).

    Args:
        model: the model, on any device; its training mode is left as it is.
        prompt: token ids, at least one.
        max_new_tokens: at least 1; prompt and text must fit into the context together.
        beams: how many beginnings to keep; 1 is greedy.
        length_penalty: 0 compares probabilities, 1 the mean per token; larger prefers longer texts.
        stop_token: ends a text.

    Returns:
        at most `beams` different continuations, the best first.

    Raises:
        InputError: listing everything that is wrong with the arguments; or if the logits are not finite.
    """
    problems = prompt_problems(model, [prompt], stop_token)
    room = model.config.context_length - len(prompt) + 1
    if not 1 <= max_new_tokens <= max(1, room):
        problems.append(
            f"max_new_tokens is {max_new_tokens}; with {len(prompt)} tokens of prompt, beam search can write 1 to "
            f"{max(1, room)} (sampling can go on beyond the context)"
        )
    if beams < 1:
        problems.append(f"beams is {beams}; it must be at least 1")
    if not -10 <= length_penalty <= 10:
        problems.append(f"length_penalty is {length_penalty}; it must be between -10 and 10, 0 for none")
    if problems:
        raise InputError("cannot search: " + "; ".join(problems))

    vocab_size = model.config.vocab_size
    decoding = Decoding(model, [prompt], beams, max_new_tokens)
    logits = decoding.prefill()  # (beams, V)
    texts: list[list[int]] = [[] for _ in range(beams)]
    running = torch.full((beams,), -math.inf, dtype=torch.float64, device=logits.device)  # log-probabilities
    running[0] = 0  # at first all beams are the same, so only one of them counts
    finished: list[Beam] = []
    for length in range(1, max_new_tokens + 1):
        check_finite(logits)
        candidates = running[:, None] + logits.double().log_softmax(dim=-1)  # (beams, V)
        # Twice as many as needed: each beam has one candidate that stops, so at least `beams` do not.
        best = candidates.flatten().topk(min(2 * beams, candidates.numel()))
        going = []  # (beam it extends, token, log-probability)
        for rank, (i, log_probability) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
            beam, token = divmod(i, vocab_size)
            stops = token == stop_token
            if stops or length == max_new_tokens:
                if rank < beams and log_probability > -math.inf:
                    tokens = texts[beam] if stops else [*texts[beam], token]
                    finished.append(Beam(tokens, log_probability, log_probability / length**length_penalty))
            else:
                going.append((beam, token, log_probability))
        finished = sorted(finished, key=lambda beam: beam.score, reverse=True)[:beams]
        going = going[:beams]
        if not going:
            break
        # A log-probability can only fall; divided by the longest length there is, it may still look best.
        longest = max_new_tokens if length_penalty > 0 else length
        if len(finished) == beams and going[0][2] / longest**length_penalty <= finished[-1].score:
            break
        decoding.keep([beam for beam, _, _ in going], start=len(prompt))
        texts = [[*texts[beam], token] for beam, token, _ in going]
        tokens_going = torch.tensor([[token] for _, token, _ in going], device=logits.device)  # (beams, 1)
        running = torch.tensor([value for _, _, value in going], dtype=torch.float64, device=logits.device)
        logits = decoding.step(tokens_going)
    return finished
