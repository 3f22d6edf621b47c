"""Run lessons and solutions as other processors would, and print which cells came out otherwise than stored.

    python -m tests.portable                                  every lesson under every setting (`make test-portable`)
    python -m tests.portable 04 09 --setting noise-1 avx2     two lessons, two settings
    python -m tests.portable 04 --seed 17                     noise in the arithmetic that nobody else has tried
    python -m tests.portable --quick                          what `make test` runs

The exit status is 1 if any cell was red. Whole reports lie in build/portable.
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
import torch

from minigpt.runtime import has_bfloat16_units

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
STARTUP = Path(__file__).parent / "startup"
REPORTS = ROOT / "build" / "portable"
HANGS = 3600  # seconds for one cell: only a hang reaches it, on a machine that is busy with other work, too

SETTINGS: dict[str, dict[str, str]] = {
    **{f"noise-{seed}": {"PORTABLE_NOISE": str(seed)} for seed in range(1, 6)},
    "no-simd": {"ATEN_CPU_CAPABILITY": "default"},  # torch's own kernels, as compiled for any x86
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "mkl-compatible": {"MKL_CBWR": "COMPATIBLE"},  # MKL's products, as on processors that are not Intel's
    "no-bfloat16": {"PORTABLE_BFLOAT16": "0"},
    "threads-1": {"PORTABLE_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "threads-2": {"PORTABLE_THREADS": "2", "OMP_NUM_THREADS": "2"},
}
PLAIN = "threads-1"  # and nothing else: what `make test` runs
QUICK = "noise-1"
LONG = ("10", "18", "19", "23")  # they train for more than a minute: `--quick` leaves them out


def idle() -> list[str]:
    """The settings that change nothing on this processor, because it is what they imitate."""
    found = ["avx2"] if torch.backends.cpu.get_cpu_capability() == "AVX2" else []
    return found if has_bfloat16_units(torch.device("cpu")) else [*found, "no-bfloat16"]


@dataclass
class Verdict:
    """How one lesson with its solutions did under one setting: its red cells, by id, and the seconds it took."""

    lesson: str
    setting: str
    red: list[str]
    seconds: float


def run(lesson: str, setting: str, environment: dict[str, str]) -> Verdict:
    """Execute a lesson and its solutions under a setting, and compare them with what is stored."""
    paths = [NOTEBOOKS / f"{lesson}.ipynb", NOTEBOOKS / "solutions" / f"{lesson}.ipynb"]
    report = REPORTS / f"{lesson}.{setting}.xml"
    report.unlink(missing_ok=True)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", f"--nbval-cell-timeout={HANGS}", "-q"]
        + ["--color=no", "-p", "no:cacheprovider", f"--junitxml={report}", *map(str, paths)],
        cwd=ROOT,
        env=another_machine(environment),
        capture_output=True,
        text=True,
    )
    report.with_suffix(".txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    red = red_cells(report, paths) if report.exists() else []
    if done.returncode and not red:
        red = [f"pytest ended with {done.returncode}"]
    return Verdict(lesson, setting, red, time.monotonic() - start)


def another_machine(settings: dict[str, str]) -> dict[str, str]:
    """The environment of a process on another machine: what stands in STARTUP is run by it and by its own processes."""
    path = [str(STARTUP), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"OMP_NUM_THREADS": "1"} | os.environ | settings | {"PYTHONPATH": os.pathsep.join(path)}


def red_cells(report: Path, notebooks: list[Path]) -> list[str]:
    """The ids of the cells that failed, from pytest's report, in which nbval counts the code cells from 0."""
    red = []
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is None and case.find("error") is None:
            continue
        where, number = case.get("classname", ""), case.get("name", "").removeprefix("Cell ")
        notebook = next(path for path in notebooks if ("solutions" in where) == (path.parent.name == "solutions"))
        cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
        red.append(cells[int(number)].id + (" (solutions)" if "solutions" in where else ""))
    return red


def table(verdicts: list[Verdict]) -> str:
    """Lessons by settings: «ok», or the number of red cells; below it, every red cell by its id."""
    lessons = sorted({verdict.lesson for verdict in verdicts})
    settings = list(dict.fromkeys(verdict.setting for verdict in verdicts))
    found = {(verdict.lesson, verdict.setting): verdict.red for verdict in verdicts}
    lines = [" " * 28 + "  ".join(settings)]
    for lesson in lessons:
        marks = [f"{len(found[lesson, s])} red" if found[lesson, s] else "ok" for s in settings]
        lines.append(f"{lesson:<28}" + "  ".join(f"{m:<{len(s)}}" for m, s in zip(marks, settings, strict=True)))
    lines += [f"red: {v.lesson}, {v.setting}: {', '.join(v.red)}" for v in verdicts if v.red]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", help="how a lesson's name begins, such as 04; without one, all")
    parser.add_argument(
        "--setting", nargs="+", choices=SETTINGS, help="without it, all but those that change nothing on this processor"
    )
    parser.add_argument("--seed", type=int, help="only noise, with this seed")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK}, and without the long lessons")
    parser.add_argument("--processes", type=int, default=1, help="how many lessons run at once")
    options = parser.parse_args(arguments)

    lessons = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    unknown = [name for name in options.lessons if not any(lesson.startswith(name) for lesson in lessons)]
    if unknown:
        parser.error(f"no lesson begins with {unknown[0]!r}; there are {', '.join(lessons)}")
    lessons = [lesson for lesson in lessons if not options.lessons or lesson.startswith(tuple(options.lessons))]
    skipped = [] if options.setting else idle()
    settings = {name: SETTINGS[name] for name in options.setting or SETTINGS if name not in skipped}
    if options.quick:
        lessons = [lesson for lesson in lessons if not lesson.startswith(LONG)]
        settings = {QUICK: SETTINGS[QUICK]}
    if options.seed is not None:
        settings = {f"noise-{options.seed}": {"PORTABLE_NOISE": str(options.seed)}}

    REPORTS.mkdir(parents=True, exist_ok=True)
    verdicts = []
    with ThreadPoolExecutor(options.processes) as pool:
        running = [pool.submit(run, lesson, name, settings[name]) for name in settings for lesson in lessons]
        for count, future in enumerate(running, start=1):
            verdict = future.result()
            verdicts.append(verdict)
            outcome = f"red: {', '.join(verdict.red)}" if verdict.red else "ok"
            print(
                f"{count}/{len(running)} {verdict.lesson}, {verdict.setting}: {outcome}, {verdict.seconds:.0f} s",
                flush=True,
            )
    print(f"\n{table(verdicts)}")
    if PLAIN in settings and skipped:
        print(f"{' and '.join(skipped)} change nothing on this processor: {PLAIN} stands for them")
    return 1 if any(verdict.red for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
