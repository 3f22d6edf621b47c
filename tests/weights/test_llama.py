"""Folders of Llama-like models: from transformers and back, whole and in parts, saying the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from minigpt.config import InputError
from minigpt.generation.generate import generate
from minigpt.text.chat import Message, encode_prompt
from minigpt.weights.gguf import load_gguf
from minigpt.weights.llama import export_llama, is_llama, load_llama
from tests.weights.llama_files import TEXT, TOKENS, write_gguf

IDS = torch.randint(len(TOKENS), (2, 30), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small GGUF in their layout, in files of at most 60 kB."""
    folder = tmp_path_factory.mktemp("llama")
    export_llama(*load_gguf(write_gguf(folder / "m.gguf")), folder / "out", part_bytes=60_000)
    return folder / "out"


def test_transformers_loads_the_parts_and_says_the_same(exported: Path) -> None:
    ours, tokenizer = load_gguf(exported.parent / "m.gguf")
    model = AutoModelForCausalLM.from_pretrained(exported).eval()
    assert len(list(exported.glob("model-0*-of-0*.safetensors"))) > 2
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), model(IDS).logits, rtol=1e-4, atol=1e-4)
    prompt = IDS[:1, :7]
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=9, do_sample=False)
    found = generate(ours, prompt[0].tolist(), 9, temperature=0, stop_token=2)[0]
    assert found == [token for token in expected[0, 7:].tolist() if token != 2]
    theirs: Any = AutoTokenizer.from_pretrained(exported)
    for text in (TEXT, "a\n  1", "    5", "x  2024"):
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
    chat = [{"role": "user", "content": "Is it 2024?"}]
    rendered = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert rendered == encode_prompt(tokenizer, [Message("user", "Is it 2024?")])
    assert theirs.eos_token_id == 2 and model.config.eos_token_id == 2


def test_what_went_out_comes_back(exported: Path, tmp_path: Path) -> None:
    ours, tokenizer = load_gguf(exported.parent / "m.gguf")
    model, again = load_llama(exported)
    assert is_llama(exported) and model.config == ours.config and again.contents() == tokenizer.contents()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), ours.parameters(), strict=True))
    export_llama(model, again, tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert load_file(tmp_path / "whole" / "model.safetensors").keys() >= {"model.norm.weight"}


def test_what_transformers_writes_is_read(exported: Path, tmp_path: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(exported).eval()
    theirs.half().save_pretrained(tmp_path, max_shard_size="50KB")
    AutoTokenizer.from_pretrained(exported).save_pretrained(tmp_path)
    ours, tokenizer = load_llama(tmp_path)
    assert tokenizer.chat_template and tokenizer.end_of_turn == "<|im_end|>"
    assert ours.output_head.weight.dtype == torch.float32
    # Read anew: half() has rounded the speeds of their rotation, too, which no file holds, and float() leaves them so.
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), again(IDS).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.json", "config.json' is missing"),
        ("tokenizer.json", "tokenizer.json' is missing"),
        ("model-00002-of-*.safetensors", "model-00002-of-.* is missing"),
        ("model.safetensors.index.json", "has no weights"),
    ],
)
def test_a_file_that_is_missing_is_named(file: str, said: str, exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (path,) = folder.glob(file)
    path.unlink()
    with pytest.raises(InputError, match=said):
        load_llama(folder)


def test_damage_is_named_and_nothing_is_written_over(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"model\.layers\.2\..*is missing"):
        load_llama(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json' cannot be used"):
        load_llama(folder)
    assert not is_llama(folder) and not is_llama(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is there already"):
        export_llama(*load_llama(exported), exported)
