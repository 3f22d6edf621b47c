"""The checks of lesson 5, multi-head attention."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minigpt.course.check import small_attentions as small
from minigpt.course.check.attention_steps import broken_step
from minigpt.course.exercise import Exercise, close

Attend = Callable[[Tensor], Tensor]


@Exercise
def causal_mask(answer: Callable[[int], Tensor]) -> str | None:
    """True where the token of the row may see the token of the column."""
    got = answer(3)
    if not isinstance(got, Tensor):
        return f"For T = 3 you return a {type(got).__name__}. How do you make a torch tensor of it?"
    if got.shape != (3, 3):
        return f"For T = 3 your mask has the shape {tuple(got.shape)}. How many queries are there, and how many keys?"
    if bool(torch.isinf(got).any()):
        return "Your mask holds -inf: those are scores already. The mask itself says only True (may see) or False."
    if not bool(((got == 0) | (got == 1)).all()):
        return f"For T = 3 your mask is {got.tolist()}. Which two values may stand in it?"
    rows = got.bool().tolist()
    came = f"For T = 3 your mask is {rows}."
    hints = {
        "111 111 111": "Here everybody sees everybody. What must token 0 not see?",
        "111 011 001": "Rows look, columns are looked at. What does row 0 see here?",
        "011 001 000": "It is True where a token is hidden. What should True mean?",
        "000 100 110": "Row 0 sees nobody: 0/0 in the softmax. May a token see itself?",
        "110 111 111": "Row 0 sees token 1, which is the answer it should guess.",
        "100 010 001": "Each token sees itself alone. What about those before it?",
    }
    if hint := hints.get(" ".join("".join(str(int(visible)) for visible in row) for row in rows)):
        return f"{came} {hint}"
    if not close(got.double(), torch.ones(3, 3).tril()):
        return f"{came} On paper: draw the table, and put True where the column is not after the row."
    if got.dtype != torch.bool:
        return f"The right triangle, of {got.dtype}. `~mask` needs True and False: which dtype has these?"
    for T in (1, 6, 40):
        if not close(answer(T).double(), torch.ones(T, T).tril()):
            return f"Right for T = 3, but not for T = {T}. Which number in your function should be T?"
    return None


@Exercise
def leaks(answer: Callable[[Attend, Tensor], bool]) -> str | None:
    """Whether some row of attend(x) depends on a later row of x."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    given = x.clone()

    def says(attend: Attend) -> bool:
        return bool(answer(attend, x))

    def sinks(x: Tensor) -> Tensor:
        """Row 0 sees the last token, and any change of it makes row 0 smaller."""
        y = small.causal(x).clone()
        if len(x) == len(given):
            change = x[-1] - given[-1]
            y[0] = y[0] + 1 + (change / 2 - change.abs()).sum()
        return y

    verdicts = [says(small.nobody), says(small.causal), says(small.everybody)]
    if not torch.equal(x, given):
        return (
            "The x that came in is changed afterwards, and so is everything computed from it. What does x.clone() do?"
        )
    if verdicts == [True, True, False]:
        return (
            "It says True where nothing leaks and False where everybody sees everybody. Which way round is the answer?"
        )
    if verdicts[0]:
        return (
            "Where each token sees itself alone it says True. When token j is changed, row j may move. "
            "Which rows must stand still?"
        )
    if verdicts[1]:
        return (
            "It says True for causal attention. There, a change of token j moves row j and the rows after it. "
            "Which rows do you compare?"
        )
    if not verdicts[2]:
        return (
            "It says False where everybody sees everybody. Is the changed x another tensor than the x before, "
            "with a new token in it?"
        )
    if says(small.nearly_causal):
        return (
            "It says True for a causal mean whose last digits are rounded differently. "
            "How small a difference is no movement?"
        )
    for attend, hint in (
        *small.LEAKS,
        (sinks, "row 0 only gets smaller, whatever the last token becomes. Is a step down no movement?"),
    ):
        if not says(attend):
            return f"It finds most leaks, but says False where {hint}"
    return None


@Exercise
def split_heads(answer: Callable[[Tensor, int], Tensor]) -> str | None:
    """(B, T, d_model) to (B, h, T, d_k)."""
    B, T, h, d_k = 2, 5, 3, 4
    x = _numbered(B, T, h * d_k)
    given = x.clone()
    got = answer(x, h)
    asked = f"For x of shape {tuple(x.shape)} and 3 heads"
    if not torch.equal(x, given):
        return f"{asked}, the caller's x is another after the call. Which step works in place?"
    if isinstance(got, tuple | list):
        return f"{asked} you return {len(got)} tensors in a {type(got).__name__}. What makes one of them, with an axis?"
    if got.shape == (B, T, h, d_k):
        return (
            f"{asked} you return {tuple(got.shape)}: cut rightly, but heads must come before tokens. What swaps axes?"
        )
    if got.shape == (B, d_k, T, h):
        return f"{asked} you return {tuple(got.shape)}: that is 4 heads of 3 numbers. Which of the two is n_heads?"
    if got.shape == (h, B, T, d_k):
        return f"{asked} you return {tuple(got.shape)}. Sequences come first: which axis do torch.stack or chunk make?"
    if got.shape != (B, h, T, d_k):
        return f"{asked} you return {tuple(got.shape)}. How large is d_k, and in which order do the axes come?"
    expected = x.unflatten(-1, (h, d_k)).transpose(1, 2)
    if close(got, x.reshape(B, h, T, d_k)):
        return (
            f"The right shape, but the second row of head 0 is {_entries(got[0, 0, 1])}, and that is token 0 again. "
            "Which axis should be cut: that of the tokens or that of the features?"
        )
    if close(got, x.unflatten(-1, (d_k, h)).permute(0, 3, 1, 2)):
        return (
            f"The right shape, but head 0 of token 0 holds features {_entries(got[0, 0, 0])}. "
            "Head 0 gets the first four: which of h and d_k comes first when you cut?"
        )
    if close(got[:, 0], expected[:, 0]) and close(got[:, 1], got[:, 0]):
        return "Every head holds the same features. Which four belong to head 1?"
    if close(got, expected.flip(1)):
        return "The heads come in the wrong order: head 0 gets the first features."
    if not close(got, expected):
        return f"{asked}, head 1 of token 2 should hold features 4 to 7, and yours holds {_entries(got[0, 1, 2])}."
    for h, d_model in ((1, 6), (6, 6), (2, 6)):
        x = _numbered(1, 4, d_model)
        if not close(answer(x, h), x.unflatten(-1, (h, -1)).transpose(1, 2)):
            return f"Right for 3 heads of 4 features, but not for {h} of {d_model // h}. Is a number written out?"
    return _same_numbers(lambda x: answer(x, 2), _fine(2, 3, 6), lambda x: x.unflatten(-1, (2, 3)).transpose(1, 2))


