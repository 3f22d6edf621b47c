"""Checkpoints: bit for bit the same when read back, refused when anything was changed, and never half-written."""

import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT, parameter_count
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer, Tokenizer
from minigpt.weights import checkpoint
from minigpt.weights.checkpoint import (
    BUNDLED,
    build_model,
    checkpoint_folder,
    find,
    keep_newest,
    load,
    load_model,
    newest_good,
    save,
)

FILES = ("config.json", "model.safetensors", "tokenizer.json", "training.safetensors")
RUN = {"data": {"name": "stories"}, "seconds": 0.1 + 0.2, "train": {"learning_rate": 1e-3}, "text": "Größe 你好"}


def tiny(seed: int = 0, **options: Any) -> GPT:
    torch.manual_seed(seed)
    return GPT(GPTConfig(**{"vocab_size": 7, "context_length": 4, "n_layers": 1, "n_heads": 2, "d_model": 8} | options))


def training_state(model: GPT) -> dict[str, Tensor]:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    optimizer.step()
    state = {f"{i}.{k}": v for i, values in optimizer.state_dict()["state"].items() for k, v in values.items()}
    return state | {"random.cpu": torch.get_rng_state()}


def save_step(run: Path, step: int) -> GPT:
    """A checkpoint of a run, with weights that tell which step it is."""
    model = tiny(step)
    save(checkpoint_folder(run, step), model, CharTokenizer("abc"), step=step, run=RUN, training=training_state(model))
    return model


def assert_is_step(found: checkpoint.Checkpoint, step: int) -> None:
    assert found.step == step
    model = tiny(step)
    training_state(model)
    for name, tensor in build_model(found).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


# Round trip.


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": False}, {"bias": False, "d_ff": 12}])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    model = tiny(vocab_size=260, **options)
    training = training_state(model)
    with torch.no_grad():  # numbers that text would round, and some that are no numbers
        model.token_embedding.weight[0, :5] = torch.tensor([math.inf, math.nan, -0.0, 1e-45, 1 / 3])
    tokenizer = BPETokenizer.train("an apple and an ant", 260)
    save(tmp_path / "one", model, tokenizer, step=17, run=RUN, training=training)
    found = load(tmp_path / "one")
    assert (found.step, found.run, found.model_config, found.folder) == (17, RUN, model.config, tmp_path / "one")
    assert found.tokenizer.contents() == tokenizer.contents()
    assert found.training.keys() == training.keys()
    for name, tensor in training.items():
        assert torch.equal(found.training[name], tensor) and found.training[name].dtype == tensor.dtype
    state = build_model(found).state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name].view(torch.int32), tensor.view(torch.int32)), name
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(FILES)


MODERN: dict[str, Any] = {"positions": "rope", "rope_base": 77.0, "norm": "rmsnorm", "norm_epsilon": 0.01}
MODERN |= {"n_kv_heads": 1, "feed_forward": "swiglu"}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("fields", [{}, MODERN], ids=["gpt2", "modern"])
def test_the_rebuilt_model_computes_and_learns_the_same(tmp_path: Path, tied: bool, fields: dict[str, Any]) -> None:
    model = tiny(tie_embeddings=tied, dropout=0.5, **fields)
    save(tmp_path / "one", model, CharTokenizer("abc"))
    rebuilt = build_model(load(tmp_path / "one"))
    assert not rebuilt.training, "ready to use: no dropout"
    assert (rebuilt.output_head.weight is rebuilt.token_embedding.weight) == tied
    ids = torch.tensor([[1, 2, 3, 0]])
    assert torch.equal(rebuilt(ids), model.eval()(ids))
    for one in (model, rebuilt):
        one(ids).square().sum().backward()
    for (name, a), (_, b) in zip(model.named_parameters(), rebuilt.named_parameters(), strict=True):
        assert a.grad is not None and b.grad is not None and torch.equal(a.grad, b.grad), name
    assert sum(p.numel() for p in rebuilt.parameters()) == parameter_count(model.config)
    assert load(tmp_path / "one").training == {} and not (tmp_path / "one" / "training.safetensors").exists()


def test_a_tied_matrix_is_stored_once(tmp_path: Path) -> None:
    save(tmp_path / "one", tiny(vocab_size=1000), CharTokenizer("abc"))
    assert "output_head.weight" not in load(tmp_path / "one").model_state
    assert (tmp_path / "one" / "model.safetensors").stat().st_size < 4 * parameter_count(
        tiny(vocab_size=1000).config
    ) + 5000


def test_saving_again_replaces_all_of_it(tmp_path: Path) -> None:
    save_step(tmp_path, 3)
    save(checkpoint_folder(tmp_path, 3), tiny(9), CharTokenizer("xy"), step=3)
    found = load(checkpoint_folder(tmp_path, 3))
    assert found.training == {} and found.tokenizer.vocab_size == 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


