"""Answers that a model samples, as it is now, with their log-probabilities, and what they are worth.

A reward is a plain function of a prompt and the text of an answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Real

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from minigpt.config import InputError
from minigpt.generation.generate import Sample, generate_batch
from minigpt.model.gpt import GPT
from minigpt.runtime import in_threads, rank, world_size
from minigpt.text.batch import pad_rows
from minigpt.text.chat import END_OF_TURN, Message, encode_answer, encode_prompt, read_answer, special_id
from minigpt.text.finetuning import ChatData
from minigpt.text.stories import verify
from minigpt.text.tokenizer import Tokenizer
from minigpt.training.options import KL
from minigpt.training.step import ModelWithLoss


@dataclass(frozen=True)
class Prompt:
    """What a model answers."""

    ids: list[int]
    text: str = ""
    """In words, without the tokens of a template."""
    answers: frozenset[str] = frozenset()
    """All right answers, where they are known."""
    messages: tuple[Message, ...] = ()
    """Of a conversation."""


@dataclass(frozen=True)
class Prompts:
    """An endless list of prompts."""

    name: str
    at: Callable[[int], Prompt]
    """Prompt number 0, 1, …; the same whenever it is asked for."""
    tokenizer: Tokenizer
    stop_token: int
    max_new_tokens: int
    """Where an answer is cut, counted with its stop token."""


Reward = Callable[[Prompt, str], float]
"""What an answer is worth: the more, the better."""

AT_ONCE, AT_ONCE_ON_A_CPU = 64, 16
"""Answers that are read together. A CPU's caches hold more of a few, and these have less padding."""


@dataclass(frozen=True)
class Answer:
    """An answer that was sampled."""

    tokens: list[int]
    """With the stop token, if it came."""
    log_probabilities: list[float]
    """Of each token, in nats, when it was drawn."""
    text: str


# Ready prompts and rewards.


def story_prompts(tokenizer: Tokenizer, context_length: int) -> Prompts:
    """Tell a story, from nothing.

    Raises:
        InputError: for a tokenizer without an end-of-text token.
    """
    if (end := tokenizer.end_of_text) is None:
        raise InputError("this model's tokenizer has no end-of-text token, so it cannot start or end a story")
    return Prompts("stories", lambda index: Prompt([end]), tokenizer, end, context_length)


def task_prompts(data: ChatData, max_new_tokens: int = 0, seed: int = 0) -> Prompts:
    """The questions of a task's training split, or of a file's, without their answers.

    Args:
        data: the task.
        max_new_tokens: where an answer is cut. Default: one more than the longest right answer of the first hundred.
            A question of a task that leaves less room than this in the context is passed over.
        seed: of the order.

    Raises:
        InputError: where no question leaves so much room.
    """
    tokenizer, stop = data.tokenizer, special_id(data.tokenizer, END_OF_TURN)
    known = (data.example("train", index, seed) for index in range(100))
    longest = max(len(encode_answer(tokenizer, answer)) for chat in known for answer in chat.answers)
    room = max_new_tokens or min(longest + 2, data.context_length)  # the stop token, and one to see that it is too long

    def at(index: int) -> Prompt:
        for attempt in range(1000):
            chat = data.example("train", index + attempt * 2**30, seed)
            ids = encode_prompt(tokenizer, chat.messages[:-1])
            if len(ids) + room - 1 <= data.context_length:
                return Prompt(ids, chat.messages[-2].content, chat.answers, chat.messages[:-1])
        raise InputError(
            f"no prompt of {data.spec['name']} leaves room for an answer of {room} tokens in this model's context of "
            f"{data.context_length}: ask for shorter answers, or take a model with a longer context"
        )

    at(0)  # better now than in the first step
    return Prompts(data.spec["name"], at, tokenizer, stop, room)


def consistent(prompt: Prompt, answer: str) -> float:
    """1 for a whole story of the story world that contradicts itself nowhere, else 0 (`stories.verify`)."""
    return float(verify(prompt.text + answer).consistent)


