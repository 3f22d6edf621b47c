"""What depends on the machine: devices, precision, threads."""

import os
import subprocess
import sys
import time
from typing import cast

import pytest
import torch

from minigpt import runtime
from minigpt.config import InputError, Precision
from minigpt.runtime import (
    autocast,
    fastest_threads,
    has_bfloat16_units,
    peak_flops,
    peak_memory,
    pick_device,
    pick_precision,
    processes,
    rank,
    sum_over_processes,
    synchronize,
    world_size,
)

CPU = torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == CPU


# Unknown, empty, malformed, without data, of another vendor, and one that needs a package nobody has.
@pytest.mark.parametrize("name", ["gpu", "", "cpu:-1", "meta", "hpu", "vulkan", "cuda:99"])
def test_a_device_that_is_not_here_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' cannot be used here .*; try auto or cpu") as raised:
        pick_device(name)
    assert "\n" not in str(raised.value)


def test_precision_is_what_was_asked_for_or_what_the_machine_is_fast_at() -> None:
    assert pick_precision("float32", CPU) == "float32"
    assert pick_precision("bfloat16", CPU) == "bfloat16"
    assert pick_precision("auto", CPU) == ("bfloat16" if has_bfloat16_units(CPU) else "float32")


def test_bfloat16_units_are_found_by_their_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    for answers in ((False, False), (True, False), (False, True)):
        for name, answer in zip(names, answers, strict=True):
            monkeypatch.setattr(torch.cpu, name, lambda answer=answer: answer, raising=False)
        assert has_bfloat16_units(CPU) == any(answers)
    for name in names:
        monkeypatch.delattr(torch.cpu, name)
    assert not has_bfloat16_units(CPU), "where torch cannot tell, float32 is the safe answer"


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast_runs_matrix_products_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, cast(Precision, precision)):
        assert layer(torch.ones(2, 4)).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_the_fastest_number_of_threads_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that says how long each number of threads takes."""
    took = {1: 5.0, 2: 3.0, 4: 1.0, 6: 2.0}
    now = 0.0
    tried: list[int] = []

    def work() -> None:
        nonlocal now
        tried.append(torch.get_num_threads())
        now += took[torch.get_num_threads()] + (100 if tried.count(tried[-1]) == 1 else 0)  # a new pool starts slowly

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runtime, "cores", lambda: 6)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    before = torch.get_num_threads()
    assert fastest_threads(work) == 4
    assert sorted(set(tried)) == [1, 2, 4, 6]
    assert torch.get_num_threads() == before
    tried.clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert fastest_threads(work) == 2
    assert set(tried) == {1, 2}


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch system grants some; where the system cannot tell, all of them count."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 5, 7}, raising=False)
    assert runtime.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert runtime.cores() == 12


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        raise RuntimeError("no compiler\nand much more")

    monkeypatch.setattr(torch, "compile", broken)
    assert runtime.compiler_problem(CPU) == "no compiler"
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert runtime.compiler_problem(CPU) is None


def test_waiting_threads_do_not_spin_for_long() -> None:
    """The setting has to be there before torch loads, and the user's own wins."""
    program = "import minigpt.runtime, os; print(os.environ['GOMP_SPINCOUNT'])"
    for given, used in ((None, "10000"), ("7", "7")):
        environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
        seen = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env=environment | ({"GOMP_SPINCOUNT": given} if given else {}),
        )  # fmt: skip
        assert seen.stdout.strip() == used


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has glibc")
def test_freed_memory_is_kept() -> None:
    """The system counts each page that it has to fetch. The settings are glibc's defaults, which it would adapt."""
    program = """if True:
        import resource, torch
        from minigpt.runtime import keep_freed_memory
        def pages():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(10):
                held = [torch.ones(2**18) for _ in range(30)]  # 30 MiB
                del held
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        given_back = pages()
        keep_freed_memory()
        pages()
        print(given_back, pages())
    """
    settings = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
    seen = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | settings
    )
    given_back, kept = map(int, seen.stdout.split())
    assert given_back > 5000 and kept < 500


def test_synchronize_has_nothing_to_wait_for_on_a_cpu() -> None:
    synchronize(CPU)


def test_auto_takes_float16_on_a_gpu_without_bfloat16_units(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, precision in (((7, 5), "float16"), ((8, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, answer=capability: answer)
        assert pick_precision("auto", torch.device("cuda")) == precision


def test_the_peak_of_a_device_is_known_or_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense bfloat16 figures of NVIDIA's data sheets; those for sparse matrices would be twice as large."""
    for name, peak in (
        ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H200", 989e12),
        ("NVIDIA L4", 121e12), ("NVIDIA L40S", 362e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200 NVL", 835e12), ("NVIDIA A10", 125e12), ("NVIDIA A10G", None), ("Tesla V100-PCIE-16GB", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("NVIDIA H200 MIG 1g.18gb", None), ("Some Other GPU", None),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, answer=name: answer)
        assert peak_flops(torch.device("cuda"), "bfloat16") == peak, name
        assert peak_flops(torch.device("cuda"), "float32") is None
    assert peak_flops(CPU, "bfloat16") is None


def test_memory_that_was_used_is_counted() -> None:
    before = peak_memory(CPU)
    assert before is not None and before > 10_000_000
    held = torch.ones(50_000_000)  # 200 MB
    after = peak_memory(CPU)
    assert after is not None and after >= before and after > 4 * held.numel()


def test_alone_a_process_is_the_first_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes(CPU):
        assert (rank(), world_size()) == (0, 1)
        assert sum_over_processes(torch.tensor([1.0, 2.0])).tolist() == [1, 2]


def test_each_process_of_a_machine_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *size, device, dtype: torch.ones(1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert pick_device() == torch.device("cuda:3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # as where each process sees its own GPU only
    assert pick_device() == torch.device("cuda:0")
    assert pick_device("cpu") == CPU


def test_threads_share_items_and_take_one_thread_of_torch_each() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = runtime.in_threads(lambda item: (10 * item, torch.get_num_threads()), range(5))
            assert found == [(0, 1), (10, 1), (20, 1), (30, 1), (40, 1)] and torch.get_num_threads() == threads
        with pytest.raises(ZeroDivisionError):
            runtime.in_threads(lambda item: 1 / item, range(3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("first", ["", "import torch", "gc.disable()"])
def test_what_torch_brings_is_not_searched_for_garbage(first: str) -> None:
    code = f"import gc; {first}\nfrom minigpt import runtime\nprint(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # A program that has begun with torch, or without the collector, keeps what it chose.
    assert done.stdout.split() == [str(first != "gc.disable()"), str(not first)]
