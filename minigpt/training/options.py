"""What preferences and rewards change in a run: options, and the values that the papers call by a name."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from minigpt.config import InputError

Weighting = Literal["answer", "token", "sum"]
KL = Literal["k1", "k2", "k3"]
PreferenceLoss = Literal["dpo", "ipo", "simpo"]


def _refuse(what: str, problems: list[str]) -> None:
    if problems:
        raise InputError(f"{what} cannot work:\n" + "\n".join(f"  - {problem}" for problem in problems))


@dataclass(frozen=True)
class RewardOptions:
    """How rewards change a model; the defaults are GRPO's (Shao et al. 2024).

    Raises:
        InputError: listing every problem at once.
    """

    group: int = 8
    """Answers to each prompt; the mean of their rewards is the baseline of each (Shao et al. 2024, section 4.1.1)."""
    normalise: bool = True
    """Divide by the standard deviation of the group's rewards, as GRPO does; Dr. GRPO does not (Liu et al. 2025,
    section 3.2)."""
    weighting: Weighting = "answer"
    """answer: each answer's mean over its tokens (GRPO); token: all tokens of the step alike (DAPO, Yu et al. 2025,
    section 3.3); sum: each answer's sum, which is the gradient of the mean reward (Dr. GRPO, but for its constant
    divisor)."""
    clip: float = 0.2
    """No gain from a token that is less than 1 - clip times as probable as when it was drawn (Schulman et al. 2017,
    equation 7)."""
    clip_higher: float = 0.2
    """The same above 1 + clip_higher; DAPO: 0.28 (section 3.1). 0 and 0 switch both off."""
    kl: float = 0.04
    """Weight of the Kullback-Leibler divergence from the reference, in nats (Shao et al. 2024, section 4.2: 0.04)."""
    kl_estimator: KL = "k3"
    """Schulman 2020. k1: taken off the rewards; k2 and k3: added to the loss. On new answers k2 has the gradient of
    each token's divergence, k3 (GRPO's) that of the divergence the other way round."""
    updates: int = 1
    """Steps with the same answers; from the second on, the clip has something to do."""
    max_kl: float = 100.0
    """A mean divergence above this, in nats an answer, ends the run."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least {least}"
            for name, least in (("group", 2), ("updates", 1), ("clip", 0), ("clip_higher", 0), ("kl", 0))
            if not least <= getattr(self, name) < math.inf
        ]
        if self.clip >= 1:
            problems.append(f"clip is {self.clip}; it must be below 1")
        if not self.max_kl > 0:
            problems.append(f"max_kl is {self.max_kl}; it must be above 0")
        for name, choices in (("weighting", get_args(Weighting)), ("kl_estimator", get_args(KL))):
            if getattr(self, name) not in choices:
                problems.append(f"{name} is {getattr(self, name)!r}; choose from {', '.join(choices)}")
        _refuse("these rewards", problems)


REWARD_METHODS = {
    # Williams 1992 (theorem 1), with the mean of a group as the baseline.
    "reinforce": RewardOptions(normalise=False, weighting="sum", clip=0.0, clip_higher=0.0, kl=0.0),
    "grpo": RewardOptions(),
    # Its groups of equal rewards give no step in any method here; they are not drawn again, as DAPO does (3.2).
    "dapo": RewardOptions(weighting="token", clip_higher=0.28, kl=0.0),
    "dr_grpo": RewardOptions(normalise=False, weighting="sum", kl=0.0),
}
"""Options by the name of their method."""


@dataclass(frozen=True)
class PreferenceOptions:
    """How preferences change a model; the defaults are DPO's (Rafailov et al. 2023).

    Raises:
        InputError: listing every problem at once.
    """

    preference: PreferenceLoss = "dpo"
    """dpo: sums over an answer's tokens (Rafailov et al. 2023, equation 7); ipo: sums (Azar et al. 2023, equation 17);
    simpo: means over its tokens, and no reference (Meng et al. 2024, equation 6)."""
    beta: float = 0.1
    """How much a log-probability counts; the larger, the nearer the model stays to the reference (ipo: tau)."""
    target_margin: float = 0.0
    """simpo: the margin by which the better answer should win (gamma)."""
    max_drift: float = 200.0
    """Nats that an answer may lose in the mean, against the reference; more ends the run."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; it must be above 0"
            for name in ("beta", "max_drift")
            if not getattr(self, name) > 0
        ]
        if not 0 <= self.target_margin < math.inf:
            problems.append(f"target_margin is {self.target_margin}; it must not be negative")
        if self.preference not in get_args(PreferenceLoss):
            choices = ", ".join(get_args(PreferenceLoss))
            problems.append(f"preference is {self.preference!r}; choose from {choices}")
        _refuse("these preferences", problems)


PREFERENCE_METHODS = {
    "dpo": PreferenceOptions(),
    "ipo": PreferenceOptions(preference="ipo"),
    "simpo": PreferenceOptions(preference="simpo", beta=2.0, target_margin=0.5),
}
"""Options by the name of their method."""
