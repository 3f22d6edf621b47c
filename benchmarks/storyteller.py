"""Make the bundled model from a finished run: `python -m benchmarks.storyteller runs/storyteller`.

Copies the weights into the package, measures the model, and writes its card and training log beside it.
`make storyteller` trains the run first.
"""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path

import torch

from minigpt.evaluation.evaluate import evaluate
from minigpt.text.data import StoryData
from minigpt.training.metrics import read_metrics
from minigpt.weights import checkpoint

CARD = """# storyteller

The bundled model of minigpt: a GPT-2 architecture with {parameters:,} parameters that writes short children's stories
of the story world (`minigpt.text.stories`). For lessons and tests; it knows nothing else.

| | |
| --- | --- |
| shape | {n_layers} layers, {n_heads} heads, d_model {d_model}, context {context_length} |
| vocabulary | {vocab_size} tokens, byte-level BPE |
| training | {steps:,} steps of {batch_size} stories, none seen twice; {optimizer}, {precision}, {threads} threads |
| time | {minutes:.0f} minutes at the speed of its last 1,000 steps ({rate:,.0f} tokens/s) on {machine} |
| | {minutes_in_all:.0f} minutes in all; where this is more, other programs used the machine |
| command | `make storyteller` |
| torch | {torch} |

Measured on the test split ({held_out:,} stories that training cannot contain) and on {samples:,} samples at
temperature 1, seed 0:

| | |
| --- | --- |
| loss | {loss:.4f} nats per token |
| entropy floor of these stories | {floor:.4f} ± {floor_error:.4f} (standard error) |
| gap to the floor | {gap:.4f} |
| perplexity | {perplexity:.4f} |
| bits per byte | {bits_per_byte:.4f} |
| grammatical | {grammatical:.1%} |
| consistent | {consistent:.1%} |

Grammatical: every sentence exists in the story world, in an order that a plot allows. Consistent: and no name, pronoun,
colour, place or owner contradicts an earlier one. `minigpt evaluate` measures all of it again.
"""


def machine() -> str:
    """Processor and cores, as far as the system tells."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def main() -> None:
    """Bundle a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    folder = checkpoint.BUNDLED["storyteller"]
    found, _ = checkpoint.newest_good(run)
    model = checkpoint.build_model(found)
    log = read_metrics(run)

    data = StoryData(found.tokenizer, found.model_config.context_length, held_out=2000)
    samples = 1000
    report = evaluate(model, data, "test", samples)
    checkpoint.save(folder, model, found.tokenizer, step=found.step, run=found.run)
    kept = [line for line in log if line["step"] % 10 == 0 or line["step"] in (1, found.step)]
    (folder / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    train = found.run["train"]
    rate = statistics.median(line["tokens_per_second"] for line in log[-1000:])
    before = [0.0, *(line["seconds"] for line in log)]
    n_tokens = sum(
        line["tokens_per_second"] * (line["seconds"] - start) for line, start in zip(log, before[:-1], strict=True)
    )
    card = CARD.format(
        **vars(found.model_config),
        **report,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        steps=found.step,
        batch_size=train["batch_size"],
        optimizer=train["optimizer"],
        precision=found.run["precision"],
        threads=found.run["threads"],
        torch=torch.__version__,
        rate=rate,
        minutes=n_tokens / rate / 60,
        minutes_in_all=log[-1]["seconds"] / 60,
        machine=machine(),
        held_out=data.held_out,
        samples=samples,
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
