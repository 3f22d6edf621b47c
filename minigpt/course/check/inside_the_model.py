"""The checks of lesson 24, inside the model."""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close, same_slopes


@Exercise
def copying_score(answer: Callable[[Tensor, Tensor], float]) -> str | None:
    """The weight on what came right after an earlier equal token."""
    ids = torch.tensor([4, 1, 2, 4, 1])
    weights = torch.tensor(
        [
            [1.0, 0.0, 0.0, 0.0, 0.0],
            [0.5, 0.5, 0.0, 0.0, 0.0],
            [0.2, 0.3, 0.5, 0.0, 0.0],
            [0.05, 0.7, 0.1, 0.15, 0.0],
            [0.1, 0.15, 0.4, 0.25, 0.1],
        ],
        dtype=torch.float64,
    )
    handed = weights.clone(), ids.clone()
    got = float(answer(*handed))
    came = f"For the ids 4 1 2 4 1, where 0.7 and 0.4 lie on the followers, you return {got:.4g}."
    if not (torch.equal(handed[0], weights) and torch.equal(handed[1], ids)):
        return "Your function changes a tensor that it was only given to read."
    mistakes = {
        1.1: "That is the sum. How many places have an earlier equal?",
        1.1 / 5: "That divides by all places. Only two of them have an earlier equal token.",
        (0.05 + 0.15) / 2: "That is the weight on the earlier equal token itself. Look one place further.",
        (0.05 + 0.15 + 0.15 + 0.1)
        / 2: "That looks at equal tokens, the place itself included. Look one place further.",
        (0.1 + 0.25) / 2: "That is two places after the equal token.",
        (0.0 + 0.1) / 2: "That is one place *before* the equal token. Look one place after it.",
        0.0: "The row looks, the column is looked at. Are they swapped?",
        0.7: "That is the first of two places. Take the mean over all.",
        0.4: "That is the last of two places. Take the mean over all.",
    }
    if not close(got, 0.55, 1e-6):
        for value, hint in mistakes.items():
            if close(got, value, 1e-6):
                return f"{came} {hint}"
        return f"{came} By hand: (0.7 + 0.4) / 2 = 0.55."
    cases = (
        (
            [3, 5, 3, 6, 3],
            [
                [1.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0], [0.2, 0.3, 0.5, 0.0, 0.0],
                [0.25, 0.25, 0.25, 0.25, 0.0], [0.1, 0.2, 0.2, 0.3, 0.2],
            ],
            (0.3 + 0.5) / 2,
            "the last 3 has two earlier equals, and the weights after both add up",
        ),
        ([2, 5, 2], [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]], 1 / 3, "nothing is rounded"),
        (
            [9, 9, 9],
            [[1.0, 0.0, 0.0], [0.4, 0.6, 0.0], [0.2, 0.3, 0.5]],
            0.3,
            "only the last 9 has an earlier place right after a 9, and no place counts for itself",
        ),
    )  # fmt: skip
    for tokens, rows, right, why in cases:
        value = float(answer(torch.tensor(rows, dtype=torch.float64), torch.tensor(tokens)))
        if not close(value, right, 1e-6):
            return f"Right for 4 1 2 4 1. For {tokens} you return {value:.4g} instead of {right:.4g}: {why}."
    try:
        answer(torch.full((3, 3), 1 / 3).tril(), torch.tensor([1, 2, 3]))
    except ValueError:
        return None
    except ZeroDivisionError:
        return "For 1 2 3, where no token comes again, your function divides by zero. Raise a ValueError that says why."
    return "For 1 2 3 no token comes again, and there is nothing to take the mean of. Raise a ValueError."


