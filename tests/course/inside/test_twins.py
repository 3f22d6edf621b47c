"""Twins differ in the hero's name alone, and their places are what they say."""

import pytest
import torch

from minigpt.config import InputError
from minigpt.course.inside.twins import first_places, hero_twins, story_ids
from minigpt.text import stories
from minigpt.weights.models import load_model


def test_twins_differ_in_the_name_and_nothing_else() -> None:
    _, tokenizer = load_model("storyteller")
    twins = hero_twins(tokenizer, 12)
    assert twins.here.shape == twins.there.shape and len(twins.here) == len(twins.name) == 12
    full_stop = tokenizer.encode(".")[0]
    for i in range(12):
        ask = int(twins.ask[i])
        here, there = twins.here[i, : ask + 1], twins.there[i, : ask + 1]
        assert torch.equal(here != there, here == twins.old[i])
        assert set(there[here != there].tolist()) == {int(twins.new[i])}
        assert here[twins.name[i]] == twins.old[i] and here[twins.stop[i]] == full_stop
        assert twins.name[i] == (here == twins.old[i]).nonzero()[0] and twins.name[i] < twins.stop[i] <= ask
        assert not (here[twins.name[i] + 1 : twins.stop[i]] == full_stop).any()
        assert set(twins.here[i, ask + 1 :].tolist()) <= {tokenizer.end_of_text}
    # The first story, read by eye: «… a gentle mole named Kira. … Kira and Pia became best friends.»
    story = stories.story_at("test", 0)
    ids = story_ids(tokenizer, story.text)
    assert ids[: int(twins.ask[0]) + 1] == twins.here[0, : int(twins.ask[0]) + 1].tolist()
    assert tokenizer.decode([ids[int(twins.ask[0]) + 1]]) == f" {story.facts['hero']}"
    assert first_places(tokenizer, ids, story) == (int(twins.name[0]), int(twins.stop[0]))


def test_both_stories_of_a_pair_are_true() -> None:
    _, tokenizer = load_model("storyteller")
    twins = hero_twins(tokenizer, 3, "val")
    for ids in (*twins.here, *twins.there):
        text = tokenizer.decode([t for t in ids.tolist() if t != tokenizer.end_of_text])
        assert "stops" in str(stories.verify(text).problem) or "unknown" in str(stories.verify(text).problem)
    with pytest.raises(InputError, match="0 pairs"):
        hero_twins(tokenizer, 0)
