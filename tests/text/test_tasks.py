"""Tasks: answers against ones written by hand and against the facts that `verify` reads from the text alone."""

import hashlib
import itertools
import math
import re
from collections import Counter
from functools import cache

import pytest

from minigpt.config import InputError
from minigpt.text.chat import check_messages
from minigpt.text.chinese import translations
from minigpt.text.stories import SPLITS, fill, split_of, story_at, verify, world
from minigpt.text.tasks import (
    ALL_TASKS,
    IN_TURN,
    TASKS,
    UNANSWERABLE,
    Example,
    example_at,
    kinds,
    questions,
    score,
    teaching_at,
)
from tests.text.everywhere import printed

# SHA-256 of the first fifty of each task.
FIRST_EXAMPLES = "589659df0f74e7135ee8352daa41ab9760896d0e4338ebefad969c5416fe6f03"
NOT_TOLD = {"The story does not say.", "The story does not tell us.", "That is not in the story."}


@cache
def examples(task: str, split: str = "test", count: int = 400) -> list[Example]:
    return [example_at(task, split, index) for index in range(count)]


def story_and_question(example: Example) -> list[str]:
    return example.messages[0].content.split("\n")


# By hand: every question that can be asked about two stories, and every right answer.

SWAP = (
    "Once there was a shy owl, and her name was Mia. Mia had an orange kite and loved to fly it. One sunny "
    "Monday, the shy owl flew to the park. There she saw a swan. It was the biggest swan in the park. Then a "
    "fox named Ben came along. He showed Mia a blue mug, and Mia liked the blue mug. So they swapped. Both of "
    "them were glad. They sat down and ate toast. That night, Mia dreamed of the blue mug. Mia and Ben became "
    "best friends."
)
ASKED_ABOUT_SWAP = {
    "What is the name of the shy owl?|What is the shy owl called?": "Mia.|The shy owl is called Mia.|Her name is Mia.",
    "What kind of animal is Mia?|What animal is Mia?": "An owl.|Mia is an owl.|She is an owl.",
    "What kind of animal is Ben?|What animal is Ben?": "A fox.|Ben is a fox.|He is a fox.",
    "What is Mia like?": "Mia is shy.|She is shy.",
    "What colour is the kite?|Which colour does the kite have?": "It is orange.|The kite is orange.",
    "What colour is the mug?|Which colour does the mug have?": "It is blue.|The mug is blue.",
    "Where did Mia go?": "To the park.|Mia went to the park.|She went to the park.",
    "What was the weather like?|How was the weather?": "It was sunny.|The weather was sunny.",
    "When did Mia go to the park?": "On a sunny Monday.|It was a sunny Monday.|She went there on a sunny Monday.",
    "What did Mia see in the park?": "A swan.|Mia saw a swan.|She saw a swan.",
    "What did Mia get from Ben?": "A blue mug.|The blue mug.|Mia got a blue mug.|She got a blue mug.",
    "Whom did Mia meet?": "Ben.|Ben the fox.|Mia met Ben.|She met Ben.|Mia met Ben the fox.|She met Ben the fox.",
    "How did Ben feel when he had the orange kite?": "Ben felt glad.|Ben was glad.|He felt glad.|He was glad.",
    "What did they eat?|What did Mia and Ben eat?": "They ate toast.|Mia and Ben ate toast.",
    "Who has the orange kite now?": "Ben.|Ben has it.|Ben has it now.",
    "Who has the blue mug now?": "Mia.|Mia has it.|Mia has it now.",
    "Who helped Mia?": "",
    "What was Mia invited to?": "",
    "How old is Mia?|What is the name of Mia's mother?|How many brothers does Mia have?": "",
    "Why was Mia sad?": "",
    "What kind of animal is Zoe?|Where did Zoe go?|What did Zoe see?": "",
}
BROKEN = (
    "Once upon a time, there was an eager bear named Ivan. Ivan had a red drum and loved to beat it. It was a "
    "misty evening, so Ivan went to the beach. There he saw a crab. It was the biggest crab at the beach. "
    "Suddenly the red drum broke. Ivan felt sad. Then a hen named Dora came along. Dora saw that Ivan needed "
    "help. Dora took glue and mended the red drum. Ivan was happy and gave her a big hug. That night, the red "
    "drum lay next to Ivan's bed. All was well at the beach again."
)
ASKED_ABOUT_BROKEN = {
    "What is the name of the eager bear?|What is the eager bear called?": "Ivan.|The eager bear is called Ivan.|"
    "His name is Ivan.",
    "What kind of animal is Ivan?|What animal is Ivan?": "A bear.|Ivan is a bear.|He is a bear.",
    "What kind of animal is Dora?|What animal is Dora?": "A hen.|Dora is a hen.|She is a hen.",
    "What is Ivan like?": "Ivan is eager.|He is eager.",
    "What colour is the drum?|Which colour does the drum have?": "It is red.|The drum is red.",
    "Where did Ivan go?": "To the beach.|Ivan went to the beach.|He went to the beach.",
    "What was the weather like?|How was the weather?": "It was misty.|The weather was misty.",
    "When did Ivan go to the beach?": "On a misty evening.|It was a misty evening.|He went there on a misty evening.",
    "What did Ivan see at the beach?": "A crab.|Ivan saw a crab.|He saw a crab.",
    "What broke?|What was broken?": "A red drum.|The red drum.|The red drum broke.|His red drum.",
    "Whom did Ivan meet?": "Dora.|Dora the hen.|Ivan met Dora.|He met Dora.|Ivan met Dora the hen.|"
    "He met Dora the hen.",
    "Who helped Ivan?": "Dora.|Dora the hen.|Dora helped Ivan.|Dora helped him.|Dora the hen helped Ivan.|"
    "Dora the hen helped him.",
    "Why was Ivan sad?": "Because the red drum broke.|Because his red drum broke.|Because the red drum was broken.|"
    "Because his red drum was broken.",
    "How did Ivan feel before Dora came?": "Ivan felt sad.|Ivan was sad.|He felt sad.|He was sad.",
    "How did Ivan feel in the end?": "Ivan felt happy.|Ivan was happy.|He felt happy.|He was happy.",
    "What did Dora mend the drum with?": "With glue.|Dora used glue.|She used glue.",
    "Who has the red drum now?": "Ivan.|Ivan has it.|Ivan has it now.",
    "Who won the race?": "",
    "What did they eat?|What did Ivan and Dora eat?": "",
    "From whom did Ivan get the drum?": "",
    "How old is Ivan?|What is the name of Ivan's mother?|How many brothers does Ivan have?": "",
    "What kind of animal is Zoe?|Where did Zoe go?|What did Zoe see?": "",
}


