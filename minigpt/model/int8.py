"""Matrices in 8 bits: each row as whole numbers from -127 to 127 with one scale, a quarter of the memory of float32.

A product waits for the weights to arrive from memory, so that fewer bytes are also less time. On a CPU, torch has a
kernel that reads 8-bit weights as they are and multiplies in bfloat16, for few rows; for many rows, and elsewhere, the
weights are widened to float32 block by block. torch's other 8-bit kernels need its quantized tensors, which are
deprecated.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import InputError
from minigpt.model.gpt import GPT
from minigpt.model.lora import adapters
from minigpt.runtime import give_memory_back

FEW_ROWS = 8
"""Up to so many rows of x, a product waits for the weights more than for the arithmetic."""

WIDENED = 256
"""Rows of a matrix that are widened at once: they stay in the caches until they are multiplied."""


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (d_out, d_in) as whole numbers (d_out, d_in), int8, and scales (d_out,), whose product it nearly is.

    A row's scale makes its largest number 127. No number strays by more than half of the scale (Dettmers et al. 2022,
    «LLM.int8()», section 2.1, which calls it absmax quantization). A row of zeros stays.
    """
    scale = weight.abs().amax(dim=1).float() / 127
    numbers = weight.float() / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return numbers.round().clamp(-127, 127).to(torch.int8), scale


def widened(numbers: Tensor, scale: Tensor) -> Tensor:
    """The matrix that `quantize_rows` stands for, in float32."""
    return numbers.float() * scale[:, None]


def few_rows_product(x: Tensor, numbers: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """`int8_product` by torch's kernel, on a CPU: x (n, d_in), d_in a multiple of 32, scale (d_out,) in bfloat16."""
    y = torch._weight_int8pack_mm(x.bfloat16(), numbers, scale).to(x.dtype)
    return y if bias is None else y + bias


def int8_product(x: Tensor, numbers: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer, (..., d_in) -> (..., d_out), of a matrix in 8 bits.

    Args:
        x: (..., d_in).
        numbers: (d_out, d_in), int8.
        scale: (d_out,).
        bias: (d_out,).
    """
    rows = x.reshape(-1, x.size(-1))
    if len(rows) <= FEW_ROWS and x.is_cpu and x.size(-1) % 32 == 0:
        return few_rows_product(rows, numbers, scale.bfloat16(), bias).view(*x.shape[:-1], -1)
    parts = zip(numbers.split(WIDENED), scale.split(WIDENED), strict=True)
    y = torch.cat([F.linear(rows, part.to(x.dtype)) * each.to(x.dtype) for part, each in parts], dim=1)
    if bias is not None:
        y = y + bias
    return y.view(*x.shape[:-1], -1)


class Int8Linear(nn.Module):
    """A Linear whose matrix is in 8 bits; for use, not for training.

    Attributes: `weight` (d_out, d_in), int8; `scale` (d_out,); `bias` (d_out,) or None; `in_features`, `out_features`.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("weight", weight.contiguous())  # products read it row by row
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        return int8_product(x, self.weight, self.scale, self.bias)


class Int8Embedding(nn.Module):
    """An embedding whose table is in 8 bits, each row widened when it is looked up."""

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, T) -> (B, T, d_model)."""
        return self.weight[ids].float() * self.scale[ids][..., None]


@torch.no_grad()
def to_int8(model: GPT) -> GPT:
    """The same model with its matrices and its token embedding in 8 bits; norms, biases and positions stay.

    The model itself is changed, each matrix as soon as its numbers are there, so that there are never two of all.

    Raises:
        InputError: for a model with adapters.
    """
    if adapters(model):
        raise InputError("the model has adapters: merge them first, then take its weights in 8 bits")
    tied = model.output_head.weight is model.token_embedding.weight
    embedding = Int8Embedding(*quantize_rows(model.token_embedding.weight))
    model.token_embedding = embedding  # type: ignore[assignment]
    if tied:
        model.output_head = Int8Linear(embedding.weight, embedding.scale)  # type: ignore[assignment]
    owners = [module for module in model.modules() if not isinstance(module, nn.Linear)]
    for module in owners:
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(*quantize_rows(child.weight), child.bias))
    give_memory_back()
    return model.eval()


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all numbers that a model holds; what two modules share counts once."""
    tensors = {tensor.data_ptr(): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensors.values())


@torch.inference_mode()
def layer_errors(model: GPT, other: GPT, ids: Tensor) -> list[float]:
    """How far the residual stream of one model is from another's after each block, as a share of its own length.

    Args:
        model: the one that is right.
        other: of the same shape, such as the same in 8 bits.
        ids: (B, T).

    Returns:
        of each block the root of the mean square of the difference over that of the stream.
    """
    errors = []
    x, y = model.token_embedding(ids), other.token_embedding(ids)
    if model.config.positions == "learned":
        places = torch.arange(ids.size(1), device=ids.device)
        x, y = x + model.position_embedding(places), y + other.position_embedding(places)
    for ours, theirs in zip(model.blocks, other.blocks, strict=True):
        x, y = ours(x), theirs(y)
        errors.append(float((x - y).square().mean().sqrt() / x.square().mean().sqrt()))
    return errors
