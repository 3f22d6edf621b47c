"""The true next token: against every story of small worlds, sampling, each story's bits, and the entropy."""

import math
from collections import Counter, defaultdict
from functools import cache

import pytest
import torch

from minigpt.config import InputError
from minigpt.evaluation.truth import (
    PerfectReader,
    divergence,
    impossible,
    next_tokens,
    story_divergence,
    true_distributions,
)
from minigpt.text import stories
from minigpt.text.stories import World
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer, ForeignTokenizer, Tokenizer
from tests.evaluation.models import story_data, tiny
from tests.text.test_stories import SMALL, derivations

# Words that begin others, endings as in «'re», runs of spaces, numbers; one story is the beginning of another.
AWKWARD = """
[tables]
ends = "'re, 'rest, 'r, 's, 'save, '!, s, ?"
words = "a, apple, app, 1, 12, 你"
rooms = '''
room | in
hall | lamp; rug
attic | cat; rat
'''

[facts]
end = { from = "ends" }
word = { from = "words" }
room = { from = "rooms" }
thing = { from = "room.in" }

[plots]
long = ["you", "told"]
short = ["you"]

[sentences]
you = ["you{end} {word}", "you{word}   {end} "]
told = ["{a thing} \\n {room}", "\\n{room}, {thing}"]
"""


FEW = AWKWARD.replace("'re, 'rest, 'r, 's, 'save, '!, s, ?", "'re, 'r, s").replace(
    "a, apple, app, 1, 12, 你", "a, app, 你"
)