@pytest.mark.parametrize(("text", "by_hand"), [(SWAP, ASKED_ABOUT_SWAP), (BROKEN, ASKED_ABOUT_BROKEN)])
def test_questions_and_all_right_answers_against_those_written_by_hand(text, by_hand):
    verdict = verify(text)
    assert verdict.problem is None
    stranger = next(row for row in world().tables["helpers"] if row[""] == "Zoe")
    rows = world().rows(verdict.facts) | {"stranger": stranger}
    asked = {}
    for question in questions():
        if verdict.plot in question.plots:
            answers = {fill(answer, rows) for answer in question.answers}
            assert (answers == NOT_TOLD) == (question.kind == UNANSWERABLE)
            asked["|".join(fill(ask, rows) for ask in question.ask)] = set() if answers == NOT_TOLD else answers
    assert asked == {ask: set(filter(None, answers.split("|"))) for ask, answers in by_hand.items()}


def test_summaries_against_those_written_by_hand():
    by_hand = {
        "Ivan's red drum broke, and Dora mended it with glue.",
        "Ivan the bear had a red drum that broke, and Dora the hen mended it.",
        "An eager bear had a red drum that broke, and Dora the hen mended it with glue.",
        "At the beach, Ivan's red drum broke, and Dora mended it.",
        "Dora helped Ivan and mended the broken red drum with glue.",
    }
    facts = {"eager": "trait", "bear": "kind", "Ivan": "hero", "red": "colour", "drum": "object", "beach": "place"}
    facts |= {"Dora": "helper", "hen": "helper_kind", "glue": "tool"}
    broken = (e for e in examples("summaries") if e.kind == "broken")
    example = next(e for e in broken if world().rows(e.story.facts)["place"]["at"] == "at")
    f = example.story.facts
    his = {"she": "her", "he": "his"}[world().rows(f)["hero"]["they"]]
    expected = set()
    for sentence in by_hand:
        words = re.sub(r"\w+", lambda m: f[facts[m[0]]] if m[0] in facts else m[0], sentence.replace("his", his))
        expected.add(re.sub(r"\b([Aa])n? (?=(\w))", lambda m: m[1] + ("n " if m[2] in "aeiou" else " "), words))
    assert example.answers == expected


