"""Learning from rewards: hand arithmetic, every expectation of a model that can be listed, trl's loss, whole runs."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.model.gpt import GPT
from minigpt.model.lora import base_state
from minigpt.text.tokenizer import END_OF_TEXT, CharTokenizer
from minigpt.training.answers import Prompt, kl_terms
from minigpt.training.metrics import StepResult, read_metrics
from minigpt.training.options import REWARD_METHODS, RewardOptions
from minigpt.training.rewards import RewardObjective, advantages, fingerprint, policy_loss
from minigpt.training.step import ModelWithLoss
from minigpt.training.trainer import Trainer
from tests.training.test_trainer import assert_same_run
from tests.training.toy import END, SHAPE, TOKENIZER, ToyData, answers, prompts, recipe, said, toy

PLAIN = RewardOptions(normalise=False, weighting="sum", clip=0.0, clip_higher=0.0, kl=0.0)


def many_a(prompt: Prompt, answer: str) -> float:
    return answer.count("a") - 0.5 * answer.count("b")


def a_run(out: Path | None = None, options: RewardOptions = PLAIN, **changed: Any) -> Trainer:
    objective = RewardObjective(prompts(), many_a, toy(), replace(options, group=4))
    return Trainer(SHAPE, recipe(**changed), ToyData(), out=out, start=toy(), objective=objective)


# By hand.


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1], [3.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    plain = torch.tensor([[0.5, -0.5, -0.5, 0.5], [0.0] * 4, [1.5, -0.5, -0.5, -0.5]], dtype=torch.float64)
    assert torch.equal(advantages(rewards, normalise=False), plain)
    deviations = torch.tensor([[math.sqrt(4 * 0.25 / 3)], [1.0], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(advantages(rewards), plain / (deviations + 1e-4))


def test_equal_rewards_give_exactly_nothing_whatever_the_mean_rounds_to() -> None:
    rewards = torch.full((1, 7), 0.1)
    assert (rewards - rewards.mean(dim=1, keepdim=True)).any(), "the mean of seven tenths is another number"
    assert not advantages(rewards).any() and not advantages(rewards, normalise=False).any()


@pytest.mark.parametrize(
    ("ratio", "gain", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.25, 2.0, -2.5, -2.5),  # DAPO lets it rise to 1.28
        (1.5, 2.0, -2.56, 0.0),  # and no further
        (0.5, 2.0, -1.0, -1.0),  # a good answer that has lost comes back
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_the_clip_by_hand(ratio: float, gain: float, loss: float, slope: float) -> None:
    options = replace(PLAIN, clip=0.2, clip_higher=0.28)
    now = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    found, clipped = policy_loss(now, zero, gain * one, one, zero, options)
    (gradient,) = torch.autograd.grad(found, now)
    assert found.item() == pytest.approx(loss) and gradient.item() == pytest.approx(slope)
    assert clipped.item() == (slope == 0)
    unclipped, _ = policy_loss(now, zero, gain * one, one, zero, PLAIN)
    assert unclipped.item() == pytest.approx(-ratio * gain)


def test_the_estimators_of_the_divergence_by_hand() -> None:
    now, reference = torch.tensor([0.0, -1.0, -3.0]), torch.tensor([-2.0, -1.0, -2.0])
    assert kl_terms(now, reference, "k1").tolist() == [2.0, 0.0, -1.0]
    assert kl_terms(now, reference, "k2").tolist() == [2.0, 0.0, 0.5]
    expected = [math.exp(-2) - 1 + 2, 0.0, math.e - 1 - 1]
    assert kl_terms(now, reference, "k3").tolist() == pytest.approx(expected)


# Every expectation of a model of which all answers are known.


def listed(model: GPT, longest: int) -> list[tuple[list[int], Tensor]]:
    return [(tokens, said(model, [END], tokens)) for tokens in answers(longest)]


def gradient_of(value: Tensor, model: GPT) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()), retain_graph=True)])


def worth(tokens: Sequence[int]) -> float:
    return many_a(Prompt([]), TOKENIZER.decode([token for token in tokens if token != END]))


def test_the_listed_answers_are_all() -> None:
    assert sum(logs.sum().exp().item() for _, logs in listed(toy().double(), 3)) == pytest.approx(1)


def test_the_expected_step_of_two_answers_is_half_the_gradient_of_the_mean_reward() -> None:
    model = toy().double()
    all_answers = listed(model, 2)
    mean_reward = sum((logs.sum().exp() * worth(tokens) for tokens, logs in all_answers), torch.zeros(()))
    expected = torch.zeros(())
    for first, first_logs in all_answers:
        for second, second_logs in all_answers:
            gains = advantages(torch.tensor([[worth(first), worth(second)]], dtype=torch.float64), normalise=False)
            logs = torch.nn.utils.rnn.pad_sequence([first_logs, second_logs], batch_first=True)
            weights = torch.tensor([[n < len(each) for n in range(logs.size(1))] for each in (first, second)]) / 2
            loss, _ = policy_loss(logs, logs.detach(), gains.T, weights, logs.detach(), PLAIN)
            chance = (first_logs.sum() + second_logs.sum()).exp().detach()
            expected = expected + chance * loss
    torch.testing.assert_close(gradient_of(expected, model), -gradient_of(mean_reward, model) / 2)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_divergence_is_estimated_rightly_and_each_estimator_has_its_own_gradient(estimator: Any) -> None:
    model, reference = toy().double(), toy(1).double()
    ours = model(torch.tensor([[END]]))[0, 0].log_softmax(-1)  # answers of one token
    theirs = reference(torch.tensor([[END]]))[0, 0].log_softmax(-1).detach()
    there, back = (ours.exp() * (ours - theirs)).sum(), (theirs.exp() * (theirs - ours)).sum()
    terms = kl_terms(ours, theirs, estimator)
    if estimator != "k2":
        torch.testing.assert_close((ours.exp() * terms).sum(), there)
    found = gradient_of((ours.exp().detach() * terms).sum(), model)
    gradients = {"k1": 0 * found, "k2": gradient_of(there, model), "k3": gradient_of(back, model)}
    torch.testing.assert_close(found, gradients[estimator], atol=1e-12, rtol=1e-9)


def test_k1_in_the_rewards_has_the_gradient_of_the_whole_divergence() -> None:
    model, reference = toy().double(), toy(1).double()
    divergence = penalised = torch.zeros(())
    for tokens, logs in listed(model, 3):
        k1 = kl_terms(logs, said(reference, [END], tokens).detach(), "k1").sum()
        divergence = divergence + logs.sum().exp() * k1
        penalised = penalised + logs.sum().exp().detach() * k1.detach() * logs.sum()
    torch.testing.assert_close(gradient_of(penalised, model), gradient_of(divergence, model))


# trl.


@pytest.mark.filterwarnings("ignore")  # what trl and its friends say when they are loaded
@pytest.mark.parametrize(("method", "kl"), [("grpo", 0.04), ("grpo", 0.0), ("dapo", 0.1), ("dr_grpo", 0.0)])
def test_loss_and_gradient_are_those_of_trl(method: str, kl: float) -> None:
    """Where trl differs: its divergence has the gradient of k2 unless use_bias_correction_kl is off, and Dr. GRPO's
    sums are divided by the longest answer there may be as well."""
    from collections import defaultdict

    from trl import GRPOTrainer

    generator = torch.Generator().manual_seed(1)
    now, old, reference = (-torch.rand(4, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    now.requires_grad_(True)
    lengths = torch.tensor([2, 5, 3, 6])
    mask = (torch.arange(6) < lengths[:, None]).double()
    gains = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64), REWARD_METHODS[method].normalise)
    options = replace(REWARD_METHODS[method], kl=kl)
    accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, **how: x, device="cpu")
    trainer: Any = SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        accelerator=accelerator,
        beta=kl,
        loss_type=method,
        importance_sampling_level="token",
        epsilon_low=options.clip,
        epsilon_high=options.clip_higher,
        max_completion_length=6,
        current_gradient_accumulation_steps=1,
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *args, **how: (now, torch.zeros_like(now), None),
    )
    ids = torch.zeros(4, 6, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids, "completion_mask": mask.long(),
        "advantages": gains[0], "old_per_token_logps": old, "ref_per_token_logps": reference,
        "num_items_in_batch": lengths.sum(),
    }  # fmt: skip
    theirs = GRPOTrainer._compute_loss(trainer, None, inputs)
    (their_gradient,) = torch.autograd.grad(theirs, now)
    total = {"answer": 4 * lengths[:, None], "token": lengths.sum(), "sum": torch.tensor(4)}[options.weighting]
    ours, _ = policy_loss(now, old, gains.T, mask / total, reference, options)
    (our_gradient,) = torch.autograd.grad(ours, now)
    factor = 6 if method == "dr_grpo" else 1
    torch.testing.assert_close(ours, factor * theirs)
    torch.testing.assert_close(our_gradient, factor * their_gradient)


# Batches.


@pytest.mark.parametrize(("weighting", "total"), [("answer", None), ("token", "tokens"), ("sum", "answers")])
def test_a_batch_holds_the_groups_that_differ_and_what_each_token_counts(weighting: Any, total: str | None) -> None:
    def first_group_only(prompt: Prompt, answer: str) -> float:
        return float(len(answer)) if prompt.text == "" else 1.0

    objective = RewardObjective(prompts(), first_group_only, toy(3), RewardOptions(group=4, weighting=weighting))
    config = recipe(batch_size=12, accumulate=3)
    batch = objective.batch(toy(), 0, config)
    counted = batch.targets != -100
    n = int(counted.sum())
    assert n == batch.n_targets and len(batch.inputs) % 3 == 0 and counted.any(dim=1).sum() == 4
    assert batch.measures["equal"] == 2 and (batch.inputs[:4, 0] == END).all()
    weights = batch.extra["weights"]
    assert torch.equal(weights > 0, counted)
    tokens = 12 * batch.measures["length"]  # of all answers, those that give no step too
    expected: Any = {"answer": 1 / (12 * counted.sum(dim=1, keepdim=True)), "token": 1 / tokens, "sum": 1 / 12}[
        weighting
    ]
    torch.testing.assert_close(weights, torch.where(counted, expected, 0.0).float())
    network = ModelWithLoss(toy(), torch.device("cpu"), "float32")
    torch.testing.assert_close(network.log_probabilities(batch.inputs, batch.targets), batch.extra["old"])
    other = ModelWithLoss(toy(3), torch.device("cpu"), "float32")
    torch.testing.assert_close(other.log_probabilities(batch.inputs, batch.targets), batch.extra["reference"])
    divergence = kl_terms(batch.extra["old"], batch.extra["reference"], "k3").sum()
    assert 0 < divergence < 12 * batch.measures["kl"]


# Runs.


def test_rewards_rise_and_what_is_watched_is_measured() -> None:
    seen: list[StepResult] = []
    objective = RewardObjective(
        prompts(), many_a, toy(), replace(PLAIN, group=4), watch={"short": lambda p, a: -len(a)}
    )
    run = Trainer(SHAPE, recipe(max_steps=40, batch_size=48), ToyData(), start=toy(), objective=objective)
    run.run(on_step=seen.append, progress=False)
    first, last = seen[0].measures, seen[-1].measures
    assert list(first) == ["reward", "short", "length", "entropy", "kl", "equal"]
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert last["reward"] > first["reward"] + 0.3 and last["entropy"] < first["entropy"] and last["kl"] > 0.1
    assert -3 <= first["short"] < 0


@pytest.mark.parametrize("updates", [1, 3])
def test_a_resumed_run_is_bit_for_bit_the_one_that_never_stopped(tmp_path: Path, updates: int) -> None:
    options = replace(RewardOptions(), updates=updates)
    a_run(tmp_path / "whole", options).run(progress=False)
    a_run(tmp_path / "parts", options).run(4, progress=False)
    for until in (8, 10):
        torch.manual_seed(99)
        objective = RewardObjective(prompts(), many_a, toy(), replace(options, group=4))
        Trainer.resume(tmp_path / "parts", ToyData(), objective=objective).run(until, progress=False)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    lines = read_metrics(tmp_path / "whole")
    assert ("clipped" in lines[0]) == (updates == 3)
    same = [line["reward"] == lines[0]["reward"] for line in lines]
    assert same == [step < updates for step in range(10)]


def test_the_first_loss_of_grpo_is_0_and_its_gradient_is_not() -> None:
    first = a_run(options=RewardOptions()).train_step()
    assert abs(first.loss) < 1e-6 and first.gradient_norm > 1e-3 and first.updated


def test_parts_of_a_batch_give_the_same_step() -> None:
    whole, parts = a_run(), a_run(accumulate=6)
    for _ in range(3):
        one, other = whole.train_step(), parts.train_step()
        assert one.measures == pytest.approx(other.measures, abs=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)


def test_where_all_rewards_are_equal_there_is_no_step_and_it_is_told(tmp_path: Path) -> None:
    objective = RewardObjective(prompts(), lambda prompt, answer: 0.1, toy(), RewardOptions(group=4), name="same")
    run = Trainer(SHAPE, recipe(max_steps=12), ToyData(), out=tmp_path, start=toy(), objective=objective)
    assert run.run(progress=False), "twelve steps without a gradient are no divergence"
    assert all(torch.equal(weight, toy().state_dict()[name]) for name, weight in run.model.state_dict().items())
    assert all(line["equal"] == 6 and not line["updated"] for line in read_metrics(tmp_path))


def test_the_divergence_from_a_quarter_of_equal_answers_is_right_in_the_mean() -> None:
    """Against all answers listed; in many groups no answer is right, or every one."""
    model, reference = toy(size=0.5), toy(1, size=0.5)
    options = replace(PLAIN, group=4)
    objective = RewardObjective(prompts(), lambda prompt, answer: float(answer == "aa"), reference, options)
    measured = torch.tensor([objective.batch(model, step, recipe(batch_size=60)).measures["kl"] for step in range(120)])
    true = 0.0
    for prompt in (prompts().at(n).ids for n in range(3)):
        for tokens in answers():
            p, q = (said(one, prompt, tokens).sum().detach() for one in (model, reference))
            true += float(p.exp() * (p - q)) / 3
    error = float(measured.std()) / math.sqrt(len(measured))
    assert abs(float(measured.mean()) - true) < 4 * error < 0.2 * true


def test_adapters_learn_from_rewards_too() -> None:
    run = a_run(lora=2, learning_rate=3e-2)
    before = {name: weight.clone() for name, weight in base_state(run.model).items()}
    assert run.train_step().updated and run.train_step().measures["kl"] > 0
    assert all(torch.equal(weight, before[name]) for name, weight in base_state(run.model).items())


def test_weights_in_bfloat16_have_a_fingerprint_of_their_own() -> None:
    names = [fingerprint(model) for model in (toy(), toy(), toy(1), toy().bfloat16())]
    assert names[0] == names[1] and len(set(names)) == 3


TWO = """
import sys
from pathlib import Path
import torch
from minigpt import runtime
from tests.training.test_rewards import a_run
with runtime.processes(torch.device("cpu")):
    a_run(Path(sys.argv[1])).run(progress=False)
