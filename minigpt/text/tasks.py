"""Labelled tasks from the story world: questions, summaries, dialogues, moods, translations; all right answers known.

A task is made as a story is: fair dice draw the facts, a story from them, what is asked about it, and one of the right
wordings of the answer. `tasks.toml` holds the wordings. What is right follows from the facts, so an answer is scored
exactly, by no judge.

Every example's story belongs to the split of the story world that the example belongs to. So the stories of the tasks
"val" and "test" are in nothing that a model was trained on: not among its stories, and not in its training tasks. Where
a task shows a part of a story, that part is in no other split either.
"""

import random
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from minigpt.config import InputError, nearest
from minigpt.text.chat import KnownChat, Message
from minigpt.text.chinese import translations
from minigpt.text.stories import SPLITS, Row, Sentence, Slot, Story, fill, read_sentence, split_of, world

TASKS = ("questions", "summaries", "dialogue", "mood", "translation")

UNANSWERABLE = "unanswerable"
"""The kind of a question that the story does not answer; the right answer says so."""

NOT_TOLD = "not_told"
"""The mood of a hero of whom the story has told no feeling yet; the others are "sad" and "glad"."""

UNANSWERABLE_ODDS = 6
"""One question in so many is unanswerable."""

ALL_TASKS = "all"
"""The tasks in turn; of twelve examples to learn from, five are translations: each is short, and a language is much."""

CHINESE_TASKS = ("translation", ALL_TASKS)
"""Those with Chinese in their answers."""

IN_TURN = (
    *("questions", "translation", "dialogue", "translation", "mood", "summaries"),
    *("translation", "questions", "translation", "dialogue", "translation", "mood"),
)

ASKED_EARLY = frozenset(
    ("name", "animal", "other animal", "trait", "colour", "where", "weather", "when", "sight", "met", "tool", "treat")
)
"""Kinds of questions that the rest of a story cannot answer otherwise, once what they name is told."""

Choose = Callable[[int], int]
"""Throws a die with n sides: 0 .. n − 1."""


@dataclass(frozen=True)
class Example(KnownChat):
    """An example of a task. Its kind is what is asked (questions, dialogue), the plot (summaries), its step
    (translation), or the mood: labels, too."""

    task: str
    story: Story
    first_answer: str = ""
    """Of the right answers, the one whose wording stands first in the source."""


@dataclass(frozen=True)
class Question:
    """A question of `tasks.toml`, which tells what the fields are; `plots` are those in which it is asked."""

    kind: str
    ask: Sequence[Sentence]
    follow: Sequence[Sentence]
    answers: Sequence[Sentence]
    about: str
    then: str
    plots: frozenset[str]


@cache
def _source() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("tasks.toml").read_text(encoding="utf-8"))


def _sentences(texts: list[str]) -> list[Sentence]:
    return [read_sentence(text) for text in texts]


@cache
def questions() -> list[Question]:
    """All questions; one that some plots answer and others do not stands there twice."""
    found = []
    not_told = _sentences(_source()["not_told"])
    for entry in _source()["questions"]:
        ask, answers = _sentences(entry["ask"]), _sentences(entry.get("answers", []))
        named = {piece.fact for sentence in ask + answers for piece in sentence if isinstance(piece, Slot)}
        able = {plot for plot, facts in world().facts_of.items() if named - {"stranger"} <= set(facts)}
        about = entry.get("about", "")
        wordings = (ask, _sentences(entry.get("follow", [])))
        topics = (about, entry.get("then", about))
        plots = frozenset(entry.get("plots", able))
        found.append(Question(entry["kind"], *wordings, answers or not_told, *topics, plots))
        if missing := entry.get("missing"):
            found.append(Question(UNANSWERABLE, *wordings, not_told, about, about, frozenset(missing)))
    return found


@cache
def kinds() -> list[str]:
    """The kinds of questions that a story answers, twenty-two of them."""
    return list(dict.fromkeys(question.kind for question in questions() if question.kind != UNANSWERABLE))


def example_at(task: str, split: str, index: int, seed: int = 0) -> Example:
    """Example number `index` of a task's split: the same on every machine and Python version, as a story is.

    Kinds of questions, and moods, are equally likely, but for one question in UNANSWERABLE_ODDS without an answer.

    Raises:
        InputError: for an unknown task or split.
    """
    if task == ALL_TASKS:
        index, place = divmod(index, len(TASKS))
        task = TASKS[place]
    if task not in TASKS:
        raise InputError(f"there is no task {task!r}; {nearest(task, [*TASKS, ALL_TASKS])}")
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}; choose from {', '.join(SPLITS)}")
    die = random.Random(f"{task} {split} {seed} {index}").random

    def choose(n: int) -> int:
        return int(die() * n)

    make = {
        "questions": _question,
        "summaries": _summary,
        "dialogue": _dialogue,
        "mood": _mood,
        "translation": _translation,
    }
    return make[task](choose, split)


