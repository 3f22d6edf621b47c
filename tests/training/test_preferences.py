"""Learning from preferences: hand arithmetic, trl's loss, gradients and weights, whole runs, a small reward model."""

import math
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import IGNORE, InputError
from minigpt.model.classifier import with_labels
from minigpt.model.gpt import GPT
from minigpt.text.pairs import Pair, PairData, line_of
from minigpt.text.tokenizer import END_OF_TEXT, CharTokenizer
from minigpt.training.answers import Prompt
from minigpt.training.metrics import StepResult, read_metrics
from minigpt.training.optim import learning_rate_at, make_optimizers, set_learning_rate
from minigpt.training.options import PREFERENCE_METHODS, PreferenceOptions
from minigpt.training.preferences import (
    PreferenceObjective,
    RewardModelData,
    RewardModelObjective,
    Sums,
    bradley_terry,
    margins,
    preference_loss,
    reward_of,
)
from minigpt.training.trainer import Trainer
from tests.training.test_trainer import assert_same_run
from tests.training.toy import END, SHAPE, TOKENIZER, answers, recipe, said, toy


@pytest.fixture
def pairs(tmp_path: Path) -> PairData:
    """More a's are better; of unlike lengths."""
    texts = [TOKENIZER.decode(tokens[:-1]) for tokens in answers(4) if tokens[-1] == END]
    lines = [
        line_of(prompt, better, worse)
        for prompt in ("", "a", "b")
        for better in texts
        for worse in texts
        if better.count("a") > worse.count("a") and len(better) != len(worse)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    return PairData(tmp_path / "pairs.jsonl", TOKENIZER, SHAPE.context_length)


def a_run(pairs: PairData, out: Path | None = None, method: str = "dpo", **changed: Any) -> Trainer:
    config = recipe(**{"batch_size": 8} | changed)
    objective = PreferenceObjective(pairs, toy(), PREFERENCE_METHODS[method])
    return Trainer(SHAPE, config, pairs, out=out, start=toy(), objective=objective)


# By hand.


def test_the_losses_by_hand() -> None:
    numbers = [torch.tensor([value], dtype=torch.float64) for value in (-3.0, -8.0, -4.0, -6.0, 2.0, 4.0)]
    sums = Sums(*numbers)  # against the reference the better answer has won 1 nat, the worse one lost 2
    dpo, ipo, simpo = (replace(PREFERENCE_METHODS[name], beta=0.5) for name in ("dpo", "ipo", "simpo"))
    assert margins(sums, dpo).item() == 1.5 and margins(sums, ipo).item() == 3
    assert margins(sums, simpo).item() == 0.5 * (-1.5 + 2)
    assert preference_loss(sums, dpo).item() == pytest.approx(math.log(1 + math.exp(-1.5)))
    assert preference_loss(sums, ipo).item() == pytest.approx((3 - 1) ** 2)
    assert preference_loss(sums, simpo).item() == pytest.approx(math.log(1 + math.exp(-(0.25 - 0.5))))
    assert bradley_terry(torch.tensor(2.0), torch.tensor(1.0)).item() == pytest.approx(1 / (1 + math.exp(-1)))
    # The loss of DPO is -log of Bradley and Terry's probability of the rewards that the model implies.
    implied = [0.5 * torch.tensor(1.0), 0.5 * torch.tensor(-2.0)]
    assert -bradley_terry(implied[0], implied[1]).log().item() == pytest.approx(preference_loss(sums, dpo).item())


@pytest.mark.parametrize(("method", "first"), [("dpo", math.log(2)), ("ipo", 25.0)])
def test_the_first_loss_is_known_and_nothing_has_won_yet(pairs: PairData, method: str, first: float) -> None:
    result = a_run(pairs, method=method).train_step()
    assert result.loss == pytest.approx(first, abs=1e-4)
    for name in ("margin", "chosen", "rejected"):
        assert result.measures[name] == pytest.approx(0, abs=1e-5)


def test_the_reference_is_every_answers_sum_without_its_prompt(pairs: PairData) -> None:
    objective = PreferenceObjective(pairs, toy(1))
    batch = objective.batch(toy(), 0, recipe(batch_size=5))
    for row, number in enumerate(pairs.pairs_at(0, 5)):
        pair = pairs.train[number]
        for k, answer in enumerate((pair.chosen, pair.rejected)):
            known = said(toy(1), pair.prompt, answer).sum().item()
            assert batch.extra["reference"][2 * row + k].item() == pytest.approx(known, abs=1e-5)
            assert batch.extra["length"][2 * row + k] == len(answer) == (batch.targets[2 * row + k] != IGNORE).sum()


# trl.


class AsTrlWants:
    """A model that answers trl as its patched models do: with the log-probability of each label."""

    def __init__(self, model: GPT) -> None:
        self.model = model

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **how: Any) -> SimpleNamespace:
        logs = self.model(input_ids[:, :-1]).log_softmax(-1)
        following = labels[:, 1:]
        found = logs.gather(2, following.clamp(min=0)[..., None])[..., 0].masked_fill(following == IGNORE, 0.0)
        none = torch.zeros_like(found)
        return SimpleNamespace(log_probs=found, entropy=none, mean_logits=none, is_top1=none.bool())


