"""minigpt train: its flags, its runs, what goes on after a stop, and wrong arguments."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minigpt.config import PRESETS, GPTConfig
from minigpt.training import trainer
from minigpt.training.metrics import read_metrics
from minigpt.training.trainer import Trainer
from minigpt.weights import checkpoint
from tests.commands.runs import SMALL, TEXT, TEXT_RUN, Call


def test_the_flags_of_train_are_the_two_configs(call: Call) -> None:
    _, out, _ = call("train", "--help")
    for field in [*GPTConfig.__dataclass_fields__, *trainer.TrainConfig.__dataclass_fields__]:
        assert re.search(f"--{field.replace('_', '-')}[ ,]", out), field


def test_train_writes_metrics_and_checkpoints(text_run: Path) -> None:
    metrics = read_metrics(text_run)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(line["loss"], float) for line in metrics)
    assert sorted(p.name for p in (text_run / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    found = checkpoint.newest_good(text_run)[0]
    assert found.model_config.d_model == 16 and found.model_config.feed_forward_size == 64, "d_ff follows --d-model"
    assert found.model_config.vocab_size == len(set(TEXT))
    assert found.run["train"]["learning_rate"] == PRESETS["tiny"].train.learning_rate


def test_a_modern_model_is_trained_resumed_evaluated_and_generates(call: Call, world: Path) -> None:
    modern = ["--positions", "rope", "--rope-base", "500", "--n-kv-heads", "1", "--norm", "rmsnorm"]
    modern += ["--norm-epsilon", "1e-6", "--feed-forward", "swiglu", "--optimizer", "muon"]
    flags = ["--data", "text.txt", "--out", "modern_run", "--max-steps"]
    assert call("train", *TEXT_RUN, *modern, *flags, 3)[0] == 0
    status, out, err = call("train", "--out", "modern_run", "--resume", "--max-steps", 4)
    assert status == 0 and "step 3 of 4" in out, err
    config = checkpoint.newest_good(world / "modern_run")[0].model_config
    assert (config.positions, config.rope_base, config.kv_heads, config.n_heads) == ("rope", 500.0, 1, 2)
    assert (config.norm, config.norm_epsilon, config.feed_forward) == ("rmsnorm", 1e-6, "swiglu")
    assert config.feed_forward_size == 8 * 16 // 3
    status, out, err = call("generate", "the cat", "--model", "modern_run", "--max-new-tokens", 8, "--seed", 1)
    assert status == 0 and out.startswith("the cat"), err
    status, _, err = call("train", "--out", "modern_run", "--resume", "--norm", "layernorm")
    assert status == 2 and "another model (norm was rmsnorm, now layernorm)" in err
    status, _, err = call("export", "--model", "modern_run", "--out", "as_llama")
    assert status == 0, err
    assert json.loads((world / "as_llama" / "config.json").read_text())["model_type"] == "llama"


def test_a_preset_brings_its_tokenizer(call: Call, world: Path) -> None:
    text = "To be, or not to be. " * 200
    (world / "own.txt").write_text(text, encoding="utf-8")
    flags = ("--data", "own.txt", "--out", "own", "--max-steps", 1, "--threads", 1)
    assert call("train", "--preset", "shakespeare-char", *flags)[0] == 0
    assert checkpoint.newest_good(world / "own")[0].tokenizer.vocab_size == len(set(text))


def test_presets_name_their_own_vocabulary_only_until_the_data_is_known(world: Path, text_run: Path) -> None:
    found = checkpoint.newest_good(text_run)[0]
    expected = replace(
        PRESETS["tiny"].model, vocab_size=len(set(TEXT)), context_length=16, n_layers=1, d_model=16
    )  # fmt: skip
    assert found.model_config == expected


def test_a_folder_of_shards_is_trained_on_resumed_and_measured(call: Call, shards: Path, world: Path) -> None:
    flags = ("--preset", "tiny", "--context-length", 8, *SMALL, "--data", "shards", "--out", "shards_run")
    status, out, _ = call("train", *flags, "--max-steps", 3)
    assert status == 0 and "done." in out
    found = checkpoint.newest_good(world / "shards_run")[0]
    assert found.run["data"]["name"] == "shards" and found.model_config.vocab_size == 270
    status, out, _ = call("train", "--out", "shards_run", "--resume", "--max-steps", 5)
    assert status == 0 and "step 3 of 5" in out
    status, out, err = call("evaluate", "--model", "shards_run", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["loss"] == pytest.approx(read_metrics(world / "shards_run")[-1]["val_loss"], abs=1e-6)


def test_damaged_shards_stop_a_training_before_it_begins(call: Call, shards: Path, world: Path) -> None:
    shutil.copytree(shards, world / "damaged_shards")
    os.truncate(world / "damaged_shards" / "train-00001.bin", 10)
    flags = ("--preset", "tiny", "--context-length", 8, *SMALL, "--data", "damaged_shards", "--out", "never")
    status, out, err = call("train", *flags)
    assert (status, out) == (2, "") and "train-00001.bin' has 10 bytes" in err and "data prepare` again" in err
    assert not (world / "never").exists()
    status, out, err = call("train", *flags, "--data", "shards", "--tokenizer", "char")
    assert (status, out) == (2, "") and "'shards' has its own: --tokenizer auto" in err
    status, out, err = call("data", "stories", "--verify")
    assert (status, out) == (2, "") and "stories has no files to verify" in err


def test_data_that_was_moved_is_named_anew(call: Call, text_run: Path, world: Path) -> None:
    shutil.copytree(text_run, "moved_run")
    text = Path(checkpoint.newest_good(text_run)[0].run["data"]["name"])
    text.rename("elsewhere.txt")
    try:
        status, _, err = call("train", "--out", "moved_run", "--resume", "--max-steps", 9)
        assert status == 2 and str(text) in err and "If the data was moved, add --data NEW_PLACE" in err
        status, out, _ = call("train", "--out", "moved_run", "--resume", "--max-steps", 9, "--data", "elsewhere.txt")
        assert status == 0 and "going on with moved_run" in out
    finally:
        Path("elsewhere.txt").rename(text)


def test_resume_takes_over_every_flag(call: Call, text_run: Path, world: Path) -> None:
    shutil.copytree(text_run, world / "longer")
    status, out, _ = call("train", "--out", "longer", "--resume")
    assert status == 0 and "longer is finished: 6 steps are done. To train longer, raise --max-steps" in out
    status, out, _ = call("train", "--out", "longer", "--resume", "--max-steps", 8)
    assert status == 0 and "going on with longer" in out and "step 6 of 8" in out
    assert out.startswith("1 process on CPU; float32 (as asked); 1 thread ("), "first of all, what was chosen and why"
    assert [line["step"] for line in read_metrics(world / "longer")] == list(range(1, 9))
    before, after = (checkpoint.newest_good(run)[0].run["train"] for run in (text_run, world / "longer"))
    assert after == before | {"max_steps": 8}


def test_ctrl_c_says_how_to_go_on(call: Call, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Trainer.train_step

    def interrupted(self: Trainer) -> trainer.StepResult:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    status, out, err = call("train", *TEXT_RUN, "--data", "text.txt", "--out", "stopped", "--max-steps", 5)
    assert status == 75 and "Traceback" not in err
    assert "stopped after step 3; go on with: minigpt train --out stopped --resume" in out
    monkeypatch.undo()
    monkeypatch.setenv("MINIGPT_CACHE", str(world / "cache"))
    monkeypatch.chdir(world)
    status, out, _ = call("train", "--out", "stopped", "--resume")
    assert status == 0 and "step 3 of 5" in out
    assert [line["step"] for line in read_metrics(world / "stopped")] == [1, 2, 3, 4, 5]


def test_a_typo_in_the_learning_rate_leads_nobody_in_a_circle(call: Call, world: Path) -> None:
    """The run ends before its first checkpoint is due; each message has a remedy that works."""
    flags = (*TEXT_RUN, "--data", "text.txt", "--out", "typo", "--max-steps", 30)
    status, _, err = call("train", *flags, "--learning-rate", 1e30, "--warmup-steps", 0)
    assert status == 2 and "training diverged" in err and "with --resume from the newest checkpoint" in err
    status, _, err = call("train", *flags)
    assert status == 2 and "already holds a run: add --resume to go on with it" in err
    status, out, _ = call("train", "--out", "typo", "--resume", "--learning-rate", 1e-3, "--max-steps", 3)
    assert status == 0 and "training typo" in out and "step 0 of 3" in out
    status, _, err = call("train", *flags[:-4], "--out", "plain", "--max-steps", 3, "--learning-rate", 1e-3)
    same = [[line["loss"] for line in read_metrics(world / run)] for run in ("typo", "plain")]
    assert status == 0 and len(same[0]) == len(same[1]) == 3


def test_a_padded_vocabulary_is_drawn_from_as_if_it_were_not_padded(call: Call, world: Path) -> None:
    flags = (*TEXT_RUN, "--data", "text.txt", "--max-steps", 3, "--pad-vocab", 64)
    assert call("train", *flags, "--out", "padded")[0] == 0
    found = checkpoint.newest_good(world / "padded")[0]
    assert (found.model_config.vocab_size, found.model_config.padded_vocab_size) == (len(set(TEXT)), 64)
    assert found.model_state["token_embedding.weight"].shape == (64, 16)
    for how in (("--num", 20, "--seed", 1), ("--beams", 4), ("--stream", "--seed", 2), ("--temperature", 0)):
        status, out, err = call("generate", "the", "--model", "padded", "--max-new-tokens", 12, *how)
        assert (status, err) == (0, "") and set(out) <= set(TEXT + "\n")
    status, out, _ = call("train", "--out", "padded", "--resume", "--max-steps", 5)
    assert status == 0 and "step 3 of 5" in out
    status, out, _ = call("evaluate", "--model", "padded", "--json")
    assert json.loads(out)["loss"] == pytest.approx(read_metrics(world / "padded")[-1]["val_loss"], abs=1e-6)
    status, _, err = call("export", "--model", "padded", "--out", "padded_gpt2")
    assert status == 0, err
    assert json.loads((world / "padded_gpt2" / "config.json").read_text())["vocab_size"] == 64


def test_a_full_disk_leaves_the_old_checkpoint(call: Call, text_run: Path, world: Path) -> None:
    import resource  # not on Windows

    shutil.copytree(text_run, world / "full")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # too little for a checkpoint, enough for the metrics
    try:
        status, _, err = call("train", "--out", "full", "--resume", "--max-steps", 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2 and "could not be written" in err and "then go on from step-00000006 with --resume" in err
    assert sorted(p.name for p in (world / "full" / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    status, out, _ = call("train", "--out", "full", "--resume", "--max-steps", 8)
    assert status == 0 and "step 6 of 8" in out
    assert [line["step"] for line in read_metrics(world / "full")] == list(range(1, 9))


@pytest.fixture(scope="module")
def bad_texts(world: Path) -> None:
    for name, content in (
        ("empty.txt", b"\n"), ("picture.png", b"\x89PNG\x00"), ("latin.txt", b"Gr\xfc\xdfe " * 99),
        ("short.txt", b"a b c"), ("other.txt", TEXT.upper().encode()),
    ):  # fmt: skip
        (world / name).write_bytes(content)


@pytest.mark.usefixtures("bad_texts")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # Flags.
        ("train --out", "argument --out: expected one argument"),
        ("train --preset", "argument --preset: expected one argument"),
        # Presets and configs.
        ("train --preset tinny", "there is no preset 'tinny'; did you mean 'tiny'"),
        ("train --d-model 130", "d_model 130 is not divisible by n_heads 4"),
        ("train --n-kv-heads 3", "n_heads 4 is not divisible by n_kv_heads 3"),
        (
            "train --rope-base 0 --norm-epsilon -1",
            "rope_base is 0.0; it must be above 0 and finite - norm_epsilon is -1",
        ),
        ("train --norm batchnorm", "invalid choice 'batchnorm'"),
        ("train --n-heads 0 --dropout 1", "n_heads is 0; it must be at least 1 - dropout is 1.0"),
        ("train --max-steps 0 --learning-rate -1", "max_steps is 0; it must be at least 1 - learning_rate is -1.0"),
        ("train --batch-size 10 --accumulate 4", "choose a batch_size that is a multiple of 4"),
        ("train --threads 100000", "threads is 100000; it must be below 1025"),
        ("train --seed -1", "seed is -1; it must be at least 0"),
        ("train --device gpu", "device 'gpu' cannot be used here"),
        # Data.
        ("train --data no/such.txt", "there is no data set and no file called 'no/such.txt'; named data sets: stories"),
        ("train --data empty.txt", "'empty.txt' is empty"),
        ("train --data picture.png", "'picture.png' is not a text file: it has zero bytes"),
        ("train --data latin.txt", "'latin.txt' is not UTF-8 text"),
        ("train --data short.txt --tokenizer char", "tokens, and a row needs context_length + 1 = 193"),
        ("train --data .", "'.' is a folder; give the path of one text file"),
        ("train --data text.txt --tokenizer bpe --vocab-size 100", "vocab_size is 100; byte pairs need at least 256"),
        ("train --data stories --tokenizer char", "'char' is for text files"),
        ("train --context-length 60", "does not fit into context_length 60: choose a context_length"),
        # Runs.
        ("train --preset tiny --out text_run", "'text_run' already holds a run: add --resume to go on with it"),
        ("train --preset tiny --out text.txt", "'text.txt' cannot hold a run"),
        ("train --out nowhere --resume", "'nowhere' has no checkpoint to go on from or to use: train without --resume"),
        ("train --out text_run --resume --n-layers 3", "another model (n_layers was 1, now 3)"),
        ("train --out text_run --resume --d-model 32 --max-steps 9", "another model (d_model was 16, now 32)"),
        (
            "train --out text_run --resume --data other.txt",
            "another data (name was text.txt, now other.txt; sha256 was",
        ),
        ("train --out text_run --resume --optimizer muon", "another optimizer (optimizer was adamw, now muon)"),
    ],
)
def test_bad_input_gives_one_message_and_exit_status_2(
    refused: Callable[[str], str], arguments: str, message: str
) -> None:
    assert message in refused(arguments)
