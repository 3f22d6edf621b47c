"""The checks of lesson 11, training on a GPU."""

import math
from collections.abc import Callable

from minigpt.config import GPTConfig
from minigpt.course.exercise import Exercise, close
from minigpt.model.gpt import flops_per_token, parameter_count


@Exercise
def intensity(answer: Callable[[int, int, int, int], float]) -> str | None:
    """FLOPs per byte of an (m, k) times (k, n) product."""
    m, k, n, size = 2, 30, 5, 4
    flops, moved = 2 * m * k * n, size * (m * k + k * n + m * n)
    got = float(answer(m, k, n, size))
    came = f"For a (2, 30) times (30, 5) product of 4-byte numbers you return {got:.4g}."
    hints = {
        moved / flops: "Is that FLOPs per byte, or bytes per FLOP?",
        flops / 2 / moved: "Each of the m · n results takes k multiplications. And how many additions?",
        flops: "That is the number of FLOPs. By how many bytes must it be divided?",
        flops * size / moved: "That is FLOPs per number. How many bytes has a number?",
        flops
        / moved
        * size**2: "You divide by the bytes of a number where you should multiply. What travels: size bytes each?",
        flops / (size * (m * k + k * n)): "The two inputs travel. What has to be written back to memory?",
        flops / (size * m * n): "The results travel. Where do the inputs come from?",
        flops / (size * k * n): "The weights travel. What about the m tokens, and the results?",
        flops / (size * 3 * k * k): "Your three matrices are (k, k). Which shape has each of them here?",
        flops
        / (size * (m * k) * (k * n)): "Two matrices of 60 and 150 numbers: are 60 · 150 numbers fetched, or 60 + 150?",
        2 * k**3 / moved: "How many FLOPs does one result take, and how many results are there?",
        flops // moved: "That is a whole number of FLOPs. Which division has decimals?",
    }
    for mistake, hint in hints.items():
        if close(got, mistake, 1e-6):
            return f"{came} {hint}"
    if not close(got, flops / moved):
        return f"{came} On paper: 2 · 2 · 30 · 5 = 600 FLOPs, and 60 + 150 + 10 numbers of 4 bytes. What is the ratio?"
    for m, k, n, size in ((1, 768, 768, 2), (6, 6, 6, 4), (512, 768, 50_257, 2)):
        expected = 2 * m * k * n / (size * (m * k + k * n + m * n))
        if not close(got := float(answer(m, k, n, size)), expected):
            return f"Right for one product. intensity({m}, {k}, {n}, {size}) gives {got:.6g} instead of {expected:.6g}."
    return None


@Exercise
def mfu(answer: Callable[[GPTConfig, int, int, int, float, int, float], float]) -> str | None:
    """The model's FLOPs as a share of what the hardware could have done."""
    config = GPTConfig(vocab_size=100, context_length=64, n_layers=2, n_heads=2, d_model=32)
    T, batch_size, steps, seconds, devices, peak = 32, 6, 10, 4.0, 7, 1e9
    per_token, tokens = flops_per_token(config, T), batch_size * T * steps
    expected = tokens * per_token / (seconds * devices * peak)
    got = float(answer(config, T, batch_size, steps, seconds, devices, peak))
    came = f"For 10 steps of 6 sequences of 32 tokens in 4 s on 7 devices of 1 GFLOP/s you return {got:.4g}."
    hints = {
        expected * 100: "That is in percent. What is the share, from 0 to 1?",
        1 / expected: "That is what could have been done over what was done. Which way round is a utilisation?",
        expected * devices: "That is 7 times too much. The batch is that of 7 devices: do all 7 peaks count as well?",
        expected / T: "A step feeds batch_size sequences. How many tokens are in a sequence?",
        expected / steps: "That is one step's work in the time of all. How many steps were there?",
        expected / batch_size: "That is one sequence a step. How many are in the batch?",
        expected * seconds: "The peak is per second. How long did the devices have?",
        expected * peak: "That is FLOP/s on each device. What share of the peak is it?",
        tokens * flops_per_token(config, config.context_length) / (seconds * devices * peak):
            "Your FLOPs are those of the longest sequence the model can read, 64. How long are these?",
        tokens * 6 * parameter_count(config) / (seconds * devices * peak):
            "That counts 6 FLOPs for every parameter. What about attention, and what multiplies nothing?",
        expected / 3: "That is the forward pass alone. flops_per_token counts all of training: what did you divide by?",
        expected * 3: "flops_per_token counts forward and backward already. What did you multiply by?",
        expected / 2: "That is half of it. Is your peak the dense one that was handed over?",
    }  # fmt: skip
    for mistake, hint in hints.items():
        if close(got / expected, mistake / expected, 1e-6):
            return f"{came} {hint}"
    if not close(got / expected, 1):
        return f"{came} {tokens:,} tokens with {per_token:,} FLOPs each were done. How many could have been?"
    for seconds in (0.05, 0.01):
        got = float(answer(GPTConfig(), 1024, 16, 1, seconds, 1, 989e12))
        expected = 16 * 1024 * flops_per_token(GPTConfig(), 1024) / (seconds * 989e12)
        if not close(got, expected) and expected > 1:
            return (
                f"A step of GPT-2 in {seconds} s gives {got:.4g}. Here the formula gives {expected:.4g}, more than the "
                "peak allows: something that it was told is wrong. Should it hide that?"
            )
        if not close(got, expected):
            return f"Right for a small model. For GPT-2, 16 × 1,024 tokens in {seconds} s at 989e12: {got:.4g}."
    return None


