"""Make the bundled helper from a finished run: `python -m benchmarks.helper runs/helper`.

Copies the weights into the package, measures the model on its tasks, and writes its card beside it. `make helper`
trains the run first.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from minigpt.evaluation.loss import mean_loss
from minigpt.evaluation.tasks import score_task
from minigpt.text.data import StoryData
from minigpt.text.finetuning import ChatData
from minigpt.text.tasks import TASKS
from minigpt.training.metrics import read_metrics
from minigpt.weights import checkpoint

CARD = """# helper

The storyteller, fine-tuned to answer: {parameters:,} parameters, the same shape, {added:,} tokens more (four for the
roles and the end of a turn, the others so that a Chinese character is one token and not three). It answers questions
about a story of the story world, sums it up in a sentence, talks about it over several turns, says what its hero feels,
and says one of its sentences in Chinese. For lessons and tests; it knows nothing else.

| | |
| --- | --- |
| made from | `storyteller` |
| training | {steps:,} steps of {batch_size} conversations, every tenth of {batch_size} stories |
| | {optimizer}, {precision} |
| time | {minutes:.0f} minutes, {threads} threads |
| command | {command} |
| torch | {torch} |

Right answers among the first {count} of each task's test split, whose stories training cannot contain. An answer is
right if it is one of the known wordings, to the last letter. The baseline says always what is right most often.

| task | right | 95% interval | baseline |
| --- | --- | --- | --- |
{rows}

Loss on {stories} stories of the test split: {story_loss:.2f} nats per token, where the storyteller has {before:.2f}.
`minigpt evaluate --model helper --task questions` measures again.
"""


def main() -> None:
    """Bundle a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--command", default="`make helper`", help="how the run was made, for the card")
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    folder = checkpoint.BUNDLED["helper"]
    found, _ = checkpoint.newest_good(arguments.run)
    model = checkpoint.build_model(found)
    length, stories = found.model_config.context_length, 200
    rows = []
    for task in TASKS:
        score = score_task(model, ChatData(task, found.tokenizer, length, held_out=arguments.count))
        low, high = score.interval
        rows.append(f"| {task} | {score.right} | {low:.3f} to {high:.3f} | {score.baseline:.3f} |")
    told = StoryData(found.tokenizer, length, held_out=stories)
    storyteller, tokenizer = checkpoint.load_model("storyteller")
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint.save(folder, model, found.tokenizer, step=found.step, run=found.run)
    kept = [line for line in read_metrics(arguments.run) if line["step"] % 10 == 0]
    (folder / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    train = found.run["train"]
    card = CARD.format(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        added=found.tokenizer.vocab_size - tokenizer.vocab_size,
        steps=found.step,
        batch_size=train["batch_size"],
        optimizer=train["optimizer"],
        precision=found.run["precision"],
        minutes=found.run["seconds"] / 60,
        threads=found.run["threads"],
        command=arguments.command,
        torch=torch.__version__,
        count=arguments.count,
        rows="\n".join(rows),
        stories=stories,
        story_loss=mean_loss(model, told, "test"),
        before=mean_loss(storyteller, StoryData(tokenizer, length, held_out=stories), "test"),
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
