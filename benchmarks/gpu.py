"""The ladder of speed-ups on a GPU: `python -m benchmarks.gpu`, made to end within eight minutes on one H100.

From naive float32 to compiled bfloat16, one change a rung, each with the same model and the same batch; then the same
model in transformers, if that is installed, the package's own Trainer, and the writing of one text. First the CPU and
the device must agree on losses and gradients; then every rung must agree with the first, so that none is fast because
it is wrong. What was measured goes to benchmarks/results/gpu.json, which lesson 11 draws.

Without a GPU the same path can be tried with a small model, which says nothing about a GPU:
`python -m benchmarks.gpu --device cpu --preset tiny --micro-batch 2 --steps 2 --out ladder.json`.
"""

import argparse
import gc
import json
import math
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from minigpt.config import GPTConfig, InputError, Precision, TrainConfig, preset
from minigpt.generation import decoding
from minigpt.model.attention import scaled_dot_product_attention
from minigpt.model.gpt import GPT, flops_per_token, next_token_loss
from minigpt.runtime import autocast, peak_flops, peak_memory, pick_device, synchronize
from minigpt.text.data import Data
from minigpt.training.optim import parameter_groups
from minigpt.training.trainer import Trainer
from minigpt.weights.gpt2_layout import to_gpt2, to_gpt2_config

RESULTS = Path("benchmarks/results/gpu.json")
WARM_UP = 4
"""Steps before the clock runs. Their losses are compared: they fall only as gradients and AdamW would have them."""
REPEATS = 3
"""Measurements, of which the median counts."""
LEARNING_RATE = 6e-4
CPU = torch.device("cpu")

Batch = tuple[Tensor, Tensor]
Proof = tuple[Tensor, list[float]]


@dataclass(frozen=True)
class Rung:
    """What one rung of the ladder computes with."""

    name: str
    tf32: bool = False
    precision: Precision = "float32"
    fused_attention: bool = False
    fused_adamw: bool = False
    compiled: bool = False
    padded: bool = False
    batches: int = 1

    @property
    def limits(self) -> tuple[float, float]:
        """How far from the reference a gradient may be, relative to its length, and a loss, in nats.

        Without the causal mask, say, the gradient would be 20% off in the preset tiny and 100% in gpt2. The loss of a
        model at its start would hardly tell: there the noise of bfloat16 is larger.
        """
        if self.precision == "float32":
            return (1e-2, 1e-2) if self.tf32 else (1e-3, 2e-3)
        return 5e-2, 5e-2


def ladder() -> list[Rung]:
    """Each rung is the one before with one change."""
    rungs = [Rung("naive float32")]
    changes: dict[str, dict[str, Any]] = {
        "TF32": {"tf32": True},
        "bfloat16 autocast": {"precision": "bfloat16"},
        "fused attention": {"fused_attention": True},
        "fused AdamW": {"fused_adamw": True},
        "padded vocabulary": {"padded": True},  # before compiling, which may pad by itself
        "torch.compile": {"compiled": True},
        "twice the micro-batch": {"batches": 2},
    }
    for name, change in changes.items():
        rungs.append(replace(rungs[-1], name=name, **change))
    return rungs


