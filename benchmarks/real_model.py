"""SmolLM2-135M-Instruct from its GGUF file: minigpt beside transformers reading the same file, which is `make lab`'s.

From the start of a process to the first token; the memory that a process holds after it has written 64 tokens; and
reading a prompt of 512, where the logits are compared first. Reading takes all cores, and each a process of its own,
since ours tells the C library to keep freed memory. What writing takes is in `real_writing`.
"""

import json
from functools import partial
from typing import Any

import torch

from benchmarks.measure import Options, Result, Row, Times, check, compare, interleave
from benchmarks.startup import python
from minigpt.generation.decoding import last_logits
from minigpt.model.gpt import GPT
from minigpt.runtime import cores
from minigpt.weights.smollm2 import checked_path, load_smollm2

TEXT = "The sea was calm that morning, and the fishermen had gone out before the sun rose over the hills. " * 40
NEW, LONG = 64, 512

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


@torch.inference_mode()
def theirs_read(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(ids, use_cache=False, logits_to_keep=1).logits[:, -1]
    return logits


@torch.inference_mode()
def ours_read(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    return last_logits(model, ids)


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
    for _ in range(5):
        for name, program in (("ours", OURS_READ), ("theirs", THEIRS_READ)):
            times[name].wall += json.loads(python(program, path, json.dumps(ids)))
    return compare(
        f"reading {len(ids)} tokens, SmolLM2", times["ours"], times["theirs"], "transformers", unit="tokens/s",
        amount=len(ids), target=1.1, notes=f"{cores()} threads, each in a process of its own",
    )  # fmt: skip


def run(options: Options) -> Result:
    torch.set_num_threads(1)
    path = checked_path()
    rows = start_to_first_token(str(path))
    model, tokenizer = load_smollm2()
    other = theirs(path)
    prompt = tokenizer.encode(TEXT)
    ids = torch.tensor([prompt[:LONG]])
    check(torch.allclose(ours_read(model, ids), theirs_read(other, ids), atol=1e-2), "the logits differ")
    rows.append(reading(str(path), prompt[:LONG]))
    return Result(rows)


if __name__ == "__main__":
    from benchmarks.__main__ import run as run_and_write

    run_and_write("real_model", Options())
