"""Stories that a model tells, sampled and graded."""

from typing import Any

import pytest

from minigpt.config import InputError
from minigpt.evaluation import stories as graded
from minigpt.evaluation.stories import grade, sample_stories
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.tokenizer import CharTokenizer
from tests.evaluation.models import story_data, tiny


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

    monkeypatch.setattr(graded, "generate", fake)
    assert sample_stories(model, data.tokenizer, 5, at_once=2) == [stories.draw(0, 0).text] * 5
    end = data.tokenizer.end_of_text
    assert calls == [([end], 19, 2, end), ([end], 19, 2, end), ([end], 19, 1, end)]


def test_samples_need_an_end_of_text_token() -> None:
    with pytest.raises(InputError, match="no end-of-text token"):
        sample_stories(tiny(2, 4), CharTokenizer("ab"), 1)
