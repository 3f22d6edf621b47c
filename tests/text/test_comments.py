"""Comments: the best possible classifier against an enumeration of every text, and the dice against their odds."""

import itertools
import math
import re
from collections import Counter
from functools import cache

import pytest

from minigpt.config import InputError
from minigpt.text import comments
from minigpt.text.comments import (
    COMMENT_TASKS,
    REMARKS,
    Comment,
    CommentWorld,
    best_accuracy,
    best_trade_off,
    comment_at,
    comment_world,
    label_odds,
    least_cost,
)
from minigpt.text.stories import SPLITS
from tests.text.everywhere import printed

# SHA-256 of the first hundred of each task.
FIRST_COMMENTS = "cc47740f669644f8bf2f41b736047c3a0aa02ed102a96ccf2513a8075f92de4b"

SMALL = {
    "labels": ["good", "bad"],
    "prior": [3, 1],
    "chinese": "{second}很{first}",
    "first": [{"odds": [3, 1], "words": {"nice": "好", "fine": "妙"}}, {"odds": [1, 2], "words": {"odd": "怪"}}],
    "second": [{"odds": [2, 1], "words": {"song": "歌"}}, {"odds": [1, 1], "words": {"page": "页"}}],
}
# By hand: the chance of each word under each label, from the odds above.
WORD_CHANCES = {
    "nice": (3 / 8, 1 / 6),
    "fine": (3 / 8, 1 / 6),
    "odd": (1 / 4, 2 / 3),
    "song": (2 / 3, 1 / 2),
    "page": (1 / 3, 1 / 2),
}


def every_small_comment() -> dict[str, tuple[float, float]]:
    """All texts of the small world, with their chances together with each label: a product over words, no groups."""
    pairs = list(itertools.product(("nice", "fine", "odd"), ("song", "page")))
    found = {}
    for remarks in REMARKS:
        for chosen in itertools.product(pairs, repeat=remarks):
            words = [word for pair in chosen for word in pair]
            good, bad = (math.prod(WORD_CHANCES[word][label] for word in words) for label in (0, 1))
            text = ", ".join(" ".join(pair) for pair in chosen)
            found[text[0].upper() + text[1:] + "."] = (0.75 * good / 3, 0.25 * bad / 3)
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> CommentWorld:
    world = CommentWorld(SMALL)
    monkeypatch.setattr(comments, "comment_world", lambda task: world)
    return world


def test_the_limits_are_those_of_an_enumeration_of_every_text(small):
    every = every_small_comment()
    assert len(every) == sum(6**n for n in REMARKS)
    assert sum(map(sum, every.values())) == pytest.approx(1, abs=1e-12)
    assert best_accuracy("small") == pytest.approx(sum(map(max, every.values())), abs=1e-12)
    costs = [[0, 1], [5, 0]]  # a good one called bad costs 1, a bad one called good 5
    assert least_cost("small", costs) == pytest.approx(sum(min(5 * b, g) for g, b in every.values()), abs=1e-12)
    for text, (good, bad) in itertools.islice(every.items(), 0, None, 50):
        odds = label_odds("small", text)
        assert odds["bad"] == pytest.approx(bad / (good + bad), abs=1e-12)
        assert odds["good"] + odds["bad"] == pytest.approx(1, abs=1e-12)


def test_no_rule_on_the_small_world_has_fewer_misses_for_as_few_false_alarms(small):
    """The curve against all texts sorted by their own likelihood ratio."""
    every = sorted(every_small_comment().values(), key=lambda both: both[1] / both[0], reverse=True)
    alarms = hits = 0.0
    by_hand = [(0.0, 1.0)]
    for good, bad in every:
        alarms, hits = alarms + good / 0.75, hits + bad / 0.25
        by_hand.append((alarms, 1 - hits))
    for false_alarms, misses in best_trade_off("small", "good"):
        assert min(math.hypot(false_alarms - a, misses - m) for a, m in by_hand) < 1e-9


# The full worlds.


@cache
def some(task: str, split: str = "test", count: int = 1500) -> list[Comment]:
    return [comment_at(task, split, index) for index in range(count)]


@pytest.mark.parametrize("task", COMMENT_TASKS)
def test_chances_add_up_to_one(task):
    world = comment_world(task)
    for label, prior in enumerate(world.prior):
        assert sum(chances[label] for chances in world.outcomes) == prior, "exactly: they are fractions"
        for groups in world.groups:
            assert sum(group.chances[label] for group in groups) == 1
    assert sum(world.prior) == 1


@pytest.mark.parametrize("task", COMMENT_TASKS)
def test_the_perfect_classifier_reaches_the_limit_and_is_as_sure_as_it_is_right(task):
    sure, right = [], 0
    for comment in some(task):
        odds = label_odds(task, comment.english)
        assert odds == label_odds(task, comment.chinese)
        guess = max(odds, key=odds.__getitem__)
        sure.append(odds[guess])
        right += guess == comment.label
    limit, n = best_accuracy(task), len(sure)
    error = math.sqrt(limit * (1 - limit) / n)
    assert abs(right / n - limit) < 4 * error
    assert abs(sum(sure) / n - limit) < 4 * error
    assert max(comment_world(task).prior) + 0.1 < limit < 0.97, "words help, and cannot tell all"


