"""The harness of benchmarks/ on a clock that the test winds: order, medians, ratios, targets, files, and the table."""

import ast
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import before, bpe, measure, scaling, startup
from benchmarks.measure import Options, Result, Row, Times, check, compare, interleave, quartiles
from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT
from minigpt.text.bpe import count_pairs, merge, pre_tokenize

MACHINE = {
    "cpu": "Abacus 2", "flags": ["avx2"], "cores": 2, "threads": 2, "system": "Test", "date": "2026-01-02",
    "load": 0.25, "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "roofs": {
        "1": {"float32_flops": 5e10, "bfloat16_flops": 2e11, "bytes_per_second": 1e10},
        "2": {"float32_flops": 9e10, "bfloat16_flops": 4e11, "bytes_per_second": 2e10},
    },
}  # fmt: skip
ROW = Row("boiling", 12345.0, "eggs/s", 5000.0, "a pot", 2.469, 2.0, spread={"ratio": [2.2, 2.6]}, notes="hard")


class Clock:
    """Stands still until work is done; a second on the wall costs 1.5 of CPU time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(measure, "clocks", lambda: (self.now, 1.5 * self.now))

    def spend(self, seconds: float) -> None:
        self.now += seconds


def test_works_are_timed_in_turn_and_the_warm_up_is_not(monkeypatch: pytest.MonkeyPatch):
    clock, order = Clock(monkeypatch), []

    def work(name: str, seconds: list[float]):
        def run():
            order.append(name)
            clock.spend(seconds.pop(0))

        return run

    times = interleave({"a": work("a", [9, 1, 2, 3]), "b": work("b", [8, 4, 5, 6])}, rounds=3, warm_up=1)
    assert order == ["a", "b"] * 4
    assert times["a"].wall == [1, 2, 3] and times["b"].wall == [4, 5, 6]
    assert times["a"].cpu == [1.5, 3, 4.5]
    assert (times["a"] * 10).wall == [10, 20, 30] and (times["a"] * 10).cpu == [15, 30, 45]


def test_no_round_begins_when_the_time_is_over_but_three_are_timed(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    assert len(interleave({"": lambda: clock.spend(1)}, rounds=50, seconds=10.5)[""].wall) == 10
    assert len(interleave({"": lambda: clock.spend(100)}, rounds=50, seconds=10.5)[""].wall) == 3


BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def test_the_clocks_count_threads_and_processes_that_ended():
    wall, cpu = measure.clocks()
    sum(range(200_000))
    assert measure.clocks()[0] > wall and measure.clocks()[1] > cpu
    spent = interleave({"": lambda: startup.python(BUSY)}, rounds=1, warm_up=0)
    assert spent[""].cpu[0] > 0.25


def test_quartiles_by_hand():
    assert quartiles([7]) == (7, 7, 7)
    assert quartiles([5, 1, 2, 4, 3]) == (2, 3, 4)
    assert quartiles([1, 2]) == (1.25, 1.5, 1.75)


def test_the_ratio_says_how_many_times_faster_ours_is():
    ours, theirs = Times([2, 1, 3], [4, 4, 4]), Times([6, 6, 9], [2, 2, 2])
    row = compare("boiling", ours, theirs, "a pot")
    assert (row.ours, row.peer, row.ratio, row.unit) == (2, 6, 3, "s")
    assert row.spread == {"ours": [1.5, 2.5], "peer": [6, 7.5], "ratio": [3, 4.5]}, "ratios are those of each round"
    rate = compare("boiling", ours, theirs, "a pot", amount=12, unit="eggs/s")
    assert (rate.ours, rate.peer, rate.ratio) == (6, 2, 3)
    assert compare("boiling", ours, theirs, "a pot", clock="cpu").ratio == 0.5


@pytest.mark.parametrize(
    ("ours", "ratio", "target", "of", "met"),
    [
        (1.0, 3.0, 3.0, "at least, ratio", True),
        (1.0, 2.9, 3.0, "at least, ratio", False),
        (1.0, None, 3.0, "at least, ratio", False),
        (1.6, None, 1.6, "at most, ours", True),
        (1.7, 9.0, 1.6, "at most, ours", False),
        (1.0, 3.0, None, "at least, ratio", None),
    ],
)
def test_met_or_missed(ours, ratio, target, of, met):
    assert Row("boiling", ours, "s", ratio=ratio, target=target, target_of=of).met is met


def test_what_differs_is_not_timed():
    check(True, "")
    with pytest.raises(SystemExit, match="not timed: other ids"):
        check(False, "other ids")


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("sys.argv", ["__main__.py", "eggs", "--data", "a b.txt"])
    assert measure.read("eggs") == {}
    path = measure.write("eggs", MACHINE, Result([ROW], {"sizes": [1, 2]}), 1.5)
    assert list(path.parent.iterdir()) == [path] and path.name == "eggs.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["command"] == "python -m benchmarks eggs --data 'a b.txt'"
    assert (found["minutes"], found["machine"], found["more"]) == (1.5, MACHINE, {"sizes": [1, 2]})
    assert found["rows"][0]["met"] is True
    assert measure.read("eggs")["AVX2"]["rows"] == [ROW]


def test_the_results_of_several_processors_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    other = Row("frying", 2.0, "eggs/s")
    for flags, kind in (([], "other"), (["avx2"], "AVX2"), (["avx2", "avx512f"], "AVX-512")):
        path = measure.write("bpe", MACHINE | {"flags": flags, "cpu": kind}, Result([ROW, other]), 1)
        assert path == tmp_path / kind / "bpe.json"
    kinds = ["AVX-512", "AVX2", "other"]
    assert [*measure.read("bpe")] == kinds
    lines = command.table().splitlines()
    assert lines[2:8] == [command.line(row, kind) for row in (ROW, other) for kind in kinds]


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    before = measure.write("eggs", MACHINE, Result([ROW]), 1).read_text()
    with pytest.raises(ValueError, match="JSON"):
        measure.write("eggs", MACHINE, Result([Row("boiling", float("nan"), "s")]), 1)
    assert (tmp_path / "AVX2" / "eggs.json").read_text() == before


def test_numbers_and_rows_in_the_table():
    assert [command.short(x) for x in (12345.0, 1.0, 0.04567, 999.6, 2e6)] == [
        "12,300",
        "1",
        "0.0457",
        "1,000",
        "2,000,000",
    ]
    assert (
        command.line(ROW, "AVX2")
        == "| boiling | AVX2 | 12,300 eggs/s | a pot | 5,000 eggs/s | 2.47 (2.2–2.6) | ≥ 2 | yes |"
    )
    missed = Row("loss", 1.7, "nats", target=1.6, target_of="at most, ours")
    assert command.line(missed) == "| loss |  | 1.7 nats |  |  |  | ≤ 1.6 | **no** |"


def test_the_table_goes_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    readme = tmp_path / "README.md"
    readme.write_text(f"By hand.\n{command.BEGIN}\nold\n{command.END}\nAlso by hand.\n")
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "README", readme)
    measure.write("bpe", MACHINE, Result([ROW, ROW]), 1)
    measure.write("startup", MACHINE | {"load": None}, Result([ROW]), 1)
    for _ in range(2):  # the second time it changes nothing
        command.update_readme()
        lines = readme.read_text().splitlines()
        assert lines[0] == "By hand." and lines[-1] == "Also by hand." and "old" not in lines
        assert lines.count(command.line(ROW, "AVX2")) == 3
        assert lines.count("Abacus 2, 2 cores (avx2), 2026-01-02; python 3.11.7, torch 2.13.0.") == 1
        assert (
            "- `bpe`: 1 thread: 50 GFLOP/s in float32, 200 in bfloat16, 10 GB/s; 2 threads: 90 GFLOP/s in float32, "
            "400 in bfloat16, 20 GB/s; load before it 0.2" in lines
        )
        assert any(line.startswith("- `startup`") and line.endswith("load before it unknown") for line in lines)


def test_one_name_runs_here_and_more_run_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started: list[Any] = []

    def fail(line: list[str]) -> subprocess.CompletedProcess[str]:
        started.append(line[3:])
        return subprocess.CompletedProcess(line, returncode=1)

    monkeypatch.setattr(command, "run", lambda name, options: started.append((name, options)))
    monkeypatch.setattr(command, "update_readme", lambda: started.append("table"))
    monkeypatch.setattr(command.subprocess, "run", fail)
    assert command.main(["bpe", "--data", "x"]) == 0
    assert started == [("bpe", Options(Path("x"))), "table"]
    started.clear()
    assert command.main(["bpe", "startup", "--data", "x"]) == 1, "what failed is reported, and stops nothing"
    assert started == [["bpe", "--data", "x"], ["startup", "--data", "x"], "table"]
    with pytest.raises(SystemExit, match="2"):
        command.main(["nothing"])


def test_a_text_that_is_not_there_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command.measure, "machine", dict)  # measuring it would take minutes
    with pytest.raises(SystemExit, match="2"):
        command.main(["bpe", "--data", str(tmp_path / "none.txt")])
    assert "none.txt" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", command.NAMES)
def test_every_benchmark_has_its_file_and_its_committed_result(name: str):
    program = ast.parse(
        (measure.RESULTS.parent / f"{name}.py").read_text(encoding="utf-8")
    )  # peers may not be installed
    functions = [statement.name for statement in program.body if isinstance(statement, ast.FunctionDef)]
    assert ast.get_docstring(program) and "run" in functions
    results = measure.read(name)
    assert results, f"python -m benchmarks {name}"
    for processor, found in results.items():
        assert found["rows"] and found["machine"].keys() == MACHINE.keys()
        stored = json.loads((measure.RESULTS / processor / f"{name}.json").read_text(encoding="utf-8"))
        assert [row["met"] for row in stored["rows"]] == [row.met for row in found["rows"]]


def test_the_readme_s_table_is_that_of_the_committed_results():
    text = command.README.read_text(encoding="utf-8")
    inside = text.split(command.BEGIN)[1].split(command.END)[0]
    assert inside == f"\n{command.table()}\n", "python -m benchmarks --table"


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "MATRIX", 64)
    monkeypatch.setattr(measure, "COPIED", 2**16)
    found = measure.machine()
    assert found.keys() == MACHINE.keys()
    assert found["versions"]["torch"] == torch.__version__ and found["cores"] >= 1
    assert all(rate > 0 for roof in found["roofs"].values() for rate in roof.values())


def test_a_text_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="missing.txt"):
        Options(tmp_path / "missing.txt").text()


def test_the_recount_is_bpe():
    """Against the package's own parts, which are tested against rustbpe."""
    text = "".join(random.Random(1).choices("abc ", k=400))
    words = [list(word.encode()) for word in pre_tokenize(text)]
    merges, left = [], words
    for new_id in range(256, 268):
        counts = count_pairs(left, [1] * len(left))
        merges.append(max(sorted(counts), key=lambda pair: counts[pair]))  # the first of the largest: the smallest pair
        left = [merge(word, merges[-1], new_id) for word in left]
    assert bpe.recount(words, range(256, 268)) == merges
    learned = bpe.ours(text, 268)
    assert [*learned.merges] == merges
    assert bpe.recount(bpe.before_last_merge(text, learned), range(267, 268)) == merges[-1:]


def test_the_floor_of_generation_by_hand():
    config = GPTConfig(vocab_size=10, context_length=3, n_layers=2, n_heads=1, d_model=4)
    weights = sum(p.numel() for name, p in GPT(config).named_parameters() if p.ndim == 2 and "position" not in name)
    kept = 2 * 2 * 3 * 4  # keys and values of 2 layers, 3 tokens, 4 wide
    slow_memory = {"bytes_per_second": 1.0, "float32_flops": 1e9}
    assert scaling.writing_floor(config, 1, slow_memory) == 4 * (weights + kept)
    assert scaling.writing_floor(config, 8, slow_memory) == 4 * (weights / 8 + kept)
    slow_sums = {"bytes_per_second": 1e9, "float32_flops": 1.0}
    assert scaling.writing_floor(config, 8, slow_sums) == 2 * (weights + kept)


def test_an_older_build_must_be_a_commit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for arguments in ([], ["no-such-commit"], ["HEAD", "HEAD"]):
        monkeypatch.setattr(before.sys, "argv", ["before", *arguments])
        assert before.main() == 2 and "which commit?" in capsys.readouterr().err
