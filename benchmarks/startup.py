"""From the start of a process to the first token: minigpt, which verifies its files, and transformers, which does not.

The same weights in both layouts, and the same token out, which is checked first. Two models: the bundled storyteller,
and one of GPT-2's width and depth with random weights (85 million). Then what importing minigpt adds to torch.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.measure import Options, Result, Row, check, compare, interleave, quartiles
from minigpt.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights import checkpoint
from minigpt.weights.pretrained import export_gpt2

OURS = """
import sys
from minigpt.weights.checkpoint import load_model
from minigpt.generation.generate import generate
model, tokenizer = load_model(sys.argv[1])
print(generate(model, tokenizer.encode("Once upon a time"), 1, temperature=0)[0])
"""
THEIRS = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
prompt = tokenizer("Once upon a time", return_tensors="pt")
print(model.generate(**prompt, max_new_tokens=1, do_sample=False)[0, prompt["input_ids"].size(1):].tolist())
"""
ROOT = Path(__file__).parent.parent
MODULES = ("cli", "evaluation.evaluate", "text.prepare", "training.trainer", "weights.pretrained")
"""With what they import, the whole package but minigpt.course."""
IMPORT = f"""
import time, torch
start = time.perf_counter()
import {", ".join(f"minigpt.{name}" for name in MODULES)}
print(time.perf_counter() - start)
"""


def python(program: str, *arguments: str, package: Path = ROOT) -> str:
    """Run a program in a process of its own, with the package of this folder; what it printed."""
    command = [sys.executable, "-c", program, *arguments]
    # With bytecode that the first run leaves, as a user has it.
    variables = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": ""}
    ended = subprocess.run(command, cwd=package, env=os.environ | variables, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return ended.stdout.strip()


def first_token(name: str, model: GPT, tokenizer: Tokenizer, rounds: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = str(Path(folder, "minigpt")), str(Path(folder, "transformers"))
        checkpoint.save(Path(ours), model, tokenizer)
        export_gpt2(model, tokenizer, theirs)
        tokens = python(OURS, ours), python(THEIRS, theirs)
        check(tokens[0] == tokens[1], f"the first token of {name} is {tokens[0]}, transformers says {tokens[1]}")
        times = interleave({"ours": partial(python, OURS, ours), "theirs": partial(python, THEIRS, theirs)}, rounds, 0)
    return compare(f"start to first token, {name}", times["ours"], times["theirs"], "transformers", target=1)


def run(options: Options) -> Result:
    torch.manual_seed(0)
    storyteller, tokenizer = checkpoint.load_model("storyteller")
    large = GPT(GPTConfig(vocab_size=tokenizer.vocab_size)).eval()
    millions = sum(p.numel() for p in large.parameters()) / 1e6
    rows = [
        first_token("the storyteller", storyteller, tokenizer, rounds=3),
        first_token(f"a model of {millions:.0f} million", large, tokenizer, rounds=3),
    ]
    seconds = [float(python(IMPORT)) for _ in range(5)]
    rows.append(
        Row(
            "importing all of minigpt, when torch is there", statistics.median(seconds), "s",
            target=0.3, target_of="at most, ours", spread={"ours": [*quartiles(seconds)[::2]]},
        )
    )  # fmt: skip
    return Result(rows)
