"""What another processor would do otherwise, for the environment variables that `python -m tests.portable` sets.

- ``PORTABLE_NOISE=3``: results of matrix products, attention, softmax, norms and sums come out a little wrong, as
  another order of summation makes them. 3 is the seed: the same operation on the same shapes errs in the same way every
  time, as a processor does, and one that is repeated gives the same bits.
- ``PORTABLE_BFLOAT16=0``: torch says that there are no units for bfloat16 (1: that there are).
- ``PORTABLE_THREADS=2``: so many threads, whatever anybody asks for.
"""

import os
import threading
import zlib
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Standard deviation of the relative error: some roundings of float32, about one of the others.
ERROR = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
NOISY = [
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "_addmm_activation",
    "convolution", "convolution_backward",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward",
    "_softmax", "_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data", "_safe_softmax", "logsumexp",
    "native_layer_norm", "native_layer_norm_backward", "_fused_rms_norm", "_fused_rms_norm_backward",
    "sum", "mean", "var", "std", "var_mean", "linalg_vector_norm", "cumsum", "embedding_dense_backward",
]  # fmt: skip
POOL = 2**20  # factors drawn once; an operation takes a stretch of them that its name and its shape choose


# Sums and products of whole numbers are exact in any order, and so are those of halves, quarters, …: they stay. In the
# short types every number is such a fraction.
EXACT = {torch.float32: 1024, torch.bfloat16: 1, torch.float16: 1}


class Noise(TorchDispatchMode):
    """Multiplies the results of NOISY operations by 1 + ERROR * N(0, 1); float64 stays exact, and so do whole numbers.

    The random numbers come from a generator of its own.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.noisy = {op for name in NOISY for op in overloads(name)}
        normals = torch.randn(POOL, generator=torch.Generator().manual_seed(seed)).repeat(2)
        self.factors = {dtype: 1 + error * normals for dtype, error in ERROR.items()}
        self.starts: dict[Any, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled():
            # There a mode is shown linear, matmul, softmax, … whole; elsewhere the operations that they consist of.
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        result = func(*args, **(kwargs or {}))
        if func in self.noisy:
            for part in result if isinstance(result, tuple | list) else (result,):
                if type(part) is Tensor and part.dtype in ERROR and part.device.type == "cpu":
                    part.mul_(self._factor(func, part))
        return result

    def _factor(self, func: Any, result: Tensor) -> Tensor:
        if (func, result.shape) not in self.starts:
            self.starts[func, result.shape] = zlib.crc32(f"{self.seed} {func} {result.shape}".encode()) % POOL
        start, count, factors = self.starts[func, result.shape], result.numel(), self.factors[result.dtype]
        if count > POOL:
            factors = factors.repeat(count // POOL + 1)
        parts = result * EXACT[result.dtype]
        return torch.where(parts == parts.trunc(), 1.0, factors[start : start + count].view(result.shape))


def overloads(name: str) -> list[Any]:
    """All forms of an operation of torch: into a new tensor, into a given one, and in place; none in an older torch."""
    packets = [getattr(torch.ops.aten, form, None) for form in (name, f"{name}_")]
    return [getattr(packet, form) for packet in packets if packet is not None for form in packet.overloads()]


def install() -> None:
    """Do what the environment asks for, once torch is loaded."""
    if "PORTABLE_NOISE" in os.environ:
        _in_every_thread(int(os.environ["PORTABLE_NOISE"]))
    if "PORTABLE_BFLOAT16" in os.environ:
        there = os.environ["PORTABLE_BFLOAT16"] == "1"
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):  # what minigpt.runtime asks
            setattr(torch.cpu, name, lambda: there)
    if "PORTABLE_THREADS" in os.environ:
        threads, as_ever = int(os.environ["PORTABLE_THREADS"]), torch.set_num_threads
        as_ever(threads)
        setattr(torch, "set_num_threads", lambda _: as_ever(threads))  # noqa: B010


def _in_every_thread(seed: int) -> None:
    """A dispatch mode holds for one thread: enter it in this one, and at the start of all that follow."""
    Noise(seed).__enter__()
    run = threading.Thread.run

    def run_with_noise(self: threading.Thread) -> None:
        Noise(seed).__enter__()
        run(self)

    threading.Thread.run = run_with_noise  # type: ignore[method-assign]
