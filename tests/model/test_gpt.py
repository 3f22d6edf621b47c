"""GPT against transformers' GPT-2, its arithmetic against counting; with a cache as without one; no leaks."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from minigpt.config import IGNORE, PRESETS, Activation, GPTConfig, InputError, Norm
from minigpt.model.gpt import GPT, empty_model, flops_per_token, next_token_loss, parameter_count
from minigpt.model.kv_cache import KVCache

SMALL = GPTConfig(vocab_size=23, context_length=11, n_layers=2, n_heads=3, d_model=12)
SHAPES = [
    SMALL,
    replace(SMALL, n_layers=3, n_heads=1, d_ff=17),
    replace(SMALL, n_layers=1, n_heads=12, tie_embeddings=False),
    replace(SMALL, bias=False, context_length=5),
    GPTConfig(vocab_size=7, context_length=16, n_layers=4, n_heads=2, d_model=8, dropout=0.3),
]
ROTATED = [
    replace(SMALL, positions="rope", context_length=30),
    replace(SMALL, positions="rope", n_heads=1, n_layers=3, tie_embeddings=False, d_ff=17),
]
MODERN = [
    replace(
        SMALL, positions="rope", rope_base=500.0, n_heads=6, n_kv_heads=2, d_model=24, bias=False,
        norm="rmsnorm", norm_epsilon=1e-3, feed_forward="swiglu",
    ),
    replace(SMALL, n_kv_heads=1, norm="rmsnorm", feed_forward="swiglu", d_ff=17, tie_embeddings=False),
]  # fmt: skip
THEIR_NAMES = {
    "token_embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "blocks": "transformer.h",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
    "final_norm": "transformer.ln_f",
    "output_head": "lm_head",
}
NEOX_NAMES = {
    "token_embedding": "gpt_neox.embed_in",
    "blocks": "gpt_neox.layers",
    "attention_norm": "input_layernorm",
    "attention.qkv": "attention.query_key_value",
    "attention.output": "attention.dense",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.up": "mlp.dense_h_to_4h",
    "feed_forward.down": "mlp.dense_4h_to_h",
    "final_norm": "gpt_neox.final_layer_norm",
    "output_head": "lm_head",
}


def random_model(config: GPTConfig) -> GPT:
    """With larger weights than at the start of training, so that every part matters; in float64."""
    torch.manual_seed(1)
    model = GPT(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model


def renamed(name: str, names: dict[str, str]) -> str:
    """The name of a tensor with our parts of it replaced by theirs."""
    for ours, theirs in names.items():
        name = name.replace(ours + ".", theirs + ".")
    return name


def in_their_layout(name: str, ours: torch.Tensor) -> tuple[str, torch.Tensor]:
    """Name and tensor as transformers has them. Its Conv1D holds a Linear's weight transposed."""
    linear_in_block = name.startswith("blocks") and name.endswith("weight") and "norm" not in name
    return renamed(name, THEIR_NAMES), ours.T if linear_in_block else ours


def transformers_copy(model: GPT) -> GPT2LMHeadModel:
    """The same model in transformers, float64. Where we have no bias, it has zeros."""
    config = model.config
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            n_inner=config.feed_forward_size,
            resid_pdrop=config.dropout,
            embd_pdrop=config.dropout,
            attn_pdrop=config.dropout,
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).double()
    theirs.set_attn_implementation("eager")
    their_parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, ours in model.named_parameters():
            their_name, values = in_their_layout(name, ours)
            their_parameters.pop(their_name).copy_(values)
        for name, left_over in their_parameters.items():
            assert name.endswith("bias") and not config.bias
            left_over.zero_()
    return theirs


