"""Writing with SmolLM2-135M-Instruct from its GGUF file: minigpt beside transformers, llama.cpp and itself.

Greedy decoding of 64 tokens after a prompt of 64, in float32 and with weights in 8 bits, where the tokens in float32
are compared first; each has the number of threads with which it is fastest. Then beside llama.cpp, which reads the same
file and multiplies its blocks as they are (`make bench` brings xllamacpp, which holds it compiled), on one thread each;
and eight chats at once through `minigpt serve` and one after the other, with all cores, as it does by itself.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import torch

from benchmarks.measure import Options, Result, Row, check, compare, interleave, with_threads
from benchmarks.real_model import NEW, TEXT, theirs
from minigpt.commands.serving import make_app
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT
from minigpt.model.int8 import to_int8
from minigpt.runtime import cores, fastest_threads
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.smollm2 import checked_path, load_smollm2

PROMPT = 64
ABOUT = ("rain", "snow", "bread", "trees", "rivers", "horses", "glass", "music")


def ours_write(model: GPT, prompt: list[int]) -> list[int]:
    return generate(model, prompt, NEW, temperature=0)[0]


def theirs_write(model: Any, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW
    )
    return found[0, len(prompt) :].tolist()


def llama_cpp(path: Any, prompt: list[int]) -> Callable[[], object]:
    """Greedy decoding of the same prompt by llama.cpp, on one thread."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = str(path), 512, 1, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    asked = {"prompt": prompt, "n_predict": NEW, "temperature": 0.0, "cache_prompt": False, "ignore_eos": True}

    def write() -> int:
        return int(server.handle_completions(asked)["timings"]["predicted_n"])

    check(write() == NEW, f"llama.cpp writes {write()} tokens, not {NEW}")
    return write


def eight_chats(model: GPT, tokenizer: Tokenizer) -> Row:
    """Tokens a second through the server, whose thread writes what waits together."""
    app = make_app(model, tokenizer, "smollm2")

    async def answer(client: httpx.AsyncClient, what: str) -> int:
        messages = [{"role": "user", "content": f"Tell me something about {what}."}]
        asked = {"messages": messages, "max_tokens": NEW, "temperature": 0}
        said = (await client.post("/v1/chat/completions", json=asked)).json()
        return int(said["usage"]["completion_tokens"])

    async def tokens(together: bool) -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as client:
            if together:
                return sum(await asyncio.gather(*(answer(client, what) for what in ABOUT)))
            return sum([await answer(client, what) for what in ABOUT])

    amount = asyncio.run(tokens(True))
    check(amount == asyncio.run(tokens(False)), "together the answers have other lengths")
    works: dict[str, Callable[[], object]] = {
        "together": lambda: asyncio.run(tokens(True)),
        "in turn": lambda: asyncio.run(tokens(False)),
    }
    times = interleave(works, rounds=3, warm_up=0)
    work = f"serving {len(ABOUT)} chats at once, SmolLM2"
    return compare(
        work,
        times["together"],
        times["in turn"],
        "one after the other",
        amount=amount,
        unit="tokens/s",
        target=3,
        notes=f"{cores()} threads",
    )


def at_their_best(works: dict[str, Callable[[], object]]) -> tuple[dict[str, Callable[[], object]], Any]:
    """The same works, each with its fastest number of threads; and what a row says of them."""
    threads = {name: fastest_threads(work, repeats=1) for name, work in works.items()}
    notes = f"the fastest number of threads: {threads}; transformers in float32"
    return {name: partial(with_threads, threads[name], work) for name, work in works.items()}, {
        "unit": "tokens/s", "notes": notes
    }  # fmt: skip


def run(options: Options) -> Result:
    path, rows = checked_path(), list[Row]()
    model, tokenizer = load_smollm2()
    small, other = to_int8(load_smollm2()[0]), theirs(path)
    prompt = tokenizer.encode(TEXT)[:PROMPT]
    check(ours_write(model, prompt) == theirs_write(other, prompt), "other tokens come out")
    works, tokens = at_their_best(
        {
            "ours": partial(ours_write, model, prompt),
            "theirs": partial(theirs_write, other, prompt),
            "int8": partial(ours_write, small, prompt),
        }
    )
    times = interleave(works)
    for ours, what, target in (("ours", "float32", 1.8), ("int8", "8 bits", 2.5)):
        work = f"decoding {NEW} tokens after {PROMPT}, SmolLM2, {what}"
        rows.append(compare(work, times[ours], times["theirs"], "transformers", amount=NEW, target=target, **tokens))
    torch.set_num_threads(1)
    works = {"int8": partial(ours_write, small, prompt), "llama.cpp": llama_cpp(path, prompt)}
    times = interleave(works)
    rows.append(
        compare(f"decoding {NEW} tokens after {PROMPT}, SmolLM2, 8 bits, one thread", times["int8"], times["llama.cpp"],
                "llama.cpp, its Q4_1", amount=NEW, target=0.5, unit="tokens/s", notes="one thread each")
    )  # fmt: skip
    rows.append(with_threads(cores(), eight_chats, model, tokenizer))
    return Result(rows)


if __name__ == "__main__":
    from benchmarks.__main__ import run as run_and_write

    run_and_write("real_writing", Options())
