"""The checks of lesson 15, classification."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close, same_slopes


@Exercise
def read_last(answer: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """The vector at each row's last real token."""
    generator = torch.Generator().manual_seed(15)
    for lengths in ([2, 3, 1], [4, 1, 2]):  # the first with no row that fills the batch
        hidden = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
        hidden[:, 0] = hidden[0, 0]  # the first token is the same in all rows
        kept, given = hidden.clone(), torch.tensor(lengths)
        expected = torch.stack([hidden[i, n - 1] for i, n in enumerate(lengths)])
        found = answer(hidden, given)
        what = f"For lengths {lengths} in a batch of 4 positions"
        if not close(hidden, kept) or given.tolist() != lengths:
            return "You changed hidden or lengths. They belong to the caller."
        if isinstance(found, list):
            return f"{what} you return a list. Return one tensor (B, d_model), for example with torch.stack."
        if not isinstance(found, Tensor):
            return f"{what} you return a {type(found).__name__}, and the head needs a tensor (B, d_model)."
        if found.shape == (3, 3, 2):
            return f"{what} the result is (3, 3, 2): `hidden[:, positions]` takes all from each row. Give rows too."
        if found.shape == (3, 1, 2):
            return f"{what} the result is (3, 1, 2): one dimension is left over, with one position in it."
        if found.shape != expected.shape:
            return f"{what} the shape should be (3, 2), a vector for each text, not {tuple(found.shape)}."
        if close(found, expected):
            continue
        if close(found, hidden[:, -1]):
            return f"{what} you read the last position of the batch. In a shorter row, that is padding."
        if close(found, hidden[:, 0]):
            return f"{what} you read the first position. It has seen one token, the same in every text."
        if close(found, torch.stack([hidden[i, min(n, 3)] for i, n in enumerate(lengths)])) or close(
            found, torch.stack([hidden[i, n % 4] for i, n in enumerate(lengths)])
        ):
            return f"{what} you read one position too late. Positions count from 0: which is the last of 2 tokens?"
        if close(found, torch.stack([hidden[i, n - 2] for i, n in enumerate(lengths)])):
            return f"{what} you read one position too early. Positions count from 0: which is the last of 2 tokens?"
        if close(found, torch.stack([hidden[i, -n] for i, n in enumerate(lengths)])):
            return (
                f"{what} you count from the end of the row, where the padding is. Real tokens stand at its beginning."
            )
        if close(found, hidden[:, max(lengths) - 1]):
            return f"{what} you read where the longest text ends. Each row has an end of its own."
        if close(found, hidden.mean(1)):
            return f"{what} you took the mean over all positions, padding included."
        if close(found, torch.stack([hidden[i, :n].mean(0) for i, n in enumerate(lengths)])):
            return f"{what} you took the mean over the real positions. Only the last one has seen the whole text."
        return f"{what} row 0 should read position {lengths[0] - 1}, row 1 position {lengths[1] - 1}."
    one = torch.randn(1, 3, 2, generator=generator, dtype=torch.float64)
    if not close(answer(one, torch.tensor([2])), one[:, 1]):
        return "Right for three rows. For a single row of length 2 the result should be its position 1, shape (1, 2)."
    two = torch.tensor([2, 1])
    if not same_slopes(lambda h: answer(h, two), lambda h: h[torch.arange(2), two - 1], one.expand(2, 3, 2)):
        return "The numbers are right, but no gradient comes back through them: the blocks below could not learn."
    return None


