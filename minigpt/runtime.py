"""All that depends on the machine: device, precision, threads and seeds."""

import contextlib
import os
import time
from collections.abc import Callable

# An OpenMP thread that waits by spinning blocks the core another process needs; this bounds it. Read when torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import torch

from minigpt.config import InputError, Precision


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" takes a CUDA GPU where there is one, else the CPU.

    Raises:
        InputError: for a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try auto or cpu") from None
    return torch.device(name)


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 have hardware of their own here, and are faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Private names, but the only way torch tells; where they are missing, float32 is the safe answer.
    asks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return device.type == "cpu" and any(ask() for ask in asks if ask is not None)


def pick_precision(name: Precision, device: torch.device) -> Precision:
    """ "float32" or "bfloat16": "auto" takes bfloat16 where the device has units for it."""
    if name != "auto":
        return name
    return "bfloat16" if has_bfloat16_units(device) else "float32"


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """Mixed precision (Micikevicius et al. 2018): weights stay in float32, matrix products run in `precision`."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def fastest_threads(work: Callable[[], object], repeats: int = 3) -> int:
    """The number of CPU threads, of 1, 2, 4, … and all, with which `work` takes the least time.

    More is not always faster: small matrices cost more to share than to multiply.
    """
    cores = os.cpu_count() or 1
    candidates = sorted({1, cores} | {2**i for i in range(10) if 2**i < cores})
    before = torch.get_num_threads()
    best: dict[int, float] = {}
    for threads in candidates:
        torch.set_num_threads(threads)
        work()  # the first run with a new pool pays for starting it
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        best[threads] = min(times)
    torch.set_num_threads(before)
    return min(best, key=lambda threads: best[threads])


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was told, so that a clock read next tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
