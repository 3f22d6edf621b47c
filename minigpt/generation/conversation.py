"""A conversation with a model: who said what, the answer piece by piece, what is forgotten when the context is full."""

from collections.abc import Iterator, Sequence
from typing import Unpack

from minigpt.config import InputError
from minigpt.generation.generate import Options, stream, stream_text
from minigpt.model.gpt import GPT
from minigpt.text.chat import Message, answer_space, encode_prompt, end_of_turn
from minigpt.text.tokenizer import Tokenizer


def fit_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], context_length: int, max_new_tokens: int
) -> tuple[list[int], int]:
    """The ids of a conversation that waits for an answer, without what would not leave room for it.

    The oldest question goes with its answer, then the next; a system message and the last question stay.

    Args:
        tokenizer: the model's.
        messages: the last is the user's.
        context_length: of the model.
        max_new_tokens: room for the answer; half of the context at most is kept free.

    Returns:
        the ids, and how many messages were left out.

    Raises:
        InputError: if the last question alone is too long, or as `encode_prompt`.
    """
    room = context_length - min(max_new_tokens, context_length // 2)
    system = [message for message in messages[:1] if message.role == "system"]
    rest = list(messages[len(system) :])
    ids = encode_prompt(tokenizer, [*system, *rest])
    left_out = 0
    while len(ids) > room and len(rest) > 1:
        rest, left_out = rest[2:], left_out + 2
        ids = encode_prompt(tokenizer, [*system, *rest])
    if len(ids) > room:
        raise InputError(
            f"the message needs {len(ids)} tokens with what surrounds it, and {room} of the context's {context_length} "
            "are for it: shorten it"
        )
    return ids, left_out


class Conversation:
    """A model, and what was said so far.

    Args:
        model: one that can chat.
        tokenizer: the model's.
        system: what the model is told before all else; "" for nothing, where a template may have its own words.
        max_new_tokens: where an answer is cut.
        **options: as for `generate`, but for stop_token.

    Attributes: `messages`, and `forgotten`, how many of them the last answer did not see.

    Raises:
        InputError: for a model that cannot chat.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        system: str = "",
        max_new_tokens: int = 400,
        **options: Unpack[Options],
    ) -> None:
        self.model, self.tokenizer, self.max_new_tokens = model, tokenizer, max_new_tokens
        self.options = options | {"stop_token": end_of_turn(tokenizer)}
        self.messages = [Message("system", system)] if system else []
        self.forgotten = 0

    def say(self, text: str) -> Iterator[str]:
        """Say something; the answer, piece by piece.

        Whoever stops listening (`close` of the iterator, Ctrl-C) ends the answer there, and what was said counts. A
        question that got no word of an answer is taken back.

        Raises:
            InputError: for an empty text, one that is too long, or as `encode_prompt`; then nothing has changed.
        """
        asked = [*self.messages, Message("user", text)]
        prompt, forgotten = fit_prompt(self.tokenizer, asked, self.model.config.context_length, self.max_new_tokens)
        room = min(self.max_new_tokens, self.model.config.context_length - len(prompt))
        tokens = stream(self.model, prompt, room, **self.options)
        self.messages, self.forgotten = asked, forgotten
        return self._answer(tokens)

    def _answer(self, tokens: Iterator[int]) -> Iterator[str]:
        pieces: list[str] = []
        try:
            for piece in stream_text(tokens, self.tokenizer):
                told = piece if pieces else piece.removeprefix(answer_space(self.tokenizer))
                pieces.append(told)
                yield told
        finally:
            if answer := "".join(pieces).strip():
                self.messages.append(Message("assistant", answer))
            else:
                self.messages.pop()

    def take_back(self) -> str:
        """Take the last question back, with its answer, and return it: to ask it again, or another way.

        Raises:
            InputError: if nothing was asked yet.
        """
        places = [i for i, message in enumerate(self.messages) if message.role == "user"]
        if not places:
            raise InputError("nothing was asked yet")
        question = self.messages[places[-1]].content
        del self.messages[places[-1] :]
        return question