# Damage.


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("sound")
    save_step(run, 5)
    return checkpoint_folder(run, 5)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "longer", "changed", "folder"])
def test_a_damaged_file_is_refused_and_named(sound: Path, tmp_path: Path, name: str, how: str) -> None:
    folder = shutil.copytree(sound, tmp_path / "copy")
    path = folder / name
    content = path.read_bytes()
    if how in ("missing", "folder"):
        path.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": content[:-1], "longer": content + b"x", "changed": changed}[how])
    if how == "folder":
        path.mkdir()
    with pytest.raises(InputError) as raised:
        load(folder)
    assert str(folder) in str(raised.value) and name in str(raised.value)
    assert how != "missing" or "is missing" in str(raised.value)


@given(data=st.data())
def test_no_byte_of_config_json_can_change_what_is_loaded(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("config")
    for name in FILES:
        os.link(sound / name, folder / name)
    content = (sound / "config.json").read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        changed = content[:place]
    else:
        changed = content[:place] + data.draw(st.binary(max_size=2)) + content[place + 1 :]
    (folder / "config.json").unlink()
    (folder / "config.json").write_bytes(changed)
    try:
        found = load(folder)
    except InputError as error:
        assert str(folder) in str(error)
    else:  # white space, or another way to write the same
        expected = load(sound)
        assert (found.step, found.run, found.model_config) == (expected.step, expected.run, expected.model_config)
        assert found.training.keys() == expected.training.keys()


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "1", '"text"', "{}", "[" * 100_000, "9" * 5000, "NaN", '{"format": 1}', "\ud800", '{"a": 1,}',
     '{"format": 1, "sha256": []}', '{"format": 1, "sha256": {"config.json": 1}}', '{"format": 2, "sha256": {}}'],
)  # fmt: skip
def test_any_config_json_is_an_input_error(sound: Path, tmp_path: Path, content: str) -> None:
    folder = shutil.copytree(sound, tmp_path / "copy")
    (folder / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=str(folder)):
        load(folder)


