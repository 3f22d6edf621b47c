"""The training loop: the right gradient, a run that goes on bit for bit after any stop, and nothing lost on the way."""

import errno
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt import runtime
from minigpt.cli import main
from minigpt.config import IGNORE, GPTConfig, InputError, TrainConfig
from minigpt.evaluation.loss import mean_loss
from minigpt.model.classifier import with_labels
from minigpt.model.gpt import GPT
from minigpt.text.data import load_data
from minigpt.text.tokenizer import CharTokenizer, Tokenizer
from minigpt.training import trainer
from minigpt.training.metrics import StepResult, read_metrics
from minigpt.training.optim import learning_rate_at
from minigpt.training.state import optimizer_state
from minigpt.training.step import Stepper
from minigpt.training.trainer import Trainer
from minigpt.weights import checkpoint

VOCABULARY = 12


class FakeData:
    """Random tokens, in rows of uneven length like stories; remembers which batches were asked for."""

    def __init__(self, constant: bool = False, name: str = "fake") -> None:
        self.spec: dict[str, Any] = {"name": name}
        self.tokenizer: Tokenizer = CharTokenizer("abcdefghijkl")
        self.constant = constant
        self.steps: list[int] = []

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        self.steps.append(step)
        generator = torch.Generator().manual_seed(1000 * seed + (0 if self.constant else step))
        rows = torch.randint(VOCABULARY, (batch_size, 9), generator=generator)
        targets = rows[:, 1:].clone()
        for i in range(batch_size):  # 8 tokens, 3 tokens, 1 token, 8 tokens, …
            targets[i, (8, 3, 1)[i % 3] :] = IGNORE
        return rows[:, :-1], targets

    def batches(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(7)
        rows = torch.randint(VOCABULARY, (4, 9), generator=generator)
        yield rows[:, :-1], rows[:, 1:]

    def text_bytes(self, split: str) -> int:
        return 32


def shape(**options: Any) -> GPTConfig:
    return GPTConfig(
        **{"vocab_size": VOCABULARY, "context_length": 8, "n_layers": 2, "n_heads": 2, "d_model": 16} | options
    )


def recipe(**options: Any) -> TrainConfig:
    fields: dict[str, Any] = {"max_steps": 10, "batch_size": 8, "warmup_steps": 2, "threads": 1, "precision": "float32"}
    return TrainConfig(**fields | options)


def quiet_run(run: Trainer, until: int | None = None, on_step: Callable[[StepResult], None] | None = None) -> bool:
    return run.run(until, on_step, progress=False)


# One step.


def test_the_first_loss_is_that_of_an_even_guess() -> None:
    assert Trainer(shape(), recipe(), FakeData()).train_step().loss == pytest.approx(math.log(VOCABULARY), abs=0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_learns_one_batch_by_heart(optimizer: Any) -> None:
    config = recipe(max_steps=120, optimizer=optimizer, learning_rate=1e-2, weight_decay=0.0)
    run = Trainer(shape(d_model=32), config, FakeData(constant=True))
    losses: list[float] = []
    quiet_run(run, on_step=lambda result: losses.append(result.loss))
    # Only the first token of a row is a guess without anything before it, and the rows begin differently.
    assert losses[0] > 2 and losses[-1] < 0.1


def test_training_begins_with_the_weights_that_it_is_given_and_leaves_them_alone() -> None:
    first = Trainer(shape(), recipe(max_steps=5), FakeData())
    quiet_run(first)
    before = {name: weight.clone() for name, weight in first.model.state_dict().items()}
    second = Trainer(shape(), recipe(seed=9), FakeData(), start=first.model)
    assert all(torch.equal(weight, before[name]) for name, weight in second.model.state_dict().items())
    quiet_run(second)
    assert all(torch.equal(weight, before[name]) for name, weight in first.model.state_dict().items())
    assert not torch.equal(second.model.output_head.weight, before["output_head.weight"])


def test_weights_of_another_shape_are_no_beginning() -> None:
    with pytest.raises(InputError, match=r"another shape \(n_layers 3, not 2\)"):
        Trainer(shape(), recipe(), FakeData(), start=Trainer(shape(n_layers=3), recipe(), FakeData()).model)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_needs_no_gradient_stays_as_it_is(optimizer: Any) -> None:
    run = Trainer(shape(), recipe(optimizer=optimizer), FakeData())
    run.model.requires_grad_(False)
    run.model.blocks[1].requires_grad_(True)
    run.stepper = Stepper(run.model, run.config, run.device, run.precision)
    before = {name: weight.clone() for name, weight in run.model.named_parameters()}
    quiet_run(run)
    changed = {name for name, weight in run.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if name.startswith("blocks.1.")}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("trained", "parts"), [("last", ("blocks.1.", "final_norm.", "output_head.")), ("head", ("output_head.",))]
)
def test_only_the_chosen_part_learns_and_a_resumed_run_obeys(
    tmp_path: Path, trained: Any, parts: tuple[str, ...], optimizer: Any
) -> None:
    config = recipe(trained=trained, optimizer=optimizer)
    run = Trainer(shape(tie_embeddings=False), config, FakeData(), out=tmp_path)
    before = {name: weight.clone() for name, weight in run.model.named_parameters()}
    quiet_run(run, until=2)
    resumed = Trainer.resume(tmp_path, FakeData())
    quiet_run(resumed)
    changed = {name for name, weight in resumed.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if name.startswith(parts)}
    learned = {name for name, weight in resumed.model.named_parameters() if weight.requires_grad}
    assert learned == changed
    with pytest.raises(InputError, match=f"another optimizer .trained was {trained}, now all."):
        Trainer.resume(tmp_path, FakeData(), config=recipe(optimizer=optimizer))


class FakeLabels(FakeData):
    """The same rows, with one label of two at the last real token of each."""

    def __init__(self) -> None:
        super().__init__(name="labels")
        self.spec["labels"] = ["even", "odd"]

    def _label(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        inputs, targets = batch
        last = (targets != IGNORE).sum(1) - 1
        labels = torch.full_like(targets, IGNORE)
        rows = torch.arange(len(inputs))
        labels[rows, last] = inputs[rows, last] % 2
        return inputs, labels

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        return self._label(super().batch_at(step, batch_size, seed))

    def batches(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self._label, super().batches(split, batch_size))


@pytest.mark.parametrize(
    "train", [{}, {"trained": "last", "precision": "bfloat16"}, {"lora": 2, "lora_on": ("qkv", "up")}]
)
def test_a_classifier_is_trained_and_resumed_like_any_model(tmp_path: Path, train: dict[str, Any]) -> None:
    torch.manual_seed(0)
    start = with_labels(GPT(shape(dropout=0.1)), 2)
    config = recipe(max_steps=60, learning_rate=1e-2, **train)
    whole = Trainer(start.config, config, FakeLabels(), out=tmp_path / "whole", start=start)
    quiet_run(whole)
    assert not torch.equal(whole.model.output_head.weight, start.output_head.weight)
    first = Trainer(start.config, config, FakeLabels(), out=tmp_path / "parts", start=start)
    quiet_run(first, until=25)
    quiet_run(Trainer.resume(tmp_path / "parts", FakeLabels()))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole")]
    assert losses[0] == pytest.approx(math.log(2), abs=0.05)
    if not train:  # the others have only what stands unlearned in the blocks
        assert sum(losses[-5:]) / 5 < 0.5


def test_labels_and_tokens_are_not_taken_for_each_other() -> None:
    model = with_labels(GPT(shape()), 3)
    for config, data in ((model.config, FakeData()), (model.config, FakeLabels()), (shape(), FakeLabels())):
        problem = f"n_labels {config.n_labels}, and {data.spec['name']} has {len(data.spec.get('labels', []))} labels"
        with pytest.raises(InputError, match=problem):
            Trainer(config, recipe(), data)
        with pytest.raises(InputError, match=problem):
            mean_loss(GPT(config), data, "val")
    with pytest.raises(InputError, match="trained is 'head' with adapters .lora."):
        recipe(trained="head", lora=2)


@pytest.mark.parametrize("accumulate", [1, 2, 4, 8])
def test_parts_of_a_batch_add_up_to_its_gradient(accumulate: int) -> None:
    """In float64, against torch's mean over all targets of the whole batch; the parts hold uneven numbers of them."""
    run = Trainer(shape(), recipe(accumulate=accumulate, grad_clip=0.0), FakeData())
    run.model.double()
    run.stepper.optimizers = {}  # no update: the gradient stays
    inputs, targets = FakeData().batch_at(0, 8)
    loss = F.cross_entropy(run.model(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    parameters = dict(run.model.named_parameters())
    expected = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    result = run.train_step()
    assert result.loss == pytest.approx(loss.item(), abs=1e-6)
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        assert (parameter.grad - expected[name]).abs().max() < 1e-12, name
    norm = math.sqrt(sum(g.square().sum().item() for g in expected.values()))
    assert result.gradient_norm == pytest.approx(norm, rel=1e-12)


def test_a_mean_of_means_would_be_another_gradient() -> None:
    """So that the test above can fail: the uneven parts matter."""
    model = Trainer(shape(), recipe(), FakeData()).model.double()
    inputs, targets = FakeData().batch_at(0, 8)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=IGNORE)

    means = torch.stack([loss(x, y) for x, y in zip(inputs.chunk(4), targets.chunk(4), strict=True)]).mean()
    weight = model.token_embedding.weight
    (a,), (b,) = torch.autograd.grad(means, weight), torch.autograd.grad(loss(inputs, targets), weight)
    assert (a - b).abs().max() > 1e-4


@pytest.mark.parametrize("limit", [0.01, 100.0, 0.0])
def test_long_gradients_are_scaled_down(limit: float) -> None:
    run = Trainer(shape(), recipe(grad_clip=limit), FakeData())
    run.stepper.optimizers = {}
    result = run.train_step()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in run.model.parameters() if p.grad is not None))
    assert 0.01 < result.gradient_norm < 100
    assert norm == pytest.approx(limit if limit == 0.01 else result.gradient_norm, rel=1e-3)


def test_every_step_gets_its_batch_and_its_learning_rate() -> None:
    data, config = FakeData(), recipe(min_learning_rate=0.1)
    results: list[StepResult] = []
    run = Trainer(shape(), config, data)
    assert quiet_run(run, until=6, on_step=results.append)
    assert data.steps == [0, 1, 2, 3, 4, 5, 6], "the next batch is made while a step computes"
    assert [r.step for r in results] == [1, 2, 3, 4, 5, 6]
    assert [r.learning_rate for r in results] == [learning_rate_at(step, config) for step in range(6)]
    assert run.stepper.optimizers["adamw"].param_groups[0]["lr"] == config.learning_rate * results[-1].learning_rate
    seconds = [r.seconds for r in results]
    assert seconds == sorted(seconds) and all(r.tokens_per_second > 0 for r in results)


def test_the_seed_makes_the_run() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(int(time.time()))  # what was drawn before does not matter
        run = Trainer(shape(dropout=0.2), recipe(seed=seed, max_steps=2), FakeData())
        torch.rand(3)
        run = Trainer(shape(dropout=0.2), recipe(seed=seed, max_steps=2), FakeData())
        quiet_run(run)
        return run.model.token_embedding.weight.detach()

    assert torch.equal(weights(3), weights(3)) and not torch.equal(weights(3), weights(4))


def test_measuring_does_not_disturb_training(tmp_path: Path) -> None:
    runs = []
    for name, every in (("plain", 0), ("measured", 1)):
        run = Trainer(shape(dropout=0.2), recipe(eval_every=every, max_steps=4), FakeData(), out=tmp_path / name)
        quiet_run(run)
        runs.append(run)
    for a, b in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert ["val_loss" in line for line in read_metrics(tmp_path / "plain")] == [False, False, False, True]
    lines = read_metrics(tmp_path / "measured")
    assert all("val_loss" in line for line in lines)
    assert lines[-1]["val_loss"] == mean_loss(runs[1].model, FakeData(), "val")


# Stop and go on.


def assert_same_run(a: Path, b: Path) -> None:
    """Two runs ended in the same place, bit for bit, along the same way."""
    (one, _), (two, _) = checkpoint.newest_good(a), checkpoint.newest_good(b)
    assert one.step == two.step
    assert one.model_state.keys() == two.model_state.keys() and one.training.keys() == two.training.keys()
    for name, tensor in one.model_state.items():
        assert torch.equal(tensor, two.model_state[name]), name
    for name, tensor in one.training.items():
        assert torch.equal(tensor, two.training[name]), name
    assert one.run["best"] == two.run["best"] and one.run["loss_scale"] == two.run["loss_scale"]
    timing = ("seconds", "tokens_per_second", "memory")
    lines_a, lines_b = read_metrics(a), read_metrics(b)
    assert [line["step"] for line in lines_b] == list(range(1, one.step + 1)), "a line a step"
    for line_a, line_b in zip(lines_a, lines_b, strict=True):
        assert {k: v for k, v in line_a.items() if k not in timing} == {
            k: v for k, v in line_b.items() if k not in timing
        }


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"dropout": 0.3}, {}),
        ({"dropout": 0.3, "tie_embeddings": False}, {"optimizer": "muon", "eval_every": 3}),
        ({"bias": False}, {"precision": "bfloat16", "accumulate": 4, "grad_clip": 0.1}),
    ],
)
def test_a_resumed_run_is_bit_for_bit_the_one_that_never_stopped(
    tmp_path: Path, model: dict[str, Any], train: dict[str, Any]
) -> None:
    config = recipe(**train)
    quiet_run(Trainer(shape(**model), config, FakeData(), out=tmp_path / "whole"))
    first = FakeData()
    quiet_run(Trainer(shape(**model), config, first, out=tmp_path / "parts"), until=4)
    for until in (7, 10):  # stops twice
        torch.manual_seed(99)  # whatever happens in between
        again = FakeData()
        assert quiet_run(Trainer.resume(tmp_path / "parts", again), until)
        assert again.steps[:3] == list(range(until - 3, until))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_run_that_broke_off_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """It had done steps that no checkpoint holds, and its last line of metrics was cut off."""
    config = recipe(save_every=3)
    quiet_run(Trainer(shape(dropout=0.3), config, FakeData(), out=tmp_path / "whole"))

    def break_off(result: StepResult) -> None:
        if result.step == 8:
            raise MemoryError

    with pytest.raises(MemoryError):
        quiet_run(Trainer(shape(dropout=0.3), config, FakeData(), out=tmp_path / "broken"), on_step=break_off)
    metrics = tmp_path / "broken" / "metrics.jsonl"
    assert len(read_metrics(tmp_path / "broken")) == 8
    for cut_off in ("", '{"step": 9, "lo', '{"step": 9, "loss": 1.5}'):
        with metrics.open("a") as file:
            file.write(cut_off)
        run = Trainer.resume(tmp_path / "broken", FakeData())
        assert run.step == 6
        assert [line["step"] for line in read_metrics(tmp_path / "broken")] == [1, 2, 3, 4, 5, 6]
    quiet_run(run)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = recipe(save_every=4)
    quiet_run(Trainer(shape(), config, FakeData(), out=tmp_path / "whole"))
    quiet_run(Trainer(shape(), config, FakeData(), out=tmp_path / "damaged"))
    for step, name in ((10, "training.safetensors"), (8, "model.safetensors")):
        path = checkpoint.checkpoint_folder(tmp_path / "damaged", step) / name
        path.write_bytes(path.read_bytes()[:-7])
        if step == 10:
            run = Trainer.resume(tmp_path / "damaged", FakeData())
            told = "".join(capsys.readouterr())
            assert "step-00000010" in told and "training.safetensors is truncated" in told
            assert run.step == 8 and len(read_metrics(tmp_path / "damaged")) == 8
            quiet_run(run)
            assert_same_run(tmp_path / "whole", tmp_path / "damaged")
            path = checkpoint.checkpoint_folder(tmp_path / "damaged", 10) / name
            path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint that can be used(.|\n)*step-00000010(.|\n)*step-00000008"):
        Trainer.resume(tmp_path / "damaged", FakeData())


