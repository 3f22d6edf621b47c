"""What lesson 23 fits laws to: twenty models of the story world, five sizes times four lengths of training.

`python -m minigpt.course.scaling` trains them all (35 CPU minutes on one thread) and writes `scaling.json` beside
this file, model by model: stopped and started again, it goes on with the next. No story comes twice, so all tokens of a
run are new ones. Each run has a learning rate that falls to 0 at its own end, as it must for a fair comparison
(Hoffmann et al. 2022, section 3.1): the loss halfway through a longer run is too high.
"""

import hashlib
import json
import math
import platform
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import IGNORE, GPTConfig, TrainConfig
from minigpt.evaluation.gap import told_by
from minigpt.evaluation.truth import true_distributions
from minigpt.model.gpt import GPT, flops_per_token, parameter_count
from minigpt.text import stories
from minigpt.text.batch import Batch, pad_rows
from minigpt.text.data import StoryData
from minigpt.text.stories import Story
from minigpt.text.tokenizer import BPETokenizer
from minigpt.training.trainer import Trainer

FILE = Path(__file__).with_suffix(".json")
COMMAND = "OMP_NUM_THREADS=1 python -m minigpt.course.scaling"
VOCAB_SIZE, CONTEXT_LENGTH, BATCH = 512, 384, 4
SIZES = {12: (2, 2), 24: (2, 2), 48: (2, 4), 80: (3, 4), 160: (3, 4)}
"""For each d_model: blocks, and heads in each."""
STEPS = (270, 675, 1700, 4300)
"""Of a run; a step has BATCH stories, about 920 tokens."""
RATES = {
    12: {0.01: 3.538, 0.03: 3.237, 0.06: 3.273},
    24: {0.01: 2.766, 0.02: 2.685, 0.04: 3.337},
    48: {0.01: 2.124, 0.02: 1.929, 0.04: 2.805},
    80: {0.006: 1.701, 0.012: 1.576, 0.024: 2.954},
    160: {0.004: 1.243, 0.008: 1.199, 0.016: 3.316},
}
"""For each d_model: peak learning rates that it was tried with, and the loss after 273 steps on validation stories."""
AGAIN = ((12, 270), (24, 270))
"""d_model and steps of the models that are trained with three more seeds, to see what chance does."""
TEST_STORIES, FEW_STORIES = 400, 50
"""How many each model is tested on at its end, and how many at each of WATCHED while it learns."""
WATCHED = (10, 20, 40, 70, 110, 170, 270, 425, 675, 1070, 1700, 2700, 4300)

KINDS = ("dice", "text", "spelling", "memory")
"""Of a token. dice: what comes is open, even for one who knows the world. The others are certain, and stand in text:
a sentence's own words; spelling: the rest of a word that tells a fact for the first time; memory: what follows from
facts told before, a name said again, the fox's den, her."""


@cache
def tokenizer() -> BPETokenizer:
    """Learned from 500 stories that no model of these is trained or tested on."""
    return BPETokenizer.train([stories.story_at("train", i, seed=1).text for i in range(500)], VOCAB_SIZE)


def config_of(d_model: int) -> GPTConfig:
    """The model of one of SIZES."""
    n_layers, n_heads = SIZES[d_model]
    return GPTConfig(
        vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, n_layers=n_layers, n_heads=n_heads, d_model=d_model,
        bias=False, positions="rope",
    )  # fmt: skip


def recipe(d_model: int, steps: int, seed: int = 0) -> TrainConfig:
    """How a model is trained; the schedule of its learning rate ends with the run."""
    rate = min(RATES[d_model], key=RATES[d_model].__getitem__)
    return TrainConfig(
        max_steps=steps, batch_size=BATCH, learning_rate=rate, warmup_steps=steps // 10, weight_decay=0.0,
        seed=seed, precision="float32", threads=1,
    )  # fmt: skip


def kinds_of(story: Story) -> list[str]:
    """Which of KINDS each token of a story is, its end included."""
    words, told = tokenizer(), told_by(story)
    found, place = [], 0
    for token, truth in zip(words.encode(story.text), true_distributions(words, story.text), strict=False):
        place += len(words.decode([token]))
        certain = truth[token] > 1 - 1e-9
        found.append(told[place - 1] if certain else "dice")  # a token begins with its space: its last letter counts
    return [*found, "text"]