@Exercise
def posterior(answer: Callable[[list[float], list[list[float]]], list[float]]) -> str | None:
    """Bayes' theorem for labels and words."""
    prior, words = [0.5, 0.5], [[0.4, 0.1], [0.2, 0.3]]
    found = answer(prior, words)
    if prior != [0.5, 0.5] or words != [[0.4, 0.1], [0.2, 0.3]]:
        return "You changed prior or words. They belong to the caller."
    if close(found, [0.04, 0.015]):
        return "These are the products. Divide both by their sum: probabilities add up to 1."
    if close(found, [math.log(8 / 11), math.log(3 / 11)]) or close(found, [math.log(0.04), math.log(0.015)]):
        return "These are logarithms. Go back with exp, and let them add up to 1."
    if close(found, [0.6 / 1.0, 0.4 / 1.0]):
        return "You added the chances of the words. Independent chances are multiplied, logarithms added."
    if close(found, [0.8, 0.2]):
        return "[0.8, 0.2] is what the first word says alone. Where does the second come in?"
    if close(found, [0.4, 0.6]):
        return (
            "[0.4, 0.6] comes from the second word alone, or from a row taken for a column: words[0] is one word under "
            "each label, and a label multiplies down its column."
        )
    if close(found, [3 / 11, 8 / 11]):
        return "The two labels are exchanged."
    if not close(found, [8 / 11, 3 / 11]):
        return "For the table of the lesson it should be [0.7273, 0.2727]: 0.040 and 0.015, divided by their sum."
    found = answer([0.8, 0.1, 0.1], [[0.2, 0.4, 0.3]])
    if close(found, [2 / 9, 4 / 9, 3 / 9]):
        return "Right where all labels are as likely before any word. With prior [0.8, 0.1, 0.1] it is missing."
    if not close(found, [16 / 23, 4 / 23, 3 / 23]):
        return f"For prior [0.8, 0.1, 0.1] and one word [0.2, 0.4, 0.3] it should be [16, 4, 3] / 23, not {found}."
    if not close(answer([0.8, 0.2], []), [0.8, 0.2]):
        return "A comment without words tells nothing: the prior should come back as it is."
    if not close(answer([0.5, 0.5], [[0.4, 0.1], [0.4, 0.1]]), [16 / 17, 1 / 17]):
        return "A word that comes twice counts twice: [[0.4, 0.1], [0.4, 0.1]] gives 16 to 1."
    word = [0.002, 0.001]
    try:
        came = f"gives {(found := answer([0.5, 0.5], [word] * 500 + [[0.001, 0.002]] * 499))}"
    except (ZeroDivisionError, ValueError) as error:
        found, came = [], f"stops ({error})"
    if not close(found, [2 / 3, 1 / 3], 1e-4):
        return (
            f"Right for short comments. For 999 words of chances about 0.001 it {came}: the products have "
            "fallen to 0. Add logarithms, and take the largest away before exp."
        )
    try:
        found = answer([0.5, 0.5], [[1.0, 0.001]] * 600)
    except OverflowError:
        return (
            "Right for short comments. For 600 words that all speak for label 0, exp gets a number that is too large: "
            "take the *largest* logarithm away, so that none is above 0."
        )
    if not close(found, [1.0, 0.0]):
        return "Right for short comments. For 600 words that all speak for label 0 it should be [1, 0]."
    if not close(answer([1e-300, 1e-300], [[0.1, 0.3]] * 20), [1 / (1 + 3**20), 1 - 1 / (1 + 3**20)], 1e-4):
        return "Priors that are tiny but equal change nothing. Take the *largest* logarithm away, not a constant."
    return None