def test_seconds_are_counted_across_resumes(tmp_path: Path) -> None:
    quiet_run(Trainer(shape(), recipe(), FakeData(), out=tmp_path), until=3)
    spent = read_metrics(tmp_path)[-1]["seconds"]
    run = Trainer.resume(tmp_path, FakeData())
    assert run.seconds == spent
    quiet_run(run)
    seconds = [line["seconds"] for line in read_metrics(tmp_path)]
    assert seconds == sorted(seconds) and seconds[3] > spent


def test_threads_and_precision_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "fastest_threads", lambda work: (work(), 1)[1])
    monkeypatch.setattr(runtime, "has_bfloat16_units", lambda device: True)
    run = Trainer(shape(), recipe(threads=0, precision="auto"), FakeData(), out=tmp_path)
    assert (run.threads, run.precision) == (1, "bfloat16")
    assert all(p.grad is None for p in run.model.parameters()), "the trial leaves nothing behind"
    quiet_run(run, until=3)
    monkeypatch.setattr(runtime, "fastest_threads", lambda work: pytest.fail("the number is known"))
    monkeypatch.setattr(runtime, "has_bfloat16_units", lambda device: False)
    for _ in range(2):  # and still after another stop
        again = Trainer.resume(tmp_path, FakeData())
        assert (again.threads, again.precision) == (1, "bfloat16")
        assert torch.get_num_threads() == 1
        quiet_run(again, until=again.step + 2)
    asked = Trainer.resume(tmp_path, FakeData(), config=recipe(threads=2, precision="float32"))
    assert (asked.threads, asked.precision, torch.get_num_threads()) == (2, "float32", 2)
    torch.set_num_threads(1)


