"""Where SmolLM2 is not installed, a lesson says what to run and goes on with a file of the same kind."""

from pathlib import Path

import pytest
import torch

from minigpt.course import stand_in
from minigpt.course.stand_in import CONFIG, file_of_real_model, stand_in_tokenizer, write_gguf
from minigpt.model.gpt import GPT
from minigpt.text.chat import Message, encode_prompt
from minigpt.weights import smollm2
from minigpt.weights.checkpoint import load_model
from minigpt.weights.gguf import load_gguf


def test_a_model_comes_back_from_its_file(tmp_path: Path) -> None:
    """Blocks of 4 bits keep a matrix of normal numbers to a tenth of its size; a row in another place would be off."""
    torch.manual_seed(0)
    model, tokenizer = GPT(CONFIG).eval(), stand_in_tokenizer()
    again, read = load_gguf(write_gguf(model, tokenizer, tmp_path / "m.gguf"))
    assert again.config == CONFIG and read.contents() == tokenizer.contents()
    for name, weight in model.state_dict().items():
        other = again.state_dict()[name]
        assert (other - weight).norm() < 0.1 * weight.norm(), name


def test_its_tokenizer_is_the_storytellers_with_other_numbers() -> None:
    plain, tokenizer = load_model("storyteller")[1], stand_in_tokenizer()
    text = "Once there was a shy owl, and her name was Mia."
    assert tokenizer.encode(text) == [i + 3 for i in plain.encode(text)]
    assert tokenizer.end_of_text == 0 and tokenizer.vocab_size == CONFIG.vocab_size
    words = tokenizer.decode(encode_prompt(tokenizer, [Message("user", "Hi")]))
    assert words.startswith("<|im_start|>system\nTell a story<|im_end|>\n<|im_start|>user\nHi<|im_end|>")


def test_without_smollm2_it_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stand_in, "gguf_path", lambda: None)
    path, is_smollm2 = file_of_real_model(tmp_path, steps=2)
    assert not is_smollm2 and smollm2.INSTALL in capsys.readouterr().out
    model, tokenizer = load_gguf(path)
    assert model(torch.tensor([[0, *tokenizer.encode("The cat")]])).isfinite().all()


@pytest.mark.skipif(smollm2.gguf_path() is None, reason=f"SmolLM2 is not installed: {smollm2.INSTALL}")
def test_with_it_that_is_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert file_of_real_model(tmp_path) == (smollm2.gguf_path(), True)
    assert not capsys.readouterr().out and not list(tmp_path.iterdir())
