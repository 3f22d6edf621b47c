"""Activations by name: those of transformers, one pass, and replaced as if the weights had been changed by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from minigpt.config import GPTConfig, InputError
from minigpt.course.inside.activations import activation_names, activations, replaced
from minigpt.course.inside.looking import look_inside
from minigpt.course.inside.patching import ablation, put
from minigpt.model.gpt import GPT
from tests.model.test_gpt import transformers_copy
from tests.model.test_llama import transformers_copy as llama_copy

GPT2 = GPTConfig(vocab_size=23, context_length=9, n_layers=3, n_heads=2, d_model=8, dropout=0.3)
LLAMA = replace(
    GPT2, n_heads=4, n_kv_heads=2, positions="rope", rope_base=50.0, bias=False, dropout=0.0, norm="rmsnorm",
    feed_forward="swiglu",
)  # fmt: skip
IDS = torch.tensor([[3, 22, 3, 0, 7], [1, 2, 20, 4, 4]])


def model_with(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    model = GPT(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.1, std=0.5)
    return model.eval()


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_cache_is_what_transformers_computes(config: GPTConfig):
    model = model_with(config)
    theirs = transformers_copy(model) if config is GPT2 else llama_copy(model)
    theirs.eval().set_attn_implementation("eager")
    with torch.no_grad():
        out = theirs(IDS, output_attentions=True, output_hidden_states=True)
    found = activations(model, IDS)
    assert list(found) == activation_names(config)
    close: dict[str, Any] = {"rtol": 0, "atol": 1e-5} if config is LLAMA else {}
    torch.testing.assert_close(found["logits"], out.logits, **close)
    states = [found["embeddings"], found["1.stream"], found["2.stream"], found["final"]]
    for ours, their in zip(states, out.hidden_states, strict=True):
        torch.testing.assert_close(ours, their, **close)
    for layer in range(3):
        torch.testing.assert_close(found[f"{layer + 1}.weights"], out.attentions[layer], **close)


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_parts_add_up_and_one_pass_is_enough(config: GPTConfig, monkeypatch: pytest.MonkeyPatch):
    model = model_with(config).train()
    calls: list[int] = []
    forward = GPT.forward

    def counted(self: GPT, ids: Tensor) -> Tensor:
        calls.append(len(ids))
        return forward(self, ids)

    monkeypatch.setattr(GPT, "forward", counted)
    found = activations(model, IDS)
    assert calls == [2] and model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    before = found["embeddings"]
    for layer, block in enumerate(model.blocks, start=1):
        part: Any = block
        torch.testing.assert_close(before + found[f"{layer}.attention"], found[f"{layer}.middle"])
        torch.testing.assert_close(found[f"{layer}.middle"] + found[f"{layer}.feed_forward"], found[f"{layer}.stream"])
        values = found[f"{layer}.values"].repeat_interleave(config.n_heads // config.kv_heads, dim=2)
        blend = torch.einsum("bhqk,bkhd->bqhd", found[f"{layer}.weights"], values)
        torch.testing.assert_close(blend, found[f"{layer}.heads"])
        torch.testing.assert_close(part.feed_forward.down(found[f"{layer}.units"]), found[f"{layer}.feed_forward"])
        before = found[f"{layer}.stream"]
    one = look_inside(model.eval(), IDS[1].tolist())
    torch.testing.assert_close(activations(model, IDS[1])["3.weights"][0], one.weights[2])
    torch.testing.assert_close(activations(model, IDS[1])["2.stream"][0], one.stream[4])


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("name", ["embeddings", "2.keys", "1.heads", "2.attention", "2.units", "2.stream", "final"])
def test_what_another_text_had_at_every_place_of_a_layer_gives_its_answer(config: GPTConfig, name: str):
    """Of the stream and what it is made of; of one part, the numbers of that part are the other's, and no others."""
    model = model_with(config)
    mine, other = activations(model, IDS[:1]), activations(model, IDS[1:])
    swapped = activations(model, IDS[:1], {name: put(other[name])})
    torch.testing.assert_close(swapped[name], other[name])
    if name in ("embeddings", "2.stream", "final"):
        torch.testing.assert_close(swapped["logits"], other["logits"])
    else:
        assert not torch.allclose(swapped["logits"], mine["logits"])
        assert not torch.allclose(swapped["logits"], other["logits"])
    again = activations(model, IDS[:1], {n: put(mine[n]) for n in mine if not n.endswith(("weights", "middle"))})
    torch.testing.assert_close(again["logits"], mine["logits"])


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_silencing_is_what_changed_weights_do(config: GPTConfig):
    model, cut = model_with(config), model_with(config)
    part: Any = cut.blocks[1]
    width = config.head_size
    reference = activations(model, torch.tensor([[5, 6, 7], [8, 9, 10]]))
    mean = reference["2.heads"][:, 1:, 1].mean((0, 1))
    taken = part.attention.output.weight[:, width : 2 * width].clone()
    with torch.no_grad():
        part.attention.output.weight[:, width : 2 * width] = 0
    edits = {"2.heads": ablation("2.heads", "zero", head=1)}
    torch.testing.assert_close(activations(model, IDS, edits)["logits"], activations(cut, IDS)["logits"])
    # Its mean in its place is a bias of the projection.
    edits = {"2.heads": ablation("2.heads", "mean", reference, head=1)}
    with torch.no_grad():
        bias = part.attention.output.bias
        part.attention.output.bias = torch.nn.Parameter((0 if bias is None else bias) + taken @ mean)
    torch.testing.assert_close(activations(model, IDS, edits)["logits"], activations(cut, IDS)["logits"])
    cut = model_with(config)
    part = cut.blocks[0]
    with torch.no_grad():
        part.feed_forward.down.weight[:, 3] = 0

    def without_unit_3(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., 3] = 0
        return x

    torch.testing.assert_close(
        activations(model, IDS, {"1.units": without_unit_3})["logits"], activations(cut, IDS)["logits"]
    )


def test_gradients_flow_through_an_edit_and_nothing_stays():
    model = model_with(GPT2).train()
    push = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    with replaced(model, {"1.stream": lambda x: x + push}):
        assert not model.training
        model(IDS)[0, -1, 3].backward()
    assert push.grad is not None and push.grad.abs().max() > 0 and model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_name_that_does_not_exist_gets_the_nearest():
    model = model_with(GPT2)
    for name, words in (
        ("1.head", "there is no activation '1.head'; did you mean '1.heads'"),
        ("0.stream", "layers count from 1"),
        ("2.weights", "'2.weights' can only be read.*Replace heads, queries or keys"),
        ("2.middle", "'2.middle' can only be read.*Replace attention or stream"),
    ):
        with pytest.raises(InputError, match=words):
            activations(model, IDS, {name: lambda x: x})
    with pytest.raises(InputError, match=r"the edit of '1.stream' made \(2, 1, 8\) of \(2, 5, 8\)"):
        activations(model, IDS, {"1.stream": lambda x: x[:, :1]})
    with pytest.raises(InputError, match="no token"):
        activations(model, IDS[:, :0])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
