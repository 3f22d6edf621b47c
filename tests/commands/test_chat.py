"""minigpt chat: fed by a pipe, and with Ctrl-C in a pseudo terminal."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigpt.generation.generate import generate
from minigpt.model.int8 import to_int8
from minigpt.text.chat import Message, encode_prompt
from minigpt.weights.gguf import load_gguf
from tests.commands.runs import Call
from tests.weights.llama_files import write_gguf

FLAGS = ["--temperature", "0", "--max-new-tokens", "8"]


@pytest.fixture(scope="module")
def llama(world: Path) -> Path:
    return write_gguf(world / "chat.gguf", values={"llama.context_length": 256})


def answer(path: Path, *said: str) -> str:
    """What the model answers to the last of these, by `generate`."""
    model, tokenizer = load_gguf(path)
    roles = ("user", "assistant")
    ids = encode_prompt(tokenizer, [Message(roles[i % 2], words) for i, words in enumerate(said)])
    return tokenizer.decode(generate(model, ids, 8, temperature=0, stop_token=2)[0])


def talk(call: Call, monkeypatch: pytest.MonkeyPatch, llama: Path, *lines: str, flags: tuple[str, ...] = ()) -> str:
    def next_line(_: str = "") -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    left = list(lines)
    monkeypatch.setattr("builtins.input", next_line)
    status, out, err = call("chat", "--model", llama, *FLAGS, *flags)
    assert (status, err) == (0, "")
    return out


def test_a_conversation_is_edited_and_asked_again(call: Call, monkeypatch: pytest.MonkeyPatch, llama: Path) -> None:
    first = answer(llama, "Hi")
    second = answer(llama, "Hi", first.strip(), "And")
    other = answer(llama, "Hi", first.strip(), "Or")
    out = talk(call, monkeypatch, llama, "Hi", "And", "/retry", "/edit Or", "/history", "", "/new", "Hi", "/quit", "no")
    history = f"user: Hi\nassistant: {first.strip()}\nuser: Or\nassistant: {other.strip()}\n"
    assert out == f"{first}\n{second}\n{second}\n{other}\n{history}{first}\n"


def test_what_cannot_be_done_is_said_and_the_conversation_goes_on(
    call: Call, monkeypatch: pytest.MonkeyPatch, llama: Path
) -> None:
    out = talk(call, monkeypatch, llama, "/retry", "/edit", "/bye", "x 1 " * 100, "/help", "Hi")
    for said in (
        "[nothing was asked yet]",
        "[what should be asked instead? /edit TEXT]",
        "[there is no /bye;",
        "shorten it]",
    ):
        assert said in out
    assert "Ctrl-C stops an answer" in out and out.endswith(answer(llama, "Hi") + "\n")


def test_it_tells_what_is_forgotten(call: Call, monkeypatch: pytest.MonkeyPatch, llama: Path) -> None:
    out = talk(call, monkeypatch, llama, *["The cat has 12 hats."] * 6)
    assert "[the context of 256 tokens is full: the first 2 messages are forgotten]" in out


def test_weights_in_8_bits(call: Call, monkeypatch: pytest.MonkeyPatch, llama: Path) -> None:
    model, tokenizer = load_gguf(llama)
    ids = encode_prompt(tokenizer, [Message("user", "Hi")])
    expected = tokenizer.decode(generate(to_int8(model), ids, 8, temperature=0, stop_token=2)[0])
    assert talk(call, monkeypatch, llama, "Hi", flags=("--weights", "int8")) == expected + "\n"


def test_a_model_that_cannot_chat_says_why(call: Call) -> None:
    status, out, err = call("chat", "--model", "storyteller")
    assert (status, out) == (2, "") and "has no token <|end|>, so its model cannot chat" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals; the pipe is tried")
def test_ctrl_c_stops_the_answer_and_not_the_program(llama: Path) -> None:
    """In a pseudo terminal, with a model that would go on for 10,000 tokens."""
    import pty

    ours, theirs = pty.openpty()
    command = ["chat", "--model", str(llama), "--max-new-tokens", "60", "--seed", "1", "--temperature", "1"]
    program = SLOW + f"from minigpt.cli import main; raise SystemExit(main({command!r}))"
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""

    def until(text: bytes, press: bool = False) -> None:
        """Read on to the text. Press Ctrl-C for it, as one does: again where nothing comes. Python's prompt is
        deaf between writing «> » and waiting for a key, and a program is faster there than a hand."""
        nonlocal seen
        limit = time.monotonic() + 120
        while text not in seen:
            assert time.monotonic() < limit, seen.decode(errors="replace")
            if press:
                os.kill(child.pid, signal.SIGINT)
            while select.select([ours], [], [], 10)[0]:
                seen += os.read(ours, 4096)
                if text in seen:
                    break
        seen = seen.split(text, 1)[1]

    try:
        until(b"> ")
        os.write(ours, b"Hi\n")
        until(b"+++++")  # it writes
        until(b"[stopped]", press=True)
        until(b"> ")
        until(b"Ctrl-D or /quit ends.", press=True)
        until(b"> ")
        os.write(ours, b"/history\n")
        until(b"assistant: +++++")
        until(b"> ")
        os.write(ours, b"\x04")
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)


# A process in the background of a script, as CI may be, is born deaf to Ctrl-C, and its children are.
SLOW = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import time
from minigpt.generation import conversation
def slow(model, prompt, n, **options):
    while True:
        time.sleep(0.02)
        yield 13
conversation.stream = slow
conversation.stream_text = lambda tokens, tokenizer: ("+" for _ in tokens)
"""
"""An answer without end, so that there is time to stop it."""
