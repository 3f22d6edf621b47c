"""Answers to the exercises of lesson 5."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tests.course.cases import Answers
from tests.course.cases_of_layers import LAYERS, LayerHeadByHead, fused_layer, layer_by_einsum

Attend = Callable[[Tensor], Tensor]


def triangle(T: int, diagonal: int = 0) -> Tensor:
    return torch.ones(T, T, dtype=torch.bool).tril(diagonal)


def by_comparing_positions(T: int) -> Tensor:
    at = torch.arange(T)
    return at[None, :] <= at[:, None]


def by_two_loops(T: int) -> Tensor:
    return torch.tensor([[j <= i for j in range(T)] for i in range(T)])


def what_is_not_above(T: int) -> Tensor:
    return ~torch.ones(T, T, dtype=torch.bool).triu(1)


def upper_triangle(T: int) -> Tensor:
    return triangle(T).T


def true_where_hidden(T: int) -> Tensor:
    return ~triangle(T)


def without_itself(T: int) -> Tensor:
    return triangle(T, -1)


def sees_the_next(T: int) -> Tensor:
    return triangle(T, 1)


def sees_all(T: int) -> Tensor:
    return torch.ones(T, T, dtype=torch.bool)


def sees_itself_alone(T: int) -> Tensor:
    return torch.eye(T, dtype=torch.bool)


def ready_to_add(T: int) -> Tensor:
    return torch.zeros(T, T).masked_fill(~triangle(T), -math.inf)


def in_floats(T: int) -> Tensor:
    return torch.ones(T, T).tril()


def one_row(T: int) -> Tensor:
    return torch.ones(T, dtype=torch.bool)


def as_lists(T: int) -> list[list[bool]]:
    return [[j <= i for j in range(T)] for i in range(T)]


def always_three(T: int) -> Tensor:
    return triangle(3)


def eight_at_most(T: int) -> Tensor:
    return triangle(T) & ~torch.ones(T, T, dtype=torch.bool).tril(-8)


def other(x: Tensor) -> Tensor:
    """Random numbers of the same shape, to change tokens with."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)


def changed_at(x: Tensor, j: int) -> Tensor:
    changed = x.clone()
    changed[j] = other(x)[j]
    return changed


def moved(attend: Attend, x: Tensor, j: int) -> Tensor:
    """How far each row moves when token j changes."""
    return (attend(changed_at(x, j)) - attend(x)).abs().amax(dim=-1)


def by_derivatives(attend: Attend, x: Tensor) -> bool:
    jacobian = torch.autograd.functional.jacobian(attend, x)
    return bool(jacobian.abs().sum(dim=(1, 3)).triu(1).max() > 1e-9)


