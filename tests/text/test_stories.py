"""The story world: probabilities that sum to one, texts made in one way only, and a verifier that is not fooled."""

import hashlib
import itertools
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.config import InputError
from minigpt.text import stories
from minigpt.text.stories import SPLITS, Slot, Story, World, draw, split_of, story_at, verify, world
from tests.text.everywhere import printed

# Two plots, two facts from one table, lists inside rows, both articles, a word that begins another («a tree», «a tree
# house»).
SMALL = """
[tables]
names = '''
name | they | their
Ann, Bea | she | her
Cal | he | his
'''
kinds = "owl, fox"
colours = "red, orange"
places = '''
place | spots
park | a tree; a tree house; a swing
lake | a boat; a stone; a reed
'''

[facts]
hero = { from = "names" }
friend = { from = "names" }
kind = { from = "kinds" }
place = { from = "places" }
spot = { from = "place.spots" }
wrong = { from = "place.spots" }
colour = { from = "colours" }

[plots]
lost = ["once", "goes", "looks", "end"]
meet = ["once", "meets"]

[sentences]
once = ["{hero} was {a kind}.", "Once {a kind} was called {hero}."]
goes = ["{hero.They} went to the {place}.", "To the {place} went the {kind}."]
looks = ["{hero.They} looked by {wrong} and then by {spot}.", "It was by {spot}. It was not by {wrong}."]
end = ["The {kind} had {a colour} hat.", "The hat of {hero} was {colour}."]
meets = ["{friend} came. {friend.Their} hat was {colour}.", "Then {hero.they} met {friend} in {a colour} hat."]
"""


def derivations(small: World) -> Iterator[Story]:
    """Every story of a world, by throwing the dice in every way."""
    todo: list[tuple[int, ...]] = [()]
    while todo:
        begin = todo.pop()
        sides: list[int] = []

        def choose(n: int, begin: tuple[int, ...] = begin, sides: list[int] = sides) -> int:
            sides.append(n)
            return begin[len(sides) - 1] if len(sides) <= len(begin) else 0

        yield small.derive(choose)
        thrown = [*begin, *[0] * (len(sides) - len(begin))]
        for place in range(len(begin), len(sides)):
            todo += [(*thrown[:place], other) for other in range(1, sides[place])]


@cache
def small_world() -> tuple[World, dict[str, Story]]:
    """The small world and all its stories by their texts."""
    small = World(SMALL)
    return small, {story.text: story for story in derivations(small)}


def test_the_probabilities_of_all_small_stories_sum_to_one() -> None:
    told = list(derivations(World(SMALL)))
    #      plots   hero kind place spot wrong colour wordings    hero kind friend colour wordings
    assert len(told) == 3 * 2 * 2 * 3 * 3 * 2 * 2**4 + 3 * 2 * 3 * 2 * 2**2
    assert len({story.text for story in told}) == len(told), "a text was derived twice"
    assert sum(Fraction(1, round(2**story.bits)) for story in told) == 1


def test_entropy_and_count_are_those_of_the_enumeration() -> None:
    small, told = small_world()
    probabilities = [2**-story.bits for story in told.values()]
    assert small.entropy == pytest.approx(-sum(p * math.log2(p) for p in probabilities), abs=1e-9)
    assert small.n_stories == len(told)


def test_verify_gives_back_every_small_story() -> None:
    small, told = small_world()
    for text, story in told.items():
        verdict = small.verify(text)
        assert (verdict.problem, verdict.plot, verdict.facts) == (None, story.plot, story.facts)
        assert verdict.grammatical and verdict.consistent


