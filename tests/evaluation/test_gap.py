"""The gap to the floor by cause: against labels by hand, `story_divergence`, models that err in one kind of place."""

import math
from itertools import groupby

import pytest
import torch
from torch import nn

from minigpt.config import InputError
from minigpt.evaluation.gap import CAUSES, causes, gap_by_cause
from minigpt.evaluation.truth import story_divergence, true_distributions
from minigpt.text import stories
from minigpt.text.stories import World
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer, Tokenizer
from tests.evaluation.models import story_data, tiny
from tests.text.test_stories import derivations

PETS = """
[tables]
names = "Ann, Bo"
pets = '''
pet | home
cat, dog | house
fish | bowl
'''

[facts]
hero = { from = "names" }
pet = { from = "pets" }

[plots]
owns = ["has", "lives"]

[sentences]
has = ["{hero} has {a pet}."]
lives = ["{hero}'s {pet} has a {pet.home}."]
"""


def test_each_letter_of_a_small_story_by_hand() -> None:
    of = World(PETS)
    told = list(derivations(of))
    tokenizer = CharTokenizer.train([story.text for story in told], [END_OF_TEXT])
    story = next(s for s in told if s.text == "Ann has a cat. Ann's cat has a house.")
    labels = causes(tokenizer, story, of)
    runs = [(cause, len(list(run))) for cause, run in groupby(labels)]
    # A|nn has a |c|at. |Ann|'s |cat| has a |house|. and the end
    expected = [("dice", 1), ("wording", 9), ("dice", 1), ("wording", 4), ("memory", 3), ("wording", 3)]
    assert runs == [*expected, ("memory", 3), ("wording", 7), ("memory", 5), ("wording", 2)]


@pytest.mark.parametrize("vocab_size", [260, 300])
def test_a_token_that_holds_a_recalled_letter_is_memory(vocab_size: int) -> None:
    of = World(PETS)
    told = list(derivations(of))
    tokenizer = BPETokenizer.train([story.text for story in told], vocab_size)
    for story in told:
        place, second = 0, story.text.index(".") + 2
        hero = story.facts["hero"]
        for token, cause in zip(tokenizer.encode(story.text), causes(tokenizer, story, of), strict=False):
            place += len(tokenizer.token_bytes(token))
            if second < place <= second + len(hero):
                assert cause == "memory"


class Believer(nn.Module):
    """Stands in for a GPT: the truth, but at the places of one cause a thousandth goes to a token that never comes."""

    def __init__(self, tokenizer: Tokenizer, truth: list[dict[int, float]], labels: list[str], cause: str) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(1, 1)
        self.config = tiny(tokenizer.vocab_size, 8).config
        rows = torch.full((len(truth), tokenizer.vocab_size), -math.inf, dtype=torch.float64)
        for row, options, label in zip(rows, truth, labels, strict=True):
            for token, p in options.items():
                row[token] = math.log(p)
            if label == cause:
                row += math.log1p(-1e-3)
                row[0] = math.log(1e-3)  # byte 0 is in no story
        self.rows = rows

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.rows[None, : ids.shape[1]]


@pytest.mark.parametrize("cause", CAUSES)
def test_a_model_that_errs_at_one_kind_of_place_loses_there_and_nowhere_else(cause: str) -> None:
    tokenizer = story_data().tokenizer
    story = stories.draw(3, 0)
    labels = causes(tokenizer, story)
    assert set(labels) == set(CAUSES)
    believer = Believer(tokenizer, true_distributions(tokenizer, story.text), labels, cause)
    found = gap_by_cause(believer, tokenizer, [story])  # type: ignore[arg-type]
    for name, part in found.items():
        assert part.tokens == labels.count(name)
        wanted = -math.log1p(-1e-3) * labels.count(name) if name == cause else 0.0
        assert part.impossible == pytest.approx(wanted, abs=1e-9)
        assert part.odds == pytest.approx(0, abs=1e-9)


def test_the_causes_add_up_to_the_divergence_and_the_model_is_left_as_it_was() -> None:
    tokenizer = story_data().tokenizer
    model = tiny(tokenizer.vocab_size, 400).double().train()
    told = [stories.draw(4, i) for i in range(3)]
    found = gap_by_cause(model, tokenizer, told)
    whole = sum(story_divergence(model, tokenizer, story.text).sum().item() for story in told) / 3
    assert sum(part.nats for part in found.values()) == pytest.approx(whole, rel=1e-9)
    assert sum(part.tokens for part in found.values()) == pytest.approx(
        sum(len(tokenizer.encode(story.text)) + 1 for story in told) / 3
    )
    assert model.training
    with pytest.raises(InputError, match="at least one"):
        gap_by_cause(model, tokenizer, [])
