"""Written answers: right or not, and the chance that one of several tries is right."""

import math
from collections.abc import Iterable, Sequence

from minigpt.config import InputError


def exact_match(answers: Sequence[str], right: Sequence[Iterable[str]]) -> list[bool]:
    """For each answer whether it is one of its right wordings, letter for letter but for white space at both ends.

    Raises:
        InputError: when there are not as many of both, or an answer has no right wording.
    """
    if len(answers) != len(right):
        raise InputError(f"{len(answers)} answers and right wordings for {len(right)}: give as many")
    wordings = [{wording.strip() for wording in given} for given in right]
    if not all(wordings):
        raise InputError(f"answer {wordings.index(set())} has no right wording, so no answer could be right: name one")
    return [answer.strip() in given for answer, given in zip(answers, wordings, strict=True)]


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that k tries have a right one, estimated without bias from n tries of which some are right.

    1 − C(n − right, k) / C(n, k): of all ways to take k of the n tries, the share that has a right one (Chen et al.
    2021, equation 1). To put right / n into 1 − (1 − p)^k instead would be too small in the mean.

    Raises:
        InputError: unless 1 ≤ k ≤ n and 0 ≤ right ≤ n.
    """
    if not 1 <= k <= n:
        raise InputError(f"k is {k} of n = {n} tries; it must be from 1 to n: draw at least k tries for each question")
    if not 0 <= right <= n:
        raise InputError(f"{right} of {n} tries are right; it must be from 0 to {n}")
    return 1 - math.comb(n - right, k) / math.comb(n, k)