def score(example: KnownChat, answer: str) -> bool:
    """Whether an answer is right: one of the known wordings, letter for letter."""
    return answer in example.answers


def teaching_at(task: str, index: int, seed: int = 0) -> tuple[Message, ...]:
    """Conversation number `index` to learn a task from, or all of them (ALL_TASKS).

    It is made so that a small model learns much from one row, and is always of the split "train":

    - a story is read once and asked about up to four times, and each answer is learned;
    - every other story breaks off early, so that the way from a question to its fact is short at first;
    - of the right wordings it is always the first: which of five comes, nobody can learn.

    Raises:
        InputError: for an unknown task.
    """
    if task == ALL_TASKS:
        task = IN_TURN[index % len(IN_TURN)]
    if task in ("questions", "dialogue"):
        die = random.Random(f"teaching {task} {seed} {index}").random
        return _talk(lambda n: int(die() * n), follow=task == "dialogue")
    example = example_at(task, "train", index, seed)
    return (*example.messages[:-1], Message("assistant", example.first_answer))


# The dice.


def _pick(choose: Choose, options: Sequence[Any]) -> Any:
    return options[choose(len(options))]


def _draw_story(choose: Choose, split: str, plots: Sequence[str]) -> tuple[Story, dict[str, Row]]:
    """A story of the split with one of the plots, and its facts in all their forms."""
    while True:
        story = world().derive(choose)
        if story.plot in plots and split_of(story.text) == split:
            return story, world().rows(story.facts)


def _answered(choose: Choose, answers: Sequence[Sentence], rows: dict[str, Row]) -> tuple[Message, list[str]]:
    """One of the right answers, and all of them."""
    texts = [fill(answer, rows) for answer in answers]
    return Message("assistant", _pick(choose, texts)), texts


def _asked(choose: Choose, text: str, wordings: Sequence[Sentence], rows: dict[str, Row]) -> Message:
    """A story, or the beginning of one, and a line with what is asked about it."""
    return Message("user", f"{text}\n{fill(_pick(choose, wordings), rows)}")


# The tasks.


def _kind(choose: Choose) -> str:
    return UNANSWERABLE if choose(UNANSWERABLE_ODDS) == 0 else _pick(choose, kinds())


def _with_stranger(choose: Choose, rows: dict[str, Row]) -> dict[str, Row]:
    """The facts, and somebody who is not in the story."""
    names = world().tables["heroes"] + world().tables["helpers"]
    present = {rows[fact][""] for fact in ("hero", "helper")}
    return rows | {"stranger": _pick(choose, [row for row in names if row[""] not in present])}


def _question(choose: Choose, split: str) -> Example:
    kind = _kind(choose)
    plots = [plot for plot in world().plots if any(q.kind == kind and plot in q.plots for q in questions())]
    story, rows = _draw_story(choose, split, plots)
    rows = _with_stranger(choose, rows)
    question = _pick(choose, [q for q in questions() if q.kind == kind and story.plot in q.plots])
    asked = _asked(choose, story.text, question.ask, rows)
    answer, answers = _answered(choose, question.answers, rows)
    return Example(kind, (asked, answer), frozenset(answers), "questions", story, answers[0])


def _dialogue(choose: Choose, split: str) -> Example:
    """Two to four questions. After the first, pronouns stand for what the talk was of, wherever that is clear."""
    story, rows = _draw_story(choose, split, list(world().plots))
    rows = _with_stranger(choose, rows)
    messages: list[Message] = []
    answers: list[str] = []
    kind = topic = ""
    left = [q for q in questions() if story.plot in q.plots]
    for turn in range(2 + choose(3)):
        wanted = choose(UNANSWERABLE_ODDS) == 0
        options = [q for q in left if (q.kind == UNANSWERABLE) == wanted] or left
        following = [q for q in options if q.follow and q.about == topic and _is_clear(topic, rows)]
        question = _pick(choose, following or options)
        if turn == 0:
            asked = _asked(choose, story.text, question.ask, rows)
        else:
            asked = Message("user", fill(_pick(choose, question.follow if following else question.ask), rows))
        answer, answers = _answered(choose, question.answers, rows)
        messages += [asked, answer]
        kind, topic = question.kind, question.then
        left = [q for q in left if q.kind != kind]
    return Example(kind, tuple(messages), frozenset(answers), "dialogue", story, answers[0])