@Exercise
def taken_away(answer: Callable[[Tensor, Tensor, int, str], Tensor]) -> str | None:
    """One head's output replaced by zeros, its mean over other texts, or another text's."""
    generator = torch.Generator().manual_seed(0)
    heads, others = torch.randn(2, 3, 4, 3, 2, generator=generator, dtype=torch.float64)
    for how in ("zero", "mean", "resample"):
        for head in (1, 0, 2):
            handed = heads.clone(), others.clone()
            got = torch.as_tensor(answer(*handed, head, how)).detach()
            came = f"With how={how!r} and head {head} of 3:"
            if not (torch.equal(handed[0], heads) and torch.equal(handed[1], others)):
                return f"{came} your function changes a tensor that it was only given to read. Work on a clone."
            if got.shape != heads.shape:
                return f"{came} you return the shape {tuple(got.shape)}. The result has that of `heads`."
            if close(got, _taken_away(heads, others, head, how)):
                continue
            if torch.equal(got, heads):
                return f"{came} nothing has changed."
            if torch.equal(got, others) or (close(got[:, :, head], heads[:, :, head]) and how == "resample"):
                return f"{came} that replaces the other heads. Only this one is to be replaced."
            left = [h for h in range(3) if h != head]
            if not close(got[:, :, left], heads[:, :, left]):
                return (
                    f"{came} the other heads have changed, too. `[:, :, head]` is one head, at all places of all texts."
                )
            mine = got[:, :, head]
            mistakes = {
                "that is the mean over texts, one for each place. Take it over places as well.": others[:, :, head]
                .mean(0, keepdim=True)
                .expand_as(mine),
                "that is the mean over places, one for each text. Take it over texts as well.": others[:, :, head]
                .mean(1, keepdim=True)
                .expand_as(mine),
                "that is one number for the whole head. Each of its head_size numbers has a mean of its own.": others[
                    :, :, head
                ]
                .mean()
                .expand_as(mine),
                "that is the mean over these texts. What was asked for is that over the *other* texts.": heads[
                    :, :, head
                ]
                .mean((0, 1))
                .expand_as(mine),
                "that mixes all heads into the mean. Take this head's alone.": others.mean((0, 1, 2)).expand_as(mine),
                "that resamples from these same texts. Take `others`.": heads[:, :, head].roll(1, 0),
                "that is another row of `others`. Take the text in the same row.": others[:, :, head].roll(1, 0),
                "that is one text of `others` for all. Take the text in the same row.": others[:1, :, head].expand_as(
                    mine
                ),
            }
            for hint, wrong in mistakes.items():
                if close(mine, wrong):
                    return f"{came} {hint}"
            return f"{came} the head's new output is not what was asked for."
    try:
        answer(heads.clone(), others.clone(), 0, "noise")
    except ValueError:
        pass
    else:
        return "For the unknown way 'noise' your function raises no ValueError: whoever mistypes gets a wrong result."
    for how in ("zero", "mean", "resample"):
        if not same_slopes(
            lambda x, h=how: answer(x, others, 1, h), lambda x, h=how: _taken_away(x, others, 1, h), heads
        ):
            return f"With how={how!r} the numbers are right, but the gradient of the other heads gets lost."
    return None


