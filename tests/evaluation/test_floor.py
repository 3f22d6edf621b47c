"""The entropy floor: by hand, and as other samples scatter."""

import math
import statistics

import pytest

from minigpt.config import IGNORE
from minigpt.evaluation.floor import floor
from minigpt.evaluation.loss import mean_loss
from minigpt.text import stories
from minigpt.text.data import StoryData
from tests.evaluation.models import story_data, tiny


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
