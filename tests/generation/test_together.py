"""Texts that join each other while they are written, against each text written alone by `generate`."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.config import GPTConfig, InputError
from minigpt.generation.decoding import Decoding
from minigpt.generation.generate import generate
from minigpt.generation.together import Together
from minigpt.model.gpt import GPT

CONFIG = GPTConfig(vocab_size=11, context_length=24, n_layers=2, n_heads=2, d_model=8, dropout=0.5)
SHAPES = [
    CONFIG,
    replace(CONFIG, positions="rope", n_heads=4, n_kv_heads=2, norm="rmsnorm", feed_forward="swiglu", bias=False),
]


def model_of(config: GPTConfig) -> GPT:
    """Random weights, large enough that every part of the model matters; float64."""
    torch.manual_seed(1)
    model = GPT(config).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@given(
    config=st.sampled_from(SHAPES),
    texts=st.lists(
        st.tuples(st.lists(st.integers(0, 10), min_size=1, max_size=9), st.integers(0, 8), st.integers(1, 9)),
        min_size=1, max_size=6,
    ),
    options=st.sampled_from([{"temperature": 0.0}, {"temperature": 1.3}, {"temperature": 0.7, "top_p": 0.8}]),
)  # fmt: skip
@settings(max_examples=60)
def test_each_text_is_what_generate_writes_for_it_alone(
    config: GPTConfig, texts: list[tuple[list[int], int, int]], options: dict[str, Any]
):
    """Of each text its prompt, the step at which it comes, and how many tokens it gets; it leaves after the last."""
    model, together = model_of(config), Together(model_of(config), **options)
    written: list[list[int]] = [[] for _ in texts]
    going: list[int] = []
    for step in range(20):
        new = [i for i, (_, comes, _) in enumerate(texts) if comes == step]
        tokens = together.step() if going else []
        going += new
        if new:
            most = max(texts[i][2] - len(written[i]) for i in going)
            tokens += together.add([texts[i][0] for i in new], new, most)
        for i, token in zip(going, tokens, strict=True):
            written[i].append(token)
        rows = [row for row, i in enumerate(going) if len(written[i]) < texts[i][2]]
        together.keep(rows)
        going = [going[row] for row in rows]
    for i, (prompt, _, n) in enumerate(texts):
        assert written[i] == generate(model, prompt, n, seed=i, **options)[0]


def test_columns_that_nobody_needs_any_more_are_given_up():
    """The longest text leaves, and with the next that comes the cache is as long as the longest of the others."""
    rows = Decoding(model_of(CONFIG), [[1] * 9, [2]], 1, 6)
    rows.prefill()
    rows.step(torch.tensor([[3], [4]]))
    rows.keep([1])
    rows.join([[5, 6, 7]], 4)
    assert rows.filled == 3 and rows.padding.tolist() == [1, 0]
    logits = rows.step(torch.tensor([[8], [9]]))
    expected = [model_of(CONFIG)(torch.tensor([text]))[0, -1] for text in ([2, 4, 8], [5, 6, 7, 9])]
    torch.testing.assert_close(logits, torch.stack(expected))


def test_logits_that_are_not_finite_are_refused():
    model = model_of(CONFIG)
    model.final_norm.weight.data[0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        Together(model).add([[1]], [0], 3)