def test_the_trial_of_threads_does_not_change_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for threads in (0, 1):
        monkeypatch.setattr(runtime, "fastest_threads", lambda work: [work() for _ in range(3)] and 1)
        run = Trainer(shape(dropout=0.3), recipe(threads=threads, max_steps=2), FakeData())
        quiet_run(run)
        weights.append(run.model.token_embedding.weight.detach())
    assert torch.equal(*weights)


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    quiet_run(Trainer(shape(), recipe(), FakeData(), out=tmp_path))
    run = Trainer.resume(tmp_path, FakeData(), config=recipe(max_steps=13))
    assert quiet_run(run) and run.step == 13
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, 14))
    assert Trainer.resume(tmp_path, FakeData()).config.max_steps == 13


def test_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    quiet_run(Trainer(shape(), recipe(save_every=3), FakeData(), out=tmp_path))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000009", "step-00000010"]


def test_the_checkpoint_with_the_best_validation_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 1.0, 2.0, 4.0, 1.5])
    monkeypatch.setattr(trainer, "mean_loss", lambda *args, **options: next(losses))
    quiet_run(Trainer(shape(), recipe(eval_every=2, save_every=2), FakeData(), out=tmp_path))
    assert sorted(p.name[-2:] for p in (tmp_path / "checkpoints").iterdir()) == ["04", "08", "10"]
    assert checkpoint.newest_good(tmp_path)[0].run["best"] == {"step": 4, "val_loss": 1.0}


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Trainer(shape(), recipe(max_steps=2, save_every=1), FakeData())
    assert quiet_run(run)
    run.save()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_has_the_model_that_was_trained(tmp_path: Path) -> None:
    run = Trainer(shape(), recipe(max_steps=3), FakeData(), out=tmp_path)
    quiet_run(run)
    model, tokenizer = checkpoint.load_model(str(tmp_path))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(model(ids), run.model.eval()(ids))
    assert tokenizer.contents() == FakeData().tokenizer.contents()


