"""How sure a measured share is."""

import math

from minigpt.config import InputError


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The interval in which a share lies that was measured as successes of n (Wilson 1927): by default 95% of them.

    All shares p from which the measured one is at most z standard errors away, with the error that p itself would have.
    Unlike share ± z · error it never leaves 0 to 1, and it has a width at 0 of n and at n of n.

    Raises:
        InputError: unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{successes} of {n} is no share: count at least one, and no more successes than that")
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the two are equal, and rounding may cross them.
    return max(0.0, middle - half), min(1.0, middle + half)
