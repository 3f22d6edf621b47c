"""What a GPU is asked to do again and again, recorded once (a CUDA graph)."""

from collections.abc import Callable

import torch
from torch import Tensor


def records(device: torch.device) -> bool:
    """Whether a device can record what it is asked to do, and do it again at one word."""
    return device.type == "cuda"


class Recorded:
    """A function of tensors that a GPU has recorded (a CUDA graph): a call is one launch and not some two hundred.

    With few rows a GPU has done the work of a launch before the next one arrives, so it would wait for the processor
    most of the time. A recording has fixed addresses: new inputs are copied to where the first ones were.

    Args:
        function: tensors to one tensor, always by the same operations; it may run twice with the same inputs.
        inputs: of the shapes and types that all later ones will have.
    """

    def __init__(self, function: Callable[..., Tensor], *inputs: Tensor) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]
        with torch.cuda.device(inputs[0].device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                function(*self.inputs)  # libraries take memory at their first call, which cannot be recorded
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.output = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's value, as a tensor of its own."""
        for kept, new in zip(self.inputs, inputs, strict=True):
            kept.copy_(new)
        self.graph.replay()
        return self.output.clone()
