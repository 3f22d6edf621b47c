"""One function for every model that has a name, a file or a folder."""

from pathlib import Path

import pytest
import torch

import minigpt
from minigpt.config import InputError
from minigpt.weights import models
from minigpt.weights.models import export, is_foreign, load_model, load_tokenizer
from tests.weights.llama_files import write_gguf


def test_a_file_a_folder_and_a_name(tmp_path: Path) -> None:
    path = str(write_gguf(tmp_path / "m.gguf"))
    model, tokenizer = load_model(path)
    assert export(model, tokenizer, tmp_path / "out") == "Llama"
    again, their_tokenizer = minigpt.load_model(str(tmp_path / "out"))
    assert torch.equal(again.output_head.weight, model.output_head.weight)
    assert load_tokenizer(path).contents() == load_tokenizer(str(tmp_path / "out")).contents()
    assert their_tokenizer.contents() == tokenizer.contents()
    assert all(map(is_foreign, (path, str(tmp_path / "out"), "smollm2", "gpt2"))) and not is_foreign("storyteller")
    assert load_model()[0].config == load_model("storyteller")[0].config
    (tmp_path / "empty.gguf").mkdir()
    assert not is_foreign(str(tmp_path / "empty.gguf"))


def test_a_model_of_two_kinds_has_no_layout(tmp_path: Path) -> None:
    from dataclasses import replace

    from minigpt.model.gpt import GPT

    model, tokenizer = load_model(str(write_gguf(tmp_path / "m.gguf")))
    mixed = GPT(replace(model.config, norm="layernorm"))
    with pytest.raises(InputError, match="positions are 'rope'"):
        export(mixed, tokenizer, tmp_path / "out")


def test_a_name_that_nobody_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'smollm2'") as problem:
        load_model("smollm")
    assert all(name in str(problem.value) for name in models.NAMES)