class Exam:
    """Test stories, and for each token its kind and what it costs one who knows the world."""

    def __init__(self, count: int) -> None:
        told = [stories.story_at("test", number) for number in range(count)]
        words = tokenizer()
        end = words.end_of_text or 0
        rows = [[end, *words.encode(story.text), end] for story in told]
        self.batches = [pad_rows(rows[i : i + 25], end) for i in range(0, count, 25)]
        self.lengths = [len(row) - 1 for row in rows]
        kinds = [kind for story in told for kind in kinds_of(story)]
        self.kinds = np.array([KINDS.index(kind) for kind in kinds])
        self.floors = np.array([story.bits * math.log(2) for story in told])  # nats of each story

    @torch.no_grad()
    def losses(self, model: GPT) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The loss of every token, story after story, in nats."""
        model.eval()
        found: list[Tensor] = []
        for inputs, targets in self.batches:
            counted = targets != IGNORE
            found.append(F.cross_entropy(model(inputs)[counted], targets[counted], reduction="none"))
        model.train()
        return torch.cat(found).double().numpy()

    def by_kind(self, losses: np.ndarray[Any, Any]) -> list[float]:
        """The mean loss of the tokens of each of KINDS."""
        return [round(float(losses[self.kinds == kind].mean()), 5) for kind in range(len(KINDS))]

    def report(self, model: GPT) -> dict[str, Any]:
        """Mean loss per token, by kind, and the standard error of its excess over the floor, from story to story."""
        losses = self.losses(model)
        lengths = np.array(self.lengths)
        of_story = np.add.reduceat(losses, np.concatenate([[0], lengths.cumsum()[:-1]]))
        excess = of_story - self.floors
        spread = (excess - excess.sum() / lengths.sum() * lengths).std(ddof=1)
        error = spread / lengths.mean() / math.sqrt(len(lengths))
        return {
            "loss": round(float(losses.mean()), 5),
            "loss_of_few": round(float(losses[: lengths[:FEW_STORIES].sum()].mean()), 5),
            "error": round(float(error), 5),
            "by_kind": self.by_kind(losses),
        }

    def floor(self) -> dict[str, Any]:
        """What one who knows the world scores on these stories, and how many tokens are of which kind."""
        counts = [int((self.kinds == kind).sum()) for kind in range(len(KINDS))]
        return {"stories": len(self.lengths), "tokens": counts, "floor": float(self.floors.sum() / sum(self.lengths))}


class CountedStories(StoryData):
    """Stories, and how many tokens of them were asked for."""

    tokens = 0

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        """As of any StoryData."""
        inputs, targets = super().batch_at(step, batch_size, seed)
        self.tokens += int((targets != IGNORE).sum())
        return inputs, targets


def train(d_model: int, steps: int, seed: int = 0, watch: Exam | None = None) -> tuple[GPT, int, list[list[float]]]:
    """A trained model, the tokens that it was trained on, and its losses by kind at WATCHED."""
    data = CountedStories(tokenizer(), CONTEXT_LENGTH)
    trainer = Trainer(config_of(d_model), recipe(d_model, steps, seed), data)
    seen = []
    for _ in range(steps):
        trainer.train_step()
        if watch and trainer.step in WATCHED:
            seen.append(watch.by_kind(watch.losses(trainer.model)))
    return trainer.model.eval(), data.tokens, seen


def fingerprint(tensors: Sequence[Tensor]) -> str:
    """The beginning of the SHA-256 of numbers."""
    joined = hashlib.sha256()
    for tensor in tensors:
        joined.update(tensor.detach().contiguous().numpy().tobytes())
    return joined.hexdigest()[:16]


def measure(d_model: int, steps: int, seed: int, exam: Exam, watch: Exam | None = None) -> dict[str, Any]:
    """Train one model and test it."""
    config, began = config_of(d_model), time.process_time()
    model, tokens, seen = train(d_model, steps, seed, watch)
    spent = time.process_time() - began
    all_parameters = parameter_count(config)
    found: dict[str, Any] = {
        "d_model": d_model,
        "steps": steps,
        "seed": seed,
        "parameters": all_parameters,
        "in_blocks": all_parameters - config.vocab_size * d_model,
        "tokens": tokens,
        "flops": flops_per_token(config, tokens // (steps * BATCH)) * tokens,
        "learning_rate": recipe(d_model, steps).learning_rate,
        "seconds": round(spent, 1),
        "weights": fingerprint(list(model.parameters())),
    }
    return found | exam.report(model) | ({"seen": seen} if watch else {})


def load() -> dict[str, Any]:
    """What was measured when the command was last run."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def write(found: dict[str, Any]) -> None:
    """Write the file at once or not at all, a line for each model."""
    models = ",\n".join(f"    {json.dumps(model)}" for model in found["models"])
    head = json.dumps(found | {"models": []}, indent=1).replace('"models": []', f'"models": [\n{models}\n]')
    unfinished = FILE.with_suffix(".unfinished")
    unfinished.write_text(head + "\n", encoding="utf-8")
    unfinished.replace(FILE)


def main() -> None:
    """Train what the file does not have yet."""
    torch.set_num_threads(1)
    exam, watch = Exam(TEST_STORIES), Exam(FEW_STORIES)
    found = {
        "command": COMMAND,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "tokenizer": hashlib.sha256(json.dumps(tokenizer().contents()).encode()).hexdigest()[:16],
        "test": exam.floor(),
        "models": load()["models"] if FILE.exists() else [],
    }
    wanted = [(d_model, steps, 0) for steps in STEPS for d_model in SIZES]
    wanted += [(d_model, steps, seed) for d_model, steps in AGAIN for seed in (1, 2, 3)]
    done = {(model["d_model"], model["steps"], model["seed"]) for model in found["models"]}
    for d_model, steps, seed in wanted:
        if (d_model, steps, seed) not in done:
            model = measure(d_model, steps, seed, exam, watch if steps == STEPS[-1] else None)
            found["models"].append(model)
            write(found)
            print({name: value for name, value in model.items() if name != "seen"}, flush=True)


if __name__ == "__main__":
    main()
