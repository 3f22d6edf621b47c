"""The checks of lesson 22, evaluation."""

import math
from collections.abc import Callable, Sequence

from minigpt.course.exercise import Exercise, close


@Exercise
def bits_each_byte(answer: Callable[[float, int, str], float]) -> str | None:
    """Bits per byte from the mean loss in nats per token."""
    text, tokens, loss = "né!", 2, 3 * math.log(2)  # 6 bits, 4 bytes, 3 characters
    got = float(answer(loss, tokens, text))
    came = f"For a loss of 3 ln 2 = {loss:.4f} nats, 2 tokens and the text {text!r} you return {got:.4g}."
    mistakes = {
        1.5 * math.log(2): "That is in nats. How many nats is a bit?",
        1.5 * math.log(2) ** 2: "That multiplies by ln 2. A nat is more than a bit, so there are more bits than nats.",
        2.0: "That is 6 bits / 3: len counts characters, and é takes two bytes in UTF-8.",
        3.0: "That is bits per token. The two tokens cost twice as much, and 4 bytes share it.",
        6.0: "Those are the bits of the whole text. How many bytes share them?",
        0.75: "That is the cost of one token for each byte. How many tokens were there?",
        2 * math.log(2): "That is in nats, and for each character.",
        0.375: "That divides by the tokens. The loss is their mean already: what gives the sum back?",
        1.5 * math.log(2) / math.log(10): "That is to the base 10. A bit is to the base 2.",
        2 ** (1.5): "That is 2 to the bits per byte. Leave the power away.",
        math.exp(loss): "That is the perplexity. Bits are the loss itself, in another unit.",
        -1.5: "Less than nothing? The loss has its minus sign in it already.",
    }
    for value, hint in mistakes.items():
        if close(got, value):
            return f"{came} {hint}"
    if not close(got, 1.5):
        return f"{came} By hand: 2 tokens of 3 bits are 6 bits, and the text has 4 bytes: 1.5."
    for loss, tokens, text, right in (
        (math.log(4), 5, "x" * 10, 1.0),
        (0.0, 3, "abc", 0.0),
        (math.log(2), 1, "你", 1 / 3),
        (2 * math.log(2), 3, "  a\n", 1.5),
        (1.0, 4000, "ab" * 4000, 0.5 / math.log(2)),
    ):
        if not close(got := float(answer(loss, tokens, text)), right):
            return (
                f"Right for 'né!'. For {loss:.4f} nats, {tokens} tokens and {len(text.encode())} bytes "
                f"({text[:6]!r}) you return {got:.4g} instead of {right:.4g}. Is part of the text left out, or a "
                "number fixed?"
            )
    return None


