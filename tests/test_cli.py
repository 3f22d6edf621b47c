"""The command line: every command with right arguments and with wrong ones."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pooch
import pytest
import torch
from nbformat.sign import NotebookNotary

from minigpt import checkpoint, cli, pretrained, stories, trainer
from minigpt import data as data_module
from minigpt.cli import COMMANDS, main
from minigpt.config import PRESETS, GPTConfig
from minigpt.metrics import read_metrics
from minigpt.model import GPT
from minigpt.tokenizer import BPETokenizer
from minigpt.trainer import Trainer

TEXT = "the cat sat on the mat, and the dog sat on the log. " * 40
SMALL = ["--d-model", "16", "--n-layers", "1", "--threads", "1", "--precision", "float32", "--warmup-steps", "2"]
TEXT_RUN = ["--preset", "tiny", "--tokenizer", "char", "--context-length", "16", *SMALL]

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process: exit status, stdout, and stderr without the lines of its boxes."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # tyro's way out
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, re.sub(r"[│╭╮╰╯─\s]+", " ", err)

    return run


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with a text, and a small tokenizer for stories in place of the bundled one."""
    folder = tmp_path_factory.mktemp("cli")
    tokenizer = BPETokenizer.train([stories.draw(0, i).text for i in range(300)], 900)
    (folder / "text.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGPT_CACHE", str(folder / "cache"))
        patch.setattr(torch.cuda, "is_available", lambda: False)  # a GPU would round in its own way
        patch.setattr(data_module, "storyteller_tokenizer", lambda: tokenizer)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def text_run(world: Path) -> Path:
    """A run on the text, with checkpoints of steps 4 and 6."""
    flags = ["--data", "text.txt", "--max-steps", "6", "--save-every", "4", "--out", "text_run"]
    assert main(["train", *TEXT_RUN, *flags]) == 0
    return world / "text_run"


@pytest.fixture(scope="module")
def story_run(world: Path) -> Path:
    """A run on stories."""
    flags = ["--batch-size", "2", "--context-length", "300", "--max-steps", "2", "--out", "story_run"]
    with pytest.MonkeyPatch.context() as patch:
        small_validation = data_module.StoryData.held_out_stories
        patch.setattr(data_module.StoryData, "held_out_stories", lambda self, split: small_validation(self, split)[:8])
        assert main(["train", "--preset", "tiny", *SMALL, *flags]) == 0
    return world / "story_run"