@given(data=st.data())
def test_verify_accepts_a_changed_text_only_if_it_is_another_story(data: st.DataObject) -> None:
    small, told = small_world()
    text = data.draw(st.sampled_from(sorted(told)))
    words = text.split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    vocabulary = sorted({word for other in told for word in other.split(" ")})
    match data.draw(st.sampled_from(["replace", "drop", "insert", "swap", "character"])):
        case "replace":
            words[place] = data.draw(st.sampled_from(vocabulary))
        case "drop":
            del words[place]
        case "insert":
            words.insert(place, data.draw(st.sampled_from(vocabulary)))
        case "swap":
            other = data.draw(st.integers(0, len(words) - 1))
            words[place], words[other] = words[other], words[place]
        case _:
            words[place] = words[place][:-1]
    changed = " ".join(words)
    verdict = small.verify(changed)
    assert verdict.consistent == (changed in told)
    assert verdict.consistent == (verdict.problem is None)
    assert verdict.grammatical >= verdict.consistent
    if verdict.consistent:
        assert (verdict.plot, verdict.facts) == (told[changed].plot, told[changed].facts)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kinds = "owl, fox"', 'kinds = "owl, fox, owl"', "table 'kinds' holds a word twice"),
        ("a boat; a stone; a reed", "a boat; a stone", "same number of words in 'spots'"),
        ("a boat; a stone; a reed", "a boat; a reed; a reed", "'spots' holds a word twice"),
        ('"The hat of {hero} was {colour}."', '"The hat of {hero} was new."', r"draws \['colour'\]"),
        ('"{hero} was {a kind}."', '"She was {a kind}."', "draws"),
        ('"{friend} came. {friend.Their} hat', '"{friend.They} came. The hat', r"draws \['friend'\]"),
        ('lost = ["once", "goes"', 'lost = ["once"', "'spot' but never draws 'place'"),
    ],
)
def test_a_world_with_wrong_bits_does_not_load(old: str, new: str, message: str) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(InputError, match=message):
        World(SMALL.replace(old, new))


# The full world.

SEEDS = st.integers(0, 2**32)
INDEXES = st.integers(0, 2**20)
FIRST_STORIES = "f25d21898e094c16f4f6fe61341c4ccf0adca059d766a001f23d31840c64497b"  # SHA-256 of the first hundred


@cache
def some_stories() -> list[Story]:
    return [draw(0, index) for index in range(3000)]


Pieces = tuple[tuple[str, ...], ...]
State = tuple[int, int, str, str]


def one_begins_the_other(a: Pieces, b: Pieces, starts: list[State]) -> bool:
    """Whether a text of `a` is a text of `b` or the beginning of one, or the other way round.

    Follows both side by side, from pairs of places reached by the same text: pieces of a and of b behind them, and what
    a is ahead of b, and b of a (one of the two is empty). This is the test of Sardinas and Patterson (1953).
    """
    todo, seen = list(starts), set(starts)
    while todo:
        i, j, ahead_a, ahead_b = todo.pop()
        if (i == len(a) and not ahead_a) or (j == len(b) and not ahead_b):
            return True
        behind, pieces, ahead = (j, b, ahead_a) if ahead_a else (i, a, ahead_b)
        if behind == len(pieces):
            continue
        for word in pieces[behind]:
            if ahead.startswith(word):
                rests = (ahead[len(word) :], "")
            elif word.startswith(ahead):
                rests = ("", word[len(ahead) :])
            else:
                continue
            state = (i, j + 1, *rests) if ahead_a else (i + 1, j, rests[1], rests[0])
            if state not in seen:
                seen.add(state)
                todo.append(state)
    return False


def can_be_read_in_two_ways(a: Pieces) -> bool:
    """Whether two different fillings of one wording give the same text, or one the beginning of the other."""
    return any(
        one_begins_the_other(a, a, [(i + 1, i + 1, "", longer[len(word) :])])
        for i, words in enumerate(a)
        for word, longer in itertools.permutations(words, 2)
        if longer.startswith(word)
    )


def test_the_checks_of_ambiguity_find_what_they_look_for() -> None:
    start = [(0, 0, "", "")]
    assert one_begins_the_other((("a", "ab"), ("c", "bc")), (("ab",), ("c",)), start)
    assert one_begins_the_other((("x", "a"), (" b",)), (("a b c",),), start)
    assert not one_begins_the_other((("x", "a"), (" b",)), (("a c",), ("d", "e")), start)
    assert can_be_read_in_two_ways((("a", "ab"), ("c", "bc")))
    assert not can_be_read_in_two_ways((("a", "ab"), ("c", "d")))


