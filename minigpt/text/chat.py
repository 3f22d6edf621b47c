"""Conversations: a chat as token ids and, made together with them, which of those ids a model learns to write.

The template, where each ``<|…|>`` is one token::

    <|endoftext|><|system|>Be kind.<|end|><|user|>Who is sad?<|end|><|assistant|> Mia.<|end|>

Only the assistant's words and the ``<|end|>`` behind them are learned: the model shall write answers, not questions,
and it shall know when to stop. ``<|end|>`` has an id of its own, which no padding shares. The words of a message are
encoded apart from the template, so that nobody can end a turn, or begin one, by typing its tokens.

A ForeignTokenizer brings the template of its own model, and the same holds for that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.config import InputError
from minigpt.text.batch import Batch, pad_rows
from minigpt.text.chat_template import render
from minigpt.text.sources import json_of, read_lines
from minigpt.text.special_tokens import END_OF_TEXT, number_special_tokens
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer, ForeignTokenizer, Tokenizer

ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
"""Who can speak, and the token that a turn of theirs begins with."""

END_OF_TURN = "<|end|>"
"""The token that ends a turn: where generation stops."""

CHAT_TOKENS = (END_OF_TEXT, *ROLES.values(), END_OF_TURN)
"""The special tokens of the template; a chat begins with END_OF_TEXT, like every text that the model has read."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: who speaks (a name in ROLES), and the words."""

    role: str
    content: str


@dataclass(frozen=True)
class KnownChat:
    """A conversation that ends with a right answer, and all answers that would be right in its place."""

    kind: str
    """What is asked, in one word; "" where nobody has said it."""
    messages: tuple[Message, ...]
    answers: frozenset[str]


@dataclass(frozen=True)
class EncodedChat:
    """A conversation as token ids and, for each of them, whether the model learns to write it."""

    ids: list[int]
    learned: list[bool]