# Help.


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_names_every_command(call: Call, arguments: list[str]) -> None:
    status, out, err = call(*arguments)
    assert status == 0 and err == ""
    assert all(re.search(rf"^  {name} +[A-Z].*\.$", out, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(call: Call, name: str) -> None:
    status, out, err = call(name, "--help")
    assert status == 0 and err.strip() == ""
    options = re.findall(r"(--[a-z][a-z0-9-]+)", out)
    assert "--help" in options and len(options) >= 3
    lines = re.sub(r"[│╭╮╰╯─]", " ", out)
    for option in set(options) - {"--help"}:
        if not option.startswith("--no-"):
            assert re.search(rf"{option}\b[^\n]*\s+\S", lines), f"{option} has no help"


def test_the_flags_of_train_are_the_two_configs(call: Call) -> None:
    _, out, _ = call("train", "--help")
    for field in [*GPTConfig.__dataclass_fields__, *trainer.TrainConfig.__dataclass_fields__]:
        assert re.search(f"--{field.replace('_', '-')}[ ,]", out), field


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["data", "prepare", "--help"], ["generate", "--nmu", "3"], ["nonsense"]],
)
def test_help_and_typing_errors_do_not_wait_for_torch(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom minigpt.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Right arguments.


def test_doctor_tells_what_this_machine_has(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # a short trial of threads
    status, out, err = call("doctor", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["torch"] == torch.__version__ and report["best threads"] == 1 and report["cpu cores"] == 1
    assert report["offline: the story world"] is True and report["offline: tiny Shakespeare"] is False
    assert report["free disk (GB)"] > 0 and report["precision"] in ("float32", "bfloat16")
    status, out, _ = call("doctor")
    assert status == 0 and "best threads" in out and "tiny Shakespeare is downloaded" in out


def test_data_shows_stories_with_their_bits(call: Call) -> None:
    status, out, err = call("data", "--num", 2, "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["different stories"] == stories.world().n_stories
    first = stories.story_at("train", 0)
    assert report["examples"][0] == {"plot": first.plot, "bits": first.bits, "text": first.text}
    status, out, _ = call("data", "stories", "--num", 1)
    assert status == 0 and first.text in " ".join(out.split())


def test_data_prepares_a_text(call: Call, world: Path) -> None:
    arguments = ("data", "text.txt", "--tokenizer", "char", "--context-length", 8, "--num", 2)
    status, out, err = call(*arguments, "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["vocab_size"] == len(set(TEXT)) and report["train tokens"] == len(TEXT) * 9 // 10
    assert report["val bytes"] == len(TEXT) - len(TEXT) * 9 // 10
    assert [len(example["text"]) for example in report["examples"]] == [8, 8]
    assert all(example["text"] in TEXT for example in report["examples"])
    assert Path(report["folder"]).parent == world / "cache"
    status, out, _ = call(*arguments)
    assert status == 0 and "a training row" in out and "vocab_size" in out
    assert json.loads(call(*arguments, "--verify", "--json")[1])["files verified"] == 2


@pytest.fixture(scope="module")
def shards(world: Path) -> Path:
    """A folder of shards, from two texts."""
    (world / "more.txt").write_text("a bird in the hand is worth two in the bush. " * 30)
    BPETokenizer.train(TEXT, 270).save(world / "bpe.json")
    arguments = ["text.txt", "more.txt", "--out", "shards", "--tokenizer", "bpe.json", "--workers", "1"]
    assert main(["data", "prepare", *arguments, "--shard-mb", "0.0005"]) == 0
    return world / "shards"


def test_data_prepares_texts_of_any_size(call: Call, shards: Path, world: Path) -> None:
    arguments = ("data", "prepare", "text.txt", "more.txt", "--out", "shards", "--tokenizer", "bpe.json")
    status, out, err = call(*arguments, "--shard-mb", 0.0005, "--workers", 1, "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["shards kept"] == report["train shards"] + report["val shards"] > 6
    assert report["train bytes"] + report["val bytes"] == sum(
        (world / name).stat().st_size for name in ("text.txt", "more.txt")
    )
    assert report["vocab_size"] == 270 and report["folder"] == "shards"
    status, out, _ = call("data", "shards", "--context-length", 8, "--num", 1, "--verify", "--json")
    seen = json.loads(out)
    assert status == 0 and seen["files verified"] == report["shards kept"]
    assert {name: seen[name] for name in report if "val" in name} == {k: v for k, v in report.items() if "val" in k}
    status, out, err = call(*arguments, "--workers", 1)
    assert (status, out) == (2, "") and "begun with --shard-mb 0.0005. Go on with the same" in err


def test_data_prepare_takes_the_tokenizer_of_a_run_or_gpt2(
    call: Call, text_run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("data", "prepare", "text.txt", "--workers", 1, "--tokenizer")
    assert call(*arguments, "text_run", "--out", "characters", "--json")[0] == 0
    assert json.loads(call("data", "characters", "--context-length", 8, "--json")[1])["train bytes"] > 0
    monkeypatch.setattr(pretrained, "gpt2_tokenizer", lambda: BPETokenizer.train(TEXT, 265))
    assert json.loads(call(*arguments, "gpt2", "--out", "as_gpt2", "--json")[1])["vocab_size"] == 265
    status, out, err = call(*arguments, "nowhere.json", "--out", "nowhere")
    assert (status, out) == (2, "") and "no model and no folder called 'nowhere.json'" in err
    assert not (world / "nowhere").exists()


def test_data_prepare_explains_its_options(call: Call) -> None:
    status, out, err = call("data", "prepare", "--help")
    assert (status, err) == (0, "")
    assert all(option in out for option in ("PATH", "--out", "--tokenizer", "--workers", "--shard-mb", "--json"))
    status, out, err = call("data", "prepare", "--out", "x", "--tokenizer", "storyteller")
    assert (status, out) == (2, "") and "there is no text to prepare: give the paths of .txt or .jsonl files" in err


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


def test_tokenizer_cuts_a_text(call: Call, text_run: Path) -> None:
    status, out, err = call("tokenizer", "the cat", "--model", "text_run", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["tokens"] == list("the cat")
    status, out, _ = call("tokenizer", "the cat", "--model", "text_run")
    assert status == 0 and "7 tokens for 7 bytes" in out
    assert call("tokenizer", "--model", "text_run")[1].startswith(f"{len(set(TEXT))} tokens;")


@pytest.mark.parametrize("source", ["stories", "text.txt"])
def test_tokenizer_is_trained(call: Call, source: str) -> None:
    out_file = f"{source}.json"
    status, out, err = call(
        "tokenizer", "--train", source, "--num-stories", 20, "--vocab-size", 270, "--out", out_file, "--json"
    )
    assert (status, err, json.loads(out)) == (0, "", {"out": out_file, "vocab_size": 270})
    text = "Once upon a time <|endoftext|>"
    assert "".join(json.loads(call("tokenizer", text, "--model", out_file, "--json")[1])["tokens"]) == text


def test_train_writes_metrics_and_checkpoints(text_run: Path) -> None:
    metrics = read_metrics(text_run)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(line["loss"], float) for line in metrics)
    assert sorted(p.name for p in (text_run / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    found = checkpoint.newest_good(text_run)[0]
    assert found.model_config.d_model == 16 and found.model_config.feed_forward_size == 64, "d_ff follows --d-model"
    assert found.model_config.vocab_size == len(set(TEXT))
    assert found.run["train"]["learning_rate"] == PRESETS["tiny"].train.learning_rate


def test_a_preset_brings_its_tokenizer(call: Call, world: Path) -> None:
    text = "To be, or not to be. " * 200
    (world / "own.txt").write_text(text, encoding="utf-8")
    flags = ("--data", "own.txt", "--out", "own", "--max-steps", 1, "--threads", 1)
    assert call("train", "--preset", "shakespeare-char", *flags)[0] == 0
    assert checkpoint.newest_good(world / "own")[0].tokenizer.vocab_size == len(set(text))


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


def test_evaluate_prints_one_object(call: Call, story_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = data_module.StoryData.held_out_stories
    monkeypatch.setattr(data_module.StoryData, "held_out_stories", lambda self, split: original(self, split)[:8])
    status, out, err = call("evaluate", "--model", story_run, "--samples", 3, "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["gap"] == pytest.approx(report["loss"] - report["floor"])
    assert 0 < report["floor"] < report["loss"] and (report["grammatical"], report["consistent"]) == (0, 0)
    assert (report["data"], report["split"]) == ("stories", "test")
    status, out, _ = call("evaluate", "--model", story_run, "--split", "val", "--samples", 0)
    assert status == 0 and "nats per token" in out and "consistent" not in out


def test_evaluate_measures_a_model_on_its_own_text(call: Call, text_run: Path) -> None:
    status, out, err = call("evaluate", "--model", "text_run", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["loss"] == pytest.approx(read_metrics(text_run)[-1]["val_loss"], abs=1e-6)
    assert report["floor"] is None and report["data"] == "text.txt"


def test_generate_tells_different_texts_and_the_same_for_a_seed(call: Call, story_run: Path) -> None:
    arguments = ("generate", "Once upon", "--model", story_run, "--num", 5, "--max-new-tokens", 12)
    status, out, err = call(*arguments, "--seed", 1, "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert len(set(report["texts"])) == 5 and all(text.startswith("Once upon") for text in report["texts"])
    assert call(*arguments, "--seed", 1, "--json")[1] == out
    assert call(*arguments, "--seed", 2, "--json")[1] != out
    status, out, _ = call("generate", "the ", "--model", story_run, "--temperature", 0, "--max-new-tokens", 3)
    assert status == 0 and out.startswith("the ")


def test_generate_slides_over_the_context(call: Call, text_run: Path) -> None:
    status, out, _ = call("generate", "the cat", "--model", "text_run", "--max-new-tokens", 40, "--seed", 0, "--json")
    assert status == 0 and len(json.loads(out)["texts"][0]) == 47
    status, out, _ = call("generate", "the cat", "--model", "text_run", "--seed", 0, "--json")
    assert status == 0 and len(json.loads(out)["texts"][0]) == 16, "by default as much as the context holds"


def test_generate_streams_the_text_that_it_would_print(call: Call, text_run: Path) -> None:
    arguments = ("generate", "the cat", "--model", text_run, "--max-new-tokens", 40, "--seed", 3)
    text = json.loads(call(*arguments, "--json")[1])["texts"][0]
    assert call(*arguments, "--stream") == (0, text + "\n", "")


def test_generate_says_how_probable_a_text_is(call: Call, text_run: Path) -> None:
    arguments = ("generate", "the cat", "--model", text_run, "--max-new-tokens", 9, "--json")
    greedy = json.loads(call(*arguments, "--temperature", 0)[1])
    loaded, used = checkpoint.load_model(str(text_run))
    ids = torch.tensor([used.encode(greedy["texts"][0])])
    with torch.no_grad():
        expected = loaded(ids)[0].log_softmax(-1)[range(6, 15), ids[0, 7:]].sum().item()
    assert greedy["log_probabilities"] == pytest.approx([expected], abs=1e-4)
    best = json.loads(call(*arguments, "--beams", 4, "--num", 3, "--length-penalty", 0)[1])
    assert len(set(best["texts"])) == 3 and all(len(text) == 16 for text in best["texts"])
    assert best["log_probabilities"] == sorted(best["log_probabilities"], reverse=True)
    assert best["log_probabilities"][0] >= expected - 1e-4
    one = json.loads(call(*arguments, "--beams", 1)[1])
    assert one["texts"] == greedy["texts"]
    assert one["log_probabilities"] == pytest.approx(greedy["log_probabilities"], abs=1e-4)


def test_generate_can_avoid_repetition(call: Call, text_run: Path) -> None:
    arguments = ("generate", "the cat", "--model", text_run, "--max-new-tokens", 9, "--temperature", 0, "--json")
    plain, varied = (json.loads(call(*arguments, *more)[1])["texts"][0] for more in ((), ("--repetition-penalty", 9)))
    assert len(set(varied)) > len(set(plain))


def test_the_bundled_model_tells_five_different_stories(call: Call) -> None:
    status, out, err = call("generate", "Once upon a time", "--num", 5, "--seed", 1, "--json")
    texts = json.loads(out)["texts"]
    assert (status, err) == (0, "") and len(set(texts)) == 5
    assert sum(stories.verify(text).consistent for text in texts) >= 3


def test_an_export_is_a_model_like_any_other(call: Call, story_run: Path, world: Path) -> None:
    status, out, err = call("export", "--model", story_run, "--out", "exported", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["parameters"] == sum(p.numel() for p in checkpoint.load_model(str(story_run))[0].parameters())
    assert (report["out"], report["biases"]) == ("exported", "as trained") and "900 tokens" in report["tokenizer"]
    arguments = ("generate", "Once upon", "--max-new-tokens", 12, "--seed", 1, "--json", "--model")
    told, again = (json.loads(call(*arguments, name)[1])["texts"] for name in (story_run, "exported"))
    assert told == again
    assert call("tokenizer", "Once", "--model", "exported") == call("tokenizer", "Once", "--model", story_run)
    status, out, err = call("evaluate", "--model", "exported")
    assert (status, out) == (2, "") and "'exported' does not say what it was trained on" in err


def test_an_export_says_what_is_not_as_it_was(call: Call, text_run: Path, world: Path) -> None:
    model, tokenizer = checkpoint.load_model("text_run")
    checkpoint.save(world / "no_bias", GPT(replace(model.config, bias=False)), tokenizer)
    status, out, err = call("export", "--model", "no_bias", "--out", "no_bias_export")
    assert (status, err) == (0, "") and "AutoModelForCausalLM.from_pretrained('no_bias_export')" in out
    assert "biases      zeros, because every GPT-2 has biases" in out
    assert "tokenizer   left out, because transformers has none that gives each character an id" in out
    status, out, err = call("generate", "the", "--model", "no_bias_export")
    assert (status, out) == (2, "") and "has no tokenizer: neither vocab.json with merges.txt nor tokenizer.json" in err


def test_gpt2_by_name(call: Call, story_run: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline there is one message; and after what it says was done, it works."""
    assert call("export", "--model", story_run, "--out", "as_gpt2_small")[0] == 0
    sha256 = hashlib.sha256((world / "as_gpt2_small" / "model.safetensors").read_bytes()).hexdigest()
    config = checkpoint.load_model(str(story_run))[0].config
    monkeypatch.setitem(pretrained.RELEASES, "gpt2", pretrained.Release(config, "c0", 1, sha256))
    monkeypatch.setattr(pretrained, "HUB", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr(pooch.get_logger(), "disabled", True)  # it may hold the stderr of an earlier test
    arguments = ("generate", "Hello, my name is", "--model", "gpt2", "--num", 5, "--max-new-tokens", 8)
    status, out, err = call(*arguments)
    assert (status, out) == (2, "") and "Traceback" not in err
    assert "openai-community/gpt2 on Hugging Face, into" in err and "Go online once" in err
    shutil.copytree(world / "as_gpt2_small", world / "cache" / "gpt2", dirs_exist_ok=True)
    status, out, err = call(*arguments, "--json")
    texts = json.loads(out)["texts"]
    assert (status, err) == (0, "") and len(set(texts)) == 5
    assert call("tokenizer", "Once", "--model", "gpt2")[0] == 0
    assert "'gpt2' does not say what it was trained on" in call("evaluate", "--model", "gpt2")[2]


class TestLab:
    """JupyterLab itself is not started: what would be called is."""

    @pytest.fixture(autouse=True)
    def course(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

        def note(command: list[str], **options: Any) -> int:
            self.calls.append((command, options))
            return 7

        monkeypatch.setattr(subprocess, "call", note)
        monkeypatch.setattr(cli, "_version", lambda package: "4.0")
        for name in ("00_start_here", "01_next_token_game", "02_tokenization", "10_training_on_a_cpu"):
            (tmp_path / "notebooks").mkdir(exist_ok=True)
            (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
        (tmp_path / "notebooks" / "source").mkdir()
        monkeypatch.chdir(tmp_path / "notebooks" / "source")
        return tmp_path

    @pytest.mark.parametrize(
        ("lesson", "opened"),
        [(None, "00_start_here"), ("0", "00_start_here"), ("1", "01_next_token_game"), ("02", "02_tokenization"),
         ("10", "10_training_on_a_cpu"), ("02_tokenization.ipynb", "02_tokenization"),
         ("notebooks/02_tokenization.ipynb", "02_tokenization"), ("/abs/02_tokenization.ipynb", "02_tokenization")],
    )  # fmt: skip
    def test_it_opens_the_lesson(self, call: Call, course: Path, lesson: str | None, opened: str) -> None:
        assert call("lab", *([lesson] if lesson else []), "--port", 9999)[0] == 7
        (command, options) = self.calls[0]
        assert command[:4] == [sys.executable, "-m", "jupyterlab", "--port=9999"]
        assert command[-1] == f"--LabApp.default_url=/lab/tree/notebooks/{opened}.ipynb" and options["cwd"] == course
        assert f"--ServerApp.root_dir={course}" in command, "the pictures of a lesson are outside its folder"

    def test_without_a_display_it_prints_the_address(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        for display in (None, ":0"):
            for name in ("DISPLAY", "WAYLAND_DISPLAY"):
                monkeypatch.delenv(name, raising=False)
            if display:
                monkeypatch.setenv("DISPLAY", display)
            monkeypatch.setattr(cli.platform, "system", lambda: "Linux")
            call("lab")
        assert ["--no-browser" in command for command, _ in self.calls] == [True, False]

    def test_stored_figures_of_the_course_are_trusted_and_nothing_else(
        self, call: Call, course: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(course / "data"))
        folder = course / "notebooks"
        figure = nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg/>"})
        for name in ("01_next_token_game", "mine"):
            cell = nbformat.v4.new_code_cell(name, outputs=[figure])
            nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{name}.ipynb")
        (folder / "source" / "01_next_token_game.py").touch()
        (folder / "source" / "02_tokenization.py").touch()
        (folder / "02_tokenization.ipynb").write_text("broken")
        assert call("lab")[0] == 7
        trusted = {path.stem: NotebookNotary().check_signature(nbformat.read(path, 4)) for path in
                   (folder / "01_next_token_game.ipynb", folder / "mine.ipynb")}  # fmt: skip
        assert trusted == {"01_next_token_game": True, "mine": False}

    def test_an_unknown_lesson_comes_with_the_nearest(self, call: Call) -> None:
        status, out, err = call("lab", "02_tokenisation")
        assert (status, out, self.calls) == (2, "", []) and "did you mean '02_tokenization'" in err

    def test_without_the_course_it_says_where_to_run(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cli, "__file__", str(tmp_path / "site-packages" / "minigpt" / "cli.py"))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir("/")
        status, _, err = call("lab")
        assert status == 2 and "run this in a clone of the course's repository" in err

    def test_without_jupyterlab_it_says_how_to_install(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cli, "_version", lambda package: "not installed")
        status, _, err = call("lab")
        assert status == 2 and "make lab" in err and self.calls == []


# Wrong arguments.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "there is no command 'trian'; did you mean 'train'"),
        ("--verbose", "there is no command '--verbose'"),
        # Flags.
        ("train --max-stepz 5", "Perhaps you meant: --max-steps"),
        ("generate --temprature 2", "Perhaps you meant: --temperature"),
        ("evaluate --sampels 5", "Perhaps you meant: --samples"),
        ("evaluate --samples many", "Error parsing --samples: invalid literal for int() with base 10: 'many'"),
        ("generate one two", "Unrecognized options: two"),
        ("train --out", "argument --out: expected one argument"),
        ("train --preset", "argument --preset: expected one argument"),
        ("train --optimizer sgd", "invalid choice 'sgd' for argument '--optimizer'"),
        ("data --tokenizer words", "invalid choice 'words' for argument '--tokenizer'"),
        # Presets and configs.
        ("train --preset tinny", "there is no preset 'tinny'; did you mean 'tiny'"),
        ("train --d-model 130", "d_model 130 is not divisible by n_heads 4"),
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
        ("data storys", "there is no data set and no file called 'storys'"),
        ("data text.txt --context-length 0", "context_length is 0; it must be at least 1"),
        ("data --num -1", "num is -1; it must be at least 0"),
        # Tokenizer.
        ("tokenizer --train text.txt", "Add --out FILE.json"),
        ("tokenizer --train no.txt --out t.json", "no file called 'no.txt'"),
        ("tokenizer --train text.txt --out t.json --vocab-size 9", "vocab_size"),
        ("tokenizer --train text.txt --out text.txt/t.json", "cannot write text.txt/t.json"),
        ("tokenizer --train stories --num-stories 0 --out t.json", "num_stories is 0"),
        ("tokenizer hello --model text.txt", "text.txt is not a"),
        ("tokenizer hello --model nowhere", "there is no model and no folder called 'nowhere'"),
        ("tokenizer Zebra --model text_run", "unknown character 'Z' at position 0"),
        # Models.
        ("generate --model storytelr", "no folder called 'storytelr'; did you mean 'storyteller'? Valid names: story"),
        ("generate --model gpt2-xxl", "no folder called 'gpt2-xxl'; did you mean 'gpt2-xl'?"),
        ("generate --model cache", "'cache' holds neither a checkpoint nor a run"),
        ("generate --model text_run", "this model needs a beginning"),
        ("generate Zebra --model text_run", "unknown character 'Z'"),
        ("generate the_cat --model text_run --num 0", "unknown character '_'"),
        ("generate a --model text_run --num 0", "num is 0; it must be at least 1"),
        ("generate a --model text_run --max-new-tokens -1", "max_new_tokens is -1; it must be at least 0"),
        ("generate a --model text_run --temperature -1", "temperature is -1.0"),
        ("generate a --model text_run --top-k 0", "top_k is 0; it must be between 1 and"),
        ("generate a --model text_run --top-p 1.5", "top_p is 1.5; it must be above 0 and at most 1"),
        ("generate a --model text_run --seed -3", "seed is -3; it must be at least 0"),
        ("generate a --model text_run --repetition-penalty 0", "repetition_penalty is 0.0; it must be a positive"),
        ("generate a --model text_run --beams 0", "beams is 0; it must be at least 1"),
        ("generate a --model text_run --beams 2 --num 3", "--beams 2 finds 2 texts and draws nothing"),
        ("generate a --model text_run --beams 2 --top-k 3", "leave out --temperature, --top-k"),
        ("generate a --model text_run --beams 2 --max-new-tokens 17", "max_new_tokens is 17; with 1 tokens of prompt"),
        ("generate a --model text_run --stream --num 2", "--stream shows one text while it is drawn"),
        ("generate a --model text_run --stream --top-k 0", "top_k is 0"),
        ("generate a --model text_run --device gpu", "device 'gpu' cannot be used here"),
        (f"generate {'a' * 17} --model text_run", "the prompt has 17 tokens, and the model's context holds 16"),
        ("evaluate --model nowhere", "there is no model and no folder called 'nowhere'"),
        ("evaluate --model text_run --split test", "text.txt has no split 'test'; choose from train, val"),
        ("evaluate --model story_run --split dev --samples 0", "there is no split 'dev'"),
        ("evaluate --model story_run --samples -1", "samples is -1; it must be at least 0"),
        # Exports.
        ("export", "Required options"),
        ("export --model nowhere --out never", "there is no model and no folder called 'nowhere'"),
        ("export --model text_run --out text_run", "text_run' is there already: name a folder that is new, or empty"),
        ("export --model text_run --out text.txt", "text.txt' is there already"),
        ("export --model text_run --out text.txt/out", "text.txt/out' could not be written"),
        # Runs.
        ("train --preset tiny --out text_run", "'text_run' already holds a run: add --resume to go on with it"),
        ("train --preset tiny --out text.txt", "'text.txt' cannot hold a run"),
        ("train --out nowhere --resume", "'nowhere' has no checkpoint that can be used"),
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
    call: Call, world: Path, text_run: Path, story_run: Path, arguments: str, message: str
) -> None:
    for name, content in (
        ("empty.txt", b"\n"), ("picture.png", b"\x89PNG\x00"), ("latin.txt", b"Gr\xfc\xdfe " * 99),
        ("short.txt", b"a b c"), ("other.txt", TEXT.upper().encode()),
    ):  # fmt: skip
        (world / name).write_bytes(content)
    before = {path: path.read_bytes() for run in (text_run, story_run) for path in run.rglob("*") if path.is_file()}
    words = arguments.split()
    if words[0] == "train" and "--out" not in words:
        words += ["--out", "never"]
    status, out, err = call(*words)
    assert status == 2, err
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err and out == ""
    assert not (world / "never" / "checkpoints").exists()
    shutil.rmtree(world / "never", ignore_errors=True)
    assert before == {p: p.read_bytes() for run in (text_run, story_run) for p in run.rglob("*") if p.is_file()}


def test_a_damaged_checkpoint_is_passed_over_and_the_newest_good_one_named(
    call: Call, text_run: Path, world: Path
) -> None:
    shutil.copytree(text_run, world / "damaged")
    path = checkpoint.checkpoint_folder(world / "damaged", 6) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    for arguments in (("evaluate",), ("generate", "the"), ("tokenizer", "the")):
        status, out, err = call(*arguments, "--model", "damaged", "--json")
        assert status == 0 and json.loads(out)
        assert "step-00000006': model.safetensors is truncated or was changed" in err
        assert "the newest good checkpoint is 'damaged/checkpoints/step-00000004'" in err
    status, out, err = call("generate", "the", "--model", "damaged/checkpoints/step-00000006")
    assert (status, out) == (2, "") and "The newest good checkpoint of this run is" in err and "step-00000004" in err
    status, out, err = call("train", "--out", "damaged", "--resume")
    assert status == 0 and "step 4 of 6" in out and "step-00000006" in out + err
    path = checkpoint.checkpoint_folder(world / "damaged", 6) / "config.json"
    path.write_text(path.read_text().replace('"step": 6', '"step": 5'))
    assert "config.json is truncated or was changed" in call("evaluate", "--model", "damaged")[2]


def test_a_full_disk_leaves_the_old_checkpoint(call: Call, text_run: Path, world: Path) -> None:
    import resource  # not on Windows

    shutil.copytree(text_run, world / "full")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # too little for a checkpoint, enough for the metrics
    try:
        status, _, err = call("train", "--out", "full", "--resume", "--max-steps", 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2 and "could not be written" in err and "make room, then go on with --resume" in err
    assert sorted(p.name for p in (world / "full" / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    status, out, _ = call("train", "--out", "full", "--resume", "--max-steps", 8)
    assert status == 0 and "step 6 of 8" in out
    assert [line["step"] for line in read_metrics(world / "full")] == list(range(1, 9))


def test_a_text_that_has_changed_is_noticed(call: Call, world: Path) -> None:
    (world / "mine.txt").write_text(TEXT)
    flags = ["--data", "mine.txt", "--max-steps", "1", "--out", "mine"]
    assert call("train", *TEXT_RUN, *flags)[0] == 0
    (world / "mine.txt").write_text(TEXT.replace("cat", "tac"))
    status, out, err = call("evaluate", "--model", "mine")
    assert (status, out) == (2, "") and "'mine.txt' has changed since the model was trained on it" in err
    status, _, err = call("train", "--out", "mine", "--resume", "--max-steps", 2)
    assert status == 2 and "another data (sha256 was" in err


def test_a_model_of_unknown_origin_cannot_be_measured_or_resumed(call: Call, text_run: Path, world: Path) -> None:
    model, tokenizer = checkpoint.load_model("text_run")
    checkpoint.save(world / "bare", model, tokenizer)
    status, out, err = call("evaluate", "--model", "bare")
    assert (status, out) == (2, "") and "does not say what it was trained on" in err
    assert call("generate", "the", "--model", "bare")[0] == 0
    checkpoint.save(checkpoint.checkpoint_folder(world / "bare_run", 1), model, tokenizer, step=1)
    status, out, err = call("train", "--out", "bare_run", "--resume")
    assert (status, out) == (2, "") and "does not say how it was trained" in err


def test_what_the_system_refuses_is_no_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied", "/root/secret")

    monkeypatch.setitem(COMMANDS, "data", refuse)
    status, out, err = call("data")
    assert (status, out) == (2, "") and "Permission denied: '/root/secret'" in err


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


def test_ctrl_c_outside_training_is_quiet(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "doctor", interrupted)
    assert call("doctor") == (130, "", "")


def test_output_that_cannot_hold_a_character_gets_its_code(text_run: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "minigpt", "generate", "\u4f60", "--model", "text_run"]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 2 and b"unknown character '\\u4f60'" in done.stderr and b"Traceback" not in done.stderr
    done = subprocess.run([*command[:3], "train", "--help"], capture_output=True, env=environment)
    assert done.returncode == 0 and b"cuda:1, \\u2026" in done.stdout


def test_as_a_program_it_exits_with_the_status() -> None:
    command = [sys.executable, "-m", "minigpt"]
    done = subprocess.run([*command, "generate", "--model", "nowhere"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "minigpt: error: there is no model and no folder called 'nowhere'; choose from storyteller, gpt2, "
        "gpt2-medium, gpt2-large, gpt2-xl\n"
    )
    assert subprocess.run([*command, "--help"], capture_output=True, text=True).returncode == 0


def test_presets_name_their_own_vocabulary_only_until_the_data_is_known(world: Path, text_run: Path) -> None:
    found = checkpoint.newest_good(text_run)[0]
    expected = replace(
        PRESETS["tiny"].model, vocab_size=len(set(TEXT)), context_length=16, n_layers=1, d_model=16
    )  # fmt: skip
    assert found.model_config == expected
