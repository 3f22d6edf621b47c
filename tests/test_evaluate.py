"""Measures of a model: against plain loops, closed forms and hand arithmetic."""

import math
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minigpt import evaluate as evaluate_module
from minigpt import stories
from minigpt.config import IGNORE, GPTConfig, InputError
from minigpt.data import StoryData, TextData, load_data
from minigpt.evaluate import bits_per_byte, evaluate, floor, grade, mean_loss, perplexity, sample_stories
from minigpt.model import GPT
from minigpt.tokenizer import BPETokenizer, CharTokenizer, Tokenizer


@cache
def story_data() -> StoryData:
    tokenizer = BPETokenizer.train([stories.draw(0, i).text for i in range(200)], 600)
    return StoryData(tokenizer, 400, held_out=12)


def tiny(vocab_size: int, context_length: int = 400, **options: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(vocab_size=vocab_size, context_length=context_length, n_layers=1, n_heads=2, d_model=16, **options)
    )
    with torch.no_grad():  # far from the start, where all tokens are equally likely
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@pytest.fixture
def text_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextData:
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path))
    (tmp_path / "text.txt").write_text("Größe zählt, 你好! " * 40, encoding="utf-8")
    data = load_data(str(tmp_path / "text.txt"), 16, "char")
    assert isinstance(data, TextData)
    return data


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


def test_the_floor_by_hand() -> None:
    data = story_data()
    held_out = [stories.story_at("test", i) for i in range(12)]
    lengths = [len(data.tokenizer.encode(story.text)) + 1 for story in held_out]  # and the end-of-text token
    bound = floor(data, "test")
    nats = [story.bits * math.log(2) for story in held_out]
    assert bound.split_loss == pytest.approx(sum(nats) / sum(lengths), rel=1e-12)
    assert bound.loss == pytest.approx(stories.entropy() * math.log(2) / statistics.mean(lengths), rel=1e-12)
    # The delta method: the ratio's variance is that of nats − ratio * length, over the mean length squared and n.
    ratio = bound.split_loss
    rests = [n - ratio * length for n, length in zip(nats, lengths, strict=True)]
    variance = sum(rest**2 for rest in rests) / 11 / statistics.mean(lengths) ** 2 / 12
    assert bound.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert sum(int((t != IGNORE).sum()) for _, t in data.batches("test", 5)) == sum(lengths), (
        "the loss has as many terms"
    )


def test_the_floor_s_error_is_that_of_other_samples() -> None:
    """Floors of a hundred other sets of stories scatter around the expected one as the standard error says."""
    tokenizer = story_data().tokenizer

    def split_floor(seed: int) -> tuple[float, float]:
        drawn = [stories.draw(seed, i) for i in range(25)]
        lengths = [len(tokenizer.encode(story.text)) + 1 for story in drawn]
        return sum(s.bits for s in drawn) * math.log(2), sum(lengths)

    sums = [split_floor(seed) for seed in range(100)]
    ratios = [nats / length for nats, length in sums]
    bound = floor(StoryData(tokenizer, 400, held_out=400), "val")
    scatter = statistics.stdev(ratios)
    assert bound.standard_error * math.sqrt(400 / 25) == pytest.approx(scatter, rel=0.3)
    overall = sum(nats for nats, _ in sums) / sum(length for _, length in sums)
    held_out = [len(tokenizer.encode(stories.story_at("val", i).text)) + 1 for i in range(400)]
    error = statistics.stdev(held_out) / statistics.mean(held_out) / math.sqrt(400) * bound.loss  # of the mean length
    assert abs(bound.loss - overall) < 4 * math.hypot(error, scatter / 10)
    assert abs(bound.split_loss - overall) < 4 * math.hypot(bound.standard_error, scatter / 10)


def test_an_untrained_model_is_above_the_floor() -> None:
    data = story_data()
    model = tiny(data.tokenizer.vocab_size)
    assert mean_loss(model, data, "test") > floor(data, "test").split_loss


