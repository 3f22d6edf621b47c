"""The checks of lesson 6, feed-forward."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig
from minigpt.course.exercise import Exercise, close

Network = tuple[list[list[float]], list[float], list[list[float]], list[float]]


def _numbers(values: Tensor) -> str:
    """One row of numbers as a hint shows them."""
    return f"[{', '.join(f'{value:.4g}' for value in values.tolist())}]"


@Exercise
def ffn(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """W2 max(0, W1 x + b1) + b2, for one token or for many."""
    W1 = torch.tensor([[1.0, -1.0], [2.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    b1 = torch.tensor([0.0, -1.0, -1.0], dtype=torch.float64)
    W2 = torch.tensor([[1.0, -1.0, 3.0], [2.0, 0.5, -1.0]], dtype=torch.float64)
    b2 = torch.tensor([1.0, -1.0], dtype=torch.float64)

    def formula(x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x, W1, b1)), W2, b2)

    def answered(x: Tensor) -> Tensor:
        return torch.as_tensor(answer(x.clone(), W1.clone(), b1.clone(), W2.clone(), b2.clone()))

    x = torch.tensor([2.0, 1.0], dtype=torch.float64)
    try:
        got = answered(x)
    except (RuntimeError, TypeError) as error:
        if "ambiguous" in str(error) or "max() received" in str(error):
            return "The max of the formula takes each hidden unit by itself. Which function of torch does that?"
        if "shape" not in str(error) and "size" not in str(error):
            raise
        return (
            f"For the token [2, 1] your shapes do not fit ({error}). W1 is (3, 2), with a row for each hidden unit. "
            "Which of its sides meets x?"
        )
    came = f"For the token [2, 1] of the worked example you return {_numbers(got.flatten())}."
    if got.shape != x.shape:
        what = " These are the hidden units. What brings them back to d_model?" if got.shape == (3,) else ""
        return f"{came} The output should have the shape of x, (2,), and yours has {tuple(got.shape)}.{what}"

    before, hidden = F.linear(x, W1, b1), F.relu(F.linear(x, W1, b1))
    mistakes = {
        "Both are at least b2, yet by hand the first was -2. Is there one ReLU too many?": F.relu(W2 @ hidden) + b2,
        "Neither is negative, yet by hand the first was -2. Does the formula bend its output?": F.relu(formula(x)),
        "That is what the two maps give with no bend between them. Which unit should be off?": W2 @ before + b2,
        "The bend stands after W2 only. Where in the formula does max(0, …) close?": F.relu(W2 @ before) + b2,
        "Unit 1 should be 2·2 + 1·1 - 1 = 4. Is its bias there?": W2 @ F.relu(W1 @ x) + b2,
        "One thing is missing at the very end. What is added after W2?": W2 @ hidden,
        "Unit 2 is -1 after your bend. Does b1 come before the bend or after it?": W2 @ (F.relu(W1 @ x) + b1) + b2,
        "That is x + FFN(x). The block does this addition (lesson 7). What is the formula alone?": formula(x) + x,
        "That is right for GELU. Which bend does this exercise ask for?": W2 @ F.gelu(before) + b2,
        "That is GELU in its tanh form. Which bend is asked for here?": W2 @ F.gelu(before, approximate="tanh") + b2,
    }
    for hint, mistake in mistakes.items():
        if close(got, mistake, 1e-4):
            return f"{came} {hint}"
    if not close(got, formula(x)):
        return f"{came} By hand it was [-2, 3]. Print your hidden units: are they [1, 4, 0]?"

    x = torch.tensor([2.0, -1.0], dtype=torch.float64)
    if not close(got := answered(x), formula(x)):
        return (
            f"Right for [2, 1]. For [2, -1] you return {_numbers(got.flatten())} instead of {_numbers(formula(x))}. "
            "Now x itself has a negative number: may it be cut?"
        )
    batch = torch.tensor([[[2.0, 1.0], [0.0, -1.0], [1.0, 3.0]], [[-2.0, 0.5], [1.0, 1.0], [4.0, 0.0]]]).double()
    for x in (batch[0], batch):
        shape = tuple(x.shape)
        try:
            got = answered(x)
        except (RuntimeError, IndexError, TypeError) as error:
            return (
                f"Right for one token. For x of shape {shape} your function stops ({type(error).__name__}: {error}). "
                "The features are x's last dimension: which product leaves all dimensions before it alone?"
            )
        if got.shape != x.shape:
            return (
                f"Right for one token. For x of the shape {shape} you return {tuple(got.shape)}. Is every token there?"
            )
        if not close(got, formula(x)):
            return f"Right for one token. For x of the shape {shape} the numbers differ. Does any token see another?"
    return None


@Exercise
def exactly_one(answer: Callable[[], Network]) -> str | None:
    """The weights of a ReLU network that says 1 if exactly one of three inputs is 1, and 0 otherwise."""
    parts = [torch.as_tensor(part, dtype=torch.float64) for part in answer()]
    if len(parts) != 4:
        return f"You return {len(parts)} things. Four are needed: W1, b1, W2 and b2."
    W1, b1, W2, b2 = parts
    shapes = f"W1 {tuple(W1.shape)}, b1 {tuple(b1.shape)}, W2 {tuple(W2.shape)}, b2 {tuple(b2.shape)}"
    if W1.ndim != 2 or W1.size(1) != 3:
        turned = " Rows and columns may be exchanged." if W1.ndim == 2 and W1.size(0) == 3 else ""
        return f"Your shapes are {shapes}. A row of W1 is a hidden unit: how many inputs does it read?{turned}"
    units = W1.size(0)
    if b1.shape != (units,):
        return f"Your shapes are {shapes}. Every one of the {units} hidden units needs one bias in b1."
    if W2.shape != (1, units):
        return f"Your shapes are {shapes}. W2 has one row, for the one output: how many weights stand in it?"
    if b2.shape != (1,):
        return f"Your shapes are {shapes}. There is one output: how many biases has it?"

    cases = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)  # (8, 3)
    said = (F.relu(cases @ W1.T + b1) @ W2.T + b2)[:, 0]
    wanted = (cases.sum(dim=1) == 1).double()
    if close(said, wanted):
        return None
    swaps = cases.sum(dim=1).long()
    same = all(close(said[swaps == n], said[swaps == n][0].expand(int((swaps == n).sum()))) for n in range(4))
    if not same:
        a, b = (cases[swaps == n] for n in (1, 2))
        return (
            f"For {a.int().tolist()} your network says {_numbers(said[swaps == 1])}, for {b.int().tolist()} "
            f"{_numbers(said[swaps == 2])}. It matters who swapped. Should it?"
        )
    by_swaps = torch.stack([said[swaps == n][0] for n in range(4)])
    came = f"For 0, 1, 2 and 3 swaps your network says {_numbers(by_swaps)} instead of [0, 1, 0, 0]."
    hints = {
        (0, 1, 0, -1): "The tent falls on below 0. How can one more unit stop it, and where must it wake up?",
        (0, 1, 0, 1): "That is 1 for an odd number of swaps. What should three swaps give?",
        (0, 1, 1, 1): "That is «at least one». What must pull the output down again at two?",
        (0, 1, 2, 3): "It counts. Which unit bends the line at 1?",
        (1, 0, 1, 1): "Everything is the wrong way round. Which sign turns it?",
        (0, 0, 1, 0): "That is exactly two. By how much must the bends be moved?",
    }
    for mistake, hint in hints.items():
        if close(by_swaps, mistake):
            return f"{came} {hint}"
    if not close(by_swaps[0], 0):
        return f"{came} With no swap only the biases speak. Which of them is too much?"
    slopes = by_swaps.diff()
    return f"{came} From one to the next it changes by {_numbers(slopes)}, and [1, -1, 0] is needed. Draw both."


@Exercise
def feed_forward_share(answer: Callable[[GPTConfig, int], float]) -> str | None:
    """The feed-forward network's share of a block's forward FLOPs for one token that attends to T tokens."""
    config, T = GPTConfig(), 1024
    d, d_ff = config.d_model, config.feed_forward_size
    feed_forward, matrices, growing = 4 * d * d_ff, 8 * d * d, 4 * T * d

    def share(numerator: float, *rest: float) -> float:
        return numerator / (numerator + sum(rest))

    got = float(answer(config, T))
    came = f"For GPT-2 (d_model 768) and T = 1024 you return {got:.4g}."
    mistakes = {
        "Attention's part that grows with T is missing. What does a query do with T keys?": share(
            feed_forward, matrices
        ),
        "2Td for the scores is there. What do the weights of attention do with T values? "
        "(If you halved it for the mask: count as if nothing were masked.)": share(feed_forward, matrices, growing / 2),
        "A share of exactly 0: is config.d_ff 0 where it is not given, or is there a //?": 0.0,
        "The growing part has its FLOPs, two for each product, and the weights have one each. Is that fair?": share(
            feed_forward / 2, matrices / 2, growing
        ),
        "That is the share of attention. What is left for the other?": 1 - share(feed_forward, matrices, growing),
        "The growing part counts for all T tokens, the rest for one. Is T multiplied once or twice?": share(
            feed_forward, matrices, growing * T
        ),
        "Each head has head_size features, not d_model. Are the heads counted too often?": share(
            feed_forward, matrices, growing * config.n_heads
        ),
        "Attention has a fourth matrix, which joins the heads. Is it there?": share(feed_forward, 6 * d * d, growing),
        "The feed-forward network has a way up and a way down. Are both counted?": share(
            feed_forward / 2, matrices, growing
        ),
        "The matrices of attention are missing. How many of d × d are there?": share(feed_forward, growing),
        "That is FLOPs of one over the other. A share is a part of the whole: what is the whole?": feed_forward
        / (matrices + growing),
        "In a block there is no output head. Which of your products has vocab_size in it?": share(
            feed_forward, matrices, growing, 2 * config.vocab_size * d
        ),
    }
    right = share(feed_forward, matrices, growing)
    if close(got, 100 * right, 1e-4):
        return f"{came} That is in percent. Return a share from 0 to 1."
    for hint, mistake in mistakes.items():
        if close(got, mistake, 1e-4):
            return f"{came} {hint}"
    if not close(got, right, 1e-6):
        return f"{came} By hand, in units of d²: 16 for the feed-forward network, 8 and 4·1024/768 for attention."
    narrow = GPTConfig(d_model=64, n_heads=4, d_ff=96)
    expected = share(4 * 64 * 96, 8 * 64 * 64, 4 * 100 * 64)
    if close(got := float(answer(narrow, 100)), share(4 * 64 * 256, 8 * 64 * 64, 4 * 100 * 64), 1e-4):
        return f"Right for GPT-2. With d_model 64 and d_ff 96 you return {got:.4g}, as if d_ff were 256. Where is d_ff?"
    if not close(got, expected, 1e-6):
        return f"Right for GPT-2. With d_model 64, d_ff 96 and T = 100 you return {got:.4g}. Is any number fixed?"
    deep = GPTConfig(d_model=64, n_heads=4, d_ff=96, n_layers=3)
    if not close(answer(deep, 100), expected, 1e-6):
        return "With three blocks in place of twelve your share changes. Are all blocks alike?"
    return None
