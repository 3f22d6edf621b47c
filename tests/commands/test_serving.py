"""minigpt serve, asked by OpenAI's own client: one, fifty at once, some that hang up, and what is refused."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from minigpt.commands import writer
from minigpt.commands.serving import make_app
from minigpt.config import InputError
from minigpt.generation.generate import generate
from minigpt.generation.together import Together
from minigpt.model.gpt import GPT
from minigpt.text.chat import Message, encode_prompt
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.gguf import load_gguf
from minigpt.weights.models import load_model
from tests.commands.runs import Call
from tests.weights.llama_files import write_gguf


class Served:
    """A server in a thread of its own, on a free port."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, **options: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.app = app = make_app(model, tokenizer, "tiny", **options)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.listener]), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        self.listener.close()

    def expected(self, text: str, n: int) -> str:
        ids = encode_prompt(self.tokenizer, [Message("user", text)])
        return self.tokenizer.decode(generate(self.model, ids, n, temperature=0, stop_token=2)[0])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = write_gguf(tmp_path_factory.mktemp("serve") / "m.gguf", values={"llama.context_length": 512})
    made = Served(*load_gguf(path))
    yield made
    made.close()


def ask(client: Any, text: str, n: int = 12, **options: Any) -> Any:
    asked = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="tiny", messages=asked, max_tokens=n, temperature=0, **options)


def test_openais_client_gets_what_generate_says(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        answer = ask(client, "Hi<|im_end|>")
        assert answer.choices[0].message.content == served.expected("Hi<|im_end|>", 12)
        prompt = encode_prompt(served.tokenizer, [Message("user", "Hi<|im_end|>")])
        assert answer.usage.prompt_tokens == len(prompt) and answer.usage.completion_tokens <= 12
        assert answer.choices[0].finish_reason in ("stop", "length")
        pieces = [chunk.choices[0].delta.content or "" for chunk in ask(client, "Hi", stream=True)]
        assert "".join(pieces) == served.expected("Hi", 12)
        parts: Any = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
        again = client.chat.completions.create(model="tiny", messages=parts, max_tokens=12, temperature=0)
        assert again.choices[0].message.content == served.expected("Hi", 12)


def test_fifty_at_once_of_whom_ten_hang_up(served: Served) -> None:
    """Nothing is lost and nothing is mixed up: each of forty gets its own answer, and the queue is empty after all."""

    async def one(client: openai.AsyncOpenAI, number: int) -> str | None:
        text = f"Number {number}"
        if number % 5 == 0:
            answer = await ask(client, text, 300, stream=True)
            async for _ in answer:
                await answer.close()  # hangs up at the first word
                return None
        if number % 2:
            return (await ask(client, text)).choices[0].message.content
        pieces = [chunk.choices[0].delta.content or "" async for chunk in await ask(client, text, stream=True)]
        return "".join(pieces)

    async def all_of_them() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(50)))

    found = asyncio.run(all_of_them())
    for number, answer in enumerate(found):
        assert answer == (None if number % 5 == 0 else served.expected(f"Number {number}", 12)), number


