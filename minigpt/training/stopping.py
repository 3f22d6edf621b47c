"""Ctrl-C, a polite kill and a time limit: noted while a step computes, acted on between two steps."""

import math
import signal
import time
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from minigpt import runtime
from minigpt.runtime import rank, world_size


class Stopping:
    """For as long as its block lasts, signals do not end the process but are remembered.

    Args:
        device: where the processes of a run exchange what they know.
        max_minutes: the time limit, from now; 0 means none.
        signals: whether to take over Ctrl-C and SIGTERM. A run without a folder has nothing to save.
    """

    def __init__(self, device: torch.device, max_minutes: float = 0.0, signals: bool = True) -> None:
        self.device = device
        self.deadline = time.monotonic() + 60 * max_minutes if max_minutes else math.inf
        # SIGBREAK is Windows' polite kill. Python lets only the first thread of a process take signals over.
        names = ("SIGINT", "SIGTERM", "SIGBREAK") if signals and current_thread() is main_thread() else ()
        self.numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        self.before = {number: signal.signal(number, self._note) for number in self.numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def wished(self) -> bool:
        """Whether any process got a signal or ran out of time: all must stop at the same step."""
        wish = self.received is not None or time.monotonic() > self.deadline
        if world_size() == 1:
            return wish
        return bool(runtime.sum_over_processes(torch.tensor(float(wish), device=self.device)))

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Stop at the next step's boundary. Ctrl-C again, when alone: stop at once."""
        if self.received == number == signal.SIGINT and world_size() == 1:
            raise KeyboardInterrupt
        self.received = number
        if rank() == 0:
            again = " (Ctrl-C again stops at once)" if number == signal.SIGINT and world_size() == 1 else ""
            tqdm.write(f"stopping after this step, with a checkpoint{again}")
