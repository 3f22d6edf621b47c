"""New tokens: the old ones keep their rows and their odds among each other; the new ones differ and take little."""

import pytest
import torch

from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.model.vocabulary import with_more_tokens
from minigpt.text.chat import add_chat_tokens
from minigpt.weights.checkpoint import load_model, save


def model_of(**options) -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=13, context_length=8, n_layers=1, n_heads=2, d_model=8, **options)
    model = GPT(config).double()
    with torch.no_grad():  # far from the start, and with a mean that is not zero
        model.token_embedding.weight.add_(0.3)
    return model


@pytest.mark.parametrize(
    ("options", "rows"),
    [({}, 18), ({"tie_embeddings": False}, 18), ({"pad_vocab": 16}, 32), ({"pad_vocab": 4}, 20)],
)
def test_the_tokens_that_it_knew_keep_their_rows_and_logits(options, rows):
    model = model_of(**options)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    grown = with_more_tokens(model, 18)
    assert grown.config.vocab_size == 18
    ids = torch.tensor([[0, 12, 5, 7]])
    torch.testing.assert_close(grown(ids)[..., :13], model(ids)[..., :13])  # in float64
    assert torch.equal(grown.token_embedding.weight[:13], before["token_embedding.weight"][:13])
    assert grown(torch.tensor([[17]])).shape == (1, 1, rows)
    assert (grown.output_head.weight is grown.token_embedding.weight) == grown.config.tie_embeddings
    next_token_loss(grown(ids[:, :-1]), ids[:, 1:]).backward()  # it can be trained, and the first is not touched
    with torch.no_grad():
        for parameter in grown.parameters():
            assert parameter.grad is not None
            parameter.add_(1)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_new_rows_lie_near_the_mean_and_apart_from_each_other(tie_embeddings):
    model = model_of(pad_vocab=16, tie_embeddings=tie_embeddings)
    grown = with_more_tokens(model, 300)
    for layer in (grown.token_embedding, grown.output_head):
        weight = layer.weight.detach()
        new, mean = weight[13:], weight[:13].mean(0)
        assert abs((new - mean).std().item() - 0.02) < 0.002 and (new.mean(0) - mean).abs().max() < 0.01
        assert len(new.unique(dim=0)) == len(new) == 304 - 13
    assert torch.equal(with_more_tokens(model, 300).token_embedding.weight, grown.token_embedding.weight)
    assert not torch.equal(with_more_tokens(model, 300, seed=1).token_embedding.weight, grown.token_embedding.weight)


def test_growing_throws_no_global_dice_and_keeps_the_mode():
    model, state = model_of().eval(), torch.get_rng_state()
    assert not with_more_tokens(model, 20).training and with_more_tokens(model.train(), 20).training
    assert torch.equal(torch.get_rng_state(), state)


def test_no_token_is_taken_away():
    with pytest.raises(InputError, match="has 13 tokens already: a vocab_size of 12"):
        with_more_tokens(model_of(), 12)


def test_the_storyteller_gets_chat_tokens_and_comes_back_from_its_files(tmp_path):
    model, tokenizer = load_model("storyteller")
    chatty = add_chat_tokens(tokenizer)
    grown = with_more_tokens(model, chatty.vocab_size)
    ids = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode("Once upon a time, there was a")]])
    with torch.no_grad():
        new = grown(ids).softmax(-1)[..., 1861:].sum(-1)
    assert new.max() < 0.01, "the new tokens take little from the old ones"
    save(tmp_path / "chatty", grown, chatty)
    loaded, read = load_model(str(tmp_path / "chatty"))
    assert read.special_tokens == chatty.special_tokens and loaded.config == grown.config
    with torch.no_grad():
        assert torch.equal(loaded(ids), grown(ids))
