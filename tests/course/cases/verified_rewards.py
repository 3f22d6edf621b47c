"""Answers to the exercises of lesson 19, right and wrong."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.text.stories import verify
from minigpt.training.answers import kl_terms
from minigpt.training.rewards import advantages
from tests.course.cases import Answers


def by_package(rewards: Tensor, normalise: bool) -> Tensor:
    return advantages(rewards, normalise)


def row_by_row(rewards: Tensor, normalise: bool) -> Tensor:
    rows = []
    for row in rewards:
        if len(set(row.tolist())) == 1:
            rows.append(torch.zeros_like(row))
            continue
        gains = row - row.sum() / len(row)
        rows.append(gains / ((gains.square().sum() / (len(row) - 1)).sqrt() + 1e-4) if normalise else gains)
    return torch.stack(rows)


def mean_of_all(rewards: Tensor, normalise: bool) -> Tensor:
    gains = rewards - rewards.mean()
    return gains / (rewards.std(1, keepdim=True) + 1e-4) if normalise else gains


def mean_of_columns(rewards: Tensor, normalise: bool) -> Tensor:
    return rewards - rewards.mean(dim=0)


def without_itself(rewards: Tensor, normalise: bool) -> Tensor:
    n = rewards.shape[1]
    others = (rewards.sum(1, keepdim=True) - rewards) / (n - 1)
    return rewards - others


def turned_round(rewards: Tensor, normalise: bool) -> Tensor:
    return -advantages(rewards, normalise)


def always_divided(rewards: Tensor, normalise: bool) -> Tensor:
    return advantages(rewards, True)


def never_divided(rewards: Tensor, normalise: bool) -> Tensor:
    return advantages(rewards, False)


def with_n(rewards: Tensor, normalise: bool) -> Tensor:
    gains = rewards - rewards.mean(1, keepdim=True)
    return gains / (rewards.std(1, keepdim=True, correction=0) + 1e-4) if normalise else gains


def no_epsilon(rewards: Tensor, normalise: bool) -> Tensor:
    gains = rewards - rewards.mean(1, keepdim=True)
    return gains / rewards.std(1, keepdim=True) if normalise else gains


def by_variance(rewards: Tensor, normalise: bool) -> Tensor:
    gains = rewards - rewards.mean(1, keepdim=True)
    return gains / (rewards.var(1, keepdim=True) + 1e-4) if normalise else gains


def rounded_mean(rewards: Tensor, normalise: bool) -> Tensor:
    gains = rewards - rewards.mean(1, keepdim=True)
    return gains / (rewards.std(1, keepdim=True) + 1e-4) if normalise else gains


def equal_if_near(rewards: Tensor, normalise: bool) -> Tensor:
    gains = rewards - rewards.mean(1, keepdim=True)
    gains = gains.masked_fill((gains.abs() < 1e-4).all(1, keepdim=True), 0.0)
    return gains / (rewards.std(1, keepdim=True) + 1e-4) if normalise else gains


def in_place(rewards: Tensor, normalise: bool) -> Tensor:
    rewards -= rewards.mean(1, keepdim=True)
    return rewards


def by_where(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = torch.exp(now - old.detach())
    good = torch.where(ratio > 1 + high, torch.full_like(ratio, 1 + high), ratio)
    bad = torch.where(ratio < 1 - low, torch.full_like(ratio, 1 - low), ratio)
    return torch.where(advantage > 0, good, bad) * advantage


def by_clip(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = now.exp() / old.detach().exp()
    return torch.stack([ratio * advantage, torch.clip(ratio, min=1 - low, max=1 + high) * advantage]).amin(0)


def unclipped(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return (now - old).exp() * advantage


def only_clipped(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return (now - old).exp().clamp(1 - low, 1 + high) * advantage


def larger(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = (now - old).exp()
    return torch.maximum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def smaller_ratio(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = (now - old).exp()
    return torch.minimum(ratio, ratio.clamp(1 - low, 1 + high)) * advantage


def on_its_head(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return by_where(old, now, advantage, low, high)


def as_a_loss(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return -by_where(now, old, advantage, low, high)


def low_twice(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return by_where(now, old, advantage, low, low)


def swapped(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return by_where(now, old, advantage, high, low)


def no_exponential(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = now - old
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def mean_gain(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return by_where(now, old, advantage, low, high).mean()


def slope_into_old(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = (now - old).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def half_a_slope(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = (now - old.detach()).exp()
    return torch.minimum(ratio * advantage, ratio.detach().clamp(1 - low, 1 + high) * advantage)


def all_detached(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return by_where(now.detach(), old, advantage, low, high)


def k3_of_the_package(now: Tensor, reference: Tensor) -> Tensor:
    return kl_terms(now, reference, "k3")


def k3_turned(now: Tensor, reference: Tensor) -> Tensor:
    d = reference - now
    return torch.expm1(d) - d


def k1(now: Tensor, reference: Tensor) -> Tensor:
    return now - reference


def k2(now: Tensor, reference: Tensor) -> Tensor:
    return (now - reference) ** 2 / 2


def other_way(now: Tensor, reference: Tensor) -> Tensor:
    return kl_terms(reference, now, "k3")


def without_one(now: Tensor, reference: Tensor) -> Tensor:
    return (reference - now).exp() + now - reference


def negative(now: Tensor, reference: Tensor) -> Tensor:
    return -kl_terms(now, reference, "k3")


def lost_digits(now: Tensor, reference: Tensor) -> Tensor:
    d = now - reference
    return (-d).exp() - 1 + d


def k3_detached(now: Tensor, reference: Tensor) -> Tensor:
    return kl_terms(now.detach(), reference, "k3")


def k3_mean(now: Tensor, reference: Tensor) -> Tensor:
    return kl_terms(now, reference, "k3").mean()


def parts(
    now: Tensor, old: Tensor, reference: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    gains = advantages(rewards.view(-1, group)).view(-1, 1)
    return -by_where(now, old, gains, epsilon, epsilon) + beta * kl_terms(now, reference.detach(), "k3")


def answer_by_answer(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    each = parts(now, old, reference, rewards, group, epsilon, beta)
    return torch.stack([row[: int(m.sum())].mean() for row, m in zip(each, mask, strict=True)]).mean()


def by_weights(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    weights = F.normalize(mask, p=1, dim=1) / len(mask)
    return (weights * parts(now, old, reference, rewards, group, epsilon, beta)).sum()


def by_tokens(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    return (parts(now, old, reference, rewards, group, epsilon, beta) * mask).sum() / mask.sum()


def with_padding(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    return parts(now, old, reference, rewards, group, epsilon, beta).mean()


def no_divergence(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    return by_weights(now, old, reference, mask, rewards, group, epsilon, 0.0)


def rewarded_for_leaving(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    return by_weights(now, old, reference, mask, rewards, group, epsilon, -beta)


def one_group(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    return by_weights(now, old, reference, mask, rewards, len(rewards), epsilon, beta)


def across(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    gains = advantages(rewards.view(group, -1).T).T.reshape(-1, 1)
    each = -by_where(now, old, gains, epsilon, epsilon) + beta * kl_terms(now, reference.detach(), "k3")
    return ((each * mask).sum(1) / mask.sum(1)).mean()


def to_raise(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    return -by_weights(now, old, reference, mask, rewards, group, epsilon, beta)


def no_clip(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    return by_weights(now, old, reference, mask, rewards, group, 1e9, beta)


def level_group_left_out(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    grouped = rewards.view(-1, group)
    counts = (grouped != grouped[:, :1]).any(dim=1).repeat_interleave(group)
    each = parts(now, old, reference, rewards, group, epsilon, beta)
    return ((each * mask).sum(1) / mask.sum(1))[counts].mean()


def reference_learns(
    now: Tensor, old: Tensor, reference: Tensor, mask: Tensor, rewards: Tensor, group: int, epsilon: float, beta: float
) -> Tensor:
    gains = advantages(rewards.view(-1, group)).view(-1, 1)
    each = -by_where(now, old, gains, epsilon, epsilon) + beta * kl_terms(now, reference, "k3")
    return ((each * mask).sum(1) / mask.sum(1)).mean()


def by_words(text: str) -> float:
    if not verify(text).consistent:
        return 0.0
    return 1.0 if "happy" in re.findall(r"[a-z]+", text.lower()) else 0.5


def by_boundary(text: str) -> float:
    right = verify(text).consistent
    return 0.5 * right + 0.5 * (right and re.search(r"\bhappy\b", text) is not None)


def not_verified(text: str) -> float:
    return 0.5 + 0.5 * (re.search(r"\bhappy\b", text) is not None)


def unhappy_counts(text: str) -> float:
    return (0.5 + 0.5 * ("happy" in text)) * verify(text).consistent


def happy_anyway(text: str) -> float:
    return 0.5 * verify(text).consistent + 0.5 * (re.search(r"\bhappy\b", text) is not None)


def right_or_not(text: str) -> float:
    return float(verify(text).consistent)


def only_happy(text: str) -> float:
    return float(verify(text).consistent and re.search(r"\bhappy\b", text) is not None)


def only_grammar(text: str) -> float:
    return (0.5 + 0.5 * (re.search(r"\bhappy\b", text) is not None)) * verify(text).grammatical


ANSWERS = {
    "group_advantages": Answers(
        right=[by_package, row_by_row],
        wrong={
            mean_of_all: "the mean of *all* rewards",
            mean_of_columns: "the mean over the groups",
            without_itself: "the mean of the *others*",
            turned_round: "the signs are turned round",
            always_divided: "you divide all the same",
            never_divided: "you do not divide",
            with_n: "a standard deviation with n.",
            no_epsilon: "beside the standard deviation is missing",
            by_variance: "by the variance",
            rounded_mean: "their mean is rounded",
            equal_if_near: "1.00001 are not equal",
            in_place: "changed the rewards",
        },
    ),
    "clipped_gain": Answers(
        right=[by_where, by_clip],
        wrong={
            unclipped: "nothing is clipped",
            only_clipped: "only the clipped ratio counts",
            larger: "the larger of the two gains",
            smaller_ratio: "the smaller *ratio*",
            on_its_head: "stands on its head",
            as_a_loss: "to be maximised",
            low_twice: "`low` counts on both sides",
            swapped: "changed places",
            no_exponential: "without exp",
            mean_gain: "A gain for each token",
            slope_into_old: "A slope flows into `old`",
            half_a_slope: "Inside the bounds both are the ratio",
            all_detached: "gets lost on the way back",
        },
    ),
    "k3": Answers(
        right=[k3_of_the_package, k3_turned],
        wrong={
            k1: "k1, d itself",
            k2: "k2, d²/2",
            other_way: "wrong sign",
            without_one: "the −1 is missing",
            negative: "the sign is turned round",
            lost_digits: "has lost its digits",
            k3_detached: "gets lost on the way back",
            k3_mean: "one number for each token",
        },
    ),
    "grpo_loss": Answers(
        right=[answer_by_answer, by_weights],
        wrong={
            by_tokens: "All tokens count alike",
            with_padding: "The empty places",
            no_divergence: "The divergence is missing",
            rewarded_for_leaving: "leaving the reference would be rewarded",
            one_group: "as one group",
            across: "taken across",
            to_raise: "its sign turned round",
            no_clip: "Nothing is clipped",
            level_group_left_out: "whose rewards are all 0.1",
            reference_learns: "A slope flows into `reference`",
        },
    ),
    "happy_ending": Answers(
        right=[by_words, by_boundary],
        wrong={
            not_verified: "nothing else you return 1.0",
            unhappy_counts: "That is another word",
            happy_anyway: "nothing else you return 0.5",
            right_or_not: "without the word you return 1.0",
            only_happy: "without the word you return 0.0",
            only_grammar: "changes its name",
        },
    ),
}
