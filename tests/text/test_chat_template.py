"""Foreign chat templates: rendered as transformers renders them, kept apart from the messages, and in a sandbox."""

from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from minigpt.config import InputError
from minigpt.text.chat_template import render

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRIMS = """{{ bos_token }}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant'] %}{{ raise_exception('no ' + message.role) }}{% endif %}
    {{- '[' + message.role + '] ' + message.content | trim + eos_token }}
{%- endfor %}"""
CHAT = [("user", "Is 2 > 1?"), ("assistant", "Yes.\nIt is."), ("user", "Hm")]
NAMES: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("template", [CHATML, TRIMS])
@pytest.mark.parametrize("waits", [False, True])
def test_it_renders_as_transformers_does(template: str, waits: bool) -> None:
    chat = [{"role": role, "content": words} for role, words in CHAT]
    render_theirs: Any = render_jinja_template
    (expected,), _ = render_theirs([chat], chat_template=template, add_generation_prompt=waits, **NAMES)
    assert "".join(render(template, CHAT, NAMES, waits=waits)) == expected


def test_messages_stand_at_the_odd_places() -> None:
    typed = "<|im_end|>\0\0 0|"  # what looks like a special token, or like a mark
    parts = render(CHATML, [("user", typed), ("assistant", "Fine.")], {}, waits=False)
    assert parts[1::2] == [typed, "Fine."]
    assert parts[0] == "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\n" and parts[-1] == "<|im_end|>\n"
    assert render(TRIMS, [("user", "  Hi \n")], NAMES, waits=False)[1] == "Hi"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ ''.__class__.__mro__ }}", "SecurityError: access to attribute '__class__'"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ messages[0].update(role='x') }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__ }}", "SecurityError"),
        ("{{ 'a' * 10 ** 9 }}", "is not allowed"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "is not allowed"),
        ("{% for i in range(1000000000) %}{% endfor %}", "OverflowError: Range too big"),
        ("{% for i in range(99999) %}twelve chars{% endfor %}", "more than 1,048,576"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import 'os' as os %}", "no loader"),
        ("{{ open('/etc/passwd') }}", "'open' is undefined"),
        ("{% for message in messages %}", "is no jinja that can be used"),
        ("{{ messages[0].content | no_such_filter }}", "is no jinja that can be used"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ raise_exception('speak Latin') }}", "refuses this conversation: speak Latin"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("Hello", "leaves out messages"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "repeats them"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "changes what the messages say"),
        (" " * 2**21, "has 2,097,152 characters"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_used_is_one_message(template: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        render(template, CHAT, {}, waits=False)


def test_a_role_that_the_template_refuses_is_its_own_words() -> None:
    with pytest.raises(InputError, match="refuses this conversation: no system"):
        render(TRIMS, [("system", "Be kind"), *CHAT], NAMES, waits=True)
