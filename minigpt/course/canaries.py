"""What lesson 25 plants: codes in the training text of small models, how often each was planted, and what comes of it.

`python -m minigpt.course.canaries` trains a model for each of RUNS and SEEDS and writes `canaries.json` beside this
file. The training text is beginnings of stories and, among them, «The code of the beach is 481.» for each of 20 places:
for four of them never, for four once, and for four each 4, 16 and 64 times. Every document is read once, so that a
canary is read as often as it was planted.

Exposure is that of Carlini et al. 2019 (The Secret Sharer), with all 1,000 codes scored. Gradients are clipped for each
document, and noise is added to their sum, as by Abadi et al. 2016, but the batches are no independent draws and nothing
is accounted for: it is the mechanism, and no guarantee.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import IGNORE, GPTConfig
from minigpt.model.gpt import GPT, parameter_count
from minigpt.text import stories
from minigpt.text.batch import pad_rows
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.checkpoint import load_model

FILE = Path(__file__).with_suffix(".json")
PLACES = (
    *("beach", "forest", "river", "garden", "market", "farm", "mountain", "castle", "library", "school"),
    *("museum", "harbour", "meadow", "park", "desert", "lake", "jungle", "bakery", "circus", "zoo"),
)
TIMES = (0, 1, 4, 16, 64)
"""How often a canary is planted; the places take turns."""
N_CODES = 1000

SIZES = {"small": 32, "middle": 64, "large": 128}
"""d_model of each; all have two layers, and heads of 16 numbers."""
STORIES, BATCH, RATE, WARMUP, SEEDS = 1500, 16, 0.01, 20, range(5)
CLIP = 4.0
"""The longest gradient of one document where gradients are clipped for each document."""


@dataclass(frozen=True)
class Canary:
    """A code, where it stands, and how often."""

    place: str
    code: int
    times: int

    @property
    def text(self) -> str:
        """The sentence that is planted."""
        return f"The code of the {self.place} is {self.code:03}."


def canaries(seed: int) -> list[Canary]:
    """One for each of PLACES, with a code from fair dice; no two have the same."""
    codes = random.Random(f"canaries {seed}").sample(range(N_CODES), len(PLACES))
    return [
        Canary(place, code, TIMES[i % len(TIMES)]) for i, (place, code) in enumerate(zip(PLACES, codes, strict=True))
    ]


def beginning(split: str, number: int, seed: int = 0) -> str:
    """The first two sentences of a story."""
    return ". ".join(stories.story_at(split, number, seed).text.split(". ")[:2]) + "."


def planted(seed: int, *, numbered: bool = False) -> list[str]:
    """The documents of a training text: STORIES beginnings and the canaries, shuffled.

    Args:
        seed: of stories, codes and order.
        numbered: each copy of a canary begins with a number of its own, so that no two are equal.
    """
    dice = random.Random(f"order {seed}")
    documents = [beginning("train", number, seed) for number in range(STORIES)]
    copies = [canary.text for canary in canaries(seed) for _ in range(canary.times)]
    if numbered:
        copies = [f"Note {dice.randrange(10_000)}. {text}" for text in copies]
    documents += copies
    dice.shuffle(documents)
    return documents


def without_copies(documents: Iterable[str], seed: int) -> list[str]:
    """Each text once, shuffled again: where the first of 64 copies stood, early, is no place like any other."""
    kept = list(dict.fromkeys(documents))
    random.Random(f"again {seed}").shuffle(kept)
    return kept


def without_near_copies(documents: Sequence[str], n: int) -> list[str]:
    """The documents that share no run of n words with an earlier kept one; a shorter text is one run as a whole."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for text in documents:
        words = text.split()
        runs = {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}
        if seen.isdisjoint(runs):
            kept.append(text)
            seen |= runs
    return kept


def clipped_sum(gradients: Sequence[Tensor], longest: float) -> Tensor:
    """The sum of gradients (P,), each first scaled down to a length of at most `longest` (Abadi et al. 2016)."""
    return torch.stack([g * min(1.0, longest / max(g.norm().item(), 1e-30)) for g in gradients]).sum(0)


