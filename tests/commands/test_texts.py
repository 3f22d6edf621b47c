"""minigpt data, data prepare and tokenizer, with right arguments and with wrong ones."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt.text import stories
from minigpt.text.tokenizer import BPETokenizer
from minigpt.weights import pretrained
from tests.commands.runs import TEXT, Call


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


def test_tokenizer_cuts_a_text(call: Call, text_run: Path) -> None:
    status, out, err = call("tokenizer", "the cat", "--model", "text_run", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["tokens"] == list("the cat")
    status, out, _ = call("tokenizer", "the cat", "--model", "text_run")
    assert status == 0 and "7 tokens for 7 bytes" in out
    assert call("tokenizer", "--model", "text_run")[1].startswith(f"{len(set(TEXT))} tokens;")


def test_tokens_that_are_no_character_are_told_apart(call: Call) -> None:
    out = call("tokenizer", "é 你")[1]
    for byte in ("\\xc3", "\\xa9", "\\xe4", "\\xbd", "\\xa0"):
        assert f"'{byte}'" in out
    assert "�" not in out and "\\xe4" in json.loads(call("tokenizer", "你", "--json")[1])["tokens"]


def test_data_prepare_leaves_out_what_it_is_told_to(call: Call, world: Path) -> None:
    lines = [json.dumps({"text": f"document number {i}"}) for i in range(40)]
    (world / "docs.NDJSON").write_text("\n".join([*lines[:9], '{"txt": 1}', *lines[9:]]))
    flags = ("--tokenizer", "bpe.json", "--workers", 1)
    (world / "bpe.json").unlink(missing_ok=True)
    BPETokenizer.train(TEXT, 270).save(world / "bpe.json")
    status, _, err = call("data", "prepare", "docs.NDJSON", "--out", "docs", *flags)
    assert status == 2 and "'docs.NDJSON', line 10 (byte " in err and "--skip-bad" in err
    status, out, _ = call("data", "prepare", "docs.NDJSON", "--out", "docs", *flags, "--skip-bad", "--json")
    report = json.loads(out)
    assert status == 0 and report["left out"] == 1 and "line 10 (byte" in report["the first of them"]


@pytest.mark.parametrize("source", ["stories", "text.txt"])
def test_tokenizer_is_trained(call: Call, source: str) -> None:
    out_file = f"{source}.json"
    status, out, err = call(
        "tokenizer", "--train", source, "--num-stories", 20, "--vocab-size", 270, "--out", out_file, "--json"
    )
    assert (status, err, json.loads(out)) == (0, "", {"out": out_file, "vocab_size": 270})
    text = "Once upon a time <|endoftext|>"
    assert "".join(json.loads(call("tokenizer", text, "--model", out_file, "--json")[1])["tokens"]) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("data storys", "there is no data set and no file called 'storys'"),
        ("data text.txt --context-length 0", "context_length is 0; it must be at least 1"),
        ("data --num -1", "num is -1; it must be at least 0"),
        ("tokenizer --train text.txt", "Add --out FILE.json"),
        ("tokenizer --train no.txt --out t.json", "no file called 'no.txt'"),
        ("tokenizer --train text.txt --out t.json --vocab-size 9", "vocab_size"),
        ("tokenizer --train text.txt --out text.txt/t.json", "cannot write text.txt/t.json"),
        ("tokenizer --train stories --num-stories 0 --out t.json", "num_stories is 0"),
        ("tokenizer Zebra --model text_run", "unknown character 'Z' at position 0"),
    ],
)
def test_bad_input_gives_one_message_and_exit_status_2(
    refused: Callable[[str], str], arguments: str, message: str
) -> None:
    assert message in refused(arguments)
