"""The checks of lesson 19, verified rewards."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close, same_slopes
from minigpt.text import stories


def _advantages(rewards: Tensor, normalise: bool) -> Tensor:
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    centred = centred.masked_fill((rewards == rewards[:, :1]).all(dim=1, keepdim=True), 0.0)
    return centred / (rewards.std(dim=1, keepdim=True) + 1e-4) if normalise else centred


@Exercise
def group_advantages(answer: Callable[[Tensor, bool], Tensor]) -> str | None:
    """Rewards minus their group's mean, divided by its standard deviation or not."""
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
    for normalise in (False, True):
        handed = rewards.clone()
        got = torch.as_tensor(answer(handed, normalise))
        came = f"For two groups of four and normalise={normalise}"
        if not torch.equal(handed, rewards):
            return f"{came} your function changed the rewards, which it was only given to read."
        if got.shape != rewards.shape:
            return f"{came} you return the shape {tuple(got.shape)}; it should be that of the rewards, (2, 4)."
        right = _advantages(rewards, normalise)
        centred = rewards - rewards.mean(dim=1, keepdim=True)
        std = rewards.std(dim=1, keepdim=True)
        mistakes = {
            "you return the rewards as they are. What is subtracted?": rewards,
            "the mean of *all* rewards is subtracted. Each group has its own.": rewards - rewards.mean(),
            "the mean over the groups is subtracted (dim=0). The groups are the rows.": rewards - rewards.mean(dim=0),
            "the signs are turned round: better than the mean is positive.": -right,
            "the mean of the *others* is subtracted: a good baseline, too, but here each counts itself.": 4
            / 3
            * centred,
            "the sum of the group is subtracted, not its mean.": rewards - rewards.sum(dim=1, keepdim=True),
        }
        if normalise:
            mistakes |= {
                "you do not divide by the standard deviation.": centred,
                "you divide by a standard deviation with n. Here it is the one with n - 1, as torch's `std`.": centred
                / (rewards.std(dim=1, keepdim=True, correction=0) + 1e-4),
                "the 1e-4 beside the standard deviation is missing.": centred / std,
                "you divide by the variance.": centred / (std**2 + 1e-4),
                "you divide by the standard deviation of all rewards together.": centred / (rewards.std() + 1e-4),
                "the 1e-4 is added to the result, not to the divisor.": centred / std + 1e-4,
                "the 1e-4 stands under the root.": centred / (std**2 + 1e-4).sqrt(),
            }
        elif close(got, centred / (std + 1e-4), 1e-6):
            return f"{came} you divide all the same."
        if not close(got, right, 1e-7):
            hints = [hint for hint, wrong in mistakes.items() if close(got, wrong, 1e-7)]
            by_hand = "The mean of [1, 0, 0, 1] is 0.5" + (", its standard deviation 0.5774." if normalise else ".")
            return f"{came} {hints[0] if hints else 'the numbers differ. By hand: ' + by_hand}"
    for normalise in (False, True):
        for value, n, dtype in ((0.1, 7, torch.float32), (0.0, 4, torch.float64), (-2.7, 3, torch.float32)):
            got = torch.as_tensor(answer(torch.full((2, n), value, dtype=dtype), normalise))
            if not close(got, torch.zeros(2, n), 0.5):
                return f"In a group whose rewards are all {value} you return {got[0].tolist()}. What is 0 / 0?"
            if got.any():
                return (
                    f"In a group of {n} rewards of {value} your advantages are {float(got.abs().max()):.0e} and not "
                    "exactly 0: their mean is rounded. Ask whether all are equal before you trust it."
                )
    mixed = torch.tensor([[0.1] * 7, [0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1]])
    if not close(answer(mixed.clone(), True), _advantages(mixed, True), 1e-5):
        return "Right for groups that all differ or are all equal. One of each in a batch, and the numbers are wrong."
    nearly = torch.tensor([[1.0, 1.0 + 1e-5, 1.0, 1.0]], dtype=torch.float64)
    if not close(1e6 * torch.as_tensor(answer(nearly.clone(), False)), 1e6 * _advantages(nearly, False), 1e-4):
        return "Rewards of 1 and 1.00001 are not equal. Only where *all* of a group are equal is the advantage 0."
    return None


