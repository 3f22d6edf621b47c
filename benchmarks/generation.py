"""Generation, tokens per second: minigpt beside transformers, each with its key-value cache, and without one.

Greedy, from the same weights and prompts, 256 new tokens each; the tokens that come out are compared before the clock
runs. In float32, each with the number of threads that suits it best. The compiled row leaves out the translation; the
seconds of each first call are in `more`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.measure import Options, Result, Row, check, clocks, compare, interleave, with_threads
from minigpt.config import GPTConfig
from minigpt.generation.generate import generate_batch
from minigpt.model.gpt import GPT
from minigpt.runtime import fastest_threads
from minigpt.weights.gpt2_layout import to_gpt2, to_gpt2_config

CONFIG = GPTConfig(vocab_size=512, context_length=512, n_layers=6, n_heads=6, d_model=192)
PROMPT = 16
"""Tokens in each prompt."""
NEW = 256
"""Tokens to write after it."""
TARGETS = {1: 3.0, 8: 2.5}
"""By the number of prompts: how many times as fast as transformers we mean to be."""

Texts = list[list[int]]


def writer(config: GPTConfig = CONFIG) -> GPT:
    """A random model that does not repeat itself: its matrices are larger than at the start of training."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0 if parameter.ndim == 2 else 1.0)
    return model


def ours(model: GPT, prompts: Texts, n: int = NEW, use_cache: bool = True, compile: bool = False) -> Texts:
    batch = generate_batch(model, prompts, n, temperature=0, use_cache=use_cache, compile=compile)
    return [sample.tokens for (sample,) in batch]


def in_transformers(model: GPT) -> GPT2LMHeadModel:
    """The same model in transformers."""
    theirs = GPT2LMHeadModel(GPT2Config(**to_gpt2_config(model.config, end_of_text=None)))
    problems = theirs.load_state_dict(to_gpt2(model), strict=False)
    check(problems.missing_keys in ([], ["lm_head.weight"]) and not problems.unexpected_keys, str(problems))
    return theirs.eval()


def theirs(model: Any, prompts: Texts, n: int = NEW) -> Texts:
    ids = torch.tensor(prompts)
    texts: Texts = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=n, pad_token_id=0
    )[:, ids.size(1) :].tolist()
    return texts


def run(options: Options) -> Result:
    model, generator = writer(), torch.Generator().manual_seed(0)
    other = in_transformers(model)
    batches: list[Texts] = [
        torch.randint(CONFIG.vocab_size, (n, PROMPT), generator=generator).tolist() for n in TARGETS
    ]
    rows: list[Row] = []
    first_calls = {}
    for prompts in batches:
        mine = fastest_threads(partial(ours, model, prompts, 64))
        other_s = fastest_threads(partial(theirs, other, prompts, 64))
        works: dict[str, Callable[[], Texts]] = {
            "minigpt": partial(with_threads, mine, ours, model, prompts),
            "transformers": partial(with_threads, other_s, theirs, other, prompts),
            "minigpt compiled": partial(with_threads, mine, ours, model, prompts, compile=True),
        }
        texts = {}
        for name, work in works.items():
            start = clocks()[0]
            texts[name] = work()
            first_calls[f"{len(prompts)}, {name}"] = clocks()[0] - start
            check(texts[name] == texts["minigpt"], f"{name} writes other tokens")
        check(all(len(set(text)) > NEW // 8 for text in texts["minigpt"]), "the model repeats itself")
        beginnings = ours(model, prompts, 32, use_cache=False)
        check(beginnings == [text[:32] for text in texts["minigpt"]], "without its cache minigpt writes other tokens")
        # Without the cache a text takes many seconds: once must do.
        uncached = partial(with_threads, mine, ours, model, prompts, use_cache=False)
        slow: dict[str, Callable[[], Texts]] = {"minigpt": works["minigpt"], "minigpt without its cache": uncached}
        for timed, rounds in ((works, 21), (slow, 1)):
            times = interleave(timed, rounds, warm_up=0)
            for name in [*timed][1:]:
                rows.append(
                    compare(
                        f"generation, {len(prompts)} × {NEW} tokens", times["minigpt"], times[name], name,
                        unit="tokens/s", amount=len(prompts) * NEW,
                        target=TARGETS[len(prompts)] if name == "transformers" else None,
                        notes=f"float32, greedy; the fastest number of threads: ours {mine}, transformers {other_s}",
                    )
                )  # fmt: skip
    return Result(rows, {"seconds of the first call, by prompts": first_calls})