# Against the facts that the text tells.


def words_of(kind: str, f: dict[str, str], plot: str) -> list[str]:
    """What every right answer to this kind of question must say, from the facts."""
    thing = [f.get("colour", ""), f.get("object", "")]
    return {
        "name": [f["hero"]],
        "animal": [f["kind"]],
        "other animal": [f["helper_kind"]],
        "trait": [f["trait"]],
        "where": [f["place"]],
        "weather": [f["weather"]],
        "when": [f["weather"], f["time"]],
        "sight": [f.get("sight", "")],
        "object": [f["other_colour"], f["other_object"]] if plot == "swap" else thing,
        "met": [f["helper"]],
        "who helped": [f["helper"]],
        "who won": [f["helper"]],
        "who invited": [f["helper"]],
        "why": [f["helper"]] if plot == "race" else thing,
        "sad": [f.get("sad", "")],
        "glad": [f["glad"]],
        "tool": [f.get("tool", "")],
        "treat": [f.get("treat", "")],
        "occasion": [f.get("occasion", "")],
        "source": [f.get("source", "")],
    }[kind]


@pytest.mark.parametrize("task", ["questions", "dialogue"])
def test_right_answers_say_the_facts_that_the_text_tells(task):
    seen: Counter[str] = Counter()
    for example in examples(task):
        verdict = verify(story_and_question(example)[0])
        assert verdict.consistent and verdict.facts == example.story.facts
        asked = example.messages[-2].content.split("\n")[-1]
        f = verdict.facts
        if example.kind == UNANSWERABLE:
            assert example.answers == NOT_TOLD
        elif example.kind == "colour":
            it = [m.content for m in example.messages[-4:-2]] if " it " in asked or asked.endswith(" it?") else [asked]
            other = f.get("other_object", "-") in " ".join(it).split("\n")[-1]
            word = f["other_colour" if other else "colour"]
            assert all(word in answer for answer in example.answers)
        elif example.kind == "owner":
            assert len(example.answers & {f"{f['hero']}.", f"{f['helper']}."}) == 1
        else:
            for answer in example.answers:
                assert all(word in answer for word in words_of(example.kind, f, example.story.plot)), (asked, answer)
        seen[example.kind] += 1
    assert len(seen) >= 20


def test_what_is_unanswerable_is_not_in_the_story():
    """In words that stories.toml has for it, or by the name of the one asked about."""
    tables = {"Who won": None, "eat": "treats", "mend": "tools", "invited to": "occasions", "From whom": "sources"}
    seen = set()
    for example in examples("questions", "train", 1500):
        if example.kind != UNANSWERABLE:
            continue
        text, asked = story_and_question(example)
        for words, table in tables.items():
            if words in asked:
                seen.add(words)
                told = (
                    ["race", "was the first", "faster", "won"]
                    if table is None
                    else [r[""] for r in world().tables[table]]
                )
                told = [word for word in told if word != "party"] if table == "occasions" else told
                assert not any(re.search(rf"\b{re.escape(word)}\b", text) for word in told), (asked, text)
        for name in re.findall(r"[A-Z]\w+", asked)[1:]:
            if name not in (example.story.facts["hero"], example.story.facts["helper"]):
                seen.add("stranger")
                assert name not in text
    assert seen == {*tables, "stranger"}