@Exercise
def alarms_and_misses(
    answer: Callable[[list[float], list[bool]], list[tuple[float, float]]],
) -> str | None:
    """False alarms and misses for each threshold."""
    scores, harmful = [0.9, 0.7, 0.7, 0.4, 0.1], [True, False, True, False, False]
    found = answer(scores, harmful)
    if scores != [0.9, 0.7, 0.7, 0.4, 0.1] or harmful != [True, False, True, False, False]:
        return "You changed scores or harmful. They belong to the caller: sort a copy."
    expected = _points(scores, harmful)
    if isinstance(found, list) and all(isinstance(p, tuple | list) and len(p) == 2 for p in found):
        points = [(float(a), float(m)) for a, m in found]
    else:
        return "Return a list of pairs (share of false alarms, share of misses)."
    for hint, wrong in {
        "The pairs are exchanged: false alarms first, then misses.": [(m, a) for a, m in expected],
        "The second number should be what is missed, and you return what is found: 1 minus it.": [
            (a, 1 - m) for a, m in expected
        ],
        "These are numbers of texts. Divide false alarms by all fine texts and misses by all harmful ones.": [
            (3 * a, 2 * m) for a, m in expected
        ],
        "Both shares are of all texts. Divide false alarms by the fine texts and misses by the harmful ones.": [
            (3 * a / 5, 2 * m / 5) for a, m in expected
        ],
        "The points are right and stand in the wrong order: begin with no alarm, (0, 1).": expected[::-1],
        "The first point is missing: a threshold above all scores, no alarm at all, (0, 1).": expected[1:],
        "The last point is missing: alarm everywhere, (1, 0).": expected[:-1],
        "Two texts have the score 0.7. No threshold is between them: they join at the same step.": [
            *expected[:2], (1 / 3, 0.5), *expected[2:],
        ],
        "Two texts have the score 0.7. No threshold lies between them: one step for both.": [
            *expected[:2], (0.0, 0.0), *expected[2:],
        ],
        "Two texts have the score 0.7, and their step is there twice. One step for each different score.": [
            *expected[:3], *expected[2:],
        ],
        "A text whose score *is* the threshold raises an alarm, too: >= and not >.": [expected[0], *expected[:-1]],
        "You divided false alarms by all alarms. Divide them by all fine texts.": [
            (0.0, 1.0), (0.0, 0.5), (1 / 3, 0.0), (2 / 4, 0.0), (3 / 5, 0.0),
        ],
        "You took the harmful texts for the fine ones.": _points(scores, [not bad for bad in harmful]),
        "After no alarm come the *highest* scores: go through the thresholds from above.": [
            expected[0], *expected[:0:-1],
        ],
    }.items():  # fmt: skip
        if close(points, wrong):
            return hint
    if not close(points, expected):
        return f"For the five texts of the exercise it should be {_shown(expected)}, not {_shown(points)}."
    cases: list[tuple[list[float], list[bool]]] = [
        ([0.2, 0.8, 0.3, 0.7, 0.6], [False, True, True, False, False]),
        ([-3.0, 5.0, 40.0], [False, True, False]),
        ([0.5, 0.5, 0.5], [True, False, False]),
        ([0.1, 0.9], [True, False]),
        ([0.3, 0.3, 0.7, 0.7, 0.7, 0.1], [True, True, False, True, False, False]),
    ]
    for scores, harmful in cases:
        wanted = _points(scores, harmful)
        points = [(float(a), float(m)) for a, m in answer(list(scores), list(harmful))]
        if close(points, wanted):
            continue
        shown = f"For scores {scores} and harmful {harmful} it should be {_shown(wanted)}, not {_shown(points)}."
        if len(set(scores)) == 1:
            return f"All scores are equal, so there are two steps: no alarm, and alarm everywhere. {shown}"
        if min(scores) < 0 or max(scores) > 1:
            return f"A score need not lie between 0 and 1. {shown}"
        if len(points) != len(wanted):
            return f"One step for each different score, and one without alarm. {shown}"
        return shown
    return None


def _shown(points: list[tuple[float, float]]) -> str:
    return "[" + ", ".join(f"({a:.2f}, {m:.2f})" for a, m in points) + "]"


def _points(scores: list[float], harmful: list[bool]) -> list[tuple[float, float]]:
    """By the definition: for each threshold, count."""
    fine, bad = harmful.count(False), harmful.count(True)
    found = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        alarm = [score >= threshold for score in scores]
        alarms = sum(a and not h for a, h in zip(alarm, harmful, strict=True))
        misses = sum(h and not a for a, h in zip(alarm, harmful, strict=True))
        found.append((alarms / fine, misses / bad))
    return found