def add_chat_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with the special tokens of a chat.

    No id changes: of CHAT_TOKENS, those that the tokenizer lacks get the next free ids, in that order. The
    storyteller's has the ids 0 to 1860, the last of them END_OF_TEXT; ``<|system|>`` becomes 1861 and ``<|end|>``
    1864. The model needs a row for each: `minigpt.model.vocabulary` makes them, or takes the spare ones of
    `pad_vocab`. A tokenizer that brings a template of its own has all that it needs.

    Raises:
        InputError: for a foreign tokenizer without a chat template.
    """
    if isinstance(tokenizer, ForeignTokenizer):
        end_of_turn(tokenizer)
        return tokenizer
    missing = [name for name in CHAT_TOKENS if name not in tokenizer.special_tokens]
    names = tokenizer.special_tokens | number_special_tokens(missing, tokenizer.vocab_size)
    if isinstance(tokenizer, CharTokenizer):
        return CharTokenizer(tokenizer.characters, list(names))
    return BPETokenizer(tokenizer.merges, names, tokenizer.alphabet, tokenizer.pattern)


def check_messages(messages: Sequence[Message], last: str = "assistant") -> None:
    """Refuse what is no conversation: a system message or none, then user and assistant in turn, and `last` at the end.

    Raises:
        InputError: naming the first message that is wrong.
    """
    expected = ["system", "user"]
    for number, message in enumerate(messages, start=1):
        if message.role not in ROLES:
            raise InputError(f"message {number} has the role {message.role!r}; choose from {', '.join(ROLES)}")
        if message.role not in expected:
            raise InputError(
                f"message {number} is the {message.role}'s, where the {' or '.join(expected)} should speak: one system "
                "message at most, at the beginning, then user and assistant in turn"
            )
        if not message.content.strip():
            raise InputError(f"message {number}, the {message.role}'s, is empty; give it words")
        expected = ["assistant"] if message.role == "user" else ["user"]
    if not messages or messages[-1].role != last:
        missing = "has no answer: the last message must be the assistant's" if last == "assistant" else "asks nothing"
        count = f"{len(messages)} message{'s' * (len(messages) != 1)}"
        raise InputError(f"this conversation of {count} {missing}")


def encode_chat(tokenizer: Tokenizer, messages: Sequence[Message]) -> EncodedChat:
    """A conversation to learn from, which ends with an answer.

    Raises:
        InputError: as `check_messages`, for a tokenizer without chat tokens, and for what it cannot encode.
    """
    check_messages(messages)
    return _render(tokenizer, messages)


def encode_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """A conversation that waits for an answer: the ids after which the model writes it, up to `end_of_turn`.

    They are the beginning of what `encode_chat` gives for the same messages and their answer. Errors: `encode_chat`.
    """
    check_messages(messages, last="user")
    if isinstance(tokenizer, ForeignTokenizer):
        return _render_foreign(tokenizer, messages, waits=True).ids
    return [*_render(tokenizer, messages).ids, special_id(tokenizer, ROLES["assistant"])]


def end_of_turn(tokenizer: Tokenizer) -> int:
    """The id of the token that ends a turn: where generation stops.

    Raises:
        InputError: if the tokenizer has none, or no chat template.
    """
    if not isinstance(tokenizer, ForeignTokenizer):
        return special_id(tokenizer, END_OF_TURN)
    if tokenizer.chat_template is None or tokenizer.end_of_turn is None:
        raise InputError(
            "this model's file has no chat template, so nobody knows how a conversation with it looks: use "
            "`minigpt generate`, or a model that was made for chats"
        )
    return tokenizer.special_tokens[tokenizer.end_of_turn]


def stop_token(tokenizer: Tokenizer) -> int | None:
    """The token at which a text of a model ends: of a foreign one what it was taught, else that between texts."""
    if isinstance(tokenizer, ForeignTokenizer) and tokenizer.end_of_turn is not None:
        return tokenizer.special_tokens[tokenizer.end_of_turn]
    return tokenizer.end_of_text


def can_chat(tokenizer: Tokenizer) -> str | None:
    """Why a model with this tokenizer cannot chat; None where it can."""
    try:
        end_of_turn(tokenizer)
        if not isinstance(tokenizer, ForeignTokenizer):
            for name in CHAT_TOKENS:
                special_id(tokenizer, name)
    except InputError as problem:
        return str(problem)
    return None


def answer_space(tokenizer: Tokenizer) -> str:
    """What stands before an answer: a space, as before words inside a text, or nothing.

    So « Mia» is the one token that it is in the story; without the space it is two others, and a small model that has
    to spell what it could copy learns several times as slowly. Characters are the same with and without, and a foreign
    template has its own blanks.
    """
    return " " if isinstance(tokenizer, BPETokenizer) else ""


def encode_answer(tokenizer: Tokenizer, words: str) -> list[int]:
    """The ids of an answer, with `answer_space` in front."""
    return tokenizer.encode(answer_space(tokenizer) + words)


def read_answer(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The words of an answer that a model has written, without `answer_space`."""
    return tokenizer.decode(ids).removeprefix(answer_space(tokenizer))


def special_id(tokenizer: Tokenizer, name: str) -> int:
    """The id of one of CHAT_TOKENS.

    Raises:
        InputError: if the tokenizer has no such token.
    """
    if name not in tokenizer.special_tokens:
        raise InputError(
            f"this tokenizer has no token {name}, so its model cannot chat: add_chat_tokens(tokenizer) adds it, and "
            "the model must then be fine-tuned on conversations"
        )
    return tokenizer.special_tokens[name]


def _render(tokenizer: Tokenizer, messages: Iterable[Message]) -> EncodedChat:
    """The template: the one place that knows which tokens surround a turn and which of them are learned."""
    if isinstance(tokenizer, ForeignTokenizer):
        return _render_foreign(tokenizer, list(messages))
    chat = EncodedChat([special_id(tokenizer, END_OF_TEXT)], [False])
    for message in messages:
        # Without allow_special: a token that somebody has typed is text.
        if message.role == "assistant":
            words = encode_answer(tokenizer, message.content)
        else:
            words = tokenizer.encode(message.content)
        turn = [*words, special_id(tokenizer, END_OF_TURN)]
        chat.ids.extend([special_id(tokenizer, ROLES[message.role]), *turn])
        chat.learned.extend([False, *[message.role == "assistant"] * len(turn)])
    return chat


