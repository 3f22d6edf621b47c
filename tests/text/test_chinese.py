"""The Chinese story world: complete, faithful to the English one, and some of it against translations made by hand."""

import itertools
import re

import pytest

from minigpt.text.chat import add_chat_tokens
from minigpt.text.chinese import (
    add_chinese_tokens,
    rows,
    sentences,
    tokens_per_character,
    training_sentences,
    translations,
)
from minigpt.text.data import storyteller_tokenizer
from minigpt.text.stories import Slot, Story, draw, split_of, story_at, verify, world
from minigpt.text.tasks import example_at
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer

STEPS = [(name, n) for name, variants in world().sentences.items() for n in range(len(variants))]


def story_of(text: str) -> Story:
    """The story that a text tells; its wording by trying each."""
    verdict = verify(text)
    assert verdict.plot is not None
    facts, wording, end = world().rows(verdict.facts), [], 0
    for name in world().plots[verdict.plot]:
        for n in range(len(world().sentences[name])):
            if match := world()._pattern(name, n).match(text, end):
                wording.append(n)
                end = match.end() + 1
                break
    assert world().tell(verdict.plot, facts, tuple(wording)) == text
    return Story(verdict.plot, verdict.facts, tuple(wording), text, 0.0)


BY_HAND = [
    ("Once upon a time, there was a brave fox named Anna.", "从前，有一只勇敢的狐狸，名叫安娜。"),
    ("Anna had a red kite and loved to fly it.", "安娜有一只红色的风筝，很喜欢放它。"),
    ("It was a sunny Monday, so Anna went to the beach.", "那是一个阳光明媚的星期一，所以安娜去了海滩。"),
    ("There she saw a crab. It was the biggest crab at the beach.", "在那里，她看见了一只螃蟹。那是海滩上最大的螃蟹。"),
    ("Suddenly the red kite broke.", "突然，那只红色的风筝坏了。"),
    ("This made her very sad.", "这让她非常难过。"),
    ("Near a stable, Anna met Ben the pony.", "在一个马厩附近，安娜遇见了小马本。"),
    ('"Do not cry," said Ben. "We can do it together."', "“别哭，”本说，“我们一起就能办到。”"),
    ("With a needle, Ben fixed the red kite.", "本用一根针修好了那只红色的风筝。"),
    ("Anna was happy and gave him a big hug.", "安娜很高兴，紧紧地拥抱了他。"),
    ("That night, the red kite lay next to Anna's bed.", "那天夜里，那只红色的风筝就放在安娜的床边。"),
    ("Anna and Ben became best friends.", "安娜和本成了最好的朋友。"),
]


def test_a_story_against_its_translation_by_hand():
    right = translations(story_of(" ".join(english for english, _ in BY_HAND)))
    for (english, chinese), wordings in zip(BY_HAND, right, strict=True):
        assert chinese in wordings, english


@pytest.mark.parametrize("fact", world().rules)
def test_every_word_has_a_chinese_one_of_its_own(fact):
    plot = next(plot for plot, facts in world().facts_of.items() if fact in facts)
    facts = next(s for i in itertools.count() if (s := draw(0, i)).plot == plot).facts
    words = {row[""]: rows(facts | {fact: row[""]})[fact] for row in world().all_rows(fact)}
    chinese = [row[""] for row in words.values()]
    assert len(set(chinese)) == len(words), "two English words have one translation"
    assert all(re.fullmatch(r"[\u4e00-\u9fff]+", word) for word in chinese)


@pytest.mark.parametrize(("name", "variant"), STEPS)
def test_a_translation_says_what_the_english_says_and_no_more(name, variant):
    def told(pieces):
        """The facts that the slots tell; a name, a pronoun and a home are different things to tell."""
        found = set()
        for piece in pieces:
            if isinstance(piece, Slot):
                column = piece.column.replace("them", "they").replace("their", "they").removesuffix("mw")
                if column in ("use", "pre", "post"):
                    column = "use"
                elif column in ("at", "in", "eat"):  # at and in what place; one eats a cake and drinks a soup
                    column = ""
                found.add((piece.fact, column))
        return found

    english = told(world().sentences[name][variant])
    assert len(sentences()[name]) == len(world().sentences[name]) and len(sentences()[name][variant]) >= 2
    for wording in sentences()[name][variant]:
        chinese = told(wording)
        # A home stands with «里» or «上», which is another column of the same animal.
        homes = {(fact, "") for fact, column in english if column == "home"}
        pronouns = {(fact, "they") for fact, column in english if column == "they"}
        assert chinese - homes <= english, "no fact is added, no name for a pronoun"
        assert english - pronouns <= chinese, "no fact is lost"