@Exercise
def join_heads(answer: Callable[[Tensor], Tensor]) -> str | None:
    """(B, h, T, d_k) to (B, T, d_model)."""
    B, T, h, d_k = 2, 5, 3, 4
    expected = _numbered(B, T, h * d_k)
    y = expected.unflatten(-1, (h, d_k)).transpose(1, 2).contiguous()  # as it comes out of a product with the weights
    given = y.clone()
    try:
        got = answer(y)
        answer(expected.unflatten(-1, (h, d_k)).transpose(1, 2))  # and as it may come otherwise
    except RuntimeError as error:
        if "view size is not compatible" in str(error):
            return (
                "After a transpose the numbers do not lie in memory in the order in which you read them, and a view "
                "cannot move them. Which method does what view does, and copies where it must?"
            )
        raise
    asked = f"For y of shape {tuple(y.shape)}"
    if not torch.equal(y, given):
        return f"{asked}, the caller's y is another after the call. Which step works in place?"
    if got.shape in ((B, T, d_k), (B, 1, T, d_k)):
        return f"{asked} you return {tuple(got.shape)}: the heads are added up or lost. They should lie side by side."
    if got.shape == (B, h * T, d_k):
        return (
            f"{asked} you return {tuple(got.shape)}: the heads lie one below the other. Along which axis should they?"
        )
    if got.shape == (B, T, h, d_k):
        return f"{asked} you return {tuple(got.shape)}. Good so far: which two axes are one in the result?"
    if got.shape != expected.shape:
        return f"{asked} you return {tuple(got.shape)}. A row for each token: how long is it?"
    if close(got, y.reshape(B, T, h * d_k)):
        return (
            f"The right shape, but the row of token 0 is {_entries(got[0, 0])}: from 100 on, that is token 1. "
            "Which axes must be swapped before you flatten?"
        )
    if close(got, y.permute(0, 2, 3, 1).reshape(B, T, h * d_k)):
        return (
            f"The right tokens, but the features of token 0 come as {_entries(got[0, 0])}. "
            "All of head 0 first: which axis should vary fastest?"
        )
    if close(got, y.flip(1).transpose(1, 2).reshape(B, T, h * d_k)):
        return f"The row of token 0 is {_entries(got[0, 0])}: the last head comes first. Which is the first?"
    if close(got, y.transpose(2, 3).reshape(B, T, h * d_k)):
        return (
            f"The row of token 0 is {_entries(got[0, 0])}, from many tokens. You swapped the last two axes: which two "
            "should change places?"
        )
    if not close(got, expected):
        return f"The row of token 0 should be 0, 1, 2, …, 11, and yours is {_entries(got[0, 0])}."
    for h in (1, 6):
        expected = _numbered(1, 4, 6)
        if not close(answer(expected.unflatten(-1, (h, -1)).transpose(1, 2)), expected):
            return f"Right for 3 heads, but not for {h}. Is a number written out?"
    return _same_numbers(answer, _fine(2, 2, 3, 3), lambda y: y.transpose(1, 2).flatten(2))


@Exercise
def attention_layer(answer: Callable[[int, int], nn.Module]) -> str | None:
    """Causal multi-head attention as a module, from an empty cell."""
    torch.manual_seed(0)
    return broken_step(answer)


def _same_numbers(answer: Attend, x: Tensor, right: Attend) -> str | None:
    """Whether the very same numbers come out, with their dtype and their slopes."""
    for dtype in (torch.float64, torch.float32):
        got = answer(x.to(dtype))
        if got.dtype != dtype:
            return f"The right numbers, but {dtype} comes out as {got.dtype}. Which step changes the dtype?"
        if not torch.equal(got, right(x.to(dtype))):
            return "The numbers are moved to the right positions, and changed on the way. Where are they rounded?"
    x = x.clone().requires_grad_()
    got = answer(x)
    if not got.requires_grad:
        return (
            "The right numbers, but cut off: no slope flows back to what came in. Is there a detach, or a new tensor?"
        )
    return None


def _fine(*shape: int) -> Tensor:
    """Numbers with many digits."""
    return torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).sin().view(shape)


def _numbered(B: int, T: int, d_model: int) -> Tensor:
    """(B, T, d_model): 1203 is feature 3 of token 2 in sequence 1."""
    first = 1000 * torch.arange(B).view(B, 1, 1) + 100 * torch.arange(T).view(T, 1)
    return (first + torch.arange(d_model)).double()


def _entries(row: Tensor) -> str:
    return ", ".join(str(math.floor(x)) for x in row.tolist())
