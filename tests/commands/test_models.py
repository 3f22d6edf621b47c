"""minigpt evaluate, generate and export, with right arguments and with wrong ones."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minigpt.model.gpt import GPT
from minigpt.text import data as data_module
from minigpt.text import stories
from minigpt.training.metrics import read_metrics
from minigpt.weights import checkpoint
from minigpt.weights.models import load_model
from tests.commands.runs import TEXT, TEXT_RUN, Call
from tests.weights.llama_files import write_gguf


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


def test_a_text_that_has_changed_is_noticed(call: Call, world: Path) -> None:
    (world / "mine.txt").write_text(TEXT)
    flags = ["--data", "mine.txt", "--max-steps", "1", "--out", "mine"]
    assert call("train", *TEXT_RUN, *flags)[0] == 0
    (world / "mine.txt").write_text(TEXT.replace("cat", "tac"))
    status, out, err = call("evaluate", "--model", "mine")
    assert (status, out) == (
        2,
        "",
    ) and "'mine.txt' is not the text that the model was trained on, or has changed" in err
    status, _, err = call("train", "--out", "mine", "--resume", "--max-steps", 2)
    assert status == 2 and "another data (sha256 was" in err and "bring the old data back" in err
    (world / "mine.txt").rename(world / "moved.txt")
    (world / "moved.txt").write_text(TEXT)
    status, _, err = call("evaluate", "--model", "mine")
    assert status == 2 and "no file called 'mine.txt'" in err and "add --data NEW_PLACE" in err
    status, out, _ = call("evaluate", "--model", "mine", "--data", "moved.txt")
    assert status == 0 and "nats per token" in out


def test_a_model_of_unknown_origin_cannot_be_measured_or_resumed(call: Call, text_run: Path, world: Path) -> None:
    model, tokenizer = checkpoint.load_model("text_run")
    checkpoint.save(world / "bare", model, tokenizer)
    status, out, err = call("evaluate", "--model", "bare")
    assert (status, out) == (2, "") and "does not say what it was trained on" in err
    assert call("generate", "the", "--model", "bare")[0] == 0
    checkpoint.save(checkpoint.checkpoint_folder(world / "bare_run", 1), model, tokenizer, step=1)
    status, out, err = call("train", "--out", "bare_run", "--resume")
    assert (status, out) == (2, "") and "does not say how it was trained" in err


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
        ("generate a --model text_run --beams 2 --num -1", "--num is -1; it must be at least 1"),
        ("generate a --model text_run --beams 2 --num 3", "--beams 2 finds 2 texts and draws nothing"),
        ("generate a --model text_run --beams 2 --top-k 3", "leave out --temperature, --top-k"),
        ("generate a --model text_run --beams 2 --max-new-tokens 17", "max_new_tokens is 17; with 1 tokens of prompt"),
        ("generate a --model text_run --stream --num 2", "--stream shows one text while it is drawn"),
        ("generate a --model text_run --stream --top-k 0", "top_k is 0"),
        ("generate a --model text_run --device gpu", "device 'gpu' cannot be used here"),
        (f"generate {'a' * 17} --model text_run", "the prompt has 17 tokens, and the model's context holds 16"),
        ("evaluate --model text_run --split test", "text.txt has no split 'test'; choose from train, val"),
        ("evaluate --model story_run --split dev --samples 0", "there is no split 'dev'"),
        ("evaluate --model story_run --samples -1", "samples is -1; it must be at least 0"),
        ("export", "Required options"),
        ("export --model text_run --out text_run", "text_run' is there already: name a folder that is new, or empty"),
        ("export --model text_run --out text.txt", "text.txt' is there already"),
        ("export --model text_run --out text.txt/out", "text.txt/out' could not be written"),
    ],
)
def test_bad_input_gives_one_message_and_exit_status_2(
    refused: Callable[[str], str], arguments: str, message: str
) -> None:
    assert message in refused(arguments)


def test_evaluate_asks_multiple_choice(call: Call, story_run: Path, world: Path) -> None:
    lines = ['{"context": "Once upon a ", "choices": ["time", "tortoise made of glass"], "answer": 0}'] * 3
    long = {"context": "once " * 2000, "choices": ["a", "b"], "answer": 0}
    (world / "asked.jsonl").write_text("\n".join([*lines, json.dumps(long)]))
    status, out, err = call("evaluate", "--model", story_run, "--task", "asked.jsonl", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "") and (report["examples"], report["too_long"], report["baseline"]) == (3, 1, 0.5)
    assert report["ways"]["sum"]["right"] == 3 and report["ways"]["sum"]["low"] == pytest.approx(0.4385, abs=1e-4)
    status, out, _ = call("evaluate", "--model", story_run, "--task", "asked.jsonl")
    assert status == 0 and "too long, left out        1" in out and "guessing                  0.500" in out
    status, out, _ = call("evaluate", "--task", "everyday-zh", "--samples", 8, "--json")
    assert status == 0 and json.loads(out)["examples"] == 8
    (world / "asked.jsonl").write_text("\n".join([*lines, '{"context": "a", "choices": ["b", "c"], "answer": 2}']))
    status, out, err = call("evaluate", "--model", story_run, "--task", "asked.jsonl")
    assert (status, out) == (2, "") and "'asked.jsonl', line 4: \"answer\" is 2, so no choice is right" in err
    status, out, err = call("evaluate", "--model", story_run, "--task", "everyday", "--split", "val")
    assert (status, out) == (2, "") and "multiple choice has no split 'val'" in err
    status, out, err = call("finetune", "--task", "everyday", "--out", "taught")
    assert (status, out) == (2, "") and "'everyday' is multiple choice" in err


# Somebody else's models.


@pytest.fixture(scope="module")
def llama(world: Path) -> str:
    return str(write_gguf(world / "small.gguf"))


def test_a_llama_from_a_file_writes_is_measured_and_goes_out(call: Call, llama: str, world: Path) -> None:
    status, out, err = call("generate", "The cat", "--model", llama, "--seed", 1, "--max-new-tokens", 8, "--json")
    assert (status, err) == (0, "") and json.loads(out)["texts"][0].startswith("The cat")
    status, streamed, _ = call("generate", "The cat", "--model", llama, "--seed", 1, "--max-new-tokens", 8, "--stream")
    assert status == 0 and streamed == json.loads(out)["texts"][0] + "\n"
    flags = ["--weights", "int8", "--seed", 1, "--max-new-tokens", 8, "--json"]
    status, out8, err = call("generate", "The cat", "--model", llama, *flags)
    assert (status, err) == (0, "") and json.loads(out8)["texts"][0].startswith("The cat")
    assert json.loads(out8)["log_probabilities"] != json.loads(out)["log_probabilities"]
    status, out, err = call("evaluate", "--model", llama, "--data", "text.txt", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "") and report["bytes"] == len(TEXT.encode()) and report["bits_per_byte"] > 1
    status, out, _ = call("export", "--model", llama, "--out", "as_llama")
    assert status == 0 and "layout      Llama" in out and "biases      none, as trained" in out
    status, out, _ = call("tokenizer", "x 2024", "--model", "as_llama", "--json")
    assert status == 0 and json.loads(out)["tokens"] == ["x", " ", "2", "0", "2", "4"]
    chats = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
    (world / "chats.jsonl").write_text(chats + chats.replace("Hi", "Ho"))
    status, out, err = call("evaluate", "--model", llama, "--task", "chats.jsonl", "--json")
    assert (status, err) == (0, "") and json.loads(out)["examples"] == 2
    flags = ["--max-steps", 2, "--batch-size", 2, "--precision", "float32", "--threads", 1, "--out", "taught"]
    status, out, err = call("finetune", "--task", "chats.jsonl", "--model", llama, *flags)
    assert status == 0, err
    status, out, err = call("evaluate", "--model", "taught", "--task", "chats.jsonl", "--json")
    assert (status, err) == (0, "") and json.loads(out)["split"] == "val"
    assert load_model("taught")[1].contents() == load_model(llama)[1].contents()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("evaluate --model small.gguf", "--data FILE measures it on a text of yours"),
        ("evaluate --model small.gguf --data no.txt", "'no.txt' is no text that can be read"),
        ("generate x --model cut.gguf", "'cut.gguf' cannot be used: it is cut short"),
        ("tokenizer x --model cut.gguf", "'cut.gguf' cannot be used: it is cut short"),
        ("evaluate --model small.gguf --task labels.jsonl", "writes text and tells no labels apart"),
    ],
)
def test_wrong_arguments_for_somebody_elses_model(
    refused: Callable[[str], str], llama: str, world: Path, arguments: str, said: str
) -> None:
    (world / "cut.gguf").write_bytes(Path(llama).read_bytes()[:5000])
    (world / "labels.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    assert said in refused(arguments)
