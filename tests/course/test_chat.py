"""The chat of a notebook, without a browser: its controls say, stop and take back what a `Conversation` would."""

from functools import cache
from typing import Any

import pytest

from minigpt.config import InputError
from minigpt.course import chat
from minigpt.course.chat import Chat
from minigpt.generation.conversation import Conversation
from minigpt.model.gpt import GPT
from minigpt.text.chat import Message
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.checkpoint import load_model

STORY = "Once there was a shy owl, and her name was Mia. Mia had a red kite and loved to fly it."
NAME, TRAIT = f"{STORY} What is the name of the owl?", "What is Mia <b>like</b>?"


@cache
def helper() -> tuple[GPT, Tokenizer]:
    model, tokenizer = load_model("helper")
    return model.double(), tokenizer


def ask(shown: Chat, text: str) -> None:
    shown.message.value = text
    shown.send.click()
    shown.wait()


def greedy(**settings: Any) -> Chat:
    return chat(*helper(), temperature=0.0, max_new_tokens=12, **settings)


def expected(*questions: str) -> list[Message]:
    conversation = Conversation(*helper(), max_new_tokens=12, temperature=0.0)
    for question in questions:
        list(conversation.say(question))
    return conversation.messages


def test_what_is_said_is_what_a_conversation_says_and_is_shown_as_it_was_typed():
    shown = greedy()
    ask(shown, f"  {NAME} ")
    ask(shown, TRAIT)
    assert shown.conversation.messages == expected(NAME, TRAIT)
    answer = shown.conversation.messages[1].content
    assert answer and f"<b>model</b> {answer}</p>" in shown.said.value
    assert "What is Mia &lt;b&gt;like&lt;/b&gt;?" in shown.said.value
    assert shown.message.value == ""
    bundle = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert f"you: {NAME}\nmodel: {answer}" in bundle["text/plain"]


def test_another_answer_and_a_new_beginning():
    shown = greedy(system="Be kind.")
    shown.retry.click()  # nothing was asked: nothing happens
    assert [message.role for message in shown.conversation.messages] == ["system"]
    ask(shown, NAME)
    before = list(shown.conversation.messages)
    shown.retry.click()
    shown.wait()
    assert shown.conversation.messages == before  # greedily, the same again
    shown.new.click()
    assert shown.conversation.messages == [Message("system", "Be kind.")]
    assert "owl" not in shown.said.value and "Be kind." in shown.said.value


def test_an_answer_that_is_stopped_counts_as_far_as_it_was_said(monkeypatch: pytest.MonkeyPatch):
    shown = greedy()
    whole = expected(NAME)[1].content
    show, seen = shown._show, []

    def stop_at_the_first_piece() -> None:
        show()
        if shown._growing:
            seen.append(shown._growing)
            shown.stop.click()

    monkeypatch.setattr(shown, "_show", stop_at_the_first_piece)
    ask(shown, NAME)
    said = shown.conversation.messages[1].content
    assert seen == [said] and whole.startswith(said) and said != whole


def test_what_cannot_be_asked_is_told_and_stays_in_the_field():
    shown = greedy()
    ask(shown, "   ")
    assert shown.conversation.messages == [] and shown.problem == ""
    ask(shown, "owl " * 300)
    assert "the message needs" in shown.problem and "shorten it" in shown.said.value
    assert shown.message.value == "owl " * 300 and shown.conversation.messages == []
    ask(shown, NAME)
    assert shown.problem == "" and len(shown.conversation.messages) == 2


def test_a_model_that_cannot_chat_is_refused():
    with pytest.raises(InputError, match="cannot chat"):
        chat(*load_model("storyteller"))
