"""minigpt chat: a conversation in the terminal."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

from minigpt.commands.finding import load
from minigpt.config import InputError

if TYPE_CHECKING:
    from minigpt.generation.conversation import Conversation

HELP = """/retry         another answer to the last question
/edit TEXT     ask TEXT instead of the last question
/new           forget all that was said
/history       show all that was said
/quit          leave, as Ctrl-D does
Ctrl-C stops an answer; what was said of it counts."""


def chat(
    model: str = "smollm2",
    adapter: Optional[Path] = None,
    system: str = "",
    max_new_tokens: int = 400,
    temperature: float = 0.2,
    top_p: Optional[float] = 0.9,
    repetition_penalty: float = 1.0,
    seed: Optional[int] = None,
    weights: Literal["float32", "int8"] = "float32",
    device: str = "auto",
) -> int:
    """Talk with a model. Each answer is shown while it is written; /help lists what else can be typed.

    Args:
        model: smollm2, a run that was fine-tuned on conversations, or any other model that can chat.
        adapter: a file that `minigpt finetune --lora` made, for the model that it was trained beside.
        system: what the model is told before all else; by default what its own template says.
        max_new_tokens: where an answer is cut.
        temperature: 0 always takes the likeliest token, 1 samples as the model was trained.
        top_p: sample from the fewest tokens that together have this probability.
        repetition_penalty: above 1 makes tokens that were said already less likely.
        seed: the same seed and the same questions give the same answers.
        weights: int8 keeps the matrices in 8 bits: a quarter of the memory, nearly the same answers.
        device: auto, cpu, cuda, ….
    """
    from minigpt import runtime
    from minigpt.generation.conversation import Conversation
    from minigpt.model.int8 import to_int8

    loaded, used = load(model, adapter)
    if weights == "int8":
        loaded = to_int8(loaded)
    conversation = Conversation(
        loaded.to(runtime.pick_device(device)), used, system, max_new_tokens, temperature=temperature, top_p=top_p,
        repetition_penalty=repetition_penalty, seed=seed,
    )  # fmt: skip
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401 — gives input() the arrow keys and a history
    if sys.stdin.isatty():
        print(f"{model}: say something. /help lists what else can be typed, Ctrl-D ends.")
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return 0
        except KeyboardInterrupt:
            print("\nCtrl-D or /quit ends.")
            continue
        if line == "/quit":
            return 0
        try:
            _do(conversation, line)
        except InputError as problem:
            print(f"[{problem}]")
        except KeyboardInterrupt:  # a second one, while the first one's answer was put away
            print()


def _do(conversation: "Conversation", line: str) -> None:
    """What one line asks for."""
    command, _, rest = line.partition(" ")
    if command == "/help":
        print(HELP)
    elif command == "/new":
        conversation.messages = [m for m in conversation.messages if m.role == "system"]
    elif command == "/history":
        print("\n".join(f"{message.role}: {message.content}" for message in conversation.messages))
    elif command == "/retry":
        _show(conversation, conversation.say(conversation.take_back()))
    elif command == "/edit":
        if not rest.strip():
            raise InputError("what should be asked instead? /edit TEXT")
        conversation.take_back()
        _show(conversation, conversation.say(rest))
    elif command.startswith("/"):
        raise InputError(f"there is no {command}; /help lists what can be typed")
    elif line:
        _show(conversation, conversation.say(line))


def _show(conversation: "Conversation", answer: Iterator[str]) -> None:
    """Print an answer as it comes; Ctrl-C ends it."""
    if conversation.forgotten:
        n = conversation.model.config.context_length
        print(f"[the context of {n} tokens is full: the first {conversation.forgotten} messages are forgotten]")
    try:
        for piece in answer:
            print(piece, end="", flush=True)
        print()
    except KeyboardInterrupt:
        answer.close()  # type: ignore[attr-defined]
        print(" [stopped]")
