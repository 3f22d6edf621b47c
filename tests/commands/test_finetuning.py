"""minigpt finetune and evaluate --task: runs on files and tasks, what goes on after a stop, and wrong input."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.config import FINETUNING
from minigpt.evaluation.intervals import wilson
from minigpt.generation.generate import generate
from minigpt.text import labels
from minigpt.text.chat import CHAT_TOKENS, encode_prompt, end_of_turn, read_answer
from minigpt.text.example_files import file_sha256
from minigpt.text.finetuning import ChatData
from minigpt.training import trainer
from minigpt.training.metrics import read_metrics
from minigpt.training.trainer import Trainer
from minigpt.weights import checkpoint
from tests.commands.runs import Call

FAST = ("--threads", 1, "--precision", "float32", "--warmup-steps", 1, "--batch-size", 2, "--eval-every", 0)


def chat(ask: str, answer: str) -> str:
    return json.dumps({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]})


def labelled(text: str, label: str) -> str:
    return json.dumps({"text": text, "label": label})


CHATS = [chat(ask, answer) for ask in ("cat", "dog", "mat", "log", "the", "sat") for answer in ("on", "a")]
LABELS = [labelled(f"{word} {more}", word) for word in ("cat", "dog") for more in ("sat", "mat", "log", "on", "the")]


@pytest.fixture(scope="module")
def files(world: Path) -> Path:
    (world / "chats.jsonl").write_text("\n".join(CHATS))
    (world / "labels.jsonl").write_text("\n".join(LABELS))
    return world


@pytest.fixture
def chat_run(call: Call, text_run: Path, files: Path) -> Path:
    if not (files / "chat_run").exists():
        flags = ("--model", text_run, "--task", "chats.jsonl", "--out", "chat_run", *FAST)
        assert call("finetune", *flags, "--max-steps", 4, "--save-every", 2)[0] == 0
    return files / "chat_run"


@pytest.fixture
def label_run(call: Call, text_run: Path, files: Path) -> Path:
    if not (files / "label_run").exists():
        flags = ("--model", text_run, "--task", "labels.jsonl", "--out", "label_run", *FAST)
        status, out, err = call("finetune", *flags, "--max-steps", 2)
        assert status == 0 and "labels.jsonl: 8 lines to learn from, 0.5 times each, and 2 to measure on" in out, err
    return files / "label_run"


def test_a_model_without_them_gets_the_tokens_of_a_chat_and_keeps_its_own(chat_run: Path, text_run: Path) -> None:
    before, after = (checkpoint.newest_good(run)[0] for run in (text_run, chat_run))
    known = before.model_config.vocab_size
    assert list(after.tokenizer.special_tokens) == list(CHAT_TOKENS)
    assert after.model_config.vocab_size == known + len(CHAT_TOKENS) == after.tokenizer.vocab_size
    assert after.run["data"]["name"] == "chats.jsonl" and after.run["train"]["optimizer"] == "muon"
    first = checkpoint.load(checkpoint.checkpoint_folders(chat_run)[0])
    assert first.step == 2 and len(read_metrics(chat_run)) == 4
    moved = (first.model_state["token_embedding.weight"][:known] - before.model_state["token_embedding.weight"]).abs()
    assert moved.max() < 0.02, "training begins with what the model was"


def test_it_goes_on_as_if_it_had_never_stopped(
    call: Call, chat_run: Path, text_run: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.train_step

    def interrupted(self: Trainer) -> trainer.StepResult:
        if self.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    flags = ("--model", text_run, "--task", "chats.jsonl", "--out", "stopped", *FAST, "--max-steps", 4)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        status, out, err = call("finetune", *flags)
    assert status == 75 and "go on with: minigpt finetune --out stopped --resume" in out, err
    status, out, _ = call("finetune", "--out", "stopped", "--resume")
    assert status == 0 and "going on with stopped" in out and "step 2 of 4" in out
    assert "done. Try: minigpt evaluate --model stopped" in out
    one, other = (checkpoint.newest_good(run)[0].model_state for run in (chat_run, files / "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_with_the_tokens_keeps_its_vocabulary(call: Call, chat_run: Path, files: Path) -> None:
    flags = ("--model", "chat_run", "--task", "chats.jsonl", "--out", "again", *FAST, "--max-steps", 1)
    assert call("finetune", *flags)[0] == 0
    one, other = (checkpoint.newest_good(run)[0] for run in (chat_run, files / "again"))
    assert one.tokenizer.contents() == other.tokenizer.contents() and one.model_config == other.model_config


def test_answers_to_a_file_are_measured_where_the_model_has_not_learned(
    call: Call, chat_run: Path, files: Path
) -> None:
    status, out, err = call("evaluate", "--model", "chat_run", "--json")
    report = json.loads(out)
    assert status == 0 and (report["task"], report["split"], report["examples"]) == ("chats.jsonl", "val", 2), err
    model, tokenizer = checkpoint.load_model(str(chat_run))
    data = ChatData(str(files / "chats.jsonl"), tokenizer, model.config.context_length)
    right = 0
    for asked in (data.example("val", index) for index in range(2)):
        prompt = encode_prompt(tokenizer, asked.messages[:-1])
        (ids,) = generate(model, prompt, 8, temperature=0.0, stop_token=end_of_turn(tokenizer))
        right += read_answer(tokenizer, ids) in asked.answers
    assert (report["right"], report["share"]) == (right, right / 2) and report["loss"] > 0
    assert [report["low"], report["high"]] == pytest.approx(wilson(right, 2))
    (files / "others.jsonl").write_text("\n".join(CHATS[:4]))
    status, out, _ = call("evaluate", "--model", "chat_run", "--task", "others.jsonl")
    assert status == 0 and "split" in out and " all" in out and "95% confidence" in out


def test_the_classes_of_a_file_stay_with_the_model(call: Call, label_run: Path, files: Path) -> None:
    found = checkpoint.newest_good(label_run)[0]
    assert found.run["data"]["labels"] == ["cat", "dog"] and found.model_config.n_labels == 2
    assert found.run["data"]["sha256"] == file_sha256(files / "labels.jsonl")
    status, out, err = call("evaluate", "--model", "label_run", "--json")
    report = json.loads(out)
    assert status == 0 and (report["split"], report["examples"], report["baseline"]) == ("val", 2, 0.5), err
    assert {label: number for label, (_, number) in report["by_kind"].items()} == {"cat": 1, "dog": 1}
    (files / "one.jsonl").write_text(labelled("the dog", "dog"))
    status, out, _ = call("evaluate", "--model", "label_run", "--task", "one.jsonl", "--json")
    assert status == 0 and json.loads(out)["by_kind"] == {"cat": [0, 0], "dog": [json.loads(out)["right"], 1]}
    status, out, _ = call("finetune", "--out", "label_run", "--resume", "--max-steps", 3)
    assert status == 0 and "step 2 of 3" in out


def test_a_task_and_stories_and_adapters(call: Call, story_run: Path, files: Path) -> None:
    flags = ("--model", story_run, "--task", "mood", "--stories", 0.5, "--out", "mood_run", *FAST, "--max-steps", 2)
    status, out, err = call("finetune", *flags, "--lora", 2)
    assert status == 0 and "adapter" in out, err
    spec = checkpoint.newest_good(files / "mood_run")[0].run["data"]
    assert spec == {"name": "mood", "format": "chats", "mixed": "stories", "share": 0.5}
    status, out, err = call("evaluate", "--model", "mood_run", "--samples", 4)
    assert status == 0 and "always" in out and "examples  4" in out, err
    status, out, _ = call("finetune", "--out", "mood_run", "--resume", "--max-steps", 3)
    assert status == 0 and "step 2 of 3" in out


def test_an_adapter_alone_serves_beside_its_base_and_no_other(
    call: Call, text_run: Path, chat_run: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--model", "text_run", "--task", "chats.jsonl", "--out", "adapted", *FAST, "--max-steps", 3)
    status, out, err = call("finetune", *flags, "--lora", 2, "--learning-rate", 0.1)
    assert status == 0 and "the adapter alone, 0.0 MB: --adapter adapted/adapter.safetensors" in out, err
    run = json.loads(call("evaluate", "--model", "adapted", "--json")[1])
    beside = ("--model", "text_run", "--adapter", "adapted/adapter.safetensors")
    assert json.loads(call("evaluate", *beside, "--json")[1]) == run and run["split"] == "val"
    text = ("generate", "the cat", "--seed", 1, "--max-new-tokens", 9)
    plain, one, other = (call(*text, *model)[1] for model in (("--model", "text_run"), ("--model", "adapted"), beside))
    assert one == other != plain
    said = []
    for model in (("--model", "adapted"), beside):
        lines = iter(("cat", "/quit"))
        monkeypatch.setattr("builtins.input", lambda _, lines=lines: next(lines))
        said.append(call("chat", *model, "--seed", 2, "--max-new-tokens", 5))
    assert said[0] == said[1] and said[0][0] == 0 and said[0][1].strip()
    status, out, _ = call("export", "--out", "exported", *beside)
    assert status == 0 and json.loads((files / "exported" / "config.json").read_text())["vocab_size"] == 20
    for command in ("evaluate", "generate a", "export --out never"):
        status, out, err = call(*command.split(), "--model", "chat_run", "--adapter", "adapted/adapter.safetensors")
        assert (status, out) == (2, "") and "belongs to another base model" in err and not (files / "never").exists()


def test_a_task_with_chinese_brings_a_token_for_each_character(call: Call, story_run: Path, files: Path) -> None:
    flags = ("--model", "story_run", "--task", "translation", "--out", "chinese", *FAST, "--max-steps", 2)
    status, out, err = call("finetune", *flags, "--lora", 2, "--learning-rate", 0.1)
    assert status == 0 and "the tokenizer has learned Chinese: 1.0 tokens a character, and 3.0 before" in out, err
    before, after = (checkpoint.newest_good(files / run)[0] for run in ("story_run", "chinese"))
    assert after.run["data"] == {"name": "translation", "format": "chats", "chinese": True}
    assert len(after.tokenizer.encode("三只狐狸")) == 4 and len(before.tokenizer.encode("三只狐狸")) == 12
    assert after.tokenizer.encode("Once upon a time") == before.tokenizer.encode("Once upon a time")
    run = call("evaluate", "--model", "chinese", "--samples", 3, "--json")
    beside = ("--model", "story_run", "--adapter", "chinese/adapter.safetensors")
    assert run[0] == 0 and call("evaluate", *beside, "--samples", 3, "--json") == run
    status, out, _ = call("finetune", "--out", "chinese", "--resume", "--max-steps", 3)
    assert status == 0 and "step 2 of 3" in out and "has learned" not in out


def test_comments_are_learned_and_measured_in_chinese(call: Call, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Noted(labels.LabelData):
        def __init__(self, *given: Any) -> None:
            seen.append([text for text, _ in given[2]["test"]])
            super().__init__(*given)

    monkeypatch.setattr(labels, "LabelData", Noted)
    flags = ("--task", "moderation", "--language", "zh", "--out", "zh", *FAST, "--max-steps", 1, "--lora", 1)
    assert call("finetune", *flags)[0] == 0
    assert checkpoint.newest_good(files / "zh")[0].run["data"]["language"] == "zh"
    assert not (files / "zh" / "adapter.safetensors").exists(), "a classifier's head is no part of an adapter"
    for more, chinese in (((), True), (("--language", "en"), False)):
        assert call("evaluate", "--model", "zh", "--samples", 3, *more)[0] == 0
        assert all(text.endswith("。") == chinese for text in seen[-1])
    assert call("finetune", "--out", "zh", "--resume", "--max-steps", 2)[0] == 0


def test_lines_that_cannot_be_used_are_told_and_counted(call: Call, text_run: Path, files: Path) -> None:
    (files / "mixed.jsonl").write_text("\n".join([*CHATS, chat("the cat sat on the mat", "a"), "{}"]))
    flags = ("--model", text_run, "--task", "mixed.jsonl", "--out", "skipped", *FAST, "--max-steps", 1)
    status, out, err = call("finetune", *flags)
    assert status == 2 and "line 13: this line needs" in err and "with --skip-bad" in err
    assert not (files / "skipped").exists()
    status, out, err = call("finetune", *flags, "--skip-bad")
    assert status == 0 and "2 lines were left out:" in out and "line 14: this line is no JSON object with a list" in out
    assert call("evaluate", "--model", "skipped")[0] == 0, "the same lines are left out again"
    shutil.move(files / "mixed.jsonl", files / "moved.jsonl")
    status, out, err = call("finetune", "--out", "skipped", "--resume", "--max-steps", 2)
    assert status == 2 and "If the file was moved, add --task NEW_PLACE" in err
    assert call("finetune", "--out", "skipped", "--resume", "--max-steps", 2, "--task", "moved.jsonl")[0] == 0


def test_each_command_goes_on_with_its_own_runs(call: Call, chat_run: Path, text_run: Path) -> None:
    status, _, err = call("train", "--out", "chat_run", "--resume")
    assert status == 2 and "go on with minigpt finetune --out chat_run --resume" in err
    status, _, err = call("finetune", "--out", "text_run", "--resume")
    assert status == 2 and "go on with minigpt train --out text_run --resume" in err


def test_the_flags_are_those_of_training(call: Call) -> None:
    _, out, _ = call("finetune", "--help")
    assert all(f"--{name.replace('_', '-')}" in out for name in trainer.TrainConfig.__dataclass_fields__)
    assert set(FINETUNING) == {"chats", "labels"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "bad.jsonl' has no conversation and no labelled text: in each line must be {"),
        (["cat"], "no labelled text ('bad.jsonl', line 1: this line is not JSON"),
        ([CHATS[0], "{"], "line 2: this line is not JSON"),
        ([json.dumps({"messages": [{"role": "user", "content": "cat"}]})], "line 1: this conversation of 1 message"),
        ([json.dumps({"messages": [{"role": "tool", "content": "cat"}]})], "line 1: message 1 has the role 'tool'"),
        ([chat("the cat sat on the mat", "a")], "line 1: this line needs 27 tokens of context and the model has 16"),
        ([chat("cat", "a"), chat("cat", "on")], "the same is asked: at least two different conversations are needed"),
        ([*LABELS, labelled("sat", "log")], "one text only with the label 'log': each label needs at least two"),
        (LABELS[:5], "has one label only, 'cat': there is nothing to tell apart"),
        ([*LABELS, labelled("", "cat")], 'line 11: the "text" is empty'),
        ([*LABELS, json.dumps({"text": "cat", "label": 1})], 'line 11: this line is no JSON object with two strings'),
        ([*LABELS, labelled("the cat sat on the mat", "cat")], "line 11: this text needs 23 tokens of context and the"),
        ([*LABELS, labelled("Zebra", "cat")], "line 11: unknown character 'Z'"),
    ],
)  # fmt: skip
def test_a_bad_file_gives_one_message_and_leaves_nothing(
    call: Call, text_run: Path, files: Path, lines: list[str], message: str
) -> None:
    (files / "bad.jsonl").write_text("\n".join(lines))
    status, out, err = call("finetune", "--model", text_run, "--task", "bad.jsonl", "--out", "never", *FAST)
    assert (status, out) == (2, "") and "Traceback" not in err
    assert message in err and not (files / "never").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("finetune", "which task? Add --task questions"),
        ("finetune --task qestions", "there is no task and no file called 'qestions'; did you mean 'questions'"),
        ("finetune --task mood --model nowhere", "there is no model and no folder called 'nowhere'"),
        ("finetune --task mood --model text_run", "unknown character 'O' at position 0"),
        ("finetune --task mood --model label_run", "this model tells 2 labels apart and writes nothing"),
        ("finetune --task mood --stories 1.5", "the share of stories is 1.5; it must be above 0 and below 1"),
        ("finetune --task sentiment --stories 0.5", "a classifier learns labels and can tell no stories"),
        ("finetune --task chats.jsonl --model text_run --lora 99", "choose a rank up to 16"),
        ("finetune --task chats.jsonl --model text_run --lora 0", "lora is 0; it must be at least 1"),
        ("finetune --task chats.jsonl --model text_run --lora -1", "lora is -1; it must be at least 1"),
        ("finetune --task chats.jsonl --model text_run --out chat_run", "chat_run' already holds a run"),
        ("finetune --resume --out nowhere", "nowhere' has no checkpoint to go on from"),
        ("evaluate --task questions", "no token <|end|>, so its model cannot chat"),
        ("evaluate --task sentiment --model chat_run", "this model writes text and tells no labels apart: first"),
        ("evaluate --task sentiment --model label_run", "this model tells cat, dog; the labels of sentiment are"),
        ("evaluate --task mood --model label_run", "this model tells 2 labels apart and writes no answers"),
        ("evaluate --task stories --model label_run", "n_labels 2"),
        ("evaluate --task three.jsonl --model label_run", "has the label 'log', which this model does not tell"),
        ("evaluate --task nothing.jsonl", "there is no task and no file called 'nothing.jsonl'"),
        ("evaluate --task chats.jsonl --model chat_run --split test", "has no split 'test'"),
        ("evaluate --task mood --model chat_run --samples 0", "samples is 0; a task needs at least 1"),
        ("evaluate --task mood --model chat_run --data text.txt", "for a task's file say --task NEW_PLACE"),
        (
            "finetune --task chats.jsonl --model text_run --language zh",
            "--language zh is for the comments of sentiment",
        ),
        ("finetune --task mood --language French", "invalid choice 'French'"),
        ("evaluate --task chats.jsonl --model chat_run --language en", "--language is for the comments of sentiment"),
        ("generate a --model label_run", "the model is a classifier with 2 labels"),
        ("generate a --model text_run --adapter nowhere", "there is no adapter 'nowhere'"),
        ("generate a --model text_run --adapter text.txt", "'text.txt' is damaged or no safetensors file"),
    ],
)
def test_bad_input_gives_one_message_and_exit_status_2(
    call: Call, chat_run: Path, label_run: Path, files: Path, arguments: str, message: str
) -> None:
    (files / "three.jsonl").write_text(labelled("the log", "log"))
    words = arguments.split()
    if words[0] == "finetune" and "--out" not in words:
        words += ["--out", "never"]
    status, out, err = call(*words)
    assert (status, out) == (2, "") and "Traceback" not in err
    assert message in err and not (files / "never").exists()
