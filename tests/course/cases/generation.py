"""Answers to the exercises of lesson 13."""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.course.cases import Answers

Model = Callable[[list[int]], int]
Step = tuple[Tensor, Tensor, Tensor]


def recursively(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    if max_new_tokens == 0 or (token := model(prompt)) == stop:
        return []
    return [token, *recursively(model, [*prompt, token], stop, max_new_tokens - 1)]


def one_list_cut_at_the_end(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    ids = list(prompt)
    while len(ids) < len(prompt) + max_new_tokens:
        ids.append(model(ids))
        if ids[-1] == stop:
            ids.pop()
            break
    return ids[len(prompt) :]


def keeps_the_stop_token(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    new: list[int] = []
    while len(new) < max_new_tokens and (not new or new[-1] != stop):
        new.append(model(prompt + new))
    return new


def with_the_prompt(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    return prompt + recursively(model, prompt, stop, max_new_tokens)


def without_the_prompt(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    return recursively(model, [], stop, max_new_tokens)


def last_token_only(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    new: list[int] = []
    for _ in range(max_new_tokens):
        if (token := model([(prompt + new)[-1]])) == stop:
            break
        new.append(token)
    return new


def appends_the_text(best_next: Callable[[list[int]], int], prompt: list[int], stop: int, most: int) -> list[Any]:
    new: list[Any] = []
    while len(new) < min(most, 5):
        new.append(prompt + new)
    return new


def never_appends(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    new: list[int] = []
    for _ in range(max_new_tokens):
        if (token := model(prompt)) == stop:
            break
        new.append(token)
    return new


def without_a_limit(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    new: list[int] = []
    while (token := model(prompt + new)) != stop:
        new.append(token)
    return new


def looks_in_the_prompt(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    ids = list(prompt)
    while stop not in ids and len(ids) < len(prompt) + max_new_tokens:
        ids.append(model(ids))
    return [token for token in ids[len(prompt) :] if token != stop]


def changes_the_prompt(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    length = len(prompt)
    while len(prompt) < length + max_new_tokens and (token := model(prompt)) != stop:
        prompt.append(token)
    return prompt[length:]


def looks_at_the_last_token(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    ids = list(prompt)
    while len(ids) < len(prompt) + max_new_tokens and ids[-1] != stop:
        ids.append(model(ids))
    return [token for token in ids[len(prompt) :] if token != stop]


def writes_before_it_counts(model: Model, prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    new: list[int] = []
    while (token := model(prompt + new)) != stop:
        new.append(token)
        if len(new) >= max_new_tokens:
            break
    return new


def divides_in_place(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    logits /= temperature
    return draw_from(logits.softmax(0), generator)


def without_a_shift(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    powers = (logits / temperature).exp()
    return draw_from(powers / powers.sum(), generator)


def greedy_below_a_tenth(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature < 0.1:
        return int(logits.argmax())
    return draw_from((logits / temperature).softmax(0), generator)


def by_the_line(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    ends = (logits / temperature).softmax(0).cumsum(0)
    u = torch.rand(1, dtype=torch.float64, generator=generator)
    return min(int((ends <= u).sum()), len(logits) - 1)


def by_gumbel_noise(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    noise = -torch.rand(logits.shape, dtype=torch.float64, generator=generator).log()
    return (logits - temperature * noise.log()).argmax()


def draw_from(probabilities: Tensor, generator: torch.Generator | None) -> int:
    return int(torch.multinomial(probabilities, 1, generator=generator))


def always_the_best(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    return int(logits.argmax())


def multiplied(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    return draw_from((logits * temperature).softmax(0), generator)


def divides_probabilities(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    return draw_from(logits.softmax(0) / temperature, generator)


def seeded_each_time(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    return draw_from((logits / temperature).softmax(0), torch.Generator().manual_seed(4))


def another_generator(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return draw_from((logits / temperature).softmax(0), None)


def fails_at_zero(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    return draw_from((logits / temperature).softmax(0), generator)


def a_probability(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    return (logits / temperature).softmax(0)[0]


def uniformly(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    return int(torch.randint(len(logits), (1,), generator=generator))


def by_rank(probabilities: list[float]) -> list[int]:
    return sorted(range(len(probabilities)), key=lambda i: -probabilities[i])


def with_numpy(probabilities: list[float], p: float) -> set[int]:
    order = np.argsort(probabilities)[::-1]
    enough = int(np.sum(np.cumsum(np.array(probabilities)[order]) < p - 1e-12))
    return set(order[: enough + 1].tolist())


def by_what_others_hold(probabilities: list[float], p: float) -> list[int]:
    order = by_rank(probabilities)
    before = [0.0, *accumulate(probabilities[i] for i in order)]
    return [i for i, held in zip(order, before, strict=False) if held < p - 1e-12]


def with_rounded_sums(probabilities: list[float], p: float) -> set[int]:
    kept, total = set(), 0.0
    for i in by_rank(probabilities):
        if round(total, 9) >= p:
            break
        kept.add(i)
        total += probabilities[i]
    return kept


def exactly(probabilities: list[float], p: float) -> set[int]:
    kept, total = set(), 0.0
    for i in by_rank(probabilities):
        kept.add(i)
        total += probabilities[i]
        if total >= p:
            break
    return kept


def returns_inside_the_loop(probabilities: list[float], p: float) -> set[int] | None:
    kept, total = set(), 0.0
    for i in by_rank(probabilities):
        kept.add(i)
        total += probabilities[i]
        if total >= p:
            return kept
    return None


def pops_until_it_holds_p(probabilities: list[float], p: float) -> set[int]:
    order, kept, total = by_rank(probabilities), set(), 0.0
    while total < p:
        kept.add(order[0])
        total += probabilities[order.pop(0)]
    return kept


def without_the_crossing_token(probabilities: list[float], p: float) -> set[int]:
    order = by_rank(probabilities)
    held = accumulate(probabilities[i] for i in order)
    return {i for i, total in zip(order, held, strict=True) if total <= p}


def one_too_many(probabilities: list[float], p: float) -> set[int]:
    order = by_rank(probabilities)
    return set(order[: len(with_numpy(probabilities, p)) + 1])


def unsorted(probabilities: list[float], p: float) -> set[int]:
    kept, total = set(), 0.0
    for i, probability in enumerate(probabilities):
        kept.add(i)
        total += probability
        if total >= p:
            break
    return kept


def share_of_the_tokens(probabilities: list[float], p: float) -> set[int]:
    return set(by_rank(probabilities)[: round(p * len(probabilities))])


def each_alone(probabilities: list[float], p: float) -> set[int]:
    return {i for i, probability in enumerate(probabilities) if probability >= p}


def places_in_the_sorted_list(probabilities: list[float], p: float) -> set[int]:
    return set(range(len(with_numpy(probabilities, p))))


def more_than_p(probabilities: list[float], p: float) -> set[int]:
    kept, total = set(), 0.0
    for i in by_rank(probabilities):
        kept.add(i)
        total += probabilities[i]
        if total > p:
            break
    return kept


def the_probabilities(probabilities: list[float], p: float) -> list[float]:
    return [probabilities[i] for i in with_numpy(probabilities, p)]


def grow(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([keys, k[None]]), torch.cat([values, v[None]])


def with_fused_attention(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = grow(q, k, v, keys, values)
    return F.scaled_dot_product_attention(q[None], keys, values)[0], keys, values


def in_loops(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = torch.vstack([keys, k]), torch.vstack([values, v])
    scores = [q @ key / math.sqrt(len(q)) for key in keys]
    weights = [(score - max(scores)).exp() for score in scores]
    blend = sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)
    return torch.as_tensor(blend), keys, values


def attends_first(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    output = (keys @ q / math.sqrt(len(q))).softmax(0) @ values
    return output, *grow(q, k, v, keys, values)


def not_scaled(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = grow(q, k, v, keys, values)
    return (keys @ q).softmax(0) @ values, keys, values


def divided_by_d_k(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = grow(q, k, v, keys, values)
    return (keys @ q / len(q)).softmax(0) @ values, keys, values


def divided_by_the_number_of_keys(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = torch.cat([keys, k[None]]), torch.cat([values, v[None]])
    return (keys @ q / math.sqrt(len(keys))).softmax(0) @ values, keys, values


def old_cache_returned(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    return with_fused_attention(q, k, v, keys, values)[0], keys, values


def new_one_in_front(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    output = with_fused_attention(q, k, v, keys, values)[0]
    return output, torch.cat([k[None], keys]), torch.cat([v[None], values])


def swapped(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = grow(q, k, v, keys, values)
    return (values @ q / math.sqrt(len(q))).softmax(0) @ keys, keys, values


def the_key_asks(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = grow(q, k, v, keys, values)
    return (keys @ k / math.sqrt(len(q))).softmax(0) @ values, keys, values


def output_alone(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return with_fused_attention(q, k, v, keys, values)[0]


def values_in_front(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    output, keys, values = with_fused_attention(q, k, v, keys, values)
    return output, values, keys


def exponentials_without_shift(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    keys, values = grow(q, k, v, keys, values)
    powers = (keys @ q / math.sqrt(len(q))).exp()
    return powers / powers.sum() @ values, keys, values


def zeroes_the_values(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    result = with_fused_attention(q, k, v, keys, values)
    values.zero_()
    return result


def without_a_gradient(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Step:
    return with_fused_attention(q.detach(), k, v, keys, values)


ANSWERS = {
    "write_until_stop": Answers(
        right=[recursively, one_list_cut_at_the_end],
        wrong={
            keeps_the_stop_token: "a signal, not a part",
            with_the_prompt: "known already",
            without_the_prompt: "did not see the prompt",
            last_token_only: "saw one token only",
            never_appends: "asked about the same text",
            appends_the_text: "lists within a list",
            without_a_limit: "It never comes in this test",
            looks_in_the_prompt: "begin with the token that ends",
            changes_the_prompt: "the caller's prompt is",
            looks_at_the_last_token: "not always one that the model chose",
            writes_before_it_counts: "whether there are enough",
        },
    ),
    "sample_token": Answers(
        right=[by_the_line, by_gumbel_noise],
        wrong={
            always_the_best: "Where does chance come in",
            multiplied: "multiply or divide",
            divides_probabilities: "before the softmax",
            seeded_each_time: "seeded anew",
            another_generator: "hand yours to torch",
            fails_at_zero: "falls to 0",
            a_probability: "a number with a fraction",
            uniformly: "All tokens alike",
            divides_in_place: "the caller's logits are",
            without_a_shift: "exponentials of large numbers",
            greedy_below_a_tenth: "Only 0 itself is greedy",
        },
    ),
    "nucleus": Answers(
        right=[with_rounded_sums, with_numpy, by_what_others_hold],
        wrong={
            without_the_crossing_token: "the token that crosses p",
            one_too_many: "Why is token 0 still in",
            unsorted: "as it stands",
            share_of_the_tokens: "70 percent of the tokens",
            each_alone: "No single token has 0.7",
            places_in_the_sorted_list: "a place in the sorted list",
            more_than_p: "is p itself enough",
            the_probabilities: "Which ids do these tokens have",
            exactly: "a hair below: 0.7 + 0.1",
            returns_inside_the_loop: "you return nothing",
            pops_until_it_holds_p: "What if all tokens are needed",
        },
    ),
    "cached_attention": Answers(
        right=[with_fused_attention, in_loops],
        wrong={
            divided_by_the_number_of_keys: "root of the number of keys",
            attends_first: "but not itself",
            not_scaled: "are not scaled",
            divided_by_d_k: "its square root",
            old_cache_returned: "the cache as it came",
            new_one_in_front: "stands in front",
            swapped: "have changed places",
            the_key_asks: "Which vector asks",
            output_alone: "Return three things",
            values_in_front: "The order is output, keys, values",
            exponentials_without_shift: "which softmax shifts",
            zeroes_the_values: "you changed the keys or the values",
            without_a_gradient: "no gradient can flow",
        },
    ),
}
