"""What all benchmarks share: interleaved timing, the machine described, one form of result.

A benchmark is a file benchmarks/<name>.py. Its docstring says what is compared; __main__.py lists its name. It has

    def run(options: Options) -> Result:
        text = options.text()  # tiny Shakespeare, where it is needed
        check(ours(text) == theirs(text), "other ids come out")  # first the same result, then the clock
        times = interleave({"minigpt": lambda: ours(text), "peer": lambda: theirs(text)})
        return Result([compare("encoding", times["minigpt"], times["peer"], "peer", amount=1.1, unit="MB/s", target=8)])

`python -m benchmarks <name>` runs it and writes benchmarks/results/<processor>/<name>.json: the machine, the command,
the rows, and in `more` whatever else a figure needs. benchmarks/README.md's table is made from these files; results of
several kinds of processors stand side by side. With several names, or none for all, each runs in a process of its own.
Set the number of threads in `run`, the same for all peers, and name it in `notes`. Where a result comes one figure at a
time (a loss, a peak of memory), build a Row yourself. FIGURES, if the file has it, names the figures that figures/draw/
makes from its results: they are drawn anew.
"""

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from tqdm import tqdm

from minigpt.text.data import download_shakespeare
from minigpt.text.sources import read_text

RESULTS = Path(__file__).parent / "results"
PEERS = ("transformers", "peft", "trl", "tokenizers", "rustbpe", "tiktoken", "llms-from-scratch")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Instruction sets that decide how fast matrices are multiplied."""
PROCESSORS = {"avx512f": "AVX-512", "avx2": "AVX2", "": "other"}
"""Kinds of processors, whose results stand side by side: the first flag of these that one has, and its name."""

MATRIX, COPIED = 1536, 2**25
"""Sizes for `roofs`: rows of a square matrix, and numbers (128 MiB in float32, more than caches hold)."""


@dataclass(frozen=True)
class Options:
    """What a benchmark is told."""

    data: Path | None = None

    def text(self) -> str:
        """Tiny Shakespeare, 1.1 MB: from --data, or downloaded once and verified."""
        return read_text(self.data or download_shakespeare())


def clocks() -> tuple[float, float]:
    """Seconds on the wall, and CPU seconds of this process, all its threads, and the processes it waited for."""
    spent = os.times()
    return time.perf_counter(), time.process_time() + spent.children_user + spent.children_system


def check(same: bool, problem: str) -> None:
    """End the benchmark where ours and the peer's results differ: what computes something else is not timed."""
    if not same:
        raise SystemExit(f"not timed: {problem}")


@dataclass
class Times:
    """Seconds that a piece of work took, one entry for each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def __mul__(self, factor: float) -> "Times":
        """What so many such pieces of work would take."""
        return Times([factor * t for t in self.wall], [factor * t for t in self.cpu])


T = TypeVar("T")


def with_threads(threads: int, work: Callable[..., T], *args: Any, **options: Any) -> T:
    """The work's result, computed with so many threads."""
    torch.set_num_threads(threads)
    return work(*args, **options)


def interleave(
    works: Mapping[str, Callable[[], object]], rounds: int = 7, warm_up: int = 1, seconds: float = 600.0
) -> dict[str, Times]:
    """Time several pieces of work in turn, A B C A B C …, so that whatever else the machine does meets all of them.

    Args:
        works: what to time, by name.
        rounds: how often each is timed.
        warm_up: rounds before these that are not timed.
        seconds: after this long, no new round begins; three are timed in any case.
    """
    times = {name: Times() for name in works}
    start = clocks()[0]
    for i in tqdm(range(warm_up + rounds), ", ".join(works), leave=False, disable=None):
        if i >= warm_up + 3 and clocks()[0] - start > seconds:
            break
        for name, work in works.items():
            wall, cpu = clocks()
            work()
            wall_end, cpu_end = clocks()
            if i >= warm_up:
                times[name].wall.append(wall_end - wall)
                times[name].cpu.append(cpu_end - cpu)
    return times


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """A quarter of the values lies below the first, half below the second, three quarters below the third."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` says how many times better ours is than the peer's; 1 is equal."""

    work: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    target: float | None = None
    target_of: Literal["at least, ratio", "at most, ours"] = "at least, ratio"
    spread: dict[str, list[float]] = field(default_factory=dict)
    """First and third quartile of "ours", "peer" and "ratio"."""
    notes: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        if self.target_of == "at most, ours":
            return self.ours <= self.target
        return self.ratio is not None and self.ratio >= self.target


