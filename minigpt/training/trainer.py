"""The training loop, for one process or many.

A run's folder holds `metrics.jsonl`, one line a step, and `checkpoints/`. A resumed run goes on as if it had never
stopped: the batch and dropout are functions of the step, and the checkpoint holds everything else that changes.

Several processes (torchrun) compute parts of the same global batch. Every process ends each step with the same weights,
so the first one alone writes and prints.
"""

import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from minigpt import runtime
from minigpt.config import IGNORE, GPTConfig, InputError, TrainConfig, fit_vocabulary, to_json
from minigpt.evaluation.loss import mean_loss
from minigpt.model.gpt import GPT, flops_per_token, next_token_loss
from minigpt.model.lora import merged, summary, with_adapters
from minigpt.runtime import rank, world_size
from minigpt.text.data import Data, check_labels
from minigpt.training import metrics
from minigpt.training.metrics import StepResult
from minigpt.training.optim import choose_trained
from minigpt.training.state import (
    check_alike,
    check_same_run,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
    take_folder,
)
from minigpt.training.step import Batch, Objective, Stepper
from minigpt.training.stopping import Stopping
from minigpt.weights import checkpoint as checkpoints

OF_TRAINER = ("seconds", "best")
OF_STEPPER = ("loss_scale", "good_steps", "skipped")
"""Attributes that a checkpoint keeps, besides the weights and the optimisers."""
OBJECTIVE = "objective"
"""What a checkpoint keeps of a run's objective has this name in front."""


