"""All that depends on the machine: device, precision, threads, memory, and the processes of a run."""

import contextlib
import ctypes
import functools
import gc
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

# A thread of OpenMP or OpenBLAS that waits by spinning blocks the core another process needs; this bounds it. Read when
# torch and numpy load.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")  # 2^16 ticks of the clock

# What torch's import makes stays. To look through it for garbage, now and when the process ends, takes 0.4 s.
_unwatched = gc.isenabled() and "torch" not in sys.modules
if _unwatched:
    gc.disable()

import torch
import torch.distributed as dist
from torch import Tensor

from minigpt.config import InputError, Precision

if _unwatched:
    gc.freeze()
    gc.enable()

T = TypeVar("T")
U = TypeVar("U")


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" takes a CUDA GPU where there is one, else the CPU.

    Of several processes on one machine, each takes the GPU of its own number.

    Raises:
        InputError: for a device that this machine or this build of torch does not have, or that lacks float64.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        # Where each process sees its own GPU only, that one has the number 0.
        name = f"cuda:{int(os.environ['LOCAL_RANK']) % max(1, torch.cuda.device_count())}"
    try:
        torch.zeros(1, device=name, dtype=torch.float64).item()  # sums and draws are in it; Apple's mps has none
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
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
    """What "auto" means here: bfloat16 where the device has units for it, float16 on older GPUs, else float32."""
    if name != "auto":
        return name
    if has_bfloat16_units(device):
        return "bfloat16"
    return "float16" if device.type == "cuda" else "float32"


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """Mixed precision (Micikevicius et al. 2018): weights stay in float32, matrix products run in `precision`."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def cores() -> int:
    """Processor cores that this process may use: a batch system or a container may grant fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fastest_threads(work: Callable[[], object], repeats: int = 3) -> int:
    """The number of CPU threads, of 1, 2, 4, … and all, with which `work` takes the least time.

    More is not always faster: small matrices cost more to share than to multiply. OMP_NUM_THREADS, where it is set,
    is the most.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    most = min(cores(), int(asked)) if asked.isdecimal() and int(asked) else cores()
    candidates = sorted({1, most} | {2**i for i in range(10) if 2**i < most})
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


def _one_thread() -> None:
    torch.get_num_threads()  # otherwise the first operation takes the number that all threads begin with
    torch.set_num_threads(1)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, initializer=_one_thread)


def in_threads(function: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """A function's values at several items, computed in as many threads as torch has, which then take one each.

    For work that can be shared by its rows: two threads that meet only at its end wait less for each other than two
    that share every operation. Switches like `torch.no_grad` are each thread's own: set them in the function.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) == 1:
        return list(map(function, items))
    try:
        return list(_pool(threads).map(function, items))
    finally:
        torch.set_num_threads(threads)


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones.

    glibc gives it back to the system, and each step of a small model then spends a fifth of its time on fetching it
    again, and a long prompt of SmolLM2 a tenth. Elsewhere this does nothing.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_threshold = -1, -3  # their numbers in malloc.h
        mallopt(trim_threshold, 2**30)
        mallopt(mmap_threshold, 2**30)


def give_memory_back() -> None:
    """Give the memory of freed tensors back to the system, which glibc does by itself only in part."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that the GPU's memory is used up; cuBLAS, which takes its own, says it in other words."""
    return isinstance(error, torch.OutOfMemoryError) or "CUBLAS_STATUS_ALLOC_FAILED" in str(error)


def compiler_problem(device: torch.device) -> str | None:
    """Why torch.compile cannot be used here, after a trial of some seconds; None where it works."""
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(8, device=device))
    except Exception as error:  # a missing compiler, Triton, headers: each part of torch says it in its own way
        return str(error).strip().splitlines()[0]
    return None


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was told, so that a clock read next tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# Peak arithmetic of matrix products, dense, in FLOP/s, as NVIDIA's data sheets have it.
_PEAKS: dict[str, dict[Precision, float]] = {
    "A10": {"bfloat16": 125e12, "float16": 125e12},
    "A100": {"bfloat16": 312e12, "float16": 312e12},
    "(H100|H200) NVL": {"bfloat16": 835e12, "float16": 835e12},
    "H100 PCIe": {"bfloat16": 756e12, "float16": 756e12},
    "H100 80GB HBM3": {"bfloat16": 989e12, "float16": 989e12},
    "H200": {"bfloat16": 989e12, "float16": 989e12},
    "L4": {"bfloat16": 121e12, "float16": 121e12},
    "L40S": {"bfloat16": 362e12, "float16": 362e12},
    "T4": {"float16": 65e12},
    "V100-PCIE": {"float16": 112e12},
    "V100-SXM2": {"float16": 125e12},
}


def peak_flops(device: torch.device, precision: Precision) -> float | None:
    """The most floating-point operations a second that this device is sold as doing, or None where that is not known.

    Data sheets often print the figure for sparse matrices, twice as large; ours are dense.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    if "MIG" in name:  # a slice of a card, named after the whole
        return None
    return next((peaks.get(precision) for key, peaks in _PEAKS.items() if re.search(rf"\b{key}\b", name)), None)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes held at once so far: by the allocator of a GPU, or by this process; None where nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used  # macOS counts bytes, Linux kilobytes


def available_memory() -> int | None:
    """Bytes that this process could still take without others being pushed out; None where nobody tells (not Linux).

    In a container its own limit counts, where the kernel shows it (cgroup v2).
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":") for line in file)
        free = 1024 * int(lines["MemAvailable"].split()[0])
        with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit («max»)
            with open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
                most = int(limit.read())
            with open("/sys/fs/cgroup/memory.current", encoding="ascii") as used:
                free = min(free, max(0, most - int(used.read())))
        return free
    except (OSError, ValueError, KeyError):
        return None


def rank() -> int:
    """Which of the run's processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the other processes that torchrun has started, for as long as the block lasts; alone, do nothing.

    NCCL connects GPUs, gloo CPUs. When one dies, torchrun sees it and stops the others within seconds. Without it,
    gloo raises at once or after ten minutes at the latest; NCCL's watchdog ends the whole process after that time.

    Raises:
        InputError: when processes connected by gloo lose each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        # With its device known, NCCL connects now, and an error shows here rather than in the first step.
        known = {"device_id": device} if backend == "nccl" else {}
        dist.init_process_group(backend, timeout=timedelta(minutes=10), **known)  # type: ignore[arg-type]
        yield
        dist.destroy_process_group()  # after an error this could wait for the dead; the process ends anyway
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in ("gloo", "nccl", "connection", "timed out", "peer")):
            raise
        raise InputError(
            f"process {os.environ.get('RANK')} lost the others ({str(error).splitlines()[0]}): one of them has died, "
            "and its own message says why. Start them again: with --resume, if the run has a checkpoint already"
        ) from None


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of what every process holds, in place; the same on each of them."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values
