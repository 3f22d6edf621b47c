"""A chat template that came with somebody else's model, in jinja: rendered in a sandbox, the messages kept apart.

A template is a program from a file. It runs in jinja's sandbox, which lets it read the messages and nothing else. What
the messages say must not be mistaken for the template's special tokens, so the template is rendered with a mark in
place of each message's words, and the words are put there afterwards.
"""

import functools
from collections.abc import Sequence
from typing import Any

import regex

from minigpt.config import InputError

MOST_TEMPLATE = 2**20
"""Characters of a template, and of what it may make of a conversation beside the messages."""


def render(
    template: str, messages: Sequence[tuple[str, str]], special_tokens: dict[str, str], *, waits: bool
) -> list[str]:
    """What a template makes of a conversation: its own text at the even places, what the messages say at the odd ones.

    Args:
        template: in jinja, as `tokenizer.chat_template` of a GGUF or a tokenizer_config.json has it.
        messages: role and words of each.
        special_tokens: those that templates know by name: bos_token, eos_token.
        waits: whether the text ends where the assistant is to speak (add_generation_prompt).

    Raises:
        InputError: for a template that is no jinja, asks for what it may not, refuses the conversation, leaves a
            message out, or changes what the messages say.
    """
    mark = "\0"
    while any(mark in text for text in (template, *(words for _, words in messages))):
        mark += "\0"
    marks = [f"{mark}{i}|" for i in range(len(messages))]
    parts = regex.split(f"({mark}\\d+\\|)", _run(template, messages, marks, special_tokens, waits))
    if parts[1::2] != marks:
        raise InputError("this chat template leaves out messages, repeats them or changes their order")
    whole = _run(template, messages, [words for _, words in messages], special_tokens, waits)
    for change in (str, str.strip):  # many templates take white space off the ends of a message
        filled = [change(messages[i // 2][1]) if i % 2 else part for i, part in enumerate(parts)]
        if "".join(filled) == whole:
            return filled
    raise InputError(
        "this chat template changes what the messages say, so that their text and its special tokens cannot be told "
        "apart: encode the conversation by hand"
    )


def _run(
    template: str,
    messages: Sequence[tuple[str, str]],
    words: Sequence[str],
    special_tokens: dict[str, str],
    waits: bool,
) -> str:
    """The template's output for messages with these words in place of their own."""
    given = [{"role": role, "content": text} for (role, _), text in zip(messages, words, strict=True)]
    room = MOST_TEMPLATE + sum(map(len, words))
    pieces: list[str] = []
    try:
        for piece in _compiled(template).generate(messages=given, add_generation_prompt=waits, **special_tokens):
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise InputError(f"the chat template writes more than {MOST_TEMPLATE:,} characters of its own")
    except InputError:
        raise
    except Exception as problem:  # whatever a template does wrong
        raise InputError(f"the chat template cannot be used ({type(problem).__name__}: {problem})") from None
    return "".join(pieces)


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    """The template, ready to run: in a sandbox whose values cannot be changed, with what such templates are given."""
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**"])  # of a text they take memory without end

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            raise SecurityError(f"{operator} is not allowed")

    def raise_exception(message: str) -> None:
        raise InputError(f"the chat template refuses this conversation: {message}")

    if len(template) > MOST_TEMPLATE:
        raise InputError(f"the chat template has {len(template):,} characters; at most {MOST_TEMPLATE:,} are read")
    sandbox = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    sandbox.globals["raise_exception"] = raise_exception
    try:
        return sandbox.from_string(template)
    except (TemplateError, RecursionError, SyntaxError) as problem:
        raise InputError(f"the chat template is no jinja that can be used ({problem})") from None
