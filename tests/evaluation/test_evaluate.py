"""The whole report on a model."""

import pytest

from minigpt.config import InputError
from minigpt.evaluation import evaluate as evaluate_module
from minigpt.evaluation.evaluate import evaluate
from minigpt.evaluation.floor import floor
from minigpt.evaluation.loss import mean_loss, perplexity
from minigpt.text import stories
from minigpt.text.data import TextData
from tests.evaluation.models import story_data, tiny


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
