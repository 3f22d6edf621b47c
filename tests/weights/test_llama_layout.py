"""Names and shapes of the Llama layout; whole folders of it are tried in test_llama.py."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT
from minigpt.weights.llama_layout import from_llama, from_llama_config, llama_shapes, to_llama, to_llama_config

SMALL = GPTConfig(
    vocab_size=31, context_length=16, n_layers=2, n_heads=4, n_kv_heads=2, d_model=16, d_ff=24, bias=False,
    positions="rope", rope_base=500.0, norm="rmsnorm", feed_forward="swiglu", norm_epsilon=1e-6,
)  # fmt: skip
SHAPES = [SMALL, replace(SMALL, bias=True, tie_embeddings=False, n_kv_heads=0, d_ff=0)]


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_transformers_builds_the_same_model_from_our_config(config: GPTConfig) -> None:
    fields = to_llama_config(config, 1, 2)
    theirs = LlamaForCausalLM(LlamaConfig(**fields))
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    if config.tie_embeddings:
        del shapes["lm_head.weight"]
    assert llama_shapes(config) == shapes == {n: tuple(t.shape) for n, t in to_llama(GPT(config)).items()}
    back = from_llama_config(fields)
    assert back == replace(config, n_kv_heads=config.kv_heads, d_ff=config.feed_forward_size)
    assert from_llama_config(theirs.config.to_dict()) == back, "what transformers itself writes"


def test_tensors_go_out_and_come_back() -> None:
    for config in SHAPES:
        model = GPT(config)
        back = from_llama(dict(to_llama(model)), config)
        ours = {name: t for name, t in model.state_dict().items() if not (config.tie_embeddings and "head" in name)}
        assert back.keys() == ours.keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mistral"}, "model_type is 'mistral'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', and minigpt has only 'silu'"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "rope_parameters are"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_parameters are"),
        ({"hidden_size": None}, "hidden_size is None, which is not a whole number"),
        ({"num_hidden_layers": 10**6}, "n_layers is 1000000"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"rope_theta": "x"}, "rope_base is 'x', which is not a number"),
        ({"tie_word_embeddings": 3}, "tie_embeddings is 3"),
        ({"head_dim": 5}, "head_dim is 5, and minigpt's heads share hidden_size equally: 4 each"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        from_llama_config(to_llama_config(SMALL, 1, 2) | change)


def test_tensors_that_are_not_of_this_model_are_named() -> None:
    tensors = to_llama(GPT(SMALL))
    name = "model.layers.1.mlp.up_proj.weight"
    for change, said in [
        ({name: tensors[name][:3]}, f"{name} is (3, 16), not (24, 16)"),
        ({"x": tensors[name]}, "x is extra"),
        ({name: tensors[name].int()}, f"{name} is torch.int32, not float32"),
        ({"lm_head.weight": torch.zeros(31, 16)}, "lm_head.weight is not the token embedding"),
    ]:
        with pytest.raises(InputError, match=re.escape(said)):
            from_llama(tensors | change, SMALL)
    with pytest.raises(InputError, match=re.escape(f"{name} is missing: its shape should be (24, 16)")):
        from_llama({key: tensor for key, tensor in tensors.items() if key != name}, SMALL)


def test_a_gpt2_and_a_classifier_are_no_llama() -> None:
    with pytest.raises(InputError, match="positions is 'learned', and a Llama's is 'rope'; its norm"):
        to_llama_config(replace(SMALL, positions="learned", norm="layernorm"), None, None)
    with pytest.raises(InputError, match="output head has 3 labels"):
        to_llama_config(replace(SMALL, n_labels=3, tie_embeddings=False), None, None)
