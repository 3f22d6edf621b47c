"""Rolling windows: each token once, with the context that was asked for; equal to lm-eval and to plain loops."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.evaluation.loss import bits_per_byte, mean_loss
from minigpt.evaluation.rolling import rolling_log_likelihoods, text_bits_per_byte
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer
from minigpt.weights.pretrained import export_gpt2
from tests.evaluation.models import story_data, tiny

ROOM = 12


@pytest.mark.parametrize("context", [1, 2, 5, 11, 12])
@pytest.mark.parametrize("n", [0, 1, 11, 12, 13, 24, 25, 40])
def test_each_token_is_scored_once_with_enough_context(n: int, context: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(9, ROOM).double().train()
    ids = torch.randint(9, (n,), generator=torch.Generator().manual_seed(n)).tolist()
    windows: list[list[int]] = []
    forward = GPT.hidden_states

    def listed(self: GPT, x: Tensor) -> Tensor:
        windows.append(x[0].tolist())
        return forward(self, x)

    monkeypatch.setattr(GPT, "hidden_states", listed)
    found = rolling_log_likelihoods(model, ids, 0, context)
    monkeypatch.undo()
    assert model.training and len(found) == n and found.dtype == torch.float64
    text = [0, *ids]
    model.eval()
    # The windows are known; each token is scored by the first one that holds it as a target.
    place = 0
    for window in windows:
        (end,) = [e for e in range(place + 1, n + 1) if text[max(0, e - ROOM) : e] == window][:1]
        with torch.no_grad():
            rows = model(torch.tensor([window]))[0].log_softmax(-1)
        begin = end - len(window)
        for t in range(place, end):
            seen = t - begin + 1
            assert seen >= min(context, t + 1)
            assert found[t].item() == pytest.approx(rows[seen - 1, ids[t]].item(), abs=1e-12)
        place = end
    assert place == n
    if context == ROOM:  # then every token sees as much as the model can
        for t in range(n):
            with torch.no_grad():
                row = model(torch.tensor([text[max(0, t + 1 - ROOM) : t + 1]]))[0, -1].log_softmax(-1)
            assert found[t].item() == pytest.approx(row[ids[t]].item(), abs=1e-12)


@pytest.mark.filterwarnings("ignore")  # lm-eval's own
def test_context_1_is_lm_eval_s_rolling(tmp_path: Any) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = story_data().tokenizer
    assert isinstance(tokenizer, BPETokenizer) and tokenizer.end_of_text is not None
    model = tiny(tokenizer.vocab_size, 50)
    export_gpt2(model, tokenizer, tmp_path / "model")
    lm = HFLM(pretrained=str(tmp_path / "model"), device="cpu", dtype="float32", batch_size=2)
    texts = [stories.draw(3, i).text * n for i, n in enumerate((1, 2, 3))] + ["a"]
    theirs = lm.loglikelihood_rolling(
        [Instance("loglikelihood_rolling", {}, (t,), 0) for t in texts], disable_tqdm=True
    )
    ours = [rolling_log_likelihoods(model, tokenizer.encode(t), tokenizer.end_of_text, 1).sum().item() for t in texts]
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_bits_per_byte_is_that_of_the_stories_data_and_of_every_tokenizer_alike() -> None:
    data = story_data()
    model = tiny(data.tokenizer.vocab_size)
    told = data.held_out_stories("val")
    bits = sum(text_bits_per_byte(model, data.tokenizer, s.text) * len(s.text.encode()) for s in told)
    # That of the data also scores the end-of-text token; the difference is their losses.
    whole = bits_per_byte(mean_loss(model, data, "val"), data, "val") * data.text_bytes("val")
    with torch.no_grad():
        end = data.tokenizer.end_of_text
        last = [model(torch.tensor([[end, *data.tokenizer.encode(s.text)]]))[0, -1].log_softmax(-1)[end] for s in told]
    assert bits - sum(last).item() / math.log(2) == pytest.approx(whole, rel=1e-5)
    # An even guess among 2^k tokens needs k bits for each, with any tokenizer.
    text = "ab 你好 ab" * 5
    for tokenizer in (CharTokenizer.train(text, ["<|endoftext|>"]), BPETokenizer.train(text, 260)):
        even = tiny(tokenizer.vocab_size, 8)
        torch.nn.init.zeros_(even.token_embedding.weight)
        expected = math.log2(tokenizer.vocab_size) * len(tokenizer.encode(text)) / len(text.encode())
        assert text_bits_per_byte(even, tokenizer, text) == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_measured_is_refused() -> None:
    tokenizer = CharTokenizer("ab", ["<|endoftext|>"])
    model = tiny(3, 8)
    for context in (0, 9):
        with pytest.raises(
            InputError, match=f"context is {context}; it must be from 1 to the model's context length, 8"
        ):
            rolling_log_likelihoods(model, [0, 1], 2, context)
    with pytest.raises(InputError, match="tells 2 labels apart"):
        rolling_log_likelihoods(tiny(3, 8, n_labels=2, tie_embeddings=False), [0], 2)
    with pytest.raises(InputError, match="the text is empty"):
        text_bits_per_byte(model, tokenizer, "")
    with pytest.raises(InputError, match="no end-of-text token"):
        text_bits_per_byte(model, CharTokenizer("ab"), "a")