def _gain(now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    ratio = (now - old.detach()).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


@Exercise
def clipped_gain(answer: Callable[..., Tensor]) -> str | None:
    """The smaller of two gains, with the ratio free and clipped."""
    ratios = torch.tensor([0.5, 0.9, 1.1, 1.25, 1.5], dtype=torch.float64)
    old = torch.full((2, 5), -1.0, dtype=torch.float64)
    now = old + ratios.log()
    advantage = torch.tensor([[2.0], [-2.0]], dtype=torch.float64).expand(2, 5).contiguous()
    low, high = 0.2, 0.3
    handed = [x.clone() for x in (now, old, advantage)]
    got = torch.as_tensor(answer(*handed, low, high)).detach()
    if not all(torch.equal(a, b) for a, b in zip(handed, (now, old, advantage), strict=True)):
        return "Your function changed what it was only given to read."
    came = "For ratios 0.5, 0.9, 1.1, 1.25 and 1.5, advantages 2 and −2, and bounds 0.8 and 1.3"
    if got.shape != (2, 5):
        return f"{came} you return the shape {tuple(got.shape)}. A gain for each token is asked for: (2, 5)."
    ratio = ratios.expand(2, 5)
    given = (old, advantage)
    right = _gain(now, *given, low, high)
    clamp = ratio.clamp(0.8, 1.3)
    mistakes = {
        "nothing is clipped.": ratio * advantage,
        "only the clipped ratio counts. The smaller of two gains is asked for.": clamp * advantage,
        "you take the larger of the two gains.": torch.maximum(ratio * advantage, clamp * advantage),
        "the sign is turned round: a gain is to be maximised.": -right,
        "the ratio stands on its head: now over old is exp(now − old).": torch.minimum(
            advantage / ratio, (1 / ratio).clamp(0.8, 1.3) * advantage
        ),
        "the smaller *ratio* is taken, before the advantage comes in.": torch.minimum(ratio, clamp) * advantage,
        "the bounds have changed places: 1 − low and 1 + high.": torch.minimum(
            ratio * advantage, ratio.clamp(0.7, 1.2) * advantage
        ),
        "`low` counts on both sides.": torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage),
        "`high` counts on both sides.": torch.minimum(ratio * advantage, ratio.clamp(0.7, 1.3) * advantage),
        "the ratio is the difference of the logarithms, without exp.": torch.minimum(
            (now - old) * advantage, (now - old).clamp(0.8, 1.3) * advantage
        ),
        "the gain is clipped, not the ratio.": torch.minimum(ratio * advantage, (ratio * advantage).clamp(0.8, 1.3)),
    }
    if not close(got, right, 1e-9):
        hints = [hint for hint, wrong in mistakes.items() if close(got, wrong, 1e-9)]
        other = "the numbers differ. By hand: ratio 1.5 and advantage 2 give the smaller of 3 and 2.6."
        return f"{came} {hints[0] if hints else other}"
    learned, before = now.clone().requires_grad_(), old.clone().requires_grad_()
    gains = torch.as_tensor(answer(learned, before, advantage.clone(), low, high))
    if not gains.requires_grad:
        return "The numbers are right, but the gradient gets lost on the way back. Is there a detach() too many?"
    slopes = torch.autograd.grad(gains.sum(), [learned, before], allow_unused=True)
    if slopes[1] is not None and slopes[1].any():
        return "A slope flows into `old`. The old log-probabilities are fixed numbers: detach them."
    if not same_slopes(lambda x: answer(x, old, advantage, low, high), lambda x: _gain(x, *given, low, high), now):
        return "The numbers are right, and the slopes are not. Inside the bounds both are the ratio: is one detached?"
    even = torch.zeros(1, 1, dtype=torch.float64)
    if not same_slopes(
        lambda x: answer(x, even, even + 2, low, high), lambda x: _gain(x, even, even + 2, low, high), even
    ):
        return "At a ratio of exactly 1, as in the first step, the slope should be the advantage. Is a part detached?"
    row = (now[0] + 0.01234567, old[0], 0.7654321 * advantage[0])
    flat = torch.as_tensor(answer(*(x.clone() for x in row), 0.1, 0.1)).detach()
    if not close(flat, _gain(*row, 0.1, 0.1), 1e-9):
        return "Right for (2, 5) and bounds 0.8 and 1.3. For one row and 0.9 and 1.1 the numbers differ."
    return None


