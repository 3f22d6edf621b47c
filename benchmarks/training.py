"""A training step, its speed and its memory: our Trainer beside transformers, a plain loop and LLMs-from-scratch.

All train the same model from the same weights on the same batch with the same AdamW; their first losses must agree
before the clock runs. The peers compute in float32, as their users' loops do on a CPU; ours as it does by default.

The plain loop is what a reader of nanoGPT writes: our model in float32, torch's default AdamW, no compile.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu import RandomData, Transformers, random_batch
from benchmarks.measure import Options, Result, Row, check, compare, interleave
from minigpt import runtime
from minigpt.config import GPTConfig, TrainConfig
from minigpt.model.gpt import GPT, flops_per_token
from minigpt.text.data import Data
from minigpt.training.optim import parameter_groups
from minigpt.training.trainer import Trainer

THREADS = min(2, os.cpu_count() or 1)
STEPS = 5
"""In each round of the measurement."""
FIRST = 4
"""Steps whose losses are compared; all but the first also depend on gradients and on AdamW."""
RECIPE = TrainConfig(
    max_steps=10**9, learning_rate=1e-3, warmup_steps=0, weight_decay=0.1, beta1=0.9, beta2=0.95, threads=THREADS
)
"""So many steps that the cosine is still at its top: the peers keep their learning rate."""

Step = Callable[[], float]
"""Takes one step and returns its loss."""


@dataclass(frozen=True)
class Work:
    """A model and a batch."""

    config: GPTConfig
    batch_size: int

    def __str__(self) -> str:
        c = self.config
        return f"{c.n_layers} × {c.d_model}, context {c.context_length}, batch {self.batch_size}"

    @property
    def tokens(self) -> int:
        return self.batch_size * self.config.context_length

    def batch(self) -> tuple[Tensor, Tensor]:
        """Random tokens: how long a step takes does not depend on them."""
        return random_batch(self.config, self.batch_size, self.config.context_length)

    def model(self) -> GPT:
        """The model that all begin with.

        Its matrices are 4 times GPT-2's: with those, all guesses begin nearly even, and no mistake would show.
        """
        torch.manual_seed(0)
        model = GPT(self.config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4.0 if parameter.ndim == 2 else 1.0)
        return model


WORKS = (
    Work(GPTConfig(vocab_size=65, context_length=64, n_layers=4, n_heads=4, d_model=128), 12),  # nanoGPT's for a laptop
    Work(GPTConfig(vocab_size=512, context_length=128, n_layers=6, n_heads=6, d_model=192), 16),
)


class PlainLoop:
    """Training as one writes it first: float32, AdamW as torch has it by default, gradients clipped to length 1."""

    def __init__(self, network: nn.Module, recipe: TrainConfig = RECIPE) -> None:
        self.network = network.train()
        self.optimizer = torch.optim.AdamW(
            parameter_groups(network, recipe.weight_decay), recipe.learning_rate, (recipe.beta1, recipe.beta2)
        )

    def step(self, inputs: Tensor, targets: Tensor) -> float:
        """One step; returns the loss before it."""
        loss = F.cross_entropy(self.network(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def minigpt(work: Work, model: GPT) -> Step:
    """Our Trainer, with its default precision."""
    recipe = replace(RECIPE, batch_size=work.batch_size)
    trainer = Trainer(work.config, recipe, cast(Data, RandomData(work.batch(), work.config)))
    trainer.model.load_state_dict(model.state_dict())
    return lambda: trainer.train_step().loss


def plain(work: Work, network: nn.Module) -> Step:
    """The plain loop with our model or another's."""
    loop, batch = PlainLoop(network), work.batch()
    return lambda: loop.step(*batch)


def from_scratch(model: GPT) -> nn.Module:
    """The same model as the fast variant of LLMs-from-scratch (Raschka 2024); its output head is tied to ours's way."""
    from llms_from_scratch.ch04 import GPTModelFast

    config = model.config
    theirs = GPTModelFast({
        "vocab_size": config.vocab_size, "context_length": config.context_length, "emb_dim": config.d_model,
        "n_heads": config.n_heads, "n_layers": config.n_layers, "drop_rate": 0.0, "qkv_bias": config.bias,
    })  # fmt: skip
    theirs.out_head.weight = theirs.tok_emb.weight
    names = {
        "token_embedding": "tok_emb", "position_embedding": "pos_emb", "blocks": "trf_blocks",
        "attention_norm": "norm1", "attention": "att", "output": "proj", "output_head": "out_head",
        "feed_forward_norm": "norm2", "feed_forward": "ff", "up": "layers.0", "down": "layers.2",
    }  # fmt: skip
    state = {".".join(names.get(part, part) for part in name.split(".")): t for name, t in model.state_dict().items()}
    theirs.load_state_dict(state)
    return cast(nn.Module, theirs)


