"""The checks of lesson 13, generation."""

import math
from collections import Counter
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close


class _TooLong(Exception):
    """The answer goes on and on."""


class _Counting:
    """A «model» whose best next token is the length of the text, so that it shows which text it was given."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, ids: list[int]) -> int:
        self.calls += 1
        if self.calls > 40:
            raise _TooLong
        return len(ids)


@Exercise
def write_until_stop(answer: Callable[[Callable[[list[int]], int], list[int], int, int], list[int]]) -> str | None:
    """Append the best token until the stop token comes or there are enough."""
    prompt = [7, 7]
    model = "With a model that answers with the length of the text it is given, the prompt [7, 7] and the stop token 5"
    try:
        got = list(answer(_Counting(), prompt, 5, 30))
    except _TooLong:
        return (
            f"{model}, your function does not end after 30 tokens. What changes in the text from one call to the next, "
            "and when should your loop end?"
        )
    if any(isinstance(token, list) for token in got):
        return f"{model}, you return lists within a list. Is it the next token that you append, or a whole text?"
    came = f"{model}, you return {got}."
    hints = {
        (2, 3, 4, 5): "The stop token is a signal, not a part of the text. When do you look for it?",
        (7, 7, 2, 3, 4): "The prompt is known already. Which tokens are new?",
        (7, 7, 2, 3, 4, 5): "The prompt is known already, and the stop token is a signal. Which tokens are new text?",
        (0, 1, 2, 3, 4): "The model did not see the prompt. What must stand before the new tokens when you ask it?",
        (2, 3): "One is missing. Which token comes before the 5, and is it kept?",
    }
    if hint := hints.get(tuple(got)):
        return f"{came} {hint}"
    if len(got) == 30 and set(got) == {2}:
        return f"{came} Each time the model was asked about the same text. What must be appended?"
    if len(got) == 30 and set(got) == {1}:
        return f"{came} The model saw one token only. Hand it the whole text so far, not its last token."
    if got != [2, 3, 4]:
        return f"{came} On paper: the model says 2, then 3, then 4, then 5. Which of these are the new text?"
    if prompt != [7, 7]:
        return f"Right, but afterwards the caller's prompt is {prompt}. On which list do you append?"
    try:
        got = list(answer(_Counting(), [7, 7], 99, 3))
    except _TooLong:
        return "Right where the stop token comes. It never comes in this test, with max_new_tokens=3. What then?"
    if got != [2, 3, 4]:
        return f"With max_new_tokens=3 and a stop token that never comes, you return {len(got)} tokens: {got}."
    if (got := list(answer(_Counting(), [5, 7], 5, 2))) != [2, 3]:
        return (
            f"With the stop token 5 and the prompt [5, 7] you return {got}. Our stories begin with the token that ends "
            "them. In which tokens should you look for it?"
        )
    if (got := list(answer(_Counting(), [5], 5, 2))) != [1, 2]:
        return (
            f"With the stop token 5 and the prompt [5], as before a story, you return {got}. The last "
            "token of the text is not always one that the model chose."
        )
    if got := list(answer(_Counting(), [7, 7], 99, 0)):
        return f"With max_new_tokens=0 you return {got}. When do you look whether there are enough?"
    return None


@Exercise
def sample_token(answer: Callable[[Tensor, float, torch.Generator], int]) -> str | None:
    """One token id, drawn from softmax(logits / temperature); temperature 0 is greedy."""
    logits = torch.tensor([1.0, 2.0, -1.0, 0.0], dtype=torch.float64)
    n = 4000

    def shares(temperature: float) -> list[float]:
        generator = torch.Generator().manual_seed(1)
        drawn = Counter(int(answer(logits.clone(), temperature, generator)) for _ in range(n))
        return [drawn[token] / n for token in range(4)]

    def near(shares: list[float], expected: Tensor) -> bool:
        return close(shares, expected, 0.03)

    first = answer(logits.clone(), 2.0, torch.Generator().manual_seed(0))
    if isinstance(first, float) or (isinstance(first, Tensor) and first.is_floating_point()):
        return f"You return {first}. That is a number with a fraction: which token did you draw?"
    got = shares(2.0)
    came = f"For the logits [1, 2, -1, 0] at temperature 2, {n} draws came out as {[round(s, 2) for s in got]}."
    if max(got) == 1 and got[1] == 1:
        return f"{came} That is the most probable token each time. Where does chance come in?"
    if max(got) == 1:
        return f"{came} Always the same token. Is your generator seeded anew in each call?"
    if near(got, (logits * 2).softmax(0)):
        return f"{came} Probable tokens got more probable. A high temperature should level: multiply or divide?"
    if near(got, logits.softmax(0)):
        return (
            f"{came} That is softmax of the logits as they are. Does the temperature act before the softmax? "
            "(Dividing probabilities changes nothing once they are made to sum to 1.)"
        )
    if near(got, torch.full((4,), 0.25)):
        return f"{came} All tokens alike. What decides how often each is drawn?"
    if near(got, (-logits / 2).softmax(0)):
        return f"{came} The least probable token came most often. Is there a minus too many?"
    if not near(got, (logits / 2).softmax(0)):
        return f"{came} softmax([0.5, 1, -0.5, 0]) is {[round(p, 2) for p in (logits / 2).softmax(0).tolist()]}."
    if not near(got := shares(0.5), (logits / 0.5).softmax(0)):
        return f"Right at temperature 2. At 0.5, {n} draws came out as {[round(s, 2) for s in got]}."
    mine = logits.clone()
    answer(mine, 2.0, torch.Generator().manual_seed(0))
    if not close(mine, logits):
        return f"Right, but afterwards the caller's logits are {mine.tolist()}. Which of your lines writes into them?"
    near_ties = torch.tensor([1.0, 1.02, 0.99], dtype=torch.float64)
    got_cold = {int(answer(near_ties.clone(), 0.05, torch.Generator().manual_seed(seed))) for seed in range(60)}
    if got_cold != {0, 1, 2}:
        return (
            "Right at 2 and 0.5. At temperature 0.05, the logits 1, 1.02 and 0.99 are far from decided, and in 60 "
            f"draws you return {sorted(got_cold)} only. Only 0 itself is greedy."
        )
    for large in (1000.0, -1000.0):
        far = torch.tensor([large, large - 1, large - 2], dtype=torch.float64)
        try:
            drawn = {int(answer(far.clone(), 1.0, torch.Generator().manual_seed(seed))) for seed in range(60)}
        except (ArithmeticError, ValueError, RuntimeError) as error:
            drawn = {type(error).__name__}  # type: ignore[arg-type]
        if drawn != {0, 1, 2}:
            return (
                f"Right for small logits. For {far.tolist()} you return {sorted(drawn)}: exponentials of large numbers "
                "overflow, and of very negative ones vanish. Which softmax knows that (lesson 4)?"
            )
    again = [[int(answer(logits.clone(), 2.0, g)) for _ in range(40)] for g in _twins()]
    if again[0] != again[1]:
        return "Right, but two generators with the same seed draw different tokens. Do you hand yours to torch?"
    try:
        greedy = {int(answer(logits.clone(), 0.0, torch.Generator().manual_seed(seed))) for seed in range(20)}
        came = f"you return {sorted(greedy)}"
    except (ArithmeticError, ValueError, RuntimeError) as error:
        greedy, came = set(), f"it stops with {type(error).__name__}"
    if greedy != {1}:
        return f"Right for temperatures above 0. At 0, {came}. Which token takes all as the temperature falls to 0?"
    return None


def _twins() -> tuple[torch.Generator, torch.Generator]:
    return torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)


@Exercise
def nucleus(answer: Callable[[list[float], float], Collection[int]]) -> str | None:
    """The smallest set of most probable tokens whose probabilities sum to at least p."""
    line = [0.1, 0.5, 0.05, 0.25, 0.06, 0.04]
    got = answer(list(line), 0.7)
    kept = {float(token) for token in got}
    came = (
        f"For {line} and p = 0.7 you return {[int(token) if token == int(token) else token for token in sorted(kept)]}."
    )
    if kept and not kept <= set(range(6)):
        return f"{came} Which ids do these tokens have in the list?"
    hints: dict[frozenset[int], str] = {
        frozenset(): "No single token has 0.7. It is the sum that counts: of which tokens, in which order?",
        frozenset({1}): "That sums to 0.5, which is less than 0.7. Does the token that crosses p belong to the set?",
        frozenset({0, 1, 3}): "Tokens 1 and 3 alone sum to 0.75. Why is token 0 still in?",
        frozenset({0, 1}): "In which order did you add? If you sorted: a place in the sorted list is no token id.",
        frozenset({0, 1, 2, 3}): "You went through the list as it stands. Which token should be taken first?",
        frozenset(
            {0, 1, 3, 4}
        ): "That is 70 percent of the tokens. p is a share of the probability, not of the tokens.",
        frozenset({0, 1, 2, 3, 4}): "That is 70 percent of the tokens, rounded up. p is a share of the probability.",
        frozenset({0, 1, 2, 3, 4, 5}): "All of them. When does your loop have enough?",
    }
    kept_ids = frozenset(int(token) for token in kept)
    if kept_ids != {1, 3}:
        return f"{came} " + hints.get(kept_ids, "Take the most probable first: 0.5 (token 1), then 0.25. Enough?")
    for probabilities, p, expected in (
        ([0.5, 0.25, 0.25], 0.5, {0}),
        ([0.25, 0.25, 0.25, 0.25], 1.0, {0, 1, 2, 3}),
        ([0.1, 0.7, 0.2], 0.05, {1}),
        ([0.5, 0.125, 0.375], 0.875, {0, 2}),
        ([1.0], 0.9, {0}),
        ([0.1] * 10, 1.0, set(range(10))),  # their sum is 0.9999999999999999
        ([0.7, 0.1, 0.2], 0.8, {0, 2}),
        ([0.2, 0.1, 0.7], 0.9, {0, 2}),  # 0.7 + 0.2 is 0.8999999999999999
        ([0.5, 0.3, 0.1, 0.1], 0.8, {0, 1}),
    ):
        mine = list(probabilities)
        try:
            found = answer(mine, p)
        except IndexError as error:
            return (
                f"For {probabilities} and p = {p} it stops with {type(error).__name__}. What if all tokens are needed?"
            )
        if found is None:
            return f"For {probabilities} and p = {p} you return nothing. What if the sum stays a hair below p?"
        if set(map(int, found)) != expected:
            reached = "Which is the smallest set that does?"
            if p in (0.5, 0.875):
                reached = "At least p: is p itself enough?"
            elif p in (0.8, 0.9) and len(probabilities) > 1:
                reached = "On paper the sum is p itself. In Python it may come out a hair below: 0.7 + 0.1 < 0.8."
            return f"For {probabilities} and p = {p} you return {sorted(found)}. {reached}"
        if mine != probabilities:
            return f"Right, but afterwards the caller's list is {mine}. Sort a copy."
    return None


Step = tuple[Tensor, Tensor, Tensor]


@Exercise
def cached_attention(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Step]) -> str | None:
    """Attention for one new token, with the keys and values of earlier ones kept."""
    generator = torch.Generator().manual_seed(13)
    q, k, v = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(3))
    # Five old keys: with three, there would be as many keys as numbers in one.
    keys, values = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    before, given = (keys.clone(), values.clone()), (q.clone(), k.clone(), v.clone())
    result = answer(q, k, v, keys, values)
    if not isinstance(result, tuple) or len(result) != 3:
        return "Return three things: the output, all keys, and all values. The next step needs them."
    output, new_keys, new_values = result
    all_keys, all_values = torch.cat([before[0], k[None]]), torch.cat([before[1], v[None]])

    def attention(keys: Tensor, values: Tensor, divisor: float = 2.0, query: Tensor = q) -> Tensor:
        return (keys @ query / divisor).softmax(0) @ values

    if not isinstance(output, Tensor) or output.shape != (4,):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        return (
            f"One token with d_k = 4 gives an output of shape (4,), and yours is {shape}. How many queries are there?"
        )
    hints = {
        attention(*before): "Your token sees those before it, but not itself. Append first, or attend first?",
        attention(all_keys, all_values, 1.0): "The scores are not scaled. By what does the formula divide them?",
        attention(all_keys, all_values, 4.0): "You divide by d_k. The formula has its square root.",
        attention(all_keys, all_values, math.sqrt(6)): (
            "You divide by the root of the number of keys. d_k is the length of one key."
        ),
        attention(all_values, all_keys): "Keys and values have changed places: which of them meet the query?",
        attention(all_keys, all_values, query=k): "You compare keys with the new key. Which vector asks?",
        v: "The output is the new value. Which tokens may it look at?",
    }
    for mistake, hint in hints.items():
        if close(output, mistake, 1e-9):
            return f"With five tokens in the cache: {hint}"
    if close(new_keys, before[0]) or close(new_values, before[1]):
        return "You return the cache as it came, without the new token. What will the next token look at?"
    if close(new_keys, torch.cat([k[None], before[0]])):
        return "The new key stands in front. The order of the tokens is that of the text: where does a new one go?"
    if close(new_keys, all_values) and close(new_values, all_keys):
        return "You return the values where the keys should be. The order is output, keys, values."
    if not close(new_keys, all_keys) or not close(new_values, all_values):
        return (
            f"Your new cache has the shapes {tuple(new_keys.shape)} and {tuple(new_values.shape)}. "
            "It should hold the five old rows, then the new one: (6, 4)."
        )
    if not close(output, attention(all_keys, all_values), 1e-9):
        return (
            "The cache is right, the output is not. softmax(q·k / √d_k) over all six keys, then blend the six values."
        )
    empty = torch.empty(0, 4, dtype=torch.float64)
    first = answer(q, k, v, empty, empty.clone())
    if not close(first[0], v, 1e-9):
        return "Right with five tokens in the cache. The first token finds it empty: its output is its own value."
    if not close(keys, before[0]) or not close(values, before[1]):
        return "Right, but you changed the keys or the values that you were given."
    if not close(q, given[0]) or not close(k, given[1]) or not close(v, given[2]):
        return "Right, but you changed q, k or v, which belong to the caller."
    q.requires_grad_()
    if not answer(q, k, v, *before)[0].requires_grad:
        return "Right, but cut off: no gradient can flow from your output back to q. Where does the graph end?"
    far = torch.full((4,), 40.0, dtype=torch.float64)
    output, *_ = answer(far, k, v, torch.stack([far, -far]), values[:2])
    if not close(output, values[0], 1e-9):
        return f"Right for small scores. Where they are thousands, you return {output.tolist()}: which softmax shifts?"
    return None
