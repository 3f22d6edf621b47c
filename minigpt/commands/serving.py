"""A model behind HTTP: OpenAI's /v1/chat/completions and /v1/models, and a page to chat on.

One thread writes the answers, several together if they wait for it: a step for eight texts reads the weights once, as
one for a single text does. Requests wait in a queue with an end. When a client goes away, its answer stops at the next
token, and where nobody listens any more the next requests have their turn.
"""

import asyncio
import json
import logging
import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from minigpt.config import InputError
from minigpt.generation.generate import Options, TextOfTokens, stream_batch
from minigpt.model.gpt import GPT
from minigpt.text.chat import Message, answer_space, encode_prompt, end_of_turn
from minigpt.text.tokenizer import Tokenizer

MOST_WAITING = 64
"""Requests in the queue; one more is told to come back."""

MOST_BYTES = 2**20
"""Of a request's body."""

MOST_NEW_TOKENS = 1024
"""In an answer, whatever a request asks for."""

MOST_TOGETHER = 8
"""Answers that are written at once."""

MOST_COLUMNS = 2**14
"""Of their cache, all answers together: 0.7 GB with SmolLM2 in float32."""


def error(sentence: str) -> dict[str, Any]:
    """A sentence as OpenAI's clients expect it."""
    return {"error": {"message": sentence, "type": "invalid_request_error", "code": None}}


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
    options: Options
    """Without a seed."""
    seed: int
    loop: asyncio.AbstractEventLoop
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    pieces: "asyncio.Queue[str | None | Exception]" = field(default_factory=asyncio.Queue)
    """The answer as it grows, then None, or what went wrong."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when nobody listens any more."""
    new_tokens: int = 0

    def tell(self, piece: "str | None | Exception") -> None:
        """Hand a piece to the one who waits for it; called by the writer's thread."""
        try:
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)
        except RuntimeError:  # the server has ended
            self.stopped.set()


def fit_together(jobs: list[Job], context_length: int) -> bool:
    """Whether answers can be written at once: drawn in one way, and none can outgrow the context or the cache."""
    columns = max(len(job.prompt) for job in jobs) + max(job.max_new_tokens for job in jobs)
    small = columns <= context_length and columns * len(jobs) <= MOST_COLUMNS and len(jobs) <= MOST_TOGETHER
    return small and all(job.options == jobs[0].options for job in jobs)


class Writer:
    """The thread that writes answers: the one that has waited longest, and with it those that fit together with it.

    Args:
        model: on its device.
        tokenizer: the model's.
        most_waiting: length of the queue.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, most_waiting: int = MOST_WAITING) -> None:
        self.model, self.tokenizer, self.most_waiting = model, tokenizer, most_waiting
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

    def _take(self) -> list[Job]:
        """The next jobs, at least one; whoever has hung up meanwhile is left out."""
        jobs: list[Job] = []
        with self.changed:
            while not jobs:
                self.changed.wait_for(lambda: self.waiting)
                for job in list(self.waiting):
                    if job.stopped.is_set():
                        self.waiting.remove(job)
                    elif not jobs or fit_together([*jobs, job], self.model.config.context_length):
                        self.waiting.remove(job)
                        jobs.append(job)
        return jobs

    def _run(self) -> None:
        while True:
            jobs = self._take()
            try:
                self._write(jobs)
            except Exception as problem:  # bad jobs must not end the thread
                logging.getLogger(__name__).exception("an answer could not be written")
                for job in jobs:
                    job.tell(problem)

    def _write(self, going: list[Job]) -> None:
        """Write answers together. A job leaves the list when its answer has ended, or nobody listens any more."""
        jobs, texts = list(going), [TextOfTokens(self.tokenizer) for _ in going]
        prompts = [job.prompt for job in jobs]
        options: Options = {**jobs[0].options, "seed": [job.seed for job in jobs]}
        most, space = max(job.max_new_tokens for job in jobs), answer_space(self.tokenizer)
        for tokens in stream_batch(self.model, prompts, most, **options):
            for job, text, token in zip(jobs, texts, tokens, strict=True):
                if job not in going:
                    continue
                piece = text.end() if token is None else text.add(token)
                job.new_tokens += token is not None
                if job.new_tokens == job.max_new_tokens:
                    piece += text.end()
                if piece:
                    job.tell(piece.removeprefix(space) if job.new_tokens == 1 else piece)
                if token is None or job.stopped.is_set() or job.new_tokens == job.max_new_tokens:
                    job.tell(None)
                    going.remove(job)
            if not going:
                return


def _messages(found: Any) -> list[Message]:
    """The messages of a request; a content may be a text or OpenAI's list of parts."""
    if not isinstance(found, list) or not found:
        raise Refused(400, '"messages" must be a list of at least one message')
    messages = []
    for number, each in enumerate(found, start=1):
        content = each.get("content") if isinstance(each, dict) else None
        if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            content = "".join(part["text"] for part in content)
        if not isinstance(content, str) or not isinstance(each.get("role"), str):
            raise Refused(400, f'message {number} must be an object with "role" and "content", both texts')
        messages.append(Message(each["role"], content))
    return messages