"""


def test_two_processes_sample_and_learn_as_one(tmp_path: Path) -> None:
    a_run(tmp_path / "one").run(progress=False)
    (tmp_path / "two.py").write_text(TWO)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2")
    done = subprocess.run(
        [sys.executable, *torchrun, str(tmp_path / "two.py"), str(tmp_path / "two")],
        capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("reward", "length", "kl", "gradient_norm"):
        one, two = (torch.tensor([line[name] for line in read_metrics(tmp_path / out)]) for out in ("one", "two"))
        assert len(two) == 10 and torch.allclose(one, two, atol=1e-4), name


# Bad input.


def test_a_divergence_that_explodes_ends_the_run_and_the_checkpoint_before_stands(tmp_path: Path) -> None:
    run = a_run(tmp_path, replace(PLAIN, max_kl=0.3), max_steps=40, save_every=1, learning_rate=5e-2)
    with pytest.raises(InputError, match=r"divergence from its reference is [\d.]+ nats an answer, above max_kl 0.3"):
        run.run(progress=False)
    kept = read_metrics(tmp_path)
    assert kept[-1]["kl"] <= 0.3 and len(kept) == run.step < 40
    options = replace(PLAIN, group=4, max_kl=50.0)
    objective = RewardObjective(prompts(), many_a, toy(), options)
    again = Trainer.resume(tmp_path, ToyData(), objective=objective)
    assert again.step == run.step and again.train_step().updated, "an option may change on resume"


def test_a_run_goes_on_with_the_same_reference_reward_and_objective_only(tmp_path: Path) -> None:
    a_run(tmp_path).run(2, progress=False)
    for objective, message in (
        (None, "another objective .kind was rewards, now None"),
        (RewardObjective(prompts(), many_a, toy(1), PLAIN), "another objective .reference was"),
        (RewardObjective(prompts(), many_a, toy(), PLAIN, name="other"), "reward was many_a, now other"),
    ):
        with pytest.raises(InputError, match=message):
            Trainer.resume(tmp_path, ToyData(), objective=objective)


@pytest.mark.parametrize(
    ("objective", "config", "message"),
    [
        (lambda: RewardObjective(prompts(), many_a, GPT(replace(SHAPE, n_layers=2))), {}, "shape .n_layers 2, not 1"),
        (lambda: RewardObjective(prompts(), many_a, toy()), {"batch_size": 12}, "choose a multiple of 8"),
        (lambda: RewardObjective(prompts(), many_a, toy()), {"shard": True}, "leave shard out"),
        (
            lambda: RewardObjective(replace(prompts(), tokenizer=CharTokenizer("xy", [END_OF_TEXT])), many_a, toy()),
            {}, "made with another tokenizer",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, objective: Any, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Trainer(SHAPE, recipe(**config), ToyData(), out=tmp_path / "run", start=toy(), objective=objective())
    assert not (tmp_path / "run").exists()
