"""Answers to the exercises of lesson 1."""

import math
import random
from collections import Counter, defaultdict
from itertools import accumulate, pairwise
from statistics import geometric_mean

import numpy as np
import torch

from tests.course.cases import Answers

Table = dict[str, dict[str, float]]


def shares(pairs: list[tuple[str, str]]) -> Table:
    """The right table for these pairs: mistakes are made in choosing them."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for word, following in pairs:
        counts[word][following] += 1
    return {word: {f: count / after.total() for f, count in after.items()} for word, after in counts.items()}


def share_by_share(words: list[str]) -> Table:
    pairs = list(pairwise(words))
    firsts = words[:-1]
    return {w: {b: pairs.count((a, b)) / firsts.count(w) for a, b in pairs if a == w} for w in firsts}


def by_a_matrix(words: list[str]) -> Table:
    vocabulary = sorted(set(words))
    counts = np.zeros((len(vocabulary), len(vocabulary)))
    for i in range(len(words) - 1):
        counts[vocabulary.index(words[i]), vocabulary.index(words[i + 1])] += 1
    table: Table = defaultdict(dict)
    for i, j in np.argwhere(counts):
        table[vocabulary[i]][vocabulary[j]] = counts[i, j] / counts[i].sum()
    return table


def raw_counts(words: list[str]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for word, following in pairwise(words):
        counts[word][following] += 1
    return counts


def share_of_all_pairs(words: list[str]) -> Table:
    return {
        word: {following: count / (len(words) - 1) for following, count in after.items()}
        for word, after in raw_counts(words).items()
    }


def share_of_the_words_count(words: list[str]) -> Table:
    return {
        word: {following: count / words.count(word) for following, count in after.items()}
        for word, after in raw_counts(words).items()
    }


def pairs_turned_round(words: list[str]) -> Table:
    return shares([(following, word) for word, following in pairwise(words)])


def each_pair_once(words: list[str]) -> Table:
    return shares(list(set(pairwise(words))))


def most_frequent_only(words: list[str]) -> Table:
    return {word: {max(after, key=lambda f: after[f]): 1.0} for word, after in shares(list(pairwise(words))).items()}


def zeros_for_the_rest(words: list[str]) -> Table:
    return {word: {w: after.get(w, 0.0) for w in words} for word, after in shares(list(pairwise(words))).items()}


def entry_for_the_last_word(words: list[str]) -> Table:
    table: Table = {word: {} for word in words}
    return table | shares(list(pairwise(words)))


def last_word_leads_to_the_first(words: list[str]) -> Table:
    return shares([(words[i - 1], words[i]) for i in range(len(words))])


def last_pair_lost(words: list[str]) -> Table:
    return shares([(words[i], words[i + 1]) for i in range(len(words) - 2)])


def one_index_too_far(words: list[str]) -> Table:
    return shares([(words[i], words[i + 1]) for i in range(len(words))])


def by_pairs(words: list[str]) -> dict[tuple[str, str], float]:
    counts = Counter(pairwise(words))
    return {pair: count / words[:-1].count(pair[0]) for pair, count in counts.items()}


def by_bisection(probabilities: list[float], u: float) -> int:
    found = int(np.searchsorted(np.cumsum(probabilities), u, side="right"))
    return min(found, len(probabilities) - 1)


def by_counting_ends_below(probabilities: list[float], u: float) -> int:
    return sum(u >= end for end in list(accumulate(probabilities))[:-1])


def taking_away(probabilities: list[float], u: float) -> int:
    position = 0
    while position < len(probabilities) - 1 and u >= probabilities[position]:
        u -= probabilities[position]
        position += 1
    return position


def in_torch(probabilities: list[float], u: float) -> torch.Tensor:
    return (torch.tensor(probabilities).cumsum(0) <= u).sum().clamp(max=len(probabilities) - 1)


def most_probable(probabilities: list[float], u: float) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def compared_with_each_alone(probabilities: list[float], u: float) -> int:
    for i, probability in enumerate(probabilities):
        if u < probability:
            return i
    return len(probabilities) - 1


def counted_from_one(probabilities: list[float], u: float) -> int:
    return by_bisection(probabilities, u) + 1


def border_to_the_left(probabilities: list[float], u: float) -> int:
    return int(np.searchsorted(np.cumsum(probabilities), u, side="left"))


def never_stops(probabilities: list[float], u: float) -> int:
    end, position = 0.0, 0
    for i, probability in enumerate(probabilities):
        end += probability
        if u < end:
            position = i
    return position


def falls_off_the_end(probabilities: list[float], u: float) -> int:  # type: ignore[return]
    end = 0.0
    for i, probability in enumerate(probabilities):
        end += probability
        if u < end:
            return i


def own_random_number(probabilities: list[float], u: float) -> int:
    return random.choices(range(len(probabilities)), probabilities)[0]


def the_probability_itself(probabilities: list[float], u: float) -> float:
    return probabilities[by_bisection(probabilities, u)]


def sorted_first(probabilities: list[float], u: float) -> int:
    return by_bisection(sorted(probabilities, reverse=True), u)


def through_torch(probabilities: list[float]) -> torch.Tensor:
    return torch.tensor(probabilities).log().neg().mean().exp()


def in_bits(probabilities: list[float]) -> float:
    bits = [math.log2(1 / p) for p in probabilities]
    return 2 ** (math.fsum(bits) / len(bits))


def one_over_the_geometric_mean(probabilities: list[float]) -> float:
    return 1 / geometric_mean(probabilities)


def mean_cost(probabilities: list[float]) -> float:
    return sum(-math.log(p) for p in probabilities) / len(probabilities)


def without_minus(probabilities: list[float]) -> float:
    return math.exp(-mean_cost(probabilities))


def bits_in_the_power_of_e(probabilities: list[float]) -> float:
    return math.exp(sum(-math.log2(p) for p in probabilities) / len(probabilities))


def sum_of_the_costs(probabilities: list[float]) -> float:
    return math.exp(sum(-math.log(p) for p in probabilities))


def power_of_the_mean(probabilities: list[float]) -> float:
    return math.exp(-sum(probabilities) / len(probabilities))


def loss_of_the_mean(probabilities: list[float]) -> float:
    return math.exp(-math.log(sum(probabilities) / len(probabilities)))


def mean_of_the_perplexities(probabilities: list[float]) -> float:
    return sum(math.exp(-math.log(p)) for p in probabilities) / len(probabilities)


def root_of_the_product(probabilities: list[float]) -> float:
    return float(math.prod(probabilities) ** (-1 / len(probabilities)))


def always_halved(probabilities: list[float]) -> float:
    return math.exp(sum(-math.log(p) for p in probabilities) / 2)


def latest_only(words: list[str]) -> Table:
    return {word: {following: 1.0} for word, following in pairwise(words)}


def lists_of_followers(words: list[str]) -> dict[str, list[str]]:
    return {word: [b for a, b in pairwise(words) if a == word] for word in words[:-1]}


def rounded_down(words: list[str]) -> dict[str, dict[str, int]]:
    return {
        word: {following: count // after.total() for following, count in after.items()}
        for word, after in raw_counts(words).items()
    }


def two_words_on(words: list[str]) -> Table:
    return shares(list(zip(words, words[2:], strict=False)))


def equal_pieces(probabilities: list[float], u: float) -> int:
    return int(u * len(probabilities))


def weighed_by_p(probabilities: list[float]) -> float:
    return math.exp(-sum(p * math.log(p) for p in probabilities))


def rounded_shares(words: list[str]) -> Table:
    return {
        word: {following: round(share, 2) for following, share in after.items()}
        for word, after in shares(list(pairwise(words))).items()
    }


def eats_the_words(words: list[str]) -> Table:
    table = share_by_share(words)
    words.pop()
    return table


def in_small_letters(words: list[str]) -> Table:
    return shares(list(pairwise([word.lower() for word in words])))


def next_other_word(words: list[str]) -> Table:
    return shares([(a, b) for a, b in pairwise(words) if a != b])


def one_pair_at_least(words: list[str]) -> Table:
    return shares(list(pairwise(words))) if len(words) > 1 else {word: {} for word in words}


def largest_first(probabilities: list[float], u: float) -> int:
    order = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    return order[by_bisection([probabilities[i] for i in order], u)]


def running_sum_in_place(probabilities: list[float], u: float) -> int:
    for i in range(1, len(probabilities)):
        probabilities[i] += probabilities[i - 1]
    return min(sum(u >= end for end in probabilities), len(probabilities) - 1)


def onto_the_empty_one(probabilities: list[float], u: float) -> int:
    if 0.0 in probabilities:
        return probabilities.index(0.0)
    return by_bisection(probabilities, u)


def in_hundredths(probabilities: list[float], u: float) -> int:
    line = [i for i, p in enumerate(probabilities) for _ in range(round(100 * p))]
    if not line:
        return 0
    return line[int(u * len(line))] if u < 0.9999 else len(probabilities) - 1


def by_the_median(probabilities: list[float]) -> float:
    return math.exp(float(np.median([-math.log(p) for p in probabilities])))


def each_probability_once(probabilities: list[float]) -> float:
    return mean_of_logs(sorted(set(probabilities)))


def mean_of_logs(probabilities: list[float]) -> float:
    return math.exp(mean_cost(probabilities))


def rounded_perplexity(probabilities: list[float]) -> float:
    return round(mean_of_logs(probabilities), 2)


def four_digits(probabilities: list[float]) -> float:
    return round(mean_of_logs(probabilities), 4)


def eats_the_probabilities(probabilities: list[float]) -> float:
    n, cost = len(probabilities), 0.0
    while probabilities:
        cost -= math.log(probabilities.pop())
    return math.exp(cost / n)


ANSWERS = {
    "bigram_probabilities": Answers(
        right=[share_by_share, by_a_matrix],
        wrong={
            raw_counts: "These are counts",
            share_of_all_pairs: "sums to 0.2727, not to 1",
            share_of_the_words_count: "only 2/3 after",
            pairs_turned_round: 'does "." come before "the" or after it?',
            each_pair_once: "Where does the second time get lost?",
            most_frequent_only: 'But "the dog" stands in the text too',
            zeros_for_the_rest: 'Some words in it never follow "the"',
            entry_for_the_last_word: 'an empty entry "up"',
            last_word_leads_to_the_first: """your table["up"] is {'go': 1.0}""",
            last_pair_lost: """your table["go"] is {'dog': 1.0}""",
            one_index_too_far: "IndexError",
            by_pairs: "What are the keys of your table?",
            latest_only: 'But "the cat" stands in the text too',
            lists_of_followers: "It should be a dict",
            rounded_down: "What does 2 // 3 give",
            two_words_on: """your table["the"] is {'sat'""",
            rounded_shares: "Who shortened the numbers?",
            eats_the_words: "Can you leave them alone?",
            in_small_letters: "two words here",
            next_other_word: """your table["go"] is {'up': 1.0}""",
            one_pair_at_least: "How many pairs of neighbours",
        },
    ),
    "draw": Answers(
        right=[by_bisection, by_counting_ends_below, taking_away, in_torch],
        wrong={
            most_probable: "the most probable position",
            compared_with_each_alone: "where on the line does the piece of length 0.6 begin?",
            counted_from_one: "All are one place off",
            border_to_the_left: "u = 0.2 you return 0. That is a border",
            never_stops: "the last position, whatever u is",
            falls_off_the_end: "Right up to rounding",
            own_random_number: "now this, now that",
            the_probability_itself: "These are probabilities",
            sorted_first: "Draw the line on paper",
            equal_pieces: "the same length on the line?",
            largest_first: "the largest first?",
            running_sum_in_place: "Can you leave it alone?",
            onto_the_empty_one: "can anything fall on it?",
            in_hundredths: "instead of 456",
        },
    ),
    "perplexity_of": Answers(
        right=[through_torch, in_bits, one_over_the_geometric_mean],
        wrong={
            without_minus: "you return 0.25. A perplexity below 1",
            bits_in_the_power_of_e: "different bases",
            sum_of_the_costs: "both steps together",
            power_of_the_mean: "a power of the mean probability",
            loss_of_the_mean: "1 / (mean of p)",
            mean_cost: "That is the loss, in nats",
            mean_of_the_perplexities: "mean of the single perplexities",
            root_of_the_product: "10,000 probabilities of 0.01 your function stops with ZeroDivisionError",
            always_halved: "Right for two probabilities",
            weighed_by_p: "as in an entropy",
            by_the_median: "the median",
            each_probability_once: "How often do you count it?",
            rounded_perplexity: "Who shortened it?",
            eats_the_probabilities: "Can you leave it alone?",
            four_digits: "Where do you round?",
        },
    ),
}
