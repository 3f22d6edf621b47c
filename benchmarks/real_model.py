"""SmolLM2-135M-Instruct from its GGUF file: minigpt beside transformers reading the same file, which is `make lab`'s.

From the start of a process to the first token; greedy decoding of 64 tokens after a prompt of 64, in float32 and with
weights in 8 bits, where the tokens in float32 are compared first; reading a prompt of 512; and the memory that a
process holds after it has decoded. Decoding has the number of threads with which each is fastest. Reading takes all
cores, and each a process of its own, since ours tells the C library to keep freed memory.

Then decoding beside llama.cpp, which reads the same file and multiplies its blocks as they are (`make bench` brings
xllamacpp, which holds it compiled), on one thread each; and eight chats at once through `minigpt serve` and one after
the other, with all cores, as it does by itself. It takes some minutes.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import torch

from benchmarks.measure import Options, Result, Row, Times, check, compare, interleave, with_threads
from benchmarks.startup import python
from minigpt.commands.serving import make_app
from minigpt.generation.decoding import last_logits
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT
from minigpt.model.int8 import to_int8
from minigpt.runtime import cores, fastest_threads
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.smollm2 import checked_path, load_smollm2

TEXT = "The sea was calm that morning, and the fishermen had gone out before the sun rose over the hills. " * 40
NEW, PROMPT, LONG = 64, 64, 512
ABOUT = ("rain", "snow", "bread", "trees", "rivers", "horses", "glass", "music")

THREADS = "import torch; torch.set_num_threads(1)\n"
MEMORY = """
print(int(open("/proc/self/statm").read().split()[1]) * 4096)
"""
OURS = (
    THREADS
    + """
from minigpt.generation.generate import generate
from minigpt.weights.smollm2 import load_smollm2
model, tokenizer = load_smollm2()
{change}
print(generate(model, tokenizer.encode("Once upon a time"), {n}, temperature=0)[0])
"""
)
THEIRS = (
    THREADS
    + """
import sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
path = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
model = AutoModelForCausalLM.from_pretrained(
    path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
)
prompt = tokenizer("Once upon a time", return_tensors="pt")
new = model.generate(**prompt, max_new_tokens={n}, do_sample=False)[0, prompt["input_ids"].size(1):].tolist()
print(new)
"""
)
SECONDS = """
import json, sys, time
import torch
ids = torch.tensor([json.loads(sys.argv[2])])
{setup}
def read():
    with torch.inference_mode():
        {read}
seconds = []
for _ in range(6):
    start = time.perf_counter()
    read()
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds[1:]))
"""
OURS_READ = SECONDS.format(
    setup="""
from minigpt.generation.decoding import last_logits
from minigpt.weights.smollm2 import load_smollm2
model, _ = load_smollm2()
""",
    read="last_logits(model, ids)",
)
THEIRS_READ = SECONDS.format(
    setup="from pathlib import Path\nfrom benchmarks.real_model import theirs\nmodel = theirs(Path(sys.argv[1]))",
    read="model(ids, use_cache=False, logits_to_keep=1)",
)
INT8 = "from minigpt.model.int8 import to_int8\nmodel = to_int8(model)"


def theirs(path: Any) -> Any:
    """The same file in transformers, in float32."""
    from transformers import AutoModelForCausalLM, GgufConfig

    quantization = GgufConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, quantization_config=quantization, dtype=torch.float32
    ).eval()


def ours_write(model: GPT, prompt: list[int]) -> list[int]:
    return generate(model, prompt, NEW, temperature=0)[0]


def theirs_write(model: Any, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW
    )
    return found[0, len(prompt) :].tolist()


@torch.inference_mode()
def theirs_read(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(ids, use_cache=False, logits_to_keep=1).logits[:, -1]
    return logits


@torch.inference_mode()
def ours_read(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    return last_logits(model, ids)


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


def start_to_first_token(path: str) -> list[Row]:
    """Time to the first token, and memory after some tokens, each in a process of its own."""
    works = {
        "ours": partial(python, OURS.format(change="", n=1)),
        "theirs": partial(python, THEIRS.format(n=1), path),
    }
    check(works["ours"]() == works["theirs"](), "the first token is another")
    times = interleave(works, rounds=3, warm_up=0)
    rows = [compare("start to first token, SmolLM2", times["ours"], times["theirs"], "transformers", target=5)]
    peer = int(python(THEIRS.format(n=NEW) + MEMORY, path).splitlines()[-1]) / 1e6
    for change, name, target in (("", "float32", None), (INT8, "8 bits", 1 / 0.45)):
        mine = int(python(OURS.format(change=change, n=NEW) + MEMORY).splitlines()[-1]) / 1e6
        ratio = peer / mine
        rows.append(Row(f"memory of a process, SmolLM2, {name}", mine, "MB", peer, "transformers", ratio, target))
    return rows


def reading(path: str, ids: list[int]) -> Row:
    """Seconds for a prompt, in turn in processes of their own."""
    times = {"ours": Times(), "theirs": Times()}
    for _ in range(3):
        for name, program in (("ours", OURS_READ), ("theirs", THEIRS_READ)):
            times[name].wall += json.loads(python(program, path, json.dumps(ids)))
    return compare(
        f"reading {len(ids)} tokens, SmolLM2", times["ours"], times["theirs"], "transformers", unit="tokens/s",
        amount=len(ids), target=1.1, notes=f"{cores()} threads, each in a process of its own",
    )  # fmt: skip


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
    torch.set_num_threads(1)
    path = checked_path()
    rows = start_to_first_token(str(path))
    model, tokenizer = load_smollm2()
    other = theirs(path)
    prompt = tokenizer.encode(TEXT)
    check(ours_write(model, prompt[:PROMPT]) == theirs_write(other, prompt[:PROMPT]), "other tokens come out")
    ids = torch.tensor([prompt[:LONG]])
    check(torch.allclose(ours_read(model, ids), theirs_read(other, ids), atol=1e-2), "the logits differ")
    rows.append(reading(str(path), prompt[:LONG]))
    small = to_int8(load_smollm2()[0])
    works, tokens = at_their_best(
        {
            "ours": partial(ours_write, model, prompt[:PROMPT]),
            "theirs": partial(theirs_write, other, prompt[:PROMPT]),
            "int8": partial(ours_write, small, prompt[:PROMPT]),
        }
    )
    times = interleave(works)
    for ours, what, target in (("ours", "float32", 1.8), ("int8", "8 bits", 2.5)):
        work = f"decoding {NEW} tokens after {PROMPT}, SmolLM2, {what}"
        rows.append(compare(work, times[ours], times["theirs"], "transformers", amount=NEW, target=target, **tokens))
    torch.set_num_threads(1)
    works = {"int8": partial(ours_write, small, prompt[:PROMPT]), "llama.cpp": llama_cpp(path, prompt[:PROMPT])}
    times = interleave(works)
    rows.append(
        compare(f"decoding {NEW} tokens after {PROMPT}, SmolLM2, 8 bits, one thread", times["int8"], times["llama.cpp"],
                "llama.cpp, its Q4_1", amount=NEW, target=0.5, unit="tokens/s", notes="one thread each")
    )  # fmt: skip
    rows.append(with_threads(cores(), eight_chats, model, tokenizer))
    return Result(rows)


if __name__ == "__main__":
    from benchmarks.__main__ import run as run_and_write

    run_and_write("real_model", Options())
