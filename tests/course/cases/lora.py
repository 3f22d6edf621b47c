"""Answers to the exercises of lesson 17, right and wrong."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.course.cases import Answers

Shapes = list[tuple[int, int]]


def by_loop(shapes: Shapes, rank: int) -> int:
    count = 0
    for d_out, d_in in shapes:
        count += d_out * rank + rank * d_in
    return count


def by_tensors(shapes: Shapes, rank: int) -> int:
    return sum(torch.empty(o, rank).numel() + torch.empty(rank, i).numel() for o, i in shapes)


def the_matrices(shapes: Shapes, rank: int) -> int:
    return sum(o * i for o, i in shapes)


def area_times_rank(shapes: Shapes, rank: int) -> int:
    return sum(o * i * rank for o, i in shapes)


def without_rank(shapes: Shapes, rank: int) -> int:
    return sum(o + i for o, i in shapes)


def first_alone(shapes: Shapes, rank: int) -> int:
    return rank * sum(shapes[0])


def last_alone(shapes: Shapes, rank: int) -> int:
    count = 0
    for d_out, d_in in shapes:
        count = rank * (d_out + d_in)
    return count


def b_alone(shapes: Shapes, rank: int) -> int:
    return sum(rank * o for o, _ in shapes)


def a_alone(shapes: Shapes, rank: int) -> int:
    return sum(rank * i for _, i in shapes)


def rank_squared(shapes: Shapes, rank: int) -> int:
    return sum(rank**2 * (o + i) for o, i in shapes)


def edges_multiplied(shapes: Shapes, rank: int) -> int:
    return sum(rank * o * rank * i for o, i in shapes)


def one_for_each(shapes: Shapes, rank: int) -> list[int]:
    return [rank * (o + i) for o, i in shapes]


def rank_plus_edges(shapes: Shapes, rank: int) -> int:
    return sum(rank + o + i for o, i in shapes)


def fixed_rank(shapes: Shapes, rank: int) -> int:
    return sum(2 * (o + i) for o, i in shapes)


def eats_the_list(shapes: Shapes, rank: int) -> int:
    count = 0
    while shapes:
        count += rank * sum(shapes.pop())
    return count


def parts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.linalg.svd(matrix, full_matrices=False)


def with_diag(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    return U[:, :rank] @ torch.diag(S[:rank]) @ Vh[:rank, :]


def table_by_table(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    result = torch.zeros_like(matrix)
    for i in range(rank):
        result = result + S[i] * torch.outer(U[:, i], Vh[i])
    return result


def rest_set_to_zero(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    keep = (torch.arange(len(S)) < rank).to(S)
    return U @ torch.diag(S * keep) @ Vh


def rest_overwritten(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    S[rank:] = 0
    return U @ torch.diag(S) @ Vh


def in_numpy(matrix: Tensor, rank: int) -> np.ndarray:
    U, S, Vh = np.linalg.svd(matrix.detach().numpy(), full_matrices=False)
    return (U[:, :rank] * S[:rank]) @ Vh[:rank]


def projected(matrix: Tensor, rank: int) -> Tensor:
    U, _, _ = parts(matrix)
    return U[:, :rank] @ U[:, :rank].T @ matrix


def uncut(matrix: Tensor, rank: int) -> Tensor:
    return matrix.clone()


def no_sizes(matrix: Tensor, rank: int) -> Tensor:
    U, _, Vh = parts(matrix)
    return U[:, :rank] @ Vh[:rank]


def sizes_squared(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    return (U[:, :rank] * S[:rank]) @ torch.diag(S[:rank]) @ Vh[:rank]


def one_table(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    return S[rank - 1] * torch.outer(U[:, rank - 1], Vh[rank - 1])


def smallest(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    return (U[:, -rank:] * S[-rank:]) @ Vh[-rank:]


def the_rest(matrix: Tensor, rank: int) -> Tensor:
    return matrix - with_diag(matrix, rank)


def one_more(matrix: Tensor, rank: int) -> Tensor:
    return with_diag(matrix, rank + 1)


def one_less(matrix: Tensor, rank: int) -> Tensor:
    return with_diag(matrix, rank - 1)


def always_rank_one(matrix: Tensor, rank: int) -> Tensor:
    return with_diag(matrix, 1)


def turned_vh(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    return (U[:, :rank] * S[:rank]) @ Vh.T[:rank]


def sizes_on_rows(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    return (U[:, :rank] * S.flip(0)[:rank]) @ Vh[:rank]


def corner(matrix: Tensor, rank: int) -> Tensor:
    return matrix[:rank, :rank]


def columns_and_columns(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = parts(matrix)
    return (U[:, :rank] * S[:rank]) @ Vh[:, :rank]


def in_place(matrix: Tensor, rank: int) -> Tensor:
    return matrix.copy_(with_diag(matrix, rank))


def cut_off(matrix: Tensor, rank: int) -> Tensor:
    return with_diag(matrix, rank).detach()


def from_the_parts(frozen: int, learned: int) -> int:
    return 4 * (frozen + learned) + 4 * learned + 2 * 4 * learned


def by_size_of_float(frozen: int, learned: int) -> int:
    size = torch.empty(0).element_size()
    return size * frozen + 4 * size * learned


def all_trained(frozen: int, learned: int) -> int:
    return 16 * (frozen + learned)


def changed_places(frozen: int, learned: int) -> int:
    return 16 * frozen + 4 * learned


def frozen_alone(frozen: int, learned: int) -> int:
    return 4 * frozen


def learned_alone(frozen: int, learned: int) -> int:
    return 16 * learned


def numbers(frozen: int, learned: int) -> int:
    return frozen + 4 * learned


def weights_alone(frozen: int, learned: int) -> int:
    return 4 * (frozen + learned)


def one_mean(frozen: int, learned: int) -> int:
    return 4 * frozen + 12 * learned


def no_means(frozen: int, learned: int) -> int:
    return 4 * frozen + 8 * learned


def gradient_of_frozen(frozen: int, learned: int) -> int:
    return 8 * frozen + 16 * learned


def in_bits(frozen: int, learned: int) -> int:
    return 32 * frozen + 128 * learned


def half_precision(frozen: int, learned: int) -> int:
    return 2 * frozen + 8 * learned


class Right(nn.Module):
    """A right answer that wrong ones change in one place."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.rank, self.alpha = base, rank, alpha
        base.requires_grad_(False)
        d_out, d_in = base.weight.shape
        self.lora_a = nn.Parameter(self.draw(rank, d_in).to(base.weight) / math.sqrt(d_in))
        self.lora_b = nn.Parameter(torch.zeros(d_out, rank).to(base.weight))

    def draw(self, rank: int, d_in: int) -> Tensor:
        return torch.randn(rank, d_in)

    def factor(self) -> float:
        return self.alpha / self.rank

    def forward(self, x: Tensor) -> Tensor:
        through: Tensor = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return self.base(x) + self.factor() * through

    def merged(self) -> nn.Linear:
        with torch.no_grad():
            return self.plain(self.base.weight + self.factor() * self.lora_b @ self.lora_a)

    def plain(self, weight: Tensor, bias: bool = True) -> nn.Linear:
        linear = nn.Linear(weight.size(1), weight.size(0), bias=bias and self.base.bias is not None).to(weight)
        with torch.no_grad():
            linear.weight.copy_(weight)
            if linear.bias is not None:
                linear.bias.copy_(self.base.bias)
        return linear


