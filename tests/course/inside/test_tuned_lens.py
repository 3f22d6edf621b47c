"""The tuned lens begins as the plain one, comes nearer to the model's own answer, and leaves the model alone."""

import pytest
import torch
import torch.nn.functional as F

from minigpt.config import GPTConfig, InputError
from minigpt.course.inside.activations import activations
from minigpt.course.inside.looking import logit_lens
from minigpt.course.inside.tuned_lens import TunedLens, fit_tuned_lens
from tests.course.inside.test_activations import GPT2, LLAMA, model_with


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_it_comes_nearer_on_texts_that_it_did_not_see(config: GPTConfig) -> None:
    model = model_with(config)
    ids = torch.randint(23, (60, 9), generator=torch.Generator().manual_seed(0))
    learned, fresh = activations(model, ids[:50]), activations(model, ids[50:])
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def distance(lens: TunedLens | None) -> float:
        stream = fresh["1.stream"] if lens is None else lens(fresh["1.stream"])
        says = logit_lens(model, stream).log_softmax(-1)
        return F.kl_div(says, fresh["logits"].log_softmax(-1), reduction="sum", log_target=True).item()

    assert distance(fit_tuned_lens(model, learned, "1.stream", steps=0)) == pytest.approx(distance(None))
    assert distance(fit_tuned_lens(model, learned, "1.stream", 150, 1e-2)) < 0.7 * distance(None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_only_the_stream_has_a_lens() -> None:
    model = model_with(GPT2)
    with pytest.raises(InputError, match="'1.heads' is no state of the stream"):
        fit_tuned_lens(model, activations(model, torch.tensor([1, 2])), "1.heads")
