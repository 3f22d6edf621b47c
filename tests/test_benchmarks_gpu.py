"""The ladder of benchmarks/gpu.py, on the CPU: one change a rung, the same training on each, no wrong rung timed."""

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import gpu
from benchmarks.gpu import CPU, Ladder, Rung, Training, Transformers, build, compare, ladder, padded, random_batch
from minigpt.config import GPTConfig
from minigpt.model.attention import scaled_dot_product_attention
from minigpt.model.gpt import GPT, flops_per_token

SMALL = GPTConfig(vocab_size=100, context_length=24, n_layers=1, n_heads=2, d_model=16)
TINY = ["--device", "cpu", "--preset", "tiny", "--micro-batch", "1", "--context", "32", "--steps", "1"]


def weights(config: GPTConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: p.detach().clone() for name, p in GPT(config).named_parameters()}


def test_each_rung_changes_one_thing() -> None:
    for before, after in pairwise(map(asdict, ladder())):
        changed = {field for field in before if before[field] != after[field]}
        assert len(changed) == 2 and "name" in changed
    assert asdict(ladder()[0]) == asdict(Rung("naive float32")), "the first has nothing"


def test_the_whole_path_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "results" / "ladder.json"
    gpu.main([*TINY, "--no-compile", "--out", str(out)])
    found = json.loads(out.read_text())
    names = ["naive float32", "TF32", "bfloat16 autocast", "fused attention", "fused AdamW", "padded vocabulary"]
    assert [line["name"] for line in found["rungs"]] == names
    assert [line["name"] for line in found["others"]] == ["transformers", "minigpt's Trainer"]
    assert len(found["writing"]) == 1 and found["writing"][0]["logits_difference"] == 0, "nothing is recorded on a CPU"
    for line in found["rungs"] + found["others"]:
        assert line["tokens_per_second"] == pytest.approx(32 / line["seconds_per_step"])
        assert line["micro_batch"] == 1 and line["mfu"] is None and line["peak_memory"] is None
    assert found["flops_per_token"] == flops_per_token(GPTConfig(**found["model"]), 32)
    assert found["device"] == "CPU" and found["torch"] == torch.__version__
    assert found["command"].startswith("python -m benchmarks.gpu --device cpu --preset tiny")
    on_cpu = found["check"]["losses_on_cpu"]
    assert on_cpu == sorted(on_cpu, reverse=True) and on_cpu[0] - on_cpu[-1] > 0.1, "training goes on"
    assert all(ceiling > 0 for ceiling in found["roofs"].values())
    assert list(out.parent.iterdir()) == [out], "nothing unfinished is left"


def test_a_cpu_does_not_write_into_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        gpu.main(TINY)
    assert not list(tmp_path.iterdir())


def no_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v)[0]


def one_place_short(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5
    visible = torch.ones_like(scores, dtype=torch.bool).tril(-1)
    visible[..., 0, 0] = True
    return scores.masked_fill(~visible, -torch.inf).softmax(dim=-1) @ v


def no_scale(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q * q.size(-1) ** 0.5, k, v, causal=True)[0]


@pytest.mark.parametrize("wrong", [no_mask, one_place_short, no_scale])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_wrong_attention_is_not_timed(wrong, precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its gradient. Its losses alone would pass: a model at its start says the same of every token."""
    config, rung = replace(SMALL, context_length=64, n_layers=2), Rung("wrong", precision=precision)
    batch = random_batch(config, 1, 64)
    reference = Training(build(config, weights(config), Rung("naive")), Rung("naive"), CPU).proof(batch)
    monkeypatch.setattr(gpu, "formula_attention", wrong)
    proof = Training(build(config, weights(config), rung), rung, CPU).proof(batch)
    with pytest.raises(SystemExit, match="wrong computes something else: gradient_difference"):
        compare(rung, proof, reference)


def test_a_step_that_learns_nothing_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = random_batch(SMALL, 1, 24)
    reference = Training(build(SMALL, weights(SMALL), ladder()[4]), ladder()[4], CPU).proof(batch)
    monkeypatch.setattr(gpu, "LEARNING_RATE", 0.0)
    proof = Training(build(SMALL, weights(SMALL), ladder()[4]), ladder()[4], CPU).proof(batch)
    with pytest.raises(SystemExit, match="loss_difference"):
        compare(ladder()[4], proof, reference)


def test_padding_and_compiling_leave_the_training_as_it_was() -> None:
    top = ladder()[-2]
    assert top.compiled and top.padded and top.batches == 1
    assert padded(GPTConfig()).vocab_size == 50304 and padded(SMALL).vocab_size == 128
    batch = random_batch(SMALL, 2, 24)
    reference = Training(build(SMALL, weights(SMALL), Rung("naive")), Rung("naive"), CPU).proof(batch)
    wide = build(SMALL, weights(SMALL), top)
    assert wide.token_embedding.weight.shape == (128, 16)
    assert torch.equal(wide.token_embedding.weight[:100], weights(SMALL)["token_embedding.weight"])
    training = Training(build(SMALL, weights(SMALL), replace(top, padded=False)), top, CPU)
    assert compare(top, training.proof(batch), reference)["gradient_difference"] < 0.05


def test_the_rival_in_transformers_is_the_same_model() -> None:
    ours = build(SMALL, weights(SMALL), ladder()[3])
    theirs = Transformers(ours)
    inputs, _ = random_batch(SMALL, 2, 24)
    torch.testing.assert_close(theirs(inputs), ours(inputs))
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())


def test_the_micro_batch_is_halved_until_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def climb(self, rung: Rung, network=None):
        if self.micro_batch > 2:
            raise torch.OutOfMemoryError
        return {"name": rung.name, "micro_batch": self.micro_batch}

    monkeypatch.setattr(Ladder, "climb", climb)
    monkeypatch.setattr(Ladder, "check_against_cpu", lambda self: {})
    out = tmp_path / "ladder.json"
    gpu.main([*TINY, "--micro-batch", "8", "--minutes", "0", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [line["micro_batch"] for line in found["rungs"]] == [2] * 7
    assert found["rungs"][-1]["name"] == "torch.compile" and not found["others"], "no time for what may be left out"


def test_a_rung_that_fails_is_named_and_the_others_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def climb(self, rung: Rung, network=None):
        if rung.name == "fused attention":
            raise SystemExit("fused attention computes something else: gradient_difference 0.9")
        if rung.compiled:
            raise RuntimeError("no compiler\nand a long story")
        return {"name": rung.name, "micro_batch": self.micro_batch}

    monkeypatch.setattr(Ladder, "climb", climb)
    monkeypatch.setattr(Ladder, "check_against_cpu", lambda self: {})
    out = tmp_path / "ladder.json"
    with pytest.raises(SystemExit, match="failed: fused attention, torch.compile"):
        gpu.main([*TINY, "--minutes", "0", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [line["name"] for line in found["rungs"]] == [
        "naive float32", "TF32", "bfloat16 autocast", "fused AdamW", "padded vocabulary",
    ]  # fmt: skip
    assert [line["reason"].split(":")[0] for line in found["failed"]] == [
        "fused attention computes something else", "no compiler",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [out], "nothing unfinished is left"


def test_twice_the_batch_is_held_to_the_same_proof() -> None:
    """Its rows are the same rows twice, so its losses and its gradient are those of the rungs below."""
    ladder_ = Ladder(SMALL, CPU, 2, 24, 1)
    for rung in (Rung("naive"), Rung("twice", batches=2)):
        line = ladder_.climb(rung)
    assert line["micro_batch"] == 4 and line["gradient_difference"] < 1e-4 and line["loss_difference"] < 1e-4