def _number(body: dict[str, Any], name: str, default: Any, low: float, high: float, whole: bool = False) -> Any:
    """A number of a request, within its limits."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise Refused(400, f'"{name}" is {str(value)[:40]!r}; it must be {kind} from {low} to {high}')
    return value


def make_app(
    model: GPT, tokenizer: Tokenizer, name: str, *, hosts: tuple[str, ...] = ("*",), most_waiting: int = MOST_WAITING
) -> Starlette:
    """The application.

    Args:
        model: one that can chat.
        tokenizer: the model's.
        name: what clients call it.
        hosts: names under which it may be asked for; others are refused, so that no web page elsewhere can reach it.
        most_waiting: requests that may wait.

    Raises:
        InputError: for a model that cannot chat.
    """
    end = end_of_turn(tokenizer)
    writer = Writer(model, tokenizer, most_waiting)
    started = int(time.time())

    async def read(request: Request) -> dict[str, Any]:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > MOST_BYTES:
                raise Refused(413, f"the request has more than {MOST_BYTES:,} bytes: shorten it")
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            raise Refused(400, "the body of the request is not JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body of the request is not a JSON object")
        return body

    def job_of(body: dict[str, Any]) -> Job:
        if body.get("model", name) != name:
            raise Refused(404, f"there is no model {str(body['model'])[:40]!r} here; this is {name!r}")
        if _number(body, "n", 1, 1, 1, whole=True) != 1 or body.get("tools"):
            raise Refused(400, "one answer is given to a request, without tools")
        asked = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
        n = _number(body, asked, min(400, MOST_NEW_TOKENS), 1, MOST_NEW_TOKENS, whole=True)
        try:
            prompt = encode_prompt(tokenizer, _messages(body.get("messages")))
        except InputError as problem:
            raise Refused(400, str(problem)) from None
        room = model.config.context_length - len(prompt)
        if room < 1:
            most = model.config.context_length
            raise Refused(400, f"the conversation has {len(prompt)} tokens, and the context {most}: shorten it")
        options: Options = {
            "temperature": _number(body, "temperature", 0.2, 0, 2),
            "top_p": _number(body, "top_p", 0.9, 1e-6, 1),
            "stop_token": end,
        }
        seed = _number(body, "seed", secrets.randbits(63), 0, 2**63 - 1, whole=True)
        return Job(prompt, min(n, room), options, seed, asyncio.get_running_loop())

    async def pieces_of(job: Job) -> AsyncIterator[str]:
        """The answer as it grows; whoever stops listening stops the writer, too."""
        try:
            while (piece := await job.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise Refused(500, "the answer could not be written; the server's log says why") from piece
                yield piece
        finally:
            job.stopped.set()

    def chunk(job: Job, delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        said = {"id": job.id, "object": "chat.completion.chunk", "created": started, "model": name, "choices": [choice]}
        return f"data: {json.dumps(said, ensure_ascii=False)}\n\n"

    def reason(job: Job) -> str:
        return "length" if job.new_tokens >= job.max_new_tokens else "stop"

    async def events(job: Job) -> AsyncIterator[str]:
        yield chunk(job, {"role": "assistant", "content": ""})
        try:
            async for piece in pieces_of(job):
                yield chunk(job, {"content": piece})
        except Refused as problem:  # too late for another status
            yield f"data: {json.dumps(error(problem.sentence))}\n\n"
            return
        yield chunk(job, {}, reason(job))
        yield "data: [DONE]\n\n"

    async def whole(job: Job, request: Request) -> Response:
        """The answer in one piece, unless the client hangs up before."""
        gone = asyncio.create_task(_gone(request))
        gone.add_done_callback(lambda _: job.pieces.put_nowait(None))
        text = "".join([piece async for piece in pieces_of(job)])
        gone.cancel()
        usage = {"prompt_tokens": len(job.prompt), "completion_tokens": job.new_tokens}
        usage["total_tokens"] = sum(usage.values())
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason(job)}
        said = {"id": job.id, "object": "chat.completion", "created": started, "model": name, "choices": [choice]}
        return JSONResponse(said | {"usage": usage})

    async def completions(request: Request) -> Response:
        try:
            body = await read(request)
            job = job_of(body)
            writer.submit(job)
            if body.get("stream"):
                return StreamingResponse(events(job), media_type="text/event-stream")
            return await whole(job, request)
        except Refused as problem:
            return JSONResponse(error(problem.sentence), problem.status)
        except ClientDisconnect:
            return Response(status_code=400)

    async def models(_: Request) -> Response:
        here = {"id": name, "object": "model", "created": started, "owned_by": "minigpt"}
        return JSONResponse({"object": "list", "data": [here]})

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.replace("NAME", json.dumps(name)))

    routes = [
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/models", models),
        Route("/", page),
    ]
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app = Starlette(routes=routes, middleware=[guard])
    app.state.writer = writer
    return app


async def _gone(request: Request) -> None:
    """Wait until the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