def neox_copy(model: GPT) -> GPTNeoXForCausalLM:
    """The same model as a GPT-NeoX without its parallel blocks, which is a GPT-2 with rotated positions; in float64."""
    config = model.config
    theirs = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            intermediate_size=config.feed_forward_size,
            hidden_act="gelu_new",
            max_position_embeddings=config.context_length,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
            use_parallel_residual=False,
            tie_word_embeddings=config.tie_embeddings,
        )
    ).double()
    theirs.set_attn_implementation("eager")
    state = {}
    for name, ours in model.state_dict().items():
        if ".qkv." in name:  # theirs: of each head its query, key and value
            ours = ours.unflatten(0, (3, config.n_heads, config.head_size)).transpose(0, 1).flatten(0, 2)
        state[renamed(name, NEOX_NAMES)] = ours
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("config", ROTATED, ids=str)
def test_with_rotated_positions_logits_and_gradients_equal_transformers(config: GPTConfig):
    """transformers computes the angles in float32, as we do, and not in the same order."""
    ours = random_model(config)
    theirs = neox_copy(ours)
    ids = torch.randint(config.vocab_size, (3, config.context_length))
    logits, expected = ours(ids), theirs(ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    logits.square().sum().backward()
    expected.square().sum().backward()
    theirs_grad = theirs.gpt_neox.embed_in.weight.grad
    torch.testing.assert_close(ours.token_embedding.weight.grad, theirs_grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("config", SHAPES, ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_logits_and_gradients_equal_transformers(config: GPTConfig, training: bool):
    """Within 1e-10 in float64. In training mode too: dropout sits at the same places and draws in the same order."""
    ours = random_model(config).train(training)
    theirs = transformers_copy(ours).train(training)
    ids = torch.randint(config.vocab_size, (3, config.context_length))
    targets = torch.randint(config.vocab_size, ids.shape)
    torch.manual_seed(2)
    expected = theirs(ids).logits
    torch.manual_seed(2)
    logits = ours(ids)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    if training and config.dropout:
        assert not torch.allclose(logits, ours(ids))  # dropout does something
    torch.nn.functional.cross_entropy(expected.flatten(0, 1), targets.flatten()).backward()
    next_token_loss(logits, targets).backward()
    their_parameters = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        their_name, gradient = in_their_layout(name, parameter.grad)
        torch.testing.assert_close(gradient, their_parameters[their_name].grad, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("config", [SMALL, MODERN[0]], ids=str)
def test_no_token_sees_the_future(config: GPTConfig):
    model = random_model(config)
    ids = torch.randint(SMALL.vocab_size, (1, 11))
    before = model(ids)
    for t in range(11):
        changed = ids.clone()
        changed[0, t] = (ids[0, t] + 1) % SMALL.vocab_size
        after = model(changed)
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.isclose(after[0, t:], before[0, t:]).all(dim=-1).any()  # and every later place notices


@pytest.mark.parametrize("config", [*SHAPES, *MODERN], ids=str)
def test_the_empty_model_has_the_shapes_and_no_numbers(config: GPTConfig):
    empty, full = empty_model(config).state_dict(), GPT(config).state_dict()
    assert {name: tensor.shape for name, tensor in empty.items()} == {n: tensor.shape for n, tensor in full.items()}
    assert all(tensor.is_meta for tensor in empty.values())
    assert full["token_embedding.weight"].std() > 0, "other models still get their numbers"


def test_loading_a_model_does_not_wait_for_torch_s_compiler():
    program = "import sys, minigpt; minigpt.load_model(); print('torch._dynamo' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "False", "that would take longer than all the rest"


@pytest.mark.parametrize("config", [SMALL, MODERN[0]], ids=str)
@given(chunks=st.lists(st.integers(1, 6), min_size=1, max_size=6).filter(lambda chunks: sum(chunks) <= 11))
def test_chunks_through_the_cache_equal_the_whole(config: GPTConfig, chunks: list[int]):
    model, ids = random_model(config), torch.randint(config.vocab_size, (2, sum(chunks)))
    cache, position, logits = KVCache(config, 2, dtype=torch.float64), 0, []
    with torch.no_grad():
        for n in chunks:
            logits.append(model(ids[:, position : position + n], cache, position))
            position += n
        torch.testing.assert_close(torch.cat(logits, dim=1), model(ids), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("modern", [False, True])
def test_initialisation(modern: bool):
    """GPT-2's: 0.02 everywhere, but 0.02 / sqrt(2 * 8) = 0.005 where a block adds to the residual stream."""
    config = GPTConfig(vocab_size=512, context_length=256, n_layers=8, n_heads=4, d_model=128, tie_embeddings=False)
    if modern:
        config = replace(config, positions="rope", n_kv_heads=2, norm="rmsnorm", feed_forward="swiglu")
    torch.manual_seed(1)
    for name, parameter in GPT(config).named_parameters():
        if "norm" in name:
            assert (parameter == float(name.endswith("weight"))).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        else:
            std = 0.005 if name.endswith(("attention.output.weight", "feed_forward.down.weight")) else 0.02
            error = std / math.sqrt(parameter.numel())  # standard error of the mean; sqrt(2) smaller for the std
            assert parameter.mean().item() == pytest.approx(0, abs=4 * error), name
            assert parameter.std().item() == pytest.approx(std, abs=4 * error / math.sqrt(2)), name


def test_the_seed_decides_the_weights():
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in GPT(SMALL).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("vocab_size", [65, 1024])
def test_the_first_loss_is_that_of_a_uniform_guess(vocab_size: int):
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=vocab_size, context_length=64, n_layers=4, n_heads=4, d_model=64))
    ids = torch.randint(vocab_size, (32, 65))
    with torch.no_grad():
        loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:]).item()
    # Logits have a standard deviation of about 0.02 sqrt(64) = 0.16, which adds about 0.16^2 / 2 = 0.013.
    assert math.log(vocab_size) < loss < math.log(vocab_size) + 0.03


def test_tied_embeddings_are_one_tensor():
    tied, untied = GPT(SMALL), GPT(replace(SMALL, tie_embeddings=False))
    assert tied.output_head.weight is tied.token_embedding.weight
    assert not torch.equal(untied.output_head.weight, untied.token_embedding.weight)


def test_loss_by_hand():
    # Probabilities 1/2, 1/4, 1/4 and 1/10, 8/10, 1/10.
    logits = torch.tensor([[[2.0, 1, 1], [1, 8, 1], [5, 5, 5]]]).log()
    loss = next_token_loss(logits, torch.tensor([[0, 1, IGNORE]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(10 / 8)) / 2)
    loss = next_token_loss(logits, torch.tensor([[1, IGNORE, IGNORE]]))
    assert loss.item() == pytest.approx(math.log(4))
    assert next_token_loss(logits, torch.tensor([[0, 1, 2]]), n_targets=8).item() == pytest.approx(
        (math.log(2) + math.log(10 / 8) + math.log(3)) / 8
    )
    assert next_token_loss(logits, torch.full((1, 3), IGNORE)).item() == 0


def test_losses_and_gradients_of_parts_add_up():
    """However unevenly the targets are spread, as in a padded batch."""
    model, ids = random_model(SMALL), torch.randint(SMALL.vocab_size, (4, 11))
    targets = torch.randint(SMALL.vocab_size, (4, 11))
    targets[0, 2:] = IGNORE
    targets[3] = IGNORE
    whole = next_token_loss(model(ids), targets)
    whole.backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    n_targets = (targets != IGNORE).sum()
    parts = [next_token_loss(model(ids[i : i + 1]), targets[i : i + 1], n_targets) for i in range(4)]
    sum(parts).backward()  # type: ignore[union-attr]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


def test_loss_of_bfloat16_logits_is_computed_in_float32():
    logits, targets = torch.randn(2, 300, 50).bfloat16(), torch.randint(50, (2, 300))
    loss = next_token_loss(logits, targets)
    assert loss.dtype == torch.float32
    exact = torch.nn.functional.cross_entropy(logits.double().flatten(0, 1), targets.flatten())
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_parameter_count_of_gpt2():
    assert parameter_count(PRESETS["gpt2"].model) == parameter_count(GPTConfig()) == 124_439_808
    assert parameter_count(GPTConfig(tie_embeddings=False)) == 163_037_184


@given(
    config=st.builds(
        lambda n_heads, head_size, **rest: GPTConfig(n_heads=n_heads, d_model=n_heads * head_size, **rest),
        n_heads=st.integers(1, 4),
        head_size=st.integers(1, 9),
        vocab_size=st.integers(1, 99),
        context_length=st.integers(1, 99),
        n_layers=st.integers(1, 4),
        d_ff=st.integers(0, 50),
        bias=st.booleans(),
        tie_embeddings=st.booleans(),
        n_kv_heads=st.integers(0, 1),
        norm=st.sampled_from(get_args(Norm)),
        feed_forward=st.sampled_from(get_args(Activation)),
    )
    | st.sampled_from([*ROTATED, *MODERN])
)
@settings(max_examples=50)
def test_parameter_count_equals_counting(config: GPTConfig):
    with torch.device("meta"):
        model = GPT(config)
    assert parameter_count(config) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("config", [*SHAPES, *ROTATED, *MODERN], ids=str)
@pytest.mark.parametrize("n_tokens", [1, 5])
def test_flops_equal_what_torch_counts(config: GPTConfig, n_tokens: int):
    """Forward and backward, with attention as plain matrix products: fused kernels recompute, and count as they do."""
    model, ids = GPT(replace(config, dropout=0.0)), torch.randint(config.vocab_size, (3, n_tokens))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        next_token_loss(model(ids), ids).backward()
    assert counter.get_total_flops() == 3 * n_tokens * flops_per_token(config, n_tokens)


@pytest.mark.parametrize(("n_tokens", "position"), [(12, 0), (1, 11), (6, 6), (1, -1)])
def test_text_longer_than_the_context(n_tokens: int, position: int):
    with pytest.raises(InputError, match=f"{n_tokens} tokens from position {position} .* 11 tokens.*last 11 tokens"):
        GPT(SMALL)(torch.zeros(1, n_tokens, dtype=torch.long), position=position)


@pytest.mark.parametrize("bad", [-1, 23, 50256])
def test_unknown_token_ids(bad: int):
    ids = torch.zeros(2, 4, dtype=torch.long)
    ids[1, 2] = bad
    with pytest.raises(InputError, match=f"token id {bad} .* 23 tokens .0 to 22.*tokenizer"):
        GPT(SMALL)(ids)


@pytest.mark.parametrize("config", [SMALL, MODERN[0]], ids=str)
@pytest.mark.filterwarnings("error")
def test_bfloat16_autocast_stays_close(config: GPTConfig):
    model, ids = random_model(config).float(), torch.randint(config.vocab_size, (2, 11))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(ids)
    assert logits.dtype == torch.bfloat16
    exact = model.double()(ids)
    assert (logits - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("config", [SMALL, ROTATED[0], MODERN[0]], ids=str)
def test_torch_can_compile_it_in_one_piece(config: GPTConfig):
    model, ids = random_model(config), torch.randint(SMALL.vocab_size, (2, 11))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ids), model(ids))
