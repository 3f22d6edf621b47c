"""Low-rank adapters (LoRA; Hu et al. 2021): a frozen model learns by small matrices beside its large ones.

A matrix W of a trained model stays as it is. Beside it stand A (rank, d_in) and B (d_out, rank), and the layer computes
W x + scale B A x with scale = alpha / rank (section 4.1). B begins at zero, so at first nothing changes. Only A and B
have gradients and an optimiser's state.

Which matrices get one is said by what they are (`LoRAMatrix`), and found by walking the modules: a pattern of names may
match less than one thinks, and nobody is told. `report` tells what was found.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from minigpt.config import GPTConfig, InputError, LoRAMatrix
from minigpt.model.attention import CausalSelfAttention
from minigpt.model.feed_forward import FeedForward, SwiGLU
from minigpt.model.gpt import GPT, empty_model, parameter_count

PLACES: dict[LoRAMatrix, tuple[tuple[type[nn.Module], ...], str]] = {
    "qkv": ((CausalSelfAttention,), "qkv"),
    "output": ((CausalSelfAttention,), "output"),
    "up": ((FeedForward, SwiGLU), "up"),
    "gate": ((SwiGLU,), "gate"),
    "down": ((FeedForward, SwiGLU), "down"),
    "head": ((GPT,), "output_head"),
}
"""In which modules a kind of matrix is, and under which attribute."""


class _Merged(torch.autograd.Function):
    """A Linear with W + scale B A for its matrix, of which A and B alone have gradients.

    The sum costs as much as `rank` tokens would, and saves two products and a sum for every token. It is made anew for
    the gradient of x, so that nothing of W's size is kept, and its own gradient, the dear part, is never made.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale = scale
        return F.linear(x, torch.addmm(weight, b, a, alpha=scale), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        dx = dy @ torch.addmm(weight, b, a, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        x, dy = x.reshape(-1, x.size(-1)), dy.reshape(-1, dy.size(-1))  # (N, d_in), (N, d_out)
        low_x, low_dy = F.linear(x, a), F.linear(dy, b.T.contiguous())  # (N, rank)
        # Narrow products: the same ones transposed or not contiguous take two to seven times as long on a CPU.
        return dx, None, None, ctx.scale * (low_dy.T @ x), ctx.scale * (low_x.T @ dy).T, None


class LoRALinear(nn.Module):
    """A frozen Linear with an adapter: base(x) + scale B A x.

    The paper draws A from a Gaussian and does not say of which width: here 1 / sqrt(d_in), so that A x is about as
    large as the numbers of x.

    Attributes: `base`, `lora_a` (rank, d_in), `lora_b` (d_out, rank), `scale`. `weight` and `bias` are those of the one
    Linear that computes the same; who reads a layer's weight needs to know nothing of adapters.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.in_features, self.out_features = base.in_features, base.out_features
        a = torch.randn(rank, self.in_features, generator=generator) / math.sqrt(self.in_features)
        self.lora_a = nn.Parameter(a.to(base.weight))
        self.lora_b = nn.Parameter(torch.zeros(self.out_features, rank).to(base.weight))

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        if torch.is_autocast_enabled(x.device.type):
            # Rounded to bfloat16, W + scale B A would often be W: what the adapter says needs digits of its own.
            return self.base(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)
        y: Tensor = _Merged.apply(x, self.base.weight, self.base.bias, self.lora_a, self.lora_b, self.scale)
        return y

    @property
    def weight(self) -> Tensor:
        """W + scale B A, (d_out, d_in)."""
        return torch.addmm(self.base.weight, self.lora_b, self.lora_a, alpha=self.scale)

    @property
    def bias(self) -> Tensor | None:
        """The base's: an adapter has none."""
        return self.base.bias


@dataclass(frozen=True)
class Adapter:
    """One adapter of a model."""

    name: str
    """Of the matrix, such as blocks.0.attention.qkv."""
    matrix: LoRAMatrix
    """What kind of matrix that is."""
    d_out: int
    d_in: int
    rank: int

    @property
    def parameters(self) -> int:
        """Numbers in A and B."""
        return self.rank * (self.d_in + self.d_out)


def _find(model: GPT, matrix: LoRAMatrix) -> Iterator[tuple[nn.Module, str, str]]:
    """Where a model has matrices of a kind: the module, its attribute, and the whole name."""
    owners, attribute = PLACES[matrix]
    for name, module in model.named_modules():
        if isinstance(module, owners):
            yield module, attribute, f"{name}.{attribute}".lstrip(".")


def check_choice(config: GPTConfig, on: Sequence[LoRAMatrix]) -> tuple[LoRAMatrix, ...]:
    """The kinds of matrices meant by `on`: those named, or all that the blocks have.

    Raises:
        InputError: for a kind that such a model does not have.
    """
    absent: dict[str, str] = {}
    if config.feed_forward != "swiglu":
        absent["gate"] = f"feed_forward {config.feed_forward!r} has none"
    if config.n_labels:
        absent["head"] = "a classifier's head is new, and is trained whole"
    there = [matrix for matrix in get_args(LoRAMatrix) if matrix not in absent]
    for matrix in on:
        if matrix not in there:
            why = absent.get(matrix, "no model has such a matrix")
            raise InputError(f"an adapter on {matrix!r} would land on nothing: {why}; choose from {', '.join(there)}")
    return tuple(m for m in there if (m in on if on else m != "head"))


def with_adapters(model: GPT, rank: int, alpha: float, on: Sequence[LoRAMatrix] = (), seed: int = 0) -> GPT:
    """The model with adapters: the same outputs bit for bit, and nothing but the adapters has a gradient.

    It reads the weights of `model` where they are, without a copy, so that one model can serve under many adapters;
    `model` itself stays as it is. Queries, keys and values are one matrix here ("qkv") and get one adapter: the three
    share its A, where the paper gives each its own. With tied embeddings an adapter on "head" changes the scores of
    tokens and not how they are read; `merged` then needs two tables.

    Args:
        model: one without adapters.
        rank: of the update of each matrix, at least 1.
        alpha: the update is scaled by alpha / rank.
        on: kinds of matrices; none means all of the blocks.
        seed: of the matrices A.

    Raises:
        InputError: for a rank that is below 1 or above the smaller width of a matrix, for a kind of matrix that the
            model does not have, and for a model that has adapters.
    """
    if adapters(model):
        raise InputError("the model has adapters already: merge them first, or take the model without them")
    if rank < 1:
        raise InputError(f"the rank of an adapter is {rank}; it must be at least 1")
    chosen = check_choice(model.config, on)
    for owner, attribute, name in (place for matrix in chosen for place in _find(model, matrix)):
        d_out, d_in = getattr(owner, attribute).weight.shape
        if rank > min(d_out, d_in):
            raise InputError(
                f"an adapter of rank {rank} on {name} ({d_out} × {d_in}) would be larger than any change of that "
                f"matrix, whose rank is at most {min(d_out, d_in)}: choose a rank up to {min(d_out, d_in)}"
            )
    generator = torch.Generator().manual_seed(seed)
    adapted = empty_model(model.config)
    adapted.load_state_dict(model.state_dict(), assign=True)  # the same memory, in parameters of its own
    if model.config.tie_embeddings:
        adapted.output_head.weight = adapted.token_embedding.weight
    adapted.requires_grad_(False)
    for owner, attribute, _ in [place for matrix in chosen for place in _find(adapted, matrix)]:
        setattr(owner, attribute, LoRALinear(getattr(owner, attribute), rank, alpha, generator))
    return adapted.train(model.training)


def adapters(model: GPT) -> list[Adapter]:
    """What adapters a model has, in the order of LoRAMatrix."""
    found = []
    for matrix in PLACES:
        for owner, attribute, name in _find(model, matrix):
            layer = getattr(owner, attribute)
            if isinstance(layer, LoRALinear):
                found.append(Adapter(name, matrix, layer.out_features, layer.in_features, len(layer.lora_a)))
    return found


def adapter_state(model: GPT) -> dict[str, Tensor]:
    """The matrices A and B of all adapters, by name."""
    return {name: tensor for name, tensor in model.state_dict().items() if name.endswith((".lora_a", ".lora_b"))}


def base_state(model: GPT) -> dict[str, Tensor]:
    """The model's weights without its adapters, under the names that they have in a plain model."""
    state = {name.replace(".base.", "."): tensor for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if not name.endswith((".lora_a", ".lora_b"))}


@torch.no_grad()
def merged(model: GPT) -> GPT:
    """A plain GPT that computes the same, with each adapter added to its matrix; a model without adapters itself.

    Its weights are copies. Where the head of a model with tied embeddings has an adapter, the result is not tied.
    """
    found = adapters(model)
    if not found:
        return model
    untied = any(adapter.matrix == "head" for adapter in found)
    plain = empty_model(replace(model.config, tie_embeddings=model.config.tie_embeddings and not untied))
    state = {}
    for name in plain.state_dict():
        module, _, kind = name.rpartition(".")
        state[name] = getattr(model.get_submodule(module), kind).clone()  # of an adapted layer: the merged weight
    plain.load_state_dict(state, assign=True)
    if plain.config.tie_embeddings:
        plain.output_head.weight = plain.token_embedding.weight
    return plain.train(model.training)


def report(model: GPT) -> str:
    """What the adapters landed on: a line for each matrix, and the `summary`."""
    found = adapters(model)
    width = max((len(adapter.name) for adapter in found), default=0)
    lines = [f"{a.name:{width}}  {a.d_out} × {a.d_in}, rank {a.rank}: {a.parameters:,} new parameters" for a in found]
    return "\n".join([*lines, summary(model)])


def summary(model: GPT) -> str:
    """How many matrices of which kinds have adapters, and what is trained of the whole, in one line."""
    found = adapters(model)
    kinds = ", ".join(dict.fromkeys(adapter.matrix for adapter in found)) or "none"
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters())
    return (
        f"adapters on {len(found)} matrices ({kinds}), {trained:,} of {whole:,} parameters trained "
        f"({100 * trained / whole:.1f} %)"
    )


def adapter_count(config: GPTConfig, rank: int, on: Sequence[LoRAMatrix] = ()) -> int:
    """How many numbers adapters learn: rank (d_in + d_out) for each matrix. Errors: `check_choice`."""
    d, kv, d_ff = config.d_model, config.kv_heads * config.head_size, config.feed_forward_size
    widths: dict[LoRAMatrix, int] = {  # d_in + d_out, in all blocks
        "qkv": config.n_layers * (d + d + 2 * kv),
        "output": config.n_layers * 2 * d,
        **dict.fromkeys(("up", "gate", "down"), config.n_layers * (d + d_ff)),
        "head": d + config.n_outputs,
    }
    return rank * sum(widths[matrix] for matrix in check_choice(config, on))


def training_bytes(config: GPTConfig, rank: int = 0, on: Sequence[LoRAMatrix] = ()) -> int:
    """What training with AdamW holds in float32, without activations: 16 bytes for each number that is learned.

    These are the weight, its gradient and AdamW's two means (its counts of steps, 4 bytes a tensor, are left out). A
    frozen weight takes 4. With rank 0 the whole model learns.
    """
    if rank == 0:
        return 16 * parameter_count(config)
    return 4 * parameter_count(config) + 16 * adapter_count(config, rank, on)
