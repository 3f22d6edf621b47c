"""The books of a computation: FLOPs, the bytes that travel, and the bytes that tensors hold.

Everything that torch does goes through its dispatcher, where a `TorchDispatchMode` is called instead of each operation
and hands it on. That holds inside `FakeTensorMode` too, where tensors have a shape and a type but no numbers, so that
the largest step takes no time and has the same books.
"""

import weakref
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

FUSED_ON_CPU = {
    "_scaled_dot_product_flash_attention_for_cpu": 4,  # scores, blend
    "_scaled_dot_product_flash_attention_for_cpu_backward": 10,  # the scores again, and four gradients
}
"""FLOPs for each of the B h T² d_k products of fused attention; torch's own table lacks the CPU's kernels."""

LOOKED_UP = {"embedding": "weight", "nll_loss_forward": "self", "nll_loss_backward": "self"}
"""Operations that fetch from a table no more than what ids point to, and their name for the table."""


class Kernel(NamedTuple):
    """One operation that was carried out."""

    name: str
    bytes: int
    flops: int


def total(kernels: list[Kernel]) -> tuple[int, int]:
    """FLOPs and bytes of them all."""
    return sum(kernel.flops for kernel in kernels), sum(kernel.bytes for kernel in kernels)


class Traffic(TorchDispatchMode):
    """Writes down every operation, its FLOPs, and the bytes that it fetches from memory and writes back.

    FLOPs are those of matrix products and attention. Of fused attention under a causal mask they are half, because a
    fused kernel skips the tiles that the mask hides (Dao 2023, section 3.1). Views move nothing and are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        name = operation._overloadpacket.__name__
        only_looks = operation.is_view or "view" in name or operation.namespace != "aten"  # other shape, same bytes
        names = [argument.name for argument in operation._schema.arguments]
        given = dict(zip(names, args, strict=False)) | kwargs  # what is left out has its default
        if not only_looks and any(tensor.numel() > 1 for tensor in _tensors((given, result))):
            flops = 0
            if name in FUSED_ON_CPU:
                flops = FUSED_ON_CPU[name] * given["query"].numel() * given["query"].size(-2)
            elif operation._overloadpacket in flop_registry:  # what torch's FlopCounterMode looks up
                flops = flop_registry[operation._overloadpacket](*args, **kwargs, out_val=result)
            flops //= 2 if given.get("is_causal") else 1
            self.kernels.append(Kernel(name, _bytes_moved(name, given, result), flops))
        return result


class Memory(TorchDispatchMode):
    """Follows the bytes that tensors hold: counted when they first appear, taken off when their memory is freed.

    Attributes:
        history: the bytes held after each operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held, self.known, self.history = 0, set[int](), list[int]()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            memory = tensor.untyped_storage()  # several tensors may share one
            if memory._cdata not in self.known:
                self.known.add(memory._cdata)
                self.held += memory.nbytes()
                weakref.finalize(memory, self._freed, memory._cdata, memory.nbytes())
        self.history.append(self.held)
        return result

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.held -= size


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes_moved(name: str, given: dict[str, Any], result: Any) -> int:
    """Bytes of what an operation reads and of what it writes."""
    read = _tensors([value for key, value in given.items() if key != LOOKED_UP.get(name)])
    written = _tensors(result)
    if name.endswith("_like") or name.startswith("new_"):
        read = []  # they look at a shape
    elif name == "embedding":
        read += written  # one row for each id
    elif name == "_fused_adamw_":  # returns nothing, and changes all that it was given but the gradients
        written = _tensors([value for key, value in given.items() if key != "grads"])
    return sum(tensor.nbytes for tensor in read + written)
