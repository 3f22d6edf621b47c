"""Learning from preferences: DPO (Rafailov et al. 2023) and two relatives, and Bradley and Terry's model (1952) itself.

Of two answers to a prompt one is better. DPO makes it more probable than the other, against what a reference says; the
loss begins at ln 2 = 0.693, because the model is then its own reference.
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig, InputError, TrainConfig
from minigpt.model.classifier import class_logits
from minigpt.model.gpt import GPT
from minigpt.text.batch import pad_rows
from minigpt.text.pairs import Pair, PairData, line_of, pack_answers
from minigpt.text.tokenizer import Tokenizer
from minigpt.training.answers import Prompt, Prompts, Reward, grade, log_probabilities, sample
from minigpt.training.options import PreferenceOptions
from minigpt.training.rewards import check_reference, fingerprint
from minigpt.training.step import Batch

NO_PAIR = 2000
"""So many answers without a difference, and no more pairs are looked for."""


def bradley_terry(better: Tensor, worse: Tensor) -> Tensor:
    """The probability that the answer with the first reward is preferred (Bradley and Terry 1952)."""
    return torch.sigmoid(better - worse)


@dataclass(frozen=True)
class Sums:
    """What models say about pairs: log-probabilities (B,) of whole answers, in nats, and their lengths in tokens."""

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor


def margins(sums: Sums, options: PreferenceOptions) -> Tensor:
    """By how much each pair's better answer wins, as the method counts it: (B,).

    dpo and ipo: the sums over the tokens, against the reference (for dpo times beta: the difference of the rewards that
    the model implies, Rafailov et al. 2023, equation 5). simpo: beta times the means over the tokens, and no reference.
    """
    if options.preference == "simpo":
        return options.beta * (sums.chosen / sums.chosen_length - sums.rejected / sums.rejected_length)
    wins = (sums.chosen - sums.reference_chosen) - (sums.rejected - sums.reference_rejected)
    return options.beta * wins if options.preference == "dpo" else wins


def preference_loss(sums: Sums, options: PreferenceOptions) -> Tensor:
    """The loss of each pair, (B,).

    dpo: Rafailov et al. 2023, equation 7. ipo: Azar et al. 2023, equation 17, with sums as in the paper; trl divides
    each log-probability by its number of tokens. simpo: Meng et al. 2024, equation 6.
    """
    wins = margins(sums, options)
    if options.preference == "ipo":
        return (wins - 1 / (2 * options.beta)).square()
    return -F.logsigmoid(wins - (options.target_margin if options.preference == "simpo" else 0.0))


class PreferenceObjective:
    """A run's steps from pairs. `batch_size` of the recipe counts pairs.

    Measured at every step: "accuracy" (pairs whose margin is above 0), "margin" (`margins`), and how much the answers'
    log-probabilities have moved from the reference, in nats: "chosen" and "rejected".

    Args:
        data: the pairs.
        reference: a copy of what the run starts with. Its log-probabilities are computed once, here.
        options: the method.
    """

    def __init__(self, data: PairData, reference: GPT, options: PreferenceOptions | None = None) -> None:
        self.data, self.options = data, options or PreferenceOptions()
        self.reference_config = reference.config
        self.kept: dict[str, Tensor] = {}
        self.spec: dict[str, Any] = {
            "kind": "preferences", "reference": fingerprint(reference), "options": asdict(self.options),
        }  # fmt: skip
        rows = [row for pair in data.train for row in ((pair.prompt, pair.chosen), (pair.prompt, pair.rejected))]
        self.known = [sum(found) for found in log_probabilities(reference.eval(), rows)]

    def check_fit(self, model: GPTConfig, config: TrainConfig, tokenizer: Tokenizer) -> None:
        """Raise InputError where the reference or the tokenizer does not fit the run."""
        check_reference(model, self.reference_config)
        if tokenizer.contents() != self.data.tokenizer.contents():
            raise InputError("the pairs were made with another tokenizer than the run's data: use one for both")

    def batch(self, model: GPT, step: int, config: TrainConfig) -> Batch:
        """The step's pairs: each chosen answer's row, and behind it the rejected one's."""
        numbers = self.data.pairs_at(step, config.batch_size, config.seed)
        rows = _rows([self.data.train[i] for i in numbers])
        inputs, targets = pack_answers(rows)
        extra = {
            "reference": torch.tensor([self.known[2 * i + k] for i in numbers for k in (0, 1)])[:, None],
            "length": torch.tensor([float(len(answer)) for _, answer in rows])[:, None],
            "share": torch.full((len(rows), 1), 1 / config.batch_size),
        }
        return Batch(inputs, targets, sum(len(answer) for _, answer in rows), extra)

    def loss(self, log_probabilities: Tensor, extra: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the pairs, and what was measured."""
        said, known, lengths = log_probabilities.sum(dim=1), extra["reference"][:, 0], extra["length"][:, 0]
        sums = Sums(said[0::2], said[1::2], known[0::2], known[1::2], lengths[0::2], lengths[1::2])
        share, wins = extra["share"][0::2, 0], margins(sums, self.options)
        measures = {
            "accuracy": (wins > 0).float(),
            "margin": wins,
            "chosen": sums.chosen - sums.reference_chosen,
            "rejected": sums.rejected - sums.reference_rejected,
        }
        loss = (preference_loss(sums, self.options) * share).sum()
        return loss, {name: (values * share).sum() for name, values in measures.items()}

    def check(self, measures: Mapping[str, float], step: int) -> None:
        """Raise InputError when the chosen answers have become too improbable."""
        if not -measures["chosen"] <= self.options.max_drift:
            raise InputError(
                f"after step {step} the chosen answers have lost {-measures['chosen']:.4g} nats against the reference, "
                f"above max_drift {self.options.max_drift:g}. The checkpoints before stand; begin anew with a smaller "
                "learning_rate or a larger beta, or raise max_drift and --resume"
            )


def sample_pairs(
    model: GPT, prompts: Prompts, reward: Reward, count: int, group: int, seed: int = 0
) -> tuple[list[str], int]:
    """Pairs of a model's own answers, the one with the larger reward chosen, as lines of a file of pairs.

    Of each prompt's `group` answers the best goes with the worst, the second best with the second worst, and so on, as
    long as their rewards differ.

    Returns:
        `count` lines, and how many answers were sampled for them.

    Raises:
        InputError: for a count below 2, or when no more pairs are found: NO_PAIR.
    """
    if count < 2:
        raise InputError(f"pairs is {count}; it must be at least 2, one to learn from and one to measure on")
    lines: list[str] = []
    asked, last = 0, 0
    for index in itertools.count():
        prompt = prompts.at(index)
        several = sample(
            model, prompts, [prompt], group, [int(np.random.SeedSequence((seed, index)).generate_state(1)[0])]
        )
        asked += group
        ranked = sorted(((grade(reward, prompt, one), one.text) for one in several), key=lambda each: each[0])
        for (low, worse), (high, better) in zip(ranked, reversed(ranked), strict=True):
            if low >= high:
                break
            lines.append(line_of(prompt.messages or prompt.text, better, worse))
            last = asked
            if len(lines) == count:
                return lines, asked
        if asked - last > NO_PAIR:
            raise InputError(
                f"the last {NO_PAIR} answers were all right or all wrong, after {len(lines)} pairs of {count}: take "
                "fewer pairs, another task, or a model that knows it less well or better"
            )
    raise AssertionError


def _rows(pairs: list[Pair]) -> list[tuple[list[int], list[int]]]:
    return [row for pair in pairs for row in ((pair.prompt, pair.chosen), (pair.prompt, pair.rejected))]


# A reward model.


class RewardModelObjective:
    """Trains a classifier with two labels so that its reward, the second logit less the first, tells pairs apart.

    The loss is -log of `bradley_terry` of the two rewards (Ouyang et al. 2022, equation 1). Measured: "accuracy" and
    "margin". The reward is read at an answer's last token.

    Args:
        data: the pairs; the run's own data are `RewardModelData(data)`.
    """

    def __init__(self, data: PairData) -> None:
        self.data = data
        self.kept: dict[str, Tensor] = {}
        self.spec: dict[str, Any] = {"kind": "reward model"}

    def check_fit(self, model: GPTConfig, config: TrainConfig, tokenizer: Tokenizer) -> None:
        """Raise InputError for what is no classifier with two labels."""
        if model.n_labels != 2:
            raise InputError(f"a reward model has n_labels 2, and this model {model.n_labels}: see `with_labels`")

    def batch(self, model: GPT, step: int, config: TrainConfig) -> Batch:
        """The step's pairs, each chosen answer's row before the rejected one's."""
        rows = _rows([self.data.train[i] for i in self.data.pairs_at(step, config.batch_size, config.seed)])
        inputs, targets = _pack_labels(rows, [1] * len(rows))
        return Batch(inputs, targets, len(rows), {"share": torch.full((len(rows), 1), 1 / config.batch_size)})

    def loss(self, log_probabilities: Tensor, extra: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the pairs, and what was measured."""
        better = log_probabilities.sum(dim=1)  # of label 1, at the one place that counts
        reward = better - torch.log(-torch.expm1(better))  # its logit
        wins, share = reward[0::2] - reward[1::2], extra["share"][0::2, 0]
        measures = {"accuracy": ((wins > 0) * share).sum(), "margin": (wins * share).sum()}
        return (-F.logsigmoid(wins) * share).sum(), measures

    def check(self, measures: Mapping[str, float], step: int) -> None:
        """Nothing ends it."""


class RewardModelData:
    """Pairs as labelled answers, for a run that makes a reward model: 1 for the chosen, 0 for the rejected."""

    def __init__(self, pairs: PairData) -> None:
        self.pairs, self.tokenizer = pairs, pairs.tokenizer
        self.spec: dict[str, Any] = pairs.spec | {"labels": ["worse", "better"]}

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Both answers of a step's pairs."""
        return self._packed([self.pairs.train[i] for i in self.pairs.pairs_at(step, batch_size, seed)])

    def batches(self, split: str, batch_size: int) -> Any:
        """Both answers of the pairs held out."""
        held = self.pairs.val if split == "val" else self.pairs.train
        for start in range(0, len(held), batch_size):
            yield self._packed(held[start : start + batch_size])

    def text_bytes(self, split: str) -> int:
        """Those of the chosen answers."""
        return self.pairs.text_bytes(split)

    def _packed(self, pairs: list[Pair]) -> tuple[Tensor, Tensor]:
        return _pack_labels(_rows(pairs), [1, 0] * len(pairs))


def _pack_labels(rows: list[tuple[list[int], list[int]]], labels: list[int]) -> tuple[Tensor, Tensor]:
    """Whole rows, and as the one target of each its label, at its last token."""
    ids = [[*prompt, *answer, 0] for prompt, answer in rows]  # a last id that is no input
    inputs, targets = pad_rows(ids, 0, [[False] * (len(row) - 1) + [True] for row in ids])
    for row, label in enumerate(labels):
        targets[row, len(ids[row]) - 2] = label
    return inputs, targets


def reward_of(model: GPT, tokenizer: Tokenizer, stop_token: int) -> Reward:
    """What a reward model gives, as a reward."""

    def reward(prompt: Prompt, answer: str) -> float:
        ids = torch.tensor([[*prompt.ids, *tokenizer.encode(answer), stop_token]])
        with torch.no_grad():
            worse, better = class_logits(model, ids, torch.tensor([ids.size(1)]))[0].tolist()
        return float(better - worse)

    return reward
