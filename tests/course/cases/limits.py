"""Answers to the exercises of lesson 25, right and wrong."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tests.course.cases import Answers


def by_sorting(scores: Sequence[float], secret: int) -> float:
    ordered = sorted(scores, reverse=True)
    return math.log2(len(scores) / (ordered.index(scores[secret]) + 1))


def with_numpy(scores: Sequence[float], secret: int) -> np.float64:
    values = np.array(scores)
    return np.log2(len(values)) - np.log2((values > values[secret]).sum() + 1)


def number_alone(scores: Sequence[float], secret: int) -> float:
    return math.log2(len(scores))


def rank_alone(scores: Sequence[float], secret: int) -> float:
    return math.log2(1 + sum(s > scores[secret] for s in scores))


def from_below(scores: Sequence[float], secret: int) -> float:
    return math.log2(len(scores) / (1 + sum(s < scores[secret] for s in scores)))


def ranks_from_zero(scores: Sequence[float], secret: int) -> float:
    return math.log2(len(scores) / max(1, sum(s > scores[secret] for s in scores)))


def in_nats(scores: Sequence[float], secret: int) -> float:
    return math.log(2) * by_sorting(scores, secret)


def ratio(scores: Sequence[float], secret: int) -> float:
    return 2 ** by_sorting(scores, secret)


def difference(scores: Sequence[float], secret: int) -> float:
    return len(scores) - 1 - sum(s > scores[secret] for s in scores)


def surprise(scores: Sequence[float], secret: int) -> float:
    return -scores[secret] / math.log(2)


def log_probability(scores: Sequence[float], secret: int) -> float:
    return scores[secret]


def equals_stand_before(scores: Sequence[float], secret: int) -> float:
    return math.log2(len(scores) / sum(s >= scores[secret] for s in scores))


def sorts_in_place(scores: list[float], secret: int) -> float:
    found = by_sorting(scores, secret)
    scores.sort()
    return found


def by_loop(texts: Sequence[str], n: int) -> list[str]:
    seen: list[list[str]] = []
    kept: list[str] = []
    for text in texts:
        words = text.split()
        runs = [words[i : i + n] for i in range(len(words) - n + 1)] or [words]
        if any(run in seen for run in runs):
            continue
        kept += [text]
        seen += runs
    return kept


def against_kept(texts: Sequence[str], n: int) -> list[str]:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = tuple(text.split())
        return {words[i : i + n] for i in range(len(words) - n + 1)} if len(words) > n else {words}

    kept: list[str] = []
    for text in texts:
        if all(runs(text).isdisjoint(runs(other)) for other in kept):
            kept.append(text)
    return kept


def equal_only(texts: Sequence[str], n: int) -> list[str]:
    return list(dict.fromkeys(texts))


def without_last_run(texts: Sequence[str], n: int) -> list[str]:
    seen: set[tuple[str, ...]] = set()
    kept = []
    for text in texts:
        words = text.split()
        runs = {tuple(words[i : i + n]) for i in range(max(1, len(words) - n))}
        if not runs & seen:
            kept.append(text)
            seen |= runs
    return kept


def common_words(texts: Sequence[str], n: int) -> list[str]:
    kept: list[str] = []
    for text in texts:
        if all(len(set(text.split()) & set(other.split())) < n for other in kept):
            kept.append(text)
    return kept


def remembers_all(texts: Sequence[str], n: int) -> list[str]:
    seen: set[tuple[str, ...]] = set()
    kept = []
    for text in texts:
        words = text.split()
        runs = {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}
        if not runs & seen:
            kept.append(text)
        seen |= runs
    return kept


def short_are_free(texts: Sequence[str], n: int) -> list[str]:
    seen: set[tuple[str, ...]] = set()
    kept = []
    for text in texts:
        words = text.split()
        runs = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
        if not runs & seen:
            kept.append(text)
            seen |= runs
    return kept


def letters_joined(texts: Sequence[str], n: int) -> list[str]:
    seen: set[str] = set()
    kept = []
    for text in texts:
        words = text.split()
        runs = {"".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}
        if not runs & seen:
            kept.append(text)
            seen |= runs
    return kept


def small_letters(texts: Sequence[str], n: int) -> list[str]:
    small = by_loop([text.lower() for text in texts], n)
    found = []
    for text in texts:
        if text.lower() in small:
            small.remove(text.lower())
            found.append(text)
    return found


def splits_at_spaces(texts: Sequence[str], n: int) -> list[str]:
    seen: set[tuple[str, ...]] = set()
    kept = []
    for text in texts:
        words = text.split(" ")
        runs = {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}
        if not runs & seen:
            kept.append(text)
            seen |= runs
    return kept


def backwards(texts: Sequence[str], n: int) -> list[str]:
    return by_loop(texts, n)[::-1]


def keeps_the_last(texts: Sequence[str], n: int) -> list[str]:
    return by_loop(texts[::-1], n)[::-1]


def eats_texts(texts: list[str], n: int) -> list[str]:
    kept = by_loop(texts, n)
    texts.clear()
    return kept


def as_a_tuple(texts: Sequence[str], n: int) -> tuple[str, ...]:
    return tuple(by_loop(texts, n))


def row_by_row(gradients: Tensor, longest: float) -> Tensor:
    total = torch.zeros_like(gradients[0])
    for row in gradients:
        length = row.norm().item()
        total = total + (row if length <= longest else row * (longest / length))
    return total


def by_weights(gradients: Tensor, longest: float) -> Tensor:
    lengths = (gradients**2).sum(1).sqrt()
    factors = torch.where(lengths > longest, longest / lengths, torch.ones_like(lengths))
    return factors @ gradients


def not_clipped(gradients: Tensor, longest: float) -> Tensor:
    return gradients.sum(0)


def sum_clipped(gradients: Tensor, longest: float) -> Tensor:
    total = gradients.sum(0)
    return total * min(1.0, longest / total.norm().item())


def all_as_long(gradients: Tensor, longest: float) -> Tensor:
    return (gradients / gradients.norm(dim=1, keepdim=True) * longest).sum(0)


def mean_of_clipped(gradients: Tensor, longest: float) -> Tensor:
    return row_by_row(gradients, longest) / len(gradients)


def each_number(gradients: Tensor, longest: float) -> Tensor:
    return gradients.clamp(-longest, longest).sum(0)


def length_one(gradients: Tensor, longest: float) -> Tensor:
    return (gradients / gradients.norm(dim=1, keepdim=True)).sum(0)


def not_summed(gradients: Tensor, longest: float) -> Tensor:
    lengths = gradients.norm(dim=1, keepdim=True)
    return gradients * (longest / lengths).clamp(max=1.0)


def zero_by_zero(gradients: Tensor, longest: float) -> Tensor:
    lengths = gradients.norm(dim=1, keepdim=True)
    return (gradients / lengths * lengths.clamp(max=longest)).sum(0)


def as_torch_does(gradients: Tensor, longest: float) -> Tensor:
    """With the 1e-6 of torch's clip_grad_norm_."""
    lengths = gradients.norm(dim=1, keepdim=True)
    return (gradients * (longest / (lengths + 1e-6)).clamp(max=1.0)).sum(0)


