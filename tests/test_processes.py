"""Several processes train one model: the numbers of one process, and nothing lost when one dies or all are stopped.

Real processes, started as a user starts them, with torchrun, connected by gloo.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from minigpt.config import InputError, TrainConfig
from minigpt.training.metrics import read_metrics
from minigpt.weights import checkpoint

TEXT = "the cat sat on the mat, and the dog sat on the log. " * 60
FLAGS = [
    *("--preset", "tiny", "--data", "text.txt", "--tokenizer", "char", "--context-length", "16", "--d-model", "16"),
    *("--dropout", "0", "--batch-size", "8", "--warmup-steps", "5", "--threads", "1", "--precision", "float32"),
    *("--device", "cpu"),
]


@pytest.fixture(autouse=True)
def a_text_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)


def torchrun(processes: int) -> list[str]:
    local = ("--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}")
    return [sys.executable, "-m", "torch.distributed.run", *local]


def command(processes: int, *flags: str) -> list[str]:
    python = torchrun(processes) if processes > 1 else [sys.executable]
    return [*python, "-m", "minigpt", "train", *FLAGS, *flags]


def train(processes: int, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(processes, *flags), capture_output=True, text=True, timeout=120)


def wait_for_steps(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    metrics = out / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= count):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def test_one_and_two_processes_finetune_the_same_model() -> None:
    """As a user types it; the adapter alone is written once, by the first process."""
    words = ("cat", "dog", "mat", "log")
    lines = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a in words for b in words[:2]]
    Path("chats.jsonl").write_text("\n".join(json.dumps({"messages": messages}) for messages in lines))
    assert train(1, "--max-steps", "2", "--out", "base").returncode == 0
    flags = ["--task", "chats.jsonl", "--model", "base", "--lora", "2", "--max-steps", "6", "--batch-size", "4"]
    flags += ["--threads", "1", "--precision", "float32", "--device", "cpu"]
    for processes in (1, 2):
        python = torchrun(processes) if processes > 1 else [sys.executable]
        run = [*python, "-m", "minigpt", "finetune", *flags, "--out", str(processes)]
        done = subprocess.run(run, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("the adapter alone") == 1 and done.stdout.count("lines to learn from") == 1
    one, two = (torch.tensor(values(out, "loss")) for out in ("1", "2"))
    assert len(two) == 6 and (two - one).abs().max() < 1e-5
    with safe_open("1/adapter.safetensors", "pt") as a, safe_open("2/adapter.safetensors", "pt") as b:
        for name in a.keys():  # noqa: SIM118
            assert torch.allclose(a.get_tensor(name), b.get_tensor(name), atol=1e-4), name


def values(out: str, name: str) -> list[float]:
    return [line[name] for line in read_metrics(Path(out)) if name in line]


def test_one_two_and_four_processes_train_the_same_model() -> None:
    """The same global batches, so the same losses, up to the order in which float32 sums are taken: 1e-5 here."""
    for processes in (1, 2, 4):
        accumulate = str(4 // processes)
        done = train(
            processes, "--max-steps", "12", "--eval-every", "4", "--accumulate", accumulate, "--out", str(processes)
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"{processes} process") == 1, "the first process alone prints"
        assert len(read_metrics(Path(str(processes)))) == 12, "and writes"
    for name in ("loss", "val_loss", "gradient_norm"):
        one, two, four = (torch.tensor(values(out, name)) for out in ("1", "2", "4"))
        assert len(one) == (3 if name == "val_loss" else 12)
        assert (two - one).abs().max() < 1e-5 and (four - one).abs().max() < 1e-5, name
    a, b = (checkpoint.newest_good(Path(out))[0] for out in ("1", "4"))
    for key, tensor in a.model_state.items():
        assert torch.allclose(tensor, b.model_state[key], atol=1e-4), key
    assert (a.run["processes"], b.run["processes"]) == (1, 4)


@pytest.mark.parametrize(("optimizer", "later"), [("adamw", 4), ("muon", 2)])
def test_shards_train_the_same_model_and_go_on_with_another_number_of_processes(optimizer: str, later: int) -> None:
    """Whole in one process, in shards in two, and stopped: then whole in one, and in shards in two or four."""
    flags = ("--optimizer", optimizer, "--eval-every", "4", "--accumulate")
    assert train(1, "--max-steps", "12", *flags, "4", "--out", "whole").returncode == 0
    done = train(2, "--max-steps", "8", *flags, "2", "--shard", "--out", "parts")
    assert done.returncode == 0, done.stderr
    assert "in shards; fused AdamW" in done.stdout
    shutil.copytree("parts", "alone")
    for out, processes, accumulate in (("alone", 1, "4"), ("parts", later, str(4 // later))):
        more = ("--max-steps", "12", "--accumulate", accumulate, "--out", out, "--resume")
        done = train(processes, *more)
        assert done.returncode == 0, done.stderr
        for name in ("loss", "val_loss", "gradient_norm"):
            one, two = (torch.tensor(values(folder, name)) for folder in ("whole", out))
            # The schedule of 8 steps ended at 0, so only the first 4 are the same run.
            assert (one - two)[: 1 if name == "val_loss" else 4].abs().max() < 1e-5, name
    a, b = (checkpoint.newest_good(Path(out))[0] for out in ("alone", "parts"))
    assert a.step == b.step == 12
    for key, tensor in (a.model_state | a.training).items():
        assert torch.allclose(tensor, (b.model_state | b.training)[key], atol=1e-4), key


def test_a_process_keeps_its_share_of_what_training_takes() -> None:
    """16 bytes a parameter (weight, gradient, AdamW's two means), divided by the processes: lesson 12's ledger."""
    Path("held.py").write_text(
        textwrap.dedent("""
        import torch
        from torch.distributed.tensor import DTensor
        from minigpt import runtime
        from minigpt.config import GPTConfig, TrainConfig
        from minigpt.model.gpt import GPT
        from minigpt.training.step import Batch, Stepper

        with runtime.processes(torch.device("cpu")):
            model = GPT(GPTConfig(vocab_size=64, context_length=16, n_layers=4, n_heads=2, d_model=32, bias=False))
            size = sum(parameter.numel() for parameter in model.parameters())
            stepper = Stepper(model, TrainConfig(shard=True, batch_size=4), torch.device("cpu"), "float32")
            ids = torch.zeros(2, 8, dtype=torch.long)
            stepper(Batch(ids, ids, 32), 0)
            stepper.backward(Batch(ids, ids, 32), 1)
            held = [p for p in model.parameters()] + [p.grad for p in model.parameters()]
            for state in stepper.optimizers["adamw"].state.values():
                held += [state["exp_avg"], state["exp_avg_sq"]]
            assert all(isinstance(tensor, DTensor) for tensor in held)
            # In one piece with its line's end: two processes write to the same pipe.
            print(f"held {sum(tensor.to_local().nbytes for tensor in held)} of {16 * size}\\n", end="")
        """)
    )
    done = subprocess.run([*torchrun(2), "held.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("held")]
    assert len(lines) == 2 and all(2 * int(line[1]) == int(line[3]) for line in lines)


def test_a_run_of_two_is_stopped_and_goes_on_alone() -> None:
    """SIGTERM to torchrun, as a cluster sends it: all stop at the same step, with one checkpoint."""
    assert train(1, "--max-steps", "60", "--out", "whole").returncode == 0
    flags = ("--max-steps", "60", "--out", "parts")
    with subprocess.Popen(command(2, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_steps(Path("parts"), 5, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    stopped = checkpoint.newest_good(Path("parts"))[0].step
    assert 5 <= stopped < 60 and f"stopped after step {stopped}" in out, err
    assert len(read_metrics(Path("parts"))) == stopped
    done = train(1, *flags, "--resume")
    assert done.returncode == 0, done.stderr
    whole, parts = (torch.tensor(values(out, "loss")) for out in ("whole", "parts"))
    assert (whole - parts).abs().max() < 1e-4


def test_a_process_that_dies_brings_the_others_down() -> None:
    flags = ("--max-steps", "100000", "--out", "run")
    with subprocess.Popen(command(2, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_steps(Path("run"), 3, process)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(found[-1]), signal.SIGKILL)
        _, err = process.communicate(timeout=60)  # no hang
    assert process.returncode != 0
    assert "lost the others" in err or "Signal 9 (SIGKILL)" in err
    assert "Traceback" not in err.split("torch/distributed")[0]


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    done = train(2, "--max-steps", "2", "--batch-size", "9", "--out", "run")
    assert done.returncode != 0
    assert (
        "batch_size 9 cannot be cut into 2 equal parts (2 processes, accumulate 1): choose a multiple of 2"
        in done.stderr
    )
    with pytest.raises(InputError, match="max_minutes is -1"):
        TrainConfig(max_minutes=-1)


KILLED_AGAIN_AND_AGAIN = textwrap.dedent("""
    import os, random, shutil, signal, sys, time, traceback
    from pathlib import Path
    from minigpt.config import GPTConfig, TrainConfig
    from minigpt.text.data import load_data
    from minigpt.training.trainer import Trainer

    model = GPTConfig(vocab_size=64, context_length=16, n_layers=2, n_heads=2, d_model=16, dropout=0.2)
    recipe = TrainConfig(
        max_steps=80, batch_size=4, optimizer="muon", warmup_steps=5, eval_every=7, save_every=1, threads=1,
        precision="float32",
    )

    def work(out):
        data = load_data("text.txt", 16, "char")
        try:
            if (out / "checkpoints").exists() and any((out / "checkpoints").glob("step-????????")):
                trainer = Trainer.resume(out, data)
            else:  # killed before its first checkpoint
                (out / "metrics.jsonl").unlink(missing_ok=True)
                shutil.rmtree(out / "checkpoints", ignore_errors=True)
                trainer = Trainer(model, recipe, data, out=out)
            trainer.run(progress=False)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def start(out):
        child = os.fork()  # torch is loaded already, so that a start takes no seconds
        if child == 0:
            work(out)
        return child

    assert os.waitstatus_to_exitcode(os.waitpid(start(Path("whole")), 0)[1]) == 0
    dice, kills = random.Random(int(sys.argv[1])), 0
    while True:
        child = start(Path("killed"))
        wait = dice.uniform(0.02, 0.25) if kills < 25 else 1000
        end = time.monotonic() + wait
        done = 0
        while not done and time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, status
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    print(kills)
""")


def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    """A checkpoint is written after every step, so that many of the kills fall into one that is being written."""
    seed = str(random.randrange(10**6))
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AGAIN_AND_AGAIN, seed], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (seed, done.stderr)
    assert int(done.stdout.split()[-1]) >= 20, "the run ended before it was killed often enough: make it longer"
    (whole, _), (killed, _) = (checkpoint.newest_good(tmp_path / name) for name in ("whole", "killed"))
    for name, tensor in (whole.model_state | whole.training).items():
        assert torch.equal(tensor, (killed.model_state | killed.training)[name]), name
    assert whole.run["best"] == killed.run["best"]

    def lasting(name: str) -> list[dict[str, Any]]:
        passing = ("seconds", "tokens_per_second", "memory")
        return [{k: v for k, v in line.items() if k not in passing} for line in read_metrics(tmp_path / name)]

    assert json.dumps(lasting("whole")) == json.dumps(lasting("killed"))