@Exercise
def best_per_byte(answer: Callable[[Sequence[float], Sequence[str]], int]) -> str | None:
    """Which choice has the largest log-likelihood per byte."""
    sums, choices = [-5.0, -4.9, -7.5], ["no", "perhaps", "yes, of course!"]  # -2.5, -0.7, -0.5
    got = answer(list(sums), list(choices))
    came = f"For {sums} and {choices} you return {got!r}."
    if isinstance(got, str):
        return f"{came} Return the number of the choice, counted from 0, and not the choice itself."
    if isinstance(got, float) and got not in (0.0, 1.0, 2.0):
        return f"{came} That is a score. Which choice has it?"
    if got == 0:
        return f"{came} That is the worst per byte. Log-likelihoods are below 0, and the largest is wanted."
    if got == 1:
        return f"{came} That is the best by the sum. Divide each sum by the bytes of its choice."
    if got == 3:
        return f"{came} Count the choices from 0."
    if got != 2:
        return f"{came} Per byte they are -5/2, -4.9/7 and -7.5/15: the last is the largest."
    cases = (
        # Characters against bytes: -3/6 against -2/3.
        ([-3.0, -2.0], ["你好", "abc"], 0, "Chinese signs take three bytes each in UTF-8, and len counts them as one."),
        ([-2.0, -2.0, -1.0], ["ab", "cd", "e"], 0, "All three are -1 per byte: of equally good ones take the first."),
        ([-1.0, -2.5, -2.5], ["a", "ef", "cd"], 0, "Per byte they are -1, -1.25 and -1.25."),
        ([-3.0], ["only"], 0, "There is only one."),
        ([-2.0, -2.0], [" a b", "cde"], 0, "Spaces are bytes like others, in front and within: nothing is stripped."),
        ([-3.0, -2.0], ["abcd", "ab "], 1, "Spaces at the end are bytes like others."),
        ([-8.0, -7.9, -0.5], ["x" * 10, "x" * 10, "y"], 2, "Per byte they are -0.8, -0.79 and -0.5."),
        ([-0.5, -0.2, -0.9], ["aa", "b", "cc"], 1, "Per byte they are -0.25, -0.2 and -0.45."),
        ([0.0, -1.0], ["sure", "x" * 99], 0, "A log-likelihood of 0 is the best there is."),
        ([-math.inf, -50.0], ["x" * 99, "y"], 1, "Minus infinity stays so per byte: a probability of 0 never wins."),
    )
    for sums, choices, right, hint in cases:
        if (got := answer(list(sums), list(choices))) != right:
            return f"Right for three English choices. For {sums} and {choices} you return {got!r}. {hint}"
    handed, texts = [-1.0, -3.0], ["a", "bcdefg"]
    answer(handed, texts)
    if (handed, texts) != ([-1.0, -3.0], ["a", "bcdefg"]):
        return f"Right, but afterwards the caller's lists are {handed} and {texts}. They were only given to read."
    return None


def _ends(right: float, n: float, z: float, *, under_root: float = 1.0, shift: float = 1.0) -> tuple[float, float]:
    """Wilson's ends; the part under the root and the one beside the share are multiplied by these factors."""
    share, scale = right / n, 1 + z * z / n
    half = z * math.sqrt(share * (1 - share) / n + under_root * z * z / (4 * n * n))
    middle = share + shift * z * z / (2 * n)
    return (middle - half) / scale, (middle + half) / scale


@Exercise
def wilson_interval(answer: Callable[..., tuple[float, float]]) -> str | None:
    """Both ends of Wilson's interval."""
    right, n, z = 31, 50, 1.96
    got = answer(right, n)
    came = f"For 31 of 50 you return {got}."
    try:
        low, high = (float(end) for end in got)
    except (TypeError, ValueError):
        return f"{came} Two numbers were asked for, the lower end and the upper one."
    share, error = right / n, math.sqrt(right / n * (1 - right / n) / n)
    wald = share - z * error, share + z * error
    scale = 1 + z * z / n
    low_of, high_of = _ends(right, n, z)
    mistakes: dict[str, tuple[float, float]] = {
        "They have changed places: the lower end comes first.": (high_of, low_of),
        "That is share ± z · error, which has no width at 0 of 50. Follow the formula above.": wald,
        "The division by 1 + z²/n is missing.": (low_of * scale, high_of * scale),
        "The part z²/(4n²) under the root is missing.": _ends(right, n, z, under_root=0),
        "Under the root it is z²/(4n²): yours has n once.": _ends(right, n, z, under_root=n),
        "The part z²/(2n) beside the share is missing.": _ends(right, n, z, shift=0),
        "Beside the share stands z²/(2n), with z squared.": _ends(right, n, z, shift=1 / z),
        "Beside the share stands z²/(2n): yours is z²/n.": _ends(right, n, z, shift=2),
        "Those are counts: divide by n.": (low_of * n, high_of * n),
        "Those are percent: the ends are from 0 to 1.": (low_of * 100, high_of * 100),
        "That is the interval of the wrong answers.": _ends(n - right, n, z),
    }
    for hint, wrong in mistakes.items():
        if close([low, high], wrong, 1e-9):
            return f"{came} {hint}"
    if not close([low, high], (low_of, high_of)):
        return f"{came} By hand: the middle is 0.6584 / 1.0768, and half of the width 0.1397 / 1.0768 (four decimals)."
    for r, m in ((0, 10), (10, 10), (1, 1), (0, 1), (1, 3), (500, 1000)):
        try:
            got = answer(r, m)
        except ZeroDivisionError:
            return f"Right for 31 of 50. For {r} of {m} your function divides by zero."
        if not close(list(got), _ends(r, m, z)):
            ends = _ends(r, m, z)
            return (
                f"Right for 31 of 50. For {r} of {m} you return {got}, and it should be ({ends[0]:.4f}, {ends[1]:.4f})."
            )
    if not close(list(answer(31, 50, 1.0)), _ends(31, 50, 1.0)) or not close(
        list(answer(7, 9, 2.58)), _ends(7, 9, 2.58)
    ):
        return "Right for z = 1.96. With another z the ends are not: is 1.96 written into the formula?"
    if not close(list(answer(7, 9, z=1.0)), _ends(7, 9, 1.0)):
        return "Right without a name. With z=1.0 given by its name the ends are others."
    return None


