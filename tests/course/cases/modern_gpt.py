"""Answers to the exercises of lesson 20, right and wrong."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.model.attention import rotate, rotation
from tests.course.cases import Answers

# rms_norm


def by_torch(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    return F.rms_norm(x.to(wide), x.shape[-1:], gain.to(wide), epsilon).to(x.dtype)


def by_rsqrt(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt((wide**2).sum(-1, keepdim=True) / x.size(-1) + epsilon) * gain).to(x.dtype)


def by_norm(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    wide = x.double()
    length = (wide.norm(dim=-1, keepdim=True) ** 2 / x.size(-1) + epsilon).sqrt()
    return (wide / length * gain).to(x.dtype)


Norm = Callable[[Tensor, Tensor, float], Tensor]


def norm_in_float64(formula: Callable[[Tensor, Tensor, float], Tensor]) -> Norm:
    """A formula, computed in float64, in the dtype of x."""

    def answer(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
        return formula(x.double(), gain.double(), epsilon).to(x.dtype)

    return answer


def ms(x: Tensor) -> Tensor:
    return x.square().mean(-1, keepdim=True)


def centre(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


no_gain = norm_in_float64(lambda x, g, e: x / (ms(x) + e).sqrt())
no_epsilon = norm_in_float64(lambda x, g, e: x / ms(x).sqrt() * g)
epsilon_outside = norm_in_float64(lambda x, g, e: x / (ms(x).sqrt() + e) * g)
epsilon_squared = norm_in_float64(lambda x, g, e: x / (ms(x) + e * e).sqrt() * g)
no_root = norm_in_float64(lambda x, g, e: x / (ms(x) + e) * g)
sum_of_squares = norm_in_float64(lambda x, g, e: x / (x.square().sum(-1, keepdim=True) + e).sqrt() * g)
is_layer_norm = norm_in_float64(lambda x, g, e: centre(x) / (ms(centre(x)) + e).sqrt() * g)
by_deviation = norm_in_float64(lambda x, g, e: x / (ms(centre(x)) + e).sqrt() * g)
all_rows = norm_in_float64(lambda x, g, e: x / (x.square().mean() + e).sqrt() * g)
columns = norm_in_float64(lambda x, g, e: x / (x.square().mean(-2, keepdim=True) + e).sqrt() * g)
multiplied = norm_in_float64(lambda x, g, e: x * (ms(x) + e).sqrt() * g)
gain_divides = norm_in_float64(lambda x, g, e: x / (ms(x) + e).sqrt() / g)
gain_and_one = norm_in_float64(lambda x, g, e: x / (ms(x) + e).sqrt() * (1 + g))
detached = norm_in_float64(lambda x, g, e: x / (ms(x).detach() + e).sqrt() * g)


def naive_in_half(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    return x / ((x * x).mean(-1, keepdim=True) + epsilon).sqrt() * gain


def always_float32(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    x = x.float()
    return naive_in_half(x, gain.float(), epsilon)


def returned_wide(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    return naive_in_half(x, gain, epsilon) if x.dtype == torch.float64 else always_float32(x, gain, epsilon)


def rounded_to_float32(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    return always_float32(x, gain, epsilon).to(x.dtype)


def in_place(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    x /= (ms(x) + epsilon).sqrt()
    return x * gain


def as_a_list(x: Tensor, gain: Tensor, epsilon: float) -> list[float]:
    return by_torch(x, gain, epsilon).tolist()


# turned


def by_package(x: Tensor, base: float) -> Tensor:
    return rotate(x.double(), rotation(torch.arange(len(x)).double(), x.size(-1), base)).to(x.dtype)


def row_by_row(x: Tensor, base: float) -> Tensor:
    half = x.size(-1) // 2
    rows = []
    for t, row in enumerate(x):
        angles = t * base ** (-torch.arange(half, dtype=x.dtype) / half)
        a, b = row[:half], row[half:]
        rows.append(torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()]))
    return torch.stack(rows)


def by_complex(x: Tensor, base: float) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    turned = torch.complex(a, b) * torch.polar(torch.ones_like(a), _angles(x, base))
    return torch.cat([turned.real, turned.imag], dim=-1)


def _angles(x: Tensor, base: float, power: float = -2.0, shift: int = 0, first: int = 0) -> Tensor:
    T, d = x.shape
    speeds = base ** (power * (torch.arange(d // 2, dtype=x.dtype) + shift) / d)
    return torch.arange(first, first + T, dtype=x.dtype)[:, None] * speeds


def turned_by(x: Tensor, angles: Tensor, signs: tuple[int, int, int] = (-1, 1, 1)) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos + signs[0] * b * sin, signs[1] * a * sin + signs[2] * b * cos], dim=-1)


def stays(x: Tensor, base: float) -> Tensor:
    return x.clone()


def other_way(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base), (1, -1, 1))


def of_neighbours(x: Tensor, base: float) -> Tensor:
    a, b, angles = x[:, ::2], x[:, 1::2], _angles(x, base)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(1)


def from_one(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base, first=1))


def one_speed(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, 1.0))


def half_exponent(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base, power=-1))


def double_exponent(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base, power=-4))


def growing(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base, power=2))


def fixed_base(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, 10_000.0))


def from_pair_one(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base, shift=1))


def two_minus(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base), (-1, 1, -1))


def two_plus(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base), (1, 1, 1))


def halves_exchanged(x: Tensor, base: float) -> Tensor:
    return by_package(x, base).roll(x.size(-1) // 2, dims=-1)


def overwritten(x: Tensor, base: float) -> Tensor:
    x, angles, half = x.clone(), _angles(x, base), x.size(-1) // 2
    x[:, :half] = x[:, :half] * angles.cos() - x[:, half:] * angles.sin()
    x[:, half:] = x[:, :half] * angles.sin() + x[:, half:] * angles.cos()
    return x


def turned_in_place(x: Tensor, base: float) -> Tensor:
    x[:] = by_package(x, base)
    return x


def six_numbers(x: Tensor, base: float) -> Tensor:
    return turned_by(x, _angles(x, base ** (x.size(-1) / 6)))


def turned_wide(x: Tensor, base: float) -> Tensor:
    return by_package(x.double(), base)


def turned_cut_off(x: Tensor, base: float) -> Tensor:
    return by_package(x.detach(), base)


def one_row(x: Tensor, base: float) -> Tensor:
    return by_package(x, base)[1]


# swiglu_of_size


class Gated(nn.Module):
    """SwiGLU, of which a subclass changes one thing."""

    bias = False

    def __init__(self, d_model: int, d_gelu: int) -> None:
        super().__init__()
        width = self.width(d_model, d_gelu)
        self.gate = nn.Linear(d_model, width, bias=self.bias)
        self.up = nn.Linear(d_model, width, bias=self.bias)
        self.down = nn.Linear(width, d_model, bias=self.bias)

    def width(self, d_model: int, d_gelu: int) -> int:
        return int(d_gelu * 2 / 3)

    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return F.silu(g) * u

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.inside(self.gate(x), self.up(x)))
        return y


class BySearch(Gated):
    def width(self, d_model: int, d_gelu: int) -> int:
        return max(w for w in range(d_gelu) if 3 * w * d_model <= 2 * d_model * d_gelu)

    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return u * g / (1 + torch.exp(-g))


class AsWide(Gated):
    def width(self, d_model: int, d_gelu: int) -> int:
        return d_gelu


class RoundedUp(Gated):
    def width(self, d_model: int, d_gelu: int) -> int:
        return -(-2 * d_gelu // 3)


class HalfAsWide(Gated):
    def width(self, d_model: int, d_gelu: int) -> int:
        return d_gelu // 2


class OfTheModel(Gated):
    def width(self, d_model: int, d_gelu: int) -> int:
        return 8 * d_model // 3


class Biased(Gated):
    bias = True


class NotBent(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return g * u


class UpBent(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return g * F.silu(u)


class BothBent(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return F.silu(g) * F.silu(u)


class ByGelu(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return F.gelu(g) * u


class BySigmoid(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return g.sigmoid() * u


class ByRelu(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return g.relu() * u


class Added(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return F.silu(g) + u


class AroundTheProduct(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return F.silu(g * u)


class NoUp(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return F.silu(g)


class GateCutOff(Gated):
    def inside(self, g: Tensor, u: Tensor) -> Tensor:
        return F.silu(g).detach() * u


class OneMore(Gated):
    def __init__(self, d_model: int, d_gelu: int) -> None:
        super().__init__(d_model, d_gelu)
        self.scale = nn.Parameter(torch.ones(1))


class OtherNames(nn.Module):
    def __init__(self, d_model: int, d_gelu: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(d_model, d_gelu, bias=False)


def same_every_time(d_model: int, d_gelu: int) -> nn.Module:
    torch.manual_seed(1)
    return Gated(d_model, d_gelu)


def the_class(d_model: int, d_gelu: int) -> type[nn.Module]:
    return Gated


# cache_bytes


def from_shape(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 2 * int(np.prod([n_layers, n_kv_heads, head_size, length, size]))


def step_by_step(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return sum(2 * n_kv_heads * head_size * size for _ in range(length * n_layers))


def keys_alone(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return n_layers * n_kv_heads * head_size * length * size


def one_layer(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 2 * n_kv_heads * head_size * length * size


def one_head(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 2 * n_layers * head_size * length * size


def no_width(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 2 * n_layers * n_kv_heads * length * size


def one_token(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 2 * n_layers * n_kv_heads * head_size * size


def numbers(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 2 * n_layers * n_kv_heads * head_size * length


def in_bits(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 16 * n_layers * n_kv_heads * head_size * length * size


def two_bytes(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> int:
    return 4 * n_layers * n_kv_heads * head_size * length


def as_a_float(n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int) -> float:
    return 2.0 * n_layers * n_kv_heads * head_size * length * size


# unpermuted


def by_strides(rows: Tensor, n_heads: int) -> Tensor:
    heads = rows.reshape(n_heads, -1, rows.size(1))
    return torch.cat([heads[:, ::2], heads[:, 1::2]], dim=1).reshape(rows.shape)


def by_index(rows: Tensor, n_heads: int) -> Tensor:
    d = len(rows) // n_heads
    order = [h * d + r for h in range(n_heads) for r in (*range(0, d, 2), *range(1, d, 2))]
    return rows[order]


def untouched(rows: Tensor, n_heads: int) -> Tensor:
    return rows.clone()


def into_the_file(rows: Tensor, n_heads: int) -> Tensor:
    d = len(rows) // n_heads
    return rows.reshape(n_heads, 2, d // 2, -1).transpose(1, 2).reshape(rows.shape)


def one_large_head(rows: Tensor, n_heads: int) -> Tensor:
    return by_strides(rows, 1)


def heads_moved(rows: Tensor, n_heads: int) -> Tensor:
    d = len(rows) // n_heads
    return rows.reshape(n_heads, d // 2, 2, -1).transpose(0, 2).reshape(rows.shape)


def odd_first(rows: Tensor, n_heads: int) -> Tensor:
    heads = rows.reshape(n_heads, -1, rows.size(1))
    return torch.cat([heads[:, 1::2], heads[:, ::2]], dim=1).reshape(rows.shape)


def heads_turned_round(rows: Tensor, n_heads: int) -> Tensor:
    return by_strides(rows, n_heads).view(n_heads, -1, rows.size(1)).flip(0).reshape(rows.shape)


def reversed_rows(rows: Tensor, n_heads: int) -> Tensor:
    return by_strides(rows, n_heads).flip(0)


def columns_moved(rows: Tensor, n_heads: int) -> Tensor:
    return by_strides(rows, n_heads).flip(1)


def heads_of_six(rows: Tensor, n_heads: int) -> Tensor:
    return by_strides(rows, len(rows) // 6) if len(rows) % 6 == 0 else rows.clone()


def rows_in_place(rows: Tensor, n_heads: int) -> Tensor:
    rows[:] = by_strides(rows, n_heads)
    return rows


def by_view(rows: Tensor, n_heads: int) -> Tensor:
    return rows.view(n_heads, -1, 2, rows.size(1)).transpose(1, 2).reshape(rows.shape)


def through_one_row(rows: Tensor, n_heads: int) -> Tensor:
    return rows.view(-1).view(n_heads, -1, 2, rows.size(1)).transpose(1, 2).reshape(rows.shape)


def heads_apart(rows: Tensor, n_heads: int) -> Tensor:
    return by_strides(rows, n_heads).view(n_heads, -1, rows.size(1))


ANSWERS = {
    "rms_norm": Answers(
        right=[by_torch, by_rsqrt, by_norm],
        wrong={
            no_gain: "The gain is missing",
            no_epsilon: "Is ε forgotten",
            epsilon_outside: "ε is added to the root",
            epsilon_squared: "You add ε² under the root",
            no_root: "Where is its root?",
            sum_of_squares: "the *sum* of squares",
            is_layer_norm: "That is LayerNorm",
            by_deviation: "you divide by the standard deviation",
            all_rows: "over all rows together",
            columns: "a mean of the wrong direction",
            multiplied: "You multiply by the root",
            gain_divides: "You divide by the gain",
            gain_and_one: "That is 1 + gain",
            naive_in_half: "Square in float32",
            returned_wide: "Return it in the dtype of x",
            rounded_to_float32: "Keep float64 as it is",
            in_place: "changed x or the gain",
            as_a_list: "not a tensor",
            detached: "the gradient gets lost",
        },
    ),
    "turned": Answers(
        right=[by_package, row_by_row, by_complex],
        wrong={
            stays: "Nothing turns",
            other_way: "They turn the other way round",
            of_neighbours: "You turn neighbours",
            from_one: "stands at position 0, not 1",
            one_speed: "All pairs turn at the same speed",
            half_exponent: "fall half as fast",
            double_exponent: "fall twice as fast",
            growing: "The speeds *grow* with i",
            fixed_base: "The base is to be the one that is given",
            from_pair_one: "Is the first pair number 0?",
            two_minus: "Both signs are minus",
            two_plus: "Both signs are plus",
            halves_exchanged: "The two halves have changed places",
            overwritten: "after it had turned",
            turned_in_place: "changed x, which it was only given",
            six_numbers: "Is a number fixed?",
            turned_wide: "in the dtype of x",
            turned_cut_off: "the gradient gets lost",
            one_row: "you return the shape (6,)",
        },
    ),
    "swiglu_of_size": Answers(
        right=[Gated, BySearch],
        wrong={
            AsWide: "your network is as wide as the GELU one",
            RoundedUp: "Do you round up?",
            HalfAsWide: "is the widest that has no more",
            OfTheModel: "whatever d_gelu is",
            Biased: "has a bias. None was asked for",
            NotBent: "The gate is not bent",
            UpBent: "You bend what comes out of `up`",
            BothBent: "Both are bent",
            ByGelu: "That is GELU in place of SiLU",
            BySigmoid: "That is the sigmoid alone",
            ByRelu: "That is ReLU",
            Added: "The two ways are added",
            AroundTheProduct: "bent around the product",
            NoUp: "Where is `up`?",
            GateCutOff: "gets no gradient",
            OneMore: "other parameters beside them",
            OtherNames: "no nn.Linear called `gate`",
            same_every_time: "Two networks have the same weights",
            the_class: "not an nn.Module",
        },
    ),
    "cache_bytes": Answers(
        right=[from_shape, step_by_step],
        wrong={
            keys_alone: "Keys *and* values are kept",
            one_layer: "Each of the 5 layers",
            one_head: "Each head has keys of its own",
            no_width: "as many numbers as a head is wide",
            one_token: "Each token has a key",
            numbers: "That counts numbers",
            in_bits: "Bytes, not bits",
            two_bytes: "right for 2 bytes a number",
            as_a_float: "Bytes are whole numbers",
        },
    ),
    "unpermuted": Answers(
        right=[by_strides, by_index, by_view],
        wrong={
            untouched: "That is the order of the file still",
            into_the_file: "That is the way *into* the file",
            one_large_head: "You take all rows for one head",
            heads_moved: "The heads have changed places with the pairs",
            odd_first: "Odd rows come first",
            heads_turned_round: "The heads are turned round",
            reversed_rows: "not 0 to 11",
            columns_moved: "the numbers within a row were moved",
            heads_of_six: "Right for two heads of 6",
            rows_in_place: "changed the rows",
            through_one_row: "reshape does it",
            heads_apart: "you return the shape (2, 6, 2)",
        },
    ),
}
