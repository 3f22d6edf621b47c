"""Learning from rewards: REINFORCE with a baseline (Williams 1992), GRPO (Shao et al. 2024) and what followed it.

The model answers, a function says what each answer is worth, and what was better than the rest of its group becomes
more probable. The loss is 0 in the first step and says nothing afterwards: the rewards tell how it goes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from minigpt.config import GPTConfig, InputError, TrainConfig
from minigpt.model.gpt import GPT
from minigpt.runtime import world_size
from minigpt.text.batch import pad_rows
from minigpt.text.tokenizer import Tokenizer
from minigpt.training.answers import Graded, Prompts, Reward, kl_terms, sample_and_grade
from minigpt.training.options import RewardOptions
from minigpt.training.step import Batch


def advantages(rewards: Tensor, normalise: bool = True) -> Tensor:
    """How much better than its group each answer is (Shao et al. 2024, section 4.1.2).

    The mean counts the answer itself, which shortens the expected gradient to (n - 1) / n of it and turns nothing.

    Args:
        rewards: (groups, n).
        normalise: divide by the group's standard deviation (of n - 1, as torch's and trl's); Dr. GRPO (Liu et al. 2025,
            section 3.1) does not: it gives more weight to prompts that are nearly always or never answered right.

    Returns:
        (groups, n); 0 in a group whose rewards are equal.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    equal = (rewards == rewards[:, :1]).all(dim=1, keepdim=True)
    centred = centred.masked_fill(equal, 0.0)  # where rounding made the mean another number
    return centred / (rewards.std(dim=1, keepdim=True) + 1e-4) if normalise else centred