@pytest.mark.parametrize("which", ["small", "full"])
def test_a_text_can_be_read_in_one_way_only(which: str) -> None:
    """The sentences that can follow a beginning form a prefix code: none begins another, and none reads in two ways.

    Then a text has one plot, one wording of each sentence and one filling of each slot; and `World` does not load when
    the fillings do not tell every fact. So no text has two derivations.
    """
    w = World(SMALL) if which == "small" else world()

    def pieces(variant: list[str | Slot]) -> Pieces:
        return tuple(
            (p,) if isinstance(p, str) else tuple({p.fill(row) for row in w.all_rows(p.fact)}) for p in variant
        )

    followers: dict[tuple[str, ...], set[str]] = {}
    for names in w.plots.values():
        for n, name in enumerate(names):
            followers.setdefault(tuple(names[:n]), set()).add(name)
    assert len({tuple(names) for names in w.plots.values()}) == len(w.plots), "two plots are the same"
    wordings = {(name, n): pieces(v) for name, variants in w.sentences.items() for n, v in enumerate(variants)}
    for names_here in {frozenset(names) for names in followers.values()}:
        here = [key for key in wordings if key[0] in names_here]
        for a, b in itertools.combinations(here, 2):
            assert not one_begins_the_other(wordings[a], wordings[b], [(0, 0, "", "")]), f"{a} and {b} can be mixed up"
        for a in here:
            assert not can_be_read_in_two_ways(wordings[a]), f"{a} can be read in two ways"


def test_mean_bits_agree_with_the_entropy() -> None:
    bits = [story.bits for story in some_stories()]
    error = statistics.stdev(bits) / math.sqrt(len(bits))
    assert abs(statistics.mean(bits) - stories.entropy()) < 4 * error
    assert error < 0.1


@pytest.mark.parametrize("fact", ["hero", "kind", "colour", "place", "helper"])
def test_the_dice_are_fair(fact: str) -> None:
    drawn = Counter(story.facts[fact] for story in some_stories() if fact in story.facts)
    rows = world().all_rows(fact)
    assert set(drawn) == {row[""] for row in rows}
    expected = drawn.total() / len(rows)
    chi_squared = sum((count - expected) ** 2 / expected for count in drawn.values())
    freedom = len(rows) - 1  # mean of the chi-squared distribution; its variance is twice that
    assert abs(chi_squared - freedom) < 4 * math.sqrt(2 * freedom)


def test_the_world_is_too_large_to_memorise() -> None:
    w = world()
    assert w.n_stories >= 2**45
    assert len(w.plots) >= 5
    lengths = [len(story.text.split()) for story in some_stories()]
    assert min(lengths) >= 60 and max(lengths) <= 130
    words = {word.strip('.,!?":').lower() for story in some_stories() for word in story.text.split()}
    assert len(words) >= 700
    assert len({story.text for story in some_stories()}) == len(some_stories())


@given(SEEDS, INDEXES)
def test_verify_gives_back_what_was_drawn(seed: int, index: int) -> None:
    story = draw(seed, index)
    verdict = verify(story.text)
    assert verdict == stories.Verdict(True, True, None, story.plot, story.facts)


@given(SEEDS, INDEXES)
def test_one_wording_alone_matches_at_its_place(seed: int, index: int) -> None:
    w, story = world(), draw(seed, index)
    position = 0
    for name, sentence, wording in zip(w.plots[story.plot], sentences_of(story), story.wording, strict=True):
        matching = [v for v in range(len(w.sentences[name])) if w._pattern(name, v).match(story.text, position)]
        assert matching == [wording]
        position += len(sentence) + 1


def test_articles_fit_and_every_sentence_ends() -> None:
    text = " ".join(story.text for story in some_stories())
    tokens = [word.strip('"') for word in text.split()]
    for article, word in itertools.pairwise(tokens):
        if article.lower() in ("a", "an"):
            assert (article.lower() == "an") == (word[0] in "aeiou"), f"{article} {word}"
    assert not any(mark in text for mark in ("{", "}", "|", ";", "  ", " ."))
    assert all(story.text.endswith((".", "!", "?", '"')) for story in some_stories())