PAGE = """<!doctype html>
<meta charset="utf-8"><title>minigpt chat</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
p { white-space: pre-wrap; margin: .5rem 0; } .user { font-weight: 600; } form { display: flex; gap: .5rem; }
input { flex: 1; font: inherit; padding: .4rem; } button { font: inherit; }
</style>
<main id="said" aria-live="polite"></main>
<form id="form"><input id="text" aria-label="Your message" autocomplete="off" autofocus>
<button>Send</button><button type="button" id="stop">Stop</button></form>
<script>
const name = NAME, messages = []; let control = null;
const show = (who, text) => { const p = document.createElement("p"); p.className = who; p.textContent = text;
  document.getElementById("said").append(p); return p; };
document.getElementById("stop").onclick = () => control && control.abort();
document.getElementById("form").onsubmit = async (event) => {
  event.preventDefault();
  const field = document.getElementById("text"), text = field.value.trim();
  if (!text || control) return;
  field.value = ""; show("user", text); messages.push({role: "user", content: text});
  const p = show("assistant", ""); control = new AbortController();
  try {
    const answer = await fetch("/v1/chat/completions", {method: "POST", signal: control.signal,
      headers: {"Content-Type": "application/json"}, body: JSON.stringify({model: name, messages, stream: true})});
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    let rest = ""; const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const {value, done} = await reader.read(); if (done) break;
      const lines = (rest + value).split("\\n\\n"); rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: {")) {
        const said = JSON.parse(line.slice(6));
        if (said.error) throw new Error(said.error.message);
        p.textContent += said.choices[0].delta.content || "";
      }
    }
  } catch (problem) { if (problem.name !== "AbortError") p.textContent = "[" + problem.message + "]"; }
  control = null;
  if (p.textContent.trim()) messages.push({role: "assistant", content: p.textContent}); else messages.pop();
};
</script>
"""
