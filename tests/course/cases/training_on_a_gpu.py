"""Answers to the exercises of lesson 11."""

import math
import struct

import numpy as np
import torch

from minigpt.config import GPTConfig
from minigpt.model.gpt import flops_per_token, parameter_count
from tests.course.cases import Answers


def from_tensors(m: int, k: int, n: int, size: int) -> float:
    a, b = torch.empty(m, k, device="meta"), torch.empty(k, n, device="meta")
    moved = sum(t.numel() for t in (a, b, a @ b)) * size
    return 2 * a.numel() * n / moved


def as_one_over_a_sum(m: int, k: int, n: int, size: int) -> float:
    return 2 / size / (1 / m + 1 / n + 1 / k)


def bytes_per_flop(m: int, k: int, n: int, size: int) -> float:
    return size * (m * k + k * n + m * n) / (2 * m * k * n)


def multiplications_only(m: int, k: int, n: int, size: int) -> float:
    return m * k * n / (size * (m * k + k * n + m * n))


def flops_alone(m: int, k: int, n: int, size: int) -> float:
    return 2.0 * m * k * n


def per_number(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n / (m * k + k * n + m * n)


def size_upstairs(m: int, k: int, n: int, size: int) -> float:
    return size * 2 * m * k * n / (m * k + k * n + m * n)


def nothing_written(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n / (size * (m * k + k * n))


def only_written(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n / (size * m * n)


def only_weights(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n / (size * k * n)


def inputs_multiplied(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n / (size * m * k * k * n)


def square(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n / (size * 3 * k**2)


def whole_flops(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n // (size * (m * k + k * n + m * n))


def always_four_bytes(m: int, k: int, n: int, size: int) -> float:
    return 2 * m * k * n / (4 * (m * k + k * n + m * n))


def by_rate(config: GPTConfig, T: int, batch_size: int, steps: int, seconds: float, devices: int, peak: float) -> float:
    tokens_per_second = batch_size * T * steps / seconds
    return tokens_per_second * flops_per_token(config, T) / (devices * peak)


def by_time(
    config: GPTConfig, T: int, batch_size: int, steps: int, seconds: float, devices: int, peak: float
) -> torch.Tensor:
    at_best = torch.tensor(steps * batch_size * T, dtype=torch.float64) * flops_per_token(config, T) / (devices * peak)
    return at_best / seconds


def one_at_most(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return min(1.0, by_rate(config, T, batch_size, steps, seconds, devices, peak))


def in_percent(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return 100 * by_rate(config, T, batch_size, steps, seconds, devices, peak)


def upside_down(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return 1 / by_rate(config, T, batch_size, steps, seconds, devices, peak)


def one_device(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return by_rate(config, T, batch_size, steps, seconds, 1, peak)


def sequences_for_tokens(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return by_rate(config, T, batch_size, steps, seconds, devices, peak) / T


def one_step(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return by_rate(config, T, batch_size, 1, seconds, devices, peak)


def one_sequence(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return by_rate(config, T, 1, steps, seconds, devices, peak)


def no_time(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return by_rate(config, T, batch_size, steps, 1.0, devices, peak)


def no_peak(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return by_rate(config, T, batch_size, steps, seconds, devices, 1.0)


def longest_sequence(config, T, batch_size, steps, seconds, devices, peak) -> float:
    tokens = steps * batch_size * T
    return tokens * flops_per_token(config, config.context_length) / (seconds * devices * peak)


def six_for_each_parameter(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return steps * batch_size * T * 6 * parameter_count(config) / (seconds * devices * peak)


def backward_again(config, T, batch_size, steps, seconds, devices, peak) -> float:
    return 3 * by_rate(config, T, batch_size, steps, seconds, devices, peak)


def by_bits(x: float) -> float:
    whole = struct.unpack("Q", struct.pack("d", x))[0]  # a double keeps 45 bits more of the fraction
    whole += 2**44 - 1 + ((whole >> 45) & 1)
    rounded: float = struct.unpack("d", struct.pack("Q", whole >> 45 << 45))[0]
    return rounded


def by_bits_of_a_float32(x: float) -> float:
    whole = struct.unpack("I", struct.pack("f", x))[0]
    whole += 0x7FFF + ((whole >> 16) & 1)
    rounded: float = struct.unpack("f", struct.pack("I", whole & 0xFFFF0000))[0]
    return rounded


def nine_bits(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(mantissa * 512), exponent - 9)


def by_logarithm(x: float) -> float:
    if x == 0:
        return 0.0
    step = 2.0 ** (math.floor(math.log2(abs(x))) - 7)
    return float(np.round(x / step) * step)


def scaled_to_eight_bits(x: float) -> float:
    factor = 1.0
    while 0 < abs(x) * factor < 128:
        factor *= 2
    while abs(x) * factor >= 256:
        factor /= 2
    return round(x * factor) / factor


def cut_off(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(math.trunc(mantissa * 256), exponent - 8)


def half_up(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(math.copysign(math.floor(abs(mantissa) * 256 + 0.5), x), exponent - 8)


def half_down(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(math.copysign(math.ceil(abs(mantissa) * 256 - 0.5), x), exponent - 8)


def half_up_for_positive(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(int(mantissa * 256 + 0.5), exponent - 8)


def seven_bits(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(mantissa * 128), exponent - 7)


def as_float16(x: float) -> float:
    return float(np.float16(x))


def seven_bits_after_the_point(x: float) -> float:
    return round(x * 128) / 128


def eight_significant_bits_of_large_numbers(x: float) -> float:
    return scaled_to_eight_bits(x) if abs(x) >= 1 else round(x * 128) / 128


def logarithm_of_zero(x: float) -> float:
    step = 2.0 ** (math.floor(math.log2(abs(x))) - 7)
    return round(x / step) * step


def unchanged(x: float) -> float:
    return x


Scale = tuple[float, int]


def counting_down(scale: float, good_steps: int, finite: bool) -> list[float]:
    good_steps = (good_steps + 1) * finite
    factor = (2 if good_steps and not good_steps % 2000 else 1) if finite else 0.5
    return [factor * scale, good_steps]


def starting_anew_after_doubling(scale: float, good_steps: int, finite: bool) -> Scale:
    if finite and good_steps == 1999:
        return 2 * scale, 0
    return (scale, good_steps + 1) if finite else (scale / 2, 0)


def swapped(scale: float, good_steps: int, finite: bool) -> tuple[int, float]:
    new, good = starting_anew_after_doubling(scale, good_steps, finite)
    return good, new


def grows_every_step(scale: float, good_steps: int, finite: bool) -> Scale:
    return (2 * scale, good_steps + 1) if finite else (scale / 2, 0)


def does_not_count(scale: float, good_steps: int, finite: bool) -> Scale:
    return (scale, good_steps) if finite else (scale / 2, 0)


def doubles_on_overflow(scale: float, good_steps: int, finite: bool) -> Scale:
    return starting_anew_after_doubling(scale, good_steps, True) if finite else (2 * scale, 0)


def keeps_scale_on_overflow(scale: float, good_steps: int, finite: bool) -> Scale:
    return starting_anew_after_doubling(scale, good_steps, True) if finite else (scale, 0)


def keeps_count_on_overflow(scale: float, good_steps: int, finite: bool) -> Scale:
    return starting_anew_after_doubling(scale, good_steps, True) if finite else (scale / 2, good_steps)


def counts_skips_too(scale: float, good_steps: int, finite: bool) -> Scale:
    return starting_anew_after_doubling(scale, good_steps, True) if finite else (scale / 2, good_steps + 1)


def never_doubles(scale: float, good_steps: int, finite: bool) -> Scale:
    return (scale, good_steps + 1) if finite else (scale / 2, 0)


def tests_before_counting(scale: float, good_steps: int, finite: bool) -> Scale:
    if not finite:
        return scale / 2, 0
    return (2 * scale if good_steps and good_steps % 2000 == 0 else scale), good_steps + 1


def doubles_ever_after(scale: float, good_steps: int, finite: bool) -> Scale:
    if not finite:
        return scale / 2, 0
    return (2 * scale if good_steps + 1 >= 2000 else scale), good_steps + 1


def doubles_once(scale: float, good_steps: int, finite: bool) -> Scale:
    if not finite:
        return scale / 2, 0
    return (2 * scale if good_steps + 1 == 2000 else scale), good_steps + 1


def at_least_one(scale: float, good_steps: int, finite: bool) -> Scale:
    new, good = starting_anew_after_doubling(scale, good_steps, finite)
    return max(1.0, new), good


def whole_halves(scale: float, good_steps: int, finite: bool) -> Scale:
    return starting_anew_after_doubling(scale, good_steps, True) if finite else (scale // 2, 0)


def counts_through_a_skip(scale: float, good_steps: int, finite: bool) -> Scale:
    new, good = starting_anew_after_doubling(scale, good_steps, True)
    return (new, good) if finite else (scale / 2, 0 if good_steps < 1000 else 600)


def grows_tenfold(scale: float, good_steps: int, finite: bool) -> Scale:
    new, good = starting_anew_after_doubling(scale, good_steps, finite)
    return (10 * scale if new > scale else new), good


ANSWERS = {
    "intensity": Answers(
        right=[from_tensors, as_one_over_a_sum],
        wrong={
            bytes_per_flop: "or bytes per FLOP?",
            multiplications_only: "And how many additions?",
            flops_alone: "By how many bytes must it be divided?",
            per_number: "How many bytes has a number?",
            size_upstairs: "where you should multiply",
            nothing_written: "What has to be written back",
            only_written: "Where do the inputs come from?",
            only_weights: "What about the m tokens, and the results?",
            inputs_multiplied: "or 60 + 150?",
            square: "Your three matrices are (k, k)",
            whole_flops: "Which division has decimals?",
            always_four_bytes: "Right for one product. intensity(1, 768, 768, 2)",
        },
    ),
    "mfu": Answers(
        right=[by_rate, by_time],
        wrong={
            in_percent: "That is in percent",
            upside_down: "Which way round is a utilisation?",
            one_device: "do all 7 peaks count as well?",
            sequences_for_tokens: "How many tokens are in a sequence?",
            one_step: "How many steps were there?",
            one_sequence: "How many are in the batch?",
            no_time: "How long did the devices have?",
            no_peak: "What share of the peak is it?",
            longest_sequence: "How long are these?",
            six_for_each_parameter: "What about attention, and what multiplies nothing?",
            backward_again: "What did you multiply by?",
            one_at_most: "Should it hide that?",
        },
    ),
    "to_bfloat16": Answers(
        right=[by_bits, by_logarithm, scaled_to_eight_bits],
        wrong={
            as_float16: "that is float16",
            unchanged: "Which of them is nearer?",
            logarithm_of_zero: "Zero has no leading 1",
            seven_bits: "Did you keep the leading 1 and 7 more?",
            seven_bits_after_the_point: "Near 1024 bfloat16 numbers are 8 apart",
            eight_significant_bits_of_large_numbers: "Near 0.0008",
            cut_off: "Do you round, or cut off?",
            half_up_for_positive: "Do you round negative numbers the wrong way?",
            half_up: "that is 128 and 129",
            half_down: "between 129 and 130",
            nine_bits: "Do you count the leading 1 as one?",
            by_bits_of_a_float32: "first to a float32",
        },
    ),
    "next_scale": Answers(
        right=[counting_down, starting_anew_after_doubling],
        wrong={
            swapped: "Which comes first",
            grows_every_step: "Only every 2,000th good step in a row",
            does_not_count: "How many good steps are there now?",
            doubles_on_overflow: "Should the scale grow?",
            keeps_scale_on_overflow: "By which factor should the scale shrink?",
            counts_skips_too: "Was that a good step?",
            keeps_count_on_overflow: "How many are there since this one?",
            never_doubles: "When should it double?",
            tests_before_counting: "which step is the 2,000th good one?",
            doubles_ever_after: "how many good steps should it wait",
            doubles_once: "It should be after every 2,000 good steps",
            grows_tenfold: "By which factor should it grow?",
            counts_through_a_skip: "How many good steps in a row were there at most?",
            at_least_one: "at the scale 1 leads to 1.0",
            whole_halves: "at the scale 1 leads to 0.0",
        },
    ),
}