class Trainer:
    """Trains a model on CPUs or GPUs.

    Attributes that lessons read: `model`, `step`, `out`, `threads`, `precision`.

    Args:
        model_config: the shape of the model; made with `config.seed`.
        config: the recipe.
        data: where batches come from.
        device: where this process computes.
        out: the run's folder, or None to keep nothing on disk.
        start: a model of this shape, whose weights are where training begins, such as one that was trained on other
            texts; it stays as it is. Default: weights drawn with `config.seed`.
        objective: in place of the loss of the next token, such as preferences or rewards: it makes the batches, and
            `data` is what the run is measured on.

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
        start: GPT | None = None,
        objective: Objective | None = None,
    ) -> None:
        model_config = fit_vocabulary(model_config, data.tokenizer.vocab_size)
        start = None if start is None else merged(start)
        if start is not None and start.config != model_config:
            asked, given = to_json(model_config), to_json(start.config)
            other = [f"{name} {given[name]}, not {asked[name]}" for name in asked if asked[name] != given[name]]
            raise InputError(f"the model to start from has another shape ({'; '.join(other)}): train one of its shape")
        check_labels(model_config, data)
        if config.batch_size % (parts := world_size() * config.accumulate):
            raise InputError(
                f"batch_size {config.batch_size} cannot be cut into {parts} equal parts ({world_size()} processes, "
                f"accumulate {config.accumulate}): choose a multiple of {parts}"
            )
        if objective is not None:
            objective.check_fit(model_config, config, data.tokenizer)
            if config.shard:
                raise InputError("a run with an objective needs the whole model in each process: leave shard out")
        self.config = config
        self.data = data
        self.objective = objective
        self.device = torch.device(device)
        self.out = out
        self.step = 0
        self.seconds = 0.0
        self.precision = runtime.pick_precision(config.precision, self.device)
        self.best: dict[str, float] = {}  # step and val_loss of the best validation so far
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
            # A choice of the recipe, of which torch's compiler would warn at each start.
            warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        else:
            runtime.keep_freed_memory()
        torch.manual_seed(config.seed)
        self.model = GPT(model_config).to(self.device)
        if start is not None:
            load_model_state(self.model, start.state_dict())
        if config.lora:
            self.model = with_adapters(self.model, config.lora, config.lora_alpha, config.lora_on, config.seed)
            if model_config.n_labels:  # a classifier's head is new, and nothing to be left as it is
                self.model.output_head.requires_grad_(True)
        else:
            choose_trained(self.model, config.trained)
        if out is not None:  # only now: what was refused above leaves no folder
            take_folder(out)
        self.stepper = Stepper(self.model, config, self.device, self.precision, objective)
        self.threads = config.threads or self._fastest_threads()
        torch.set_num_threads(self.threads)
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._pool = ThreadPoolExecutor(1)

    @classmethod
    def resume(
        cls,
        out: Path,
        data: Data,
        model_config: GPTConfig | None = None,
        config: TrainConfig | None = None,
        device: torch.device | str = "cpu",
        objective: Objective | None = None,
    ) -> "Trainer":
        """A trainer that goes on from the newest good checkpoint of `out`.

        Args:
            out: the run's folder.
            data: the same data as before.
            model_config: if given, it must be the run's.
            config: a recipe for what is left, such as more steps; default: the run's own, and then the run goes on bit
                for bit as if it had never stopped, with the threads and the precision that it began with.
            device: where to compute.
            objective: the same as before.

        Raises:
            InputError: when there is no such checkpoint, or another model, data set, optimiser or objective was asked
                for.
        """
        saved, problems = checkpoints.newest_good(out)
        for problem in problems if rank() == 0 else ():
            tqdm.write(f"passed over: {problem}")
        check_same_run(out, saved, data, model_config, config, objective)
        run = saved.run
        config = config or TrainConfig(**run["train"])
        as_before: dict[str, Any] = {"threads": config.threads or run["threads"]}
        if config.precision == "auto":
            as_before["precision"] = run["precision"]
        trainer = cls(saved.model_config, replace(config, **as_before), data, device, objective=objective)
        trainer.out, trainer.config = out, config
        load_model_state(trainer.model, checkpoints.build_model(saved, merge=False).state_dict())
        load_optimizer_state(trainer.stepper.optimizers, saved.training)
        if objective is not None:
            mark = f"{OBJECTIVE}."
            objective.kept = {k.removeprefix(mark): t for k, t in saved.training.items() if k.startswith(mark)}
        trainer.stepper.muon_precision = run.get("muon", "bfloat16")  # it was the only one before it was written down
        trainer.step = saved.step
        for owner, names in ((trainer, OF_TRAINER), (trainer.stepper, OF_STEPPER)):
            for name in names:
                setattr(owner, name, run[name])
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
        compiled = "compiled (it pays on a GPU)" if config.compile else "not compiled"
        if problem := self.stepper.compiler_problem:
            compiled = f"not compiled, because torch.compile does not work here ({problem})"
        return (
            f"{world_size()} process{'es' * (world_size() > 1)} on {name}; {self.precision} ({asked})"
            f"{' with TF32' * config.tf32}; {self.threads} thread{'s' * (self.threads > 1)} ({threads}); "
            f"{compiled}; {'in shards; ' * self.stepper.sharded}fused AdamW"
            f"{' and Muon' * ('muon' in self.stepper.optimizers)}; fused attention"
            + (f"; {summary(self.model)}" if config.lora else "")
        )

    def train_step(self) -> StepResult:
        """One step: the global batch's gradient, clipped, and one update of every parameter that is trained.

        Raises:
            InputError: when the GPU's memory does not suffice, or training diverges.
        """
        start = time.perf_counter()
        batch = self._batch()
        update = self.stepper(batch, self.step)
        self.step += 1
        # On a GPU the update may still be running: it is counted in the next step's time.
        seconds = time.perf_counter() - start
        self.seconds += seconds
        peak = runtime.peak_flops(self.device, self.precision)
        flops = flops_per_token(self.model.config, batch.inputs.size(1)) * batch.n_targets  # padding is no work done
        # A frozen weight has no gradient to compute, and flops_per_token counts one for each.
        counted = all(parameter.requires_grad for parameter in self.model.parameters())
        return StepResult(
            step=self.step,
            loss=update.loss,
            gradient_norm=update.gradient_norm,
            learning_rate=update.learning_rate,
            tokens_per_second=batch.n_targets / seconds,
            seconds=self.seconds,
            mfu=flops / seconds / (peak * world_size()) if peak and counted else None,
            memory=runtime.peak_memory(self.device),
            updated=update.done,
            measures=dict(update.measures),
        )

    def _batch(self) -> Batch:
        """This process's rows of the step's batch; the next batch is made while the step computes.

        Not so that of an objective, which may depend on the weights that the step leaves.
        """
        if self.objective is not None:
            return self._own_rows(self.objective.batch(self.model, self.step, self.config))
        step, batch = self._ahead or (-1, None)
        if batch is None or step != self.step:
            batch = self._pool.submit(self._make_batch, self.step)
        after = self.step + 1
        self._ahead = (after, self._pool.submit(self._make_batch, after)) if after < self.config.max_steps else None
        return batch.result()

    def _make_batch(self, step: int) -> Batch:
        inputs, targets = self.data.batch_at(step, self.config.batch_size, self.config.seed)
        return self._own_rows(Batch(inputs, targets, int((targets != IGNORE).sum())))

    def _own_rows(self, batch: Batch) -> Batch:
        def own(rows: Tensor) -> Tensor:
            rows = rows.chunk(world_size())[rank()]
            return rows.pin_memory() if self.device.type == "cuda" else rows  # its copy to the GPU does not wait

        extra = {name: own(rows) for name, rows in batch.extra.items()}
        return replace(batch, inputs=own(batch.inputs), targets=own(batch.targets), extra=extra)

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
        until = min(until or config.max_steps, config.max_steps)
        log = metrics.Metrics(self.out, config.tensorboard) if self.out and rank() == 0 else None
        bar = tqdm(
            total=until, initial=self.step, disable=not progress or rank() > 0, dynamic_ncols=True, smoothing=0.05,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )  # fmt: skip
        validation = ""
        stopped = False
        saved_at = self.step if self.step else self.save()  # from the beginning, there is something to go on from
        # Without a folder there is nothing to save, so signals do what they always do.
        with bar, Stopping(self.device, config.max_minutes, signals=self.out is not None) as stopping:
            while self.step < until and not (stopped := stopping.wished()):
                result = self.train_step()
                line: dict[str, Any] = asdict(result)
                line |= line.pop("measures")
                last = self.step == config.max_steps
                best = False
                if (config.eval_every and self.step % config.eval_every == 0) or (last and self.out):
                    line["val_loss"] = self._measure()
                    validation = f", val {line['val_loss']:.4f}"
                    best = not self.best or line["val_loss"] < self.best["val_loss"]
                    if best:
                        self.best = {"step": self.step, "val_loss": line["val_loss"]}
                if log:
                    log.write(line)
                if on_step:
                    on_step(result)
                bar.update()
                if self.step % config.log_every == 0 or self.step == until:
                    measured = "".join(f", {name} {value:.4g}" for name, value in result.measures.items())
                    speed = f"{result.tokens_per_second:,.0f} tokens/s"
                    bar.set_postfix_str(f"loss {result.loss:.4f}{measured}{validation}, {speed}")
                due = config.save_every and self.step % config.save_every == 0
                if due or best or self.step == until:
                    saved_at = self.save()
            if stopped and saved_at != self.step:
                self.save()
            if self.out and rank() == 0 and (skipped := self.stepper.skipped):
                tqdm.write(f"no checkpoint of step {self.step}: the last {skipped} had no finite gradient")
            # Nobody leaves before the first process has written: torchrun stops those who are left.
            runtime.sum_over_processes(torch.zeros((), device=self.device))
        return self.step >= until

    def _measure(self) -> float:
        """The loss on the validation split. When it fails, the step that was just taken is not lost."""
        try:
            return mean_loss(self.model, self.data, "val", precision=self.precision)
        except RuntimeError as error:
            self.save()
            if not runtime.is_out_of_memory(error):
                raise
            raise InputError(
                f"the validation after step {self.step} does not fit into the memory of {self.device}; the step is "
                "saved. Free memory there, or go on with --resume --eval-every 0"
            ) from None

    def save(self) -> int:
        """Write a checkpoint of this step; keep the newest two, and the one with the best validation loss.

        None is written while steps are skipped: weights that give no finite gradient would take the place of good ones.

        Returns:
            the step.
        """
        if self.out is None or self.stepper.skipped:
            return self.step
        check_alike(self.model, self.stepper.sharded)
        if rank() > 0 and not self.stepper.sharded:
            return self.step
        weights, training = model_state(self.model), optimizer_state(self.stepper.optimizers)  # from every process
        if self.objective is not None:
            training |= {f"{OBJECTIVE}.{name}": tensor for name, tensor in self.objective.kept.items()}
        if rank() > 0:
            return self.step
        checkpoints.save(
            checkpoints.checkpoint_folder(self.out, self.step),
            self.model,
            self.data.tokenizer,
            state=weights,
            step=self.step,
            run={
                "data": self.data.spec,
                "train": to_json(self.config),
                "threads": self.threads,
                "precision": self.precision,
                "muon": self.stepper.muon_precision,
                "processes": world_size(),
                "torch": torch.__version__,
            }
            | ({} if self.objective is None else {OBJECTIVE: self.objective.spec})
            | {name: getattr(self, name) for name in OF_TRAINER}
            | {name: getattr(self.stepper, name) for name in OF_STEPPER},
            training=training,
        )
        # Two, because a disk may spoil the newest.
        checkpoints.keep_newest(self.out, 2, best=int(self.best.get("step", -1)))
        return self.step

    def _fastest_threads(self) -> int:
        """A short trial with this model and one of its batches; on a GPU the CPU's threads hardly matter."""
        cores = runtime.cores()
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