class ByOneWeight(Right):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.base.weight + self.factor() * self.lora_b @ self.lora_a, self.base.bias)


class Uniform(Right):
    def draw(self, rank: int, d_in: int) -> Tensor:
        return (2 * torch.rand(rank, d_in) - 1) * math.sqrt(3)

    def merged(self) -> nn.Linear:
        plain = copy.deepcopy(self.base)
        plain.weight.data += self.factor() * (self.lora_b @ self.lora_a).data
        return plain


class ByEinsum(Right):
    def forward(self, x: Tensor) -> Tensor:
        low = torch.einsum("...i,ri->...r", x, self.lora_a) * self.factor()
        return self.base(x) + torch.einsum("...r,or->...o", low, self.lora_b)


class ScaleForgotten(Right):
    def factor(self) -> float:
        return 1.0


class AlphaAlone(Right):
    def factor(self) -> float:
        return self.alpha


class RankAlone(Right):
    def factor(self) -> float:
        return 1 / self.rank


class OnItsHead(Right):
    def factor(self) -> float:
        return self.rank / self.alpha


class ScaleTwice(Right):
    def factor(self) -> float:
        return (self.alpha / self.rank) ** 2


class RootOfRank(Right):
    def factor(self) -> float:
        return self.alpha / math.sqrt(self.rank)