def the_whole_future_at_once(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    return any(
        not torch.allclose(attend(torch.cat([x[:j], other(x)[j:]]))[:j], before[:j], rtol=0, atol=1e-9)
        for j in range(1, len(x))
    )


def with_allclose_as_it_comes(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    return any(not torch.allclose(attend(changed_at(x, j))[:j], before[:j]) for j in range(1, len(x)))


def a_share_of_the_numbers(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    return any(bool((moved(attend, x, j)[:j].max() / before.abs().max()) > 1e-8) for j in range(1, len(x)))


def negated(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    for j in range(1, len(x)):
        changed = x.clone()
        changed[j] *= -1
        if (attend(changed)[:j] - before[:j]).abs().max() > 1e-9:
            return True
    return False


def turned_round(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    for j in range(1, len(x)):
        changed = x.clone()
        changed[j] = x[j].flip(0)
        if (attend(changed)[:j] - before[:j]).abs().max() > 1e-9:
            return True
    return False


def from_the_third_on(attend: Attend, x: Tensor) -> bool:
    return any(moved(attend, x, j)[:j].max() > 1e-9 for j in range(2, len(x)))


def by_cutting_the_text(attend: Attend, x: Tensor) -> bool:
    whole = attend(x)
    return max((attend(x[:j]) - whole[:j]).abs().max().item() for j in range(1, len(x))) > 1e-9


def row_of_the_change_too(attend: Attend, x: Tensor) -> bool:
    return any(moved(attend, x, j)[: j + 1].max() > 1e-9 for j in range(1, len(x)))


def rows_after_the_change(attend: Attend, x: Tensor) -> bool:
    return any(moved(attend, x, j)[j + 1 :].max() > 1e-9 for j in range(len(x) - 1))


def last_token_only(attend: Attend, x: Tensor) -> bool:
    return bool(moved(attend, x, len(x) - 1)[:-1].max() > 1e-9)


def first_row_only(attend: Attend, x: Tensor) -> bool:
    return any(moved(attend, x, j)[0] > 1e-9 for j in range(1, len(x)))


def row_just_before_only(attend: Attend, x: Tensor) -> bool:
    return any(moved(attend, x, j)[j - 1] > 1e-9 for j in range(1, len(x)))


def row_just_before_left_out(attend: Attend, x: Tensor) -> bool:
    return any(moved(attend, x, j)[: j - 1].max() > 1e-9 for j in range(2, len(x)))


def to_the_last_digit(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    return any(not torch.equal(attend(changed_at(x, j))[:j], before[:j]) for j in range(1, len(x)))


def too_generous(attend: Attend, x: Tensor) -> bool:
    return any(moved(attend, x, j)[:j].max() > 0.1 for j in range(1, len(x)))


def one_added_to_all(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    for j in range(1, len(x)):
        changed = x.clone()
        changed[j] += 1
        if (attend(changed)[:j] - before[:j]).abs().max() > 1e-9:
            return True
    return False


def doubled(attend: Attend, x: Tensor) -> bool:
    before = attend(x)
    for j in range(1, len(x)):
        changed = x.clone()
        changed[j] *= 2
        if (attend(changed)[:j] - before[:j]).abs().max() > 1e-9:
            return True
    return False


def in_place(attend: Attend, x: Tensor) -> bool:
    for j in range(1, len(x)):
        before = attend(x)
        x[j] = other(x)[j] + 1
        if (attend(x)[:j] - before[:j]).abs().max() > 1e-9:
            return True
    return False


def compared_with_itself(attend: Attend, x: Tensor) -> bool:
    changed = x.clone()
    same = changed
    same[-1] += 1
    return bool((attend(changed) - attend(same)).abs().max() > 1e-9)


def true_where_tight(attend: Attend, x: Tensor) -> bool:
    return not by_derivatives(attend, x)


def silent(attend: Attend, x: Tensor) -> bool:  # type: ignore[return]
    by_derivatives(attend, x)


def by_unflatten(x: Tensor, n_heads: int) -> Tensor:
    return x.unflatten(-1, (n_heads, -1)).movedim(-2, 1)


def by_chunks(x: Tensor, n_heads: int) -> Tensor:
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


def head_by_head(x: Tensor, n_heads: int) -> Tensor:
    d_k = x.size(-1) // n_heads
    y = x.new_empty(x.size(0), n_heads, x.size(1), d_k)
    for head in range(n_heads):
        y[:, head] = x[:, :, head * d_k : (head + 1) * d_k]
    return y


def view_alone(x: Tensor, n_heads: int) -> Tensor:
    B, T, d_model = x.shape
    return x.view(B, n_heads, T, d_model // n_heads)


def no_transpose(x: Tensor, n_heads: int) -> Tensor:
    return x.unflatten(-1, (n_heads, -1))


def every_third_feature(x: Tensor, n_heads: int) -> Tensor:
    return x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)


def heads_and_d_k_confused(x: Tensor, n_heads: int) -> Tensor:
    return x.unflatten(-1, (-1, n_heads)).transpose(1, 2)


def stacked_in_front(x: Tensor, n_heads: int) -> Tensor:
    return torch.stack(x.chunk(n_heads, dim=-1))


def sequences_cut(x: Tensor, n_heads: int) -> Tensor:
    return x.reshape(x.size(0) * n_heads, x.size(1), -1)


def last_head_first(x: Tensor, n_heads: int) -> Tensor:
    return by_unflatten(x, n_heads).flip(1)


def always_the_first_features(x: Tensor, n_heads: int) -> Tensor:
    return by_unflatten(x, n_heads)[:, :1].expand(-1, n_heads, -1, -1)


def three_heads_always(x: Tensor, n_heads: int) -> Tensor:
    return by_unflatten(x, 3)


def by_concatenation(y: Tensor) -> Tensor:
    return torch.cat(list(y.unbind(dim=1)), dim=-1)


def by_flatten(y: Tensor) -> Tensor:
    return y.permute(0, 2, 1, 3).flatten(2)


def contiguous_first(y: Tensor) -> Tensor:
    B, h, T, d_k = y.shape
    return y.transpose(1, 2).contiguous().view(B, T, h * d_k)


def reshape_alone(y: Tensor) -> Tensor:
    return y.reshape(y.size(0), y.size(2), -1)


def view_of_a_transpose(y: Tensor) -> Tensor:
    B, h, T, d_k = y.shape
    return y.contiguous().transpose(1, 2).view(B, T, h * d_k)


def added_up(y: Tensor) -> Tensor:
    return y.sum(dim=1)


def one_below_the_other(y: Tensor) -> Tensor:
    return y.flatten(1, 2)


def not_flattened(y: Tensor) -> Tensor:
    return y.transpose(1, 2)


def interleaved(y: Tensor) -> Tensor:
    return y.permute(0, 2, 3, 1).flatten(2)


def backwards(y: Tensor) -> Tensor:
    return y.flip(1).transpose(1, 2).flatten(2)


def wrong_pair_swapped(y: Tensor) -> Tensor:
    return y.transpose(2, 3).reshape(y.size(0), y.size(2), -1)


def sequences_joined(y: Tensor) -> Tensor:
    return by_flatten(y).flatten(0, 1)


def ups_only(attend: Attend, x: Tensor) -> bool:
    changes = [(attend(changed_at(x, j)) - attend(x))[:j] for j in range(1, len(x))]
    return any(bool(change.max() > 1e-9) for change in changes)


def one_number_changed(attend: Attend, x: Tensor) -> bool:
    for j in range(1, len(x)):
        changed = x.clone()
        changed[j, 0] += 1
        if bool((attend(changed) - attend(x))[:j].abs().max() > 1e-9):
            return True
    return False


def split_detached(x: Tensor, n_heads: int) -> Tensor:
    return by_unflatten(x, n_heads).detach()


def split_in_half_precision(x: Tensor, n_heads: int) -> Tensor:
    return by_unflatten(x, n_heads).half()


def split_rounded(x: Tensor, n_heads: int) -> Tensor:
    return by_unflatten(x, n_heads).round(decimals=4)


def split_in_place(x: Tensor, n_heads: int) -> Tensor:
    heads = by_unflatten(x, n_heads).clone()
    x.zero_()
    return heads


def join_detached(y: Tensor) -> Tensor:
    return by_flatten(y).detach()


def join_in_double(y: Tensor) -> Tensor:
    return by_flatten(y).double()


def join_rounded(y: Tensor) -> Tensor:
    return by_flatten(y).round(decimals=4)


def join_in_place(y: Tensor) -> Tensor:
    joined = by_flatten(y).clone()
    y.zero_()
    return joined


def view_without_transpose(y: Tensor) -> Tensor:
    B, h, T, d_k = y.shape
    return y.transpose(1, 2).view(B, T, h * d_k)


def a_tuple_of_heads(x: Tensor, n_heads: int) -> tuple[Tensor, ...]:
    return x.chunk(n_heads, dim=-1)


ANSWERS = {
    "causal_mask": Answers(
        right=[by_comparing_positions, by_two_loops, what_is_not_above],
        wrong={
            upper_triangle: "What does row 0 see here?",
            true_where_hidden: "What should True mean?",
            without_itself: "May a token see itself?",
            sees_the_next: "the answer it should guess",
            sees_all: "everybody sees everybody",
            sees_itself_alone: "Each token sees itself alone",
            ready_to_add: "those are scores already",
            in_floats: "The right triangle, of torch.float32",
            one_row: "has the shape (3,)",
            as_lists: "you return a list",
            always_three: "but not for T = 1",
            eight_at_most: "but not for T = 40",
        },
    ),
    "leaks": Answers(
        right=[by_derivatives, the_whole_future_at_once, by_cutting_the_text],
        wrong={
            row_of_the_change_too: "Where each token sees itself alone it says True",
            rows_after_the_change: "It says True for causal attention",
            last_token_only: "or the last one only?",
            first_row_only: "Is row 0 the only one you look at?",
            row_just_before_only: "Do you look at all rows before the changed one?",
            row_just_before_left_out: "Do you look at the row just before the changed one?",
            to_the_last_digit: "How small a difference is no movement?",
            too_generous: "your threshold small, enough?",
            one_added_to_all: "change in the same way?",
            doubled: "more than a new size?",
            in_place: "What does x.clone() do?",
            compared_with_itself: "another tensor than the x before,",
            true_where_tight: "Which way round is the answer?",
            silent: "returns None",
            ups_only: "Is a step down no movement?",
            with_allclose_as_it_comes: "a ten-millionth of the next",
            a_share_of_the_numbers: "not a share of the numbers",
            negated: "Is your change only a minus?",
            turned_round: "the old one with numbers exchanged?",
            from_the_third_on: "row 0 sees token 1",
            one_number_changed: "Do you change all its numbers?",
        },
    ),
    "split_heads": Answers(
        right=[by_unflatten, by_chunks, head_by_head],
        wrong={
            view_alone: "that is token 0 again",
            no_transpose: "What swaps axes?",
            every_third_feature: "holds features 0, 3, 6, 9",
            heads_and_d_k_confused: "4 heads of 3 numbers",
            stacked_in_front: "Sequences come first",
            sequences_cut: "in which order do the axes come?",
            last_head_first: "in the wrong order",
            always_the_first_features: "Which four belong to head 1?",
            three_heads_always: "but not for 1 of 6",
            a_tuple_of_heads: "What makes one of them",
            split_detached: "cut off: no slope flows back",
            split_in_half_precision: "comes out as torch.float16",
            split_rounded: "Where are they rounded?",
            split_in_place: "Which step works in place?",
        },
    ),
    "join_heads": Answers(
        right=[by_concatenation, by_flatten, contiguous_first],
        wrong={
            reshape_alone: "from 100 on, that is token 1",
            view_of_a_transpose: "copies where it must",
            added_up: "added up or lost",
            one_below_the_other: "one below the other",
            not_flattened: "which two axes are one in the result?",
            interleaved: "which axis should vary fastest?",
            backwards: "the last head comes first",
            wrong_pair_swapped: "You swapped the last two axes",
            sequences_joined: "how long is it?",
            join_detached: "cut off: no slope flows back",
            join_in_double: "comes out as torch.float64",
            join_rounded: "Where are they rounded?",
            join_in_place: "Which step works in place?",
        },
    ),
    "attention_layer": Answers(
        right=[fused_layer, layer_by_einsum, LayerHeadByHead],
        wrong=LAYERS,
    ),
}
