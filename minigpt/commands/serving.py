"""A model behind HTTP: OpenAI's /v1/chat/completions and /v1/models, and a page to chat on."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from minigpt.commands.writer import MOST_WAITING, Job, Refused, Writer
from minigpt.config import InputError
from minigpt.model.gpt import GPT
from minigpt.text.chat import Message, encode_prompt
from minigpt.text.tokenizer import Tokenizer

MOST_BYTES = 2**20
"""Of a request's body."""

MOST_NEW_TOKENS = 1024
"""In an answer, whatever a request asks for."""


def error(sentence: str) -> dict[str, Any]:
    """A sentence as OpenAI's clients expect it."""
    return {"error": {"message": sentence, "type": "invalid_request_error", "code": None}}


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
        temperature = _number(body, "temperature", 0.2, 0, 2)
        top_p = _number(body, "top_p", 0.9, 1e-6, 1)
        seed = _number(body, "seed", secrets.randbits(63), 0, 2**63 - 1, whole=True)
        return Job(prompt, min(n, room), temperature, top_p, seed, asyncio.get_running_loop())

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
