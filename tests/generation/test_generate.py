"""Samplers against closed forms, brute force and frequencies; generation against a plain loop and transformers."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from minigpt.config import GPTConfig, InputError
from minigpt.generation.beam_search import beam_search
from minigpt.generation.decoding import Decoding
from minigpt.generation.generate import (
    Sample,
    _Rows,
    _steps,
    _Task,
    closed_up,
    distribution,
    draw,
    generate,
    generate_batch,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
    stream,
    stream_text,
)
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer, Tokenizer
from tests.model.test_gpt import transformers_copy

# Untied, because a random model that reads and writes with the same matrix tends to repeat what it reads.
CONFIG = GPTConfig(vocab_size=8, context_length=16, n_layers=2, n_heads=2, d_model=16, tie_embeddings=False)
PROBABILITIES = torch.tensor([0.30, 0.05, 0.20, 0.02, 0.10, 0.25, 0.07, 0.01], dtype=torch.float64)

# If the tokens do follow the distribution, a chi-square of so many degrees of freedom (outcomes less one) is above this
# for 1 seed of 1000. All seeds are fixed.
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32}


def follows(tokens: torch.Tensor, probabilities: torch.Tensor) -> bool:
    """Pearson's chi-square test of frequencies, at the level 0.001. What has no probability must not occur."""
    counts, possible = torch.bincount(tokens, minlength=len(probabilities)), probabilities > 0
    expected = probabilities[possible] * len(tokens)
    assert expected.min() >= 5  # where the chi-square approximation holds
    chi_square = ((counts[possible] - expected) ** 2 / expected).sum().item()
    return int(counts[~possible].sum()) == 0 and chi_square < CRITICAL[int(possible.sum()) - 1]


def writer(config: GPTConfig = CONFIG) -> GPT:
    """A random model whose next token is neither certain nor independent of the text and the position; float64."""
    torch.manual_seed(1)
    model = GPT(config).double()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1 if "embedding" in name else 0.25 if "head" in name else 0.5)
    return model.eval()


# --- From logits to a distribution


def test_temperature_raises_probabilities_to_a_power():
    logits = PROBABILITIES.log()[None] + 7  # a constant changes nothing
    torch.testing.assert_close(distribution(logits)[0], PROBABILITIES)
    for temperature in (0.5, 2.0):
        power = PROBABILITIES ** (1 / temperature)
        torch.testing.assert_close(distribution(logits, temperature)[0], power / power.sum())


@pytest.mark.parametrize("temperature", [0.0, 1e-310])
def test_temperature_zero_is_greedy_and_tiny_ones_do_not_overflow(temperature: float):
    logits = torch.tensor([[1.0, 3, 2], [100, -100, 0]])
    expected = torch.tensor([[0, 1, 0], [1, 0, 0]], dtype=torch.float64)
    assert torch.equal(distribution(logits, temperature), expected)


def test_top_k_then_top_p_by_hand():
    logits = PROBABILITIES.log()[None]
    expected = torch.tensor([0.30, 0, 0.20, 0, 0, 0.25, 0, 0], dtype=torch.float64) / 0.75
    torch.testing.assert_close(distribution(logits, top_k=3)[0], expected)
    torch.testing.assert_close(distribution(logits, top_p=0.7)[0], expected)  # 0.30 + 0.25 is too little
    torch.testing.assert_close(distribution(logits, top_k=3, top_p=1.0)[0], expected)
    # Of the three, 0.30 / 0.75 = 0.4 and 0.25 / 0.75 = 0.33 hold 0.7 of what is left.
    expected = torch.tensor([0.30, 0, 0, 0, 0, 0.25, 0, 0], dtype=torch.float64) / 0.55
    torch.testing.assert_close(distribution(logits, top_k=3, top_p=0.7)[0], expected)


def test_the_temperature_comes_before_top_p():
    squares = PROBABILITIES**2 / (PROBABILITIES**2).sum()  # the largest: 0.418, 0.290, 0.186
    expected = torch.where(squares > 0.15, squares, 0) / squares[squares > 0.15].sum()
    torch.testing.assert_close(distribution(PROBABILITIES.log()[None], temperature=0.5, top_p=0.8)[0], expected)


logit_rows = st.integers(1, 12).flatmap(
    lambda V: st.lists(
        st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=V, max_size=V), min_size=1, max_size=3
    )
)


