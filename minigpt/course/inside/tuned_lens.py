"""The tuned lens: a logit lens that has learned how each layer's stream differs from the last one's."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import InputError
from minigpt.model.gpt import GPT


@dataclass(frozen=True)
class TunedLens:
    """For one state of the stream, x + x A + b takes its place before the last norm (Belrose et al. 2023)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, stream: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model), to be given to `logit_lens`."""
        return stream + stream @ self.weight + self.bias


def fit_tuned_lens(
    model: GPT, cache: Mapping[str, Tensor], name: str, steps: int = 200, learning_rate: float = 1e-3, seed: int = 0
) -> TunedLens:
    """Learn the lens of one state by bringing what it says near to what the model says in the end.

    The loss is the Kullback-Leibler distance from the model's distribution to the lens's, in the mean over tokens. It
    begins as the plain lens and never changes the model.

    Args:
        model: the model.
        cache: `activations` of texts to learn from.
        name: `embeddings` or `LAYER.stream`.
        steps: of Adam, 256 tokens each.
        learning_rate: of Adam.
        seed: of the draw of tokens.

    Raises:
        InputError: for a name that is no state of the stream.
    """
    if name != "embeddings" and not name.endswith(".stream"):
        raise InputError(f"{name!r} is no state of the stream: take embeddings or one such as 1.stream")
    stream = cache[name].flatten(0, 1)  # (N, d_model)
    says = cache["logits"].flatten(0, 1).log_softmax(-1)  # (N, vocab_size)
    weight = torch.zeros(stream.size(1), stream.size(1), dtype=stream.dtype, device=stream.device, requires_grad=True)
    bias = torch.zeros(stream.size(1), dtype=stream.dtype, device=stream.device, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    size = model.config.vocab_size
    for _ in range(steps):
        some = torch.randint(len(stream), (256,), generator=generator).to(stream.device)
        lens = TunedLens(weight, bias)
        logits = model.output_head(model.final_norm(lens(stream[some])))[:, :size]
        loss = F.kl_div(logits.log_softmax(-1), says[some], reduction="batchmean", log_target=True)
        weight.grad, bias.grad = torch.autograd.grad(loss, [weight, bias])
        optimizer.step()
    return TunedLens(weight.detach(), bias.detach())
