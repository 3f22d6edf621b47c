"""`chat(model, tokenizer)`: talk with a model beside the code that made it.

In JupyterLab it is alive: an answer grows while it is written, and can be stopped. Where nothing can be alive, as in a
stored notebook, what was said so far stands there as text.
"""

from collections.abc import Generator
from threading import Event, Thread
from typing import Any, Unpack

import ipywidgets

from minigpt.config import InputError
from minigpt.course.pictures import escape
from minigpt.generation.conversation import Conversation
from minigpt.generation.generate import Options
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import Tokenizer

# The Enter key sends, as in every chat: it becomes a click. The field keeps its keys to itself, hence «true»: they are
# seen on their way to it.
KEYS = """<style onload="const box = this.closest('.minigpt-chat');
    box.addEventListener('keydown', event => {
        if (event.key === 'Enter' && event.target.matches('.minigpt-message input')) {
            event.target.dispatchEvent(new Event('change', {bubbles: true}));
            setTimeout(() => box.querySelector('.minigpt-send').click(), 50);
        } }, true)">
.minigpt-chat .minigpt-said p { white-space: pre-wrap; margin: 0 0 6px; line-height: 1.5 }
</style>"""

NAMES = {"system": "told before", "user": "you", "assistant": "model"}


def chat(
    model: GPT, tokenizer: Tokenizer, system: str = "", max_new_tokens: int = 400, **options: Unpack[Options]
) -> "Chat":
    """Talk with a model that can chat: the bundled helper, SmolLM2, or one that you have fine-tuned.

    Args:
        model: the model, which stays as it is.
        tokenizer: the one that it was trained with.
        system: what the model is told before all else; "" for nothing, where a template may have its own words.
        max_new_tokens: where an answer is cut.
        **options: as for `generate`; by default temperature 0.2 and top_p 0.9.

    Raises:
        InputError: for a model that cannot chat.
    """
    chosen: Options = {"temperature": 0.2, "top_p": 0.9, **options}
    return Chat(Conversation(model, tokenizer, system, max_new_tokens, **chosen))


class Chat:
    """What `chat` returns. Its attributes are the conversation and the controls, ipywidgets all of them."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.problem = ""
        self._growing = ""
        self._stop = Event()
        self._writer: Thread | None = None

        self.message = ipywidgets.Text(placeholder="say something", layout=ipywidgets.Layout(width="60%"))
        self.send, self.stop, self.retry, self.new = (
            ipywidgets.Button(description=name, layout=ipywidgets.Layout(width="auto"))
            for name in ("send", "stop", "another answer", "begin anew")
        )
        self.said = ipywidgets.HTML()
        self.message.add_class("minigpt-message")
        self.send.add_class("minigpt-send")
        self.said.add_class("minigpt-said")
        hidden = ipywidgets.HTML(KEYS, layout=ipywidgets.Layout(display="none"))
        controls = [self.message, self.send, self.stop, self.retry, self.new]
        row = ipywidgets.Box(controls, layout=ipywidgets.Layout(flex_flow="row wrap"))
        self.box = ipywidgets.VBox([hidden, self.said, row])
        self.box.add_class("minigpt-chat")

        self.send.on_click(lambda _: self._send())
        self.stop.on_click(lambda _: self._stop.set())
        self.retry.on_click(lambda _: self._retry())
        self.new.on_click(lambda _: self._begin_anew())
        self._show()

    def wait(self) -> None:
        """Until the answer is written."""
        if self._writer is not None:
            self._writer.join()

    # What the controls do.

    def _send(self) -> None:
        if (text := self.message.value.strip()) and not self._busy() and self._say(text):
            self.message.value = ""

    def _retry(self) -> None:
        if not self._busy() and any(message.role == "user" for message in self.conversation.messages):
            self._say(self.conversation.take_back())

    def _begin_anew(self) -> None:
        self._stop.set()
        self.wait()
        self.conversation.messages = [m for m in self.conversation.messages if m.role == "system"]
        self.conversation.forgotten, self.problem = 0, ""
        self._show()

    def _busy(self) -> bool:
        return self._writer is not None and self._writer.is_alive()

    def _say(self, text: str) -> bool:
        """Let an answer be written in a thread of its own, so that a click can stop it; False if it cannot be asked."""
        try:
            pieces = self.conversation.say(text)
            self.problem = ""
        except InputError as error:
            self.problem = str(error)
            self._show()
            return False
        assert isinstance(pieces, Generator)
        self._stop.clear()
        self._writer = Thread(target=self._write, args=(pieces,), daemon=True)
        self._writer.start()
        return True

    def _write(self, pieces: Generator[str, None, None]) -> None:
        try:
            self._show()
            for piece in pieces:
                self._growing += piece
                self._show()
                if self._stop.is_set():
                    break
        except InputError as error:  # logits that are no numbers
            self.problem = str(error)
        finally:
            pieces.close()  # what was said counts
            self._growing = ""
            self._show()

    # What they show.

    def _lines(self) -> list[tuple[str, str]]:
        """Who said what."""
        lines = [(NAMES[message.role], message.content) for message in self.conversation.messages]
        if self._growing:
            lines.append((NAMES["assistant"], self._growing))
        if self.conversation.forgotten:
            n, most = self.conversation.forgotten, self.conversation.model.config.context_length
            lines.append(("note", f"the context of {most} tokens is full: the first {n} messages are forgotten"))
        if self.problem:
            lines.append(("problem", self.problem))
        return lines

    def _show(self) -> None:
        lines = "".join(f"<p><b>{who}</b> {escape(words)}</p>" for who, words in self._lines())
        self.said.value = f'<div aria-live="polite">{lines}</div>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The live chat for a frontend with widgets, what was said for every other."""
        said = "\n".join(f"{who}: {words}" for who, words in self._lines())
        return {**self.box._repr_mimebundle_(), "text/plain": f"A chat; run the cell to use it.\n{said}".rstrip()}
