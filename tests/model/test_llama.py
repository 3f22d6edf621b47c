"""A modern config against transformers' Llama: logits, gradients, and generation token by token.

transformers computes the norms and the angles in float32 whatever the model is in, and we the angles. Where 1e-10 is
asked for, both are in float64: `in_float64` gives transformers' model the two formulas of the papers.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from minigpt.config import GPTConfig
from minigpt.generation.decoding import Decoding
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT, next_token_loss, parameter_count

LLAMA = GPTConfig(
    vocab_size=23, context_length=40, n_layers=2, n_heads=4, n_kv_heads=2, d_model=16, d_ff=21, bias=False,
    positions="rope", norm="rmsnorm", norm_epsilon=1e-3, feed_forward="swiglu",
)  # fmt: skip
SHAPES = [
    LLAMA,
    replace(LLAMA, n_kv_heads=0, tie_embeddings=False, d_ff=0),
    replace(LLAMA, n_kv_heads=1, rope_base=37.0, norm_epsilon=1e-6),
    replace(LLAMA, n_heads=6, n_kv_heads=3, d_model=24, n_layers=3, rope_base=100_000.0, tie_embeddings=False),
    replace(LLAMA, bias=True, n_heads=1, n_kv_heads=1),
]
MODULES = {
    "attention_norm": "input_layernorm",
    "attention.output": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
    "final_norm": "model.norm",
    "token_embedding": "model.embed_tokens",
    "output_head": "lm_head",
    "blocks": "model.layers",
}


def random_model(config: GPTConfig) -> GPT:
    """With larger weights than at the start of training, so that every part matters."""
    torch.manual_seed(1)
    model = GPT(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model


def in_their_layout(tensors: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our tensors under transformers' names: queries, keys and values by themselves, in the same order."""
    theirs = {}
    for name, tensor in tensors.items():
        for our_part, their_part in MODULES.items():
            name = name.replace(our_part + ".", their_part + ".")
        if ".attention.qkv." in name:
            widths = [n * config.head_size for n in (config.n_heads, config.kv_heads, config.kv_heads)]
            for part, values in zip("qkv", tensor.split(widths), strict=True):
                theirs[name.replace("attention.qkv", f"self_attn.{part}_proj")] = values
        else:
            theirs[name] = tensor
    return theirs


def transformers_copy(model: GPT) -> Any:
    """The same model in transformers, a LlamaForCausalLM."""
    config = model.config
    theirs: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.feed_forward_size,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.kv_heads,
            max_position_embeddings=config.context_length,
            rms_norm_eps=config.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
            attention_bias=config.bias,
            mlp_bias=config.bias,
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )
    theirs.load_state_dict(in_their_layout(model.state_dict(), config))
    return theirs.to(model.token_embedding.weight.dtype).eval()


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both models in float64 throughout."""

    def norm(self: Any, x: Tensor) -> Tensor:  # Zhang and Sennrich 2019, equation 4
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()

    def angles(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:  # Su et al. 2021, section 3.2.2
        base, d = self.config.rope_parameters["rope_theta"], self.config.head_dim
        speeds = torch.tensor([base ** (-2 * i / d) for i in range(d // 2)])
        turned = (position_ids[..., None] * speeds).repeat(1, 1, 2)
        return turned.cos(), turned.sin()

    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", angles)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("config", SHAPES, ids=str)
@pytest.mark.usefixtures("in_float64")
def test_logits_and_gradients_equal_transformers(config: GPTConfig):
    ours = random_model(config)
    theirs = transformers_copy(ours)
    ids, targets = torch.randint(config.vocab_size, (2, 3, config.context_length))
    expected, logits = theirs(ids).logits, ours(ids)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    torch.nn.functional.cross_entropy(expected.flatten(0, 1), targets.flatten()).backward()
    next_token_loss(logits, targets).backward()
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    in_theirs = in_their_layout(gradients, config)
    their_parameters = dict(theirs.named_parameters())
    assert in_theirs.keys() == their_parameters.keys()
    for name, gradient in in_theirs.items():
        torch.testing.assert_close(gradient, their_parameters[name].grad, rtol=1e-10, atol=1e-10, msg=name)
    assert parameter_count(config) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_in_float32_it_is_transformers_as_it_is(config: GPTConfig):
    ours, ids = random_model(config), torch.randint(config.vocab_size, (3, config.context_length))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), transformers_copy(ours)(ids).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("config", SHAPES, ids=str)
@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.usefixtures("in_float64")
def test_cached_generation_equals_transformers_token_by_token(config: GPTConfig, n_rows: int):
    ours = random_model(config).eval()
    prompts, n_new = torch.randint(config.vocab_size, (n_rows, 6)), 30
    theirs = transformers_copy(ours).generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=n_new, do_sample=False, use_cache=True,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    tokens = theirs.sequences[:, 6:]
    with torch.inference_mode():
        rows = Decoding(ours, prompts.tolist(), 1, n_new)
        logits = rows.prefill()
        for step in range(n_new):
            torch.testing.assert_close(logits.float(), theirs.logits[step])  # which it hands out in float32
            logits = rows.step(tokens[:, step : step + 1])
    for prompt, expected in zip(prompts.tolist(), tokens.tolist(), strict=True):
        assert generate(ours, prompt, n_new, temperature=0) == [expected]
    assert len(set(tokens.flatten().tolist())) > 1, "a model that says one thing would show little"