@cache
def enumerated(source: str, kind: str) -> tuple[World, Tokenizer, dict[tuple[int, ...], dict[int, float]]]:
    """A world, a tokenizer, and for each beginning of an encoded story what comes next: by counting all stories."""
    told = list(derivations(World(source)))
    texts = [story.text for story in told]
    tokenizer: Tokenizer
    if kind == "char":
        tokenizer = CharTokenizer.train(texts, [END_OF_TEXT])
    elif kind == "smollm":  # each digit is a word of its own
        tokenizer = ForeignTokenizer(BPETokenizer.train(texts, 290).merges, [END_OF_TEXT], cut="smollm")
    else:
        tokenizer = BPETokenizer.train(texts, int(kind))
    assert tokenizer.end_of_text is not None
    sums: dict[tuple[int, ...], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for story in told:
        ids = [*tokenizer.encode(story.text), tokenizer.end_of_text]
        for i, token in enumerate(ids):
            sums[tuple(ids[:i])][token] += 2**-story.bits
    return World(source), tokenizer, sums


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (SMALL, "char"),
        (SMALL, "300"),
        (AWKWARD, "char"),
        (AWKWARD, "257"),
        (AWKWARD, "275"),
        (AWKWARD, "400"),
        (AWKWARD, "smollm"),
    ],
)
def test_the_reader_knows_what_counting_all_stories_says(source: str, kind: str) -> None:
    of, tokenizer, sums = enumerated(source, kind)
    open_ends = [ids for ids in sorted(sums) if len(sums[ids]) > 1]
    assert len(open_ends) > 50
    for ids in open_ends[:: max(1, len(open_ends) // 100)] + sorted(sums)[:: max(1, len(sums) // 50)]:
        total = sum(sums[ids].values())
        truth = {token: weight / total for token, weight in sorted(sums[ids].items())}
        found = next_tokens(tokenizer, ids, of)
        assert list(found) == list(truth)
        assert list(found.values()) == pytest.approx(list(truth.values()), abs=1e-12)


@pytest.mark.parametrize("kind", ["char", "bpe", "bundled"])
def test_the_surprise_of_a_story_is_its_bits(kind: str) -> None:
    told = [stories.draw(5, i) for i in range(4 if kind == "char" else 12)]
    tokenizer: Tokenizer = story_data().tokenizer
    if kind == "char":
        tokenizer = CharTokenizer.train([stories.draw(0, i).text for i in range(400)], [END_OF_TEXT])
    elif kind == "bundled":
        from minigpt.weights.checkpoint import find

        tokenizer = find("storyteller")[0].tokenizer
    for story in told:
        reader = PerfectReader(tokenizer)
        ids = [*tokenizer.encode(story.text), reader.end]
        bits = -math.fsum(math.log2(reader.read(token)) for token in ids)
        assert bits == pytest.approx(story.bits, abs=1e-9)
        truth = true_distributions(tokenizer, story.text)
        assert -math.fsum(math.log2(row[t]) for row, t in zip(truth, ids, strict=True)) == pytest.approx(bits, abs=1e-9)
        assert all(sum(row.values()) == pytest.approx(1, abs=1e-12) for row in truth)
        assert truth[-1] == {reader.end: 1.0} and reader.probabilities() == {}


def test_short_beginnings_go_on_as_in_a_large_sample() -> None:
    tokenizer = story_data().tokenizer
    sample = [tokenizer.encode(stories.draw(9, i).text) for i in range(6000)]
    for text in ("", "Once", "Once upon a time,", "Once there was a"):
        ids = tokenizer.encode(text)
        following = Counter(told[len(ids)] for told in sample if told[: len(ids)] == ids)
        truth, n = next_tokens(tokenizer, ids), following.total()
        assert set(following) <= set(truth) and n > 1000
        for token, p in truth.items():  # five standard errors
            assert abs(following[token] / n - p) <= 5 * math.sqrt(p * (1 - p) / n)


def test_expected_loss_is_entropy_plus_divergence() -> None:
    """Over all stories of a small world, with a model that is far from the truth."""
    of, tokenizer, _ = enumerated(FEW, "275")
    model = tiny(tokenizer.vocab_size, 40).double()
    end = tokenizer.end_of_text
    told = list(derivations(of))
    loss = gap = 0.0
    for story in told:
        ids = [end, *tokenizer.encode(story.text), end]
        with torch.no_grad():
            rows = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        loss -= 2**-story.bits * sum(rows[t, token].item() for t, token in enumerate(ids[1:]))
        gap += 2**-story.bits * divergence(rows, true_distributions(tokenizer, story.text, of)).sum().item()
        if story is told[0]:
            theirs = story_divergence(model, tokenizer, story.text, of)
            torch.testing.assert_close(theirs, divergence(rows, true_distributions(tokenizer, story.text, of)))
    assert gap > 1
    assert loss == pytest.approx(of.entropy * math.log(2) + gap, rel=1e-9)


def test_the_truth_is_at_no_distance_from_itself_and_an_even_guess_at_its_own() -> None:
    truth = true_distributions(story_data().tokenizer, stories.draw(0, 0).text)
    size = story_data().tokenizer.vocab_size
    exact = torch.full((len(truth), size), -math.inf)
    for row, options in zip(exact, truth, strict=True):
        for token, p in options.items():
            row[token] = math.log(p)
    assert divergence(exact, truth).abs().max() < 1e-6
    even = divergence(torch.full((len(truth), size), -math.log(size)), truth)
    entropies = torch.tensor([-sum(p * math.log(p) for p in row.values()) for row in truth], dtype=torch.float64)
    torch.testing.assert_close(even, math.log(size) - entropies, atol=1e-6, rtol=0)


def test_the_impossible_has_what_the_possible_leaves_and_the_divergence_falls_in_two() -> None:
    truth = true_distributions(story_data().tokenizer, stories.draw(0, 0).text)
    size = story_data().tokenizer.vocab_size
    even = torch.full((len(truth), size), -math.log(size), dtype=torch.float64)
    expected = torch.tensor([1 - len(row) / size for row in truth], dtype=torch.float64)
    torch.testing.assert_close(impossible(even, truth), expected)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(truth), size, generator=generator, dtype=torch.float64)
    rows = logits.log_softmax(-1)
    among = []
    for row, options in zip(logits, truth, strict=True):
        p = torch.tensor(list(options.values()), dtype=torch.float64)
        among.append((p * (p.log() - row[list(options)].log_softmax(-1))).sum())
    torch.testing.assert_close(divergence(rows, truth), torch.stack(among) - torch.log1p(-impossible(rows, truth)))
    certain = torch.full((1, 3), -math.inf)
    certain[0, 0] = 0.0
    certain[0, 2] = math.log(1e-20)  # far below what 1 - p could tell from 0
    assert impossible(certain, [{0: 1.0}]).item() == pytest.approx(1e-20, rel=1e-5)
    with pytest.raises(InputError, match="3 predictions for 1 true distributions"):
        impossible(torch.zeros(3, 5), [{0: 1.0}])


def test_what_no_story_says_is_one_message() -> None:
    tokenizer = story_data().tokenizer
    with pytest.raises(InputError, match=r"no story goes on with token 65; what can follow is '"):
        next_tokens(tokenizer, [65])
    reader = PerfectReader(tokenizer)
    for token in [*tokenizer.encode(stories.draw(0, 0).text), reader.end]:
        reader.read(token)
    with pytest.raises(InputError, match="nothing follows its end"):
        reader.read(reader.end)
    with pytest.raises(InputError, match="no end-of-text token"):
        PerfectReader(CharTokenizer("ab"))
    with pytest.raises(InputError, match="3 predictions for 1 true distributions"):
        divergence(torch.zeros(3, 5), [{0: 1.0}])
