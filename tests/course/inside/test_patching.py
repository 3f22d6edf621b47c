"""Patching and attribution: equal to whole passes with hooks, and shares that add up to the logit."""

import pytest
import torch
from torch import Tensor

from minigpt.config import GPTConfig, InputError
from minigpt.course.inside.activations import activations
from minigpt.course.inside.attribution import logit_attribution
from minigpt.course.inside.patching import ablation, effect, patch_heads, patch_stream, put
from tests.course.inside.test_activations import GPT2, IDS, LLAMA, model_with

OTHER = torch.tensor([[9, 8, 3, 11, 0], [2, 2, 2, 19, 7]])


def lead(logits: Tensor) -> Tensor:
    return logits[:, -1, 5] - logits[:, -1, 6]


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_tables_are_those_of_whole_passes_with_hooks(config: GPTConfig):
    model = model_with(config)
    cache, source = activations(model, IDS), activations(model.train(), OTHER)
    heads, stream = patch_heads(model, cache, source, lead), patch_stream(model, IDS, source, lead)
    torch.testing.assert_close(patch_heads(model, cache, source, lead, reads_from=4), heads)  # `lead` reads the last
    torch.testing.assert_close(patch_stream(model, IDS, source, lead, reads_from=4), stream)
    assert heads.shape == (3, config.n_heads) and stream.shape == (4, 5)
    for layer in range(3):
        name = f"{layer + 1}.heads"
        for head in range(config.n_heads):
            slow = effect(model, IDS, {name: put(source[name], head)}, lead).mean()
            torch.testing.assert_close(heads[layer, head], slow)
    for layer, name in enumerate(["embeddings", "1.stream", "2.stream", "3.stream"]):
        for position in range(5):
            slow = effect(model, IDS, {name: put(source[name], position=position)}, lead).mean()
            torch.testing.assert_close(stream[layer, position], slow)
    # The last place after the last layer holds the whole answer, and the places before it nothing.
    torch.testing.assert_close(stream[3, -1], lead(source["logits"]).mean())
    torch.testing.assert_close(stream[3, :-1], lead(cache["logits"]).mean().expand(4))
    with pytest.raises(InputError, match="2 texts of 5 tokens and 2 of 4"):
        patch_heads(model, cache, activations(model, OTHER[:, :4]), lead)
    for place in (-1, 5):
        with pytest.raises(InputError, match=f"reads_from is {place}; it must be a place in the texts, 0 to 4"):
            patch_stream(model, IDS, source, lead, reads_from=place)


def test_three_ways_to_take_away():
    model = model_with(GPT2)
    cache, source = activations(model, IDS), activations(model, OTHER)
    x = cache["2.heads"]
    zero = ablation("2.heads", "zero", head=1, position=2)(x)
    assert zero[:, 2, 1].abs().max() == 0 and (zero != x).sum() == 2 * GPT2.head_size
    mean = ablation("2.heads", "mean", source)(x)
    torch.testing.assert_close(mean[0, 3], source["2.heads"][:, 1:].mean((0, 1)))
    torch.testing.assert_close(ablation("2.heads", "resample", source)(x), source["2.heads"])
    one = activations(model, OTHER[:1])
    torch.testing.assert_close(
        ablation("2.heads", "resample", one, position=4)(x)[:, 4], one["2.heads"][:, 4].expand(2, -1, -1)
    )
    for how, reference, words in (
        ("none", source, "there is no ablation 'none'; choose from zero, mean, resample"),
        ("mean", None, "give their activations as reference"),
        ("mean", activations(model, OTHER[:, :1]), "no second token"),
    ):
        with pytest.raises(InputError, match=words):
            ablation("2.heads", how, reference)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the reference has 3 tokens and the text 5"):
        ablation("2.heads", "resample", activations(model, OTHER[:, :3]))(x)


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("against", [None, 6])
def test_the_shares_of_a_logit_add_up_to_it(config: GPTConfig, against: int | None):
    model = model_with(config)
    cache = activations(model, IDS)
    for position in (0, 2, -1):
        shares = logit_attribution(model, cache, position, 5, against)
        logits = cache["logits"][:, position]
        expected = logits[:, 5] - (0 if against is None else logits[:, against])
        torch.testing.assert_close(torch.stack(list(shares.values())).sum(0), expected)
    assert sum(".head " in name for name in shares) == 3 * config.n_heads


def test_the_share_of_the_last_head_is_what_is_lost_without_it_at_the_same_size_of_the_norm():
    """By hand: the last layer's head taken out of the sum before the norm, whose divisor stays."""
    model = model_with(GPT2)
    cache = activations(model, IDS)
    share = logit_attribution(model, cache, 4, 5)["3.feed_forward"]
    stream, part = cache["3.stream"][:, 4], cache["3.feed_forward"][:, 4]
    size = (stream.var(-1, correction=0) + 1e-5).sqrt()

    def logit(x: Tensor) -> Tensor:
        normed = (x - x.mean(-1, keepdim=True)) / size[:, None] * model.final_norm.weight + model.final_norm.bias
        return normed @ model.output_head.weight[5]

    torch.testing.assert_close(share, logit(stream) - logit(stream - part))
