"""Answers to the exercises of lesson 15, right and wrong."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from tests.course.cases import Answers


def by_gather(hidden: Tensor, lengths: Tensor) -> Tensor:
    index = (lengths - 1)[:, None, None].expand(-1, 1, hidden.size(-1))
    return hidden.gather(1, index)[:, 0]


def by_a_loop(hidden: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([row[length - 1] for row, length in zip(hidden, lengths.tolist(), strict=True)])


def by_a_mask(hidden: Tensor, lengths: Tensor) -> Tensor:
    is_last = torch.arange(hidden.size(1)) == lengths[:, None] - 1
    return hidden[is_last]


def end_of_batch(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[:, -1]


def first_position(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[:, 0]


def one_too_early(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden)), lengths - 2]


def one_too_late(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden)), lengths.clamp(max=hidden.size(1) - 1)]


def one_place_for_all(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[:, int(lengths.max()) - 1]


def from_the_end(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden)), -lengths]


def all_for_each(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[:, lengths - 1]


def dimension_left(hidden: Tensor, lengths: Tensor) -> Tensor:
    return by_gather(hidden, lengths)[:, None]


def mean_with_padding(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden.mean(1)


def mean_of_the_real(hidden: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([row[:length].mean(0) for row, length in zip(hidden, lengths.tolist(), strict=True)])


def cut_off(hidden: Tensor, lengths: Tensor) -> Tensor:
    return by_gather(hidden, lengths).detach()


def a_list(hidden: Tensor, lengths: Tensor) -> list[Tensor]:
    return list(by_gather(hidden, lengths))


def one_row_flat(hidden: Tensor, lengths: Tensor) -> Tensor:
    return by_gather(hidden, lengths).squeeze(0)


def lengths_changed(hidden: Tensor, lengths: Tensor) -> Tensor:
    lengths -= 1
    return hidden[torch.arange(len(hidden)), lengths]


def last_dimension(hidden: Tensor, lengths: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden)), :, -1]


def with_numpy(prior: list[float], words: list[list[float]]) -> list[float]:
    logs = np.log(prior) + (np.log(np.array(words)).sum(0) if words else 0)
    odds = np.exp(logs - logs.max())
    result: list[float] = (odds / odds.sum()).tolist()
    return result


def with_softmax(prior: list[float], words: list[list[float]]) -> list[float]:
    logs = torch.tensor([prior, *words], dtype=torch.float64).log().sum(0)
    result: list[float] = logs.softmax(-1).tolist()
    return result


def word_after_word(prior: list[float], words: list[list[float]]) -> list[float]:
    now = list(prior)
    for word in [[1.0] * len(prior), *words]:
        now = [p * w for p, w in zip(now, word, strict=True)]
        now = [p / sum(now) for p in now]
    return now


def plain_products(prior: list[float], words: list[list[float]]) -> list[float]:
    products = [p * math.prod(word[i] for word in words) for i, p in enumerate(prior)]
    return [p / sum(products) for p in products]


def products_or_nothing(prior: list[float], words: list[list[float]]) -> list[float]:
    products = [p * math.prod(word[i] for word in words) for i, p in enumerate(prior)]
    return [p / sum(products) for p in products] if sum(products) else list(prior)


def no_division(prior: list[float], words: list[list[float]]) -> list[float]:
    return [p * math.prod(word[i] for word in words) for i, p in enumerate(prior)]


def prior_forgotten(prior: list[float], words: list[list[float]]) -> list[float]:
    return with_numpy([1.0] * len(prior), words)


def added_chances(prior: list[float], words: list[list[float]]) -> list[float]:
    sums = [p * sum(word[i] for word in words) for i, p in enumerate(prior)]
    return [s / sum(sums) for s in sums]


def in_logarithms(prior: list[float], words: list[list[float]]) -> list[float]:
    return [math.log(p) for p in word_after_word(prior, words)]


def exchanged_labels(prior: list[float], words: list[list[float]]) -> list[float]:
    return with_numpy(prior, words)[::-1]


def first_word_alone(prior: list[float], words: list[list[float]]) -> list[float]:
    return with_numpy(prior, words[:1])


def rows_for_columns(prior: list[float], words: list[list[float]]) -> list[float]:
    return with_numpy(prior, [list(row) for row in zip(*words, strict=True)])


def smallest_taken_away(prior: list[float], words: list[list[float]]) -> list[float]:
    logs = [math.log(p) + sum(math.log(word[i]) for word in words) for i, p in enumerate(prior)]
    odds = [math.exp(log - min(logs)) for log in logs]
    return [o / sum(odds) for o in odds]


def each_word_once(prior: list[float], words: list[list[float]]) -> list[float]:
    different: list[list[float]] = []
    for word in words:
        if word not in different:
            different.append(word)
    return with_numpy(prior, different)


def needs_words(prior: list[float], words: list[list[float]]) -> list[float]:
    return with_numpy(prior, words) if words else [1 / len(prior)] * len(prior)


def words_emptied(prior: list[float], words: list[list[float]]) -> list[float]:
    words.insert(0, prior)
    return with_numpy([1.0] * len(prior), words)


Points = list[tuple[float, float]]


def threshold_by_threshold(scores: list[float], harmful: list[bool]) -> Points:
    found = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        fine = [score >= threshold for score, bad in zip(scores, harmful, strict=True) if not bad]
        missed = [score < threshold for score, bad in zip(scores, harmful, strict=True) if bad]
        found.append((sum(fine) / len(fine), sum(missed) / len(missed)))
    return found


def in_groups(scores: list[float], harmful: list[bool]) -> Points:
    pairs = sorted(zip(scores, harmful, strict=True), reverse=True)
    alarms, hits, found = 0, 0, [(0.0, 1.0)]
    for _, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        for _, bad in group:
            hits, alarms = hits + bad, alarms + (not bad)
        found.append((alarms / harmful.count(False), 1 - hits / harmful.count(True)))
    return found


def with_tensors(scores: list[float], harmful: list[bool]) -> Points:
    s, bad = torch.tensor(scores, dtype=torch.float64), torch.tensor(harmful)
    thresholds = s.unique().flip(0)
    alarm = s >= thresholds[:, None]
    a, m = alarm[:, ~bad].double().mean(1), (~alarm[:, bad]).double().mean(1)
    return [(0.0, 1.0), *zip(a.tolist(), m.tolist(), strict=True)]


def ties_apart(scores: list[float], harmful: list[bool]) -> Points:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    alarms, hits, found = 0, 0, [(0.0, 1.0)]
    for i in order:
        hits, alarms = hits + harmful[i], alarms + (not harmful[i])
        found.append((alarms / harmful.count(False), 1 - hits / harmful.count(True)))
    return found


def ties_apart_harm_first(scores: list[float], harmful: list[bool]) -> Points:
    pairs = sorted(zip(scores, harmful, strict=True), reverse=True)
    return ties_apart([s for s, _ in pairs], [bad for _, bad in pairs])


def pairs_exchanged(scores: list[float], harmful: list[bool]) -> Points:
    return [(m, a) for a, m in in_groups(scores, harmful)]


def hits_for_misses(scores: list[float], harmful: list[bool]) -> Points:
    return [(a, 1 - m) for a, m in in_groups(scores, harmful)]


def numbers_not_shares(scores: list[float], harmful: list[bool]) -> Points:
    return [(a * harmful.count(False), m * harmful.count(True)) for a, m in in_groups(scores, harmful)]


def shares_of_all(scores: list[float], harmful: list[bool]) -> Points:
    return [(a / len(harmful), m / len(harmful)) for a, m in numbers_not_shares(scores, harmful)]


def from_below(scores: list[float], harmful: list[bool]) -> Points:
    return in_groups(scores, harmful)[::-1]


def step_for_each_text(scores: list[float], harmful: list[bool]) -> Points:
    found = in_groups(scores, harmful)
    return [found[0]] + [found[sorted(set(scores), reverse=True).index(s) + 1] for s in sorted(scores, reverse=True)]


def above_the_threshold(scores: list[float], harmful: list[bool]) -> Points:
    found = in_groups(scores, harmful)
    return [found[0], *found[:-1]]


def share_of_alarms(scores: list[float], harmful: list[bool]) -> Points:
    found = []
    for a, m in in_groups(scores, harmful):
        false, true = a * harmful.count(False), (1 - m) * harmful.count(True)
        found.append((false / max(1, false + true), m))
    return found


def fine_for_harmful(scores: list[float], harmful: list[bool]) -> Points:
    return in_groups(scores, [not bad for bad in harmful])


def lowest_next(scores: list[float], harmful: list[bool]) -> Points:
    found = in_groups(scores, harmful)
    return [found[0], *found[:0:-1]]


def no_first(scores: list[float], harmful: list[bool]) -> Points:
    return in_groups(scores, harmful)[1:]


def no_last(scores: list[float], harmful: list[bool]) -> Points:
    return in_groups(scores, harmful)[:-1]


def scores_are_shares(scores: list[float], harmful: list[bool]) -> Points:
    kept = [min(max(score, 0.0), 1.0) for score in scores]
    return in_groups(kept, harmful)


def in_the_given_order(scores: list[float], harmful: list[bool]) -> Points:
    alarms, hits, found = 0, 0, [(0.0, 1.0)]
    for i, bad in enumerate(harmful):
        hits, alarms = hits + bad, alarms + (not bad)
        if i + 1 == len(scores) or scores[i + 1] != scores[i]:
            found.append((alarms / harmful.count(False), 1 - hits / harmful.count(True)))
    return found


def sorted_in_place(scores: list[float], harmful: list[bool]) -> Points:
    found = in_groups(scores, harmful)
    scores.sort()
    return found


def a_flat_list(scores: list[float], harmful: list[bool]) -> list[float]:
    return [value for point in in_groups(scores, harmful) for value in point]


def two_of_a_score(scores: list[float], harmful: list[bool]) -> Points:
    """Ties of two are seen, of three are not."""
    pairs = sorted(zip(scores, harmful, strict=True), reverse=True)
    alarms, hits, found, i = 0, 0, [(0.0, 1.0)], 0
    while i < len(pairs):
        together = 2 if i + 1 < len(pairs) and pairs[i + 1][0] == pairs[i][0] else 1
        for _, bad in pairs[i : i + together]:
            hits, alarms = hits + bad, alarms + (not bad)
        found.append((alarms / harmful.count(False), 1 - hits / harmful.count(True)))
        i += together
    return found


ANSWERS = {
    "read_last": Answers(
        right=[by_gather, by_a_loop, by_a_mask],
        wrong={
            end_of_batch: "last position of the batch",
            first_position: "first position",
            one_too_early: "one position too early",
            one_too_late: "one position too late",
            from_the_end: "count from the end",
            one_place_for_all: "where the longest text ends",
            all_for_each: "takes all from each row",
            dimension_left: "one dimension is left over",
            mean_with_padding: "padding included",
            mean_of_the_real: "mean over the real positions",
            cut_off: "no gradient",
            a_list: "you return a list",
            one_row_flat: "For a single row",
            lengths_changed: "You changed hidden or lengths",
            last_dimension: "the shape should be",
        },
    ),
    "posterior": Answers(
        right=[with_numpy, with_softmax, word_after_word],
        wrong={
            plain_products: "it stops (",
            smallest_taken_away: "so that none is above 0",
            first_word_alone: "what the first word says alone",
            rows_for_columns: "a row taken for a column",
            products_or_nothing: "it gives [0.5, 0.5]",
            no_division: "Divide both by their sum",
            prior_forgotten: "before any word",
            added_chances: "You added the chances",
            in_logarithms: "These are logarithms",
            exchanged_labels: "exchanged",
            each_word_once: "counts twice",
            needs_words: "without words tells nothing",
            words_emptied: "You changed prior or words",
        },
    ),
    "alarms_and_misses": Answers(
        right=[threshold_by_threshold, in_groups, with_tensors],
        wrong={
            ties_apart: "join at the same step",
            ties_apart_harm_first: "one step for both",
            pairs_exchanged: "The pairs are exchanged",
            hits_for_misses: "what is found",
            numbers_not_shares: "These are numbers of texts",
            shares_of_all: "Both shares are of all texts",
            from_below: "wrong order",
            step_for_each_text: "their step is there twice",
            above_the_threshold: ">= and not >",
            share_of_alarms: "by all alarms",
            fine_for_harmful: "the harmful texts for the fine",
            lowest_next: "from above",
            no_first: "The first point is missing",
            no_last: "The last point is missing",
            scores_are_shares: "need not lie between 0 and 1",
            in_the_given_order: "For scores [0.2",
            sorted_in_place: "You changed scores or harmful",
            a_flat_list: "Return a list of pairs",
            two_of_a_score: "All scores are equal",
        },
    ),
}