def _tail(more: int, less: int) -> float:
    differ = more + less
    return min(1.0, 2 * sum(math.comb(differ, i) for i in range(min(more, less) + 1)) / 2**differ)


@Exercise
def paired(answer: Callable[[Sequence[float], Sequence[float]], tuple[int, int, float]]) -> str | None:
    """How often each was better on the same questions, and how probable such a split is for a fair coin."""
    first = [True] * 7 + [False] * 2 + [True] * 5 + [False] * 3
    second = [False] * 7 + [True] * 2 + [True] * 5 + [False] * 3
    got = answer(list(first), list(second))
    came = f"On 17 questions, of which only the first has 7 right, only the second 2, and both 5, you return {got}."
    try:
        more, less, p = got
        more, less, p = int(more), int(less), float(p)
    except (TypeError, ValueError):
        return f"{came} Three numbers were asked for: first better, second better, p-value."
    if (more, less) == (2, 7):
        return f"{came} First and second have changed places."
    if (more, less) == (12, 7):
        return f"{came} Those are all that each has right. Count where the two *differ*."
    if (more, less) != (7, 2):
        return f"{came} The first is better on 7 questions, and the second on 2."
    one_side, at_top = sum(math.comb(9, i) for i in range(3)) / 2**9, math.comb(9, 2) / 2**9
    mistakes = {
        one_side: "That is one side. We would have been as surprised by 2 to 7.",
        1 - one_side: "That is the chance of a split *less* uneven on one side.",
        2 * at_top: "That is the chance of exactly this split. More uneven ones (8 to 1, 9 to 0) count, too.",
        at_top: "That is the chance of exactly 7 to 2, on one side. More uneven splits count, too, and the other side.",
        _tail(7, 2) - 2 * at_top: "That leaves this split itself out: «at least as uneven» has it in.",
        2 * sum(math.comb(17, i) for i in range(3)) / 2**17: "Seventeen coins? Where both agree no coin falls.",
        sum(math.comb(9, i) for i in range(3)) * 2.0: "Those are outcomes. How many are there of nine coins?",
        min(1.0, 2 * (1 - one_side + at_top)): "That counts from the wrong end: sum up to the smaller of the two.",
    }
    for value, hint in mistakes.items():
        if close(p, value, 1e-9):
            return f"{came} {hint}"
    if not close(p, _tail(7, 2)):
        return f"{came} By hand: 2 · (1 + 9 + 36) / 2^9 = 0.1797."
    for a, b in ((0, 0), (1, 1), (3, 3), (0, 7), (7, 0), (2, 7), (1, 0), (5, 4), (40, 20)):
        one, two = [1.0] * a + [0.0] * b + [1.0, 0.0], [0.0] * a + [1.0] * b + [1.0, 0.0]
        got = answer(list(one), list(two))
        if (int(got[0]), int(got[1])) != (a, b):
            return f"Right for 7 to 2. For {a} to {b} you return {got[0]} to {got[1]}."
        if got[2] > 1 + 1e-12:
            return (
                f"For {a} to {b} your p-value is {got[2]:.4g}. No chance is above 1: here both sides share the middle."
            )
        if not close(got[2], _tail(a, b)):
            return f"Right for 7 to 2. For {a} to {b} the p-value is {_tail(a, b):.4g}, and you return {got[2]:.4g}."
    got = answer([0.5, -2.0, 3.0, 1.0], [0.25, -1.0, 1.0, 1.0])
    if (int(got[0]), int(got[1])) != (2, 1) or not close(got[2], 1.0):
        return (
            f"Right for True and False. For the scores [0.5, -2, 3, 1] and [0.25, -1, 1, 1] you return {got}: the "
            "first is better twice, the second once, by however much, and the p-value is 1."
        )
    try:
        got = answer([True, False, True], [True, False])
    except ValueError:
        pass
    else:
        return f"For 3 scores and 2 you return {got}. These are not the same questions: raise a ValueError."
    try:
        answer([True], [True, False])
    except ValueError:
        pass
    else:
        return "You refuse 3 scores against 2, and not 1 against 2."
    kept = [1.0, 0.0], [0.0, 1.0]
    answer(*kept)
    if kept != ([1.0, 0.0], [0.0, 1.0]):
        return f"Right, but afterwards the caller's lists are {kept}. They were only given to read."
    return None


