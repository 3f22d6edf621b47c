"""The checks of lesson 21, small numbers."""

import copy
import random
from collections.abc import Callable
from numbers import Integral
from typing import Any

from minigpt.course.exercise import Exercise, close

Rows = list[list[float]]


def _whole(values: Any) -> list[Any]:
    """A list, array or tensor of numbers as a list."""
    return list(values.tolist() if hasattr(values, "tolist") else values)


@Exercise
def nibbles(answer: Callable[[bytes], list[int]]) -> str | None:
    """The whole numbers in the halves of bytes."""
    data = bytes([0x45, 0xF0, 0x0A])
    low, high = [5, 0, 10], [4, 15, 0]
    got = _whole(answer(data))
    came = f"For the bytes {data.hex(' ')} you return {got}."
    pairs = list(zip(low, high, strict=True))
    mistakes = {
        "Lower and upper half of each byte stand side by side. All lower ones come first.": [
            x for p in pairs for x in p
        ],
        "Upper and lower half of each byte stand side by side. All lower ones come first.": [
            x for p in pairs for x in reversed(p)
        ],
        "The upper halves come first. Byte i holds number i *below*.": high + low,
        "The upper halves are still in their place: 0x40 is 64. Shift them down.": low + [16 * x for x in high],
        "The first part is the whole bytes. `byte & 15` keeps the lower four bits.": [*data, *high],
        "The upper halves are missing.": low,
        "The lower halves are missing.": high,
        "Both parts are the lower halves.": low + low,
        "Both parts are the upper halves.": high + high,
        "The second part stands in reverse.": low + high[::-1],
    }
    for hint, wrong in mistakes.items():
        if got == wrong:
            return f"{came} {hint}"
    if got != low + high:
        return f"{came} By hand: 0x45 has 5 below and 4 above, 0xf0 has 0 and 15, 0x0a has 10 and 0."
    for other in (b"", b"\x7b", bytes(range(0, 256, 5))):
        if len(found := _whole(answer(other))) != 2 * len(other):
            return f"Right for three bytes. For {len(other)} you return {len(found)} numbers. Is a length fixed?"
        if found != [b % 16 for b in other] + [b // 16 for b in other]:
            return f"Right for three bytes. For {len(other)} some numbers differ. Is there a sign?"
    return None


@Exercise
def make_block(answer: Callable[[list[float]], tuple[float, float, list[int]]]) -> str | None:
    """Scale, smallest number and whole numbers of a block."""
    numbers = [0.35, -1.0, 0.6, 2.0, 0.01]
    given = list(numbers)
    came = f"For {numbers}"
    found = answer(given)
    if given != numbers:
        return f"{came} your function changed the list, which it was only given to read."
    if not isinstance(found, tuple | list) or len(found) != 3:
        return f"{came} you return {found!r}. Return three things: scale, smallest number, list of whole numbers."
    scale, smallest, q = found
    if close(scale, -1.0) and close(smallest, 0.2):
        return f"{came} the scale and the smallest number have changed places."
    if not close(smallest, -1.0, 1e-9):
        return f"{came} the smallest number you return is {smallest}. It is -1, with its sign."
    scales = {
        3 / 16: "Sixteen values have only fifteen steps between them.",
        3 / 14: "Sixteen values have fifteen steps between them, one less than values.",
        3.0: "That is the whole range. How many steps is it divided into?",
        2 / 15: "That is the largest number over 15. The grid begins at the smallest, not at 0.",
        1 / 15: "That is largest plus smallest. How far is it from the one to the other?",
        5.0: "That is the number of steps for each unit: turn the fraction round.",
    }
    if not close(scale, 0.2, 1e-9):
        hint = next((hint for wrong, hint in scales.items() if close(scale, wrong, 1e-9)), "From -1 to 2 it is 3.")
        return f"{came} the scale you return is {float(scale):.4g}. {hint}"
    q, right = _whole(q), [7, 0, 8, 15, 5]
    mistakes = {
        "You cut off what is behind the point. Which whole number is *nearest*?": [6, 0, 8, 15, 5],
        "You round up. Which whole number is *nearest*?": [7, 0, 8, 15, 6],
        "Those are counted from 0. How far is each number from the *smallest*?": [2, -5, 3, 10, 0],
        "Those are counted from the largest down.": [8, 15, 7, 0, 10],
    }
    for hint, wrong in mistakes.items():
        if q == wrong:
            return f"{came} you return the whole numbers {q}. {hint}"
    if close(q, [6.75, 0.0, 8.0, 15.0, 5.05]):
        return f"{came} you return {q}. Those are not whole yet."
    if q != right:
        return (
            f"{came} you return the whole numbers {q}; by hand (0.35 + 1) / 0.2 = 6.75 becomes 7, and so on: {right}."
        )
    if not all(isinstance(x, Integral) for x in q):
        return f"{came} the numbers are right and of the type {type(q[0]).__name__}. Make them ints."
    for same in ([0.7, 0.7, 0.7], [-2.0]):
        try:
            scale, smallest, q = answer(list(same))
        except ZeroDivisionError:
            return f"For {same}, all equal, your function divides by a scale of 0."
        if not close(scale, 0.0) or not close(smallest, same[0]) or _whole(q) != [0] * len(same):
            return f"For {same}, all equal, you return {(scale, smallest, q)}: the scale is 0, and so is each q."
        if not all(isinstance(x, Integral) for x in _whole(q)):
            return f"For {same}, all equal, you return {q}. Make them ints, here too."
    generator = random.Random(0)
    for low, high in ((-7.0, -3.0), (1000.0, 1001.0), (-0.02, 0.03)):
        block = [generator.uniform(low, high) for _ in range(32)]
        scale, smallest, q = answer(list(block))
        step = (max(block) - min(block)) / 15
        wanted = [round((x - min(block)) / step) for x in block]
        if not close(scale, step, 1e-9) or not close(smallest, min(block), 1e-9) or _whole(q) != wanted:
            return f"Right so far, but not for 32 numbers from {low:g} to {high:g}. Is 0 taken to be among them?"
    return None


@Exercise
def to_8_bits(answer: Callable[[list[float], float], list[int]]) -> str | None:
    """The nearest whole numbers from -127 to 127, at a given scale."""
    numbers, scale = [0.3, -0.3, 10.1, -40.6], 0.5
    given = list(numbers)
    got = _whole(answer(given, scale))
    came = f"For {numbers} and the scale {scale} you return {got}."
    if given != numbers:
        return "Your function changed the list of numbers. It was only given to read."
    if close(got, [0.6, -0.6, 20.2, -81.2]):
        return f"{came} Those are not whole yet."
    mistakes = {
        "You cut off what is behind the point. Which whole number is *nearest*?": [0, 0, 20, -81],
        "You round down, also below 0. Which whole number is *nearest*?": [0, -1, 20, -82],
        "You multiply by the scale. How many scales is a number?": [0, 0, 5, -20],
        "You leave the scale out.": [0, 0, 10, -41],
        "You make a scale of your own from the largest number. Here the scale is given.": [1, -1, 32, -127],
        "The sign got lost.": [1, 1, 20, 81],
        "That is the scale times a whole number, the rounded number itself; asked for is the whole number.": [
            *(0.5, -0.5, 10.0, -40.5)
        ],
    }
    for hint, wrong in mistakes.items():
        if close(got, wrong):
            return f"{came} {hint}"
    if not close(got, [1, -1, 20, -81]):
        return f"{came} By hand: 0.3 / 0.5 = 0.6 is nearest to 1, and so on: [1, -1, 20, -81]."
    if not all(isinstance(x, Integral) for x in got):
        return f"{came} The numbers are right and of the type {type(got[0]).__name__}. Make them ints."
    ties = [0.25, 0.75, 1.25, -0.25, -0.75]
    got = _whole(answer(list(ties), scale))
    came = f"For {ties} and the scale 0.5, which are halves each, you return {got}."
    if got == [1, 2, 3, 0, -1]:
        return f"{came} Your halves go up. The even neighbour is asked for: 0.5 becomes 0, and 1.5 becomes 2."
    if got == [1, 2, 3, -1, -2]:
        return f"{came} Your halves go away from 0. The even neighbour is asked for: 0.5 becomes 0, and 1.5 becomes 2."
    if got != [0, 2, 2, 0, -2]:
        return f"{came} The even neighbours are [0, 2, 2, 0, -2]."
    far = [63.5, 63.7, 64.0, -63.6, -64.0, -100.0, 200.0]
    got = _whole(answer(list(far), scale))
    came = f"For {far} and the scale 0.5 you return {got}."
    if got == [127, 127, 128, -127, -128, -200, 400]:
        return f"{came} What lies outside -127 to 127 is not clipped."
    if got == [127, 127, 127, -127, -128, -128, 127]:
        return f"{came} -128 would fit into a byte, but the grid ends at -127, so that it has as many on both sides."
    if got != [127, 127, 127, -127, -127, -127, 127]:
        return f"{came} Beyond -127 and 127 the end itself is taken. (Does a byte run over?)"
    try:
        got = _whole(answer([0.0, 0.0], 0.0))
    except ZeroDivisionError:
        return "For a scale of 0 your function divides by it. Then everything is 0."
    if got != [0, 0]:
        return f"For [0.0, 0.0] and the scale 0 you return {got}. Then everything is 0."
    if _whole(answer([], 0.5)) != [] or _whole(answer([3.0], 1.5)) != [2]:
        return "Right for several numbers, and not for none or one."
    return None


def _drawn(weights: list[float], uniform: float) -> int:
    """The token on which uniform times the total falls."""
    end, total = 0.0, sum(weights)
    for token, weight in enumerate(weights):
        end += weight
        if uniform * total < end:
            return token
    return max((token for token, weight in enumerate(weights) if weight > 0), default=0)


def _pass(p: Rows, q: Rows, guesses: list[int], uniform: list[float], mistake: str = "") -> list[int]:
    """The right answer, or one with a mistake."""
    last = uniform[-1]
    for i, guess in enumerate(guesses):
        ratio = p[i][guess] / q[i][guess] if mistake != "upside down" else q[i][guess] / (p[i][guess] or 1e-30)
        stays = uniform[i] < ratio
        if mistake == "only where p is larger":
            stays = p[i][guess] >= q[i][guess]
        if mistake == "p alone":
            stays = uniform[i] < p[i][guess]
        if mistake == "one number for all":
            stays = uniform[0] < ratio
        if mistake == "equal stays":
            stays = uniform[i] <= ratio
        if mistake == "always":
            stays = True
        if not stays:
            more = [max(0.0, a - b) for a, b in zip(p[i], q[i], strict=True)]
            if mistake == "all of p":
                more = p[i]
            if mistake == "all of q":
                more = q[i]
            if mistake == "q - p":
                more = [max(0.0, b - a) for a, b in zip(p[i], q[i], strict=True)]
            if mistake == "absolute":
                more = [abs(a - b) for a, b in zip(p[i], q[i], strict=True)]
            if mistake == "last row":
                more = p[-1]
            number = uniform[i] if mistake == "same number" else last
            if mistake == "total 1":
                total = sum(more)
                new = _drawn(more, number / total) if number < total else max(t for t, w in enumerate(more) if w > 0)
            else:
                new = max(range(len(more)), key=more.__getitem__) if mistake == "largest" else _drawn(more, number)
            if mistake == "nothing instead":
                return guesses[:i]
            if mistake == "guess kept":
                return [*guesses[: i + 1], new]
            if mistake == "rest kept":
                return [*guesses[:i], new, *guesses[i + 1 :]]
            if mistake == "one more behind":
                return [*guesses[:i], new, _drawn(p[i + 1], last)]
            if mistake == "replacement alone":
                return [new]
            return [*guesses[:i], new]
    if mistake == "no bonus":
        return list(guesses)
    return [*guesses, _drawn(p[-2] if mistake == "bonus from before" and len(p) > 1 else p[-1], last)]


_HINTS = {
    "all of p": "The replacement is drawn from p. It comes from max(0, p - q): what p has *more*.",
    "all of q": "The replacement is drawn from q. It comes from max(0, p - q).",
    "q - p": "The replacement comes from what q has more than p. It is the other way round.",
    "absolute": "The replacement comes from |p - q|. Where q is larger, nothing may come.",
    "last row": "The replacement is drawn from the last row of p. Which row belongs to the refused guess?",
    "largest": "The replacement is always the likeliest. It is to be *drawn*.",
    "total 1": "The weights max(0, p - q) do not add up to 1. Lay `uniform` on the line as a share of their total.",
    "same number": "The replacement is drawn with the number that judged the guess, never a small one. Take the last.",
    "nothing instead": "Nothing comes in the place of the refused guess.",
    "guess kept": "The refused guess is still there.",
    "rest kept": "What was guessed behind the refused token is still there. It followed a text that is gone.",
    "one more behind": "Behind the replacement stands one more token. Its distribution was computed for another text.",
    "replacement alone": "What stayed before the refused guess is missing.",
    "no bonus": "Where all guesses stay, one more token is drawn from the last row of p.",
    "bonus from before": "The token behind the last guess is drawn from the row before. Which row is about its place?",
    "upside down": "A guess stays with q / p. It is p / q: what the target likes more, stays for sure.",
    "only where p is larger": "You keep a guess only where p is at least q. Below that it stays in p / q of the cases.",
    "p alone": "You keep a guess with the probability p. It was drawn from q already: the ratio decides.",
    "one number for all": "All guesses are judged by uniform[0]. Each has its own number.",
    "equal stays": "At uniform = p / q the guess should go, or one with p = 0 could stay.",
    "always": "Every guess stays.",
}

_P = [[0.5, 0.25, 0.25, 0.0], [0.1, 0.4, 0.3, 0.2], [0.25, 0.25, 0.0, 0.5]]
_Q = [[0.25, 0.5, 0.125, 0.125], [0.4, 0.1, 0.2, 0.3]]


@Exercise
def checked_guesses(answer: Callable[[Rows, Rows, list[int], list[float]], list[int]]) -> str | None:
    """The tokens that one pass of speculative decoding adds."""
    cases: list[tuple[Rows, Rows, list[int], list[float]]] = [
        (_P, _Q, [1, 0], [0.4, 0.2, 0.6]),
        (_P, _Q, [0, 1], [0.99, 0.99, 0.1]),
        (_P, _Q, [1, 2], [0.6, 0.1, 0.5]),
        (_P, _Q, [1, 2], [0.6, 0.1, 0.7]),
        (_P, _Q, [0, 0], [0.3, 0.3, 0.72]),
        (_P, _Q, [0, 0], [0.3, 0.3, 0.8]),
        (_P, _Q, [2, 3], [0.5, 0.9, 0.2]),
        (_P, _Q, [3, 1], [0.0, 0.0, 0.9]),
        (_P, _Q, [1, 1], [0.5, 0.0, 0.0]),
        (_P, _Q, [0, 1], [0.0, 0.0, 0.25]),
        (_P, _Q, [0, 1], [0.9, 0.1, 0.5]),
        (_P[:1], [], [], [0.6]),
        (_P[1:], _Q[1:], [3], [0.6, 0.95]),
        (_P[1:], _Q[1:], [3], [0.7, 0.95]),
        ([[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0]], [0], [0.0, 0.0]),
        ([[0.5, 0.5], [0.0, 1.0]], [[0.75, 0.25]], [1], [0.999, 0.0]),
    ]
    outcomes = []
    for case in cases:
        given = copy.deepcopy(case)
        outcomes.append(_whole(answer(*given)))
        if given != case:
            return "Your function changed what it was given: p, q, the guesses or the random numbers. Only read them."
    right = [_pass(*case) for case in cases]
    if outcomes == right:
        return None
    at = next(i for i, (got, want) in enumerate(zip(outcomes, right, strict=True)) if got != want)
    p, q, guesses, uniform = cases[at]
    came = f"For p = {p}, q = {q}, guesses {guesses} and uniform {uniform} you return {outcomes[at]}."
    for mistake, hint in _HINTS.items():
        if outcomes == [_pass(*case, mistake) for case in cases]:
            return f"{came} {hint}"
    stay = [u < p[i][x] / q[i][x] for i, (x, u) in enumerate(zip(guesses, uniform, strict=False))]
    return f"{came} Do they stay, one by one? {stay}. So it should be {right[at]}."


@Exercise
def tokens_a_pass(answer: Callable[[float, int], float]) -> str | None:
    """The expected number of tokens of a pass."""
    got = answer(0.5, 2)
    came = f"For α = 0.5 and two guesses you return {got}."
    mistakes = {
        0.75: "That counts the guesses that stay. The pass adds one more token.",
        1.5: "That is one guess less, or twice the share: the sum goes up to α².",
        1.25: "The middle is missing: 1 + α + α².",
        2.0: "That is 1 + K α, or an endless sum. The second guess counts only if the first stays, too.",
        1.875: "That is one guess too many.",
        1.0: "That is K α. The second guess counts only if the first stays, too.",
        3.0: "That is the most that a pass can add.",
        0.25: "That is how often all stay.",
        0.875: "That is 1 - α^(K + 1). What is it divided by?",
        3.5: "The fraction is doubled: by 1 - α, once.",
    }
    if not close(got, 1.75):
        hint = next((hint for wrong, hint in mistakes.items() if close(got, wrong)), "By hand: 1 + 0.5 + 0.25 = 1.75.")
        return f"{came} {hint}"
    try:
        got = answer(1.0, 4)
    except ZeroDivisionError:
        return "For α = 1 the fraction is 0 / 0. All guesses stay then: what does the pass add?"
    if not close(got, 5.0):
        return f"For α = 1 and four guesses you return {got}. All stay, and one more comes: 5."
    for alpha, guesses in ((0.0, 3), (0.9, 0), (0.0, 0), (0.3, 1), (0.8, 7)):
        if not close(got := answer(alpha, guesses), sum(alpha**i for i in range(guesses + 1))):
            return f"Right for α = 0.5 and two guesses. For α = {alpha} and {guesses} you return {got}."
    return None
