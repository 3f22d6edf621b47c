"""GPT-2's files in and out: equal to transformers to the last digit, no code run, one message for what is wrong."""

import errno
import functools
import hashlib
import http.server
import json
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, GPT2Model

from minigpt.config import GPTConfig, InputError
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT, parameter_count
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer
from minigpt.weights import pretrained
from minigpt.weights.checkpoint import load_model
from minigpt.weights.pretrained import RELEASES, Release, export_gpt2, is_gpt2, load, load_gpt2, load_gpt2_tokenizer

TEXT = "hello hello world, 你好 world's 123\n" * 9
TOKENIZER = BPETokenizer.train(TEXT, 280)
SMALL = GPTConfig(vocab_size=TOKENIZER.vocab_size, context_length=11, n_layers=2, n_heads=3, d_model=12)
THEIRS = {"vocab_size": 29, "n_positions": 11, "n_layer": 2, "n_head": 3, "n_embd": 12}
IDS = torch.randint(29, (3, 11), generator=torch.Generator().manual_seed(0))


def their_model(**options: Any) -> GPT2LMHeadModel:
    """In float64, with random biases and LayerNorms too."""
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(**THEIRS | {"bos_token_id": None, "eos_token_id": None} | options)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model.eval()


def our_model(**options: Any) -> GPT:
    torch.manual_seed(2)
    model = GPT(replace(SMALL, **options))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model.eval()


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# In.


def save_safetensors(model: GPT2LMHeadModel, folder: Path) -> None:
    model.save_pretrained(folder)


def save_sharded(model: GPT2LMHeadModel, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="5kB")
    assert len(list(folder.glob("model-0*.safetensors"))) > 2 and not (folder / "model.safetensors").exists()


def save_pickle(model: GPT2LMHeadModel, folder: Path) -> None:
    """As in 2019: without «transformer.», with the causal masks, the tied head and an old kind of file."""
    model.config.save_pretrained(folder)
    state = {name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items()}
    for i in range(model.config.n_layer):
        state[f"h.{i}.attn.bias"] = torch.ones(1, 1, 11, 11).tril()
        state[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def save_sharded_pickle(model: GPT2LMHeadModel, folder: Path) -> None:
    model.config.save_pretrained(folder)
    state = model.state_dict()
    places = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(state)}
    for file in set(places.values()):
        torch.save({name: tensor for name, tensor in state.items() if places[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def save_without_head(model: GPT2LMHeadModel, folder: Path) -> None:
    """What GPT2Model writes: the names have no «transformer.»."""
    bare = GPT2Model(model.config).double()
    bare.load_state_dict(model.transformer.state_dict())
    bare.save_pretrained(folder)
    assert "wte.weight" in load_file(folder / "model.safetensors")


SAVERS = [save_safetensors, save_sharded, save_pickle, save_sharded_pickle, save_without_head]


@pytest.mark.parametrize(
    "options", [{}, {"n_inner": 20, "tie_word_embeddings": False, "n_head": 1}], ids=["", "untied"]
)
@pytest.mark.parametrize("save", SAVERS)
def test_logits_equal_transformers(tmp_path: Path, save: Callable[..., None], options: dict[str, Any]) -> None:
    """Within 1e-10 in float64."""
    if options and save is save_without_head:
        options = {"n_inner": 20}  # an untied head would be missing
    theirs = their_model(**options)
    save(theirs, tmp_path)
    ours = load_gpt2(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-10, atol=1e-10)
    tied = options.get("tie_word_embeddings", True)
    assert not ours.training and (ours.output_head.weight is ours.token_embedding.weight) == tied
    assert sum(p.numel() for p in ours.parameters()) == parameter_count(ours.config)
    assert all(p.requires_grad for p in ours.parameters())
    assert is_gpt2(tmp_path)


def test_safetensors_come_first(tmp_path: Path) -> None:
    save_safetensors(their_model(), tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    load_gpt2(tmp_path)


# Out.


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": False, "d_ff": 20, "dropout": 0.25}])
def test_a_model_comes_back_bit_for_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    model = our_model(**options)
    export_gpt2(model, TOKENIZER, tmp_path / "new" / "out")
    again, tokenizer = load(tmp_path / "new" / "out")
    assert again.config == model.config and tokenizer.contents() == TOKENIZER.contents()
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"tie_embeddings": False, "d_ff": 20, "context_length": 30}], ids=str
)
def test_transformers_reads_what_we_write(tmp_path: Path, options: dict[str, Any]) -> None:
    model = our_model(**options).double()
    export_gpt2(model, TOKENIZER, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert theirs.dtype == torch.float64 and isinstance(theirs, GPT2LMHeadModel)
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, model(IDS), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(load_gpt2(tmp_path / "out")(IDS), model(IDS), rtol=1e-10, atol=1e-10)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in (TEXT, "Hello 🪁", END_OF_TEXT + " hello"):
        assert tokenizer(text)["input_ids"] == TOKENIZER.encode(text, allow_special=True)


def test_the_bundled_model_tells_the_same_story_in_transformers(tmp_path: Path) -> None:
    model, ours = load_model("storyteller")
    export_gpt2(model, ours, tmp_path / "out")
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = "Once upon a time"
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]])
    told = theirs.generate(ids, do_sample=False, max_length=model.config.context_length)[0]
    start = [model.config.vocab_size - 1, *ours.encode(prompt)]
    assert start == ids[0].tolist()
    new = generate(model, start, model.config.context_length - len(start), temperature=0, stop_token=start[0])[0]
    assert tokenizer.decode(told, skip_special_tokens=True) == prompt + ours.decode(new) and len(new) > 50
    again, again_tokenizer = load(tmp_path / "out")  # and in minigpt
    assert again_tokenizer.contents() == ours.contents()
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_what_transformers_saves_again_comes_back(tmp_path: Path) -> None:
    """Its tokenizers write tokenizer.json, its models whatever they like."""
    model = our_model()
    export_gpt2(model, TOKENIZER, tmp_path / "out")
    AutoModelForCausalLM.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "again")
    AutoTokenizer.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").exists() and not (tmp_path / "again" / "merges.txt").exists()
    again, tokenizer = load(tmp_path / "again")
    assert torch.equal(again(IDS), model(IDS)) and tokenizer.contents() == TOKENIZER.contents()


