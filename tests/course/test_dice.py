import math

from minigpt.course.dice import THROWS, losses_on_dice


def test_with_the_mask_nobody_foresees_dice_and_without_it_all_but_the_last_throw_are_foreseen() -> None:
    honest, leaky = losses_on_dice(causal=True, steps=150), losses_on_dice(causal=False, steps=150)
    assert len(honest) == len(leaky) == THROWS
    assert min(honest) > math.log(6) - 0.1
    assert max(leaky[:-1]) < 0.5 and leaky[-1] > math.log(6) - 0.1