def _taken_away(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    new = heads.clone()
    theirs = others[:, :, head]
    new[:, :, head] = {"zero": theirs * 0, "mean": theirs.mean((0, 1)).expand_as(theirs), "resample": theirs}[how]
    return new


@Exercise
def shares_by_place(
    answer: Callable[[Callable[[Tensor], float], Tensor, Tensor], list[float]],
) -> str | None:
    """The share of the way that one row of another text brings, for each row."""
    here, there = torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    weight = torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 1.0]], dtype=torch.float64)

    def linear(stream: Tensor) -> float:
        return 2 + float((stream * weight).sum())

    handed = here.clone(), there.clone()
    got = answer(linear, *handed)
    came = f"For a `finish` that gives 2, and 2, 4 and 2 more for each row of `there`, you return {got}."
    if not (torch.equal(handed[0], here) and torch.equal(handed[1], there)):
        return "Your function changes `here` or `there`. Put the row into a clone."
    values = [float(x) for x in got]
    mistakes = {
        "Those are the changes. What is the whole way?": [2, 4, 2],
        "Those are the numbers that finish gives. Where does the way begin, and where does it end?": [4, 6, 4],
        "The rows pile up: only one of them may be changed at a time.": [0.25, 0.75, 1],
        "That divides by the last number. The way is from the number of `here` to that of `there`.": [0.2, 0.4, 0.2],
        "That is what is *lost*: you put rows of `here` into `there`, or take 1 minus the share.": [0.75, 0.5, 0.75],
        "The way has the wrong sign.": [-0.25, -0.5, -0.25],
        "That leaves the number of `here` in: take it off before you divide.": [0.4, 0.6, 0.4],
        "Above and below are not measured from the same point.": [0.5, 0.75, 0.5],
    }
    if not close(values, [0.25, 0.5, 0.25]):
        for hint, wrong in mistakes.items():
            if close(values, wrong):
                return f"{came} {hint}"
        if len(values) != 3:
            return f"{came} One share for each of 3 places was asked for."
        return f"{came} By hand: the way is 8 long, and the rows go 2, 4 and 2 of it."

    def together(stream: Tensor) -> float:  # the last two rows help only together
        return -float(stream[0, 0] + 3 * stream[1, 1] * stream[2, 0])

    for finish, right, why in (
        (together, [0.25, 0.0, 0.0], "two rows that work only together have no share alone"),
        (lambda s: float(s[2, 1]), [0.0, 0.0, 1.0], "only the last row counts"),
        (lambda s: float(s.sum() ** 2), [1 / 9] * 3, "the shares need not add up to 1"),
    ):
        values = [float(x) for x in answer(finish, here.clone(), there.clone())]
        if not close(values, right):
            return f"Right for a sum. For another `finish` you return {values} instead of {right}: {why}."
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    finish = lambda s: float((s**2).sum()) - 7  # noqa: E731
    ends = finish(one), finish(two)
    wanted = [
        (finish(torch.cat([one[:t], two[t : t + 1], one[t + 1 :]])) - ends[0]) / (ends[1] - ends[0]) for t in range(5)
    ]
    if not close([float(x) for x in answer(finish, one.clone(), two.clone())], wanted):
        return "Right where `here` is zeros. For other numbers the shares differ: is the row *replaced*, not added?"
    try:
        answer(linear, here.clone(), here.clone())
    except ValueError:
        return None
    except ZeroDivisionError:
        return "Where both texts give the same number your function divides by zero. Raise a ValueError that says why."
    return "Where both texts give the same number there is no way to go. Raise a ValueError."


@Exercise
def random_labels(answer: Callable[[Sequence[str], Sequence[int], random.Random], list[int]]) -> str | None:
    """A control task's labels: one at random for each type."""
    types = ["Ida", "Max", "Ida", "Tom", "Max", "Ida", "Anna", "Tom"] * 3
    labels = [1, 0, 1, 0, 0, 1, 1, 0] * 3
    handed = list(types), list(labels)
    got = list(answer(*handed, random.Random(0)))
    if handed != (types, labels):
        return "Your function changes a list that it was only given to read."
    if len(got) != len(types):
        return f"For {len(types)} examples you return {len(got)} labels. Give each example one."
    by_type: dict[str, set[int]] = {}
    for type_, label in zip(types, got, strict=True):
        by_type.setdefault(type_, set()).add(label)
    if uneven := [type_ for type_, drawn in by_type.items() if len(drawn) > 1]:
        return f"«{uneven[0]}» gets different labels. Draw once for each *type*, and keep it."
    if not set(got) <= set(labels):
        return f"You give the labels {sorted(set(got), key=str)}, and only 0 and 1 occur. Choose from `labels`."
    many = [f"type {i}" for i in range(400)]
    often = [0] * 9 + [1]
    share = sum(answer(many, often, random.Random(1))) / 400
    if share > 0.3:
        return (
            f"One true label of ten is a 1, and {share:.0%} of your types get a 1. "
            "Labels must be as frequent as the true ones: choose from the list with its repetitions."
        )
    again = [list(answer(types, labels, random.Random(3))) for _ in range(20)]
    if any(one != again[0] for one in again):
        return "With the same rng you return other labels. Draw with `rng` only."
    draws = [list(answer(types, labels, random.Random(seed))) for seed in range(20)]
    if all(one == draws[0] for one in draws):
        if draws[0] == [labels[types.index(type_)] for type_ in types]:
            return "The labels hang on the true ones. A control task is drawn at random."
        return "With every rng you return the same labels. Draw with `rng`."
    for seed in range(5):
        mine, rng = list(answer(types, labels, random.Random(seed))), random.Random(seed)
        expected = {type_: rng.choice(labels) for type_ in dict.fromkeys(types)}
        if mine != [expected[type_] for type_ in types]:
            return "Nearly: draw `rng.choice(labels)` once for each type, in the order in which the types first come."
    if list(answer([], [0, 1], random.Random(0))) != []:
        return "No example, no label: for an empty list return an empty list."
    return None