def test_answers_that_wait_join_those_that_are_written_and_each_is_its_own(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is held at its beginning until others wait: eight of one kind and of other lengths, of which one finds
    no place at once; and one that is drawn, for which those behind it wait."""
    held, free = threading.Event(), threading.Event()
    sizes: list[int] = []

    class Counting(Together):
        def add(self, prompts: list[list[int]], *rest: Any) -> list[int]:
            sizes.append(len(prompts))
            held.set()
            free.wait(60)
            return super().add(prompts, *rest)

    monkeypatch.setattr(writer, "Together", Counting)
    other = Served(served.model, served.tokenizer)
    texts, limits = ["x" * n for n in range(1, 9)], [3 + 4 * n for n in range(1, 9)]

    async def all_of_them() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{other.url}/v1", api_key="none", max_retries=0) as client:
            asked: list[tuple[str, int, dict[str, Any]]]
            asked = [("first", 40, {}), *((text, n, {}) for text, n in zip(texts, limits, strict=True))]
            asked += [("drawn", 3, {"seed": 1, "top_p": 0.5}), ("last", 5, {})]
            tasks = []
            for number, (text, n, options) in enumerate(asked):
                tasks.append(asyncio.create_task(ask(client, text, n, **options)))
                while (
                    not held.is_set() or await asyncio.to_thread(lambda: len(other.app.state.writer.waiting)) < number
                ):
                    await asyncio.sleep(0.01)
            free.set()
            return await asyncio.gather(*tasks)

    try:
        _, *answers, drawn, last = asyncio.run(all_of_them())
    finally:
        other.close()
    assert sizes == [1, 7, 1, 1, 1]
    assert drawn.usage.completion_tokens <= 3
    assert last.choices[0].message.content == served.expected("last", 5)
    for answer, text, n in zip(answers, texts, limits, strict=True):
        assert answer.choices[0].message.content == served.expected(text, n)
        assert answer.usage.completion_tokens <= n


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "is not JSON"),
        (b"[1]", 400, "is not a JSON object"),
        (b'{"messages": []}', 400, "a list of at least one message"),
        (b'{"messages": [3]}', 400, "message 1 must be an object"),
        (b'{"messages": [{"role": "tool", "content": "x"}]}', 400, "has the role 'tool'; choose from system, user"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', 400, "where the system or user should speak"),
        (b'{"messages": [{"role": "user", "content": " "}]}', 400, "is empty; give it words"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 9999}', 400, "whole number from 1 to 1024"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', 400, "a number from 0 to 2"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": 2}', 400, "from 1 to 1"),
        (b'{"messages": [{"role": "user", "content": "x"}], "model": "gpt-9"}', 404, "there is no model 'gpt-9'"),
        (b'{"messages": [{"role": "user", "content": "' + b"1 " * 400 + b'"}]}', 400, "the context 512: shorten it"),
        (b'{"messages": [{"role": "user", "content": "' + b"x" * 2**20 + b'"}]}', 413, "more than 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_sentence(served: Served, body: bytes, status: int, said: str) -> None:
    answer = httpx.post(f"{served.url}/v1/chat/completions", content=body)
    assert answer.status_code == status and said in answer.json()["error"]["message"]


def test_an_answer_that_fails_is_told_and_the_next_one_is_written(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Together):
        def step(self) -> list[int]:
            raise InputError("the model's logits are not finite")

    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    url = f"{served.url}/v1/chat/completions"
    with monkeypatch.context() as patch:
        patch.setattr(writer, "Together", Broken)
        answer = httpx.post(url, json=body)
        assert answer.status_code == 500 and "server's log says why" in answer.json()["error"]["message"]
        streamed = httpx.post(url, json=body | {"stream": True})
        assert streamed.status_code == 200 and "server's log says why" in streamed.text
        assert "[DONE]" not in streamed.text
    assert httpx.post(url, json=body).status_code == 200


def test_the_page_and_who_may_ask(served: Served) -> None:
    page = httpx.get(served.url)
    assert page.status_code == 200 and 'const name = "tiny"' in page.text
    assert httpx.get(f"{served.url}/v1/chat/completions").status_code == 405


def test_a_full_queue_is_told_and_a_client_that_goes_frees_its_place(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is held at its first token; two more wait; a fourth is refused until the first hangs up."""
    hold = threading.Event()

    class Slow(Together):
        def add(self, prompts: list[list[int]], *rest: Any) -> list[int]:
            return [40 for _ in prompts]

        def step(self) -> list[int]:
            hold.wait(0.01)
            return [40]

    monkeypatch.setattr(writer, "Together", Slow)
    monkeypatch.setattr(writer, "MOST_TOGETHER", 1)  # nobody joins
    other = Served(served.model, served.tokenizer, most_waiting=2, hosts=("127.0.0.1",))
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    url = f"{other.url}/v1/chat/completions"
    try:
        with httpx.Client() as client, client.stream("POST", url, json=body) as first:
            lines = first.iter_lines()
            while "content" not in (line := next(lines)) or '"content": ""' in line:
                pass
            with client.stream("POST", url, json=body), client.stream("POST", url, json=body):
                answer = httpx.post(url, json=body)
                assert answer.status_code == 429
                assert "2 requests are waiting already" in answer.json()["error"]["message"]
        monkeypatch.undo()
        deadline = time.monotonic() + 60
        while (again := httpx.post(url, json=body | {"stream": False, "max_tokens": 3})).status_code == 429:
            assert time.monotonic() < deadline
        assert again.status_code == 200
        assert httpx.get(other.url, headers={"Host": "evil.example"}).status_code == 400
    finally:
        other.close()


def test_wrong_arguments(call: Call, world: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = call("serve", "--port", port)
        assert (status, out) == (2, "") and f"port {port} on 127.0.0.1 cannot be used" in err
    status, _, err = call("serve", "--port", 99999)
    assert status == 2 and "port is 99999" in err
    with pytest.raises(InputError, match="cannot chat"):
        make_app(*load_model("storyteller"), "storyteller")
