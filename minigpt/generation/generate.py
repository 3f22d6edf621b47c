"""Writing with the model: from logits to a distribution, from a distribution to a token, token after token."""

import codecs
import math
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Integral
from typing import TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.generation.decoding import Decoding, check_finite, last_logits
from minigpt.generation.recorded import records
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import CharTokenizer, Tokenizer

MOST_TOKENS = 2**27
"""In one call, all texts together: their random numbers are drawn ahead, and take a gibibyte."""

CHECK_EVERY = 16
"""Steps between two looks at which texts have ended, on a GPU: it would otherwise wait for the host at each token."""


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
    probabilities = ordered.double().softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the more probable tokens hold already
    outside = before >= p - 1e-6 * (1 - p)  # from the most probable down; a rounded p is p
    outside = outside.scatter(dim=-1, index=order, src=outside)  # in the vocabulary's order
    return logits.masked_fill(outside, -math.inf)


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (B, V) in which tokens that the text has already are less probable (Keskar et al. 2019, section 4.1).

    Of the tokens where seen (B, V) is True, positive logits are divided by the penalty, negative ones multiplied (the
    paper divides both, which makes the negative ones more probable). Above 1 it discourages, 1 changes nothing.
    """
    return logits.where(~seen, torch.where(logits > 0, logits / penalty, logits * penalty))


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
        probabilities: (B, V), or numbers in proportion to them.
        uniform: (B,), random numbers, at least 0 and below 1.

    Returns:
        token ids (B,).
    """
    line = probabilities.cumsum(dim=-1)  # (B, V): where each token ends
    return torch.searchsorted(line, uniform[:, None] * line[:, -1:], right=True)[:, 0]


class Options(TypedDict, total=False):
    """How tokens are chosen, and how that is computed; see `generate`."""

    temperature: float
    top_k: int | None
    top_p: float | None
    repetition_penalty: float
    stop_token: int | None
    seed: int | list[int] | None
    use_cache: bool
    compile: bool