@pytest.mark.parametrize("task", TASKS)
def test_every_example_is_a_chat_that_ends_right(task):
    for example in examples(task):
        check_messages(example.messages)
        last = example.messages[-1].content
        assert example.task == task and score(example, last) and last in example.answers
        assert not score(example, last + " ") and not score(example, last[:-1]) and not score(example, "")
        for text in filter(str.isascii, [*example.answers, *(message.content for message in example.messages)]):
            assert not re.search(r"[{}\[\]|]|  | \.|\.\.", text) and text.lstrip('"')[0].isupper() and text[-1] in ".?!"
            for article, letter in re.findall(r"\b([Aa]n?) (\w)", text):
                assert (len(article) == 2) == (letter in "aeiou"), text
        assert split_of(example.story.text) == "test" and verify(example.story.text).consistent


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_for_one_story_is_wrong_for_another(task):
    """An answer is as informative as it can be: shuffled among examples of one kind, most are wrong."""
    by_kind: dict[str, list[Example]] = {}
    for example in examples(task):
        by_kind.setdefault(example.kind, []).append(example)
    for kind in set(by_kind) - {UNANSWERABLE, "not_told"}:
        group = by_kind[kind]
        right = sum(score(a, b.messages[-1].content) for a in group for b in group if a is not b)
        assert right < 0.5 * len(group) * (len(group) - 1) or len(group) < 5, kind


def test_every_kind_is_as_likely_as_another():
    counts = Counter(example.kind for example in examples("questions", "train", 1500))
    assert len(kinds()) == 22 and set(counts) == {*kinds(), UNANSWERABLE}
    for kind, count in counts.items():
        share = 1 / 6 if kind == UNANSWERABLE else 5 / 6 / 22
        assert abs(count - 1500 * share) < 4.5 * math.sqrt(1500 * share * (1 - share)), kind
    moods = Counter(example.kind for example in examples("mood"))
    for count in moods.values():
        assert abs(count - 400 / 3) < 4 * math.sqrt(400 * 2 / 9)


def talk_of(things: set[str], said: list[str]) -> bool:
    """Whether the talk is of one of the things: named in the last question or its answer, or called «it» since."""
    while said:
        turn = " ".join(said[-2:])
        if named := sum(re.search(rf"\b{thing}\b", turn) is not None for thing in things):
            return named == 1
        if not re.search(r"\b[Ii]t\b", turn):
            return False
        said = said[:-2]
    return False


def test_dialogues_have_two_to_four_questions_and_clear_pronouns():
    lengths: Counter[int] = Counter()
    followed = 0
    for example in examples("dialogue"):
        asked = [message.content.split("\n")[-1] for message in example.messages[::2]]
        lengths[len(asked)] += 1
        assert len(set(asked)) == len(asked), "nothing is asked twice"
        assert all("\n" not in message.content for message in example.messages[1:])
        rows = world().rows(example.story.facts)
        for n, text in enumerate(asked):
            if (pronoun := re.search(r"\b(s?he|him|her|his)\b", text)) and not re.search(r"\b[A-Z]\w+ feel", text):
                followed += 1
                assert n > 0 and rows["hero"]["they"] != rows["helper"]["they"], (pronoun, asked)
            if re.search(r"\bit\b", text):
                followed += 1
                things = {example.story.facts.get(fact, "-") for fact in ("object", "other_object")}
                assert talk_of(things, [m.content.split("\n")[-1] for m in example.messages[: 2 * n]]), asked
    assert set(lengths) == {2, 3, 4} and all(abs(n - 400 / 3) < 4 * math.sqrt(400 * 2 / 9) for n in lengths.values())
    assert followed > 200, "most dialogues can only be understood together with what was said before"


def test_a_mood_is_told_by_the_last_feeling_in_the_text():
    for example in examples("mood"):
        text, f = story_and_question(example)[0], example.story.facts
        assert example.story.text.startswith(text)
        rest = example.story.text[len(text) :]
        assert not rest or "story stops after sentence" in str(verify(text).problem)
        told = [word for word in (f.get("sad"), f["glad"]) if word and re.search(rf"\b{word}\b", text)]
        if example.kind == "not_told":
            assert example.answers == NOT_TOLD
            assert not told or example.story.plot == "gift", "where it is the helper who is glad"
        else:
            assert told and all(f[example.kind] in answer for answer in example.answers)
            assert example.kind == ("glad" if f["glad"] in told else "sad")


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_story_with_each_other_or_with_training_stories(task):
    texts = {split: {example.story.text for example in examples(task, split, 100)} for split in SPLITS}
    assert all({split_of(text) for text in texts[split]} == {split} for split in SPLITS)
    assert not (texts["val"] | texts["test"]) & {story_at("train", index).text for index in range(100)}
    assert len(texts["test"]) == 100
    shown = {split: {story_and_question(example)[0] for example in examples(task, split, 300)} for split in SPLITS}
    for a, b in itertools.combinations(SPLITS, 2):
        assert not shown[a] & shown[b], "no part of a story either"