def with_a_large_epsilon(gradients: Tensor, longest: float) -> Tensor:
    lengths = gradients.norm(dim=1, keepdim=True)
    return (gradients * (longest / (lengths + 1e-3)).clamp(max=1.0)).sum(0)


def scales_in_place(gradients: Tensor, longest: float) -> Tensor:
    lengths = gradients.norm(dim=1, keepdim=True)
    gradients *= (longest / lengths.clamp(min=1e-30)).clamp(max=1.0)
    return gradients.sum(0)


def by_softmax(shares: Sequence[float], temperature: float) -> list[float]:
    logits = torch.tensor(list(shares), dtype=torch.float64).log() / temperature
    return list(logits.softmax(0).tolist())


def by_numpy(shares: Sequence[float], temperature: float) -> np.ndarray:
    powers = (np.array(shares) / max(shares)) ** (1 / temperature)
    return powers / powers.sum()


def powers_alone(shares: Sequence[float], temperature: float) -> list[float]:
    return [share ** (1 / temperature) for share in shares]


def by_the_largest(shares: Sequence[float], temperature: float) -> list[float]:
    return [(share / max(shares)) ** (1 / temperature) for share in shares]


def other_way_round(shares: Sequence[float], temperature: float) -> list[float]:
    powers = [share**temperature for share in shares]
    return [power / sum(powers) for power in powers]


def shares_as_logits(shares: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp(share / temperature) for share in shares]
    return [power / sum(powers) for power in powers]


def by_a_factor(shares: Sequence[float], temperature: float) -> list[float]:
    return [share / temperature / (sum(shares) / temperature) for share in shares]


def only_divided(shares: Sequence[float], temperature: float) -> list[float]:
    return [share / temperature for share in shares]


def underflows(shares: Sequence[float], temperature: float) -> list[float]:
    powers = [share ** (1 / temperature) for share in shares]
    return [power / sum(powers) for power in powers]


def squares(shares: Sequence[float], temperature: float) -> list[float]:
    powers = [share**2 for share in shares]
    return [power / sum(powers) for power in powers]


def two_only(shares: Sequence[float], temperature: float) -> list[float]:
    share = 1 / (1 + (shares[-1] / shares[0]) ** (1 / temperature))
    return [share, 1 - share]