def trl_loss(model: GPT, reference: GPT, pairs: list[Pair], beta: float, kind: str) -> Tensor:
    from trl import DPOTrainer

    rows = [(p.prompt, p.chosen) for p in pairs] + [(p.prompt, p.rejected) for p in pairs]
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, mask = torch.zeros(2, len(rows), longest, dtype=torch.long)
    for row, (prompt, answer) in enumerate(rows):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        mask[row, len(prompt) : len(prompt) + len(answer)] = 1
    accelerator = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x, device="cpu")
    trainer: Any = SimpleNamespace(
        model=SimpleNamespace(training=True),
        ref_model=AsTrlWants(reference),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, gradient_checkpointing=False),
        accelerator=accelerator,
        beta=beta,
        loss_types=[kind],
        loss_weights=[1.0],
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        label_smoothing=0.0,
        _total_train_tokens=0,
        _tp_size=1,
        _metrics={"train": defaultdict(list)},
    )
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}
    with pytest.MonkeyPatch.context() as patch:
        import trl.trainer.dpo_trainer as module

        patch.setattr(module, "is_peft_model", lambda model: False)
        patch.setattr(module, "disable_gradient_checkpointing", lambda *args: torch.no_grad())
        return DPOTrainer._compute_loss(trainer, AsTrlWants(model), inputs, False)


@pytest.mark.filterwarnings("ignore")  # what trl and its friends say when they are loaded
def test_loss_gradient_and_the_weights_after_ten_steps_are_those_of_trl(pairs: PairData) -> None:
    run, peer = a_run(pairs), toy()
    config = run.config
    optimizers = make_optimizers(peer, config)
    for step in range(10):
        some = [pairs.train[i] for i in pairs.pairs_at(step, config.batch_size, config.seed)]
        set_learning_rate(optimizers, learning_rate_at(step, config))
        loss = trl_loss(peer, toy(), some, 0.1, "sigmoid")
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(peer.parameters(), config.grad_clip)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        ours = run.train_step()
        assert ours.loss == pytest.approx(loss.item(), abs=2e-6)
        assert ours.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    moved = 0.0
    for name, weight in run.model.state_dict().items():
        theirs = peer.state_dict()[name]
        if name.endswith("qkv.bias"):  # a key's bias changes no softmax: its gradient is rounding, made large by AdamW
            weight, theirs = (torch.cat(each.chunk(3)[0::2]) for each in (weight, theirs))
        torch.testing.assert_close(weight, theirs, atol=2e-5, rtol=1e-4)
        moved = max(moved, (run.model.state_dict()[name] - toy().state_dict()[name]).abs().max().item())
    assert moved > 0.01


@pytest.mark.filterwarnings("ignore")
def test_ipo_sums_as_its_paper_does_and_trl_averages(pairs: PairData) -> None:
    """Divide each log-probability by its answer's length, and trl's loss is ours."""
    model, some = toy(2), pairs.train[:6]
    said_by = [[said(m, p.prompt, a).sum() for p in some for a in (p.chosen, p.rejected)] for m in (model, toy())]
    ours, known = (torch.stack(each) for each in said_by)
    lengths = torch.tensor([float(len(a)) for p in some for a in (p.chosen, p.rejected)])
    whole = Sums(ours[0::2], ours[1::2], known[0::2], known[1::2], lengths[0::2], lengths[1::2])
    ours, known = ours / lengths, known / lengths
    mean = replace(whole, chosen=ours[0::2], rejected=ours[1::2], reference_chosen=known[0::2],
                   reference_rejected=known[1::2])  # fmt: skip
    theirs = trl_loss(model, toy(), some, 0.1, "ipo")
    torch.testing.assert_close(preference_loss(mean, PREFERENCE_METHODS["ipo"]).mean(), theirs)
    assert preference_loss(whole, PREFERENCE_METHODS["ipo"]).mean() > theirs + 1


# Runs.


@pytest.mark.parametrize("method", ["dpo", "ipo", "simpo"])
def test_the_better_answers_win(pairs: PairData, method: str) -> None:
    seen: list[StepResult] = []
    run = a_run(pairs, method=method, max_steps=60, learning_rate=3e-3, batch_size=32)
    run.run(on_step=seen.append, progress=False)
    assert seen[-1].loss < seen[0].loss and seen[-1].measures["accuracy"] > 0.8
    assert seen[-1].measures["margin"] > seen[0].measures["margin"] + 0.2
    assert seen[-1].measures["chosen"] > seen[-1].measures["rejected"]


def test_a_resumed_run_is_bit_for_bit_the_one_that_never_stopped(tmp_path: Path, pairs: PairData) -> None:
    a_run(pairs, tmp_path / "whole").run(progress=False)
    a_run(pairs, tmp_path / "parts").run(4, progress=False)
    objective = PreferenceObjective(pairs, toy())
    Trainer.resume(tmp_path / "parts", pairs, objective=objective).run(progress=False)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert {"accuracy", "margin", "chosen", "rejected", "val_loss"} <= read_metrics(tmp_path / "whole")[-1].keys()