# Ctrl-C.


def interrupt_at(step: int, times: int = 1) -> Callable[[StepResult], None]:
    def on_step(result: StepResult) -> None:
        if result.step == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return on_step


@pytest.mark.parametrize("step", [3, 4, 10])  # between checkpoints, with one, and at the end
def test_ctrl_c_ends_the_step_and_keeps_it(tmp_path: Path, step: int) -> None:
    handler = signal.getsignal(signal.SIGINT)
    config = recipe(save_every=4)
    quiet_run(Trainer(shape(dropout=0.3), config, FakeData(), out=tmp_path / "whole"))
    run = Trainer(shape(dropout=0.3), config, FakeData(), out=tmp_path / "stopped")
    assert quiet_run(run, on_step=interrupt_at(step)) == (step == 10)
    assert run.step == step and checkpoint.newest_good(tmp_path / "stopped")[0].step == step
    assert signal.getsignal(signal.SIGINT) is handler
    if step < 10:
        assert quiet_run(run), "and the same trainer goes on, as in a notebook"
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("how", ["SIGTERM", "max_minutes"])
def test_a_polite_kill_and_a_time_limit_leave_a_checkpoint(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(eval_every=4, max_minutes=60)
    quiet_run(Trainer(shape(dropout=0.3), config, FakeData(), out=tmp_path / "whole"))
    handler = signal.getsignal(signal.SIGTERM)
    run = Trainer(shape(dropout=0.3), config, FakeData(), out=tmp_path / "stopped")

    def stop(result: StepResult) -> None:
        if result.step == 5 and how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        elif result.step == 5:
            monkeypatch.setattr(time, "monotonic", lambda: math.inf)

    assert not quiet_run(run, on_step=stop)
    assert run.step == 5 and checkpoint.newest_good(tmp_path / "stopped")[0].step == 5
    assert signal.getsignal(signal.SIGTERM) is handler
    monkeypatch.undo()
    quiet_run(Trainer.resume(tmp_path / "stopped", FakeData()))
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_time_limit_counts_from_the_start(tmp_path: Path) -> None:
    run = Trainer(shape(), recipe(max_steps=10**6, max_minutes=0.01), FakeData(), out=tmp_path)
    assert not quiet_run(run)
    assert 0 < run.step < 10**6 and checkpoint.newest_good(tmp_path)[0].step == run.step


def test_ctrl_c_twice_stops_at_once(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    run = Trainer(shape(), recipe(save_every=2), FakeData(), out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        quiet_run(run, on_step=interrupt_at(3, times=2))
    assert checkpoint.newest_good(tmp_path)[0].step == 2
    assert signal.getsignal(signal.SIGINT) is handler


# Refusals.


def test_a_tokenizer_larger_than_the_model_is_refused() -> None:
    with pytest.raises(
        InputError, match="the tokenizer has 12 tokens, but the model's vocab_size is 10: .* set vocab_size to 12"
    ):
        Trainer(shape(vocab_size=10), recipe(), FakeData())


def test_a_folder_that_holds_a_run_is_not_written_to(tmp_path: Path) -> None:
    quiet_run(Trainer(shape(), recipe(), FakeData(), out=tmp_path / "run"), until=2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="already holds a run: add --resume to go on with it, or choose another --out"):
        Trainer(shape(), recipe(), FakeData(), out=tmp_path / "run")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    # Somebody deleted its checkpoints: there is nothing to resume, but its measurements are not overwritten.
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    with pytest.raises(InputError, match="has no checkpoint to go on from or to use: train without --resume"):
        Trainer.resume(tmp_path / "young", FakeData())
    with pytest.raises(InputError, match=r"none of its checkpoints: delete metrics.jsonl there to begin anew"):
        Trainer(shape(), recipe(), FakeData(), out=tmp_path / "young")
    (tmp_path / "young" / "metrics.jsonl").unlink()
    assert quiet_run(Trainer(shape(), recipe(), FakeData(), out=tmp_path / "young"), until=2)


def test_a_run_killed_before_its_first_step_is_done_or_its_first_checkpoint_is_due_goes_on(tmp_path: Path) -> None:
    quiet_run(Trainer(shape(dropout=0.3), recipe(), FakeData(), out=tmp_path / "whole"))

    def killed(result: StepResult) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        quiet_run(Trainer(shape(dropout=0.3), recipe(), FakeData(), out=tmp_path / "killed"), on_step=killed)
    run = Trainer.resume(tmp_path / "killed", FakeData())
    assert run.step == 0
    quiet_run(run)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    # Killed while that first checkpoint was written: nothing is there, and a run begins as in an empty folder.
    half = checkpoint.checkpoint_folder(tmp_path / "half", 0)
    half.with_name(f"{half.name}.unfinished").mkdir(parents=True)
    quiet_run(Trainer(shape(dropout=0.3), recipe(), FakeData(), out=tmp_path / "half"))
    assert_same_run(tmp_path / "whole", tmp_path / "half")


def test_a_damaged_line_of_metrics_is_no_reason_to_stop_and_none_to_delete(tmp_path: Path) -> None:
    quiet_run(Trainer(shape(), recipe(save_every=4), FakeData(), out=tmp_path), until=8)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [b"17\n", lines[1].replace(b"{", b"(", 1), lines[2].replace(b"step", b"st\xe5p"), b'{"step": "4"}\n']
    path.write_bytes(b"".join([*damaged, *lines[4:]]))
    assert quiet_run(Trainer.resume(tmp_path, FakeData()))
    assert path.read_bytes().startswith(b"".join([*damaged, *lines[4:]])), "all of it is still there"
    assert [line["step"] for line in read_metrics(tmp_path)] == [5, 6, 7, 8, 9, 10]


def test_a_place_that_cannot_hold_a_run_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="cannot hold a run .*: choose another --out"):
            Trainer(shape(), recipe(), FakeData(), out=out)


def test_a_run_is_resumed_with_its_own_model_data_and_optimiser(tmp_path: Path) -> None:
    quiet_run(Trainer(shape(), recipe(), FakeData(), out=tmp_path), until=2)
    assert Trainer.resume(tmp_path, FakeData(), shape(), recipe()).step == 2
    with pytest.raises(InputError, match="another model .n_layers was 2, now 3; d_model was 16, now 32.: leave"):
        Trainer.resume(tmp_path, FakeData(), shape(n_layers=3, d_model=32))
    with pytest.raises(InputError, match="another data .name was fake, now other.: bring the old data back"):
        Trainer.resume(tmp_path, FakeData(name="other"))
    with pytest.raises(InputError, match="another optimizer .optimizer was adamw, now muon."):
        Trainer.resume(tmp_path, FakeData(), config=recipe(optimizer="muon"))
    relabelled = FakeData()
    relabelled.tokenizer = CharTokenizer("ABCDEFGHIJKL")
    with pytest.raises(InputError, match="trained with another tokenizer"):
        Trainer.resume(tmp_path, relabelled)


def test_data_that_was_moved_is_still_the_run_s_data(tmp_path: Path) -> None:
    text, moved, other = FakeData(name="here"), FakeData(name="there"), FakeData(name="there")
    for data, sha256 in ((text, "12"), (moved, "12"), (other, "34")):
        data.spec["sha256"] = sha256
    quiet_run(Trainer(shape(), recipe(), text, out=tmp_path), until=2)
    with pytest.raises(InputError, match="another data .*sha256 was 12, now 34"):
        Trainer.resume(tmp_path, other)
    run = Trainer.resume(tmp_path, moved)
    quiet_run(run, until=3)
    assert checkpoint.newest_good(tmp_path)[0].run["data"]["name"] == "there"


def test_a_model_without_its_optimiser_cannot_be_resumed(tmp_path: Path) -> None:
    run = Trainer(shape(), recipe(), FakeData())
    checkpoint.save(checkpoint.checkpoint_folder(tmp_path, 1), run.model, FakeData().tokenizer, step=1)
    with pytest.raises(InputError, match="holds a model to use, not a run to resume"):
        Trainer.resume(tmp_path, FakeData())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_that_diverges_stops_before_it_spoils_a_checkpoint(tmp_path: Path, value: float) -> None:
    run = Trainer(shape(), recipe(max_steps=30, save_every=1), FakeData(), out=tmp_path)

    def spoil(result: StepResult) -> None:
        if result.step == 4:
            with torch.no_grad():
                run.model.final_norm.weight[0] = value

    with pytest.raises(InputError, match="not finite in steps 5 to 14 .batches 4 to 13 of seed 0") as raised:
        quiet_run(run, on_step=spoil)
    assert "smaller learning_rate" in str(raised.value)
    lines = read_metrics(tmp_path)
    assert [line["updated"] for line in lines] == [True] * 4 + [False] * 9
    assert lines[-1]["loss"] is None, "JSON has no NaN"
    # No checkpoint while steps were skipped, so that what was good before is still there: the message says where.
    folders = checkpoint.checkpoint_folders(tmp_path)
    assert [folder.name[-2:] for folder in folders] == ["03", "04"]
    assert "delete its folder, and --resume takes the one before" in str(raised.value)
    shutil.rmtree(folders[-1])
    again = Trainer.resume(tmp_path, FakeData())
    assert again.step == 3 and quiet_run(again, until=6)


def test_a_run_that_ends_while_steps_are_skipped_keeps_the_last_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Trainer(shape(), recipe(max_steps=8, save_every=2), FakeData(), out=tmp_path)

    def spoil(result: StepResult) -> None:
        if result.step == 5:
            with torch.no_grad():
                run.model.final_norm.weight[0] = math.nan

    quiet_run(run, on_step=spoil)
    assert [folder.name[-2:] for folder in checkpoint.checkpoint_folders(tmp_path)] == ["02", "04"]
    assert "no checkpoint of step 8: the last 3 had no finite gradient" in "".join(capsys.readouterr())


def everything(run: Trainer) -> dict[str, Tensor]:
    return {**run.model.state_dict(), **optimizer_state(run.stepper.optimizers)}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_without_a_finite_gradient_changes_nothing(optimizer: Any) -> None:
    """One bad batch, as from a broken sensor: it is passed over, and the run goes on."""
    run = Trainer(shape(), recipe(optimizer=optimizer), FakeData())
    run.train_step()
    before = {name: tensor.clone() for name, tensor in everything(run).items()}
    embedding = run.model.token_embedding
    with torch.no_grad():
        run.model.final_norm.bias[0] = math.inf
        before["final_norm.bias"][0] = math.inf
    assert not run.train_step().updated and run.step == 2 and run.stepper.skipped == 1
    for name, tensor in everything(run).items():
        assert torch.equal(tensor, before[name]), name
    with torch.no_grad():
        run.model.final_norm.bias[0] = 0.0
    assert run.train_step().updated and run.stepper.skipped == 0
    assert not torch.equal(embedding.weight, before["token_embedding.weight"])


def test_float16_scales_the_loss_and_not_the_gradient() -> None:
    """With the scale of float16 the gradient is the same; too large a scale overflows, and is halved until it fits."""
    runs = [Trainer(shape(), recipe(precision=precision), FakeData()) for precision in ("float32", "float16")]
    assert runs[0].stepper.loss_scale == 1 and runs[1].stepper.loss_scale == 2**16
    a, b = (run.train_step() for run in runs)
    assert b.updated and b.loss == pytest.approx(a.loss, rel=1e-3)
    assert b.gradient_norm == pytest.approx(a.gradient_norm, rel=1e-2)
    runs[1].stepper.loss_scale = 2.0**40
    results = [runs[1].train_step() for _ in range(5)]
    assert [r.updated for r in results] == [False] * 5 and runs[1].stepper.loss_scale == 2.0**35
    runs[1].stepper.loss_scale, runs[1].stepper.good_steps = 2.0**10, 1999
    assert runs[1].train_step().updated and runs[1].stepper.loss_scale == 2.0**11


def test_a_full_disk_under_the_metrics_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Trainer(shape(), recipe(save_every=1), FakeData(), out=tmp_path)
    quiet_run(run, until=3)
    original = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode == "a":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(
        InputError, match="metrics.jsonl in .* could not be written .No space left on device.: make room"
    ):
        quiet_run(run)
    monkeypatch.undo()
    resumed = Trainer.resume(tmp_path, FakeData())
    assert resumed.step == 3
    quiet_run(resumed)
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, 11))


