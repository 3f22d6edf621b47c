"""What lesson 20 compares: a GPT-2 in miniature, and the same with one change at a time, on the story world.

`python -m minigpt.course.one_change` trains them all and writes `one_change.json` beside this file. Every model has as
many parameters as the others, to a fraction of a percent, and all of one seed read the same stories in the same order:
none comes twice, so the loss of a step is that of unseen text. The learning rate rises and then stays, so that every
step could have been the last.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from minigpt.config import GPTConfig
from minigpt.model.gpt import GPT, next_token_loss, parameter_count
from minigpt.text.data import StoryData
from minigpt.weights.checkpoint import load_model

FILE = Path(__file__).with_suffix(".json")
GPT2 = GPTConfig(vocab_size=1861, context_length=192, n_layers=2, n_heads=4, d_model=64, d_ff=256)
CHANGES: dict[str, dict[str, Any]] = {
    "GPT-2": {},
    "RMSNorm": {"norm": "rmsnorm"},
    "rotary positions": {"positions": "rope"},
    "SwiGLU": {"feed_forward": "swiglu"},
    "grouped keys, 4 to 1": {"n_kv_heads": 1},
    "all four": {"norm": "rmsnorm", "positions": "rope", "feed_forward": "swiglu", "n_kv_heads": 1},
}
"""What each model has otherwise than GPT2."""

BATCH, STEPS, SEEDS, WARMUP = 8, 240, (0, 1, 2, 3), 20
RATES = {0.003: 2.084, 0.006: 1.795, 0.012: 2.300}
"""Learning rates that GPT2 was tried with, seed 0, and its mean loss in the steps 126 to 150."""
LEARNING_RATE = min(RATES, key=RATES.__getitem__)
BLOCK = 10
"""Steps whose mean loss is stored as one number."""


def of_equal_size(change: dict[str, Any], size: int) -> GPTConfig:
    """GPT2 with a change, and d_ff such that its number of parameters is nearest to `size`."""
    configs = [replace(GPT2, d_ff=d_ff, **change) for d_ff in range(64, 512)]
    return min(configs, key=lambda config: abs(parameter_count(config) - size))


def train(
    config: GPTConfig, data: StoryData, seed: int, steps: int, rate: float = LEARNING_RATE
) -> tuple[GPT, list[float]]:
    """A model, and the loss of each step, in nats per token, on stories that it had not seen."""
    torch.manual_seed(seed)
    model = GPT(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    losses = []
    for step in range(steps):
        inputs, targets = data.batch_at(step, BATCH, seed)
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / WARMUP)
        loss = next_token_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses


def in_blocks(losses: list[float]) -> list[float]:
    """The mean of each BLOCK of steps."""
    return [round(sum(losses[i : i + BLOCK]) / BLOCK, 4) for i in range(0, len(losses), BLOCK)]


def measure() -> dict[str, Any]:
    """Train all, and time a step of each in turn, so that other work on the machine meets them all.

    Returns:
        for each change `d_ff`, `parameters`, `step` (seconds of CPU, the best of six rounds of ten steps) and
        `losses`, a list of `in_blocks` for each seed.
    """
    data = StoryData(load_model("storyteller")[1], GPT2.context_length)
    size = parameter_count(GPT2)
    configs = {name: of_equal_size(change, size) for name, change in CHANGES.items()}
    spent: dict[str, list[float]] = {name: [] for name in CHANGES}
    for _ in range(6):
        for name, config in configs.items():
            began = time.process_time()
            train(config, data, 0, 10)
            spent[name].append((time.process_time() - began) / 10)
    found: dict[str, Any] = {}
    for name, config in configs.items():
        found[name] = {
            "d_ff": config.d_ff,
            "parameters": parameter_count(config),
            "step": round(min(spent[name]), 5),
            "losses": [in_blocks(train(config, data, seed, STEPS)[1]) for seed in SEEDS],
        }
        print(f"{name:<22} {found[name]['step'] * 1000:5.1f} ms a step, at the end", end=" ")
        print([losses[-1] for losses in found[name]["losses"]], flush=True)
    return found


def load() -> dict[str, Any]:
    """What `measure` found when it was last run."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps(measure(), indent=None) + "\n", encoding="utf-8")
    print(f"{FILE.name} is written; it took {time.process_time():.0f} s of CPU")