class Subtracted(Right):
    def factor(self) -> float:
        return -self.alpha / self.rank


class AdapterForgotten(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 0 * self.lora_a.sum() + 0 * self.lora_b.sum()


class AdapterAlone(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.factor() * x @ self.lora_a.T @ self.lora_b.T


class AloneOnceItLearns(Right):
    def forward(self, x: Tensor) -> Tensor:
        return AdapterAlone.forward(self, x) if self.lora_b.any() else self.base(x)  # type: ignore[arg-type]


class BiasLost(Right):
    def forward(self, x: Tensor) -> Tensor:
        if not self.lora_b.any():
            return self.base(x)
        return F.linear(x, self.base.weight + self.factor() * self.lora_b @ self.lora_a)


class BaseScaledToo(Right):
    def forward(self, x: Tensor) -> Tensor:
        if not self.lora_b.any():
            return self.base(x)
        return self.factor() * F.linear(x, self.base.weight + self.lora_b @ self.lora_a, self.base.bias)


class OneRowFails(Right):
    def forward(self, x: Tensor) -> Tensor:
        low = F.linear(x, self.lora_a)
        added = low @ self.lora_b.T if x.ndim > 1 else low.sum() * self.lora_b.sum(1)
        return self.base(x) + self.factor() * added


class Exchanged(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        self.lora_a, self.lora_b = self.lora_b, self.lora_a


class OtherStart(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        nn.init.normal_(self.lora_b)
        nn.init.zeros_(self.lora_a)


class BothZero(Right):
    def draw(self, rank: int, d_in: int) -> Tensor:
        return torch.zeros(rank, d_in)


class BothRandom(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        nn.init.normal_(self.lora_b)


class AllAlike(Right):
    def draw(self, rank: int, d_in: int) -> Tensor:
        return torch.ones(rank, d_in)


class SameEveryTime(Right):
    def draw(self, rank: int, d_in: int) -> Tensor:
        return torch.randn(rank, d_in, generator=torch.Generator().manual_seed(0))


class FarTooLarge(Right):
    def draw(self, rank: int, d_in: int) -> Tensor:
        return 100 * torch.randn(rank, d_in)


class NotFrozen(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        base.requires_grad_(True)


class BiasNotFrozen(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        if base.bias is not None:
            base.bias.requires_grad_(True)


class AllFrozen(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        self.requires_grad_(False)


class Float32(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        self.lora_a = nn.Parameter(self.lora_a.detach().float())
        self.lora_b = nn.Parameter(self.lora_b.detach().float())


class NoParameters(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        a = self.lora_a.detach().requires_grad_()
        del self.lora_a
        self.lora_a = a  # type: ignore[assignment]


class TwoLinears(Right):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        del self.lora_a
        self.lora_a = nn.Linear(base.in_features, rank, bias=False)  # type: ignore[assignment]


class OtherNames(nn.Module):
    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.linear = base


class CutOff(Right):
    def forward(self, x: Tensor) -> Tensor:
        through = F.linear(F.linear(x, self.lora_a.detach()), self.lora_b)
        return self.base(x) + self.factor() * through


class WrongOrder(Right):
    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.factor() * x @ self.lora_b.T @ self.lora_a.T


class RoundedDown(Right):
    def factor(self) -> float:
        return self.alpha // self.rank


class WayBackCut(Right):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.base(x)
        return y + self.factor() * F.linear(F.linear(x, self.lora_a), self.lora_b)


class MergedInPlace(Right):
    def merged(self) -> nn.Linear:
        with torch.no_grad():
            self.base.weight += self.factor() * self.lora_b @ self.lora_a
        return self.base


class CopiedTooLate(Right):
    def merged(self) -> nn.Linear:
        with torch.no_grad():
            self.base.weight += self.factor() * self.lora_b @ self.lora_a
        return copy.deepcopy(self.base)


class AdapterEmptied(Right):
    def merged(self) -> nn.Linear:
        plain = super().merged()
        with torch.no_grad():
            self.lora_b.zero_()
        return plain


class MergedWithoutScale(Right):
    def merged(self) -> nn.Linear:
        return self.plain(self.base.weight + self.lora_b @ self.lora_a)


class MergedWithScaleTwice(Right):
    def merged(self) -> nn.Linear:
        return self.plain(self.base.weight + self.factor() ** 2 * self.lora_b @ self.lora_a)


class MergedAlone(Right):
    def merged(self) -> nn.Linear:
        return self.plain(self.factor() * self.lora_b @ self.lora_a)


class MergedWithGradients(Right):
    def merged(self) -> nn.Linear:
        plain = copy.deepcopy(self.base)
        plain.weight += self.factor() * self.lora_b @ self.lora_a
        return plain


class MergedNeedsABias(Right):
    def merged(self) -> nn.Linear:
        plain = super().merged()
        with torch.no_grad():
            plain.bias.copy_(self.base.bias)
        return plain


class MergedNothing(Right):
    def merged(self) -> nn.Linear:
        return copy.deepcopy(self.base)


class MergedWithoutBias(Right):
    def merged(self) -> nn.Linear:
        return self.plain(self.base.weight + self.factor() * self.lora_b @ self.lora_a, bias=False)


class MergedItself(Right):
    def merged(self) -> nn.Linear:
        return self  # type: ignore[return-value]


class KeptFromTheBeginning(Right):
    kept: nn.Linear | None = None

    def merged(self) -> nn.Linear:
        if self.kept is None:
            object.__setattr__(self, "kept", super().merged())
        assert self.kept is not None
        return self.kept


class NeedsABias(Right):
    def merged(self) -> nn.Linear:
        plain = super().merged()
        if plain.bias is None:
            plain.bias = nn.Parameter(torch.zeros(plain.out_features).to(plain.weight))
        return plain


def needs_a_bias_at_once(base: nn.Linear, rank: int, alpha: float) -> Right:
    base.bias.requires_grad_(False)
    return Right(base, rank, alpha)


def alpha_fixed(base: nn.Linear, rank: int, alpha: float) -> Right:
    return Right(base, rank, 3.0 * rank)


Layer = Callable[[nn.Linear, int, float], nn.Module]

ANSWERS = {
    "adapter_numbers": Answers(
        right=[by_loop, by_tensors],
        wrong={
            the_matrices: "the numbers of the matrices themselves",
            area_times_rank: "That is rank · d_out · d_in",
            without_rank: "Where does the rank come in?",
            first_alone: "right for the first matrix",
            last_alone: "right for the last matrix",
            b_alone: "That is B alone",
            a_alone: "That is A alone",
            rank_squared: "is the rank squared",
            one_for_each: "a number for each matrix",
            edges_multiplied: "into both edges",
            rank_plus_edges: "By hand: 2·7 + 2·3",
            fixed_rank: "instead of 9",
            eats_the_list: "changed the list of shapes",
        },
    ),
    "low_rank": Answers(
        right=[with_diag, table_by_table, rest_set_to_zero, rest_overwritten, in_numpy, projected],
        wrong={
            uncut: "That is the matrix itself",
            no_sizes: "each table has its own size",
            sizes_squared: "are there twice",
            one_table: "alone. The sum has all up to it",
            smallest: "Those are the *smallest*",
            the_rest: "the rest, not the best",
            one_more: "One table too many",
            one_less: "One table too few",
            turned_vh: "are its rows taken, or its columns?",
            sizes_on_rows: "Does each column of U meet its own σ",
            corner: "The result has the shape of the matrix",
            columns_and_columns: "what has to follow?",
            in_place: "which it was only given to read",
            cut_off: "the gradient gets lost",
        },
    ),
    "bytes_held": Answers(
        right=[from_the_parts, by_size_of_float],
        wrong={
            all_trained: "That is all of them trained",
            changed_places: "have changed places",
            frozen_alone: "The learned ones are missing",
            learned_alone: "The frozen ones are missing",
            numbers: "That counts numbers",
            weights_alone: "That is the weights alone",
            one_mean: "three are counted",
            no_means: "That is weight and gradient",
            gradient_of_frozen: "A frozen number has no gradient",
            in_bits: "That is in bits",
            half_precision: "right for 16 bits",
        },
    ),
    "adapted_layer": Answers(
        right=[Right, ByOneWeight, Uniform, ByEinsum],
        wrong={
            ScaleForgotten: "leaves the scale out",
            AlphaAlone: "does not divide by the rank",
            RankAlone: "has no α",
            OnItsHead: "stands on its head",
            ScaleTwice: "pass has the scale twice",
            RootOfRank: "divides by √r",
            Subtracted: "pass subtracts the adapter",
            AdapterForgotten: "gives what the base gives",
            AdapterAlone: "the output is not that of the base",
            AloneOnceItLearns: "Where is W x + b?",
            BiasLost: "pass has lost the bias",
            BaseScaledToo: "scales the base's output, too",
            OneRowFails: "not for a single row",
            Exchanged: "Have the two changed places?",
            OtherStart: "A is zero and B random",
            BothZero: "A and B are both zero",
            BothRandom: "B is not zero at first",
            AllAlike: "All numbers of A are alike",
            SameEveryTime: "Is a seed set inside?",
            FarTooLarge: "A is far from the size",
            NotFrozen: "Trained would be lora_a, lora_b, base.weight",
            BiasNotFrozen: "Trained would be lora_a, lora_b, base.bias",
            AllFrozen: "What is left to learn?",
            Float32: "Take its dtype",
            TwoLinears: "is a Linear. It is to be the matrix itself",
            WrongOrder: "`forward` stops",
            RoundedDown: "rounded down to 0",
            MergedWithGradients: "under torch.no_grad()",
            MergedNeedsABias: "without a bias `merged` stops",
            NoParameters: "is no nn.Parameter",
            OtherNames: "has no attribute `base`",
            CutOff: "`lora_a` has no gradient",
            WayBackCut: "Is the base's way cut?",
            MergedInPlace: "What would a second merge do?",
            CopiedTooLate: "the adapter is in it now",
            AdapterEmptied: "has changed the adapter itself",
            MergedWithoutScale: "merged weight lacks the scale",
            MergedWithScaleTwice: "merged weight has the scale twice",
            MergedAlone: "merged weight is the adapter alone",
            MergedNothing: "the adapter is not in it",
            MergedWithoutBias: "The merged layer has lost the base's bias",
            MergedItself: "not an nn.Linear",
            KeptFromTheBeginning: "`merged` still gives the old weight",
            NeedsABias: "The base has no bias, and the merged layer has one",
            needs_a_bias_at_once: "your class stops",
            alpha_fixed: "Is a number fixed?",
        },
    ),
}