def test_a_tokenizer_of_characters_is_left_out(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.train("abc", (END_OF_TEXT,))
    export_gpt2(our_model(vocab_size=4), tokenizer, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == tokenizer.end_of_text == 3
    assert load_gpt2(tmp_path / "out").config.vocab_size == 4
    with pytest.raises(InputError, match=r"has no tokenizer: neither vocab\.json with merges\.txt nor tokenizer\.json"):
        load(tmp_path / "out")


def test_only_a_new_or_empty_folder_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export_gpt2(our_model(), TOKENIZER, tmp_path / "empty")
    assert load_gpt2(tmp_path / "empty").config == SMALL
    (tmp_path / "file").write_text("mine")
    before = digest(tmp_path)
    for name in ("empty", "file"):
        with pytest.raises(InputError, match=f"{name}' is there already: name a folder that is new, or empty"):
            export_gpt2(our_model(), TOKENIZER, tmp_path / name)
    with pytest.raises(InputError, match="could not be written"):
        export_gpt2(our_model(), TOKENIZER, tmp_path / "file" / "out")
    assert digest(tmp_path) == before


@pytest.mark.parametrize("fails", ["config.json", "vocab.json", "model.safetensors", "interrupt"])
def test_nothing_half_written_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    original = Path.write_text

    def full(file: Path, *arguments: Any, **options: Any) -> int:
        if file.name == fails or (fails == "interrupt" and file.name == "merges.txt"):
            file.write_bytes(b"{")
            raise KeyboardInterrupt if fails == "interrupt" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(file, *arguments, **options)

    def save_half(tensors: Any, file: Path, **options: Any) -> None:
        full(file)

    monkeypatch.setattr(Path, "write_text", full)
    if fails == "model.safetensors":
        monkeypatch.setattr(pretrained, "save_file", save_half)
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with pytest.raises(KeyboardInterrupt if fails == "interrupt" else InputError):
            export_gpt2(our_model(), TOKENIZER, tmp_path / name)
        assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_others_may_read_an_export(tmp_path: Path) -> None:
    export_gpt2(our_model(), TOKENIZER, tmp_path / "out")
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1


# Bad files.


class Malice:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["zip", "old", "pickle", "shard"])
def test_a_pickle_with_code_inside_is_refused(tmp_path: Path, kind: str) -> None:
    trap = tmp_path / "trap"
    model = their_model()
    model.config.save_pretrained(tmp_path)
    state = model.state_dict() | {"transformer.h.0.attn.bias": Malice(trap)}
    file = tmp_path / ("part.bin" if kind == "shard" else "pytorch_model.bin")
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Malice(trap)))
    else:
        torch.save(state, file, _use_new_zipfile_serialization=kind != "old")
    if kind == "shard":
        index = {"weight_map": dict.fromkeys(state, "part.bin")}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"\.bin' was refused before any of it ran: .*Take the model\.safetensors"):
        load_gpt2(tmp_path)
    assert not trap.exists()
    if kind == "pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert trap.exists(), "the trap works"


