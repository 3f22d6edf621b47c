"""Answers to the exercises of lesson 24, right and wrong."""

import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.course.cases import Answers

Finish = Callable[[Tensor], float]


def by_masks(weights: Tensor, ids: Tensor) -> float:
    same = (ids[:, None] == ids[None, :]).tril(-1)
    after = F.pad(same[:, :-1], (1, 0)).tril(-1)
    if not after.any():
        raise ValueError("nothing comes again")
    return (weights * after).sum(-1)[after.any(-1)].mean().item()


def with_lists(weights: Tensor, ids: Tensor) -> float:
    tokens, rows = ids.tolist(), weights.tolist()
    found = [
        sum(rows[t][j] for j in range(1, t) if tokens[j - 1] == tokens[t])
        for t in range(1, len(tokens))
        if tokens[t] in tokens[: t - 1]
    ]
    if not found:
        raise ValueError("nothing comes again")
    return sum(found) / len(found)


def one_before(weights: Tensor, ids: Tensor) -> float:
    same = (ids[:, None] == ids[None, :]).tril(-1)
    before = F.pad(same[:, 1:], (0, 1))
    return (weights * before).sum(-1)[same.any(-1)].mean().item()


def swapped(weights: Tensor, ids: Tensor) -> float:
    return by_masks(weights.T, ids)


def zero_for_none(weights: Tensor, ids: Tensor) -> float:
    return by_masks(weights, ids) if len(set(ids.tolist())) < len(ids) else 0.0


def by_nothing(weights: Tensor, ids: Tensor) -> float:
    return by_masks(weights, ids) if len(set(ids.tolist())) < len(ids) else 0.0 / 0


def summed(weights: Tensor, ids: Tensor) -> float:
    return by_masks(weights, ids) * sum(1 for t in range(len(ids)) if ids[t] in ids[:t])


def over_all_places(weights: Tensor, ids: Tensor) -> float:
    return summed(weights, ids) / len(ids)


def duplicates(weights: Tensor, ids: Tensor) -> float:
    same = (ids[:, None] == ids[None, :]).tril(-1)
    return (weights * same).sum(-1)[same.any(-1)].mean().item()


def two_further(weights: Tensor, ids: Tensor) -> float:
    same = (ids[:, None] == ids[None, :]).tril(-1)
    after = F.pad(same[:, :-2], (2, 0))
    return (weights * after).sum(-1)[same.any(-1)].mean().item()


def first_place(weights: Tensor, ids: Tensor) -> float:
    for t in range(len(ids)):
        for j in range(t):
            if ids[j] == ids[t]:
                return float(weights[t, j + 1])
    return 0.0


def latest_equal_only(weights: Tensor, ids: Tensor) -> float:
    found = []
    for t in range(len(ids)):
        before = [j for j in range(t) if ids[j] == ids[t]]
        if before:
            found.append(float(weights[t, before[-1] + 1]))
    return sum(found) / len(found)


def counts_itself(weights: Tensor, ids: Tensor) -> float:
    same = (ids[:, None] == ids[None, :]).tril(-1)
    after = F.pad(same[:, :-1], (1, 0)).tril()
    return (weights * after).sum(-1)[same.any(-1)].mean().item()