def test_examples_are_the_same_everywhere():
    """A changed wording or die changes this, and scores measured before are no longer comparable."""
    program = (
        "import hashlib; from minigpt.text.tasks import TASKS, example_at;"
        "e = [example_at(task, 'test', i) for task in TASKS for i in range(50)];"
        "print(hashlib.sha256(repr([(x.kind, x.messages, sorted(x.answers)) for x in e]).encode()).hexdigest())"
    )
    assert printed(program) == {FIRST_EXAMPLES}
    assert example_at("mood", "val", 3) == example_at("mood", "val", 3) != example_at("mood", "val", 3, seed=1)
    some = [example_at(task, "test", i) for task in TASKS for i in range(50)]
    text = repr([(x.kind, x.messages, sorted(x.answers)) for x in some])
    assert hashlib.sha256(text.encode()).hexdigest() == FIRST_EXAMPLES


def test_a_translation_is_asked_of_one_step_of_the_story():
    for example in examples("translation"):
        english, asked = story_and_question(example)
        assert english in example.story.text and "Chinese" in asked
        step = world().plots[example.story.plot].index(example.kind)
        assert example.answers == set(translations(example.story)[step])


def test_unknown_names_are_told():
    with pytest.raises(InputError, match="there is no task 'question'; did you mean 'questions'"):
        example_at("question", "test", 0)
    with pytest.raises(InputError, match="there is no split 'dev'; choose from train, val, test"):
        example_at("mood", "dev", 0)


# What a model learns the tasks from.


@pytest.mark.parametrize("task", [*TASKS, ALL_TASKS])
def test_what_a_task_is_learned_from_is_a_chat_of_the_training_split(task):
    for index in range(200):
        messages = teaching_at(task, index, seed=2)
        check_messages(messages)
        assert len(messages) in (2, 4, 6, 8) and messages == teaching_at(task, index, seed=2)
        text = messages[0].content.rsplit("\n", 1)[0]
        if task != "translation" and (task != ALL_TASKS or text.startswith("Once")):
            assert split_of(text) == "train" or task in ("mood", ALL_TASKS)
    assert teaching_at(task, 0, seed=2) != teaching_at(task, 0, seed=3)


def test_all_tasks_come_in_turn_and_none_twice():
    some = [teaching_at(ALL_TASKS, index) for index in range(84)]
    assert len({str(messages) for messages in some}) == 84
    chinese = [not messages[1].content.isascii() for messages in some]
    assert chinese == [index % 12 in (1, 3, 6, 8, 10) for index in range(84)] and set(IN_TURN) == set(TASKS)
    assert {example_at(ALL_TASKS, "test", index).task for index in range(5)} == set(TASKS)


def test_each_answer_is_right_by_the_facts_that_a_whole_story_tells():
    """Questions as they are in `questions`, filled in with the facts that `verify` reads from the text alone."""
    whole = cut = 0
    for index in range(300):
        first, *rest = teaching_at("dialogue", index)
        text, asked = first.content.split("\n")
        verdict = verify(text)
        if verdict.problem is not None:
            cut += 1
            continue
        whole += 1
        rows = world().rows(verdict.facts)
        told = [q for q in questions() if verdict.plot in q.plots]
        right: dict[str, set[str]] = {}
        for question in told:
            if not any(piece.fact == "stranger" for ask in question.ask for piece in ask if not isinstance(piece, str)):
                for ask in (*question.ask, *question.follow):
                    right.setdefault(fill(ask, rows), set()).add(fill(question.answers[0], rows))
        for put, answer in zip([asked, *(m.content for m in rest[1::2])], rest[::2], strict=True):
            assert answer.content in right.get(put, {"The story does not say."}), (text, put, answer)
    assert whole > 100 and cut > 100


def test_the_beginning_of_a_story_is_asked_only_what_it_tells():
    """The answer's names, colours, animals and places stand in what was read so far."""
    words = {row[""] for table in ("colours", "weathers", "traits", "heroes") for row in world().tables[table]}
    for index in range(300):
        messages = teaching_at("questions", index)
        text = messages[0].content.split("\n")[0]
        for answer in messages[1::2]:
            for word in re.findall(r"[A-Za-z]+", answer.content):
                assert word not in words or re.search(rf"\b{word}\b", text), (text, answer)