def test_a_pickle_of_a_whole_model_names_what_it_would_call(tmp_path: Path) -> None:
    their_model().config.save_pretrained(tmp_path)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="it is a pickle that would call torch.nn.modules.linear.Linear"):
        load_gpt2(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {1: torch.ones(2)}, torch.ones(2)])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    their_model().config.save_pretrained(tmp_path)
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin' cannot be used: it does not hold tensors by name"):
        load_gpt2(tmp_path)


def test_tensors_that_do_not_fit_are_all_named(tmp_path: Path) -> None:
    export_gpt2(our_model(), TOKENIZER, tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.bias"]
    tensors["transformer.h.1.mlp.gate.weight"] = torch.ones(2)
    tensors["transformer.wpe.weight"] = torch.ones(12, 12)
    save_file(tensors, tmp_path / "out" / "model.safetensors")
    with pytest.raises(InputError) as raised:
        load_gpt2(tmp_path / "out")
    assert str(raised.value) == (
        f"{str(tmp_path / 'out')!r} cannot be used: transformer.h.1.mlp.gate.weight is extra: a model of this config "
        "has none; transformer.wpe.weight is (12, 12), not (11, 12); "
        "transformer.h.1.mlp.c_fc.bias is missing: its shape should be (48,)"
    )


@pytest.fixture(scope="module", params=["safetensors", "pickle", "sharded", "sharded pickle"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    SAVERS[["safetensors", "sharded", "pickle", "sharded pickle"].index(request.param)](their_model(), folder)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()  # not read
    return folder


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "noise", "folder"])
def test_a_damaged_file_is_named(sound: Path, tmp_path: Path, how: str) -> None:
    for name in sorted(path.name for path in sound.iterdir()):
        folder = shutil.copytree(sound, tmp_path / name)
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if how == "folder":
            (folder / name).mkdir()
        elif how != "missing":
            changed = {"empty": b"", "cut": content[: len(content) // 2], "noise": b"\x93\xff" + content[2:]}[how]
            (folder / name).write_bytes(changed)
        with pytest.raises(InputError) as raised:
            load_gpt2(folder)
        assert str(folder) in str(raised.value)
        no_weights = how == "missing" and name.startswith(("model.", "pytorch_model.bin"))
        assert ("has no weights: neither model.safetensors nor" if no_weights else name) in str(raised.value)


@pytest.mark.parametrize("content", ["", "null", "[]", "{", '{"model_type": []}', '{"model_type": {}}', "[" * 100_000])
def test_any_config_json_is_an_input_error(tmp_path: Path, content: str) -> None:
    export_gpt2(our_model(), TOKENIZER, tmp_path / "out")
    (tmp_path / "out" / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json' cannot be used"):
        load_gpt2(tmp_path / "out")
    assert is_gpt2(tmp_path / "out") == ("model_type" in content)


@pytest.mark.parametrize("part", ["../model.safetensors", "/etc/passwd", 5, None])
def test_an_index_reads_no_files_elsewhere(tmp_path: Path, part: Any) -> None:
    export_gpt2(our_model(), TOKENIZER, tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = {"weight_map": {"transformer.wte.weight": part}}
    (tmp_path / "out" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"index\.json' cannot be used"):
        load_gpt2(tmp_path / "out")


def change_tokenizer(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "tokenizer.json"
    contents = json.loads(path.read_text(encoding="utf-8"))
    change(contents)
    path.write_text(json.dumps(contents), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c["pre_tokenizer"].update(add_prefix_space=True), "it does not cut a text into words as GPT-2's"),
        (lambda c: c["pre_tokenizer"].update(use_regex=False), "it does not cut a text into words as GPT-2's"),
        (lambda c: c.update(normalizer={"type": "NFC"}), "it does not cut a text into words as GPT-2's"),
        (lambda c: c.update(pre_tokenizer={"type": "Sequence", "pretokenizers": []}), "KeyError: 'add_prefix_space'"),
        (lambda c: c.update(pre_tokenizer=None), "TypeError"),
        (lambda c: c["model"]["merges"].reverse(), "its ids are not in GPT-2's order"),
        (lambda c: c["model"]["merges"].append(["a"]), "ValueError"),
    ],
)
def test_another_kind_of_tokenizer_is_refused(tmp_path: Path, change: Callable[..., Any], complaint: str) -> None:
    export_gpt2(our_model(), TOKENIZER, tmp_path / "out")
    AutoTokenizer.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "out")
    assert load_gpt2_tokenizer(tmp_path / "out").contents() == TOKENIZER.contents()
    change_tokenizer(tmp_path / "out", change)
    with pytest.raises(InputError) as raised:
        load_gpt2_tokenizer(tmp_path / "out")
    assert "tokenizer.json' cannot be used" in str(raised.value) and complaint in str(raised.value)


def test_half_a_tokenizer_is_refused(tmp_path: Path) -> None:
    export_gpt2(our_model(), TOKENIZER, tmp_path / "out")
    (tmp_path / "out" / "merges.txt").unlink()
    with pytest.raises(InputError, match=r"merges\.txt' is missing"):
        load_gpt2_tokenizer(tmp_path / "out")
    (tmp_path / "out" / "vocab.json").write_text('{"a": ')
    with pytest.raises(InputError, match="missing|cannot be used"):
        load_gpt2_tokenizer(tmp_path / "out")


def test_a_name_that_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder 'gpt2-mdium', and no GPT-2 of that name; did you mean"):
        load_gpt2("gpt2-mdium")
    with pytest.raises(InputError, match=r"config\.json' is missing"):
        load_gpt2(tmp_path)
    assert not is_gpt2(tmp_path) and not is_gpt2("storyteller") and is_gpt2("gpt2-xl")


# The releases.


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-large", 774_030_080), ("gpt2-xl", 1_557_611_200)],
)
def test_the_releases_are_the_four_sizes(name: str, parameters: int) -> None:
    release = RELEASES[name]
    assert parameter_count(release.config) == parameters and release.config.head_size == 64
    # Their files hold float32, and the causal mask of every block.
    assert release.megabytes == pytest.approx(4 * (parameters + release.config.n_layers * 1024**2) / 1e6, abs=1)
    assert len(bytes.fromhex(release.sha256)) == 32 and len(bytes.fromhex(release.commit)) == 20
    assert len({r.sha256 for r in RELEASES.values()}) == len({r.commit for r in RELEASES.values()}) == 4


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Keeps what was asked for."""

    asked: list[str] = []

    def log_message(self, *arguments: object) -> None:
        Quiet.asked.append(self.path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small Hugging Face in this process, with one small GPT-2 at one commit; the folder it serves."""
    model = our_model()
    folder = tmp_path / "hub" / "gpt2" / "resolve" / "c0"
    export_gpt2(model, TOKENIZER, folder)
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(pretrained, "RELEASES", {"gpt2": Release(SMALL, "c0", 1, sha256)})
    monkeypatch.setattr(pretrained, "gpt2_tokenizer", lambda: TOKENIZER)
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Quiet, "asked", [])
    handler = functools.partial(Quiet, directory=str(tmp_path / "hub"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(pretrained, "HUB", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def test_a_release_is_downloaded_once_and_kept(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = load("gpt2")
    cached = tmp_path / "cache" / "gpt2" / "model.safetensors"
    assert capsys.readouterr().err == f"{str(cached)!r} is not there yet: downloading gpt2 (1 MB)\n"
    assert torch.equal(model(IDS), our_model()(IDS)) and tokenizer is TOKENIZER
    assert Quiet.asked == ["/gpt2/resolve/c0/model.safetensors"]
    assert list(digest(tmp_path / "cache")) == [os.path.join("gpt2", "model.safetensors")]
    monkeypatch.setattr(pretrained, "HUB", "http://127.0.0.1:9")  # nobody listens
    assert torch.equal(load_gpt2("gpt2")(IDS), our_model()(IDS)) and len(Quiet.asked) == 1
    assert capsys.readouterr().err == ""


def test_a_changed_file_is_fetched_again_or_refused(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_gpt2("gpt2")
    cached = tmp_path / "cache" / "gpt2" / "model.safetensors"
    good = cached.read_bytes()
    cached.write_bytes(good[:-1])
    capsys.readouterr()
    load_gpt2("gpt2")
    assert cached.read_bytes() == good
    said = f"{str(cached)!r} is damaged, its SHA-256 is not the published one: downloading gpt2 (1 MB)\n"
    assert capsys.readouterr().err == said
    cached.unlink()
    (hub / "model.safetensors").write_bytes(good[:-1] + b"?")
    with pytest.raises(InputError, match=r"cannot be downloaded \(ValueError: SHA256 hash of downloaded file"):
        load_gpt2("gpt2")
    assert not cached.exists()
    monkeypatch.setattr(pretrained, "HUB", "http://127.0.0.1:9")
    cached.write_bytes(good[:-1])
    with pytest.raises(InputError, match="not in the cache, or not whole"):
        load_gpt2("gpt2")


def test_offline_one_message_says_what_to_bring(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "HUB", "http://127.0.0.1:9")
    with pytest.raises(InputError) as raised:
        load("gpt2")
    message = str(raised.value)
    folder = tmp_path / "cache" / "gpt2"
    assert message.startswith(
        "gpt2 (1 MB) is not in the cache, or not whole, and cannot be downloaded (ConnectionError"
    )
    assert message.endswith(
        "Go online once; or take model.safetensors, vocab.json and merges.txt from the repository "
        f"openai-community/gpt2 on Hugging Face, into {str(folder)!r}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "vocab.json", "merges.txt"):  # so done
        shutil.copy(hub / name, folder)
    monkeypatch.delattr(pretrained, "gpt2_tokenizer")
    model, tokenizer = load("gpt2")
    assert torch.equal(model(IDS), our_model()(IDS)) and tokenizer.contents() == TOKENIZER.contents()


def test_gpt2s_own_vocabulary_needs_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "gpt2_tokenizer", lambda: TOKENIZER)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert load_gpt2_tokenizer(tmp_path) is TOKENIZER
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 50258}')
    with pytest.raises(InputError, match="has no tokenizer"):
        load_gpt2_tokenizer(tmp_path)


def test_a_gpt2_with_rows_to_spare_has_padding_and_one_with_too_few_is_refused(tmp_path: Path) -> None:
    tokenizer = BPETokenizer.train("the cat sat on the mat " * 9, 265)
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=265, context_length=8, n_layers=1, n_heads=2, d_model=8, pad_vocab=64)
    export_gpt2(GPT(config), tokenizer, tmp_path / "padded")
    model, _ = load(tmp_path / "padded")
    assert (model.config.vocab_size, model.config.padded_vocab_size) == (265, 320)
    assert all(token < 265 for ids in generate(model, [1], 40, num=5, seed=0) for token in ids)
    export_gpt2(GPT(replace(config, vocab_size=200, pad_vocab=1)), tokenizer, tmp_path / "small")
    with pytest.raises(InputError, match="small' cannot be used: the tokenizer has 265 tokens, .* vocab_size is 200"):
        load(tmp_path / "small")


def test_a_config_with_a_byte_order_mark_or_three_dropouts_is_read(tmp_path: Path) -> None:
    config = GPTConfig(vocab_size=265, context_length=8, n_layers=1, n_heads=2, d_model=8)
    export_gpt2(GPT(config), BPETokenizer.train("the cat sat on the mat " * 9, 265), tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    fields = json.loads(path.read_text()) | {"attn_pdrop": 0.3, "embd_pdrop": 0.0}
    path.write_text(json.dumps(fields), encoding="utf-8-sig")
    assert is_gpt2(tmp_path / "a") and load(tmp_path / "a")[0].config.dropout == 0.3
    path.write_text(json.dumps(fields | {"attn_pdrop": "0.3"}))
    with pytest.raises(InputError, match="attn_pdrop is '0.3', which is not a number"):
        load(tmp_path / "a")
