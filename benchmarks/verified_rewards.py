"""What lesson 19 shows of a long run: `python -m benchmarks.verified_rewards runs/right`, three minutes on one core.

The run: the storyteller learns from the verifier until about 1 story in 100 is wrong, some five minutes of one core,

    minigpt tune --method grpo --group 16 --kl 0 --clip-higher 0.28 --updates 2 --max-steps 180 --learning-rate 1.5e-3
        --warmup-steps 4 --threads 1 --out runs/right

Written to minigpt/course/verified_rewards.json: the rewards at every step, and before and after stories counted, how
unlike they are, and the distance to the true distribution along stories of the test split.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from minigpt.evaluation.stories import sample_stories
from minigpt.evaluation.truth import divergence, impossible, true_distributions
from minigpt.model.gpt import GPT
from minigpt.text.stories import story_at, verify
from minigpt.text.tokenizer import Tokenizer
from minigpt.training.metrics import read_metrics
from minigpt.weights import checkpoint

RESULT = Path(__file__).parents[1] / "minigpt" / "course" / "verified_rewards.json"
COUNTED, READ, SEED = 1000, 100, 77
"""Stories that are told and counted, true ones that are read, and the seed of the former: no run has drawn with it."""
COOLER, TEMPERATURE = 500, 0.8
"""Stories that the storyteller tells at a lower temperature, as the other way to make fewer mistakes."""


def effective(values: Iterable[str]) -> float:
    """As many equally frequent values would be as unlike: e to the entropy of their shares."""
    counts = Counter(values).values()
    return math.exp(-sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts))


@torch.no_grad()
def exactly(model: GPT, tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """Along true stories, for each in the mean: nats from the truth, and wrong tokens that the model would write."""
    nats = wrong = 0.0
    for text in texts:
        truth = true_distributions(tokenizer, text)
        ids = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)]])
        rows = model(ids)[0].double().log_softmax(-1)
        nats += float(divergence(rows, truth).sum()) / len(texts)
        wrong += float(impossible(rows, truth).sum()) / len(texts)
    return {"nats": round(nats, 4), "wrong": round(wrong, 5)}


def measured(model: GPT, tokenizer: Tokenizer) -> dict[str, Any]:
    """Stories that the model tells at temperature 1, counted; how unlike the right ones are; what `exactly` says."""
    verdicts = [verify(text) for text in sample_stories(model, tokenizer, COUNTED, SEED)]
    right = [verdict for verdict in verdicts if verdict.consistent]
    alike = {"plot": effective(str(verdict.plot) for verdict in right)}
    alike |= {fact: effective(v.facts[fact] for v in right if fact in v.facts) for fact in ("hero", "place", "colour")}
    return {
        "stories": COUNTED,
        "right": len(right),
        "grammatical": sum(verdict.grammatical for verdict in verdicts),
        "effective": {name: round(value, 2) for name, value in alike.items()},
        **exactly(model, tokenizer, [story_at("test", index).text for index in range(READ)]),
    }


def write(model: GPT, tokenizer: Tokenizer, steps: list[dict[str, float]]) -> None:
    """Measure the storyteller and what became of it, and write it all down."""
    torch.set_num_threads(1)
    start = checkpoint.load_model("storyteller")[0].eval()
    cooler = sample_stories(start, tokenizer, COOLER, 10**6, temperature=TEMPERATURE)
    kept = ("reward", "entropy", "kl", "length")
    found = {
        "command": " ".join(str(__doc__).split("core,\n")[1].split("\n\n")[0].split()),
        "steps": [{name: round(step[name], 4) for name in kept} for step in steps],
        "before": measured(start, tokenizer),
        "after": measured(model.eval(), tokenizer),
        "cooler": {
            "temperature": TEMPERATURE,
            "stories": COOLER,
            "right": sum(verify(text).consistent for text in cooler),
        },
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure a finished run."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    found, _ = checkpoint.newest_good(run)
    write(checkpoint.build_model(found), found.tokenizer, read_metrics(run))


if __name__ == "__main__":
    main()