def padded(config: GPTConfig) -> GPTConfig:
    """The config with its vocabulary rounded up to a multiple of 64: 50,257 becomes 50,304."""
    return replace(config, vocab_size=-(-config.vocab_size // 64) * 64)


def formula_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as the formula reads: every (T, T) table is written to memory and read again."""
    return scaled_dot_product_attention(q, k, v, causal=True)[0]


def build(config: GPTConfig, weights: dict[str, Tensor], rung: Rung) -> GPT:
    """The rung's model with these weights; rows that pad the vocabulary keep their own random numbers."""
    model = GPT(padded(config) if rung.padded else config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter[: len(weights[name])] = weights[name]
    if not rung.fused_attention:
        for block in model.blocks:
            block.attention.fused_attention = formula_attention  # type: ignore[union-attr]
    return model


def random_batch(config: GPTConfig, rows: int, context: int, device: torch.device = CPU) -> Batch:
    """Inputs and targets, (rows, context) each."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(config.vocab_size, (rows, context + 1), generator=generator).to(device)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


class Training:
    """A network in training with the settings of a rung."""

    def __init__(self, network: nn.Module, rung: Rung, device: torch.device) -> None:
        self.network, self.rung, self.device = network.to(device).train(), rung, device
        self.loss_of: Callable[[Tensor, Tensor], Tensor] = self.eager_loss
        if rung.compiled:  # the loss too: its float32 copies of the logits are the largest tensors of all
            backend = "inductor" if device.type == "cuda" else "aot_eager"  # the latter needs no C++ compiler
            self.loss_of = torch.compile(self.eager_loss, backend=backend, dynamic=False)
        torch.set_float32_matmul_precision("high" if rung.tf32 else "highest")
        self.optimizer = torch.optim.AdamW(
            parameter_groups(network, 0.1), LEARNING_RATE, (0.9, 0.95), foreach=False, fused=rung.fused_adamw
        )

    def eager_loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return next_token_loss(self.network(inputs), targets, targets.numel())

    def backward(self, batch: Batch) -> Tensor:
        with autocast(self.device, self.rung.precision):
            loss = self.loss_of(*batch)
        loss.backward()
        return loss.detach()

    def step(self, batch: Batch) -> Tensor:
        loss = self.backward(batch)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def proof(self, batch: Batch) -> Proof:
        """What shows whether it computes the right thing; takes the first steps.

        The gradient of the position embeddings, behind which lies all of the backward pass, with matrices so much
        larger than at the start that attention matters (twice, in gpt2); and the losses of the first steps.
        """
        names = ("position_embedding.weight", "wpe.weight")  # ours, transformers'
        (positions,) = (p for name, p in self.network.named_parameters() if name.endswith(names))
        factor = 2.0 ** round(math.log2(50 / math.sqrt(positions.size(1))))  # 0.02 √d_model becomes about 1
        self.scale_matrices(factor)
        self.backward(batch)
        assert positions.grad is not None
        gradient = positions.grad.cpu()
        self.optimizer.zero_grad()
        self.scale_matrices(1 / factor)  # a power of 2: exact
        return gradient, torch.stack([self.step(batch) for _ in range(WARM_UP)]).tolist()

    @torch.no_grad()
    def scale_matrices(self, factor: float) -> None:
        for parameter in self.network.parameters():
            if parameter.ndim == 2:
                parameter.mul_(factor)

    def seconds_per_step(self, batch: Batch, steps: int) -> float:
        """The median of a few measurements; within one of them nothing waits for the device."""
        measured = []
        for _ in range(REPEATS):
            synchronize(self.device)
            start = time.perf_counter()
            for _ in range(steps):
                self.step(batch)
            synchronize(self.device)
            measured.append((time.perf_counter() - start) / steps)
        return statistics.median(measured)


def compare(rung: Rung, proof: Proof, reference: Proof) -> dict[str, float]:
    """How far a rung's gradient and losses are from the reference.

    Raises:
        SystemExit: when that is too far.
    """
    found = {
        "gradient_difference": float((proof[0] - reference[0]).norm() / reference[0].norm()),
        "loss_difference": max(abs(a - b) for a, b in zip(proof[1], reference[1], strict=True)),
    }
    for (name, difference), limit in zip(found.items(), rung.limits, strict=True):
        if not difference < limit:  # NaN is too far as well
            raise SystemExit(f"{rung.name} computes something else: {name} {difference:.2g}, the limit is {limit}")
    return found


class Ladder:
    """Measures rung after rung."""

    def __init__(self, config: GPTConfig, device: torch.device, micro_batch: int, context: int, steps: int) -> None:
        self.config, self.device, self.context, self.steps = config, device, context, steps
        self.micro_batch = micro_batch
        torch.manual_seed(0)
        self.weights = {name: p.detach().clone() for name, p in GPT(config).named_parameters()}
        self.reference: Proof | None = None

    def check_against_cpu(self) -> dict[str, Any]:
        """The package's own step on the CPU and the naive one on the device, both in float32."""
        proofs = {}
        for rung, device in ((Rung("CPU", fused_attention=True, fused_adamw=True), CPU), (Rung("device"), self.device)):
            training = Training(build(self.config, self.weights, rung), rung, device)
            proofs[rung.name] = training.proof(random_batch(self.config, 1, self.context, device))
        found = compare(Rung("the device"), proofs["device"], proofs["CPU"])
        print(f"the CPU and the device agree: losses within {found['loss_difference']:.1e} nats", flush=True)
        return found | {"losses_on_cpu": proofs["CPU"][1], "losses_on_device": proofs["device"][1]}

    def climb(self, rung: Rung, network: nn.Module | None = None) -> dict[str, Any]:
        """Measure one rung, with our model or another's of the same weights."""
        self.forget()
        training = Training(network or build(self.config, self.weights, rung), rung, self.device)
        inputs, targets = random_batch(self.config, self.micro_batch, self.context, self.device)
        # The same rows again and again have the same mean loss, and so the same gradient.
        batch = inputs.repeat(rung.batches, 1), targets.repeat(rung.batches, 1)
        start = time.perf_counter()
        proof = training.proof(batch)
        more: dict[str, float] = {"warm_up_seconds": time.perf_counter() - start}
        self.reference = self.reference or proof
        more |= compare(rung, proof, self.reference)
        return self.line(rung, training.seconds_per_step(batch, self.steps)) | more

    def trainer(self, rung: Rung) -> dict[str, Any]:
        """The package's own loop with this rung's settings: it fetches batches, and looks at every loss."""
        self.forget()
        rows = rung.batches * self.micro_batch
        recipe = TrainConfig(
            max_steps=WARM_UP + REPEATS * self.steps, batch_size=rows, learning_rate=LEARNING_RATE, warmup_steps=0,
            precision=rung.precision, tf32=rung.tf32, compile=rung.compiled and self.device.type == "cuda",
            threads=torch.get_num_threads(),
        )  # fmt: skip
        config = padded(self.config) if rung.padded else self.config
        data = cast(Data, RandomData(random_batch(self.config, rows, self.context), self.config))
        trainer = Trainer(config, recipe, data, self.device)
        speeds = [trainer.train_step().tokens_per_second for _ in range(recipe.max_steps)]
        return self.line(rung, rows * self.context / statistics.median(speeds[WARM_UP:]))

    def writing(self) -> dict[str, Any]:
        """How fast one text grows, in float32: each step launched anew, and repeated from a recording (on a GPU)."""
        self.forget()
        model = build(self.config, self.weights, Rung("writing")).to(self.device).eval()
        (ids,) = random_batch(self.config, 1, self.context, self.device)[0].tolist()
        said: list[Tensor] = []
        speeds: list[float] = []
        for recorded in (False, self.device.type == "cuda"):
            with patch.object(decoding, "records", return_value=recorded):
                text = decoding.Decoding(model, [ids[:4]], 1, len(ids) - 4)
                # The first step is the one that is recorded.
                logits = [text.prefill(), text.step(torch.tensor([ids[4:5]], device=self.device))]
                synchronize(self.device)
                start = time.perf_counter()
                for token in ids[5:]:
                    logits.append(text.step(torch.tensor([[token]], device=self.device)))
                synchronize(self.device)
            speeds.append((len(ids) - 5) / (time.perf_counter() - start))
            said.append(torch.cat(logits))
        difference = float((said[0] - said[1]).norm() / said[0].norm())
        if not difference < 1e-3:
            raise SystemExit(f"a recorded step computes something else: its logits differ by {difference:.2g}")
        print(f"{'writing one text':<28} {speeds[0]:12,.0f} tokens/s, recorded {speeds[1]:,.0f}", flush=True)
        return {"launched": speeds[0], "recorded": speeds[1], "logits_difference": difference}

    def line(self, rung: Rung, seconds: float) -> dict[str, Any]:
        """A rung's line. The model's FLOPs are counted without padding: to pad is no achievement."""
        rows = rung.batches * self.micro_batch
        rate = rows * self.context / seconds
        peak = peak_flops(self.device, "bfloat16")  # one yardstick for all rungs
        mfu = rate * flops_per_token(self.config, self.context) / peak if peak else None
        memory = peak_memory(self.device) if self.device.type == "cuda" else None  # a CPU's is the whole process's
        utilisation = f"{mfu:.1%} MFU" if mfu else "no peak known"
        held = f"{memory / 2**30:.1f} GiB" if memory else ""
        print(f"{rung.name:<28} {rate:12,.0f} tokens/s  {utilisation:>13}  micro-batch {rows:3}  {held}", flush=True)
        line = {"name": rung.name, "micro_batch": rows, "seconds_per_step": seconds, "tokens_per_second": rate}
        return line | {"mfu": mfu, "peak_memory": memory}

    def forget(self) -> None:
        """Free what the rung before has left, so that the peak of the memory is this rung's own."""
        gc.collect()
        torch.compiler.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)


@dataclass
class RandomData:
    """The same batch at every step; of a tokenizer, a trainer that keeps nothing asks only for vocab_size."""

    batch: Batch
    tokenizer: GPTConfig
    spec: dict[str, Any] = field(default_factory=lambda: {"name": "random"})

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> Batch:
        return self.batch


class Transformers(nn.Module):
    """The same model in transformers, as its users would train it: fused attention, no cache."""

    def __init__(self, model: GPT) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        super().__init__()
        self.model = GPT2LMHeadModel(GPT2Config(**to_gpt2_config(model.config, None)))
        self.model.set_attn_implementation("sdpa")
        self.model.load_state_dict(to_gpt2(model), strict=False)
        self.model.tie_weights()

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits


def roofs(device: torch.device) -> dict[str, float]:
    """The ceilings of the device: FLOP/s of a large matrix product, and bytes a second of a large copy."""
    n, copied = (8192, 2**28) if device.type == "cuda" else (256, 2**20)

    def shortest(work: Callable[[], object]) -> float:
        times = []
        for _ in range(10):
            synchronize(device)
            start = time.perf_counter()
            work()
            synchronize(device)
            times.append(time.perf_counter() - start)
        return min(times)

    found = {}
    kinds = {"float32": ("float32", "highest"), "tf32": ("float32", "high"), "bfloat16": ("bfloat16", "highest")}
    for name, (dtype, setting) in kinds.items():
        torch.set_float32_matmul_precision(setting)
        a, b = (torch.randn(n, n, device=device, dtype=getattr(torch, dtype)) for _ in range(2))  # zeros are faster
        found[f"{name}_flops"] = 2 * n**3 / shortest(lambda a=a, b=b: a @ b)  # type: ignore[misc]
    source, target = torch.randn(copied, device=device), torch.empty(copied, device=device)
    return found | {"bytes_per_second": 2 * source.nbytes / shortest(lambda: target.copy_(source))}  # read, written


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    driver = theirs = None
    if device.type == "cuda":
        with suppress(OSError, subprocess.CalledProcessError):
            query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    with suppress(metadata.PackageNotFoundError):
        theirs = metadata.version("transformers")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}
    return {"device": name, "driver": driver, **versions, "transformers": theirs, "date": time.strftime("%Y-%m-%d")}


def main(arguments: list[str] | None = None) -> None:
    """Climb the ladder and write down what was measured."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="gpt2")
    parser.add_argument("--micro-batch", type=int, default=16, help="sequences at once; halved until they fit")
    parser.add_argument("--context", type=int, help="tokens in a sequence; default: as many as the model can read")
    parser.add_argument("--steps", type=int, default=10, help=f"in each of the {REPEATS} measurements of a rung")
    parser.add_argument("--minutes", type=float, default=6.5, help="after these, leave out what can be left out")
    parser.add_argument("--no-compile", action="store_true", help="leave out the rungs that compile, and what follows")
    parser.add_argument("--no-transformers", action="store_true", help="leave out transformers")
    parser.add_argument("--out", type=Path, help=f"default, on a GPU: {RESULTS}")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        device, config = pick_device(options.device), preset(options.preset).model
    except InputError as error:
        parser.error(str(error))
    if device.type != "cuda" and options.out is None:
        parser.error(f"no GPU here, and a CPU's figures do not belong into {RESULTS}: name another file with --out")
    out, context = options.out or RESULTS, options.context or config.context_length
    out.parent.mkdir(parents=True, exist_ok=True)
    climber = Ladder(config, device, options.micro_batch, context, options.steps)
    found = machine(device) | {
        "command": shlex.join(["python", "-m", "benchmarks.gpu", *arguments]),
        "preset": options.preset, "model": asdict(config), "context_length": context,
        "flops_per_token": flops_per_token(config, context), "peak_flops": peak_flops(device, "bfloat16"),
        "check": climber.check_against_cpu(), "roofs": roofs(device), "rungs": [], "others": [], "writing": [],
        "failed": [],
    }  # fmt: skip
    print(f"{found['device']}, driver {found['driver']}, torch {found['torch']}", flush=True)

    def minutes() -> float:
        return (time.monotonic() - start) / 60

    unfinished = out.with_suffix(".unfinished")

    def note(where: str, line: dict[str, Any]) -> None:
        found[where].append(line)
        found["minutes"] = minutes()
        text = json.dumps(found, indent=1) + "\n"
        unfinished.write_text(text, encoding="utf-8")  # should the machine be taken away

    def attempt(where: str, name: str, work: Callable[[], dict[str, Any]]) -> bool:
        """Note what the work measures. When it fails, the other rungs still count."""
        try:
            note(where, work())
        except (Exception, SystemExit) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            note("failed", {"name": name, "reason": reason})
            print(f"{name:<28} failed: {reason}", flush=True)
            return False
        return True

    rungs = [rung for rung in ladder() if not (options.no_compile and rung.compiled)]
    best = rungs[0]
    while not found["rungs"]:
        try:
            note("rungs", climber.climb(rungs[0]))
        except torch.OutOfMemoryError:
            if climber.micro_batch == 1:
                raise
            climber.micro_batch //= 2  # the first rung needs the most: what fits there fits on every rung
    for rung in rungs[1:]:
        if rung.batches == 1 and attempt("rungs", rung.name, lambda rung=rung: climber.climb(rung)):  # type: ignore[misc]
            best = rung
    if found["transformers"] and not options.no_transformers:
        for compiled in dict.fromkeys((best.compiled, False)):  # the stronger rival first; its vocabulary stays
            name = f"transformers{', compiled' * compiled}"
            rival = replace(best, name=name, compiled=compiled, padded=False)
            if minutes() < options.minutes:
                theirs = Transformers(build(config, climber.weights, rival))
                attempt("others", name, lambda rival=rival, theirs=theirs: climber.climb(rival, theirs))  # type: ignore[misc]
    if minutes() < options.minutes:
        own = replace(best, name="minigpt's Trainer")
        attempt("others", own.name, lambda: climber.trainer(own))
    if minutes() < options.minutes:
        attempt("writing", "writing", climber.writing)
    if rungs[-1].batches > 1 and minutes() < options.minutes:
        attempt("rungs", rungs[-1].name, lambda: climber.climb(rungs[-1]))
    unfinished.replace(out)
    print(f"{minutes():.1f} minutes; written to {out}")
    if found["failed"]:
        raise SystemExit(f"failed: {', '.join(line['name'] for line in found['failed'])}")


if __name__ == "__main__":
    main()
