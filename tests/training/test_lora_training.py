"""Training with adapters: the base stays bit for bit, a run goes on as if it had never stopped, its model is merged."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.config import GPTConfig, InputError, TrainConfig
from minigpt.model.gpt import GPT, parameter_count
from minigpt.model.lora import adapter_count, adapter_state, adapters, base_state, merged, training_bytes
from minigpt.training.metrics import read_metrics
from minigpt.training.trainer import Trainer
from minigpt.weights import checkpoint
from minigpt.weights.gpt2_layout import to_gpt2
from tests.training.test_trainer import FakeData, assert_same_run, quiet_run, recipe, shape


def lora(**options: Any) -> TrainConfig:
    return recipe(**{"lora": 3, "lora_alpha": 6.0, "learning_rate": 1e-2} | options)


def start(config: GPTConfig) -> GPT:
    torch.manual_seed(5)
    return GPT(config)


def test_the_adapters_alone_are_trained_and_optimised() -> None:
    model, data = start(shape()), FakeData(constant=True)
    run = Trainer(shape(), lora(max_steps=80, warmup_steps=0), data, start=model)
    losses: list[float] = []
    quiet_run(run, on_step=lambda result: losses.append(result.loss))
    assert losses[-1] < losses[0] - 0.1
    for name, tensor in base_state(run.model).items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    (optimizer,) = run.stepper.optimizers.values()
    states = [t for values in optimizer.state.values() for name, t in values.items() if name != "step"]
    n = adapter_count(shape(), 3)
    assert sum(t.numel() for t in states) == 2 * n
    run.stepper.optimizers = {}
    run.train_step()  # without an update its gradients stay
    held = [*run.model.parameters(), *(p.grad for p in run.model.parameters() if p.grad is not None), *states]
    assert sum(t.nbytes for t in held) == training_bytes(shape(), 3)
    whole = parameter_count(shape()) + n
    expected = f"adapters on 8 matrices (qkv, output, up, down), {n:,} of {whole:,} parameters trained"
    assert expected in run.choices() and "adapters" not in Trainer(shape(), recipe(), data).choices()


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"dropout": 0.3}, {}),
        ({"dropout": 0.3, "tie_embeddings": False}, {"optimizer": "muon", "eval_every": 3, "lora_on": ("qkv", "head")}),
        ({"bias": False}, {"lora_on": ("head", "down"), "precision": "bfloat16", "accumulate": 4, "grad_clip": 0.1}),
    ],
)
def test_a_resumed_run_is_bit_for_bit_the_one_that_never_stopped(
    tmp_path: Path, model: dict[str, Any], train: dict[str, Any]
) -> None:
    config, base = lora(**train), start(shape(**model))
    quiet_run(Trainer(shape(**model), config, FakeData(), out=tmp_path / "whole", start=base))
    quiet_run(Trainer(shape(**model), config, FakeData(), out=tmp_path / "parts", start=base), until=4)
    for until in (7, 10):
        torch.manual_seed(99)
        assert quiet_run(Trainer.resume(tmp_path / "parts", FakeData()), until)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole")]
    plain = Trainer(shape(**model), recipe(**{n: v for n, v in train.items() if n != "lora_on"}), FakeData())
    assert losses[0] != plain.train_step().loss, "it began with the weights it was given"


@pytest.mark.parametrize("on", [(), ("head", "qkv")])
def test_the_checkpoint_gives_a_plain_model_to_use_and_one_with_adapters_to_go_on(tmp_path: Path, on: Any) -> None:
    run = Trainer(shape(), lora(lora_on=on), FakeData(), out=tmp_path, start=start(shape()))
    quiet_run(run)
    saved, _ = checkpoint.newest_good(tmp_path)
    used, unmerged = checkpoint.build_model(saved), checkpoint.build_model(saved, merge=False)
    ids = torch.tensor([[1, 2, 3]])
    assert not adapters(used) and torch.equal(used(ids), merged(run.model).eval()(ids))
    assert adapters(unmerged) == adapters(run.model) and torch.equal(unmerged(ids), run.model.eval()(ids))
    assert used.config.tie_embeddings == (on == ()) and unmerged.config == run.model.config
    head: Any = unmerged.output_head
    assert (head.base if on else head).weight is unmerged.token_embedding.weight
    exported = to_gpt2(unmerged)  # an export of either is the same
    assert exported.keys() == (plain := to_gpt2(used)).keys()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in exported.items())
    checkpoint.save(tmp_path / "copy", run.model, run.data.tokenizer)  # and so is a copy without the run
    again, _ = checkpoint.load_model(str(tmp_path / "copy"))
    assert again.config == used.config and torch.equal(again(ids), used(ids))
    second = Trainer(used.config, lora(), FakeData(), start=run.model)  # a second round begins with what was learned
    assert torch.equal(second.model.eval()(ids), used(ids))


def test_two_threads_learn_what_one_does() -> None:
    found = []
    for threads in (1, 2):
        run = Trainer(shape(), lora(threads=threads), FakeData(), start=start(shape()))
        losses = [run.train_step().loss for _ in range(10)]
        found.append((losses, adapter_state(run.model)))
        assert run.stepper.sharing_threads == threads
    torch.set_num_threads(1)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-5)


def test_the_first_loss_is_that_of_the_model_it_starts_from() -> None:
    model = start(shape())
    one, two = (Trainer(shape(), config, FakeData(), start=model) for config in (lora(), recipe()))
    assert one.train_step().loss == two.train_step().loss


@pytest.mark.parametrize("changed", [{"lora": 2}, {"lora_alpha": 7.0}, {"lora_on": ("qkv",)}, {"lora": None}])
def test_other_adapters_are_refused_on_resume(tmp_path: Path, changed: dict[str, Any]) -> None:
    quiet_run(Trainer(shape(), lora(), FakeData(), out=tmp_path), until=2)
    (name,) = changed
    with pytest.raises(InputError, match=f"another set of adapters .*{name} was .*leave those flags out"):
        Trainer.resume(tmp_path, FakeData(), config=lora(**changed))
    assert quiet_run(Trainer.resume(tmp_path, FakeData(), config=lora()))


def test_a_rank_above_a_width_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rank 17 on blocks.0.attention.qkv"):
        Trainer(shape(), lora(lora=17), FakeData(), out=tmp_path / "run")
    with pytest.raises(InputError, match="'gate' would land on nothing"):
        Trainer(shape(), lora(lora_on=("gate",)), FakeData(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["x", -1, 0.5, [1], 10**9])
def test_a_checkpoint_whose_config_makes_no_adapters_is_refused(tmp_path: Path, value: Any) -> None:
    quiet_run(Trainer(shape(), lora(), FakeData(), out=tmp_path), until=1)
    saved, _ = checkpoint.newest_good(tmp_path)
    saved.run["train"]["lora"] = value
    with pytest.raises(InputError):
        checkpoint.build_model(saved)


TWO = """
import sys
from pathlib import Path
import torch
from minigpt import runtime
from minigpt.training.trainer import Trainer
from tests.training.test_lora_training import lora, start
from tests.training.test_trainer import FakeData, shape
with runtime.processes(torch.device("cpu")):
    shard = sys.argv[2] == "shard"
    run = Trainer(shape(), lora(shard=shard), FakeData(), out=Path(sys.argv[1]), start=start(shape()))
    run.run(until=5, progress=False)
    Trainer.resume(Path(sys.argv[1]), FakeData()).run(progress=False)
