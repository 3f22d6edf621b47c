"""Options of preferences and rewards: what is wrong is said at once, and the papers' names mean the papers' values."""

import pytest

from minigpt.config import InputError
from minigpt.training.options import PREFERENCE_METHODS, REWARD_METHODS, PreferenceOptions, RewardOptions


def test_everything_wrong_with_rewards_is_said_at_once() -> None:
    with pytest.raises(InputError) as error:
        RewardOptions(group=1, updates=0, clip=1.0, clip_higher=-1.0, kl=-0.1, max_kl=0.0)
    for problem in ("group is 1; it must be at least 2", "updates is 0", "clip is 1.0; it must be below 1",
                    "clip_higher is -1.0", "kl is -0.1", "max_kl is 0.0"):  # fmt: skip
        assert problem in str(error.value)
    with pytest.raises(InputError, match="weighting is 'mean'; choose from answer, token, sum"):
        RewardOptions(weighting="mean")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="kl_estimator is 'k4'; choose from k1, k2, k3"):
        RewardOptions(kl_estimator="k4")  # type: ignore[arg-type]


def test_everything_wrong_with_preferences_is_said_at_once() -> None:
    with pytest.raises(InputError) as error:
        PreferenceOptions(beta=0.0, target_margin=-1.0, max_drift=0.0)
    for problem in ("beta is 0.0; it must be above 0", "target_margin is -1.0", "max_drift is 0.0"):
        assert problem in str(error.value)
    with pytest.raises(InputError, match="preference is 'kto'; choose from dpo, ipo, simpo"):
        PreferenceOptions(preference="kto")  # type: ignore[arg-type]


def test_the_names_of_the_papers() -> None:
    assert REWARD_METHODS["grpo"] == RewardOptions(kl=0.04, clip=0.2, clip_higher=0.2, normalise=True)
    dapo, done_right = REWARD_METHODS["dapo"], REWARD_METHODS["dr_grpo"]
    assert (dapo.clip, dapo.clip_higher, dapo.weighting, dapo.kl) == (0.2, 0.28, "token", 0.0)
    assert (done_right.normalise, done_right.weighting) == (False, "sum")
    assert [options.preference for options in PREFERENCE_METHODS.values()] == list(PREFERENCE_METHODS)
