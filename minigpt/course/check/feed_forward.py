"""The checks of lesson 6, feed-forward."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig
from minigpt.course.exercise import Exercise, close, same_slopes
from minigpt.model.feed_forward import FeedForward

Network = tuple[list[list[float]], list[float], list[list[float]], list[float]]


def _numbers(values: Tensor) -> str:
    """One row of numbers as a hint shows them."""
    return f"[{', '.join(f'{value:.4g}' for value in values.tolist())}]"


@Exercise
def ffn(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """max(0, x W1^T + b1) W2^T + b2, for one token or for many."""
    W1 = torch.tensor([[1.0, -1.0], [2.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    b1 = torch.tensor([0.0, -1.0, -1.0], dtype=torch.float64)
    W2 = torch.tensor([[1.0, -1.0, 3.0], [2.0, 0.5, -1.0]], dtype=torch.float64)
    b2 = torch.tensor([1.0, -1.0], dtype=torch.float64)

    changed = ""

    def formula(x: Tensor, W1: Tensor = W1, b1: Tensor = b1, W2: Tensor = W2, b2: Tensor = b2) -> Tensor:
        return F.linear(F.relu(F.linear(x, W1, b1)), W2, b2)

    def answered(x: Tensor) -> Tensor:
        nonlocal changed
        given = {"x": x, "W1": W1, "b1": b1, "W2": W2, "b2": b2}
        handed = [values.clone() for values in given.values()]
        result = torch.as_tensor(answer(*handed))
        changed = next((name for name, copy in zip(given, handed, strict=True) if not copy.equal(given[name])), "")
        return result.detach()

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
    if changed:
        return (
            f"Your function changed {changed}, which it was only given to read. How do `a += b` and `a = a + b` differ?"
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
    for x in (batch[0], batch, batch / 7):
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
        if changed:
            return f"For x of the shape {shape} your function changed {changed}. It was only given to read."
    if not same_slopes(answer, formula, batch + torch.tensor([0.3, 0.1]), W1, b1, W2, b2):  # off the kinks
        return (
            "The numbers are right, but the gradient gets lost on the way back to x or to a weight, and nothing would "
            "be learned. Is there a detach(), a .data or a no_grad() too many?"
        )
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
    came = f"For GPT-2 (d_model 768) and T = 1024 you return {got:.6g}."
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
        "That counts the biases, too. The exercise leaves them out.": share(
            feed_forward + d_ff + d, matrices + 4 * d, growing
        ),
        "That counts the biases with two FLOPs each. They are left out.": share(
            feed_forward + 2 * (d_ff + d), matrices + 8 * d, growing
        ),
    }
    right = share(feed_forward, matrices, growing)
    if close(got, 100 * right, 1e-4):
        return f"{came} That is in percent. Return a share from 0 to 1."
    if not close(got, right, 1e-7):
        nearest = min(mistakes, key=lambda hint: abs(got - mistakes[hint]))
        if close(got, mistakes[nearest], 1e-4) and abs(got - mistakes[nearest]) < abs(got - right):
            return f"{came} {nearest}"
        return (
            f"{came} It should be {right:.6g}. By hand, in units of d²: 16 for the feed-forward network, 8 and "
            "4·1024/768 for attention."
        )
    narrow = GPTConfig(d_model=64, n_heads=4, d_ff=96)
    expected = share(4 * 64 * 96, 8 * 64 * 64, 4 * 100 * 64)
    if close(got := float(answer(narrow, 100)), share(4 * 64 * 256, 8 * 64 * 64, 4 * 100 * 64), 1e-4):
        return f"Right for GPT-2. With d_model 64 and d_ff 96 you return {got:.4g}, as if d_ff were 256. Where is d_ff?"
    if not close(got, expected, 1e-7):
        return f"Right for GPT-2. With d_model 64, d_ff 96 and T = 100 you return {got:.4g}. Is any number fixed?"
    deep = GPTConfig(d_model=64, n_heads=4, d_ff=96, n_layers=3)
    if not close(answer(deep, 100), expected, 1e-7):
        return "With three blocks in place of twelve your share changes. Are all blocks alike?"
    two_heads, alone = GPTConfig(d_model=64, n_heads=2, d_ff=96, bias=False), share(4 * 64 * 96, 8 * 64 * 64, 4 * 64)
    if not close(got := answer(two_heads, 1), alone, 1e-7):
        return (
            f"With two heads, no biases and T = 1 you return {got:.4g} instead of {alone:.4g}. Which of them matters?"
        )
    return None


@Exercise
def silenced(answer: Callable[[FeedForward, list[int]], FeedForward]) -> str | None:
    """A copy of a feed-forward network in which some hidden units add nothing to the output."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)  # (B, T, d_model)
    for bias in (True, False):
        network = FeedForward(GPTConfig(vocab_size=1, n_heads=1, d_model=3, d_ff=5, bias=bias)).double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        up, down = network.up, network.down
        before = {name: values.clone() for name, values in network.state_dict().items()}
        hidden = F.gelu(up(x), approximate="tanh").detach()
        W2 = down.weight.detach().clone()
        b2 = down.bias.detach().clone() if bias else torch.zeros(3, dtype=torch.float64)

        def with_weights(hidden_units: Tensor, keep: list[int], W2: Tensor = W2, b2: Tensor = b2) -> Tensor:
            return hidden_units[..., keep] @ W2[:, keep].T + b2

        came = "A network of 3 features and 5 units, units [0, 2] silent."
        quiet = answer(network, units := [0, 2])
        if units != [0, 2]:
            return f"Your function changed the list of units to {units}. It was only given to read."
        changed = [name for name, values in network.state_dict().items() if not torch.equal(values, before[name])]
        if changed:
            return f"{came} The network you were given has another {changed[0]} now. Which line makes the copy?"
        if quiet is network:
            return f"{came} You return the network that you were given. Where did your copy go?"
        got = torch.as_tensor(quiet(x)).detach()
        rows = W2.clone()
        rows[[0, 2]] = 0
        deaf = F.linear(x, up.weight.detach().index_fill(0, torch.tensor([0, 2]), 0), up.bias)
        blind = F.linear(x.index_fill(2, torch.tensor([0, 2]), 0), up.weight, up.bias)
        mistakes = {
            "Nothing is silent: its output is that of the whole network.": with_weights(hidden, [0, 1, 2, 3, 4]),
            "There the rows 0 and 2 of W2 are 0. A row belongs to an output feature. What belongs to a hidden unit?": (
                hidden @ rows.T + b2
            ),
            "Unit 2 still speaks.": with_weights(hidden, [1, 2, 3, 4]),
            "Unit 0 still speaks.": with_weights(hidden, [0, 1, 3, 4]),
            "There the other three are silent.": with_weights(hidden, [0, 2]),
            "There all five are silent.": with_weights(hidden, []),
            "Its W1 is silent, but a unit with weights 0 still says GELU of its bias.": (
                F.gelu(deaf, approximate="tanh") @ W2.T + b2
            ),
            "There two *features* of the token are not read. Which side of W1 belongs to a hidden unit?": (
                F.gelu(blind, approximate="tanh") @ W2.T + b2
            ),
            "The output has lost b2, which belongs to no unit.": with_weights(hidden, [1, 3, 4]) - b2,
        }
        expected = with_weights(hidden, [1, 3, 4])
        if not close(got, expected):
            for hint, mistake in mistakes.items():
                if close(got, mistake):
                    return f"{came} {hint}"
            return f"{came} Its output should be b2 plus units 1, 3 and 4, each times its column of W2."
        for silent, keep in (([], [0, 1, 2, 3, 4]), ([4], [0, 1, 2, 3]), ([1, 1, 3], [0, 2, 4]), ([0, 1, 2, 3, 4], [])):
            if not close(torch.as_tensor(answer(network, silent)(x)).detach(), with_weights(hidden, keep)):
                return f"Right for units [0, 2], not for units {silent}. Which units speak there?"

        def truth(x: Tensor, network: FeedForward = network, W2: Tensor = W2, b2: Tensor = b2) -> Tensor:
            return with_weights(F.gelu(network.up(x), approximate="tanh"), [1, 3, 4], W2, b2)

        if not same_slopes(quiet, truth, x):
            return "The numbers are right, but the copy passes no gradient on to what it read. What cuts it off?"
    return None
