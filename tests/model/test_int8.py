"""Weights in 8 bits: by hand, within half a step of what they stand for, and in the same model by both paths."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from minigpt.config import GPTConfig, InputError
from minigpt.generation.decoding import Decoding
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT
from minigpt.model.int8 import Int8Linear, int8_product, layer_errors, quantize_rows, to_int8, weight_bytes, widened
from minigpt.model.lora import with_adapters

LLAMA = GPTConfig(
    vocab_size=50, context_length=40, n_layers=2, n_heads=4, n_kv_heads=2, d_model=64, d_ff=96, bias=False,
    positions="rope", norm="rmsnorm", feed_forward="swiglu",
)  # fmt: skip
GPT2 = GPTConfig(vocab_size=50, context_length=40, n_layers=2, n_heads=4, d_model=64, tie_embeddings=False)


def random_model(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    model = GPT(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.02, 0.15)
    return model


def test_two_rows_by_hand() -> None:
    numbers, scale = quantize_rows(torch.tensor([[254.0, -1.0, 100.0], [0.0, 0.0, 0.0]]))
    assert scale.tolist() == [2.0, 0.0]
    assert numbers.tolist() == [[127, 0, 50], [0, 0, 0]], "-1 / 2 = -0.5 becomes the even neighbour"


def test_no_number_strays_by_more_than_half_a_step() -> None:
    weight = torch.randn(200, 64, generator=torch.Generator().manual_seed(1)) * torch.logspace(-9, 4, 200)[:, None]
    numbers, scale = quantize_rows(weight)
    assert numbers.dtype == torch.int8 and ((widened(numbers, scale) - weight).abs() <= 0.50001 * scale[:, None]).all()


@pytest.mark.parametrize("rows", [1, 8, 9, 30])
@pytest.mark.parametrize("width", [64, 50])
def test_a_product_is_that_of_the_widened_matrix(rows: int, width: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, weight = torch.randn(rows, width, generator=generator), torch.randn(5000, width, generator=generator)
    bias = torch.randn(5000, generator=generator)
    numbers, scale = quantize_rows(weight)
    expected = F.linear(x, widened(numbers, scale), bias)
    found = int8_product(x, numbers, scale, bias)
    # The kernel for few rows rounds x to bfloat16: 8 bits, so by 2^-9 at most, of every number that is added up.
    bound = (x.abs() @ widened(numbers, scale).abs().T) * 2**-7 + 0.05
    assert found.dtype == torch.float32 and ((found - expected).abs() <= bound).all()
    if rows > 8 or width == 50:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_a_model_in_8_bits_is_nearly_the_model(config: GPTConfig) -> None:
    model, small = random_model(config), to_int8(random_model(config))
    ids = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(2))
    rounded = random_model(config)
    with torch.no_grad():
        for name, parameter in rounded.named_parameters():
            if parameter.dim() > 1 and "position" not in name:
                parameter.copy_(widened(*quantize_rows(parameter)))
        torch.testing.assert_close(small(ids), rounded(ids), rtol=1e-3, atol=1e-3)
    errors = layer_errors(model, small, ids)
    assert len(errors) == 2 and all(0 < error < 0.05 for error in errors)
    assert layer_errors(model, model, ids) == [0, 0]
    assert weight_bytes(small) < 0.35 * weight_bytes(model)
    assert sum(isinstance(module, Int8Linear) for module in small.modules()) == 1 + config.n_layers * (
        5 if config is LLAMA else 4
    )


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
@pytest.mark.parametrize("n_new", [6, 33])
def test_cached_decoding_goes_by_the_same_weights(config: GPTConfig, n_new: int) -> None:
    small = to_int8(random_model(config))
    prompts = [[3, 1, 4], [1, 5]]
    rows = Decoding(small, prompts, 1, n_new)
    logits = rows.prefill()
    tokens = torch.tensor([[7], [9]])
    for _ in range(3):
        prompts = [prompt + [int(token)] for prompt, token in zip(prompts, tokens, strict=True)]
        logits = rows.step(tokens)
        for row, prompt in zip(logits, prompts, strict=True):
            with torch.no_grad():
                expected = small(torch.tensor([prompt * 1]))[0, -1]
            assert (row - expected).abs().max() < 0.03 * expected.abs().max()  # products of few rows round x
    assert len(generate(small, [1, 2], n_new, temperature=0)[0]) == n_new


def test_adapters_are_merged_first() -> None:
    with pytest.raises(InputError, match="merge them first"):
        to_int8(with_adapters(random_model(replace(LLAMA)), 2, 4))
