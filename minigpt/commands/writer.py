"""The thread that writes a server's answers: several together, and one that comes later joins them.

A step for eight texts reads the weights once, as one for a single text does. A request that fits joins the answers that
are being written; others wait in a queue with an end. When a client goes away, its answer stops at the next token.
"""

import asyncio
import logging
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field

from minigpt.generation.generate import TextOfTokens
from minigpt.generation.together import Together
from minigpt.model.gpt import GPT
from minigpt.text.chat import answer_space, end_of_turn
from minigpt.text.tokenizer import Tokenizer

MOST_WAITING = 64
"""Requests in the queue; one more is told to come back."""

MOST_TOGETHER = 8
"""Answers that are written at once."""

MOST_COLUMNS = 2**14
"""Of their cache, all answers together: 0.7 GB with SmolLM2 in float32."""


class Refused(Exception):
    """A request that is not served: the HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@dataclass(eq=False)
class Job:
    """One answer to be written."""

    prompt: list[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    loop: asyncio.AbstractEventLoop
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    pieces: "asyncio.Queue[str | None | Exception]" = field(default_factory=asyncio.Queue)
    """The answer as it grows, then None, or what went wrong."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when nobody listens any more."""
    new_tokens: int = 0

    @property
    def to_come(self) -> int:
        """Tokens, at most."""
        return self.max_new_tokens - self.new_tokens

    def tell(self, piece: "str | None | Exception") -> None:
        """Hand a piece to the one who waits for it; called by the writer's thread."""
        try:
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)
        except RuntimeError:  # the server has ended
            self.stopped.set()


def fit_together(jobs: list[Job], context_length: int) -> bool:
    """Whether answers can be written at once: drawn in one way, and none can outgrow the context or the cache."""
    columns = max(len(job.prompt) + job.new_tokens for job in jobs) + max(job.to_come for job in jobs)
    small = columns <= context_length and columns * len(jobs) <= MOST_COLUMNS and len(jobs) <= MOST_TOGETHER
    return small and len({(job.temperature, job.top_p) for job in jobs}) == 1


class Writer:
    """The thread that writes answers: the one that has waited longest, and with it those that fit together with it.

    Args:
        model: on its device.
        tokenizer: the model's.
        most_waiting: length of the queue.

    Raises:
        InputError: for a model that cannot chat.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, most_waiting: int = MOST_WAITING) -> None:
        self.model, self.tokenizer, self.most_waiting = model, tokenizer, most_waiting
        self.end, self.space = end_of_turn(tokenizer), answer_space(tokenizer)
        self.waiting: deque[Job] = deque()
        self.changed = threading.Condition()  # for whoever touches `waiting`
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises Refused (429) where the queue is full."""
        with self.changed:
            if len(self.waiting) >= self.most_waiting:
                raise Refused(429, f"{self.most_waiting} requests are waiting already: try again in a while")
            self.waiting.append(job)
            self.changed.notify()

    def _take(self, going: list[Job]) -> list[Job]:
        """The next jobs: where nothing is being written at least one, after a wait; else those that can join `going`.

        Whoever has hung up meanwhile is left out. Nobody joins before one who has waited longer.
        """
        jobs: list[Job] = []
        with self.changed:
            while True:
                for job in list(self.waiting):
                    if job.stopped.is_set():
                        self.waiting.remove(job)
                    elif not (going or jobs) or fit_together([*going, *jobs, job], self.model.config.context_length):
                        self.waiting.remove(job)
                        jobs.append(job)
                    elif going:  # otherwise those that fit could keep it waiting for ever
                        break
                if going or jobs:
                    return jobs
                self.changed.wait_for(lambda: self.waiting)

    def _run(self) -> None:
        while True:
            going = self._take([])
            try:
                self._write(going)
            except Exception as problem:  # bad jobs must not end the thread
                logging.getLogger(__name__).exception("an answer could not be written")
                for job in going:
                    job.tell(problem)

    def _write(self, going: list[Job]) -> None:
        """Write answers together, and those that join them. A job leaves the list when its answer has ended, or nobody
        listens any more."""
        together = Together(self.model, going[0].temperature, going[0].top_p)
        texts: dict[Job, TextOfTokens] = {}
        new = list(going)
        while going:
            tokens = together.step() if len(going) > len(new) else []
            if new:
                texts |= {job: TextOfTokens(self.tokenizer) for job in new}
                most = max(job.to_come for job in going)
                tokens += together.add([job.prompt for job in new], [job.seed for job in new], most)
            rows = [row for row, job in enumerate(going) if self._tell(job, texts[job], tokens[row])]
            if len(rows) < len(going):
                together.keep(rows)
                going[:] = [going[row] for row in rows]
            going += (new := self._take(going) if going else [])

    def _tell(self, job: Job, text: TextOfTokens, token: int) -> bool:
        """Hand a token's text to the one who waits for it; whether the answer goes on."""
        ended = token == self.end
        piece = "" if ended else text.add(token)
        job.new_tokens += not ended
        going = not ended and job.to_come > 0 and not job.stopped.is_set()
        if not going:
            piece += text.end()
        if piece:
            job.tell(piece.removeprefix(self.space) if job.new_tokens == 1 else piece)
        if not going:
            job.tell(None)
        return going
