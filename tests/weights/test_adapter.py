"""Adapters in a file: bit for bit the same beside their own base, refused beside another and when damaged."""

import errno
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT
from minigpt.model.lora import adapter_state, adapters, merged, with_adapters
from minigpt.weights import adapter
from minigpt.weights.adapter import adapter_data, fingerprint, load_adapter, save_adapter

IDS = torch.tensor([[1, 2, 3, 0]])


def base_of(seed: int = 0, **options: Any) -> GPT:
    torch.manual_seed(seed)
    return GPT(GPTConfig(**{"vocab_size": 7, "context_length": 4, "n_layers": 1, "n_heads": 2, "d_model": 8} | options))


def trained(base: GPT, **options: Any) -> GPT:
    choice: dict[str, Any] = {"rank": 2, "alpha": 5.0, "on": ("qkv", "down")}
    adapted = with_adapters(base, **choice | options)
    torch.manual_seed(1)
    for tensor in adapter_state(adapted).values():
        nn.init.normal_(tensor)
    return adapted.eval()


@pytest.mark.parametrize("options", [{}, {"on": ("head",)}, {"rank": 1, "alpha": 1 / 3, "on": ()}])
@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_comes_back_bit_for_bit(tmp_path: Path, options: dict[str, Any], tied: bool) -> None:
    base = base_of(tie_embeddings=tied)
    adapted = trained(base, **options)
    save_adapter(tmp_path / "new" / "one.safetensors", adapted, {"name": "mood"})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.safetensors"]
    assert adapter_data(tmp_path / "new" / "one.safetensors") == {"name": "mood"}
    loaded = load_adapter(tmp_path / "new" / "one.safetensors", base)
    assert torch.equal(loaded(IDS), adapted(IDS)) and not torch.equal(loaded(IDS), base.eval()(IDS))
    assert adapters(loaded) == adapters(adapted) and not loaded.training
    assert loaded.token_embedding.weight.data_ptr() == base.token_embedding.weight.data_ptr(), "no copy of the base"
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == set(adapter_state(adapted))
    torch.testing.assert_close(merged(loaded)(IDS), adapted(IDS), rtol=1e-5, atol=1e-5)


def test_many_adapters_serve_one_base_in_any_order(tmp_path: Path) -> None:
    base, logits = base_of(), []
    for seed in (1, 2):
        adapted = with_adapters(base, 2, 4.0, seed=seed)
        for tensor in adapter_state(adapted).values():
            nn.init.normal_(tensor)
        save_adapter(tmp_path / f"{seed}", adapted)
        logits.append(adapted(IDS))
    two, one = (load_adapter(tmp_path / name, base)(IDS) for name in ("2", "1"))
    assert torch.equal(one, logits[0]) and torch.equal(two, logits[1]) and not torch.equal(one, two)


def test_the_file_holds_the_adapters_alone_and_says_to_whom_they_belong(tmp_path: Path) -> None:
    base = base_of()
    save_adapter(tmp_path / "one", trained(base))
    with safe_open(tmp_path / "one", "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    attention, down = "blocks.0.attention.qkv", "blocks.0.feed_forward.down"
    assert names == {f"{name}.lora_{kind}" for name in (attention, down) for kind in "ab"}
    assert metadata["format"] == "minigpt adapter 1"
    said = f'{{"rank": 2, "alpha": 5.0, "on": ["qkv", "down"], "base": "{fingerprint(base)}", "data": {{}}}}'
    assert metadata["adapter"] == said


def test_the_fingerprint_is_that_of_the_base_and_of_every_number_in_it() -> None:
    base = base_of()
    own = fingerprint(base)
    assert own == fingerprint(base_of()) == fingerprint(trained(base)) == fingerprint(trained(base, on=("head",)))
    assert own != fingerprint(base_of(1)) and own != fingerprint(merged(trained(base)))
    assert own != fingerprint(base_of().double()) and len(fingerprint(base_of().bfloat16())) == 64
    for name, parameter in base.named_parameters():
        with torch.no_grad():
            parameter.view(-1)[-1].add_(1e-3)
        assert own != (own := fingerprint(base)), name


@pytest.mark.parametrize("other", [base_of(1), base_of(d_model=12), base_of(tie_embeddings=False), base_of(n_layers=2)])
def test_another_base_is_refused(tmp_path: Path, other: GPT) -> None:
    save_adapter(tmp_path / "one", trained(base_of()))
    message = r"belongs to another base model: .*SHA-256 .*…, and this model's have .*…\. Load it beside the model"
    with pytest.raises(InputError, match=message):
        load_adapter(tmp_path / "one", other)


def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    base, path = base_of(), tmp_path / "one"
    save_adapter(path, trained(base))
    whole = path.read_bytes()
    for seed in range(60):
        dice = random.Random(seed)
        place = dice.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << dice.randrange(8)
        for damaged in (bytes(flipped), whole[:place], whole[:place] + whole[place + 1 :], whole + b"\0"):
            path.write_bytes(damaged)
            try:
                loaded = load_adapter(path, base)
            except InputError as error:
                assert str(path) in str(error)
            else:  # white space of the header
                assert torch.equal(loaded(IDS), trained(base)(IDS)), (seed, place)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is damaged or no safetensors file"):
        load_adapter(path, base)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    base = base_of()
    with pytest.raises(InputError, match="there is no adapter '.*missing'"):
        load_adapter(tmp_path / "missing", base)
    with pytest.raises(InputError, match="is damaged or no safetensors file"):
        load_adapter(tmp_path, base)
    save_file({"x": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(InputError, match="is no adapter that this minigpt can read: its format is None"):
        load_adapter(tmp_path / "other", base)
    with pytest.raises(InputError, match="has no adapters to save"):
        save_adapter(tmp_path / "none", base)
    classifier = trained(base_of(n_labels=3, tie_embeddings=False))
    classifier.output_head.requires_grad_(True)
    with pytest.raises(InputError, match="has learned output_head.weight, as a classifier's head: save it as a check"):
        save_adapter(tmp_path / "none", classifier)
    assert not (tmp_path / "none").exists()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = base_of()
    save_adapter(tmp_path / "one", trained(base))
    before = (tmp_path / "one").read_bytes()

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(adapter, "save_file", full)
    with pytest.raises(InputError, match="could not be written .*No space left"):
        save_adapter(tmp_path / "one", trained(base))
    assert (tmp_path / "one").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["one"]
