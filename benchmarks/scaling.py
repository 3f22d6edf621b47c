"""Cost against size: seconds per token as context, width and batch grow, and what arithmetic alone would predict.

Training (forward and backward, as many tokens in each batch) against context and width; generating (one step with a
full cache) against the number of samples. The prediction divides operations by the machine's rate for large matrix
products, and bytes by its rate for large copies, both measured in between; the larger of the two counts.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.measure import Options, Result, Row, interleave, quartiles, roofs
from minigpt.config import GPTConfig, Precision
from minigpt.model.gpt import GPT, flops_per_token, next_token_loss
from minigpt.model.kv_cache import KVCache
from minigpt.runtime import autocast, has_bfloat16_units

FIGURES = ("cost_against_size",)
THREADS = 2
TOKENS = 2048
"""In each batch of the training."""
CONTEXTS = (128, 256, 512, 1024, 2048)
WIDTHS = (64, 128, 256, 384, 512, 768)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
TRAINED = GPTConfig(vocab_size=512, context_length=256, n_layers=4, n_heads=4, d_model=256)
WRITER = GPTConfig(vocab_size=512, context_length=256, n_layers=4, n_heads=12, d_model=768)  # larger than caches

Work = Callable[[], None]


def training(config: GPTConfig, precision: Precision) -> Work:
    """Forward and backward of one batch."""
    model = GPT(config)
    ids = torch.randint(config.vocab_size, (TOKENS // config.context_length, config.context_length))

    def work() -> None:
        with autocast(torch.device("cpu"), precision):
            loss = next_token_loss(model(ids), ids)
        loss.backward()
        model.zero_grad()

    return work


def writing(model: GPT, batch: int) -> Work:
    """The last token that the context has place for, of each sample."""
    cache, last = KVCache(model.config, batch), model.config.context_length - 1
    cache.keys.zero_()
    cache.values.zero_()
    ids = torch.zeros(batch, 1, dtype=torch.long)

    @torch.inference_mode()
    def work() -> None:
        model(ids, cache, last)

    return work


def writing_floor(config: GPTConfig, batch: int, roof: dict[str, float]) -> float:
    """Seconds per token: all weights are read once a step, each sample's keys and values once; or the arithmetic."""
    d, T = config.d_model, config.context_length
    weights = config.n_layers * (4 * d * d + 2 * d * config.feed_forward_size) + config.vocab_size * d
    read = 4 * (weights / batch + 2 * config.n_layers * T * d)  # bytes
    return max(read / roof["bytes_per_second"], flops_per_token(config, T) / 3 / roof["float32_flops"])


def curve(sizes: tuple[int, ...], works: list[Work], tokens: list[int], floors: list[float]) -> dict[str, Any]:
    """Measured seconds per token (median and quartiles) beside the predicted ones, by size."""
    timed = interleave({str(size): work for size, work in zip(sizes, works, strict=True)}, rounds=5, seconds=15)
    measured = [[t / n for t in quartiles(times.wall)] for times, n in zip(timed.values(), tokens, strict=True)]
    low, middle, high = zip(*measured, strict=True)
    return {"sizes": sizes, "seconds": middle, "low": low, "high": high, "predicted": floors}


def row(what: str, found: dict[str, Any]) -> Row:
    """The curve's last point in the table, with the prediction as the peer."""
    ours, floor = 1e6 * found["seconds"][-1], 1e6 * found["predicted"][-1]
    spread = [1e6 * found["low"][-1], 1e6 * found["high"][-1]]
    return Row(what, ours, "µs a token", floor, "the floor", floor / ours, spread={"ours": spread})


def run(options: Options) -> Result:
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    roof = roofs(THREADS)
    found: dict[str, dict[str, Any]] = {"context": {}, "width": {}, "batch": {}}
    rows = []
    # Without units for it, products in bfloat16 take some ninety times as long as in float32.
    precisions: list[Precision] = ["float32", "bfloat16"] if has_bfloat16_units(torch.device("cpu")) else ["float32"]
    grown: dict[str, tuple[tuple[int, ...], list[GPTConfig]]] = {
        "context": (CONTEXTS, [replace(TRAINED, context_length=context) for context in CONTEXTS]),
        "width": (WIDTHS, [replace(TRAINED, d_model=width) for width in WIDTHS]),
    }
    for name, (sizes, configs) in grown.items():
        for precision in precisions:
            works = [training(config, precision) for config in configs]
            floors = [flops_per_token(c, c.context_length) / roof[f"{precision}_flops"] for c in configs]
            found[name][precision] = curve(sizes, works, [TOKENS] * len(sizes), floors)
            rows.append(row(f"training, {name} {sizes[-1]:,}, {precision}", found[name][precision]))
    model = GPT(WRITER).eval()
    floors = [writing_floor(WRITER, batch, roof) for batch in BATCHES]
    found["batch"]["float32"] = curve(BATCHES, [writing(model, batch) for batch in BATCHES], list(BATCHES), floors)
    rows.append(row(f"one step of generation, batch {BATCHES[-1]}, float32", found["batch"]["float32"]))
    return Result(rows, {"threads": THREADS, "roofs": roof, **found})