def generate(
    model: GPT, prompt: list[int], max_new_tokens: int, *, num: int = 1, **options: Unpack[Options]
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
        **options: all have a default.
            temperature (1): as for `distribution`; 0 is greedy, and then all samples are the same.
            top_k (None): as for `distribution`.
            top_p (None): as for `distribution`.
            repetition_penalty (1): as for `penalise_repetition`, for all tokens of the prompt and the text.
            stop_token (None): a sample ends where this token is drawn, which is not part of the result.
            seed (None): 0 or more, of several prompts one for all or one for each; None draws other samples every time.
            use_cache (True): False computes everything anew for each token: the plain definition, and slow.
            compile (False): translate the decoding step with torch.compile; see `Decoding`.

    Returns:
        `num` lists of new token ids, without prompt and stop token.

    Raises:
        InputError: listing everything that is wrong with the arguments; or if the logits are not finite.
    """
    (samples,) = generate_batch(model, [prompt], max_new_tokens, num=num, **options)
    return [sample.tokens for sample in samples]


@dataclass
class Sample:
    """A continuation of a prompt."""

    tokens: list[int] = field(default_factory=list)
    """Without prompt and stop token."""
    log_probabilities: list[float] = field(default_factory=list)
    """Of each token, and last of the stop token if it came: in nats, as the model has them, which is before repetition
    penalty, temperature, top-k and top-p. Their sum is the log-probability of the text."""


def generate_batch(
    model: GPT, prompts: list[list[int]], max_new_tokens: int, *, num: int = 1, **options: Unpack[Options]
) -> list[list[Sample]]:
    """Continue each of several prompts `num` times: for each prompt what `generate` would give for it alone.

    Prompts of any lengths are written together, except where a text could outgrow the context: then only prompts of
    equal length are. Arguments and errors are those of `generate`. With one seed, equal prompts get equal samples.
    """
    task = _Task(model, prompts, max_new_tokens, num, **options)
    samples = [[Sample() for _ in range(num)] for _ in prompts]
    lengths = [len(prompt) for prompt in prompts]
    groups = [list(range(len(prompts)))]  # of prompts that are written together
    if not task.use_cache or max(lengths) + max_new_tokens - 1 > model.config.context_length:
        groups = [[i for i, n in enumerate(lengths) if n == length] for length in sorted(set(lengths))]
    seeds = task.seeds()
    for group in groups:
        texts, filled = [prompts[i] for i in group], [sample for i in group for sample in samples[i]]
        for _ in _steps(task, texts, filled, seeds=[seeds[i] for i in group]):
            pass
    return samples


def stream(model: GPT, prompt: list[int], max_new_tokens: int, **options: Unpack[Options]) -> Iterator[int]:
    """The tokens of one sample, each as soon as it is drawn. Arguments, errors and tokens are those of `generate`."""
    task = _Task(model, [prompt], max_new_tokens, 1, **options)

    def tokens() -> Iterator[int]:
        sample = Sample()
        for step, _ in enumerate(_steps(task, [prompt], [sample], check_every=1)):
            yield from sample.tokens[step:]

    return tokens()


class TextOfTokens:
    """The text of tokens that come one by one, whole characters only.

    A token is a piece of bytes and may end within a character of UTF-8; its beginning then waits for the rest. Joined,
    the pieces are what the tokenizer's `decode` makes of all tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        """What can be told with one more token, which may be nothing."""
        if isinstance(self.tokenizer, CharTokenizer):
            return self.decoder.decode(self.tokenizer.decode([token]).encode())
        return self.decoder.decode(self.tokenizer.token_bytes(token))

    def end(self) -> str:
        """What is left."""
        return self.decoder.decode(b"", final=True)


def stream_text(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """The text of tokens piece by piece: `stream_text(stream(model, …), tokenizer)`; see `TextOfTokens`."""
    text = TextOfTokens(tokenizer)
    for token in tokens:
        if piece := text.add(token):
            yield piece
    if piece := text.end():
        yield piece


def prompt_problems(model: GPT, prompts: list[list[int]], stop_token: int | None) -> list[str]:
    """What is wrong with prompts and a stop token, in words."""
    if model.config.n_labels:
        return [f"the model is a classifier with {model.config.n_labels} labels and has no next token: ask it for a "
                "label (`class_logits`), or take the language model that it was made from"]  # fmt: skip
    vocab_size, context_length = model.config.vocab_size, model.config.context_length
    if not all(isinstance(prompt, list) and all(isinstance(token, Integral) for token in prompt) for prompt in prompts):
        return ["a prompt must be a list of token ids, as tokenizer.encode(text) and tensor.tolist() give"]
    problems = [] if prompts else ["there is no prompt; give at least one"]
    for i, prompt in enumerate(prompts):
        the_prompt = "the prompt" if len(prompts) == 1 else f"prompt {i}"
        if not prompt:
            problems.append(f"{the_prompt} is empty; give at least one token, for example the one that starts a text")
        if len(prompt) > context_length:
            problems.append(
                f"{the_prompt} has {len(prompt)} tokens, and the model's context holds {context_length}: "
                f"shorten it, or pass its last {context_length} tokens"
            )
    given = [token for prompt in prompts for token in prompt] + ([] if stop_token is None else [stop_token])
    if unknown := [token for token in given if not 0 <= token < vocab_size]:
        problems.append(
            f"token id {unknown[0]} is not in the vocabulary of {vocab_size} tokens (0 to {vocab_size - 1}): "
            "use the tokenizer that the model was trained with"
        )
    return problems


@dataclass(frozen=True)
class _Task:
    """The arguments of `generate`, checked."""

    model: GPT
    prompts: list[list[int]]
    max_new_tokens: int
    num: int = 1
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    stop_token: int | None = None
    seed: int | list[int] | None = None
    use_cache: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        vocab_size = self.model.config.vocab_size
        problems = prompt_problems(self.model, self.prompts, self.stop_token)
        if self.max_new_tokens < 0:
            problems.append(f"max_new_tokens is {self.max_new_tokens}; it must be at least 0")
        if self.num < 1:
            problems.append(f"num is {self.num}; it must be at least 1")
        tokens = len(self.prompts) * self.num * self.max_new_tokens
        if tokens > MOST_TOKENS:
            problems.append(
                f"num {self.num} and max_new_tokens {self.max_new_tokens} ask for {tokens:,} tokens in one call; "
                f"it gives at most {MOST_TOKENS:,}: ask for fewer, several times"
            )
        if not 0 <= self.temperature < math.inf:
            problems.append(f"temperature is {self.temperature}; it must be 0 (greedy) or a positive number")
        if self.top_k is not None and not 1 <= self.top_k <= vocab_size:
            problems.append(f"top_k is {self.top_k}; it must be between 1 and the vocabulary's size, {vocab_size}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if not 0 < self.repetition_penalty < math.inf:
            problems.append(
                f"repetition_penalty is {self.repetition_penalty}; it must be a positive number, 1 for none"
            )
        seeds = self.seed if isinstance(self.seed, list) else [] if self.seed is None else [self.seed]
        problems += [f"seed is {seed}; it must be at least 0" for seed in seeds if seed < 0][:1]
        if isinstance(self.seed, list) and len(seeds) != len(self.prompts):
            problems.append(f"there are {len(seeds)} seeds for {len(self.prompts)} prompts; give one for each")
        if problems:
            raise InputError("cannot generate: " + "; ".join(problems))

    @property
    def as_it_is(self) -> bool:
        """Whether tokens are drawn from the model's own distribution."""
        return (self.temperature, self.top_k, self.top_p, self.repetition_penalty) == (1.0, None, None, 1.0)

    def seeds(self) -> list[int]:
        """One for each prompt."""
        if isinstance(self.seed, list):
            return self.seed
        return [secrets.randbits(64) if self.seed is None else self.seed for _ in self.prompts]


class _Rows:
    """Samples that are written together, one in each row, and what choosing their next tokens takes."""

    def __init__(
        self, task: _Task, prompts: list[list[int]], samples: list[Sample], seeds: list[int] | None = None
    ) -> None:
        self.task, self.samples = task, samples
        device, longest = task.model.token_embedding.weight.device, max(map(len, prompts))
        texts = [prompt for prompt in prompts for _ in range(task.num)]
        self.ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts], device=device)
        self.log_probabilities: list[Tensor] = []  # of the tokens that no sample has yet: (B, 1) each
        # All random numbers are drawn ahead, so that no step waits for them; from a generator for each sample, so that
        # none moves another.
        generators = [np.random.default_rng((seed, i)) for seed in seeds or task.seeds() for i in range(task.num)]
        uniform = np.stack([generator.random(task.max_new_tokens) for generator in generators])
        self.uniform = torch.tensor(uniform, device=device)  # (B, max_new_tokens)
        self.stopped = [False] * len(texts)
        self.seen: Tensor | None = None  # (B, V): which tokens a text has
        if task.repetition_penalty != 1:
            self.seen = torch.zeros(len(texts), task.model.config.vocab_size, dtype=torch.bool, device=device)
            for row, text in enumerate(texts):
                self.seen[row, text] = True

    def write(self, logits: Tensor, step: int) -> None:
        """Choose the next token of each row; nothing here waits for a GPU."""
        task = self.task
        # Nobody reads more digits of a log-probability than float32 has, and float64 takes longer.
        log_weights = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_weights = log_weights - log_weights.amax(dim=-1, keepdim=True)
        weights = log_weights.exp()  # (B, V), in proportion to the probabilities
        if self.seen is not None:
            logits = penalise_repetition(logits, self.seen, task.repetition_penalty)
        if task.temperature == 0:
            tokens = logits.argmax(dim=-1)  # (B,); what `distribution` and `draw` would find, sooner
        elif task.as_it_is:
            # In float32 the improbable ones at the end of the line would share a place. Many GPUs are slow in float64.
            tokens = draw(weights.double() if weights.is_cpu else weights, self.uniform[:, step])
        else:
            tokens = draw(distribution(logits, task.temperature, task.top_k, task.top_p), self.uniform[:, step])
        # Only logits that are not numbers lead out of the vocabulary; `hand_out` tells.
        tokens = tokens[:, None].clamp(max=logits.size(-1) - 1)
        if self.seen is not None:
            self.seen.scatter_(1, tokens, True)
        self.ids = torch.cat([self.ids, tokens], dim=1)
        self.log_probabilities.append(log_weights.gather(1, tokens) - weights.sum(dim=-1, keepdim=True).log())

    def one_stopped(self) -> bool:
        """Whether a row has just drawn its stop token."""
        return self.task.stop_token is not None and self.task.stop_token in self.ids[:, -1].tolist()

    def hand_out(self) -> list[int]:
        """Give the samples what was written since the last time; return the rows that have not stopped."""
        new = self.ids[:, -len(self.log_probabilities) :].tolist()
        found = torch.cat(self.log_probabilities, dim=1)
        check_finite(found)
        log_probabilities, self.log_probabilities = found.tolist(), []
        for row, (sample, tokens) in enumerate(zip(self.samples, new, strict=True)):
            if not self.stopped[row]:
                self.stopped[row] = self.task.stop_token in tokens
                n = tokens.index(self.task.stop_token) if self.stopped[row] else len(tokens)
                sample.tokens += tokens[:n]
                sample.log_probabilities += log_probabilities[row][: n + 1]
        return [row for row, stopped in enumerate(self.stopped) if not stopped]

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows."""
        self.ids, self.uniform = self.ids[rows], self.uniform[rows]
        self.samples = [self.samples[row] for row in rows]
        self.stopped = [False] * len(rows)
        if self.seen is not None:
            self.seen = self.seen[rows]


def closed_up(rows: list[int]) -> list[int]:
    """These rows, in an order in which as many as can be keep their places, so that few have to be moved."""
    late = iter([row for row in rows if row >= len(rows)])
    early = {row for row in rows if row < len(rows)}
    return [place if place in early else next(late) for place in range(len(rows))]


@torch.inference_mode()
def _steps(
    task: _Task,
    prompts: list[list[int]],
    samples: list[Sample],
    check_every: int | None = None,
    seeds: list[int] | None = None,
) -> Iterator[None]:
    """Fill the samples; a pause after each time that they have grown.

    That is every `check_every` steps; by default whenever a text has ended, which a GPU asks every CHECK_EVERY steps.
    """
    rows, model = _Rows(task, prompts, samples, seeds), task.model
    if check_every is None and rows.ids.device.type != "cpu":
        check_every = CHECK_EVERY if task.stop_token is not None else task.max_new_tokens
    decoding = None
    if task.use_cache:
        decoding = Decoding(model, prompts, task.num, task.max_new_tokens, compile=task.compile)
    for step in range(task.max_new_tokens):
        if rows.ids.size(1) > model.config.context_length:
            decoding = None  # from here on, every token moves to another position at every step
        if decoding is None:
            logits = last_logits(model, rows.ids[:, -model.config.context_length :])
        else:
            logits = decoding.step(rows.ids[:, -1:]) if step else decoding.prefill()
        rows.write(logits, step)
        due = rows.one_stopped() if check_every is None else (step + 1) % check_every == 0
        if due or step + 1 == task.max_new_tokens:
            going = rows.hand_out()
            yield
            if not going:
                return
            # Drop rows that have stopped; a GPU, which records each shape anew, not at every stop. A compiled step has
            # one shape.
            most = len(rows.stopped) * (0.75 if records(rows.ids.device) else 1)
            if len(going) < len(rows.stopped) and len(going) <= most and not task.compile:
                kept = closed_up(going)
                rows.keep(kept)
                if decoding is not None:
                    decoding.keep(kept)
