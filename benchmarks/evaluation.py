"""Multiple choice beside lm-eval: 200 questions, four choices each, the same log-likelihoods.

A question is a story of the story world without its last sentence, a choice is a last sentence. The model is exported
and read by lm-eval's HFLM; the log-likelihoods of all 800 pairs are compared before the clock runs. lm-eval reads the
context anew for each choice, minigpt once. In float32, each with the number of threads that suits it best, lm-eval with
the fastest of a few batch sizes. Started by its own name, `python -m benchmarks.evaluation`.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from benchmarks import __main__ as command
from benchmarks.measure import Options, Result, check, clocks, compare, interleave
from minigpt.config import GPTConfig
from minigpt.evaluation.choices import encode_question, log_likelihoods
from minigpt.model.gpt import GPT
from minigpt.runtime import fastest_threads
from minigpt.text import stories
from minigpt.text.choices import Question
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer
from minigpt.weights.checkpoint import load_model
from minigpt.weights.pretrained import export_gpt2

QUESTIONS = 200
BATCH_SIZES = (4, 16, 64)
TARGET = 2.0
"""How many times as fast as lm-eval we mean to be."""


def questions(count: int = QUESTIONS) -> list[Question]:
    """Stories without their end, and four ends, of which one is the story's own."""
    world = stories.world()
    found = []
    for story in (stories.story_at("test", i) for i in range(count)):
        facts = world.rows(story.facts)
        *_, last = world.steps(story.plot, facts, story.wording)
        ends = [stories.fill(sentence, facts) for sentence in world.sentences[world.plots[story.plot][-1]]]
        found.append(Question(story.text.removesuffix(last).rstrip(), [f" {end}" for end in ends], ends.index(last)))
    return found


def ours(model: GPT, tokenizer: BPETokenizer, asked: list[Question]) -> list[float]:
    encoded = [encode_question(tokenizer, question) for question in asked]
    return log_likelihoods(model, [(context, choice) for context, choices in encoded for choice in choices])


def theirs(lm: Any, asked: list[Question]) -> list[float]:
    pairs = [(END_OF_TEXT + question.context, choice) for question in asked for choice in question.choices]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    return [value for value, _ in lm.loglikelihood(requests, disable_tqdm=True)]


def with_threads(threads: int, work: Callable[..., list[float]], *args: Any) -> list[float]:
    torch.set_num_threads(threads)
    return work(*args)


def fastest_batch(path: Path, asked: list[Question]) -> tuple[Any, int]:
    """lm-eval with the batch size that takes the least time for these questions."""
    seconds = {}
    for size in BATCH_SIZES:
        lm = HFLM(pretrained=str(path), device="cpu", dtype="float32", batch_size=size)
        start = clocks()[0]
        theirs(lm, asked)
        seconds[size] = clocks()[0] - start
    best = min(seconds, key=lambda size: seconds[size])
    return HFLM(pretrained=str(path), device="cpu", dtype="float32", batch_size=best), best


def run(options: Options) -> Result:
    _, tokenizer = load_model("storyteller")
    assert isinstance(tokenizer, BPETokenizer)
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 512, n_layers=6, n_heads=6, d_model=384)).eval()
    asked = questions()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        export_gpt2(model, tokenizer, path)
        lm, size = fastest_batch(path, asked[:20])
        mine = fastest_threads(lambda: ours(model, tokenizer, asked[:20]))
        other_s = fastest_threads(lambda: theirs(lm, asked[:20]))
        values = ours(model, tokenizer, asked)
        far = max(abs(a - b) / abs(b) for a, b in zip(values, theirs(lm, asked), strict=True))
        check(far < 1e-4, f"lm-eval gives other log-likelihoods, up to {far:.1e} of them away")
        times = interleave(
            {
                "minigpt": partial(with_threads, mine, ours, model, tokenizer, asked),
                "lm-eval": partial(with_threads, other_s, theirs, lm, asked),
            },
            rounds=5,
        )
    row = compare(
        f"multiple choice, {QUESTIONS} questions, 4 choices", times["minigpt"], times["lm-eval"], "lm-eval",
        unit="questions/s", amount=QUESTIONS, target=TARGET,
        notes=f"6 × 384, float32; threads: ours {mine}, lm-eval {other_s}; lm-eval's batch size: {size}",
    )  # fmt: skip
    return Result([row])


if __name__ == "__main__":
    command.run("evaluation", Options())