def test_parts_of_a_batch_give_the_same_step_and_keep_pairs_together(pairs: PairData) -> None:
    whole, parts = a_run(pairs), a_run(pairs, accumulate=4)
    for _ in range(3):
        one, other = whole.train_step(), parts.train_step()
        assert one.measures == pytest.approx(other.measures, abs=1e-5)
        assert (one.loss, one.gradient_norm) == pytest.approx((other.loss, other.gradient_norm), rel=1e-4)


TWO = """
import sys
from pathlib import Path
import torch
from minigpt import runtime
from minigpt.text.pairs import PairData
from tests.training.test_preferences import a_run
from tests.training.toy import TOKENIZER
with runtime.processes(torch.device("cpu")):
    a_run(PairData(Path(sys.argv[1]), TOKENIZER, 8), Path(sys.argv[2])).run(progress=False)
"""


def test_two_processes_learn_from_the_same_pairs_as_one(tmp_path: Path, pairs: PairData) -> None:
    a_run(pairs, tmp_path / "one").run(progress=False)
    (tmp_path / "two.py").write_text(TWO)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2")
    done = subprocess.run(
        [sys.executable, *torchrun, str(tmp_path / "two.py"), pairs.spec["name"], str(tmp_path / "two")],
        capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("loss", "margin", "accuracy", "chosen", "gradient_norm"):
        one, two = (torch.tensor([line[name] for line in read_metrics(tmp_path / out)]) for out in ("one", "two"))
        assert len(two) == 10 and torch.allclose(one, two, atol=1e-4), name


def test_answers_that_drift_too_far_end_the_run_before_the_step(tmp_path: Path, pairs: PairData) -> None:
    options = PreferenceOptions(beta=0.01, max_drift=0.5)
    objective = PreferenceObjective(pairs, toy(), options)
    config = recipe(batch_size=8, max_steps=100, learning_rate=0.3, save_every=1)
    run = Trainer(SHAPE, config, pairs, out=tmp_path / "run", start=toy(), objective=objective)
    with pytest.raises(InputError, match=r"the chosen answers have lost [\d.]+ nats .* above max_drift 0.5"):
        run.run(progress=False)
    assert read_metrics(tmp_path / "run")[-1]["chosen"] >= -0.5 and run.step < 100


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path, pairs: PairData) -> None:
    wide = GPT(replace(SHAPE, d_model=16))
    other = PairData(Path(pairs.spec["name"]), CharTokenizer("abc", [END_OF_TEXT]), 8)
    for objective, message in (
        (PreferenceObjective(pairs, wide), "another shape .d_model 16, not 8"),
        (PreferenceObjective(other, GPT(replace(SHAPE, vocab_size=4))), "shape .vocab_size 4, not 3"),
    ):
        with pytest.raises(InputError, match=message):
            Trainer(SHAPE, recipe(), pairs, out=tmp_path / "run", start=toy(), objective=objective)
    objective = PreferenceObjective(pairs, toy())
    objective.data = other
    with pytest.raises(InputError, match="another tokenizer"):
        Trainer(SHAPE, recipe(), pairs, out=tmp_path / "run", start=toy(), objective=objective)
    assert not (tmp_path / "run").exists()


# A reward model.


def test_a_reward_model_learns_which_answers_are_better(pairs: PairData) -> None:
    start = with_labels(toy(), 2)
    data = RewardModelData(pairs)
    objective = RewardModelObjective(pairs)
    config = recipe(batch_size=32, max_steps=60, learning_rate=1e-2)
    run = Trainer(start.config, config, data, start=start, objective=objective)
    before = reward_of(start, TOKENIZER, END)
    first = run.train_step()
    some = [pairs.train[i] for i in pairs.pairs_at(0, 32)]
    told = [[TOKENIZER.decode(answer[:-1]) for answer in (pair.chosen, pair.rejected)] for pair in some]
    wins = torch.tensor([
        before(Prompt(pair.prompt), better) - before(Prompt(pair.prompt), worse)
        for pair, (better, worse) in zip(some, told, strict=True)
    ])  # fmt: skip
    assert first.loss == pytest.approx(-F.logsigmoid(wins).mean().item(), abs=1e-5)
    assert first.measures["margin"] == pytest.approx(wins.mean().item(), abs=1e-5)
    seen: list[StepResult] = []
    run.run(on_step=seen.append, progress=False)
    reward = reward_of(run.model.eval(), TOKENIZER, END)
    assert seen[-1].measures["accuracy"] > 0.9
    assert reward(Prompt([END]), "aaa") > reward(Prompt([END]), "ab") > reward(Prompt([END]), "b")
    with pytest.raises(InputError, match="a reward model has n_labels 2, and this model 0"):
        Trainer(SHAPE, recipe(), pairs, start=toy(), objective=objective)
