"""minigpt tune: a run from rewards and one from preferences, their resume, and bad input in one message."""

import json
from pathlib import Path

import pytest

from minigpt.config import TUNING
from minigpt.text.data import StoryData
from minigpt.text.stories import verify
from minigpt.training.metrics import read_metrics
from minigpt.training.options import PREFERENCE_METHODS, REWARD_METHODS
from minigpt.weights import checkpoint
from tests.commands.runs import Call

FAST = ["--threads", "1", "--max-steps", "2", "--warmup-steps", "1", "--device", "cpu"]
PAIRS = [{"prompt": "", "chosen": "the cat " + "a" * n, "rejected": "the dog"} for n in range(1, 12)]
BAD = [{"prompt": "", "chosen": "the cat", "rejected": "the cat"}]


@pytest.fixture(scope="module", autouse=True)
def files(world: Path) -> None:
    for name, lines in (("pairs.jsonl", PAIRS), ("bad.jsonl", [*PAIRS, *BAD]), ("one.jsonl", PAIRS[:1])):
        (world / name).write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture(autouse=True)
def few_stories_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand take longer to measure on than all that is tested here."""
    all_of_them = StoryData.held_out_stories
    monkeypatch.setattr(StoryData, "held_out_stories", lambda self, split: all_of_them(self, split)[:8])


def test_rewards_change_the_storyteller_and_the_run_goes_on(call: Call, world: Path, text_run: Path) -> None:
    small = ["--batch-size", "16", "--group", "16", "--save-every", "1"]
    status, out, err = call("tune", "--method", "reinforce", "--out", "told", *small, *FAST)
    assert status == 0, err
    assert "done. Try: minigpt generate --model told" in out
    lines = read_metrics(world / "told")
    assert {"reward", "length", "entropy", "kl", "equal", "val_loss"} <= lines[-1].keys()
    assert all(f", {name} " in err for name in ("reward", "length", "entropy", "kl"))
    status, out, err = call("tune", "--out", "told", "--resume", "--max-steps", "3", "--max-kl", "50")
    assert status == 0 and "step 2 of 3" in out, err
    saved, _ = checkpoint.newest_good(world / "told")
    assert saved.step == 3 and saved.run["objective"]["options"]["group"] == 16, "as the run began"
    assert saved.run["objective"]["options"]["weighting"] == "sum" and saved.run["objective"]["options"]["max_kl"] == 50
    for command, message in (
        ("train", "go on with minigpt tune --out told --resume"), ("finetune", "minigpt tune --out told")
    ):  # fmt: skip
        status, _, err = call(command, "--out", "told", "--resume")
        assert status == 2 and message in err
    status, _, err = call("tune", "--out", "told", "--resume", "--reference", "text_run")
    assert status == 2 and "shape" in err


def test_a_divergence_that_explodes_is_told_and_the_run_stands(call: Call, world: Path) -> None:
    small = ["--batch-size", "16", "--group", "16", "--learning-rate", "0.5", "--max-kl", "0.01", "--save-every", "1"]
    status, out, err = call("tune", "--method", "reinforce", "--out", "exploded", *small, *FAST, "--max-steps", "6")
    assert status == 2 and "Traceback" not in err
    assert "above max_kl 0.01" in err and checkpoint.newest_good(world / "exploded")[0].step < 6


def test_preferences_from_a_file_and_their_run_goes_on(call: Call, world: Path, text_run: Path) -> None:
    flags = ["--task", "pairs.jsonl", "--model", "told_base", "--batch-size", "2", *FAST]
    checkpoint.save(world / "told_base", *checkpoint.load_model("storyteller"))
    status, out, err = call("tune", "--method", "dpo", "--out", "liked", *flags)
    assert status == 0, err
    first, *_, last = read_metrics(world / "liked")
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3) and {"margin", "accuracy", "chosen"} <= last.keys()
    status, out, err = call("tune", "--out", "liked", "--resume", "--max-steps", "3")
    assert status == 0 and "step 2 of 3" in out, err
    status, _, err = call("evaluate", "--model", "liked")
    assert status == 2 and "nothing to measure it on" in err


def test_pairs_are_made_of_the_models_own_answers(call: Call, world: Path) -> None:
    flags = ["--method", "ipo", "--pairs", "4", "--batch-size", "2", "--out", "made", *FAST]
    status, out, err = call("tune", *flags)
    assert status == 0, err
    assert "making 4 pairs" in out and "4 pairs of " in out
    lines = [json.loads(line) for line in (world / "made" / "pairs.jsonl").read_text().splitlines()]
    assert [verify(line["chosen"]).consistent for line in lines] == [True] * 4
    assert not any(verify(line["rejected"]).consistent for line in lines)
    saved, _ = checkpoint.newest_good(world / "made")
    assert saved.run["data"]["task"] == "stories"
    status, out, err = call("tune", "--out", "made", "--resume", "--max-steps", "3")
    assert status == 0, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--method grop", "there is no method 'grop'; did you mean 'grpo'"),
        ("--task storys", "there is none called 'storys'; did you mean 'stories'"),
        ("--task storys --method dpo", "there is no task and no file called 'storys'; did you mean 'stories'"),
        ("--task pairs.jsonl", "rewards need a task whose right answers are known"),
        ("--task bad.jsonl --method dpo", "line 12: the chosen and the rejected answer are equal"),
        ("--task one.jsonl --method dpo", "one pair only"),
        ("--task questions", "so its model cannot chat"),
        ("--model nowhere", "there is no model and no folder called 'nowhere'"),
        ("--reference text_run", "the reference has another shape"),
        ("--batch-size 12", "choose a multiple of 8"),
        ("--group 1", "group is 1; it must be at least 2"),
        ("--method dpo --beta 0", "beta is 0.0; it must be above 0"),
        ("--method dpo --pairs 1", "pairs is 1; it must be at least 2"),
        ("--shard --batch-size 8", "leave shard out"),
        ("--resume", "has no checkpoint to go on from"),
    ],
)
def test_bad_input_gives_one_message_and_leaves_nothing(
    call: Call, world: Path, text_run: Path, arguments: str, message: str
) -> None:
    status, out, err = call("tune", *arguments.split(), "--out", "never", *FAST)
    assert status == 2 and "Traceback" not in err
    assert message in err and not (world / "never").exists()


def test_the_help_and_the_recipes(call: Call) -> None:
    status, out, _ = call("tune", "--help")
    assert status == 0
    for flag in ("--method", "--reference", "--group", "--kl-estimator", "--beta", "--max-drift", "--max-steps"):
        assert flag in out
    assert set(TUNING) == {"rewards", "preferences"}
    assert not set(REWARD_METHODS) & set(PREFERENCE_METHODS)