PEERS: dict[str, Callable[[GPT], nn.Module]] = {
    "transformers": Transformers,
    "plain loop": lambda model: model,
    "LLMs-from-scratch": from_scratch,
}


def make(name: str, work: Work, model: GPT) -> Step:
    """What takes a step of this name, minigpt's or a peer's; the model's weights are copied."""
    return minigpt(work, model) if name == "minigpt" else plain(work, PEERS[name](model))


def check_losses(losses: dict[str, list[float]]) -> None:
    """The first losses must be the plain loop's: to four digits in float32, to two thousandths in bfloat16.

    Raises:
        SystemExit: where they are not.
    """
    bfloat16 = runtime.pick_precision("auto", torch.device("cpu")) == "bfloat16"
    for name, ours in losses.items():
        limit = 2e-3 if name == "minigpt" and bfloat16 else 1e-4
        pairs = list(zip(ours, losses["plain loop"], strict=True))
        check(all(abs(a - b) < limit * b for a, b in pairs), f"{name} has other losses than the plain loop: {pairs}")


def peak_memory() -> int:
    """The most bytes of memory that this process has held so far."""
    try:  # getrusage would begin with what the process held that started this one
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        return runtime.peak_memory(torch.device("cpu")) or 0


def memory_of(name: str, index: int) -> None:
    """Print, as JSON, the peak memory before the model is made and after some steps; for a process of its own."""
    import transformers.models.gpt2.modeling_gpt2  # noqa: F401  for all alike: imports are no part of the step

    work = WORKS[index]
    torch.set_num_threads(THREADS)
    before = peak_memory()
    step = make(name, work, work.model())
    for _ in range(FIRST):
        step()
    print(json.dumps([before, peak_memory()]))


def memory(module: str, *work: object) -> float:
    """MB by which a fresh process's peak of memory grows when a benchmark's `memory_of` makes a model and trains it."""
    code = f"from {module} import memory_of; memory_of(*{work!r})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    before, after = json.loads(done.stdout.splitlines()[-1])
    return float(after - before) / 1e6


def run(options: Options) -> Result:
    torch.set_num_threads(THREADS)
    matrix_units = bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())  # AVX-512's are for vectors
    precision = runtime.pick_precision("auto", torch.device("cpu"))
    rows: list[Row] = []
    more = {}
    for index, work in enumerate(WORKS):
        transformers, loop = (2.3, 1.7) if matrix_units else (1.4, 1.05)
        if precision == "float32":
            transformers, loop = (1.5, 1.7)[index], 1.25
        targets = {"transformers": transformers, "plain loop": loop}
        names = ["minigpt", *PEERS]
        steps = {name: make(name, work, work.model()) for name in names}
        losses = {name: [step() for _ in range(FIRST)] for name, step in steps.items()}
        check_losses(losses)
        times = interleave({name: lambda step=step: [step() for _ in range(STEPS)] for name, step in steps.items()}, 9)  # type: ignore[misc]
        notes = f"{THREADS} threads; ours in {precision}, theirs in float32"
        for peer in PEERS:
            rows.append(
                compare(
                    f"training step, {work}", times["minigpt"], times[peer], peer, unit="tokens/s",
                    amount=STEPS * work.tokens, target=targets.get(peer), notes=notes,
                )
            )  # fmt: skip
        held = {name: memory(__name__, name, index) for name in ("minigpt", "transformers")}
        ours, theirs = held["minigpt"], held["transformers"]
        notes = "growth of the peak of resident memory (VmHWM) over the imports, in a fresh process each"
        name = f"peak memory of training, {work}"
        rows.append(Row(name, ours, "MB", theirs, "transformers", theirs / ours, 1.0, notes=notes))
        flops = flops_per_token(work.config, work.config.context_length) * work.tokens
        more[str(work)] = {"flops_per_step": flops, "first_losses": losses, "peak_memory": held}
    return Result(rows, more)