@given(rows=logit_rows, data=st.data())
def test_top_k_keeps_the_largest_and_their_ties(rows: list[list[float]], data: st.DataObject):
    k = data.draw(st.integers(1, len(rows[0])))
    logits = torch.tensor(rows, dtype=torch.float64)
    kept = keep_top_k(logits, k)
    for row, kept_row in zip(rows, kept.tolist(), strict=True):
        kth = sorted(row, reverse=True)[k - 1]
        assert kept_row == [logit if logit >= kth else -math.inf for logit in row]
    assert torch.equal(kept, TopKLogitsWarper(k)(None, logits))


@given(rows=logit_rows, p=st.integers(1, 99).map(lambda n: n / 100 + 1e-4))
def test_top_p_keeps_the_smallest_set_that_holds_p(rows: list[list[float]], p: float):
    """p is never exactly a sum of the probabilities, so that rounding decides nothing."""
    logits = torch.tensor(rows, dtype=torch.float64)
    kept = keep_top_p(logits, p)
    for probabilities, before, after in zip(logits.softmax(-1), logits, kept, strict=True):
        inside = after > -math.inf
        assert torch.equal(after[inside], before[inside])
        assert probabilities[inside].sum() >= p - 1e-9
        assert probabilities[inside].sum() - probabilities[inside].min() < p + 1e-9
        if not inside.all():
            assert before[inside].min() >= before[~inside].max()
    theirs = TopPLogitsWarper(p)(None, logits)
    torch.testing.assert_close(kept.softmax(-1).sort().values, theirs.softmax(-1).sort().values)


@given(rows=logit_rows)
def test_top_p_of_one_changes_nothing(rows: list[list[float]]):
    logits = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(keep_top_p(logits, 1.0).softmax(-1), logits.softmax(-1))


# --- From a distribution to a token


def partitions(total: int, largest: int) -> Iterator[list[int]]:
    """Every way to write a number as a sum of positive ones, the largest first."""
    if total == 0:
        yield []
    for first in range(min(total, largest), 0, -1):
        for rest in partitions(total - first, first):
            yield [first, *rest]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_top_p_at_an_exact_border_keeps_the_smallest_set(dtype: torch.dtype):
    """Every distribution in twentieths, cut at every sum that it has; floats miss most of these sums by a digit."""
    cases = 0
    for twentieths in partitions(20, 19):
        logits = (torch.tensor([twentieths], dtype=dtype) / 20).log()
        for border in sorted(set(accumulate(twentieths)) - {20}):
            needed = next(n for n in range(1, 21) if sum(twentieths[:n]) >= border)
            assert int(keep_top_p(logits, border / 20).isfinite().sum()) == needed, (twentieths, border)
            cases += 1
    assert cases == 4003
    logits = torch.tensor([[0.3, 0.1, 0.1, 0.5]]).log()  # as in a test of transformers
    assert keep_top_p(logits, 0.8).isfinite().tolist() == [[True, False, False, True]]


def test_draw_by_hand():
    probabilities = torch.tensor([[0.0, 0.25, 0, 0.5, 0.25, 0]], dtype=torch.float64)
    hits = {0.0: 1, 0.2499: 1, 0.25: 3, 0.7499: 3, 0.75: 4, 1 - 2**-53: 4}
    uniform = torch.tensor(list(hits), dtype=torch.float64)
    assert draw(probabilities.expand(len(hits), -1), uniform).tolist() == list(hits.values())


