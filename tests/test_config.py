"""Shapes and recipes: what is right loads, and everything that is wrong is said at once."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.config import (
    PRESETS,
    GPTConfig,
    InputError,
    TrainConfig,
    fit_vocabulary,
    model_config_from_json,
    nearest,
    preset,
    to_json,
)
from minigpt.model.gpt import parameter_count


def test_the_defaults_are_gpt2() -> None:
    assert PRESETS["gpt2"].model == GPTConfig()
    assert parameter_count(GPTConfig()) == 124_439_808


def test_the_feed_forward_width_is_four_times_d_model_unless_given() -> None:
    assert GPTConfig(d_model=96, n_heads=3).feed_forward_size == 384
    assert GPTConfig(d_model=96, n_heads=3, d_ff=100).feed_forward_size == 100
    assert GPTConfig(d_model=96, n_heads=3).head_size == 32


def test_every_problem_of_a_model_is_reported_at_once() -> None:
    with pytest.raises(InputError) as raised:
        GPTConfig(vocab_size=0, context_length=-1, n_layers=0, n_heads=5, d_model=128, dropout=1.0, d_ff=-1)
    message = str(raised.value)
    for part in (
        "vocab_size is 0; it must be at least 1",
        "context_length is -1",
        "n_layers is 0",
        "d_model 128 is not divisible by n_heads 5",
        "d_ff is -1; it must be at least 1, or 0 for 4 * d_model",
        "dropout is 1.0",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_layers": True}, "n_layers is True; it must be a whole number"),  # as JSON's true, which Python counts as 1
        ({"n_layers": 10**9}, "n_layers is 1000000000; it must be at most 1000"),
        ({"bias": 1}, "bias is 1; it must be true or false"),
        ({"tie_embeddings": "no"}, "tie_embeddings is 'no'; it must be true or false"),
        ({"pad_vocab": 0}, "pad_vocab is 0; it must be at least 1"),
        ({"n_kv_heads": 1.5}, "n_kv_heads is 1.5; it must be a whole number"),
    ],
)
def test_a_damaged_file_names_no_model(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GPTConfig(**fields)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("rope_base", 0.0, "it must be above 0"), ("rope_base", -1.0, "it must be above 0"),
        ("rope_base", math.nan, "it must be above 0"), ("rope_base", math.inf, "it must be above 0 and finite"),
        ("norm_epsilon", 0.0, "it must be above 0"), ("norm_epsilon", math.nan, "it must be above 0"),
        ("norm", "batchnorm", "choose from layernorm, rmsnorm"), ("feed_forward", "relu", "choose from gelu, swiglu"),
        ("n_kv_heads", -1, "it must be at least 1, or 0 for as many as n_heads"),
    ],
)  # fmt: skip
def test_a_value_that_no_model_can_have_is_named_with_its_limit(field: str, value: Any, limit: str) -> None:
    with pytest.raises(InputError, match=f"{field} is {value!r}; {limit}"):
        GPTConfig(**{field: value})


def test_a_vocabulary_is_padded_to_a_multiple_and_fits_a_smaller_tokenizer() -> None:
    assert GPTConfig(pad_vocab=64).padded_vocab_size == 50304, "as nanoGPT pads GPT-2's"
    assert GPTConfig(vocab_size=64, pad_vocab=64).padded_vocab_size == 64 and GPTConfig().padded_vocab_size == 50257
    fitted = fit_vocabulary(GPTConfig(vocab_size=2112), 1861)
    assert (fitted.vocab_size, fitted.padded_vocab_size) == (1861, 2112)
    assert fit_vocabulary(fitted, 1861) == fitted and fit_vocabulary(GPTConfig(), 50257) == GPTConfig()
    with pytest.raises(InputError, match="the tokenizer has 2113 tokens, but the model's vocab_size is 2112"):
        fit_vocabulary(fitted, 2113)


def test_positions_are_learned_or_rotated() -> None:
    with pytest.raises(InputError, match="positions is 'sinusoidal'; choose from learned, rope"):
        GPTConfig(positions="sinusoidal")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"a head has 5 numbers .* choose d_model as a multiple of 4,"):
        GPTConfig(n_heads=2, d_model=10, positions="rope")
    assert GPTConfig(n_heads=2, d_model=10).positions == "learned"


def test_the_defaults_of_the_modern_fields_are_gpt2_s() -> None:
    before: dict[str, Any] = {
        "vocab_size": 50257,
        "context_length": 1024,
        "n_layers": 12,
        "n_heads": 12,
        "d_model": 768,
        "d_ff": 0,
    }
    before |= {"dropout": 0.0, "bias": True, "tie_embeddings": True, "positions": "learned", "pad_vocab": 1}
    old = model_config_from_json(before)  # as it was saved when there were no others
    assert old == GPTConfig() and (old.norm, old.norm_epsilon, old.feed_forward) == ("layernorm", 1e-5, "gelu")
    assert (old.kv_heads, old.rope_base) == (12, 10_000)


def test_modern_fields_fill_in_what_follows_from_them() -> None:
    modern = GPTConfig(n_heads=9, n_kv_heads=3, d_model=576, feed_forward="swiglu")
    assert (modern.kv_heads, modern.head_size, modern.feed_forward_size) == (3, 64, 1536)  # SmolLM2-135M's
    assert GPTConfig(feed_forward="swiglu", d_ff=100).feed_forward_size == 100


@given(st.integers(1, 40), st.integers(1, 50))
def test_heads_of_keys_and_values_that_do_not_divide_come_with_those_that_do(n_heads: int, n_kv_heads: int) -> None:
    if n_heads % n_kv_heads == 0:
        assert GPTConfig(n_heads=n_heads, d_model=n_heads, n_kv_heads=n_kv_heads).kv_heads == n_kv_heads
        return
    with pytest.raises(InputError, match=f"n_heads {n_heads} is not divisible by n_kv_heads {n_kv_heads}: ") as raised:
        GPTConfig(n_heads=n_heads, d_model=n_heads, n_kv_heads=n_kv_heads)
    fitting = str(raised.value).partition("n_kv_heads from [")[2].partition("]")[0]
    assert [int(h) for h in fitting.split(", ")] == [h for h in range(1, n_heads + 1) if n_heads % h == 0]


@given(st.integers(1, 600), st.integers(1, 40))
def test_heads_that_do_not_divide_come_with_heads_that_do(d_model: int, n_heads: int) -> None:
    if d_model % n_heads == 0:
        assert GPTConfig(d_model=d_model, n_heads=n_heads).head_size * n_heads == d_model
        return
    with pytest.raises(InputError, match=f"d_model {d_model} is not divisible by n_heads {n_heads}") as raised:
        GPTConfig(d_model=d_model, n_heads=n_heads)
    fitting = str(raised.value).partition("n_heads from [")[2].partition("]")[0]
    assert all(d_model % int(h) == 0 for h in fitting.split(", ") if h)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_steps", 0), ("batch_size", 0), ("accumulate", 0), ("warmup_steps", -1), ("log_every", 0),
        ("eval_every", -1), ("save_every", -1), ("seed", -1), ("seed", 2**63), ("threads", -1), ("threads", 100_000),
        ("learning_rate", 0.0), ("learning_rate", math.nan), ("muon_learning_rate", -1.0), ("beta1", 1.0),
        ("beta2", -0.1), ("beta2", math.nan), ("min_learning_rate", 1.5), ("weight_decay", -0.1),
        ("weight_decay", math.nan), ("grad_clip", -1.0), ("grad_clip", math.nan), ("optimizer", "sgd"),
        ("precision", "float8"), ("max_minutes", -1.0), ("max_minutes", math.nan),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_its_limit(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field} is {value!r}; "):
        TrainConfig(**{field: value})


def test_every_problem_of_a_recipe_is_reported_at_once() -> None:
    with pytest.raises(InputError) as raised:
        TrainConfig(max_steps=0, batch_size=10, accumulate=4, learning_rate=-1, beta1=2, grad_clip=-1)
    message = str(raised.value)
    assert message.count("\n  - ") == 5
    assert (
        "batch_size 10 cannot be cut into 4 equal parts (accumulate): choose a batch_size that is a multiple" in message
    )


def test_the_limits_themselves_are_allowed() -> None:
    TrainConfig(max_steps=1, batch_size=1, warmup_steps=0, weight_decay=0, grad_clip=0, beta1=0, min_learning_rate=1)
    GPTConfig(vocab_size=1, context_length=1, n_layers=1, n_heads=1, d_model=1)


@pytest.mark.parametrize(("typo", "meant"), [("storytelr", "storyteller"), ("tinny", "tiny"), ("gpt-2", "gpt2")])
def test_an_unknown_preset_comes_with_the_nearest_name(typo: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"no preset '{typo}'; did you mean '{meant}'"):
        preset(typo)
    assert preset(meant) is PRESETS[meant]


def test_a_name_near_nothing_comes_with_all_names() -> None:
    assert nearest("xyz", ["tiny", "gpt2"]) == "choose from tiny, gpt2"


@pytest.mark.parametrize(
    ("name", "parameters", "gigabytes"),  # as published for these shapes, and 16 bytes for each
    [("gpt2-medium", 354_823_168, 5.7), ("gpt2-large", 774_030_080, 12.4), ("gpt2-xl", 1_557_611_200, 24.9)],
)
def test_the_larger_gpt2s_are_in_shards_and_their_batch_goes_round(
    name: str, parameters: int, gigabytes: float
) -> None:
    chosen = PRESETS[name]
    assert parameter_count(chosen.model) == parameters and round(16 * parameters / 1e9, 1) == gigabytes
    assert chosen.train.shard and chosen.train.batch_size % (8 * chosen.train.accumulate) == 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_survives_json(name: str) -> None:
    config = PRESETS[name].model
    assert model_config_from_json(to_json(config)) == config
    assert model_config_from_json(to_json(config), vocab_size=77) == dataclasses.replace(config, vocab_size=77)
    assert TrainConfig(**to_json(PRESETS[name].train)) == PRESETS[name].train


def test_an_unknown_field_of_a_saved_model_is_named() -> None:
    with pytest.raises(InputError, match="unknown field 'n_layer' in a model config; did you mean 'n_layers'"):
        model_config_from_json({"n_layer": 2})