"""


@pytest.mark.parametrize("how", ["copies", "shard"])
def test_two_processes_train_the_same_adapters(tmp_path: Path, how: str) -> None:
    quiet_run(Trainer(shape(), lora(), FakeData(), out=tmp_path / "one", start=start(shape())))
    (tmp_path / "two.py").write_text(TWO)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2")
    done = subprocess.run(
        [sys.executable, *torchrun, str(tmp_path / "two.py"), str(tmp_path / "two"), how],
        capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = (torch.tensor([line["loss"] for line in read_metrics(tmp_path / name)]) for name in ("one", "two"))
    assert len(two) == 10 and (one - two).abs().max() < 1e-5
    a, b = (checkpoint.build_model(checkpoint.newest_good(tmp_path / n)[0], merge=False) for n in ("one", "two"))
    for name, tensor in adapter_state(a).items():
        assert torch.allclose(tensor, adapter_state(b)[name], atol=1e-4), name
    for name, tensor in base_state(a).items():
        assert torch.equal(tensor, base_state(b)[name]), name


def test_the_config_says_what_is_wrong_with_adapters_and_survives_json() -> None:
    wrong = {"lora": -1, "lora_alpha": 0.0, "lora_on": ("c_attn",)}
    with pytest.raises(InputError, match="lora is -1") as error:
        TrainConfig(**wrong)  # type: ignore[arg-type]
    assert "lora_alpha is 0.0" in str(error.value) and "lora_on names 'c_attn'; choose from qkv" in str(error.value)
    with pytest.raises(InputError, match="lora_on is qkv, without lora: adapters need a rank"):
        TrainConfig(lora_on=("qkv",))
    config = lora(lora_on=("qkv", "down"))
    assert TrainConfig(**json.loads(json.dumps(config.__dict__))) == config