def test_first_stories_are_the_same_everywhere() -> None:
    """A changed word or die changes this, and then the bundled model has to be trained anew."""
    digest = FIRST_STORIES
    program = (
        "import hashlib; from minigpt.text.stories import draw;"
        "print(hashlib.sha256('\\n'.join(draw(0, i).text for i in range(100)).encode()).hexdigest())"
    )
    assert printed(program) == {digest}
    assert hashlib.sha256("\n".join(draw(0, i).text for i in range(100)).encode()).hexdigest() == digest


def test_splits_are_disjoint_and_shared_out_8_to_1_to_1() -> None:
    texts = {split: {story_at(split, index).text for index in range(300)} for split in SPLITS}
    for a, b in itertools.combinations(SPLITS, 2):
        assert not texts[a] & texts[b]
    for split in SPLITS:
        assert len(texts[split]) == 300
        assert {split_of(text) for text in texts[split]} == {split}
    shares = Counter(split_of(story.text) for story in some_stories())
    for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        error = math.sqrt(share * (1 - share) * len(some_stories()))
        assert abs(shares[split] - share * len(some_stories())) < 4 * error


def test_a_held_out_story_has_the_entropy_of_the_world() -> None:
    bits = [story_at("test", index).bits for index in range(1000)]
    assert abs(statistics.mean(bits) - stories.entropy()) < 4 * statistics.stdev(bits) / math.sqrt(len(bits))


def test_an_unknown_split_is_an_input_error() -> None:
    with pytest.raises(InputError, match="'dev'; choose from train, val, test"):
        story_at("dev", 0)


# What is wrong with a text.


def sentences_of(story: Story) -> list[str]:
    """The story's sentences, written with its facts and wordings."""
    w = world()
    rows = w.rows(story.facts)
    chosen = [w.sentences[name][v] for name, v in zip(w.plots[story.plot], story.wording, strict=True)]
    return ["".join(p if isinstance(p, str) else p.fill(rows[p.fact]) for p in pieces) for pieces in chosen]


@given(SEEDS, INDEXES)
def test_sentences_of_tells_the_story(seed: int, index: int) -> None:
    story = draw(seed, index)
    assert " ".join(sentences_of(story)) == story.text


@given(SEEDS, INDEXES, st.data())
def test_a_fact_that_changes_on_the_way_is_found_and_named(seed: int, index: int, data: st.DataObject) -> None:
    """A name, a colour, a pronoun, a home … said once and then said otherwise: grammatical, but not consistent."""
    w, story = world(), draw(seed, index)
    rows = w.rows(story.facts)
    pieces: list[str | Slot] = []
    for name, v in zip(w.plots[story.plot], story.wording, strict=True):
        pieces += [" ", *w.sentences[name][v]]
    told: set[str] = set()
    repeats = []
    for place, piece in enumerate(pieces):
        if isinstance(piece, Slot):
            if piece.fact in told:
                repeats.append(place)
            elif not piece.column:
                told.add(piece.fact)
    place = data.draw(st.sampled_from(repeats))
    slot = pieces[place]
    assert isinstance(slot, Slot)
    right = slot.fill(rows[slot.fact])
    wrong = data.draw(st.sampled_from(sorted({slot.fill(row) for row in w.all_rows(slot.fact)} - {right})))
    filled = [p if isinstance(p, str) else p.fill(rows[p.fact]) for p in pieces]
    assert "".join(filled)[1:] == story.text
    filled[place] = wrong
    verdict = verify("".join(filled)[1:])
    assert (verdict.grammatical, verdict.consistent, verdict.plot) == (True, False, story.plot)
    assert verdict.problem == f"{wrong!r} does not fit: {slot.fact} was {story.facts[slot.fact]}"


