"""The same numbers as transformer-lens 4.3.0 on the same weights: activations, patching, shares of logits, the lens.

Its numbers lie in `transformer_lens.json`; `from_transformer_lens.py` made them and says how.
"""

import json

import pytest
import torch
from torch import Tensor

from minigpt.course.inside import logit_lens
from minigpt.course.inside.activations import activation_names, activations
from minigpt.course.inside.attribution import logit_attribution
from minigpt.course.inside.patching import patch_heads, patch_stream
from tests.course.inside.from_transformer_lens import FILE, fingerprint, lead, models, texts


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_numbers_are_those_of_transformer_lens(kind: str) -> None:
    theirs = json.loads(FILE.read_text(encoding="utf-8"))[kind]
    model, _ = models()[kind]
    here, there, ask, old, new = texts(kind)
    cache, other = activations(model, here), activations(model, there)

    def metric(logits: Tensor) -> Tensor:
        return lead(logits, ask, old, new)

    def same(ours: object, what: str, slack: float = 2e-4) -> None:
        expected = torch.tensor(theirs[what], dtype=torch.float64)
        torch.testing.assert_close(torch.as_tensor(ours).double(), expected, rtol=slack, atol=slack)

    assert set(theirs["activations"]) == set(activation_names(model.config))
    for name, (length, wave) in theirs["activations"].items():
        ours = fingerprint(cache[name])
        assert ours[0] == pytest.approx(length, rel=1e-4), name
        assert ours[1] == pytest.approx(wave, abs=1e-4 * length), name
    same(patch_heads(model, cache, other, metric), "heads")
    same(patch_stream(model, here, other, metric)[:-1], "stream")
    layers = range(1, model.config.n_layers + 1)
    for layer, (length, wave) in zip(layers, theirs["lens"], strict=True):
        ours = fingerprint(logit_lens(model, cache[f"{layer}.stream"]))
        assert ours == [pytest.approx(length, rel=1e-4), pytest.approx(wave, abs=1e-4 * length)]
    shares = []
    for row in range(len(here)):
        one = {name: value[row : row + 1] for name, value in cache.items()}
        parts = logit_attribution(model, one, int(ask[row]), int(new[row]), int(old[row]))
        heads = range(model.config.n_heads)
        shares.append([[parts[f"{layer}.head {head}"].item() for head in heads] for layer in layers])
    same(shares, "shares")