def with_index(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    put = {
        "zero": lambda: torch.zeros_like(heads),
        "mean": lambda: others.mean(dim=(0, 1)).expand_as(heads),
        "resample": lambda: others,
    }
    if how not in put:
        raise ValueError(how)
    this = (torch.arange(heads.size(2)) == head)[:, None]
    return torch.where(this, put[how](), heads)


def with_pieces(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    pieces, theirs = list(heads.unbind(2)), others.unbind(2)[head]
    if how == "zero":
        pieces[head] = torch.zeros_like(theirs)
    elif how == "mean":
        pieces[head] = theirs.flatten(0, 1).mean(0) + torch.zeros_like(theirs)
    elif how == "resample":
        pieces[head] = theirs
    else:
        raise ValueError(f"unknown: {how}")
    return torch.stack(pieces, 2)


def in_place(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    heads[:, :, head] = with_index(heads, others, head, how)[:, :, head]
    return heads


def changed_by(
    change: Callable[[Tensor, Tensor, int], Tensor], way: str
) -> Callable[[Tensor, Tensor, int, str], Tensor]:
    def answer(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
        new = with_index(heads, others, head, how)
        if how == way:
            new = new.clone()
            new[:, :, head] = change(heads, others, head)
        return new

    return answer


mean_over_texts = changed_by(lambda h, o, n: o[:, :, n].mean(0, keepdim=True), "mean")
mean_over_places = changed_by(lambda h, o, n: o[:, :, n].mean(1, keepdim=True), "mean")
one_number = changed_by(lambda h, o, n: o[:, :, n].mean(), "mean")
mean_of_these = changed_by(lambda h, o, n: h[:, :, n].mean((0, 1)), "mean")
mean_of_all_heads = changed_by(lambda h, o, n: o.mean((0, 1, 2)), "mean")
from_these = changed_by(lambda h, o, n: h[:, :, n].roll(1, 0), "resample")
another_row = changed_by(lambda h, o, n: o[:, :, n].roll(1, 0), "resample")
first_row = changed_by(lambda h, o, n: o[:1, :, n], "resample")


def all_heads(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    return others.clone() if how == "resample" else with_index(heads, others, head, how)


def whole_place(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    new = heads.clone()
    new[:, head] = 0
    return new


def nothing(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    return heads.clone()


def any_way(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    return with_index(heads, others, head, how if how in ("zero", "mean") else "resample")


def cut_heads(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    return with_index(heads, others, head, how).detach()


def by_cat(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    low, high = finish(here), finish(there)
    if low == high:
        raise ValueError("nowhere to go")
    return [
        (finish(torch.cat([here[:t], there[t : t + 1], here[t + 1 :]])) - low) / (high - low) for t in range(len(here))
    ]


def by_where(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    low = finish(here)
    way = finish(there) - low
    if not way:
        raise ValueError("nowhere to go")
    place = torch.arange(len(here))[:, None]
    return [(finish(torch.where(place == t, there, here)) - low) / way for t in range(len(here))]


def changes(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    way = finish(there) - finish(here)
    return [share * way for share in by_cat(finish, here, there)]


def raw(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    return [finish(here) + change for change in changes(finish, here, there)]


def piled_up(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    low, high, mixed, shares = finish(here), finish(there), here.clone(), []
    for t in range(len(here)):
        mixed[t] = there[t]
        shares.append((finish(mixed) - low) / (high - low))
    return shares


def of_the_end(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    return [change / finish(there) for change in changes(finish, here, there)]


def the_other_way(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    return [1 - share for share in by_cat(finish, here, there)]


def wrong_sign(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    return [-share for share in by_cat(finish, here, there)]


def added(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    low, high, shares = finish(here), finish(there), []
    if low == high:
        raise ValueError("nowhere to go")
    for t in range(len(here)):
        mixed = here.clone()
        mixed[t] += there[t]
        shares.append((finish(mixed) - low) / (high - low))
    return shares


def writes_into_here(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    shares = by_cat(finish, here, there)
    here[-1] = there[-1]
    return shares


def divides_by_zero(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    low, high = finish(here), finish(there)
    return [
        (finish(torch.cat([here[:t], there[t : t + 1], here[t + 1 :]])) - low) / (high - low) for t in range(len(here))
    ]


def zeros_where_equal(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    try:
        return by_cat(finish, here, there)
    except ValueError:
        return [0.0] * len(here)


def adds_up(finish: Finish, here: Tensor, there: Tensor) -> list[float]:
    shares = by_cat(finish, here, there)
    return [share / sum(shares) for share in shares]


Types = Sequence[str]
Labels = Sequence[int]


def table_first(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    table = {type_: rng.choice(labels) for type_ in dict.fromkeys(types)}
    return [table[type_] for type_ in types]


def recursive(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    known: dict[str, int] = {}

    def label(type_: str) -> int:
        try:
            return known[type_]
        except KeyError:
            known[type_] = rng.choice(labels)
            return label(type_)

    return list(map(label, types))


def each_example(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    return [rng.choice(labels) for _ in types]


def each_type_once(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    return [rng.choice(labels) for _ in dict.fromkeys(types)]


def even_odds(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    table = {type_: rng.choice(sorted(set(labels))) for type_ in dict.fromkeys(types)}
    return [table[type_] for type_ in types]


def true_ones(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    table: dict[str, int] = {}
    for type_, label in zip(types, [*labels, *[labels[0]] * len(types)], strict=False):
        table.setdefault(type_, label)
    return [table[type_] for type_ in types]


def own_dice(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    return table_first(types, labels, random.Random())


def fixed_seed(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    return table_first(types, labels, random.Random(0))


def sorted_types(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    table = {type_: rng.choice(labels) for type_ in sorted(set(types), reverse=True)}
    return [table[type_] for type_ in types]


def shuffled_in_place(types: Types, labels: list[int], rng: random.Random) -> list[int]:
    found = table_first(types, labels, rng)
    labels.reverse()
    labels.append(1)
    return found


def numbers(types: Types, labels: Labels, rng: random.Random) -> list[int]:
    table = {type_: 2 + rng.choice(labels) for type_ in dict.fromkeys(types)}
    return [table[type_] for type_ in types]


ANSWERS = {
    "copying_score": Answers(
        right=[by_masks, with_lists],
        wrong={
            summed: "That is the sum",
            over_all_places: "divides by all places",
            duplicates: "the earlier equal token itself",
            two_further: "two places after",
            first_place: "the first of two places",
            latest_equal_only: "weights after both add up",
            counts_itself: "counts for itself",
            one_before: "one place *before*",
            swapped: "Are they swapped?",
            zero_for_none: "no token comes again, and",
            by_nothing: "divides by zero",
        },
    ),
    "taken_away": Answers(
        right=[with_index, with_pieces],
        wrong={
            in_place: "Work on a clone",
            mean_over_texts: "one for each place",
            mean_over_places: "one for each text",
            one_number: "one number for the whole head",
            mean_of_these: "that is the mean over these texts",
            mean_of_all_heads: "mixes all heads",
            from_these: "from these same texts",
            another_row: "another row of `others`",
            first_row: "one text of `others` for all",
            all_heads: "replaces the other heads",
            whole_place: "the other heads have changed",
            nothing: "nothing has changed",
            any_way: "raises no ValueError",
            cut_heads: "the gradient",
        },
    ),
    "shares_by_place": Answers(
        right=[by_cat, by_where],
        wrong={
            changes: "Those are the changes",
            raw: "the numbers that finish gives",
            piled_up: "pile up",
            of_the_end: "divides by the last number",
            the_other_way: "what is *lost*",
            wrong_sign: "the wrong sign",
            added: "*replaced*",
            writes_into_here: "into a clone",
            divides_by_zero: "divides by zero",
            zeros_where_equal: "there is no way to go",
            adds_up: "only together",
        },
    ),
    "random_labels": Answers(
        right=[table_first, recursive],
        wrong={
            each_example: "gets different labels",
            each_type_once: "Give each example one",
            even_odds: "as frequent as the true ones",
            true_ones: "The labels hang on the true ones",
            own_dice: "With the same rng",
            fixed_seed: "With every rng",
            sorted_types: "in the order in which the types first come",
            shuffled_in_place: "only given to read",
            numbers: "only 0 and 1 occur",
        },
    ),
}
