"""What a run measured: `metrics.jsonl`, one JSON object a step, and on request the same for TensorBoard."""

import json
import math
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigpt.config import InputError

NAME = "metrics.jsonl"


@dataclass(frozen=True)
class StepResult:
    """What one step of training measured."""

    step: int
    """How many steps are done; 1 after the first."""
    loss: float
    """Mean over the global batch, in nats per token, before the step's update."""
    gradient_norm: float
    """Norm of the whole gradient before clipping."""
    learning_rate: float
    """Fraction of the peak."""
    tokens_per_second: float
    """Targets of this batch over the time this step took."""
    seconds: float
    """Time spent in training steps since the run began, across resumes; measurements and checkpoints not counted."""
    mfu: float | None
    """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B): a share of the devices' peak, None where unknown."""
    memory: int | None
    """Most bytes held at once by this process so far, on its GPU if it has one."""
    updated: bool
    """False when the step changed nothing: its gradient was not finite, or there was nothing to learn from."""
    measures: dict[str, float] = field(default_factory=dict)
    """What the objective of a run measured, such as rewards; each has its own name in metrics.jsonl."""


class Metrics:
    """The metrics of a run, to be added to.

    Args:
        folder: the run's folder.
        tensorboard: whether to write the numbers to `folder`/tensorboard as well.

    Raises:
        InputError: when TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        self.path = folder / NAME
        self.board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise InputError("TensorBoard is not installed: pip install tensorboard, or leave it out") from None
            self.board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, values: dict[str, Any]) -> None:
        """Add the line of one step; a number that is not finite becomes null, which JSON can hold.

        Raises:
            InputError: when the disk is full or cannot be written.
        """
        line = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise self._unwritten(error) from None
        if self.board:
            for name, value in line.items():
                if name != "step" and value is not None:
                    self.board.add_scalar(name, value, values["step"])

    def cut(self, step: int) -> None:
        """Drop the lines of steps after `step`, which will be done again, and a last line that was cut off.

        A line that is damaged stays: nobody knows what it was, and a log is no reason to stop a run.

        Raises:
            InputError: when the file cannot be read, or not be written anew.
        """
        unfinished = self.path.with_suffix(".unfinished")
        try:
            content = self.path.read_bytes()
            lines = content.splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):  # the process was killed, or the disk was full, while it wrote
                lines[-1:] = [lines[-1] + b"\n"] if _parsed(lines[-1]) else []
            parsed = map(_parsed, lines)
            kept = b"".join(line for line, values in zip(lines, parsed, strict=True) if _step(values) <= step)
            if kept != content:
                unfinished.write_bytes(kept)
                unfinished.replace(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unwritten(error) from None
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _unwritten(self, error: OSError) -> InputError:
        return InputError(
            f"{NAME} in {str(self.path.parent)!r} could not be written ({error.strerror}): make room, or close the "
            "program that has it open, then go on with --resume"
        )


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is damaged."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, or no UTF-8
        return None
    return values if isinstance(values, dict) and type(values.get("step")) is int else None


def _step(values: dict[str, Any] | None) -> int:
    return 0 if values is None else int(values["step"])


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, one dictionary a step; a word on stderr about lines that are damaged."""
    lines = [_parsed(line) for line in (folder / NAME).read_bytes().splitlines()]
    if damaged := [str(number) for number, values in enumerate(lines, start=1) if values is None]:
        print(f"{folder / NAME}: passed over what is damaged, line {', '.join(damaged)}", file=sys.stderr)
    return [values for values in lines if values is not None]