def forge(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change config.json and seal it anew, as someone would who read the code."""
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]["config.json"]
    change(config)
    if isinstance(config.get("sha256"), dict):
        config["sha256"]["config.json"] = checkpoint._seal(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(n_layers=2), r"tensor blocks.1.attention_norm.weight is missing"),
        (
            lambda c: c["model"].update(d_model=16),
            r"tensor token_embedding.weight is \(7, 8\), the config needs \(7, 16\)",
        ),
        (lambda c: c["model"].update(bias=False), r"tensor .*bias is not of this model"),
        (lambda c: c["model"].update(n_layers=1.0), "n_layers is 1.0; it must be a whole number"),
        (lambda c: c["model"].update(n_heads=3), "d_model 8 is not divisible by n_heads 3"),
        (lambda c: c["model"].update(n_layers="two"), "config.json is damaged"),
        (lambda c: c["model"].update(n_layer=1), "unknown field 'n_layer' in a model config; did you mean 'n_layers'"),
        (lambda c: c.update(model=[1]), "config.json is damaged"),
        (lambda c: c["sha256"].update({"more.bin": "0"}), "more.bin is missing"),
        (lambda c: c["sha256"].update({"model.safetensors": 1}), "model.safetensors is truncated or was changed"),
        (lambda c: c.update(format=2), "has format 2; this minigpt reads 1"),
    ],
)
def test_a_config_that_does_not_fit_its_tensors_is_an_input_error(
    sound: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    folder = shutil.copytree(sound, tmp_path / "copy")
    forge(folder, change)
    with pytest.raises(InputError, match=message):
        build_model(load(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("token_embedding.weight"), "tensor token_embedding.weight is missing"),
        (lambda t: t.update({name: x.int() for name, x in t.items()}), "its tensors are int32, not all float32"),
        (lambda t: t.update({"final_norm.bias": t["final_norm.bias"].half()}), "are float16, float32, not all float32"),
    ],
)
def test_tensors_that_are_sealed_but_not_a_models_are_an_input_error(
    sound: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    folder = shutil.copytree(sound, tmp_path / "copy")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    forge(folder, lambda config: config["sha256"].update({path.name: checkpoint._sha256(path)}))
    with pytest.raises(InputError, match=message):
        build_model(load(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "tokenizer.json"])
def test_a_file_that_is_sealed_but_no_tensors_is_an_input_error(sound: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(sound, tmp_path / "copy")
    (folder / name).write_bytes(b"something else")
    forge(folder, lambda config: config["sha256"].update({name: checkpoint._sha256(folder / name)}))
    with pytest.raises(InputError, match="a safetensors file is damaged|tokenizer.json is not"):
        load(folder)


# Which checkpoint.


def damage(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def test_the_newest_good_checkpoint_is_found_and_the_bad_ones_are_named(tmp_path: Path) -> None:
    for step in (2, 10, 30):
        save_step(tmp_path, step)
    found, problems = newest_good(tmp_path)
    assert_is_step(found, 30)
    assert problems == []
    damage(checkpoint_folder(tmp_path, 30))
    (checkpoint_folder(tmp_path, 10) / "config.json").unlink()
    for found, problems in (newest_good(tmp_path), find(str(tmp_path))):
        assert_is_step(found, 2)
        assert len(problems) == 2
        assert "step-00000030" in problems[0] and "model.safetensors is truncated" in problems[0]
        assert "step-00000010" in problems[1] and "config.json is missing" in problems[1]
    assert_is_step(find(str(checkpoint_folder(tmp_path, 2)))[0], 2)
    with pytest.raises(InputError, match="truncated or was changed .*The newest good checkpoint .*step-00000002'"):
        find(str(checkpoint_folder(tmp_path, 30)))
    damage(checkpoint_folder(tmp_path, 2))
    with pytest.raises(InputError, match="has no checkpoint that can be used") as raised:
        newest_good(tmp_path)
    assert all(f"step-{step:08d}" in str(raised.value) for step in (2, 10, 30))


def test_folders_that_are_no_checkpoints_are_not_looked_at(tmp_path: Path) -> None:
    save_step(tmp_path, 2)
    for name in ("step-00000009.unfinished", "step-7", "step-0000000x", "other"):
        (tmp_path / "checkpoints" / name).mkdir()
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    assert newest_good(tmp_path)[1] == []
    keep_newest(tmp_path, 1)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 6


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        save_step(tmp_path, step)
    keep_newest(tmp_path, 2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000010"]


def test_what_is_no_model_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="no model and no folder called 'storytelr'; bundled models: storyteller, helper"
    ):
        find("storytelr")
    with pytest.raises(InputError, match="holds neither a checkpoint nor a run; give the folder that --out named"):
        find(str(tmp_path))
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="no model and no folder called"):
        find(str(tmp_path / "file"))
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="has no checkpoint to go on from or to use: train without --resume"):
        find(str(tmp_path / "run"))
    with pytest.raises(InputError, match="has no checkpoint to go on from"):
        newest_good(tmp_path / "nowhere")
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="'.*young' is a run without a checkpoint: train it again"):
        find(str(tmp_path / "young"))
    for name, content in {"old": '{"n_embd": 768}', "page": "<html>", "list": "[]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
        with pytest.raises(
            InputError, match="damaged or no JSON|no checkpoint of minigpt: .* needs .model_type.: .gpt2"
        ):
            find(str(tmp_path / name))


def test_a_checkpoint_under_the_name_of_another_step_is_told(tmp_path: Path) -> None:
    for step in (3, 5):
        save_step(tmp_path, step)
    checkpoint_folder(tmp_path, 5).rename(checkpoint_folder(tmp_path, 9))
    found, problems = newest_good(tmp_path)
    assert_is_step(found, 3)
    assert (
        len(problems) == 1 and "step-00000009' holds step 5: give it the name that it had, step-00000005" in problems[0]
    )


@pytest.mark.parametrize("kind", ["file", "link"])
def test_whatever_has_the_name_of_a_checkpoint_makes_room_for_it(tmp_path: Path, kind: str) -> None:
    place = checkpoint_folder(tmp_path, 4)
    place.parent.mkdir()
    if kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    save_step(tmp_path, 4)
    assert_is_step(load(place), 4)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_a_model_smaller_than_its_tokenizer_is_refused_and_a_larger_one_is_padded(tmp_path: Path) -> None:
    save(tmp_path / "small", tiny(vocab_size=2), CharTokenizer("abc"))
    with pytest.raises(InputError, match="the tokenizer has 3 tokens, but the model's vocab_size is 2"):
        load(tmp_path / "small")
    save(tmp_path / "large", tiny(vocab_size=7), CharTokenizer("abc"))
    config = build_model(load(tmp_path / "large")).config
    assert (config.vocab_size, config.padded_vocab_size) == (3, 7)


def test_the_bundled_model_tells_stories_and_is_small() -> None:
    model, tokenizer = load_model()
    assert 500_000 < sum(p.numel() for p in model.parameters()) < 2_000_000
    assert model.config.vocab_size == tokenizer.vocab_size and tokenizer.end_of_text is not None
    assert sum(path.stat().st_size for path in BUNDLED["storyteller"].glob("*.safetensors")) < 6_000_000
    assert find("storyteller")[0].run["data"] == {"name": "stories"}


# Crashes and full disks.


class Crash(BaseException):
    """The process is gone: nothing runs after it, no `except` and no `finally` that does anything."""


class Disk:
    """Counts what is done to the file system, and at the operation number `fail_at` crashes or reports a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, error: BaseException, half: bool) -> None:
        self.count, self.fail_at, self.error, self.half = 0, fail_at, error, half
        self.log: list[tuple[str, str]] = []
        for owner, name in (
            (Path, "mkdir"), (Path, "write_text"), (Path, "rename"), (shutil, "rmtree"), (os, "fsync"),
            (checkpoint, "save_file"), (os, "replace"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, self.watched(name, getattr(owner, name)))

    def watched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            if name == "rmtree" and not isinstance(self.error, Crash):
                return original(*args, **kwargs)  # a full disk does not keep anyone from deleting
            number, self.count = self.count, self.count + 1
            if number == self.fail_at or (number > self.fail_at and isinstance(self.error, Crash)):
                if self.half and number == self.fail_at:
                    self.half_of(name, args)
                raise self.error
            self.log.append((name, str(args[-1] if name == "save_file" else args[0])))
            return original(*args, **kwargs)

        return operation

    def half_of(self, name: str, args: Any) -> None:
        """What is on the disk when it happens in the middle of an operation."""
        if name == "save_file":
            Path(args[1]).write_bytes(b"half")
        elif name == "write_text":
            with args[0].open("w") as file:
                file.write(args[1][: len(args[1]) // 2])
        elif name == "rmtree" and Path(args[0]).is_dir():
            sorted(Path(args[0]).iterdir())[0].unlink()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_crash_at_any_moment_leaves_the_old_or_the_new_checkpoint(tmp_path: Path, half: bool, again: bool) -> None:
    seen = set()
    for moment in range(100):
        run = tmp_path / str(moment)
        save_step(run, 2)
        if again:
            save_step(run, 4)
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = Disk(monkeypatch, moment, Crash(), half)
            try:
                save_step(run, 4)
                keep_newest(run, 1)
            except Crash:
                pass
        found, _ = newest_good(run)
        assert_is_step(found, found.step)
        seen.add(found.step)
        save_step(run, 6)  # and the run can go on
        assert_is_step(newest_good(run)[0], 6)
        if disk.count <= moment:
            break
    assert seen == {2, 4} and moment > 10


@pytest.mark.parametrize("half", [False, True])
def test_a_disk_that_is_full_at_any_moment_loses_nothing(tmp_path: Path, half: bool) -> None:
    failures = 0
    for moment in range(100):
        run = tmp_path / str(moment)
        save_step(run, 2)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = Disk(monkeypatch, moment, full, half)
            try:
                save_step(run, 4)
            except InputError as error:
                failures += 1
                assert "No space left on device" in str(error)
        assert_is_step(load(checkpoint_folder(run, 2)), 2)
        found, problems = newest_good(run)
        assert_is_step(found, found.step)
        assert problems == [], "nothing half-written under a good name"
        if disk.count <= moment:
            assert found.step == 4
            break
    assert failures > 8


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    import resource  # not on Windows

    save_step(tmp_path, 2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow larger
    try:
        with pytest.raises(
            InputError,
            match="could not be written .*: make room, .* then (begin again|go on from step-0000000. with --resume)",
        ):
            save(checkpoint_folder(tmp_path, 4), tiny(vocab_size=10_000), CharTokenizer("abc"), step=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(InputError, match="the checkpoint .*step-00000001' could not be written"):
        save_step(tmp_path, 1)


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[int, str] = {}
    original = os.open

    def watched_open(path: Any, *args: Any, **kwargs: Any) -> int:
        handle = original(path, *args, **kwargs)
        opened[handle] = Path(path).name
        return handle

    monkeypatch.setattr(os, "open", watched_open)
    disk = Disk(monkeypatch, 10**9, Crash(), half=False)
    flushed: list[str] = []
    fsync = os.fsync

    def watched_fsync(handle: int) -> None:
        flushed.append(opened[handle])
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    save_step(tmp_path, 1)
    rename = next(i for i, (name, path) in enumerate(disk.log) if name == "rename" and "unfinished" in path)
    before = [name for name, _ in disk.log[:rename]].count("fsync")
    assert sorted(flushed[:before]) == sorted(FILES), "the files, then the new name"
    assert flushed[before:] == ["checkpoints"], "then the folder that holds the name"


def test_a_tokenizer_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Tokenizer, path: Path) -> None:
        raise InputError("cannot write the tokenizer")

    monkeypatch.setattr(CharTokenizer, "save", refuse)
    with pytest.raises(InputError, match="cannot write the tokenizer"):
        save_step(tmp_path, 1)
    assert list((tmp_path / "checkpoints").iterdir()) == []
