"""Loss over a split: against plain loops, closed forms and hand arithmetic."""

import math
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minigpt.config import IGNORE
from minigpt.evaluation import loss as loss_module
from minigpt.evaluation.loss import bits_per_byte, mean_loss, perplexity
from minigpt.text.data import TextData
from minigpt.text.tokenizer import CharTokenizer, Tokenizer
from tests.evaluation.models import story_data, tiny


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_mean_loss_is_a_plain_loop_over_stories(batch_size: int) -> None:
    """One story at a time, one token at a time, without padding, in float64."""
    data = story_data()
    model = tiny(data.tokenizer.vocab_size).double()
    end = data.tokenizer.end_of_text
    losses = []
    for story in data.held_out_stories("val"):
        ids = [end, *data.tokenizer.encode(story.text), end]
        log_probabilities = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        losses += [-log_probabilities[t, target].item() for t, target in enumerate(ids[1:])]
    assert mean_loss(model, data, "val", batch_size=batch_size) == pytest.approx(statistics.mean(losses), abs=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_mean_loss_is_a_plain_loop_over_a_text(text_data: TextData, batch_size: int) -> None:
    model = tiny(text_data.tokenizer.vocab_size, 16).double()
    tokens = np.fromfile(text_data.folder / "val-00000.bin", "uint16").tolist()
    losses = []
    for start in range(0, len(tokens) - 1, 16):
        row = tokens[start : start + 17]
        log_probabilities = model(torch.tensor([row[:-1]]))[0].log_softmax(-1)
        losses += [-log_probabilities[t, target].item() for t, target in enumerate(row[1:])]
    assert len(losses) == len(tokens) - 1
    assert mean_loss(model, text_data, "val", batch_size=batch_size) == pytest.approx(
        statistics.mean(losses), abs=1e-12
    )


def test_measuring_changes_nothing(text_data: TextData) -> None:
    model = tiny(text_data.tokenizer.vocab_size, 16, dropout=0.5)
    random = torch.get_rng_state()
    for training in (True, False):
        model.train(training)
        assert mean_loss(model, text_data, "val") == mean_loss(model, text_data, "val"), "no dropout"
        assert model.training == training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())


class TwoTokens:
    """Data of three tokens with padding, small enough to do by hand."""

    spec: dict[str, Any] = {"name": "two"}
    tokenizer: Tokenizer = CharTokenizer("ab")

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def batches(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.tensor([[0, 1], [1, 0]]), torch.tensor([[1, 0], [1, IGNORE]])

    def text_bytes(self, split: str) -> int:
        return 5


def test_loss_and_bits_per_byte_by_hand() -> None:
    """Logits (ln 3, 0) at every place: token 0 has probability 3/4, token 1 has 1/4."""
    model = tiny(2, 2, tie_embeddings=False)
    with torch.no_grad():
        model.final_norm.weight.zero_()
        model.final_norm.bias.zero_()
        model.final_norm.bias[0] = 1
        model.output_head.weight.zero_()
        model.output_head.weight[0, 0] = math.log(3)
    loss = mean_loss(model, TwoTokens(), "val")  # targets 1, 0, 1 and one that does not count
    assert loss == pytest.approx((2 * math.log(4) + math.log(4 / 3)) / 3, rel=1e-6)
    # 2 + log2(4/3) + 2 bits for three tokens, which stand for five bytes
    assert bits_per_byte(loss, TwoTokens(), "val") == pytest.approx((4 + math.log2(4 / 3)) / 5, rel=1e-6)


def test_an_even_guess_costs_the_logarithm_of_the_vocabulary(text_data: TextData) -> None:
    size = text_data.tokenizer.vocab_size
    model = tiny(size, 16)
    torch.nn.init.zeros_(model.token_embedding.weight)  # tied: all logits are zero
    loss = mean_loss(model, text_data, "val")
    assert loss == pytest.approx(math.log(size), rel=1e-6)
    assert perplexity(loss) == pytest.approx(size, rel=1e-5)
    part = text_data.tokenizer.decode(np.fromfile(text_data.folder / "val-00000.bin", "uint16").tolist())
    assert bits_per_byte(loss, text_data, "val") == pytest.approx(
        math.log2(size) * (len(part) - 1) / len(part[1:].encode()), rel=1e-6
    )


def test_perplexity_by_hand() -> None:
    assert perplexity(0.0) == 1
    assert perplexity(math.log(10)) == pytest.approx(10)
    assert perplexity(1e4) == math.inf


def test_a_large_vocabulary_is_measured_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    data, sizes = TwoTokens(), []

    def batches(split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        sizes.append(batch_size)
        yield from TwoTokens().batches(split, batch_size)

    monkeypatch.setattr(data, "batches", batches)
    for most in (2**28, 4 * 7, 3):  # a row has a context of 2 and a vocabulary of 2
        monkeypatch.setattr(loss_module, "MOST_LOGITS", most)
        mean_loss(tiny(2, 2), data, "val")
    assert sizes == [64, 7, 1]