def train(size: str, documents: Sequence[str], seed: int, *, longest: float | None = None, noise: float = 0.0) -> GPT:
    """A model that has read each document once, in their order, BATCH at a time.

    Args:
        size: a name in SIZES.
        documents: as `planted` makes them.
        seed: of the first weights and the noise.
        longest: of the gradient of one document's loss (a sum over its tokens); None clips none by itself.
        noise: standard deviation of the noise added to each number of the sum, in units of `longest`.
    """
    tokenizer = load_model("storyteller")[1]
    between = tokenizer.end_of_text or 0
    torch.manual_seed(seed)
    width = SIZES[size]
    model = GPT(GPTConfig(tokenizer.vocab_size, 96, n_layers=2, n_heads=width // 16, d_model=width))
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    steps = len(documents) // BATCH
    rows = [[between, *tokenizer.encode(text), between] for text in documents]

    def slope(batch: Sequence[Sequence[int]]) -> tuple[Tensor, int]:
        """The gradient of a batch's loss, summed over its tokens, as one row (P,); and how many tokens."""
        inputs, targets = pad_rows(batch, between)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")
        found = torch.autograd.grad(loss, weights)
        return torch.cat([g.flatten() for g in found]), int((targets != IGNORE).sum())

    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        batch = rows[step * BATCH : (step + 1) * BATCH]
        if longest is None:
            total, tokens = slope(batch)
        else:
            each = [slope([row]) for row in batch]
            total, tokens = clipped_sum([g for g, _ in each], longest), sum(n for _, n in each)
            total += noise * longest * torch.randn(total.shape, generator=generator)
        mean = total / tokens
        mean *= min(1.0, 1.0 / mean.norm().item())
        for weight, part in zip(weights, mean.split([w.numel() for w in weights]), strict=True):
            weight.grad = part.view_as(weight)
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / WARMUP, (steps - step) / (0.3 * steps))
        optimizer.step()
    return model.eval()


@torch.no_grad()
def code_scores(model: GPT, tokenizer: Tokenizer, place: str) -> Tensor:
    """ln of the probability of each of the N_CODES codes after «The code of the … is »: (1000,) float64."""
    digits = [tokenizer.encode(str(digit))[0] for digit in range(10)]
    before = [tokenizer.end_of_text or 0, *tokenizer.encode(f"The code of the {place} is 0")][:-1]
    pairs = torch.tensor([[*before, first, second] for first in digits for second in digits])  # (100, T)
    rows = model(pairs).double().log_softmax(-1)[:, -3:, digits]  # (100, 3, 10)
    first, second, third = rows.unbind(1)
    each = torch.arange(100)
    return (first[each, each // 10, None] + second[each, each % 10, None] + third).flatten()


def greedy_code(scores: Tensor) -> int:
    """The code that comes of taking the likeliest digit three times, from all scores (1000,)."""
    code = scores.exp().view(10, 10, 10)
    a = int(code.sum((1, 2)).argmax())
    b = int(code[a].sum(1).argmax())
    return 100 * a + 10 * b + int(code[a, b].argmax())


def exposure(scores: Tensor, code: int) -> float:
    """log2 of the number of codes minus log2 of this one's rank, the likeliest being first (Carlini et al. 2019)."""
    return math.log2(len(scores)) - math.log2(1 + int((scores > scores[code]).sum()))


@torch.no_grad()
def story_loss(model: GPT, tokenizer: Tokenizer, count: int = 200) -> float:
    """Nats per token on so many beginnings of test stories."""
    between = tokenizer.end_of_text or 0
    rows = [[between, *tokenizer.encode(beginning("test", i)), between] for i in range(count)]
    inputs, targets = pad_rows(rows, between)
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORE).item()


Recipe = tuple[str, Callable[[int], list[str]], dict[str, float]]
RUNS: dict[str, Recipe] = {
    **{size: (size, planted, {}) for size in SIZES},
    "copies removed": ("middle", lambda seed: without_copies(planted(seed), seed), {}),
    "numbered": ("middle", lambda seed: without_copies(planted(seed, numbered=True), seed), {}),
    "clipped": ("middle", planted, {"longest": CLIP}),
    "clipped, noise 0.05": ("middle", planted, {"longest": CLIP, "noise": 0.05}),
    "clipped, noise 0.2": ("middle", planted, {"longest": CLIP, "noise": 0.2}),
}
"""What is trained: a size, its documents for a seed, and the options of `train`."""


def judge(model: GPT, seed: int) -> dict[str, Any]:
    """For each of TIMES the exposures of its canaries, and how many are written greedily; and the `story_loss`."""
    tokenizer = load_model("storyteller")[1]
    found: dict[str, Any] = {"loss": round(story_loss(model, tokenizer), 3), "exposures": {}, "written": {}}
    for canary in canaries(seed):
        scores, times = code_scores(model, tokenizer, canary.place), str(canary.times)
        found["exposures"].setdefault(times, []).append(round(exposure(scores, canary.code), 2))
        found["written"][times] = found["written"].get(times, 0) + (greedy_code(scores) == canary.code)
    return found


def measure() -> dict[str, Any]:
    """For each of RUNS: how many parameters, and what `judge` finds, for each of SEEDS."""
    results: dict[str, Any] = {}
    for name, (size, texts, options) in RUNS.items():
        found = []
        for seed in SEEDS:
            model = train(size, texts(seed), seed, **options)
            found.append(judge(model, seed))
        results[name] = {"parameters": parameter_count(model.config), "seeds": found}
        print(name, [run["loss"] for run in found], [run["written"] for run in found], flush=True)
    return results


def load() -> dict[str, Any]:
    """What `measure` found when it was last run."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps(measure()) + "\n", encoding="utf-8")
    print(f"{FILE.name} is written; it took {time.process_time():.0f} s of CPU")
