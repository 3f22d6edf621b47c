"""A model is found by its name or its folder, by every command that takes one, or one message says why not."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pooch
import pytest

from minigpt.weights import checkpoint, pretrained
from tests.commands.runs import Call


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tokenizer hello --model text.txt", "text.txt is not a"),
        ("tokenizer hello --model nowhere", "there is no model and no folder called 'nowhere'"),
        ("generate --model storytelr", "no folder called 'storytelr'; did you mean 'storyteller'? Valid names: story"),
        ("generate --model gpt2-xxl", "no folder called 'gpt2-xxl'; did you mean 'gpt2-xl'?"),
        ("generate --model cache", "'cache' holds neither a checkpoint nor a run"),
        ("evaluate --model nowhere", "there is no model and no folder called 'nowhere'"),
        ("export --model nowhere --out never", "there is no model and no folder called 'nowhere'"),
    ],
)
def test_bad_input_gives_one_message_and_exit_status_2(
    refused: Callable[[str], str], arguments: str, message: str
) -> None:
    assert message in refused(arguments)
