"""Loss on tiny Shakespeare for equal time: nanoGPT's recipe for a laptop, and ours in its time and in four times that.

nanoGPT's recipe (the preset shakespeare-char has its sizes and settings) runs in the plain loop of training.py, in
float32; ours are the presets shakespeare-char-fast and -long, in our Trainer. How many steps ours may take follows from
the time of a step, theirs and ours measured in turn just before, on the wall and in CPU seconds; what each run then
took is written down as well.

Characters; every character of the last tenth but its first is guessed once, in windows of the model's context.
"""

import statistics
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from benchmarks.measure import Options, Result, Row, Times, clocks, interleave
from benchmarks.training import THREADS, PlainLoop
from minigpt.config import Preset, preset
from minigpt.evaluation.loss import mean_loss
from minigpt.model.gpt import GPT
from minigpt.text.data import Data, load_data
from minigpt.training.optim import learning_rate_at
from minigpt.training.trainer import Trainer

PUBLISHED = 1.4697
"""nanoGPT's best validation loss (its readme): 10.6 million parameters, three minutes on an A100."""
MARGIN = 0.95
"""We take this share of the steps that would fit: the clock of the trial is not exact."""
TRIAL = 10
"""Steps in each round of the trial."""


@dataclass
class Run:
    """What a training run came to."""

    preset: str
    steps: int
    loss: float
    seconds: float
    cpu_seconds: float


def load(options: Options, recipe: Preset) -> Data:
    """The text as characters, in windows of the recipe's context."""
    return load_data(str(options.data or "shakespeare"), recipe.model.context_length, "char")


class NanoGPT:
    """nanoGPT's recipe in the plain loop."""

    def __init__(self, recipe: Preset, data: Data) -> None:
        torch.manual_seed(recipe.train.seed)
        self.recipe, self.data = recipe.train, data
        self.model = GPT(replace(recipe.model, vocab_size=data.tokenizer.vocab_size))
        self.loop = PlainLoop(self.model, recipe.train)
        self.steps = 0

    def train_step(self) -> None:
        for group in self.loop.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * learning_rate_at(self.steps, self.recipe)
        self.loop.step(*self.data.batch_at(self.steps, self.recipe.batch_size, self.recipe.seed))
        self.steps += 1


def ours(recipe: Preset, data: Data, max_steps: int) -> Trainer:
    """Our Trainer with a preset whose schedule ends after so many steps."""
    config = replace(recipe.model, vocab_size=data.tokenizer.vocab_size)
    return Trainer(config, replace(recipe.train, max_steps=max_steps, threads=THREADS), data)


def steps_that_fit(ours: Times, theirs: Times, steps: int, budget: float) -> int:
    """How many of our steps fit into `budget` times the time of so many of nanoGPT's, with a margin, on both clocks."""
    wall = statistics.median(theirs.wall) / statistics.median(ours.wall)
    cpu = statistics.median(theirs.cpu) / statistics.median(ours.cpu)
    return int(MARGIN * budget * steps * min(wall, cpu))


def measured(name: str, trainer: NanoGPT | Trainer, steps: int, data: Data, start: tuple[float, float]) -> Run:
    """Take the steps; the clock stops before the validation."""
    for _ in range(steps):
        trainer.train_step()
    seconds, cpu_seconds = (b - a for a, b in zip(start, clocks(), strict=True))
    loss = mean_loss(trainer.model, data, "val")
    print(f"{name}: loss {loss:.4f} after {steps} steps, {seconds:.0f} s, {cpu_seconds:.0f} CPU seconds", flush=True)
    return Run(name, steps, loss, seconds, cpu_seconds)


def run(options: Options) -> Result:
    torch.set_num_threads(THREADS)
    nano = preset("shakespeare-char")
    recipes = {1: "shakespeare-char-fast", 4: "shakespeare-char-long"}
    data = {name: load(options, preset(name)) for name in ("shakespeare-char", *recipes.values())}
    trial = {"nanogpt": NanoGPT(nano, data["shakespeare-char"])} | {
        name: ours(preset(name), data[name], 10**6) for name in recipes.values()
    }
    works = {name: lambda t=t: [t.train_step() for _ in range(TRIAL)] for name, t in trial.items()}
    times = interleave(works)

    start = clocks()
    theirs = NanoGPT(nano, data["shakespeare-char"])
    runs = [measured("shakespeare-char", theirs, nano.train.max_steps, data["shakespeare-char"], start)]
    rows = []
    for budget, name in recipes.items():
        steps = steps_that_fit(times[name], times["nanogpt"], nano.train.max_steps, budget)
        start = clocks()
        found = measured(name, ours(preset(name), data[name], steps), steps, data[name], start)
        share = found.cpu_seconds / (budget * runs[0].cpu_seconds)
        peer, peer_name = (
            (runs[0].loss, "nanoGPT's recipe") if budget == 1 else (PUBLISHED, "nanoGPT on an A100 (published)")
        )
        rows.append(
            Row(
                f"loss on tiny Shakespeare in {budget} × nanoGPT's time", found.loss, "nats", peer, peer_name,
                target={1: 1.60, 4: 1.47}[budget], target_of="at most, ours",
                notes=f"{THREADS} threads; {steps} steps, {share:.0%} of the CPU time allowed",
            )
        )  # fmt: skip
        runs.append(found)
    more: dict[str, Any] = {"runs": [asdict(each) for each in runs], "trial": {k: asdict(t) for k, t in times.items()}}
    return Result(rows, more)
