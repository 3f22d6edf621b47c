"""Run the benchmarks, all or some (`python -m benchmarks bpe encoding`), and make benchmarks/README.md's table anew."""

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Options, Row
from figures import build
from minigpt.config import InputError

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- made from results/ by `python -m benchmarks --table` -->", "<!-- end of what is made -->"
NAMES = (
    "training", "finetuning", "preferences", "loss", "generation", "bpe", "encoding", "startup", "scaling",
    "real_model", "real_writing", "evaluation",
)  # fmt: skip
"""In the order of the table. Started by their own names: benchmarks/before.py, gpu.py, storyteller.py."""


def short(number: float) -> str:
    """Three significant digits, thousands apart: 12,345 becomes 12,300."""
    return f"{float(f'{number:.3g}'):,.10g}"


def line(row: Row, processor: str = "") -> str:
    """A row as a line of the table, with the kind of processor that it was measured on."""
    peer = f"{short(row.peer)} {row.unit}" if row.peer is not None else ""
    spread = "–".join(short(value) for value in row.spread.get("ratio", ()))
    ratio = f"{short(row.ratio)} ({spread})" if spread and row.ratio else short(row.ratio) if row.ratio else ""
    sign = {"at least, ratio": "≥", "at most, ours": "≤"}[row.target_of]
    target = f"{sign} {short(row.target)}" if row.target is not None else ""
    met = {True: "yes", False: "**no**", None: ""}[row.met]
    cells = (row.work, processor, f"{short(row.ours)} {row.unit}", row.peer_name, peer, ratio, target, met)
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """The rows of all results, those of one work on several processors together, and under them the machine of each."""
    lines = [
        "| work | processor | minigpt | peer | peer's | times better (quartiles) | target | met |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    machines: dict[str, list[str]] = {}
    for name in (*NAMES, "before"):
        together: dict[tuple[str, str], list[str]] = {}
        for processor, found in measure.read(name).items():
            for row in found["rows"]:
                together.setdefault((row.work, row.peer_name), []).append(line(row, processor))
            machines.setdefault(describe(found["machine"]), []).append(rates(name, found["machine"]))
        lines += [each for several in together.values() for each in several]
    for described, names in sorted(machines.items()):
        lines += ["", described, "", *names]
    return "\n".join(lines)


def describe(machine: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    flags = ", ".join(machine["flags"])
    return f"{machine['cpu']}, {machine['cores']} cores ({flags}), {machine['date']}; {versions}."


def rates(name: str, machine: dict) -> str:
    """How fast the machine was, and how busy, when this benchmark began."""
    parts = [
        f"{n} thread{'s' * (n != '1')}: {roof['float32_flops'] / 1e9:.0f} GFLOP/s in float32, "
        f"{roof['bfloat16_flops'] / 1e9:.0f} in bfloat16, {roof['bytes_per_second'] / 1e9:.0f} GB/s"
        for n, roof in machine["roofs"].items()
    ]
    load = "unknown" if machine["load"] is None else f"{machine['load']:.1f}"
    return f"- `{name}`: {'; '.join(parts)}; load before it {load}"


def update_readme() -> None:
    """Put the table between the README's two markers; the rest is written by hand."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def run(name: str, options: Options) -> None:
    """Run one benchmark in this process and write its result."""
    start = time.monotonic()
    described = measure.machine()
    benchmark = importlib.import_module(f"benchmarks.{name}")
    result = benchmark.run(options)
    minutes = (time.monotonic() - start) / 60
    path = measure.write(name, described, result, minutes)
    if figures := getattr(benchmark, "FIGURES", None):
        build.main([*figures])
    for row in result.rows:
        print(line(row, measure.processor(described)))
    print(f"{minutes:.1f} minutes; written to {path}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run what is named; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(NAMES)}; all where none is given")
    parser.add_argument("--data", type=Path, help="tiny Shakespeare; default: downloaded once")
    parser.add_argument("--table", action="store_true", help="only write the README's table")
    options = parser.parse_args(arguments)
    names = options.names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(NAMES)}")
    failed = []
    if not options.table and len(names) == 1:
        try:
            run(names[0], Options(options.data))
        except InputError as error:  # no network, or no such file
            parser.error(str(error))
    elif not options.table:  # each in a fresh process: no threads, memory or imports of another
        for i, name in enumerate(names, start=1):
            print(f"\n[{i}/{len(names)}] {name}", flush=True)
            data = ["--data", str(options.data)] if options.data else []
            if subprocess.run([sys.executable, "-m", "benchmarks", name, *data]).returncode:
                failed.append(name)
    update_readme()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