@Exercise
def to_bfloat16(answer: Callable[[float], float]) -> str | None:
    """The bfloat16 nearest to x; from the middle, the even one."""
    if close(got := float(answer(1.001)), 1.0, 1e-9):
        pass
    elif close(got, 1.0009765625, 1e-12):
        return "1.001 becomes 1.0009765625: that is float16, with 11 significant bits. How many has bfloat16?"
    else:
        return f"1.001 becomes {got!r}. The numbers next to 1 are 1 and 1 + 2^-7. Which of them is nearer?"
    try:
        zero = float(answer(0.0))
    except ValueError as error:
        return f"For 0.0 your function stops with ValueError: {error}. Zero has no leading 1. What should it become?"
    if zero != 0:
        return f"0.0 becomes {zero!r}. Is there a better bfloat16 for 0?"
    cases = {
        1.0078125: "1 + 2^-7 has 8 significant bits: it is a bfloat16 already. Did you keep the leading 1 and 7 more?",
        1033.0: "Near 1024 bfloat16 numbers are 8 apart. Do you count bits after the point, or after the leading 1?",
        3.140625
        / 4096: "Near 0.0008 they are very close together. Do you count bits after the point, or after the leading 1?",
        1.99: "1.99 lies between 1.984375 and 1.9921875, nearer to the second. Do you round, or cut off?",
        -1.99: "For -1.99 the nearer neighbour is -1.9921875. Do you round negative numbers the wrong way?",
        1.00390625: "It lies exactly between 1 and 1.0078125, that is 128 and 129 in units of 2^-7. Which one is even?",
        1.01171875: "It lies exactly in the middle, between 129 and 130 in units of 2^-7. Which one is even?",
        -1.01171875: "It lies exactly in the middle, between -129 and -130 in units of 2^-7. Does the sign matter?",
    }
    for x, hint in cases.items():
        if (got := float(answer(x))) != (expected := _bfloat16(x)):
            if abs(x) == 1.99 and got != _bfloat16(got):
                hint = "That is no bfloat16: it needs more than 8 significant bits. Do you count the leading 1 as one?"
            return f"{x!r} becomes {got!r} instead of {expected!r}. {hint}"
    for x in (1.00390625 + 2**-40, 1.01171875 - 2**-40):
        if (got := float(answer(x))) != (expected := _bfloat16(x)):
            return (
                f"{x!r} becomes {got!r} instead of {expected!r}: it lies a little beside the middle. Do you round "
                "twice, first to a float32, which puts it into the middle?"
            )
    for x in (255.75, 1e-8, -6.02e23, 0.1, 65_280.0, 2.0**-100, 1.9961):
        if (got := float(answer(x))) != (expected := _bfloat16(x)):
            return f"Right for many numbers. But {x!r} becomes {got!r} instead of {expected!r}."
    return None


def _bfloat16(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(mantissa * 256), exponent - 8)


@Exercise
def next_scale(answer: Callable[[float, int, bool], tuple[float, int]]) -> str | None:
    """The scale and the count after a step whose gradient was finite, or not."""
    scale, good = answer(1024.0, 5, True)
    came = f"From scale 1024 and 5 good steps, one more good step leads to ({scale}, {good})."
    if (scale, good) == (6, 1024.0):
        return f"{came} Which comes first, the scale or the count?"
    if scale != 1024:
        return f"{came} Only every 2,000th good step in a row changes the scale. Which one is this?"
    if good != 6:
        return f"{came} How many good steps are there now?"
    scale, good = answer(1024.0, 5, False)
    came = f"From scale 1024 and 5 good steps, a step without a finite gradient leads to ({scale}, {good})."
    if scale == 2048:
        return f"{came} The gradient was too large already. Should the scale grow?"
    if scale != 512:
        return f"{came} By which factor should the scale shrink?"
    if good == 6:
        return f"{came} Was that a good step?"
    if good != 0:
        return f"{came} It counts the good steps since the last skip. How many are there since this one?"

    scale, good, seen = 1.0, 0, []
    for _ in range(6001):
        scale, good = answer(scale, good, True)
        seen.append(scale)
    doubled = [step for step, (before, after) in enumerate(zip([1.0, *seen], seen, strict=False), 1) if after != before]
    came = (
        f"After 6,001 good steps in a row the scale has changed at the steps {doubled[:4]}{' …' * (len(doubled) > 4)}."
    )
    if not doubled:
        return f"{came.replace(' at the steps []', ' never')} When should it double?"
    if doubled[0] in (1999, 2001):
        return f"{came} That is one off: which step is the 2,000th good one?"
    if doubled[:3] == [2000, 2001, 2002]:
        return f"{came} Once it has doubled, how many good steps should it wait for the next time?"
    if doubled != [2000, 4000, 6000]:
        return f"{came} It should be after every 2,000 good steps."
    if seen[1999] != 2:
        return f"After 2,000 good steps the scale 1 becomes {seen[1999]}. By which factor should it grow?"

    scale, good = 1024.0, 0
    for step in range(1, 3000):
        scale, good = answer(scale, good, step != 1500)
    if scale != 512:
        return (
            f"Step 1,500 of 2,999 is skipped, all others are good: your scale goes from 1024 to {scale}. "
            "How many good steps in a row were there at most?"
        )
    scale, good = answer(1.0, 7, False)
    if scale != 0.5:
        return (
            f"A step that is skipped at the scale 1 leads to {scale}. A scale may be less than 1: what is half of it?"
        )
    scale, good = answer(2.0**-20, 7, False)
    if scale != 2.0**-21:
        return f"A step that is skipped at the scale 2^-20 leads to {scale}, and half of it is {2.0**-21:g}."
    return None
