"""The runs of lesson 23: what a token is, and a stored file that this code could have written."""

import math

import numpy as np
import pytest

from minigpt.course import scaling
from minigpt.course.scaling import BATCH, CONTEXT_LENGTH, KINDS, SIZES, STEPS, CountedStories, Exam, config_of, load
from minigpt.evaluation.floor import floor
from minigpt.evaluation.truth import true_distributions
from minigpt.model.gpt import GPT, flops_per_token, parameter_count
from minigpt.text import stories
from minigpt.text.data import StoryData


def test_kinds_tell_what_can_be_known_and_from_where() -> None:
    words, seen = scaling.tokenizer(), set[tuple[str, str]]()
    for number in range(20):
        story = stories.story_at("test", number)
        kinds, truths = scaling.kinds_of(story), true_distributions(words, story.text)
        tokens = [*words.encode(story.text), words.end_of_text or 0]
        assert len(kinds) == len(tokens) and kinds[-1] == "text"
        nats = sum(-math.log(t[token]) for t, token, kind in zip(truths, tokens, kinds, strict=True) if kind == "dice")
        assert nats == pytest.approx(story.bits * math.log(2)), "all that is open is in the dice"
        seen |= {(kind, words.decode([token])) for kind, token in zip(kinds, tokens, strict=True)}
    assert ("text", " time") in seen and ("dice", "Once") not in seen, "all stories begin with «Once»"
    story = stories.story_at("test", 0)  # … called Kira. It was a sunny Sunday, so Kira went to the harbour. …
    of_kira = [
        kind for token, kind in zip(words.encode(story.text), scaling.kinds_of(story), strict=False)
        if words.decode([token]) == " K"
    ]  # fmt: skip
    assert of_kira[:2] == ["dice", "memory"]


def test_the_exam_is_what_the_floor_says() -> None:
    exam = Exam(50)
    held_out = StoryData(scaling.tokenizer(), CONTEXT_LENGTH, held_out=50)
    assert exam.floor()["floor"] == pytest.approx(floor(held_out, "test").split_loss, rel=1e-12)
    model = GPT(config_of(12))
    report = exam.report(model)
    shares = np.array(exam.floor()["tokens"]) / sum(exam.floor()["tokens"])
    assert report["loss"] == pytest.approx(float(shares @ np.array(report["by_kind"])), abs=1e-4)
    assert report["loss"] == report["loss_of_few"] == pytest.approx(math.log(scaling.VOCAB_SIZE), abs=0.3)


def test_the_stored_models_are_those_of_this_code() -> None:
    stored = load()
    assert [(m["d_model"], m["steps"]) for m in stored["models"] if m["seed"] == 0] == [
        (d_model, steps) for steps in STEPS for d_model in SIZES
    ]
    assert sum(stored["test"]["tokens"]) == sum(Exam(scaling.TEST_STORIES).lengths)
    for model in stored["models"]:
        config = config_of(model["d_model"])
        assert model["parameters"] == parameter_count(config)
        assert model["in_blocks"] == parameter_count(config) - 512 * model["d_model"]
        mean_length = model["tokens"] // (model["steps"] * BATCH)
        assert model["flops"] == flops_per_token(config, mean_length) * model["tokens"]
        assert len(model["by_kind"]) == len(KINDS)
        assert len(model.get("seen", scaling.WATCHED)) == len(scaling.WATCHED)
        assert stored["test"]["floor"] < model["loss"] < math.log(512)
    data = CountedStories(scaling.tokenizer(), CONTEXT_LENGTH)
    for step in range(STEPS[0]):
        data.batch_at(step, BATCH, 0)
    assert data.tokens == stored["models"][0]["tokens"]
