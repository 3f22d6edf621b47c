"""A model in shards: each process keeps its part of every parameter, and of what belongs to it.

Data parallelism alone keeps parameters, gradients and the optimiser's state whole in every process, 16 bytes a
parameter. With N processes a shard needs 16 / N (Rajbhandari et al. 2020, ZeRO stage 3). Parameters are gathered block
by block when they are needed, and given back; PyTorch's `fully_shard` does that. Its import takes half a second, for
which no other run should wait.
"""

from typing import Any

from torch import Tensor

from minigpt.model.gpt import GPT
from minigpt.runtime import world_size


def shard(model: GPT) -> None:
    """Divide the parameters among the processes, in place. Each block is gathered by itself, the rest together."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Where the model is: torch's default would be the machine's GPU, also for a model on the CPU.
    mesh = init_device_mesh(next(model.parameters()).device.type, (world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _divided(tensor: Any) -> bool:
    """Whether a tensor is torch's DTensor, of which this process holds a part."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """All of a tensor of which this process may hold a part. Every process has to ask for it."""
    full: Tensor = tensor.full_tensor() if _divided(tensor) else tensor
    return full


def divided_like(tensor: Tensor, model: Any) -> Tensor:
    """A whole tensor, divided as `model` is; the tensor itself where that is whole. No process asks another."""
    if not _divided(model):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, model.device_mesh, model.placements, src_data_rank=None)
