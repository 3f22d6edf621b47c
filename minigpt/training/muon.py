"""Muon (Jordan et al. 2024): each update of a matrix is replaced by one whose singular values are nearly all alike.

The same rule as torch.optim.Muon, which computes in bfloat16 whatever the processor has. Without units for it, a
product in bfloat16 takes up to 16 times as long as in float32; here the arithmetic is chosen, and matrices of one shape
are multiplied together.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from minigpt.training.shard import divided_like, whole

# Of the polynomial a x + b x^3 + c x^5, steep at 0, that pushes every singular value towards 1 (Jordan et al. 2024).
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices (n, rows, columns), rows <= columns, with their directions and singular values of about 0.7 to 1.2.

    Five steps of Newton and Schulz: polynomials of a matrix change its singular values and nothing else.
    """
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # no singular value above 1
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x


class Muon(torch.optim.Optimizer):
    """Momentum with Nesterov's look ahead, orthogonalised; for matrices.

    Args:
        parameters: matrices.
        lr: learning rate. With more rows than columns a matrix gets √(rows / columns) times it, as in Jordan's code.
        weight_decay: decoupled (Loshchilov and Hutter 2019).
        momentum: how slowly the mean of the gradients moves.
        dtype: of the orthogonalisation, float32 or bfloat16. It needs no exactness, so the faster one will do.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(mean, group["momentum"])
                rows, columns = sorted(parameter.shape)
                ahead = whole(ahead)  # singular values are a matter of the whole matrix
                alike[rows, columns].append((parameter, ahead if len(ahead) == rows else ahead.T))
            for pairs in alike.values():
                updates = orthogonalise(torch.stack([ahead for _, ahead in pairs]).to(self.dtype))
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    rows, columns = parameter.shape
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    rate = group["lr"] * math.sqrt(max(1, rows / columns))
                    update = (update if len(update) == rows else update.T).to(parameter.dtype)
                    parameter.add_(divided_like(update, parameter), alpha=-rate)
        return loss
