"""Multiple choice beside lm-eval, and patching beside transformer-lens.

Multiple choice: 200 questions to SmolLM2, four choices each, the same log-likelihoods. A question is a story without
its last sentence, a choice is a last one. The model is exported and read by lm-eval's HFLM; the log-likelihoods of the
first four questions are compared before the clock runs. lm-eval reads the context anew for each choice, minigpt once.
In float32, on one thread each, lm-eval with the fastest of a few batch sizes.

Patching: the first tokens of 100 stories, and of their twins, in which the hero has another name. Every head of the
storyteller, and the stream before every layer at every place, gets what it had in the twin; both tables are compared
before the clock runs. transformer-lens runs a whole pass for each, minigpt what the patch can change and the metric
reads. In float32, one thread each.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from benchmarks.measure import Options, Result, Row, check, clocks, compare, interleave
from minigpt.course.inside.activations import activations
from minigpt.course.inside.patching import patch_heads, patch_stream
from minigpt.course.inside.twins import hero_twins
from minigpt.evaluation.choices import encode_question, log_likelihoods
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.choices import Question
from minigpt.text.tokenizer import END_OF_TEXT, Tokenizer
from minigpt.weights.checkpoint import load_model
from minigpt.weights.llama import export_llama
from minigpt.weights.pretrained import export_gpt2
from minigpt.weights.smollm2 import load_smollm2

QUESTIONS = 200
BATCH_SIZES = (4, 16, 64)
TARGET = 2.0
"""How many times as fast as lm-eval we mean to be."""
STORIES, TOKENS = 100, 32
PATCHING_TARGET = 3.0
"""How many times as fast as transformer-lens we mean to be."""


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


def ours(model: GPT, tokenizer: Tokenizer, asked: list[Question]) -> list[float]:
    encoded = [encode_question(tokenizer, question) for question in asked]
    return log_likelihoods(model, [(context, choice) for context, choices in encoded for choice in choices])


def theirs(lm: Any, asked: list[Question]) -> list[float]:
    pairs = [(END_OF_TEXT + question.context, choice) for question in asked for choice in question.choices]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    return [value for value, _ in lm.loglikelihood(requests, disable_tqdm=True)]


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


def patching() -> Row:
    """Two tables of patches, ours and those of transformer-lens."""
    from transformer_lens import patching as lens
    from transformer_lens.model_bridge import TransformerBridge

    torch.set_num_threads(1)
    model, tokenizer = load_model("storyteller")
    twins = hero_twins(tokenizer, STORIES)
    here, there = twins.here[:, :TOKENS], twins.there[:, :TOKENS]
    rows = torch.arange(STORIES)

    def lead(logits: Tensor) -> Tensor:
        return logits[rows, -1, twins.new] - logits[rows, -1, twins.old]

    def mine() -> tuple[Tensor, Tensor]:
        source = activations(model, there)
        heads = patch_heads(model, activations(model, here), source, lead, reads_from=TOKENS - 1)
        return heads, patch_stream(model, here, source, lead, reads_from=TOKENS - 1)[:-1]

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model"
        export_gpt2(model, tokenizer, path)
        bridge = TransformerBridge.boot_transformers(str(path), device="cpu")

        def other() -> tuple[Tensor, Tensor]:
            _, source = bridge.run_with_cache(there)
            heads, stream = (
                table(bridge, here, source, lambda logits: lead(logits).mean())
                for table in (lens.get_act_patch_attn_head_out_all_pos, lens.get_act_patch_resid_pre)
            )
            return heads, stream

        for ours_, theirs_ in zip(mine(), other(), strict=True):
            far = (ours_ - theirs_).abs().max().item() / theirs_.abs().max().item()
            check(far < 1e-4, f"transformer-lens gives other tables, up to {far:.1e} away")
        times = interleave({"minigpt": mine, "transformer-lens": other}, rounds=2, warm_up=0)
    return compare(
        f"patching {model.config.n_layers * model.config.n_heads} heads and {model.config.n_layers * TOKENS} places",
        times["minigpt"], times["transformer-lens"], "transformer-lens", clock="cpu", target=PATCHING_TARGET,
        notes=f"the storyteller, {STORIES} stories of {TOKENS} tokens, float32, 1 thread, seconds of CPU",
    )  # fmt: skip


def run(options: Options) -> Result:
    torch.set_num_threads(1)
    model, tokenizer = load_smollm2()
    asked = questions()
    few = asked[:4]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        export_llama(model, tokenizer, path)
        lm, size = fastest_batch(path, few)
        values = ours(model, tokenizer, few)
        far = max(abs(a - b) / abs(b) for a, b in zip(values, theirs(lm, few), strict=True))
        check(far < 1e-3, f"lm-eval gives other log-likelihoods, up to {far:.1e} of them away")
        works: dict[str, Callable[[], object]] = {
            "minigpt": partial(ours, model, tokenizer, asked),
            "lm-eval": partial(theirs, lm, asked),
        }
        times = interleave(works, rounds=1, warm_up=0)  # minutes each: the same work 200 times over
    row = compare(
        f"multiple choice, SmolLM2, {QUESTIONS} questions", times["minigpt"], times["lm-eval"], "lm-eval",
        target=TARGET,
        clock="cpu",
        notes=f"float32, 1 thread, seconds of CPU; lm-eval's batch size: {size}",
    )  # fmt: skip
    return Result([row, patching()])