def exact(prompt: Prompt, answer: str) -> float:
    """1 for one of the right answers, letter for letter, else 0."""
    return float(answer in prompt.answers)


def words_near(target: int) -> Reward:
    """A reward that is 0 for an answer of `target` words and falls by 1 / target for each word more or less."""
    return lambda prompt, answer: -abs(len(answer.split()) - target) / target


# Divergence from a reference.


def kl_terms(log_probabilities: Tensor, reference: Tensor, estimator: KL) -> Tensor:
    """Schulman's three estimators of KL(model || reference) from tokens that the model has drawn (2020, «Approximating
    KL divergence»): for each token, in nats.

    The mean of k1 is the divergence; so is that of k3, which is never negative and varies less; k2 is near.
    As a loss they differ more. In the mean over drawn tokens the gradient of k1 is 0, that of k2 is the gradient of
    KL(model || reference), that of k3 of KL(reference || model). k3 is GRPO's (Shao et al. 2024, equation 4).
    """
    log_ratio = log_probabilities - reference
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    return torch.expm1(-log_ratio) + log_ratio


def log_probabilities(model: GPT, rows: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
    """Of each token of each answer, in nats, as the model computes them when it reads the whole.

    Args:
        model: in evaluation mode.
        rows: prompts and answers, in token ids.
    """
    device = model.token_embedding.weight.device
    network = ModelWithLoss(model, device, "float32")
    network.counted_only = device.type == "cpu"
    # The longest part first, so that none is left over for one thread at the end.
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]), reverse=True)
    at_once = AT_ONCE_ON_A_CPU if device.type == "cpu" else AT_ONCE

    @torch.no_grad()
    def read(some: list[int]) -> list[list[float]]:
        ids = [[*rows[i][0], *rows[i][1]] for i in some]
        learned = [[False] * len(rows[i][0]) + [True] * len(rows[i][1]) for i in some]
        inputs, targets = (each.to(device) for each in pad_rows(ids, 0, learned))
        table = network.log_probabilities(inputs, targets).tolist()
        starts = (len(rows[i][0]) - 1 for i in some)
        return [row[start : start + len(rows[i][1])] for i, start, row in zip(some, starts, table, strict=True)]

    parts = [by_length[start : start + at_once] for start in range(0, len(rows), at_once)]
    found = dict(zip(by_length, chain.from_iterable(in_threads(read, parts)), strict=True))
    return [found[i] for i in range(len(rows))]


# Sampling.