@Exercise
def one_of_k(answer: Callable[[int, int, int], float]) -> str | None:
    """The unbiased estimate of pass@k."""
    n, right, k = 8, 3, 2
    try:
        got = float(answer(n, right, k))
    except ZeroDivisionError:
        return "For 8 tries, 3 right and k = 2 your function divides by zero. C(8, 2) stands below."
    came = f"For 8 tries, 3 right and k = 2 you return {got:.4g}."
    mistakes = {
        10 / 28: "That is the chance that *none* is right.",
        1 - (5 / 8) ** 2: "That puts the share into 1 - (1 - p)^k, which is too small in the mean.",
        3 / 8: "That is pass@1.",
        1 - 3 / 28: "That counts groups of right ones alone. Which tries make a group *without* a right one?",
        1 - 28 / 10: "The fraction stands on its head.",
        5 / 8: "That is the chance of a wrong try.",
        1 - 20 / 28: "Above order counts, below it does not: take comb twice.",
        6 / 8: "Chances of tries do not add up.",
        10.0: "Those are the groups without a right one. Of how many?",
        18.0: "Those are the groups with a right one. Of how many?",
    }
    for value, hint in mistakes.items():
        if close(got, value):
            return f"{came} {hint}"
    if not close(got, 18 / 28):
        return f"{came} By hand: of 28 groups of two, 10 have no right one, so 18/28."
    for n, right, k, wanted in (
        (5, 2, 1, 0.4),
        (5, 0, 3, 0.0),
        (5, 5, 3, 1.0),
        (5, 3, 3, 1.0),
        (4, 1, 4, 1.0),
        (4, 0, 4, 0.0),
        (10, 3, 2, 1 - 21 / 45),
        (6, 4, 2, 1 - 1 / 15),
        (1, 1, 1, 1.0),
        (200, 10, 100, 1 - math.comb(190, 100) / math.comb(200, 100)),
    ):
        try:
            got = float(answer(n, right, k))
        except (ValueError, ZeroDivisionError, OverflowError) as problem:
            return (
                f"Right for 8 tries. For {n} tries, {right} right and k = {k} it stops with {type(problem).__name__} "
                f"({problem})."
            )
        if not close(got, wanted, 1e-9):
            what = f"{n} tries, {right} right and k = {k}"
            return f"Right for 8 tries. For {what} you return {got:.4g} and not {wanted:.4g}."
    return None
