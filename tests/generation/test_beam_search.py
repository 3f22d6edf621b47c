"""Beam search against an exhaustive search, greedy generation and transformers."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.config import GPTConfig, InputError
from minigpt.generation.beam_search import beam_search
from minigpt.generation.generate import generate
from tests.generation.test_generate import CONFIG, configs, writer
from tests.model.test_gpt import transformers_copy

LONG = replace(CONFIG, vocab_size=9, context_length=40, n_layers=3, n_heads=4)


def every_text(n: int, stop: int | None, length_penalty: float, prompt: list[int]) -> list[tuple[float, list[int]]]:
    """All texts of up to n tokens of a vocabulary of 4, with their scores, best first."""
    model = writer(replace(CONFIG, vocab_size=4))
    found = {}
    with torch.no_grad():
        for tokens in product(range(4), repeat=n):
            log_probabilities = model(torch.tensor([prompt + list(tokens)]))[0, len(prompt) - 1 : -1].log_softmax(-1)
            length = tokens.index(stop) + 1 if stop in tokens else n
            total = log_probabilities[range(length), tokens[:length]].sum().item()
            text = tokens[:length] if stop not in tokens else tokens[: length - 1]
            found[text] = total / length**length_penalty
    return sorted(((score, list(text)) for text, score in found.items()), reverse=True)


@pytest.mark.parametrize("stop", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -1.0])
def test_enough_beams_find_the_best_of_all_texts(stop: int | None, length_penalty: float):
    model, prompt = writer(replace(CONFIG, vocab_size=4)), [1, 2]
    expected = every_text(4, stop, length_penalty, prompt)
    found = beam_search(model, prompt, 4, beams=4**4, length_penalty=length_penalty, stop_token=stop)
    assert [beam.tokens for beam in found] == [text for _, text in expected]
    assert [beam.score for beam in found] == pytest.approx([score for score, _ in expected])


@given(
    config=configs.filter(lambda config: config.vocab_size > 9),
    prompt=st.lists(st.integers(0, 8), min_size=1, max_size=6),
    n=st.integers(1, 18),
    beams=st.integers(2, 5),
    length_penalty=st.sampled_from([0.0, 0.7, 1.0, 2.0, -1.0]),
    stop=st.one_of(st.none(), st.integers(0, 8)),
)
@settings(max_examples=30)
def test_it_equals_transformers(
    config: GPTConfig, prompt: list[int], n: int, beams: int, length_penalty: float, stop: int | None
):
    model = writer(config)
    ids = torch.tensor([prompt])
    options: Any = {} if stop is None else {"eos_token_id": stop}
    theirs = transformers_copy(model).eval().generate(
        ids, attention_mask=ids > -1, do_sample=False, max_new_tokens=n, pad_token_id=0, num_beams=beams,
        num_return_sequences=beams, length_penalty=length_penalty, early_stopping="never",
        return_dict_in_generate=True, output_scores=True, **options,
    )  # fmt: skip
    ours = beam_search(model, prompt, n, beams=beams, length_penalty=length_penalty, stop_token=stop)
    assert len(ours) == beams
    for beam, row in zip(ours, theirs.sequences[:, len(prompt) :].tolist(), strict=True):
        expected = row[: row.index(stop)] if stop in row else row[:n]
        assert beam.tokens == expected[: len(beam.tokens)]
        assert not any(expected[len(beam.tokens) :])  # their rows are filled up with zeros
    torch.testing.assert_close(torch.tensor([beam.score for beam in ours]), theirs.sequences_scores)


@pytest.mark.parametrize("stop", [None, 3, 6])
def test_one_beam_is_greedy(stop: int | None):
    model = writer(LONG)
    (beam,) = beam_search(model, [1, 2], 30, beams=1, stop_token=stop, length_penalty=0)
    assert [beam.tokens] == generate(model, [1, 2], 30, temperature=0, stop_token=stop)
    assert beam.score == beam.log_probability


def test_scores_are_log_probabilities_by_length_and_count_the_stop_token():
    model, prompt, stop = writer(LONG), [4, 2], 5
    lengths = set()
    for beam in beam_search(model, prompt, 30, beams=6, length_penalty=0.5, stop_token=stop):
        text = beam.tokens + [stop] * (len(beam.tokens) < 30)
        with torch.no_grad():
            log_probabilities = model(torch.tensor([prompt + text]))[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert beam.log_probability == pytest.approx(log_probabilities[range(len(text)), text].sum().item())
        assert beam.score == pytest.approx(beam.log_probability / math.sqrt(len(text)))
        lengths.add(len(text))
    assert len(lengths) > 2


def test_it_stops_when_nothing_better_can_come():
    model, passes = writer(LONG), []
    model.token_embedding.register_forward_pre_hook(lambda _, args: passes.append(args[0].shape))
    best = beam_search(model, [1, 2], 38, beams=2, length_penalty=0, stop_token=1)
    assert [len(beam.tokens) for beam in best] == [10, 11]
    assert 12 <= len(passes) < 30
    assert passes[:2] == [(1, 2), (2, 1)]  # the prompt once, then one token of each beam


def test_texts_of_one_token_and_texts_that_fill_the_context():
    model = writer(LONG)
    with torch.no_grad():
        expected = model(torch.tensor([[1, 2]]))[0, -1].topk(3).indices.tolist()
    assert [beam.tokens for beam in beam_search(model, [1, 2], 1, beams=3)] == [[token] for token in expected]
    assert all(len(beam.tokens) == 39 for beam in beam_search(model, [1, 2], 39, beams=2))


def test_the_training_mode_is_left_alone():
    model = writer(replace(LONG, dropout=0.5))
    expected = beam_search(model, [1], 9, beams=3)
    model.train()
    assert beam_search(model, [1], 9, beams=3) == expected
    assert model.training


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": [1] * 17}, "17 tokens.*context holds 16"),
        ({"prompt": [8]}, "token id 8 is not in the vocabulary of 8"),
        ({"stop_token": 9}, "token id 9 is not"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; with 2 tokens of prompt, beam search can write 1 to 15"),
        ({"max_new_tokens": 16}, "max_new_tokens is 16; with 2 tokens .* 1 to 15"),
        ({"beams": 0}, "beams is 0; it must be at least 1"),
        ({"length_penalty": math.nan}, "length_penalty is nan"),
        ({"length_penalty": math.inf}, "length_penalty is inf"),
        ({"length_penalty": -400.0}, "length_penalty is -400.0; it must be between -10 and 10"),
    ],
    ids=str,
)
def test_bad_arguments(wrong: dict[str, Any], message: str):
    arguments: dict[str, Any] = {"prompt": [1, 2], "max_new_tokens": 2, "beams": 2} | wrong
    with pytest.raises(InputError, match=message):
        beam_search(writer(), **arguments)


def test_a_diverged_model_is_told_from_a_good_one():
    model = writer()
    with torch.no_grad():
        model.final_norm.weight[0] = math.nan
    with pytest.raises(InputError, match="not finite.*diverged.*earlier checkpoint"):
        beam_search(model, [1], 2, beams=2)