def sample(model: GPT, prompts: Prompts, asked: Sequence[Prompt], number: int, seeds: Sequence[int]) -> list[Answer]:
    """`number` answers to each prompt, one prompt's after the other's, at temperature 1.

    Args:
        model: in evaluation mode or not; its log-probabilities are those without dropout.
        prompts: tell where an answer ends.
        asked: the prompts.
        number: answers to each.
        seeds: for each prompt. An answer depends on its prompt's seed and on no other prompt.

    Raises:
        InputError: for a prompt that leaves no room, or as `generate`.
    """
    for prompt in asked:
        if len(prompt.ids) + prompts.max_new_tokens - 1 > model.config.context_length:
            raise InputError(
                f"a prompt of {len(prompt.ids)} tokens ({_shorten(prompt.text)!r}) leaves no room for an answer "
                f"of {prompts.max_new_tokens} in the context of {model.config.context_length}: shorten it, ask for "
                "shorter answers, or take a model with a longer context"
            )
    threads = torch.get_num_threads() if model.token_embedding.weight.device.type == "cpu" else 1
    shares = [range(len(asked))[i::threads] for i in range(min(threads, len(asked)))]
    training = model.training
    model.eval()  # for all threads alike

    def write(share: range) -> list[list[Sample]]:
        return generate_batch(
            model, [asked[i].ids for i in share], prompts.max_new_tokens, num=number, stop_token=prompts.stop_token,
            seed=[seeds[i] for i in share],
        )  # fmt: skip

    try:
        written = in_threads(write, shares)
    finally:
        model.train(training)
    found = [written[i % threads][i // threads] for i in range(len(asked))]
    answers = []
    for prompt, group in zip(asked, found, strict=True):
        for one in group:
            ended = len(one.log_probabilities) > len(one.tokens)
            tokens = [*one.tokens, prompts.stop_token] if ended else one.tokens
            words = (
                read_answer(prompts.tokenizer, one.tokens) if prompt.messages else prompts.tokenizer.decode(one.tokens)
            )
            answers.append(Answer(tokens, one.log_probabilities, words))
    return answers


def grade(reward: Reward, prompt: Prompt, answer: Answer) -> float:
    """The reward of an answer.

    Raises:
        InputError: when the function raises, or its value is no finite number, naming the answer.
    """
    which = f"the reward of the answer {_shorten(answer.text)!r} to {_shorten(prompt.text)!r}"
    try:
        value = reward(prompt, answer.text)
    except Exception as error:  # somebody else's function: whatever it raises, the answer is what its author needs
        raise InputError(f"{which} could not be computed: {type(error).__name__}: {error}") from error
    if not isinstance(value, Real | np.bool_) or not math.isfinite(value):
        raise InputError(f"{which} is {value!r}; it must be a finite number")
    return float(value)


def _shorten(text: str, length: int = 100) -> str:
    return text if len(text) <= length else text[:length] + "…"


@dataclass(frozen=True)
class Graded:
    """A prompt with an answer, and what that is worth."""

    prompt: Prompt
    answer: Answer
    values: list[float]
    """First the reward, then whatever else is measured."""
    reference: list[float] | None
    """Of each token, its log-probability in the reference; None where that has not read it."""

    def kl(self, estimator: KL) -> float:
        """An estimate of the divergence from the reference, which has read it, in nats: the sum over the tokens."""
        said = torch.tensor(self.answer.log_probabilities, dtype=torch.float64)
        return float(kl_terms(said, torch.tensor(self.reference, dtype=torch.float64), estimator).sum())


def sample_and_grade(
    model: GPT,
    reference: GPT,
    prompts: Prompts,
    rewards: Sequence[Reward],
    step: int,
    groups: int,
    number: int,
    seed: int,
    read_all: bool = True,
) -> list[Graded]:
    """`number` graded answers to each of a step's prompts. Each process samples its share, and all get all.

    Args:
        read_all: whether the reference reads every answer. If not, it reads a quarter of those of a prompt whose first
            rewards are all equal, the first ones: they are drawn like the rest, so a mean over them is as right.

    Raises:
        InputError: as `sample` and `grade`; on every process, when it happens on one.
    """
    own = range(groups)[rank() * groups // world_size() : (rank() + 1) * groups // world_size()]
    asked = [prompts.at(step * groups + group) for group in own]
    seeds = [int(np.random.SeedSequence((seed, step, group)).generate_state(1)[0]) for group in own]
    graded: list[Graded] | str
    try:
        answers = sample(model, prompts, asked, number, seeds) if asked else []
        of = [prompt for prompt in asked for _ in range(number)]
        values = [[grade(each, p, a) for each in rewards] for p, a in zip(of, answers, strict=True)]
        read: list[int] = []
        for start in range(0, len(answers), number):
            equal = len({value[0] for value in values[start : start + number]}) == 1
            read += range(start, start + (-(-number // 4) if equal and not read_all else number))
        known = log_probabilities(reference, [(of[i].ids, answers[i].tokens) for i in read])
        found = dict(zip(read, known, strict=True))
        graded = [Graded(of[i], answers[i], values[i], found.get(i)) for i in range(len(answers))]
    except InputError as error:
        if world_size() == 1:
            raise
        graded = str(error)
    everyone: list[list[Graded] | str | None] = [graded]
    if world_size() > 1:
        everyone = [None] * world_size()
        dist.all_gather_object(everyone, graded)
    if problems := [each for each in everyone if isinstance(each, str)]:
        raise InputError(problems[0])
    return [one for each in everyone if isinstance(each, list) for one in each]