def _talk(choose: Choose, follow: bool) -> tuple[Message, ...]:
    """Up to four questions about one story, or about its beginning, each with the first of its answers."""
    messages: list[Message] = []
    while not messages:  # a beginning may answer nothing yet
        story, rows = _draw_story(choose, "train", list(world().plots))
        rows = _with_stranger(choose, rows)
        names = world().plots[story.plot]
        end = 2 + choose(len(names) - 1) if choose(2) else len(names)
        text = " ".join(world().steps(story.plot, rows, story.wording)[:end])
        if split_of(text) != "train":
            continue
        told = {"stranger"}
        for name, variant in zip(names[:end], story.wording, strict=False):
            told |= _facts(world().sentences[name][variant])
        left = [q for q in questions() if story.plot in q.plots and (end == len(names) or _is_told(q, told))]
        topic = ""
        for turn in range(4):
            wanted = choose(UNANSWERABLE_ODDS) == 0
            options = [q for q in left if (q.kind == UNANSWERABLE) == wanted] or left
            following = [
                q for q in options if follow and turn and q.follow and q.about == topic and _is_clear(topic, rows)
            ]
            if not options:
                break
            question = _pick(choose, following or options)
            asked = fill(_pick(choose, question.follow if following else question.ask), rows)
            messages.append(Message("user", asked if turn else f"{text}\n{asked}"))
            messages.append(Message("assistant", fill(question.answers[0], rows)))
            left = [q for q in left if q is not question]
            topic = question.then
    return tuple(messages)


def _facts(sentence: Sentence) -> set[str]:
    return {piece.fact for piece in sentence if isinstance(piece, Slot)}


def _is_told(question: Question, told: set[str]) -> bool:
    """Whether a story that has told these facts so far can be asked this, and nothing later changes the answer."""
    if question.kind == UNANSWERABLE:
        return set().union(*map(_facts, question.ask)) <= told
    return question.kind in ASKED_EARLY and set().union(*map(_facts, [*question.ask, question.answers[0]])) <= told


def _is_clear(topic: str, rows: dict[str, Row]) -> bool:
    """Whether a pronoun can only stand for the topic: «it» always, «she» if the other is a he."""
    return topic not in ("hero", "helper") or rows["hero"]["they"] != rows["helper"]["they"]


def _summary(choose: Choose, split: str) -> Example:
    source = _source()["summaries"]
    story, rows = _draw_story(choose, split, list(world().plots))
    asked = _asked(choose, story.text, _sentences(source["ask"]), rows)
    answer, answers = _answered(choose, _sentences(source["answers"][story.plot]), rows)
    return Example(story.plot, (asked, answer), frozenset(answers), "summaries", story, answers[0])


def _mood(choose: Choose, split: str) -> Example:
    """The story up to one of its sentences, and what the hero feels there."""
    source = _source()["mood"]
    mood = _pick(choose, (NOT_TOLD, "sad", "glad"))
    plots = [plot for plot, moods in source["after"].items() if mood in moods]
    texts: list[str] = []
    while not texts:
        story, rows = _draw_story(choose, split, plots)
        if mood != NOT_TOLD or story.facts["trait"] not in source["hinting_traits"]:
            steps = world().steps(story.plot, rows, story.wording)
            ends = [world().plots[story.plot].index(name) + 1 for name in source["after"][story.plot][mood]]
            texts = [text for text in (" ".join(steps[:end]) for end in ends) if split_of(text) == split]
    asked = _asked(choose, _pick(choose, texts), _sentences(source["ask"]), rows)
    wordings = _source()["not_told"] if mood == NOT_TOLD else source["answers"][mood]
    answer, answers = _answered(choose, _sentences(wordings), rows)
    return Example(mood, (asked, answer), frozenset(answers), "mood", story, answers[0])


def _translation(choose: Choose, split: str) -> Example:
    """One step of a story, and what it is in Chinese. What tells no fact («So they swapped.») is for training."""
    numbers: list[int] = []
    while not numbers:
        story, rows = _draw_story(choose, split, list(world().plots))
        names = world().plots[story.plot]
        steps = world().steps(story.plot, rows, story.wording)
        telling = [len(world().sentences[name][n]) > 1 for name, n in zip(names, story.wording, strict=True)]
        numbers = [n for n, tells in enumerate(telling) if (split_of(steps[n]) if tells else "train") == split]
    step = _pick(choose, numbers)
    asked = _asked(choose, steps[step], _sentences(_source()["translation"]["ask"]), rows)
    right = translations(story)[step]
    answer = Message("assistant", _pick(choose, right))
    return Example(names[step], (asked, answer), frozenset(right), "translation", story, right[0])
