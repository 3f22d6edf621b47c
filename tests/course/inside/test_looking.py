"""What the hooks read is what transformers computes with the same weights, and the model is left as it was."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from minigpt.config import GPTConfig, InputError
from minigpt.course.inside.looking import logit_lens, look_inside, part_names, visible
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer
from tests.model.test_gpt import neox_copy, transformers_copy
from tests.model.test_llama import transformers_copy as llama_copy

CONFIG = GPTConfig(vocab_size=23, context_length=9, n_layers=3, n_heads=2, d_model=8, dropout=0.3)
IDS = [3, 22, 3, 0, 7]


def model_with(config: GPTConfig = CONFIG) -> GPT:
    torch.manual_seed(0)
    model = GPT(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.1, std=0.5)
    return model.eval()


def test_weights_and_residual_stream_are_those_of_transformers():
    model = model_with()
    theirs = transformers_copy(model).eval()
    between: list[Tensor] = []
    for block in theirs.transformer.h:  # the stream between attention and feed-forward, which it does not hand out
        block.ln_2.register_forward_pre_hook(lambda _, given: between.append(given[0][0]))
    with torch.no_grad():
        out = theirs(torch.tensor([IDS]), output_attentions=True, output_hidden_states=True)
    inside = look_inside(model, IDS)
    assert inside.ids == IDS
    torch.testing.assert_close(inside.weights, torch.stack(out.attentions)[:, 0])
    assert inside.weights.shape == (3, 2, 5, 5)
    torch.testing.assert_close(inside.stream[:-1:2], torch.stack(out.hidden_states[:-1])[:, 0])
    torch.testing.assert_close(inside.stream[1::2], torch.stack(between))
    torch.testing.assert_close(theirs.transformer.ln_f(inside.stream[-1]), out.hidden_states[-1][0])
    torch.testing.assert_close(inside.logits, out.logits[0])


@pytest.mark.parametrize("training", [True, False])
def test_weights_of_rotated_positions_are_those_of_transformers(training: bool):
    model = model_with(replace(CONFIG, positions="rope", dropout=0.0)).train(training)
    with torch.no_grad():
        out = neox_copy(model).eval()(torch.tensor([IDS]), output_attentions=True)
    torch.testing.assert_close(look_inside(model, IDS).weights, torch.stack(out.attentions)[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_weights_of_a_modern_model_are_those_of_transformers(n_kv_heads: int):
    modern = replace(
        CONFIG, n_heads=4, n_kv_heads=n_kv_heads, positions="rope", rope_base=50.0, bias=False, dropout=0.0
    )
    model = model_with(replace(modern, norm="rmsnorm", feed_forward="swiglu"))
    theirs = llama_copy(model)
    theirs.set_attn_implementation("eager")
    with torch.no_grad():
        out = theirs(torch.tensor([IDS]), output_attentions=True)
    torch.testing.assert_close(look_inside(model, IDS).weights, torch.stack(out.attentions)[:, 0], rtol=0, atol=1e-5)


def test_weights_are_exactly_zero_on_the_future_and_sum_to_one():
    weights = look_inside(model_with(), IDS).weights
    assert torch.equal(weights.triu(1), torch.zeros_like(weights))
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_one_token_looks_at_itself():
    assert look_inside(model_with(), [4]).weights.flatten().tolist() == [1.0] * 6


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool):
    model = model_with().train(training)
    first, second = look_inside(model, IDS), look_inside(model, IDS)
    assert torch.equal(first.logits, second.logits), "dropout was on"
    assert model.training is training and model.blocks[0].training is training
    hooks = [[*module._forward_hooks, *module._forward_pre_hooks] for module in model.modules()]
    assert not any(hooks)


def test_the_lens_on_the_last_state_is_the_models_answer():
    model = model_with()
    inside = look_inside(model, IDS)
    states = logit_lens(model, inside.stream)
    assert states.shape == (7, 5, 23)
    torch.testing.assert_close(states[-1], inside.logits)
    # By hand, on the state after the embeddings: LayerNorm, then a product with each row of the output head.
    x = model.token_embedding.weight[3] + model.position_embedding.weight[0]
    normed = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * model.final_norm.weight + model.final_norm.bias
    torch.testing.assert_close(states[0, 0], model.output_head.weight @ normed)


def test_parts_are_named_in_the_order_of_the_stream():
    names = ["embeddings", "attention 1", "feed-forward 1", "attention 2", "feed-forward 2"]
    assert part_names(2) == names
    assert len(part_names(3)) == len(look_inside(model_with(), IDS).stream)


def test_what_cannot_be_read_is_said_in_one_message_and_leaves_no_hook():
    model = model_with()
    for ids, words in (([], "empty"), ([23], "not in the vocabulary"), ([0] * 10, "do not fit")):
        with pytest.raises(InputError, match=words):
            look_inside(model, ids)
    with torch.no_grad():
        model.final_norm.weight.fill_(float("inf"))
    with pytest.raises(InputError, match="diverged"):
        look_inside(model, IDS)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_token_is_always_visible():
    bpe = BPETokenizer.train("a b\u00e9\n", 258)
    assert [visible(bpe, i) for i in (*b" a\n\t\x00\x7f\xe5",)] == ["␣", "a", "↵", r"\t", r"\x00", r"\x7f", r"\xe5"]
    assert visible(bpe, bpe.special_tokens["<|endoftext|>"]) == "<|endoftext|>"
    characters = CharTokenizer.train("\u00e9 \u200d\n你")
    assert [visible(characters, i) for i in range(5)] == ["↵", "␣", "é", r"\u200d", "你"]