@given(
    weights=st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1)), min_size=1, max_size=30).filter(any),
    uniform=st.one_of(st.just(0.0), st.just(1 - 2**-53), st.floats(0, 1, exclude_max=True)),
)
def test_draw_never_returns_what_cannot_be(weights: list[float], uniform: float):
    token = draw(torch.tensor([weights], dtype=torch.float64), torch.tensor([uniform], dtype=torch.float64)).item()
    assert weights[int(token)] > 0


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, {0: 0.30, 1: 0.05, 2: 0.20, 3: 0.02, 4: 0.10, 5: 0.25, 6: 0.07, 7: 0.01}),
        ({"temperature": 0.5}, {0: 900, 1: 25, 2: 400, 3: 4, 4: 100, 5: 625, 6: 49, 7: 1}),  # the squares
        ({"top_k": 3}, {0: 30, 2: 20, 5: 25}),
        ({"top_p": 0.8}, {0: 30, 2: 20, 4: 10, 5: 25}),  # 0.75 is too little, 0.85 is enough
        ({"temperature": 2.0, "top_k": 4}, {0: 30**0.5, 2: 20**0.5, 4: 10**0.5, 5: 25**0.5}),
        ({"temperature": 0.5, "top_k": 5, "top_p": 0.9}, {0: 900, 2: 400, 5: 625}),  # of 2074: 1525 is too little
    ],
    ids=str,
)
def test_frequencies_follow_the_closed_form(options: dict[str, Any], weights: dict[int, float]):
    expected = torch.zeros(8, dtype=torch.float64)
    expected[list(weights)] = torch.tensor(list(weights.values()), dtype=torch.float64)
    expected /= expected.sum()
    probabilities = distribution(PROBABILITIES.log()[None], **options)
    torch.testing.assert_close(probabilities[0], expected)
    uniform = torch.rand(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tokens = draw(probabilities.expand(200_000, -1), uniform)
    assert follows(tokens, expected)
    # The test is sharp enough to tell a temperature 1.2 times as high.
    warmer = distribution(PROBABILITIES.log()[None], **options | {"temperature": 1.2 * options.get("temperature", 1.0)})
    assert not follows(draw(warmer.expand(200_000, -1), uniform), expected)


# --- Repetition penalty


def test_repetition_penalty_by_hand():
    logits = torch.tensor([[3.0, -3.0, 0.0, 3.0, -3.0]])
    seen = torch.tensor([[True, True, True, False, False]])
    assert penalise_repetition(logits, seen, 1.5).tolist() == [[2.0, -4.5, 0.0, 3.0, -3.0]]
    assert torch.equal(penalise_repetition(logits, seen, 1.0), logits)


@given(rows=logit_rows, data=st.data(), penalty=st.sampled_from([0.5, 1.0, 1.2, 3.0]))
def test_repetition_penalty_equals_transformers(rows: list[list[float]], data: st.DataObject, penalty: float):
    logits = torch.tensor(rows, dtype=torch.float64)
    V = len(rows[0])
    ids = torch.tensor([data.draw(st.lists(st.integers(0, V - 1), min_size=5, max_size=5)) for _ in rows])
    seen = torch.zeros(len(rows), V, dtype=torch.bool).scatter(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    assert torch.equal(penalise_repetition(logits, seen, penalty), expected)


# --- Generation


def plain_loop(model: GPT, prompt: list[int], n: int, pick: Callable[[torch.Tensor], int]) -> list[int]:
    """The definition: all logits of the last context_length tokens, pick, append."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(n):
            ids.append(pick(model(torch.tensor([ids[-model.config.context_length :]]))[0, -1]))
    return ids[len(prompt) :]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("prompt", [[3], [1, 2, 3, 4, 5], [0, 7] * 8], ids=len)
def test_greedy_equals_a_plain_loop_and_slides_beyond_the_context(prompt: list[int], use_cache: bool):
    model = writer()
    expected = plain_loop(model, prompt, 40, lambda logits: int(logits.argmax()))
    assert len(set(expected)) > 2  # not a model that repeats itself
    assert generate(model, prompt, 40, temperature=0, use_cache=use_cache) == [expected]
    assert list(stream(model, prompt, 40, temperature=0, use_cache=use_cache)) == expected


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("n_heads", [1, 4])
def test_greedy_equals_transformers(n_heads: int, penalty: float):
    model = writer(replace(CONFIG, vocab_size=50, context_length=40, n_layers=3, n_heads=n_heads))
    theirs = transformers_copy(model).eval()
    prompts = [[1], [4, 8, 15, 16, 23, 42]]
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        arguments = {"do_sample": False, "max_new_tokens": 34, "pad_token_id": 0, "repetition_penalty": penalty}
        expected.append(theirs.generate(ids, attention_mask=ids > -1, **arguments)[0, len(prompt) :].tolist())
        assert len(set(expected[-1])) > 4  # not a model that repeats itself
    together = generate_batch(model, prompts, 34, temperature=0, repetition_penalty=penalty)
    assert [sample.tokens for (sample,) in together] == expected
    assert generate(model, prompts[0], 34, temperature=0, repetition_penalty=penalty) == [expected[0]]


configs = st.builds(
    GPTConfig, vocab_size=st.integers(2, 30), context_length=st.just(24), n_layers=st.integers(1, 3),
    n_heads=st.sampled_from([1, 2, 4]), d_model=st.sampled_from([8, 16]), d_ff=st.sampled_from([0, 5]),
    bias=st.booleans(), tie_embeddings=st.booleans(),
)  # fmt: skip


@given(config=configs, data=st.data())
@settings(max_examples=10)
def test_greedy_equals_transformers_whatever_the_shape(config: GPTConfig, data: st.DataObject):
    model = writer(config)
    prompt = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=1, max_size=9))
    ids = torch.tensor([prompt])
    theirs = transformers_copy(model).eval().generate(
        ids, attention_mask=ids > -1, do_sample=False, max_new_tokens=15, pad_token_id=0
    )  # fmt: skip
    assert generate(model, prompt, 15, temperature=0) == theirs[:, len(prompt) :].tolist()


@given(
    prompt=st.lists(st.integers(0, 7), min_size=1, max_size=16),
    num=st.integers(1, 5),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    top_k=st.one_of(st.none(), st.integers(1, 8)),
    top_p=st.one_of(st.none(), st.floats(0.1, 1)),
    stop_token=st.one_of(st.none(), st.integers(0, 7)),
    seed=st.integers(0, 2**64),
)
@settings(max_examples=40)
def test_the_cache_changes_nothing(prompt: list[int], num: int, **options: Any):
    model = writer()
    cached = generate(model, prompt, 24, num=num, **options)
    assert cached == generate(model, prompt, 24, num=num, use_cache=False, **options)
    assert list(stream(model, prompt, 24, **options)) == cached[0]


@pytest.mark.parametrize("use_cache", [True, False])
def test_samples_depend_on_seed_and_number_alone(use_cache: bool):
    model = writer()
    samples = generate(model, [1, 2], 30, num=6, seed=5, use_cache=use_cache)
    assert samples == generate(model, [1, 2], 30, num=6, seed=5, use_cache=use_cache)
    assert samples[:2] == generate(model, [1, 2], 30, num=2, seed=5, use_cache=use_cache)
    assert [sample[:9] for sample in samples] == generate(model, [1, 2], 9, num=6, seed=5, use_cache=use_cache)
    assert len({tuple(sample) for sample in samples}) == 6
    assert samples != generate(model, [1, 2], 30, num=6, seed=6, use_cache=use_cache)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("stop_token", range(8))
def test_a_sample_that_stops_does_not_move_the_others(stop_token: int, use_cache: bool):
    model = writer()
    endless = generate(model, [1, 2], 30, num=20, seed=5)
    expected = [sample[: sample.index(stop_token)] if stop_token in sample else sample for sample in endless]
    samples = generate(model, [1, 2], 30, num=20, seed=5, stop_token=stop_token, use_cache=use_cache)
    assert samples == expected
    assert len({len(sample) for sample in samples}) > 3
    streamed = stream(model, [1, 2], 30, seed=5, stop_token=stop_token, use_cache=use_cache)
    assert list(streamed) == expected[0]


options = st.fixed_dictionaries(
    {
        "num": st.integers(1, 3),
        "temperature": st.sampled_from([0.0, 0.7, 1.0]),
        "top_k": st.one_of(st.none(), st.integers(1, 8)),
        "top_p": st.one_of(st.none(), st.floats(0.1, 1)),
        "repetition_penalty": st.sampled_from([1.0, 1.2]),
        "stop_token": st.one_of(st.none(), st.integers(0, 7)),
        "seed": st.integers(0, 2**64),
    }
)
some_prompts = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=16), min_size=1, max_size=4)


@given(prompts=some_prompts, n=st.integers(0, 20), use_cache=st.booleans(), options=options)
@settings(max_examples=40)
def test_prompts_of_a_batch_do_not_move_each_other(
    prompts: list[list[int]], n: int, use_cache: bool, options: dict[str, Any]
):
    model = writer()
    batch = generate_batch(model, prompts, n, use_cache=use_cache, **options)
    for prompt, samples in zip(prompts, batch, strict=True):
        (alone,) = generate_batch(model, [prompt], n, use_cache=False, **options)
        assert [sample.tokens for sample in samples] == [sample.tokens for sample in alone]
        for sample, other in zip(samples, alone, strict=True):
            assert sample.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-10)


@given(prompts=some_prompts, n=st.integers(1, 24), check_every=st.integers(2, 30), options=options)
@settings(max_examples=40)
def test_looking_for_stops_less_often_changes_nothing(
    prompts: list[list[int]], n: int, check_every: int, options: dict[str, Any]
):
    """On a GPU the host looks at every 16th step only."""
    prompts = [prompts[0]] * len(prompts)  # texts that outgrow the context together must be of equal length
    task = _Task(writer(), prompts, n, **options)
    results = []
    for every in (1, check_every):
        samples = [Sample() for _ in range(len(prompts) * task.num)]
        for _ in _steps(task, prompts, samples, every):
            pass
        results.append(samples)
    for one, other in zip(*results, strict=True):
        assert one.tokens == other.tokens
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-10)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probabilities_are_those_of_the_model(temperature: float):
    model, prompt = writer(), [1, 2]
    ((sample,),) = generate_batch(model, [prompt], 30, temperature=temperature, top_k=3, repetition_penalty=1.5, seed=3)
    expected: list[float] = []

    def note(logits: torch.Tensor) -> int:
        token = sample.tokens[len(expected)]
        expected.append(logits.log_softmax(-1)[token].item())
        return token

    assert plain_loop(model, prompt, 30, note) == sample.tokens
    assert sample.log_probabilities == pytest.approx(expected, abs=1e-10)
    assert -60 < sum(expected) < -3


def test_the_stop_token_has_a_log_probability_too():
    model, prompt, stop_token = writer(), [1, 2], 4
    (samples,) = generate_batch(model, [prompt], 14, num=20, seed=3, stop_token=stop_token)
    stopped = 0
    for sample in samples:
        stops = len(sample.log_probabilities) == len(sample.tokens) + 1
        text = [*sample.tokens, *[stop_token] * stops]
        with torch.no_grad():
            log_probabilities = model(torch.tensor([prompt + text]))[0, 1:-1].log_softmax(-1)
        expected = log_probabilities[range(len(text)), text]
        assert sample.log_probabilities == pytest.approx(expected.tolist(), abs=1e-10)
        stopped += stops
        assert stops or len(text) == 14
    assert 0 < stopped < 20


@pytest.mark.parametrize("use_cache", [True, False])
def test_the_repetition_penalty_counts_prompt_and_text_even_beyond_the_context(use_cache: bool):
    model, ids = writer(), [1, 2]
    penalise = RepetitionPenaltyLogitsProcessor(1.5)
    with torch.no_grad():
        for _ in range(30):
            logits = model(torch.tensor([ids[-16:]]))[:, -1]
            ids.append(int(penalise(torch.tensor([ids]), logits).argmax()))
    assert generate(model, [1, 2], 30, repetition_penalty=1.5, temperature=0, use_cache=use_cache) == [ids[2:]]
    assert generate(model, [1, 2], 30, temperature=0) != [ids[2:]]


@pytest.mark.parametrize("tie", [True, False])
def test_ids_without_a_text_are_never_drawn(tie: bool):
    """A model with rows to spare writes what the model without them writes, however likely they look."""
    padded = writer(replace(CONFIG, pad_vocab=32, tie_embeddings=tie))
    plain = writer(replace(CONFIG, tie_embeddings=tie))
    with torch.no_grad():
        padded.output_head.weight[8:] = 10 * padded.output_head.weight[:8].repeat(3, 1)
        state = {name: t[:8] if t.size(0) == 32 and t.dim() == 2 else t for name, t in padded.state_dict().items()}
        state |= {name: padded.state_dict()[name] for name in state if "embedding" not in name and "head" not in name}
    plain.load_state_dict(state)
    assert padded(torch.tensor([[1]])).argmax() >= 8, "unrestrained, it would draw one"
    options: list[dict[str, Any]] = [
        {"seed": 1}, {"temperature": 0}, {"top_k": 3, "seed": 2}, {"top_p": 0.7, "repetition_penalty": 1.3, "seed": 3},
        {"use_cache": False, "seed": 4},
    ]  # fmt: skip
    for each in options:
        both = [generate_batch(model, [[1], [2, 3]], 20, num=3, **each) for model in (padded, plain)]
        tokens = [[sample.tokens for samples in found for sample in samples] for found in both]
        assert tokens[0] == tokens[1]
        assert all(token < 8 for samples in both[0] for sample in samples for token in sample.tokens)
        assert list(stream(padded, [1], 20, **each)) == list(stream(plain, [1], 20, **each))
    wide, narrow = (beam_search(model, [1, 2], 8, beams=5) for model in (padded, plain))
    assert [beam.tokens for beam in wide] == [beam.tokens for beam in narrow]
    assert [beam.score for beam in wide] == pytest.approx([beam.score for beam in narrow], rel=1e-9)
    with pytest.raises(InputError, match="token id 9 is not in the vocabulary of 8 tokens"):
        generate(padded, [9], 1)
    with pytest.raises(InputError, match="top_k is 9; it must be between 1 and the vocabulary's size, 8"):
        generate(padded, [1], 1, top_k=9)


def test_first_tokens_follow_the_model():
    model = writer()
    tokens = torch.tensor(generate(model, [1, 2, 3], 1, num=20_000, seed=1))[:, 0]
    with torch.no_grad():
        probabilities = model(torch.tensor([[1, 2, 3]]))[0, -1].softmax(-1)
    assert follows(tokens, probabilities)


def test_later_tokens_follow_the_model():
    """The second token after each first one: random numbers of a sample must not depend on each other."""
    model = writer()
    pairs = torch.tensor(generate(model, [1, 2, 3], 2, num=40_000, seed=2))
    tested = 0
    for first in range(8):
        second = pairs[pairs[:, 0] == first, 1]
        with torch.no_grad():
            probabilities = model(torch.tensor([[1, 2, 3, first]]))[0, -1].softmax(-1)
        if (probabilities * len(second)).min() >= 5:
            tested += 1
            assert follows(second, probabilities)
    assert tested > 2
    assert not follows(pairs[:, 0], torch.full((8,), 1 / 8))  # the model does prefer some


def test_without_a_seed_every_call_and_every_prompt_differs():
    model = writer()
    assert generate(model, [1], 40) != generate(model, [1], 40)  # equal once in 8^20 or so
    ((one,), (other,)) = generate_batch(model, [[1], [1]], 40)
    assert one.tokens != other.tokens
    ((one,), (other,)) = generate_batch(model, [[1], [1]], 40, seed=7)
    assert one.tokens == other.tokens
    assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-10)  # rows may round apart


def test_no_new_tokens():
    assert generate(writer(), [1], 0, num=3) == [[], [], []]
    assert list(stream(writer(), [1], 0)) == []


# --- What it costs, counted and not timed


@contextmanager
def passes_through(model: GPT) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the ids that the model reads."""
    shapes: list[tuple[int, ...]] = []
    hook = model.token_embedding.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    yield shapes
    hook.remove()


def test_the_prompt_is_read_once_and_then_one_token_a_step():
    model = writer()
    with passes_through(model) as shapes:
        generate(model, [1, 2, 3, 4], 15, num=5, seed=1)
    # 4 + 12 tokens fill the context of 16. Token 17 needs the first slide.
    assert shapes == [(1, 4)] + [(5, 1)] * 12 + [(5, 16)] * 2
    with passes_through(model) as shapes:
        generate(model, [1, 2, 3, 4], 15, num=5, seed=1, use_cache=False)
    assert shapes == [(5, length) for length in range(4, 16)] + [(5, 16)] * 3
    with passes_through(model) as shapes:
        generate_batch(model, [[1, 2, 3, 4], [2, 3, 4, 5], [1, 2]], 3, num=2, seed=1)
    # Neighbours of equal length are read together, no padding is ever read, and then all rows go on together.
    assert shapes == [(2, 4), (1, 2), (6, 1), (6, 1)]


@pytest.mark.parametrize("use_cache", [True, False])
def test_stopped_samples_no_longer_cost(use_cache: bool):
    model = writer()
    with passes_through(model) as shapes:
        samples = generate(model, [1, 2], 200, num=40, seed=1, stop_token=4, use_cache=use_cache)
    for step, (batch_size, _) in enumerate(shapes[1:], start=1):
        writing = sum(len(sample) >= step for sample in samples)  # those whose token number `step` was no stop token
        assert batch_size == writing
    assert len(shapes) == max(len(sample) for sample in samples) + 1 < 200  # and it ends with the last


def test_a_gpu_drops_them_when_a_quarter_has_stopped(monkeypatch: pytest.MonkeyPatch):
    """Each number of rows is another recording there."""
    model = writer()
    expected = generate(model, [1, 2], 200, num=40, seed=1, stop_token=4, use_cache=False)
    monkeypatch.setattr("minigpt.generation.generate.records", lambda device: True)
    with passes_through(model) as shapes:
        assert generate(model, [1, 2], 200, num=40, seed=1, stop_token=4, use_cache=False) == expected
    for step, (batch_size, _) in enumerate(shapes[1:], start=1):
        writing = sum(len(sample) >= step for sample in expected)
        assert writing <= batch_size < max(writing / 0.75, writing + 1) + 1e-9


@given(st.sets(st.integers(0, 20)))
def test_few_rows_move_when_others_leave(rows: set[int]):
    closed = closed_up(sorted(rows))
    assert sorted(closed) == sorted(rows)
    assert all(closed[row] == row for row in rows if row < len(rows))


def test_the_models_own_distribution_is_drawn_from_as_any_other():
    """One way to it leads past `distribution`."""
    model = writer()
    for seed in range(5):
        as_it_is = generate(model, [1, 2], 30, num=20, seed=seed)
        assert as_it_is == generate(model, [1, 2], 30, num=20, seed=seed, top_k=CONFIG.vocab_size)


def test_stream_yields_each_token_as_soon_as_it_is_drawn():
    model = writer()
    with passes_through(model) as shapes:
        tokens = stream(model, [1, 2], 10, seed=1)
        assert len(shapes) == 0
        for n in range(1, 11):
            next(tokens)
            assert len(shapes) == n


def test_no_step_waits_for_a_device():
    """A fake tensor has no values: whoever asks for one, as `.item()` and `.tolist()` do, gets an exception."""
    with FakeTensorMode(), torch.inference_mode():
        task = _Task(GPT(CONFIG), [[1, 2], [3]], 9, num=2, top_k=3, top_p=0.9, repetition_penalty=1.2, stop_token=0)
        rows = _Rows(task, task.prompts, [Sample() for _ in range(4)])
        decoding = Decoding(task.model, task.prompts, task.num, task.max_new_tokens)
        rows.write(decoding.prefill(), 0)
        for step in range(1, 9):
            rows.write(decoding.step(rows.ids[:, -1:]), step)
        assert rows.ids.shape == (4, 2 + 9)
        with pytest.raises(DataDependentOutputException):
            rows.hand_out()  # the only place that waits


# --- Text as it comes


@given(
    text=st.text(max_size=20), merges=st.integers(0, 30), cut=st.integers(0, 3), kind=st.sampled_from(["char", "bpe"])
)
def test_stream_text_never_splits_a_character(text: str, merges: int, cut: int, kind: str):
    of_bytes, of_characters = BPETokenizer.train(text * 3, 257 + merges), CharTokenizer.train(text + "x")
    tokenizer: Tokenizer = of_bytes if kind == "bpe" else of_characters
    ids = tokenizer.encode(text)
    ids = ids[: max(0, len(ids) - cut)]  # where generation may end: in the middle of a character
    pieces = list(stream_text(iter(ids), tokenizer))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert all(pieces)
    if cut == 0:
        assert "".join(pieces) == text and all("\ufffd" not in piece for piece in pieces if "\ufffd" not in text)


@given(ids=st.lists(st.integers(0, 255), max_size=30))
def test_stream_text_equals_decode_whatever_the_bytes(ids: list[int]):
    tokenizer = BPETokenizer([])
    assert "".join(stream_text(iter(ids), tokenizer)) == tokenizer.decode(ids)


def test_stream_text_gives_each_character_as_soon_as_it_is_whole():
    tokenizer, taken = BPETokenizer([]), []

    def tokens() -> Iterator[int]:
        for token in "a\u4f60\U0001f98ab".encode():  # of 1, 3, 4 and 1 bytes
            taken.append(token)
            yield token

    seen = [(piece, len(taken)) for piece in stream_text(tokens(), tokenizer)]
    assert seen == [("a", 1), ("\u4f60", 4), ("\U0001f98a", 8), ("b", 9)]


# --- What it leaves as it was


def test_dropout_is_off_and_the_training_mode_is_left_alone():
    model = writer(replace(CONFIG, dropout=0.5))
    expected = generate(model, [1, 2], 20, seed=1)
    model.train()
    assert generate(model, [1, 2], 20, seed=1) == expected
    assert all(module.training for module in model.modules())
    tokens = []
    for token in stream(model, [1, 2], 20, seed=1):
        tokens.append(token)
        assert all(module.training for module in model.modules())
    assert [tokens] == expected


def test_inference_mode_inside_and_not_outside():
    model, inside = writer(), []
    model.token_embedding.register_forward_pre_hook(lambda *_: inside.append(torch.is_inference_mode_enabled()))
    generate(model, [1, 2], 3, seed=1)
    for _ in stream(model, [1, 2], 3, seed=1):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert inside == [True] * 6
    assert not torch.is_inference_mode_enabled()
    model(torch.tensor([[1, 2]])).sum().backward()


def test_the_global_random_numbers_are_left_alone():
    model, state = writer(), torch.get_rng_state()
    generate(model, [1, 2], 5, num=3)
    assert torch.equal(torch.get_rng_state(), state)


# --- Bad input

ERRORS = [
    ({"prompt": []}, "prompt is empty; give at least one token"),
    ({"prompt": [1] * 17}, "17 tokens.*context holds 16: shorten it, or pass its last 16"),
    ({"prompt": [1, 8, 9]}, "token id 8 .* 8 tokens .0 to 7.*tokenizer"),
    ({"prompt": [-1]}, "token id -1 "),
    ({"prompt": torch.tensor([1, 2])}, "prompt must be a list of token ids, as .*tensor.tolist"),
    ({"prompt": [[1, 2]]}, "prompt must be a list of token ids"),
    ({"prompt": "the cat"}, "prompt must be a list of token ids, as tokenizer.encode"),
    ({"max_new_tokens": -1}, "max_new_tokens is -1; it must be at least 0"),
    ({"max_new_tokens": 10**12}, "ask for 1,000,000,000,000 tokens in one call; it gives at most 134,217,728"),
    ({"temperature": -0.1}, "temperature is -0.1; it must be 0 .* or a positive"),
    ({"temperature": math.nan}, "temperature is nan"),
    ({"temperature": math.inf}, "temperature is inf"),
    ({"top_k": 0}, "top_k is 0; it must be between 1 and .* 8"),
    ({"top_k": 9}, "top_k is 9; it must be between 1 and .* 8"),
    ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
    ({"top_p": 1.1}, "top_p is 1.1; it must be above 0 and at most 1"),
    ({"top_p": math.nan}, "top_p is nan"),
    ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; it must be a positive number, 1 for none"),
    ({"repetition_penalty": math.nan}, "repetition_penalty is nan"),
    ({"stop_token": 8}, "token id 8 .* 8 tokens"),
    ({"stop_token": -1}, "token id -1 .* 8 tokens"),
    ({"seed": -1}, "seed is -1; it must be at least 0"),
]


@pytest.mark.parametrize(("wrong", "message"), ERRORS, ids=lambda value: str(value)[:30])
def test_bad_arguments(wrong: dict[str, Any], message: str):
    arguments: dict[str, Any] = {"prompt": [1], "max_new_tokens": 2} | wrong
    with pytest.raises(InputError, match=message):
        generate(writer(), **arguments)
    with pytest.raises(InputError, match=message):
        stream(writer(), **arguments)  # at once, not with the first token


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(InputError, match="num is 0; it must be at least 1.*") as error:
        generate(writer(), [], -5, num=0, top_k=100, top_p=2)
    assert all(word in str(error.value) for word in ("empty", "max_new_tokens", "top_k", "top_p"))


def test_bad_prompts_of_a_batch_are_numbered():
    with pytest.raises(InputError, match="prompt 1 is empty; give .*; prompt 3 has 17 tokens.*; token id 9 is not"):
        generate_batch(writer(), [[1], [], [9], [1] * 17], 2)
    with pytest.raises(InputError, match="there is no prompt; give at least one"):
        generate_batch(writer(), [], 2)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_diverged_model_is_told_from_a_good_one(broken: float, temperature: float):
    model = writer()
    with torch.no_grad():
        model.final_norm.weight[0] = broken
    with pytest.raises(InputError, match="not finite.*diverged.*earlier checkpoint"):
        generate(model, [1], 2, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_and_also_where_only_a_later_place_is_broken(temperature: float):
    model = writer()
    with torch.no_grad():
        model.position_embedding.weight[9] = math.nan
    assert generate(model, [1, 2], 8, temperature=temperature, seed=1)  # tokens 0 to 8 are read
    with pytest.raises(InputError, match="not finite"):
        generate(model, [1, 2], 9, temperature=temperature, seed=1)