def with_logarithms(shares: Sequence[float], temperature: float) -> list[float]:
    logs = [math.log(share) / temperature for share in shares]
    powers = [math.exp(log - max(logs)) for log in logs]
    return [power / sum(powers) for power in powers]


def changes_the_list(shares: list[float], temperature: float) -> list[float]:
    shares[:] = by_softmax(shares, temperature)
    return list(shares)


def in_steps(flops: float, speed: float, watts: float, overhead: float) -> float:
    hours = flops / speed / 3600
    return hours * watts / 1000 * overhead


def per_operation(flops: float, speed: float, watts: float, overhead: float) -> float:
    joules = watts * overhead / speed
    return flops * joules / (1000 * 60 * 60)


def watt_hours(flops: float, speed: float, watts: float, overhead: float) -> float:
    return in_steps(flops, speed, watts, overhead) * 1000


def joules(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed * watts * overhead


def kilojoules(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed * watts * overhead / 1000


def no_building(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed * watts / 3.6e6


def building_divided(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed * watts / overhead / 3.6e6


def hours_alone(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed / 3600


def seconds_alone(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed


def no_watts(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed / 3600 * overhead


def minutes(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed / 60 * watts / 1000 * overhead


def added(flops: float, speed: float, watts: float, overhead: float) -> float:
    return no_building(flops, speed, watts, overhead) + overhead


def more_only(flops: float, speed: float, watts: float, overhead: float) -> float:
    return no_building(flops, speed, watts, overhead) * (overhead - 1)


def watts_fixed(flops: float, speed: float, watts: float, overhead: float) -> float:
    return flops / speed * 500 * overhead / 3.6e6


ANSWERS = {
    "exposure_of": Answers(
        right=[by_sorting, with_numpy],
        wrong={
            number_alone: "Which rank does the secret have",
            rank_alone: "It is taken away from",
            from_below: "ranks the least likely first",
            ranks_from_zero: "ranks begin with 1",
            in_nats: "That is in nats",
            ratio: "ratio of number and rank",
            difference: "number minus rank",
            surprise: "surprise in bits",
            log_probability: "log-probability of the secret",
            equals_stand_before: "Of equals, only what is",
            sorts_in_place: "has another order",
        },
    ),
    "without_near_copies": Answers(
        right=[by_loop, against_kept],
        wrong={
            equal_only: "at another place",
            without_last_run: "*last* run",
            common_words: "They share words, and no run",
            remembers_all: "The second is left out",
            short_are_free: "is one run as a whole",
            letters_joined: "their letters are the same",
            small_letters: "A capital makes another word",
            splits_at_spaces: "at any white space",
            backwards: "the order of what you keep",
            keeps_the_last: "you return ['a fox ran'",
            eats_texts: "has lost texts",
            as_a_tuple: "a list was asked for",
        },
    ),
    "clip_each": Answers(
        right=[row_by_row, by_weights, as_torch_does],
        wrong={
            not_clipped: "nothing is clipped",
            sum_clipped: "Clip each row first",
            all_as_long: "Rows that are shorter stay",
            mean_of_clipped: "The sum is asked for",
            each_number: "The length of the row is what counts",
            length_one: "whatever `longest` says",
            not_summed: "has the shape (2,)",
            zero_by_zero: "no length to divide by",
            with_a_large_epsilon: "By hand: (3, 4) is 5 long",
            scales_in_place: "are changed afterwards",
        },
    ),
    "at_temperature": Answers(
        right=[by_softmax, by_numpy],
        wrong={
            powers_alone: "Those are the powers",
            by_the_largest: "do not sum to 1 yet",
            other_way_round: "which flattens",
            shares_as_logits: "takes the shares for logits",
            by_a_factor: "a power does not",
            only_divided: "no shares any more",
            underflows: "divide by the largest",
            squares: "For [0.7, 0.3] at 1 you",
            two_only: "For [0.2, 0.3, 0.5] at 1",
            with_logarithms: "its logarithm does not exist",
            changes_the_list: "is changed afterwards",
        },
    ),
    "kilowatt_hours": Answers(
        right=[in_steps, per_operation],
        wrong={
            watt_hours: "Those are watt-hours",
            joules: "Those are watt-seconds",
            kilojoules: "Those are kilowatt-seconds",
            no_building: "where is the overhead",
            building_divided: "divides by the overhead",
            hours_alone: "Those are hours",
            seconds_alone: "Those are seconds",
            no_watts: "no watts in it",
            minutes: "60 seconds for an hour",
            added: "It is a factor",
            more_only: "overhead − 1",
            watts_fixed: "Is a number fixed",
        },
    ),
}