def test_grades_count_stories_and_those_that_hold_together() -> None:
    good = stories.draw(0, 0)
    hero = good.facts["hero"]
    other = next(row[""] for row in stories.world().all_rows("hero") if row[""] != hero)
    contradicts = other.join(good.text.rsplit(hero, 1))
    result = grade([good.text, stories.draw(0, 1).text, contradicts, "Once upon a time.", ""])
    assert (result.grammatical, result.consistent) == (3 / 5, 2 / 5)


def test_samples_are_repeatable_and_stop_at_the_end_token(monkeypatch: pytest.MonkeyPatch) -> None:
    data = story_data()
    model = tiny(data.tokenizer.vocab_size, 20)
    texts = sample_stories(model, data.tokenizer, 5, seed=3, at_once=2)
    assert len(texts) == 5 and len(set(texts)) == 5
    assert texts == sample_stories(model, data.tokenizer, 5, seed=3, at_once=2)
    assert texts[:2] != sample_stories(model, data.tokenizer, 2, seed=4)
    assert all("<|endoftext|>" not in text for text in texts)

    told = data.tokenizer.encode(stories.draw(0, 0).text)
    calls = []

    def fake(model: GPT, prompt: list[int], room: int, **options: Any) -> list[list[int]]:
        calls.append((prompt, room, options["num"], options["stop_token"]))
        return [told] * options["num"]

    monkeypatch.setattr(evaluate_module, "generate", fake)
    assert sample_stories(model, data.tokenizer, 5, at_once=2) == [stories.draw(0, 0).text] * 5
    end = data.tokenizer.end_of_text
    assert calls == [([end], 19, 2, end), ([end], 19, 2, end), ([end], 19, 1, end)]


def test_samples_need_an_end_of_text_token() -> None:
    with pytest.raises(InputError, match="no end-of-text token"):
        sample_stories(tiny(2, 4), CharTokenizer("ab"), 1)


def test_the_report_on_a_model_of_stories(monkeypatch: pytest.MonkeyPatch) -> None:
    data = story_data()
    model = tiny(data.tokenizer.vocab_size)
    texts = [stories.draw(0, i).text for i in range(3)] + ["Nonsense."]
    monkeypatch.setattr(evaluate_module, "sample_stories", lambda model, tokenizer, count, seed: texts[:count])
    report = evaluate(model, data, samples=4)
    assert report["loss"] == mean_loss(model, data, "test")
    bound = floor(data, "test")
    assert (report["data"], report["split"]) == ("stories", "test")
    assert (report["floor"], report["floor_error"]) == (bound.split_loss, bound.standard_error)
    assert report["gap"] == mean_loss(model, data, "test") - bound.split_loss
    assert (report["grammatical"], report["consistent"]) == (0.75, 0.75)
    assert report["perplexity"] == perplexity(mean_loss(model, data, "test"))
    none = evaluate(model, data, "val", samples=0)
    assert none["split"] == "val" and none["grammatical"] is None and none["floor"] == floor(data, "val").split_loss


def test_the_report_on_a_model_of_another_text(text_data: TextData) -> None:
    model = tiny(text_data.tokenizer.vocab_size, 16)
    report = evaluate(model, text_data)
    assert report["split"] == "val" and report["loss"] == mean_loss(model, text_data, "val")
    assert all(report[name] is None for name in ("floor", "floor_error", "gap", "grammatical", "consistent"))


def test_bad_requests_are_input_errors(text_data: TextData) -> None:
    model = tiny(story_data().tokenizer.vocab_size)
    with pytest.raises(InputError, match="samples is -1; it must be at least 0"):
        evaluate(model, story_data(), samples=-1)
    with pytest.raises(InputError, match="no split 'dev'"):
        evaluate(model, story_data(), "dev", samples=0)
    with pytest.raises(InputError, match="no split 'test'; choose from train, val"):
        evaluate(tiny(text_data.tokenizer.vocab_size, 16), text_data, "test")