def _render_foreign(tokenizer: ForeignTokenizer, messages: Sequence[Message], *, waits: bool = False) -> EncodedChat:
    """The same by the template that came with the model: an assistant's words are learned, and the token behind them.

    What the template writes behind that token, such as a new line, is not learned: nobody asks the model for it.
    """
    end = end_of_turn(tokenizer)
    names = {i: name for name, i in tokenizer.special_tokens.items()}
    known = {"bos_token": tokenizer.first[0] if tokenizer.first else "", "eos_token": names[end]}
    pairs = [(message.role, message.content) for message in messages]
    chat = EncodedChat([], [])
    spoken = iter(messages)
    answered = False
    for place, text in enumerate(render(str(tokenizer.chat_template), pairs, known, waits=waits)):
        ids = tokenizer.encode(text, allow_special=place % 2 == 0)
        learned = [False] * len(ids)
        if place % 2:
            answered = next(spoken).role == "assistant"
            learned = [answered] * len(ids)
        elif ids[:1] == [end]:
            learned[0] = answered
        chat.ids.extend(ids)
        chat.learned.extend(learned)
    return chat


def pack_chats(tokenizer: Tokenizer, chats: Sequence[EncodedChat]) -> Batch:
    """Conversations as one batch: targets are what is learned, IGNORE everywhere else.

    Padding is END_OF_TEXT (of a foreign tokenizer, the end of a turn) as input and IGNORE as target, so nothing is ever
    learned from it.
    """
    rows = [chat.ids for chat in chats]
    foreign = isinstance(tokenizer, ForeignTokenizer)
    padding = end_of_turn(tokenizer) if foreign else special_id(tokenizer, END_OF_TEXT)
    return pad_rows(rows, padding, [chat.learned for chat in chats])


# A file of conversations.


@dataclass(frozen=True)
class ChatFile:
    """What `read_chats` found: the conversations, as messages and encoded, and a word on each line left out."""

    messages: list[tuple[Message, ...]]
    chats: list[EncodedChat]
    left_out: list[str]


def read_chats(path: Path, tokenizer: Tokenizer, context_length: int, *, skip_bad: bool = False) -> ChatFile:
    """The conversations of a file of JSON lines: {"messages": [{"role": "user", "content": "Hi"}, …]} in each.

    Args:
        path: the file, in UTF-8. Empty lines do not count.
        tokenizer: one with chat tokens.
        context_length: of the model. A conversation that is longer is never cut: its answer would be lost.
        skip_bad: leave out lines that cannot be used, and tell of each; else the first is refused.

    Raises:
        InputError: for a file that cannot be read or has no conversation, and, with its number, for a line that is no
            JSON, no conversation (`check_messages`), or does not fit into the context.
    """
    end_of_turn(tokenizer)  # what is wrong with the tokenizer is wrong with no line

    def use(line: bytes) -> tuple[tuple[Message, ...], EncodedChat]:
        messages = _messages(line)
        chat = encode_chat(tokenizer, messages)
        check_length(chat, context_length)
        return messages, chat

    form = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}'
    used, left_out = read_lines(path, use, skip_bad=skip_bad, needs=("conversation", form))
    return ChatFile([messages for messages, _ in used], [chat for _, chat in used], left_out)


def check_length(row: EncodedChat, context_length: int) -> None:
    """Refuse a row that a model with this context cannot read whole: cut, its answer would be lost.

    Raises:
        InputError: with both lengths.
    """
    if (length := len(row.ids) - 1) > context_length:  # the last id is a target only
        raise InputError(f"this line needs {length} tokens of context and the model has {context_length}: shorten it")


def _messages(line: bytes) -> tuple[Message, ...]:
    """The messages of one line of JSON."""
    found = json_of(line)
    messages: Any = found.get("messages") if isinstance(found, dict) else None
    if not isinstance(messages, list):
        raise InputError('this line is no JSON object with a list called "messages"')
    for number, message in enumerate(messages, start=1):
        # More than these two, such as a weight or a tool call, would be lost without a word.
        if not isinstance(message, dict) or sorted(message) != ["content", "role"]:
            raise InputError(f'message {number} must be an object with "role" and "content" and nothing else')
        for key, value in message.items():
            if not isinstance(value, str):
                raise InputError(f'the "{key}" of message {number} is no string')
    return tuple(Message(**message) for message in messages)