def test_every_translation_is_chinese_and_no_two_are_the_same():
    for index in range(600):
        story = draw(0, index)
        steps = translations(story)
        assert len(steps) == len(story.wording)
        for wordings in steps:
            assert len(set(wordings)) == len(wordings)
            for text in wordings:
                assert re.fullmatch(r"[\u4e00-\u9fff，。！？：、“”]+", text), text
                assert text[-1] in "。！？”" and not re.search(r"[，。！？：、]{2}|的的|了了|一一", text), text
                assert text.count("“") == text.count("”")


def test_measure_words_are_those_of_a_dictionary():
    by_hand = {
        "kind": "狐狸只 小马匹 大象头 猪头 蜜蜂只 企鹅只",
        "object": "书本 帽子顶 自行车辆 灯盏 鼓面 地图张 雨伞把 毯子条 帆船艘 风筝只 笛子支",
        "other_object": "弹珠颗 围巾条 斗篷件 羽毛根 铅笔支 小提琴把 卡车辆 王冠顶",
        "sight": "灯塔座 油画幅 镜子面 骆驼头 斑马匹 公主位 词典本 水井口 鳄鱼条 松树棵 汽船艘 奶酪块 向日葵朵",
    }
    for fact, pairs in by_hand.items():
        plot = next(plot for plot, facts in world().facts_of.items() if fact in facts)
        facts = next(s for i in itertools.count() if (s := draw(0, i)).plot == plot).facts
        every = (rows(facts | {fact: row[""]})[fact] for row in world().all_rows(fact))
        measure = {row[""]: row["mw"] for row in every}
        for pair in pairs.split():
            assert measure[pair[:-1]] == pair[-1]


def test_two_stories_have_the_same_translation_only_if_they_say_the_same():
    """No fact is lost on the way: a changed fact changes every translation of some step."""
    changed = 0
    for index in range(100):
        story = draw(0, index)
        steps = translations(story)
        for fact, value in story.facts.items():
            other = next(row[""] for row in world().all_rows(fact) if row[""] != value)
            new = translations(Story(story.plot, story.facts | {fact: other}, story.wording, "", 0.0))
            assert any(not set(a) & set(b) for a, b in zip(steps, new, strict=True)), fact
            changed += 1
    assert changed > 1000


def test_a_tokenizer_gets_a_token_for_each_chinese_character_and_keeps_its_ids():
    before = add_chat_tokens(storyteller_tokenizer())
    after = add_chinese_tokens(before)
    assert isinstance(before, BPETokenizer) and isinstance(after, BPETokenizer)
    assert (tokens_per_character(before), tokens_per_character(after)) == (3.0, 1.0)
    assert after.special_tokens == before.special_tokens
    assert list(after.merges)[: len(before.merges)] == list(before.merges)
    assert all(after.token_bytes(i) == before.token_bytes(i) for i in range(before.vocab_size))
    for index in range(50):
        text = story_at("test", index).text
        assert after.encode(text) == before.encode(text)
        # Learned from training sentences, and enough for the others.
        for right in example_at("translation", "test", index).answers:
            assert len(after.encode(right)) == len(right) and after.decode(after.encode(right)) == right
    assert all(len(after.token_bytes(i)) <= 3 for i in range(before.vocab_size, after.vocab_size)), "none is a word"
    assert add_chinese_tokens(after) is after and add_chinese_tokens(before).contents() == after.contents()


def test_a_tokenizer_of_characters_gets_no_more():
    letters = CharTokenizer("".join(sorted(set("".join(training_sentences(200))))))
    assert add_chinese_tokens(letters) is letters


def test_what_is_learned_from_is_for_training():
    held_out = set()
    for index in range(300):
        story = story_at("test", index)
        steps = world().steps(story.plot, world().rows(story.facts), story.wording)
        for step, right in zip(steps, translations(story), strict=True):
            if split_of(step) != "train":
                held_out |= set(right)
    common = held_out & set(training_sentences(300))
    # Two English wordings may have one translation, but hardly ever.
    assert len(held_out) > 500 and len(common) < 0.05 * len(held_out)