def policy_loss(
    log_probabilities: Tensor,
    old: Tensor,
    gains: Tensor,
    weights: Tensor,
    reference: Tensor,
    options: RewardOptions,
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate (Schulman et al. 2017, equation 7) with a divergence (Shao et al. 2024, equations 3 and 4).

    Args:
        log_probabilities: (B, T), of the tokens of B answers.
        old: (B, T), of the same when they were drawn.
        gains: (B, 1), their answers' advantages.
        weights: (B, T), what each token counts; 0 where there is none.
        reference: (B, T), their log-probabilities in the reference.
        options: clip and divergence.

    Returns:
        the loss, a scalar, and where the clip has cut a gradient off: (B, T).
    """
    ratio = (log_probabilities - old).exp()
    gain = ratio * gains
    clipped = torch.zeros_like(ratio, dtype=torch.bool)
    if options.clip or options.clip_higher:
        limited = ratio.clamp(1 - options.clip, 1 + options.clip_higher) * gains
        clipped = (limited < gain) & (weights > 0)
        gain = torch.minimum(gain, limited)
    loss = -gain
    if options.kl and options.kl_estimator != "k1":  # k1 is in the rewards
        loss = loss + options.kl * kl_terms(log_probabilities, reference, options.kl_estimator)
    return (weights * loss).sum(), clipped


class RewardObjective:
    """A run's steps from rewards: sample, grade, one update (or `options.updates`).

    `batch_size` of the recipe counts answers. Measured at every step, of answers from the model before it: "reward",
    what `watch` asks for, "length" (tokens), "entropy" (nats a token, estimated from the sampled ones), "kl" (nats an
    answer, k3) and "equal" (groups in which all rewards are equal: they give no step). Of a group with equal rewards
    a quarter of the answers is read for "kl" and stands for the others: the mean is as right, and varies more.

    Args:
        prompts: what is asked.
        reward: what an answer is worth.
        reference: the model that the divergence is measured from; a copy of what the run starts with.
        options: the method.
        watch: rewards that are measured and not learned from, by name.
        name: of the reward, for the run's records.
    """

    def __init__(
        self,
        prompts: Prompts,
        reward: Reward,
        reference: GPT,
        options: RewardOptions | None = None,
        watch: Mapping[str, Reward] | None = None,
        name: str = "",
    ) -> None:
        self.prompts, self.reference = prompts, reference.eval().requires_grad_(False)
        self.options = options or RewardOptions()
        self.rewards = {"reward": reward, **(watch or {})}
        self.kept: dict[str, Tensor] = {}
        self.spec: dict[str, Any] = {
            "kind": "rewards",
            "prompts": prompts.name,
            "reward": name or getattr(reward, "__name__", ""),
            "reference": fingerprint(reference),
            "options": asdict(self.options),
        }
        self.names = [*self.rewards, "length", "entropy", "kl", "equal"]

    def check_fit(self, model: GPTConfig, config: TrainConfig, tokenizer: Tokenizer) -> None:
        """Raise InputError where the reference, the tokenizer or the size of the batch does not fit the run."""
        check_reference(model, self.reference.config)
        if tokenizer.contents() != self.prompts.tokenizer.contents():
            raise InputError("the prompts were made with another tokenizer than the run's data: use one for both")
        if config.batch_size % self.options.group:
            raise InputError(
                f"batch_size {config.batch_size} counts answers, and they come in groups of {self.options.group}: "
                f"choose a multiple of {self.options.group}, or another group"
            )

    def batch(self, model: GPT, step: int, config: TrainConfig) -> Batch:
        """New answers from the model as it is, or in a later update the same again."""
        n = len(self.names)
        if step % self.options.updates == 0 or not self.kept:
            batch = self._sampled(model, step // self.options.updates, config)
            if self.options.updates > 1:
                measures = torch.tensor([*batch.measures.values(), batch.n_targets], dtype=torch.float64)
                self.kept = {"inputs": batch.inputs, "targets": batch.targets, "measures": measures, **batch.extra}
            return batch
        extra = {name: rows for name, rows in self.kept.items() if name not in ("inputs", "targets", "measures")}
        values = self.kept["measures"].tolist()
        measured = dict(zip(self.names, values[:n], strict=True))
        return Batch(self.kept["inputs"], self.kept["targets"], int(values[n]), extra, measured)

    def _sampled(self, model: GPT, number: int, config: TrainConfig) -> Batch:
        options, groups = self.options, config.batch_size // self.options.group
        rewards, penalised = list(self.rewards.values()), options.kl > 0 and options.kl_estimator == "k1"
        graded = sample_and_grade(
            model, self.reference, self.prompts, rewards, number, groups, options.group, config.seed, penalised
        )
        lengths = torch.tensor([float(len(one.answer.tokens)) for one in graded])
        old = torch.tensor([sum(one.answer.log_probabilities) for one in graded], dtype=torch.float64)
        grouped = [graded[start : start + options.group] for start in range(0, len(graded), options.group)]
        kl = sum(mean(one.kl("k3") for one in group if one.reference is not None) for group in grouped) / groups
        values = torch.tensor([one.values for one in graded], dtype=torch.float64)  # (B, rewards)
        learned_from = values[:, 0]
        if penalised:
            penalty = torch.tensor([one.kl("k1") for one in graded], dtype=torch.float64)
            learned_from = learned_from - options.kl * penalty
        gains = advantages(learned_from.view(groups, options.group), options.normalise)
        used = (gains != 0).any(dim=1)
        means = [*values.mean(dim=0).tolist(), lengths.mean().item(), -(old.sum() / lengths.sum()).item()]
        measures = dict(zip(self.names, [*means, kl, float((~used).sum())], strict=True))
        total = {"answer": len(graded) * lengths, "token": lengths.sum(), "sum": torch.tensor(float(len(graded)))}
        weights = (1 / total[options.weighting]).expand(len(graded))
        rows = [i for i in range(len(graded)) if used[i // options.group]]
        rows.sort(key=lambda i: len(graded[i].prompt.ids) + len(graded[i].answer.tokens))  # see `in_parts`
        return self._packed(graded, rows, gains.flatten(), weights, config, measures)

    def _packed(
        self,
        graded: list[Graded],
        rows: list[int],
        gains: Tensor,
        weights: Tensor,
        config: TrainConfig,
        measures: dict[str, float],
    ) -> Batch:
        """The rows that give a step, and empty ones behind them, so that processes and parts have equally many."""
        parts = world_size() * config.accumulate
        empty = -len(rows) % parts if rows else parts
        ids = [[*graded[i].prompt.ids, *graded[i].answer.tokens] for i in rows]
        learned = [[False] * len(graded[i].prompt.ids) + [True] * len(graded[i].answer.tokens) for i in rows]
        pad = self.prompts.stop_token
        inputs, targets = pad_rows([*ids, *[[pad, pad]] * empty], pad, [*learned, *[[False, False]] * empty])
        extra = {name: torch.zeros(inputs.shape) for name in ("old", "reference", "weights")}
        for row, i in enumerate(rows):
            one, start = graded[i], len(graded[i].prompt.ids) - 1
            place = slice(start, start + len(one.answer.tokens))
            extra["old"][row, place] = torch.tensor(one.answer.log_probabilities)
            extra["reference"][row, place] = torch.tensor(one.reference)
            extra["weights"][row, place] = weights[i]
        n_targets = sum(map(sum, learned))
        extra["gains"] = torch.zeros(len(inputs), 1)
        extra["gains"][: len(rows), 0] = gains[rows].float()
        extra["share"] = torch.full((len(inputs), 1), 1 / max(1, n_targets))
        return Batch(inputs, targets, n_targets, extra, measures)

    def loss(self, log_probabilities: Tensor, extra: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """`policy_loss`, and the share of tokens that were clipped."""
        loss, clipped = policy_loss(
            log_probabilities, extra["old"], extra["gains"], extra["weights"], extra["reference"], self.options
        )
        return loss, {"clipped": (clipped * extra["share"]).sum()} if self.options.updates > 1 else {}

    def check(self, measures: Mapping[str, float], step: int) -> None:
        """Raise InputError when the model has left the reference too far behind."""
        if not measures["kl"] <= self.options.max_kl:
            raise InputError(
                f"after step {step} the model's divergence from its reference is {measures['kl']:.4g} nats an answer, "
                f"above max_kl {self.options.max_kl:g}: it has left what the reference knows. The checkpoints before "
                "stand; begin anew with a smaller learning_rate or a larger kl, or raise max_kl and --resume"
            )


def check_reference(model: GPTConfig, reference: GPTConfig) -> None:
    """Raise InputError where a reference has another shape than the model."""
    other = [
        f"{field.name} {getattr(reference, field.name)}, not {getattr(model, field.name)}"
        for field in fields(GPTConfig)
        if field.name not in ("dropout", "pad_vocab") and getattr(reference, field.name) != getattr(model, field.name)
    ]
    if other:
        raise InputError(
            f"the reference has another shape ({'; '.join(other)}): take a copy of the model that the run starts with"
        )


def fingerprint(model: GPT) -> str:
    """A short name for exactly these weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        content = tensor.detach().cpu().flatten().contiguous().view(torch.uint8)  # numpy has no bfloat16
        digest.update(name.encode() + content.numpy().tobytes())
    return digest.hexdigest()