def compare(
    work: str,
    ours: Times,
    peer: Times,
    peer_name: str,
    *,
    unit: str = "s",
    amount: float | None = None,
    clock: Literal["wall", "cpu"] = "wall",
    target: float | None = None,
    notes: str = "",
) -> Row:
    """The row for two pieces of work that were timed in turn. The ratio is that of the medians.

    Args:
        work: what is done.
        ours: times of minigpt.
        peer: times of the other.
        peer_name: who that is.
        unit: of what the table shows.
        amount: how many units (tokens, MB) the work deals with: then the table shows amount / seconds, else seconds.
        clock: which seconds count.
        target: the ratio to reach.
        notes: threads, sizes, whatever the figures depend on.
    """
    mine, other = getattr(ours, clock), getattr(peer, clock)
    shown = [[amount / t if amount else t for t in times] for times in (mine, other)]
    spread = {"ours": shown[0], "peer": shown[1], "ratio": [b / a for a, b in zip(mine, other, strict=True)]}
    return Row(
        work=work,
        ours=statistics.median(shown[0]),
        unit=unit,
        peer=statistics.median(shown[1]),
        peer_name=peer_name,
        ratio=statistics.median(other) / statistics.median(mine),
        target=target,
        spread={name: list(quartiles(values)[::2]) for name, values in spread.items()},
        notes=notes,
    )


@dataclass
class Result:
    """What a benchmark found: rows of the table, and what else a figure needs."""

    rows: list[Row]
    more: dict[str, Any] = field(default_factory=dict)


def roofs(threads: int) -> dict[str, float]:
    """What so many threads can do at best: FLOP/s of a large matrix product, bytes a second of a large copy."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)  # zeros are faster
    a16, b16 = a.bfloat16(), b.bfloat16()
    source, target = torch.randn(COPIED), torch.empty(COPIED)
    works = {"float32": lambda: a @ b, "bfloat16": lambda: a16 @ b16, "copy": lambda: target.copy_(source)}
    best = {name: min(times.wall) for name, times in interleave(works).items()}
    torch.set_num_threads(before)
    return {
        "float32_flops": 2 * MATRIX**3 / best["float32"],
        "bfloat16_flops": 2 * MATRIX**3 / best["bfloat16"],
        "bytes_per_second": 2 * source.nbytes / best["copy"],  # read and written
    }


def machine() -> dict[str, Any]:
    """What the figures depend on. `load` is the number of processes that wanted a core in the minute before."""
    name, flags = platform.processor() or platform.machine(), list[str]()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        name, flags = said.get("model name", name), [flag for flag in FLAGS if flag in said.get("flags", "").split()]
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for peer in PEERS:
        with suppress(metadata.PackageNotFoundError):
            versions[peer] = metadata.version(peer)
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": name, "flags": flags, "cores": cores, "threads": torch.get_num_threads(), "system": platform.platform(),
        "versions": versions, "date": time.strftime("%Y-%m-%d"), "load": load,
        "roofs": {str(threads): roofs(threads) for threads in sorted({1, cores})},
    }  # fmt: skip


def processor(described: Mapping[str, Any]) -> str:
    """A machine's kind of processor, as `PROCESSORS` names it."""
    return next(name for flag, name in PROCESSORS.items() if not flag or flag in described["flags"])


def write(name: str, described: Mapping[str, Any], result: Result, minutes: float) -> Path:
    """Write benchmarks/results/<processor>/<name>.json, whole or not at all."""
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    rows = [asdict(row) | {"met": row.met} for row in result.rows]
    found = {"name": name, "command": command, "minutes": minutes, "machine": described, "rows": rows}
    path = RESULTS / processor(described) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found | {"more": result.more}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


def read(name: str) -> dict[str, dict[str, Any]]:
    """What `write` wrote on each kind of processor; `rows` are Rows again."""
    found: dict[str, dict[str, Any]] = {}
    for kind in PROCESSORS.values():
        path = RESULTS / kind / f"{name}.json"
        if path.exists():
            found[kind] = json.loads(path.read_text(encoding="utf-8"))
            rows = [{key: value for key, value in row.items() if key != "met"} for row in found[kind]["rows"]]
            found[kind]["rows"] = [Row(**row) for row in rows]
    return found