def _k3(now: Tensor, reference: Tensor) -> Tensor:
    d = now - reference
    return torch.expm1(-d) + d


@Exercise
def k3(answer: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Schulman's third estimator of the divergence."""
    now = torch.tensor([[0.0, -1.0, -3.0], [-0.5, -2.0, -2.5]], dtype=torch.float64)
    reference = torch.tensor([[-2.0, -1.0, -2.0], [-1.5, -2.5, -1.0]], dtype=torch.float64)
    handed = [now.clone(), reference.clone()]
    got = torch.as_tensor(answer(*handed)).detach()
    if not (torch.equal(handed[0], now) and torch.equal(handed[1], reference)):
        return "Your function changed what it was only given to read."
    d = now - reference
    came = "For d = 2, 0, −1 in the first row"
    if got.shape != d.shape:
        return f"{came} you return the shape {tuple(got.shape)}; one number for each token is asked for."
    mistakes = {
        "you return k1, d itself.": d,
        "you return k2, d²/2.": d.square() / 2,
        "d has the wrong sign: it is now − reference.": torch.expm1(d) - d,
        "the −1 is missing: where nothing differs, 0 should come out.": torch.exp(-d) + d,
        "the sign is turned round: k3 is never negative.": -_k3(now, reference),
        "the d at the end is missing.": torch.expm1(-d),
        "there is a −1 too many: `expm1` has it already.": _k3(now, reference) - 1,
    }
    if not close(got, _k3(now, reference), 1e-9):
        hints = [hint for hint, wrong in mistakes.items() if close(got, wrong, 1e-9)]
        other = "the numbers differ. By hand: e⁻² − 1 + 2 = 1.1353 for the first."
        return f"{came} {hints[0] if hints else other}"
    tiny = torch.tensor([1e-6, -1e-6], dtype=torch.float64)
    small = torch.as_tensor(answer(tiny.clone(), torch.zeros(2, dtype=torch.float64))).detach()
    if not close(small * 2e12, [1.0, 1.0], 1e-5):
        return (
            f"Right for large d. For d = 0.000001 it should be 5e-13, and you return {float(small[0]):.6e}: "
            "e^−d − 1 has lost its digits. `torch.expm1` keeps them."
        )
    if not same_slopes(lambda x: answer(x, reference), lambda x: _k3(x, reference), now):
        return "The numbers are right, but the gradient gets lost on the way back. Is there a detach() too many?"
    return None


Loss = Callable[..., Tensor]


def _loss(
    now: Tensor,
    old: Tensor,
    reference: Tensor,
    mask: Tensor,
    rewards: Tensor,
    group: int,
    epsilon: float,
    beta: float,
    weighting: str = "answer",
    normalise: bool = True,
) -> Tensor:
    """The loss of exercise 4, and what comes out with another weighting or undivided advantages."""
    gains = _advantages(rewards.view(-1, group), normalise).view(-1, 1)
    each = -_gain(now, old, gains, epsilon, epsilon) + beta * _k3(now, reference)
    if weighting == "answer":
        return ((each * mask).sum(dim=1) / mask.sum(dim=1)).mean()
    if weighting == "padded":
        return each.mean()
    return (each * mask).sum() / (mask.sum() if weighting == "token" else len(mask))


@Exercise
def grpo_loss(answer: Loss) -> str | None:
    """The loss of GRPO for a batch of groups."""
    for hint in _hints(answer):
        if hint:
            return hint
    return None


def _hints(answer: Loss) -> Iterator[str | None]:
    """One thing after another: the value, then slopes, then groups and answers of other kinds."""
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(5) < torch.tensor([2, 5, 3, 1, 4, 5])[:, None]).double()
    now, old, reference = (
        -0.2 * mask - mask * torch.rand(6, 5, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    rewards = torch.tensor([1.0, 0.0, 0.5, 2.0, 3.0, 2.5], dtype=torch.float64)
    handed = [x.clone() for x in (now, old, reference, mask, rewards)]
    given = (now, old, reference, mask, rewards)
    got = torch.as_tensor(answer(*handed, 3, 0.2, 0.1)).detach()
    if not all(torch.equal(a, b) for a, b in zip(handed, given, strict=True)):
        yield "Your function changed a tensor that it was only given to read."
    if got.shape != ():
        yield f"You return the shape {tuple(got.shape)}. One number for the batch is asked for."
    free = _advantages(rewards.view(-1, 3), True).view(-1, 1)
    ratio = (now - old).exp()

    def by_answers(gain: Tensor) -> Tensor:
        """The loss with these gains."""
        return (((0.1 * _k3(now, reference) - gain) * mask).sum(1) / mask.sum(1)).mean()

    penalty = 10 * by_answers(torch.zeros_like(now))
    right = _loss(*given, 3, 0.2, 0.1)
    gain_alone = right - 0.1 * penalty
    mistakes = {
        "That is the loss with its sign turned round: it is to be lowered.": -right,
        "The gain is added where it should be subtracted: a loss falls when the gain rises.": 0.1 * penalty
        - gain_alone,
        "The divergence is subtracted: leaving the reference would be rewarded.": gain_alone - 0.1 * penalty,
        "The divergence is missing.": gain_alone,
        "The divergence counts once, without β.": gain_alone + penalty,
        "All tokens count alike, as in DAPO. Here each answer's mean comes first.": _loss(*given, 3, 0.2, 0.1, "token"),
        "Each answer's tokens are added up, and not divided by how many they are.": _loss(*given, 3, 0.2, 0.1, "sum"),
        "The empty places behind an answer's end count as well. What is the mask for?": _loss(
            *given, 3, 0.2, 0.1, "padded"
        ),
        "The advantages are not divided by the standard deviation.": _loss(*given, 3, 0.2, 0.1, normalise=False),
        "All rewards are taken as one group. Three belong together.": _loss(*given, 6, 0.2, 0.1),
        "The groups are taken across: answers 0, 2, 4 and 1, 3, 5. One group comes after the other.": by_answers(
            _gain(now, old, _advantages(rewards.view(3, 2).T, True).T.reshape(-1, 1), 0.2, 0.2)
        ),
        "Nothing is clipped.": _loss(*given, 3, 1e9, 0.1),
        "The sum over answers is not divided by how many they are.": 6 * right,
        "The reference stands where the old log-probabilities belong.": _loss(
            now, reference, reference, mask, rewards, 3, 0.2, 0.1
        ),
        "The divergence is measured from the old log-probabilities.": _loss(now, old, old, mask, rewards, 3, 0.2, 0.1),
        "Rewards are used as they are. Where is the group's mean?": by_answers(
            _gain(now, old, rewards[:, None], 0.2, 0.2)
        ),
        "Only the clipped ratio counts. The smaller of two gains is asked for.": by_answers(
            ratio.clamp(0.8, 1.2) * free
        ),
    }
    if not close(got, right, 1e-8):
        hints = [hint for hint, wrong in mistakes.items() if close(got, wrong, 1e-8)]
        other = (
            f"For six answers in groups of three you return {float(got):.6f} instead of {float(right):.6f}. Of that, "
            f"the gains are {float(gain_alone):.6f} and the divergence {float(0.1 * penalty):.6f}: which part is off?"
        )
        yield hints[0] if hints else other
    parts = [x.clone().requires_grad_() for x in (now, old, reference)]
    loss = torch.as_tensor(answer(*parts, mask.clone(), rewards.clone(), 3, 0.2, 0.1))
    if not loss.requires_grad:
        yield "The loss is right, but the gradient gets lost on the way back. Is there a detach() too many?"
        return
    slopes = torch.autograd.grad(loss, parts, allow_unused=True)
    for name, slope in zip(("old", "reference"), slopes[1:], strict=True):
        if slope is not None and slope.any():
            yield f"A slope flows into `{name}`. Only `now` is learned: detach it."
    if not same_slopes(lambda x: answer(x, *given[1:], 3, 0.2, 0.1), lambda x: _loss(x, *given[1:], 3, 0.2, 0.1), now):
        yield "The loss is right, and its slopes are not. Is a part of it detached that should not be?"
    at_first = torch.as_tensor(answer(now, now.clone(), now.clone(), mask, rewards, 3, 0.2, 0.1)).detach()
    if not close(at_first, 0.0, 1e-9):
        yield f"In the first step, when all three models are the same, the loss is 0. Yours is {float(at_first):.6f}."
    if not same_slopes(
        lambda x: answer(x, now, now, *given[3:], 3, 0.2, 0.1),
        lambda x: _loss(x, now, now, *given[3:], 3, 0.2, 0.1),
        now,
    ):
        yield "In the first step, at ratios of exactly 1, the slopes are off. Is a part detached?"
    level = torch.tensor([0.1] * 3 + [1.0, 0.0, 0.0], dtype=torch.float64)
    got = torch.as_tensor(answer(now, old, reference, mask, level, 3, 0.2, 0.1)).detach()
    if not close(got, _loss(now, old, reference, mask, level, 3, 0.2, 0.1), 1e-8):
        wanted = float(_loss(now, old, reference, mask, level, 3, 0.2, 0.1))
        came = f"With a group whose rewards are all 0.1 the loss is {float(got):.6f} instead of {wanted:.6f}."
        yield f"{came} Its gains are 0, and its divergence counts."
    single = (now[:2, :1], old[:2, :1], reference[:2, :1], mask[:2, :1])
    got = torch.as_tensor(answer(*single, rewards[:2], 2, 0.1, 0.0)).detach()
    if not close(got, _loss(*single, rewards[:2], 2, 0.1, 0.0), 1e-8):
        yield "Right for six answers. For one group of two answers of one token, ε 0.1 and β 0, the loss differs."


def _told(glad: str, sad: str) -> str:
    """A right story in which these feelings are named."""
    story = next(s for s in (stories.draw(0, i) for i in range(1000)) if s.plot == "lost")
    facts = stories.world().rows({**story.facts, "glad": glad, "sad": sad})
    return stories.world().tell(story.plot, facts, story.wording)


@Exercise
def happy_ending(answer: Callable[[str], float]) -> str | None:
    """A reward for happy stories that only right stories get."""
    right = _told("happy", "sad")
    *sentences, _ = right.split(". ")
    name = stories.verify(right).facts["hero"]
    cases = (
        (right, 1.0, "a right story with the word «happy» in it"),
        (_told("glad", "sad"), 0.5, "a right story without the word"),
        (_told("glad", "unhappy"), 0.5, "a right story in which somebody is «unhappy». That is another word"),
        (" ".join(["happy"] * 50), 0.0, "fifty times «happy» and nothing else"),
        (f"{right} happy happy happy", 0.0, "a right story with «happy happy happy» behind it"),
        (right.replace("sad", "happy"), 0.0, "a story in which the sad are «happy»"),
        (
            right.replace(name, "Olga" if name != "Olga" else "Anna", 1),
            0.0,
            "a happy story whose hero changes its name",
        ),
        (". ".join(sentences) + ".", 0.0, "a story that stops before its end"),
        ("", 0.0, "an empty text"),
    )
    for text, worth, what in cases:
        if not close(got := answer(text), worth, 1e-9):
            return f"For {what} you return {got}; it should be {worth:g}."
    return None
