"""This build beside an older one of the same repository: `python -m benchmarks.before 0fa10e0`.

It is not part of `make bench`, because it needs git's history; its rows stand in the table all the same. The older
commit is unpacked into a temporary folder. Each piece of work runs in a process of its own, in turn with the one and
with the other package, three times. Checked first: 50 steps of training give the same losses to a thousandth, and the
same seed tells the same stories.
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.__main__ import line, update_readme
from benchmarks.measure import Result, Row, Times, check, compare
from benchmarks.startup import ROOT, python
from minigpt.runtime import cores

ROUNDS = 3

IMPORTS = """
import json, sys, time
import torch
try:
    from minigpt.config import GPTConfig, TrainConfig
    from minigpt.evaluation.stories import grade, sample_stories
    from minigpt.generation.generate import generate
    from minigpt.text.data import StoryData
    from minigpt.text.tokenizer import BPETokenizer
    from minigpt.training.trainer import Trainer
    from minigpt.weights.checkpoint import load_model
except ImportError:  # before the package had rooms
    from minigpt.checkpoint import load_model
    from minigpt.config import GPTConfig, TrainConfig
    from minigpt.data import StoryData
    from minigpt.evaluate import grade, sample_stories
    from minigpt.generate import generate
    from minigpt.tokenizer import BPETokenizer
    from minigpt.trainer import Trainer


def seconds(work, rounds):
    times = []
    for _ in range(rounds):
        start = time.perf_counter(), time.process_time()
        found = work()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    print(json.dumps([*min(times), found]))
"""
TRAIN = (
    IMPORTS
    + """
_, tokenizer = load_model("storyteller")
config = GPTConfig(vocab_size=tokenizer.vocab_size, context_length=192, n_layers=2, n_heads=4, d_model=128)
recipe = TrainConfig(max_steps=1900, batch_size=16, optimizer="muon", learning_rate=8e-3, weight_decay=0.0,
                     warmup_steps=100, threads={threads}, precision="float32")
trainer = Trainer(config, recipe, StoryData(tokenizer, 192))
times, losses = [], []
for _ in range({steps}):
    start = time.perf_counter(), time.process_time()
    losses.append(trainer.train_step().loss)
    times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
times = times[3:]
print(json.dumps([*(sorted(each)[len(times) // 2] for each in zip(*times)), losses]))
"""
)
WRITE = (
    IMPORTS
    + """
torch.set_num_threads(1)
model, tokenizer = load_model("storyteller")
end = tokenizer.end_of_text
def write():
    return [generate(model, [end], 191, num={num}, stop_token=end, seed=seed) for seed in range({times})]
seconds(write, 4)
"""
)
GRADE = (
    IMPORTS
    + """
torch.set_num_threads(1)
model, tokenizer = load_model("storyteller")
seconds(lambda: grade(sample_stories(model, tokenizer, 1000)).consistent, 1)
"""
)
WORD = (
    IMPORTS
    + """
import numpy as np
word = "".join(np.random.default_rng(0).choice(list("ACGT"), 640_000))
seconds(lambda: [list(pair) for pair in BPETokenizer.train(word, 512).merges], 1)
"""
)
START = """
import json, os, subprocess, sys, time
start = time.perf_counter()
command = [sys.executable, "-m", "minigpt", "generate", "Once", "--max-new-tokens", "1", "--seed", "0"]
said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
spent = os.times()
print(json.dumps([time.perf_counter() - start, spent.children_user + spent.children_system, said]))
"""


@cache
def unpacked(commit: str) -> Path:
    """The older build's folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    folder = Path(tempfile.mkdtemp())
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def found_by(package: Path, program: str) -> Any:
    """What a program printed last, with that package."""
    return json.loads(python(program, package=package).splitlines()[-1])


def in_turn(old: Path, program: str, rounds: int = ROUNDS) -> tuple[Times, Times, list[Any]]:
    """Seconds of this build, and of the older one; and what both found the first time."""
    times, found = (Times(), Times()), []
    for number in range(rounds):
        for package, of in zip((ROOT, old), times, strict=True):
            wall, cpu, result = found_by(package, program)
            of.wall.append(wall)
            of.cpu.append(cpu)
            if number == 0:
                found.append(result)
    return *times, found


def run(commit: str) -> Result:
    old, rows = unpacked(commit), list[Row]()
    against = partial(compare, peer_name=f"the build {commit}", unit="CPU s", clock="cpu")

    train = partial(TRAIN.format, steps=50)
    ours, theirs, (losses, others) = in_turn(old, train(threads=1))
    apart = max(abs(a - b) for a, b in zip(losses, others, strict=True))
    check(apart < 1e-3, f"the losses of 50 steps differ by {apart:.2g}")
    rows.append(against("training step, 2 × 128, 16 stories, Muon", ours, theirs, target=3.3, notes="one thread"))
    several = Times()
    for _ in range(ROUNDS):
        several.wall.append(found_by(ROOT, train(threads=cores()))[0])
    what = f"the same with {cores()} threads, on the wall"
    rows.append(compare(what, several, ours, "one thread", target=1.6))
    for num, times, what, target in ((1, 20, "one story", 1.3), (100, 1, "100 stories at once", 1.5)):
        ours, theirs, (found, other) = in_turn(old, WRITE.format(num=num, times=times))
        check(found == other, "the same seed tells other stories")
        ours, theirs = ours * (1 / times), theirs * (1 / times)
        rows.append(against(f"generation, storyteller, {what}", ours, theirs, target=target, notes="one thread"))
    ours, theirs, (found, other) = in_turn(old, GRADE)
    check(found == other, "other shares of the stories are consistent")
    rows.append(against("1,000 stories, sampled and graded", ours, theirs, target=1.5, notes="one thread"))
    ours, theirs, (found, other) = in_turn(old, WORD, rounds=1)
    check(found == other, "other merges are learned")
    rows.append(against("training BPE, one word of 640,000 letters", ours, theirs, target=10))
    ours, theirs, (found, other) = in_turn(old, START, rounds=5)
    check(found == other, "the first token is another")
    rows.append(against("minigpt generate, from the shell to the first token", ours, theirs, target=1.3))
    return Result(rows)


def main() -> int:
    """Measure against the commit that is named."""
    commit = sys.argv[1] if len(sys.argv) == 2 else ""
    if not commit or subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT).returncode:
        print(f"which commit? {commit!r} is none: python -m benchmarks.before 0fa10e0", file=sys.stderr)
        return 2
    start, described = time.monotonic(), measure.machine()
    result = run(commit)
    minutes = (time.monotonic() - start) / 60
    print(*(line(row, measure.processor(described)) for row in result.rows), sep="\n")
    print(f"{minutes:.1f} minutes; written to {measure.write('before', described, result, minutes)}")
    update_readme()
    return 0


if __name__ == "__main__":
    sys.exit(main())
