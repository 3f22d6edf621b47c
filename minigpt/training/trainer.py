"""The training loop, for one process or many.

A run's folder holds `metrics.jsonl`, one line a step, and `checkpoints/`. A resumed run goes on as if it had never
stopped: the batch and dropout are functions of the step, and the checkpoint holds everything else that changes.

Several processes (torchrun) compute parts of the same global batch. Every process ends each step with the same weights,
so the first one alone writes and prints.
"""

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from minigpt import runtime
from minigpt.config import IGNORE, GPTConfig, InputError, TrainConfig, to_json
from minigpt.evaluation.loss import mean_loss
from minigpt.model.gpt import GPT, flops_per_token, next_token_loss
from minigpt.runtime import rank, world_size
from minigpt.text.data import Data
from minigpt.training import metrics
from minigpt.training.metrics import StepResult
from minigpt.training.optim import learning_rate_at, make_optimizers, set_learning_rate
from minigpt.weights import checkpoint as checkpoints

MAX_SKIPPED = 10
"""So many steps in a row without a finite gradient end a run."""

AS_SAVED = ("seconds", "loss_scale", "good_steps", "skipped", "best")
"""Attributes of a trainer that a checkpoint keeps, besides the weights and the optimisers."""


class Trainer:
    """Trains a model on CPUs or GPUs.

    Attributes that lessons read: `model`, `step`, `out`, `threads`, `precision`.

    Args:
        model_config: the shape of the model; made with `config.seed`.
        config: the recipe.
        data: where batches come from.
        device: where this process computes.
        out: the run's folder, or None to keep nothing on disk.

    Raises:
        InputError: when `out` already holds a run, or the data, the model and the processes do not fit together.
    """

    def __init__(
        self,
        model_config: GPTConfig,
        config: TrainConfig,
        data: Data,
        device: torch.device | str = "cpu",
        out: Path | None = None,
    ) -> None:
        if data.tokenizer.vocab_size > model_config.vocab_size:
            raise InputError(
                f"the tokenizer has {data.tokenizer.vocab_size} tokens, but the model's vocab_size is "
                f"{model_config.vocab_size}: set vocab_size to {data.tokenizer.vocab_size} or more"
            )
        if config.batch_size % (parts := world_size() * config.accumulate):
            raise InputError(
                f"batch_size {config.batch_size} cannot be cut into {parts} equal parts ({world_size()} processes, "
                f"accumulate {config.accumulate}): choose a multiple of {parts}"
            )
        if out is not None:
            if (out / "checkpoints").exists() or (out / metrics.NAME).exists():
                raise InputError(
                    f"{str(out)!r} already holds a run: add --resume to go on with it, or choose another --out"
                )
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{str(out)!r} cannot hold a run ({error.strerror}): choose another --out") from None
        self.config = config
        self.data = data
        self.device = torch.device(device)
        self.out = out
        self.step = 0
        self.seconds = 0.0
        self.precision = runtime.pick_precision(config.precision, self.device)
        # float16 has no numbers below 6e-8, so gradients are taken of a larger loss (Micikevicius et al. 2018, 3.2).
        self.loss_scale = 2.0**16 if self.precision == "float16" else 1.0
        self.good_steps = 0  # since that scale last had to be halved
        self.skipped = 0  # steps in a row
        self.best: dict[str, float] = {}  # step and val_loss of the best validation so far
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        else:
            runtime.keep_freed_memory()
        torch.manual_seed(config.seed)
        self.model = GPT(model_config).to(self.device)
        self.optimizers = make_optimizers(self.model, config)
        self.threads = config.threads or self._fastest_threads()
        torch.set_num_threads(self.threads)
        # What a step calls; it has the model's own parameters.
        self.network: nn.Module = self.model
        if config.compile:
            self.network = torch.compile(self.model)  # type: ignore[assignment]
        if world_size() > 1:
            self.network = DistributedDataParallel(self.network)
        self._ahead: tuple[int, Future[tuple[Tensor, Tensor, int, int]]] | None = None
        self._pool = ThreadPoolExecutor(1)
        self._stop_signal: int | None = None
        self._deadline = math.inf

    @classmethod
    def resume(
        cls,
        out: Path,
        data: Data,
        model_config: GPTConfig | None = None,
        config: TrainConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> "Trainer":
        """A trainer that goes on from the newest good checkpoint of `out`.

        Args:
            out: the run's folder.
            data: the same data as before.
            model_config: if given, it must be the run's.
            config: a recipe for what is left, such as more steps; default: the run's own, and then the run goes on bit
                for bit as if it had never stopped, with the threads and the precision that it began with.
            device: where to compute.

        Raises:
            InputError: when there is no such checkpoint, or another model, data set or optimiser was asked for.
        """
        saved, problems = checkpoints.newest_good(out)
        for problem in problems if rank() == 0 else ():
            tqdm.write(f"passed over: {problem}")
        if not saved.training and saved.step:
            raise InputError(
                f"{str(saved.folder)!r} holds a model to use, not a run to resume: it has no optimiser state"
            )
        run = saved.run
        config = config or TrainConfig(**run["train"])
        text = data.spec.get("sha256")
        moved = {"name": data.spec["name"]} if text and text == run["data"].get("sha256") else {}  # but the same text
        for what, was, now in (
            ("data", run["data"] | moved, data.spec),
            ("model", to_json(saved.model_config), to_json(model_config or saved.model_config)),
            ("optimizer", {"optimizer": run["train"]["optimizer"]}, {"optimizer": config.optimizer}),
        ):
            changed = [f"{k} was {was.get(k)}, now {now.get(k)}" for k in was | now if was.get(k) != now.get(k)]
            if changed:
                raise InputError(
                    f"the run in {str(out)!r} has another {what} ({'; '.join(changed)}): leave those flags out, or "
                    "choose a new --out without --resume"
                )
        if data.tokenizer.contents() != saved.tokenizer.contents():
            raise InputError(f"the run in {str(out)!r} was trained with another tokenizer: choose a new --out")
        as_before: dict[str, Any] = {"threads": config.threads or run["threads"]}
        if config.precision == "auto":
            as_before["precision"] = run["precision"]
        trainer = cls(saved.model_config, replace(config, **as_before), data, device)
        trainer.out, trainer.config = out, config
        trainer.model.load_state_dict(checkpoints.build_model(saved).state_dict())
        trainer._load_training_state(saved.training)
        trainer.step = saved.step
        for name in AS_SAVED:
            setattr(trainer, name, run[name])
        if rank() == 0:
            metrics.Metrics(out).cut(saved.step)
        return trainer

    def choices(self) -> str:
        """What this run computes with, and why."""
        config, device = self.config, self.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        asked = "as asked" if config.precision != "auto" else "the fastest that is safe here"
        threads = "as asked or as before" if config.threads else "the fastest in a trial"
        if not config.threads and (device.type != "cpu" or world_size() > 1):
            threads = "this process's share of the cores"
        return (
            f"{world_size()} process{'es' * (world_size() > 1)} on {name}; {self.precision} ({asked})"
            f"{' with TF32' * config.tf32}; {self.threads} thread{'s' * (self.threads > 1)} ({threads}); "
            f"{'compiled (it pays on a GPU)' if config.compile else 'not compiled'}; fused AdamW"
            f"{' and Muon' * ('muon' in self.optimizers)}; fused attention"
        )

    def train_step(self) -> StepResult:
        """One step: the global batch's gradient, clipped, and one update of every parameter.

        Raises:
            InputError: when the GPU's memory does not suffice, or training diverges.
        """
        start = time.perf_counter()
        config = self.config
        fraction = learning_rate_at(self.step, config)
        set_learning_rate(self.optimizers, fraction)
        inputs, targets, n_targets, n_positions = self._batch()
        try:
            loss_sum = self._backward(inputs, targets, n_targets)
        except torch.OutOfMemoryError:
            rows = inputs.size(0) // config.accumulate
            smaller = f"--accumulate {2 * config.accumulate} takes {rows // 2} at a time and gives the same gradient"
            raise InputError(
                f"{rows} sequences at a time do not fit into the memory of {self.device}: "
                + (smaller if rows % 2 == 0 else "choose a smaller model, batch_size or context_length")
            ) from None
        loss = runtime.sum_over_processes(loss_sum).item()
        parameters = list(self.model.parameters())
        if self.loss_scale != 1:
            torch._foreach_div_([p.grad for p in parameters if p.grad is not None], self.loss_scale)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.grad_clip or math.inf).item()
        updated = math.isfinite(norm) and math.isfinite(loss)  # the same on every process, which all hold the sums
        for optimizer in self.optimizers.values():
            if updated:  # otherwise no weight, and so no checkpoint, is ever spoiled
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._count_skipped(updated, loss, norm)
        runtime.synchronize(self.device)
        seconds = time.perf_counter() - start
        self.seconds += seconds
        peak = runtime.peak_flops(self.device, self.precision)
        flops = flops_per_token(self.model.config, inputs.size(1)) * n_positions
        mfu = flops / seconds / (peak * world_size()) if peak else None
        memory = runtime.peak_memory(self.device)
        return StepResult(self.step, loss, norm, fraction, n_targets / seconds, self.seconds, mfu, memory, updated)

    def _backward(self, inputs: Tensor, targets: Tensor, n_targets: int) -> Tensor:
        """Leave the global batch's gradient in every parameter; return this process's part of the loss."""
        self.model.train()
        # Dropout, too, is a function of the step: nothing about it needs to be saved.
        seeds = np.random.SeedSequence((self.config.seed, self.step, rank())).generate_state(1, np.uint64)
        torch.manual_seed(int(seeds[0]))
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        parts = self.config.accumulate
        for part, (x, y) in enumerate(zip(inputs.chunk(parts), targets.chunk(parts), strict=True), start=1):
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            with contextlib.ExitStack() as stack:
                if isinstance(self.network, DistributedDataParallel) and part < parts:
                    stack.enter_context(self.network.no_sync())  # the processes exchange gradients once a step
                with runtime.autocast(self.device, self.precision):
                    logits = self.network(x)
                # Divided by the targets of the whole global batch: the parts' gradients then add up to its gradient.
                loss = next_token_loss(logits, y, n_targets)
                # Times the processes, because DistributedDataParallel takes the mean of their gradients.
                (loss * self.loss_scale * world_size()).backward()
            loss_sum += loss.detach()
        return loss_sum

    def _batch(self) -> tuple[Tensor, Tensor, int, int]:
        """This process's rows of the step's batch; the next batch is made while the step computes."""
        step, batch = self._ahead or (-1, None)
        if batch is None or step != self.step:
            batch = self._pool.submit(self._make_batch, self.step)
        after = self.step + 1
        self._ahead = (after, self._pool.submit(self._make_batch, after)) if after < self.config.max_steps else None
        return batch.result()

    def _make_batch(self, step: int) -> tuple[Tensor, Tensor, int, int]:
        """Inputs and targets of this process, and how many targets and positions the global batch has."""
        inputs, targets = self.data.batch_at(step, self.config.batch_size, self.config.seed)
        n_targets, n_positions = int((targets != IGNORE).sum()), inputs.numel()
        inputs, targets = inputs.chunk(world_size())[rank()], targets.chunk(world_size())[rank()]
        if self.device.type == "cuda":  # from pinned memory a copy to the GPU does not wait
            inputs, targets = inputs.pin_memory(), targets.pin_memory()
        return inputs, targets, n_targets, n_positions

    def _count_skipped(self, updated: bool, loss: float, norm: float) -> None:
        """Adapt the scale of float16's loss, and give up after too many steps without a finite gradient."""
        self.skipped = 0 if updated else self.skipped + 1
        if self.precision == "float16":
            self.good_steps = self.good_steps + 1 if updated else 0
            if not updated:
                self.loss_scale /= 2
            elif self.good_steps % 2000 == 0:
                self.loss_scale *= 2
        if self.skipped == MAX_SKIPPED:
            first = self.step - MAX_SKIPPED
            raise InputError(
                f"training diverged: the loss or the gradient was not finite in steps {first + 1} to {self.step} "
                f"(batches {first} to {self.step - 1} of seed {self.config.seed}; now loss {loss:.4g}, gradient norm "
                f"{norm:.4g}), and none of them changed the model. Choose a smaller learning_rate, a longer warm-up or "
                "another precision; the last checkpoint is sound"
            )

    def run(
        self, until: int | None = None, on_step: Callable[[StepResult], None] | None = None, progress: bool = True
    ) -> bool:
        """Train up to step `until` (default: the whole run), with metrics, measurements and checkpoints on the way.

        Ctrl-C, SIGTERM and `max_minutes` end the run at the next step's boundary, with a checkpoint.

        Args:
            until: the step to stop at.
            on_step: called after each step, for a lesson's own measurements.
            progress: whether to show a progress bar.

        Returns:
            whether it got there; False when it was stopped.

        Raises:
            InputError: when training diverges, or the disk is full.
        """
        config = self.config
        self._stop_signal = None
        until = min(until or config.max_steps, config.max_steps)
        self._deadline = time.monotonic() + 60 * config.max_minutes if config.max_minutes else math.inf
        handlers = {}
        if self.out:
            handlers = {number: signal.signal(number, self._note_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        log = metrics.Metrics(self.out, config.tensorboard) if self.out and rank() == 0 else None
        bar = tqdm(
            total=until, initial=self.step, unit="step", disable=not progress or rank() > 0, dynamic_ncols=True,
            smoothing=0.05,
        )  # fmt: skip
        validation = ""
        stopped = saved = False
        try:
            while self.step < until and not (stopped := self._must_stop()):
                result = self.train_step()
                line: dict[str, Any] = asdict(result)
                last = self.step == config.max_steps
                best = False
                if (config.eval_every and self.step % config.eval_every == 0) or (last and self.out):
                    line["val_loss"] = mean_loss(self.model, self.data, "val", precision=self.precision)
                    validation = f", validation {line['val_loss']:.4f}"
                    best = not self.best or line["val_loss"] < self.best["val_loss"]
                    if best:
                        self.best = {"step": self.step, "val_loss": line["val_loss"]}
                if log:
                    log.write(line)
                if on_step:
                    on_step(result)
                bar.update()
                if self.step % config.log_every == 0 or self.step == until:
                    bar.set_postfix_str(f"loss {result.loss:.4f}{validation}, {result.tokens_per_second:,.0f} tokens/s")
                due = config.save_every and self.step % config.save_every == 0
                saved = bool(due or best or self.step == until)
                if saved:
                    self.save()
            if stopped and not saved:
                self.save()
            # Nobody leaves before the first process has written: torchrun stops those who are left.
            runtime.sum_over_processes(torch.zeros((), device=self.device))
        finally:
            bar.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self.step >= until

    def _must_stop(self) -> bool:
        """Whether any process got a signal or ran out of time: all must stop at the same step."""
        wish = self._stop_signal is not None or time.monotonic() > self._deadline
        return bool(runtime.sum_over_processes(torch.tensor(float(wish), device=self.device)))

    def save(self) -> None:
        """Write a checkpoint of this step; keep the newest two, and the one with the best validation loss."""
        if self.out is None or rank() > 0:
            return
        checkpoints.save(
            checkpoints.checkpoint_folder(self.out, self.step),
            self.model,
            self.data.tokenizer,
            step=self.step,
            run={
                "data": self.data.spec,
                "train": to_json(self.config),
                "threads": self.threads,
                "precision": self.precision,
                "processes": world_size(),
                "torch": torch.__version__,
            }
            | {name: getattr(self, name) for name in AS_SAVED},
            training=self._training_state(),
        )
        # Two, because a disk may spoil the newest.
        checkpoints.keep_newest(self.out, 2, best=int(self.best.get("step", 0)))

    def _training_state(self) -> dict[str, Tensor]:
        """What the optimisers remember, as tensors with names."""
        state: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                for key, value in values.items():
                    state[f"{name}.{index}.{key}"] = value
        return state

    def _load_training_state(self, state: dict[str, Tensor]) -> None:
        """The reverse of `_training_state`."""
        for name, optimizer in self.optimizers.items():
            values: dict[int, dict[str, Tensor]] = {}
            for key, tensor in state.items():
                if key.startswith(f"{name}."):
                    _, index, field = key.split(".", 2)
                    values.setdefault(int(index), {})[field] = tensor
            optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C or a polite kill: stop at the next step boundary. Ctrl-C again, when alone: stop at once."""
        if self._stop_signal == number == signal.SIGINT and world_size() == 1:
            raise KeyboardInterrupt
        self._stop_signal = number
        if rank() == 0:
            again = " (Ctrl-C again stops at once)" if number == signal.SIGINT and world_size() == 1 else ""
            tqdm.write(f"stopping after this step, with a checkpoint{again}")

    def _fastest_threads(self) -> int:
        """A short trial with this model and one of its batches; on a GPU the CPU's threads hardly matter."""
        cores = os.cpu_count() or 1
        if self.device.type != "cpu" or world_size() > 1:  # processes that try at once would disturb each other
            return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        inputs, targets = self.data.batch_at(
            0, max(1, self.config.batch_size // self.config.accumulate), self.config.seed
        )

        def work() -> None:
            with runtime.autocast(self.device, self.precision):
                logits = self.model(inputs)
            next_token_loss(logits, targets).backward()

        threads = runtime.fastest_threads(work)
        self.model.zero_grad(set_to_none=True)
        return threads