@given(SEEDS, INDEXES, st.data())
def test_a_plot_out_of_joint_is_found(seed: int, index: int, data: st.DataObject) -> None:
    story = draw(seed, index)
    sentences = sentences_of(story)
    place = data.draw(st.integers(0, len(sentences) - 2))
    dropped = verify(" ".join(sentences[:place] + sentences[place + 1 :]))
    assert not dropped.grammatical and not dropped.consistent and "is unknown here" in str(dropped.problem)
    swapped = verify(" ".join([*sentences[:place], sentences[place + 1], sentences[place], *sentences[place + 2 :]]))
    assert not swapped.grammatical and "is unknown here" in str(swapped.problem)
    twice = verify(" ".join([*sentences[: place + 1], *sentences[place:]]))
    assert not twice.grammatical and twice.problem is not None
    cut = verify(" ".join(sentences[: place + 1]))
    assert not cut.grammatical and cut.problem == f"the story stops after sentence {place + 1}"
    assert verify(story.text + " The end.").problem == "the story goes on after its end: 'The end.'"


@given(st.text(max_size=200))
def test_any_text_gets_a_verdict(text: str) -> None:
    verdict = verify(text)
    assert not verdict.grammatical and not verdict.consistent and verdict.problem


@given(SEEDS, INDEXES, st.data())
def test_a_story_cut_within_a_sentence_is_not_grammatical(seed: int, index: int, data: st.DataObject) -> None:
    text = draw(seed, index).text
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    assert not verify(cut).grammatical
    word = data.draw(st.integers(0, len(text.split()) - 1))
    broken = text.split()
    broken[word] = broken[word][:-1] + "#"
    verdict = verify(" ".join(broken))
    assert not verdict.grammatical and "is unknown here" in str(verdict.problem)


def test_each_kind_of_mistake_is_named() -> None:
    """One story, with mistakes that a reader would make."""
    story = next(s for i in range(5000) if re.search("Now s?he was", (s := draw(0, i)).text) and s.wording[0] == 1)
    text, hero = story.text, story.facts["hero"]
    assert verify(text).consistent
    pronouns = {row[""]: row["they"] for row in world().all_rows("hero")}
    other = next(name for name in pronouns if name != hero and pronouns[name] == pronouns[hero])
    assert verify(text.replace(hero, other)).facts["hero"] == other, "with another name throughout it is another story"
    assert verify(other.join(text.rsplit(hero, 1))).problem == f"{other!r} does not fit: hero was {hero}"
    before, pronoun, after = re.split("Now (s?he) was", text)
    wrong = {"he": "she", "she": "he"}[pronoun]
    assert verify(f"{before}Now {wrong} was{after}").problem == f"{wrong!r} does not fit: hero was {hero}"
    unknown = verify(f"{before}Now {hero} was{after}")
    number = world().plots[story.plot].index("feels_sad") + 1
    assert str(unknown.problem).startswith(f"sentence {number} is unknown here: 'Now {hero} was ")
    article = re.sub(r", (an?) ", lambda match: f", {'an' if match[1] == 'a' else 'a'} ", text, count=1)
    assert article != text
    assert str(verify(article).problem).startswith("sentence 1 is unknown here: 'Once upon a time, ")
    assert not verify(text.lower()).grammatical
    assert not verify(text.replace(".", "")).grammatical
    assert verify("").problem == verify("  ").problem == "the text is empty"
    assert verify(f"\n{text}\n").consistent, "white space around a story is no mistake"


def test_what_cannot_be_is_named() -> None:
    """Facts that fit each slot and exclude each other: a sight of another place."""
    w = world()
    for fact, rule in w.rules.items():
        story = next(s for i in range(500) if fact in (s := draw(0, i)).facts)
        rows = w.rows(story.facts)
        possible = w.options(fact, rows)
        for row in w.all_rows(fact):
            verdict = w.verify(w.tell(story.plot, rows | {fact: row}, story.wording))
            assert verdict.grammatical
            if "." not in rule["from"]:
                continue  # a fact that others depend on: another test
            assert verdict.consistent == (row in possible)
            if row not in possible:
                assert str(verdict.problem).startswith(f"{fact} cannot be {row['']!r} when ")
