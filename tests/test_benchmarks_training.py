"""benchmarks/training.py and loss.py: the plain loop by hand, wrong weights found, the whole validation split."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import loss
from benchmarks.measure import Options, Times
from benchmarks.training import FIRST, PEERS, PlainLoop, Work, check_losses, make
from minigpt.config import IGNORE, GPTConfig, TrainConfig, preset
from minigpt.training.optim import learning_rate_at

NAMES = ["minigpt", *(name for name in PEERS if name != "LLMs-from-scratch")]
"""That one peer is installed by `make bench`, and each of its runs makes the same comparison."""

SMALL = Work(GPTConfig(vocab_size=20, context_length=8, n_layers=2, n_heads=2, d_model=16), 3)


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(ord("a") + i * i % 23) for i in range(3000)))
    return path


def first_losses(change: str = "") -> dict[str, list[float]]:
    """Of what is measured, on a small model; `change` is one of ours's parameters to spoil."""
    found = {}
    for name in NAMES:
        model = SMALL.model()
        if change and name == "minigpt":
            with torch.no_grad():
                parameter = dict(model.named_parameters())[change]
                parameter.copy_(parameter.roll(1, 0))  # the same numbers in other places
        step = make(name, SMALL, model)
        found[name] = [step() for _ in range(FIRST)]
    return found


def test_all_peers_begin_with_the_same_losses() -> None:
    found = first_losses()
    check_losses(found)
    assert found["minigpt"][0] > found["minigpt"][-1] + 0.01, "they train"


@pytest.mark.parametrize(
    "change", ["blocks.0.attention.qkv.weight", "position_embedding.weight", "blocks.1.feed_forward.down.weight"]
)
def test_a_wrong_weight_is_found_before_anything_is_timed(change: str) -> None:
    with pytest.raises(SystemExit, match="minigpt has other losses"):
        check_losses(first_losses(change))


def test_a_loss_that_is_not_a_number_is_found() -> None:
    with pytest.raises(SystemExit, match="minigpt has other losses"):
        check_losses({"minigpt": [float("nan")], "plain loop": [2.0]})


def test_the_plain_loop_s_first_step_by_hand() -> None:
    """AdamW's first step is lr times the sign of the gradient, nearly, after the decay (Loshchilov and Hutter 2019)."""
    inputs, targets = SMALL.batch()
    model, reference = SMALL.model(), SMALL.model()
    recipe = TrainConfig(learning_rate=0.01, weight_decay=0.1, beta1=0.9, beta2=0.99)
    found = PlainLoop(model, recipe).step(inputs, targets)
    logits = reference(inputs)
    expected = -F.log_softmax(logits, -1)[torch.arange(3)[:, None], torch.arange(8), targets].mean()
    assert found == pytest.approx(expected.item(), rel=1e-6)
    expected.backward()
    gradients = [p.grad for p in reference.parameters() if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    assert norm > 1, "clipping matters"
    for (name, after), before in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert before.grad is not None
        gradient = before.grad / norm
        decay = 0.1 if before.ndim == 2 else 0.0
        by_hand = before * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(after, by_hand, rtol=0, atol=2e-6, msg=name)


def test_the_peers_are_in_float32_and_not_fused() -> None:
    loop = PlainLoop(SMALL.model())
    assert all(p.dtype == torch.float32 for p in loop.network.parameters())
    assert not any(group["fused"] or group["foreach"] for group in loop.optimizer.param_groups)


def test_nanogpt_s_published_recipe() -> None:
    """Its readme, «I only have a macbook», over config/train_shakespeare_char.py."""
    recipe = preset("shakespeare-char")
    assert recipe.model == GPTConfig(65, 64, n_layers=4, n_heads=4, d_model=128, bias=False)
    train = recipe.train
    assert (train.batch_size, train.max_steps, train.warmup_steps, train.optimizer) == (12, 2000, 100, "adamw")
    assert (train.learning_rate, train.min_learning_rate, train.weight_decay) == (1e-3, 0.1, 0.1)
    assert (train.beta1, train.beta2, train.grad_clip) == (0.9, 0.99, 1.0)


def test_nanogpt_s_loop_follows_the_schedule(text: Path) -> None:
    recipe = preset("shakespeare-char")
    data = loss.load(Options(text), recipe)
    nano = loss.NanoGPT(recipe, data)
    for step in range(3):
        nano.train_step()
        rates = {group["lr"] for group in nano.loop.optimizer.param_groups}
        assert rates == {1e-3 * learning_rate_at(step, recipe.train)}
    assert nano.model.config.vocab_size == data.tokenizer.vocab_size == len(set(text.read_text()))


@pytest.mark.parametrize("name", ["shakespeare-char", "shakespeare-char-fast", "shakespeare-char-long"])
def test_validation_covers_every_character_of_the_last_tenth_once(text: Path, name: str) -> None:
    data = loss.load(Options(text), preset(name))
    targets = torch.cat([targets.flatten() for _, targets in data.batches("val", 7)])
    guessed = data.tokenizer.decode(targets[targets != IGNORE].tolist())
    assert guessed == text.read_text()[2700:][1:]


def test_how_many_steps_fit() -> None:
    theirs = Times(wall=[1.0, 9.0, 2.0], cpu=[4.0, 4.0, 4.0])
    twice_as_fast, more_cpu = Times(wall=[1.0] * 3, cpu=[2.0] * 3), Times(wall=[1.0] * 3, cpu=[5.0] * 3)
    assert loss.steps_that_fit(theirs, theirs, 100, 1) == 95
    assert loss.steps_that_fit(twice_as_fast, theirs, 100, 1) == 190
    assert loss.steps_that_fit(more_cpu, theirs, 100, 1) == 76
    assert loss.steps_that_fit(more_cpu, theirs, 100, 5) == 380