# Through the command line, with a real kill.


def test_a_killed_process_goes_on_as_if_nothing_had_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the dog sat on the log. " * 40)
    flags = (
        "--preset tiny --data text.txt --tokenizer char --context-length 16 --d-model 16 --dropout 0.2 --optimizer muon"
    )
    flags += " --max-steps 60 --warmup-steps 5 --save-every 7 --threads 1 --precision float32 --seed 3 --device cpu"
    assert main(["train", *flags.split(), "--out", "whole"]) == 0

    command = [sys.executable, "-m", "minigpt", "train"]
    with subprocess.Popen([*command, *flags.split(), "--out", "killed"], stderr=subprocess.PIPE) as process:
        metrics = tmp_path / "killed" / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 12):
            time.sleep(0.001)
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, process.stderr.read() if process.stderr else ""
    assert 12 <= metrics.read_bytes().count(b"\n") < 60

    again = subprocess.run([*command, "--out", "killed", "--resume", "--device", "cpu"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    went_on = re.search(r"going on with killed: .* step (\d+) of 60", again.stdout)
    assert went_on is not None and int(went_on[1]) in range(7, 60, 7)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    loaded = load_data("text.txt", 16, "char")
    assert loaded.tokenizer.contents() == checkpoint.load_model("killed")[1].contents()


# Settings of the machine.


def test_too_little_memory_on_a_gpu_names_the_accumulation_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    remedies = {
        2: "4 sequences at a time .*--accumulate 4 takes 2 at a time and gives the same",
        8: "1 sequences at a time .*choose a smaller model, batch_size or context_length",
    }
    for accumulate, remedy in remedies.items():
        run = Trainer(shape(), recipe(accumulate=accumulate), FakeData())
        monkeypatch.setattr(run.stepper, "backward", full)
        with pytest.raises(InputError, match=remedy):
            run.train_step()


def test_a_compiled_run_is_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model and loss as one graph, traced by torch's compiler; its translation to C++ is left out."""
    real, graphs = torch.compile, []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    def trace(function: Any) -> Any:
        return real(function, backend=keep, fullgraph=True)

    monkeypatch.setattr(torch, "compile", trace)
    plain, compiled = (Trainer(shape(), recipe(compile=flag), FakeData()) for flag in (False, True))
    graphs.clear()  # of the trial
    for _ in range(3):
        assert plain.train_step().loss == pytest.approx(compiled.train_step().loss, abs=1e-6)
    assert len(graphs) == 1 and "cross_entropy" in graphs[0].code
    assert "; compiled (it pays on a GPU); " in compiled.choices() and "; not compiled; " in plain.choices()


def test_without_a_compiler_the_run_goes_on_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", broken)
    run = Trainer(shape(), recipe(compile=True), FakeData())
    assert run.train_step().updated
    assert "not compiled, because torch.compile does not work here (no C++ compiler);" in run.choices()


def test_a_validation_that_does_not_fit_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> float:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")

    monkeypatch.setattr(trainer, "mean_loss", full)
    run = Trainer(shape(), recipe(eval_every=3), FakeData(), out=tmp_path)
    with pytest.raises(InputError, match="validation after step 3 does not fit .* the step is saved"):
        quiet_run(run)
    assert checkpoint.newest_good(tmp_path)[0].step == 3
    monkeypatch.undo()
    resumed = Trainer.resume(tmp_path, FakeData(), config=recipe(eval_every=0))
    assert quiet_run(resumed) and [line["step"] for line in read_metrics(tmp_path)] == [1, 2, *range(4, 11)]