@pytest.mark.parametrize("task", COMMENT_TASKS)
def test_words_and_labels_come_with_their_odds(task):
    """Counted in the text; the chance of a word is that of its group, shared out."""
    world = comment_world(task)
    labels = Counter(comment.label for comment in some(task))
    for label, prior in zip(world.labels, map(float, world.prior), strict=True):
        assert abs(labels[label] - 1500 * prior) < 4 * math.sqrt(1500 * prior * (1 - prior))
        texts = [comment.english for comment in some(task) if comment.label == label]
        words = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
        total = sum(text.count(",") + 1 for text in texts)
        for groups in world.groups:
            for group in groups:
                chance = float(group.chances[world.labels.index(label)]) / len(group.words)
                for word in group.words:
                    error = math.sqrt(total * chance * (1 - chance))
                    assert abs(words[word] - total * chance) < 5 * error, (label, word)
    lengths = Counter(comment.english.count(",") + 1 for comment in some(task))
    assert set(lengths) == set(REMARKS)
    assert all(abs(n - 500) < 4 * math.sqrt(1500 * 2 / 9) for n in lengths.values())


@pytest.mark.parametrize("task", COMMENT_TASKS)
def test_the_best_decisions_lie_on_the_best_trade_off(task):
    world = comment_world(task)
    harmless = world.labels[0]
    prior = float(world.prior[0])
    curve = best_trade_off(task, harmless)
    assert curve[0] == (0, 1) and curve[-1] == (1, 0)
    for (a, b), (c, d) in itertools.pairwise(curve):
        assert c >= a and d <= b, "more alarms, fewer misses"
    for cost in (0.1, 1, 7, 50):
        costs: list[list[float]] = [[0, 1], *[[cost, 0.0]] * (len(world.labels) - 1)]
        on_curve = min(prior * alarms + cost * (1 - prior) * misses for alarms, misses in curve)
        assert least_cost(task, costs) == pytest.approx(on_curve, abs=1e-12)
    n = len(world.labels)
    zero_one = [[float(i != j) for j in range(n)] for i in range(n)]
    assert 1 - least_cost(task, zero_one) == pytest.approx(best_accuracy(task), abs=1e-12)


@pytest.mark.parametrize("task", COMMENT_TASKS)
def test_a_comment_can_be_read_in_one_way_only(task):
    world = comment_world(task)
    sizes = []
    for groups in world.groups:
        for words in ([w for g in groups for w in g.words], [w for g in groups for w in g.words.values()]):
            assert len(set(words)) == len(words)
        sizes.append(len(words))
    assert len(world._readings) == 2 * math.prod(sizes), "no remark of two pairs of words"
    for comment in some(task)[:300]:
        assert re.fullmatch(r"[A-Z][a-z ,]+\.", comment.english)
        assert re.fullmatch(r"[\u4e00-\u9fff，]+。", comment.chinese)
        assert comment.english.count(",") == comment.chinese.count("，")


@pytest.mark.parametrize("task", COMMENT_TASKS)
def test_no_comment_is_in_two_splits_in_whatever_language(task):
    for language in ("english", "chinese"):
        texts = [{getattr(comment, language) for comment in some(task, split, 300)} for split in SPLITS]
        for a, b in itertools.combinations(texts, 2):
            assert not a & b


def test_by_hand():
    """One comment: 8 to 2 to 3 for «lovely» and so on, as comments.toml has it; equal priors."""
    first = [8 / 18 / 6, 2 / 18 / 6, 3 / 16 / 6]  # lovely
    second = [5 / 11 / 5, 2 / 11 / 5, 3 / 11 / 5]  # songs
    boring = [2 / 18 / 6, 8 / 18 / 6, 3 / 16 / 6]
    chances = [a**2 * b**3 * c for a, b, c in zip(first, second, boring, strict=True)]
    odds = label_odds("sentiment", "Lovely songs, boring songs, lovely songs.")
    assert list(odds) == ["positive", "negative", "neutral"]
    assert list(odds.values()) == pytest.approx([chance / sum(chances) for chance in chances], abs=1e-12)
    assert odds == label_odds("sentiment", "歌曲很可爱，歌曲很无聊，歌曲很可爱。")


def test_comments_are_the_same_everywhere():
    program = (
        "import hashlib; from minigpt.text.comments import *;"
        "c = [comment_at(task, 'test', i) for task in COMMENT_TASKS for i in range(100)];"
        "print(hashlib.sha256(repr([(x.label, x.english, x.chinese) for x in c]).encode()).hexdigest())"
    )
    assert printed(program) == {FIRST_COMMENTS}
    assert comment_at("sentiment", "val", 3) == comment_at("sentiment", "val", 3)
    assert comment_at("sentiment", "val", 3) != comment_at("sentiment", "val", 3, seed=1)


def test_what_is_unknown_is_told():
    with pytest.raises(InputError, match="no comments for 'sentimental'; did you mean 'sentiment'"):
        comment_at("sentimental", "test", 0)
    with pytest.raises(InputError, match="there is no split 'dev'; choose from train, val, test"):
        comment_at("sentiment", "dev", 0)
    for text, part in [("Lovely songs, nice one.", "nice one"), ("", ""), ("Lovely", "Lovely")]:
        with pytest.raises(InputError, match=f"{part!r} is no remark of these comments"):
            label_odds("sentiment", text)
