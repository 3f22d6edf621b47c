"""The training loop.

A run's folder holds `metrics.jsonl`, one line a step, and `checkpoints/`. A resumed run goes on as if it had never
stopped: the batch is a function of the step, and the checkpoint holds everything else that changes.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from minigpt import checkpoint as checkpoints
from minigpt.config import IGNORE, GPTConfig, InputError, TrainConfig, to_json
from minigpt.data import Data
from minigpt.evaluate import mean_loss
from minigpt.model import GPT, next_token_loss
from minigpt.optim import learning_rate_at, make_optimizers, set_learning_rate
from minigpt.runtime import autocast, fastest_threads, pick_precision, synchronize


@dataclass(frozen=True)
class StepResult:
    """What one step of training measured."""

    step: int
    """How many steps are done; 1 after the first."""
    loss: float
    """Mean over the batch, in nats per token, before the step's update."""
    gradient_norm: float
    """Norm of the whole gradient before clipping."""
    learning_rate: float
    """Fraction of the peak."""
    tokens_per_second: float
    """Targets of this batch over the time this step took."""
    seconds: float
    """Time spent in training steps since the run began, across resumes; measurements and checkpoints not counted."""


class Trainer:
    """Trains a model on one CPU or GPU.

    Attributes that lessons read: `model`, `step`, `out`, `threads`, `precision`.

    Args:
        model_config: the shape of the model; made with `config.seed`.
        config: the recipe.
        data: where batches come from.
        device: where to compute.
        out: the run's folder, or None to keep nothing on disk.

    Raises:
        InputError: when `out` already holds a run, or the data and the model do not fit together.
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
        if out is not None:
            if (out / "checkpoints").exists() or (out / "metrics.jsonl").exists():
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
        self.precision = pick_precision(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.model = GPT(model_config).to(self.device)
        self.optimizers = make_optimizers(self.model, config)
        self.threads = config.threads or self._fastest_threads()
        torch.set_num_threads(self.threads)
        torch.manual_seed(config.seed + 1)  # dropout's draws, whatever was drawn before

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
        for problem in problems:
            tqdm.write(f"passed over: {problem}")
        if not saved.training:
            raise InputError(
                f"{str(saved.folder)!r} holds a model to use, not a run to resume: it has no optimiser state"
            )
        run = saved.run
        config = config or TrainConfig(**run["train"])
        for what, was, now in (
            ("data", run["data"], data.spec),
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
        trainer.seconds = run["seconds"]
        _cut_metrics(out / "metrics.jsonl", saved.step)
        return trainer

    def train_step(self) -> StepResult:
        """One step: the batch's gradient, clipped, and one update of every parameter."""
        start = time.perf_counter()
        config = self.config
        self.model.train()
        fraction = learning_rate_at(self.step, config)
        set_learning_rate(self.optimizers, fraction)
        inputs, targets = self.data.batch_at(self.step, config.batch_size, config.seed)
        n_targets = int((targets != IGNORE).sum())
        loss_sum = torch.zeros((), device=self.device)
        for x, y in zip(inputs.chunk(config.accumulate), targets.chunk(config.accumulate), strict=True):
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            with autocast(self.device, self.precision):
                logits = self.model(x)
            # Divided by the whole batch's targets: the parts' gradients then add up to the whole batch's gradient.
            loss = next_token_loss(logits, y, n_targets)
            loss.backward()
            loss_sum += loss.detach()
        longest = config.grad_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), longest)
        if not norm.isfinite():  # before the update, so that no checkpoint is ever spoiled
            raise InputError(
                f"training diverged at step {self.step + 1}: loss {loss_sum.item():.4g}, gradient norm {norm.item()}. "
                "Choose a smaller learning_rate or a longer warm-up; the last checkpoint is sound"
            )
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        synchronize(self.device)
        seconds = time.perf_counter() - start
        self.seconds += seconds
        return StepResult(self.step, loss_sum.item(), norm.item(), fraction, n_targets / seconds, self.seconds)

    def run(
        self, until: int | None = None, on_step: Callable[[StepResult], None] | None = None, progress: bool = True
    ) -> bool:
        """Train up to step `until` (default: the whole run), with metrics, measurements and checkpoints on the way.

        Ctrl-C ends the run after the step it is in, with a checkpoint.

        Args:
            until: the step to stop at.
            on_step: called after each step, for a lesson's own measurements.
            progress: whether to show a progress bar.

        Returns:
            whether it got there; False after Ctrl-C.

        Raises:
            InputError: when training diverges, or the disk is full.
        """
        config = self.config
        self._stop_signal: int | None = None
        until = min(until or config.max_steps, config.max_steps)
        before = signal.getsignal(signal.SIGINT)
        if self.out:
            signal.signal(signal.SIGINT, self._note_signal)
        bar = tqdm(
            total=until, initial=self.step, unit="step", disable=not progress, dynamic_ncols=True, smoothing=0.05
        )
        validation = ""
        saved = False
        try:
            while self.step < until and self._stop_signal is None:
                result = self.train_step()
                metrics: dict[str, Any] = asdict(result)
                last = self.step == until
                if (config.eval_every and self.step % config.eval_every == 0) or (last and self.out):
                    metrics["val_loss"] = mean_loss(self.model, self.data, "val", precision=self.precision)
                    validation = f", validation {metrics['val_loss']:.4f}"
                self._write_metrics(metrics)
                if on_step:
                    on_step(result)
                bar.update()
                if self.step % config.log_every == 0 or last:
                    bar.set_postfix_str(f"loss {result.loss:.4f}{validation}, {result.tokens_per_second:,.0f} tokens/s")
                saved = last or bool(config.save_every and self.step % config.save_every == 0)
                if saved:
                    self.save()
            if self._stop_signal is not None and not saved:
                self.save()
        finally:
            bar.close()
            if self.out:
                signal.signal(signal.SIGINT, before)
        return self.step >= until

    def save(self) -> None:
        """Write a checkpoint of this step and keep the newest two."""
        if self.out is None:
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
                "seconds": self.seconds,
                "torch": torch.__version__,
            },
            training=self._training_state(),
        )
        checkpoints.keep_newest(self.out, 2)  # two, because a disk may spoil the newest

    def _training_state(self) -> dict[str, Tensor]:
        """Everything that changes from step to step besides the model, as tensors with names."""
        state = {"random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["random.cuda"] = torch.cuda.get_rng_state(self.device)
        for name, optimizer in self.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                for key, value in values.items():
                    state[f"{name}.{index}.{key}"] = value
        return state

    def _load_training_state(self, state: dict[str, Tensor]) -> None:
        """The reverse of `_training_state`."""
        torch.set_rng_state(state["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in state:
            torch.cuda.set_rng_state(state["random.cuda"], self.device)
        for name, optimizer in self.optimizers.items():
            values: dict[int, dict[str, Tensor]] = {}
            for key, tensor in state.items():
                if key.startswith(f"{name}."):
                    _, index, field = key.split(".", 2)
                    values.setdefault(int(index), {})[field] = tensor
            optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})

    def _write_metrics(self, metrics: dict[str, Any]) -> None:
        if self.out is None:
            return
        try:
            with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")
        except OSError as error:
            raise InputError(
                f"metrics.jsonl in {str(self.out)!r} could not be written ({error.strerror}): make room, then go on "
                "with --resume"
            ) from None

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C: stop at the next step boundary; pressed again, stop at once."""
        if self._stop_signal is not None:
            raise KeyboardInterrupt
        self._stop_signal = number
        tqdm.write("stopping after this step, with a checkpoint (Ctrl-C again stops at once)")

    def _fastest_threads(self) -> int:
        """A short trial with this model and one of its batches; on a GPU the CPU's threads hardly matter."""
        if self.device.type != "cpu":
            return os.cpu_count() or 1
        inputs, targets = self.data.batch_at(
            0, max(1, self.config.batch_size // self.config.accumulate), self.config.seed
        )

        def work() -> None:
            with autocast(self.device, self.precision):
                logits = self.model(inputs)
            next_token_loss(logits, targets).backward()

        threads = fastest_threads(work)
        self.model.zero_grad(set_to_none=True)
        return threads


def _cut_metrics(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which will be done again, and a last line that was cut off."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                lines.append(line)
        except (json.JSONDecodeError, KeyError):
            break
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    unfinished.replace(path)


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, one dictionary a step."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
