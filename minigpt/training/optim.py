"""Optimisers: which parameter gets which rule, and the learning rate at every step."""

import math

import torch
from torch import nn

from minigpt import runtime
from minigpt.config import TrainConfig, Trained
from minigpt.model.gpt import GPT
from minigpt.training.muon import Muon


def choose_trained(model: GPT, trained: Trained) -> None:
    """Let these parameters learn (`requires_grad`) and no others.

    all; last: the last block, the final norm and the output head; head: the output head alone, which is the token
    embedding as well where the two are tied.
    """
    parts = {"all": [model], "last": [model.blocks[-1], model.final_norm, model.output_head]}
    model.requires_grad_(False)
    for part in parts.get(trained, [model.output_head]):
        part.requires_grad_(True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices with weight decay, biases and LayerNorm gains without, as in GPT (Radford et al. 2018, 4.1)."""
    parameters = list(model.parameters())  # a tied matrix is listed once
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def make_optimizers(
    model: nn.Module, config: TrainConfig, device: torch.device | str = "cpu"
) -> dict[str, torch.optim.Optimizer]:
    """The optimisers by name, each with its peak learning rate in `initial_lr`.

    AdamW: Kingma and Ba 2015 with decoupled weight decay (Loshchilov and Hutter 2019). Muon (Jordan et al. 2024)
    replaces each update of a matrix by the nearest matrix with all singular values near 1; it is meant for the
    matrices inside the blocks, while embeddings, biases and LayerNorms stay with AdamW. A parameter that needs no
    gradient has no optimiser: it stays as it is.
    """
    groups = parameter_groups(model, config.weight_decay)
    muon: list[nn.Parameter] = []
    if config.optimizer == "muon":
        matrices = [(name, p) for name, p in model.named_parameters() if p.ndim == 2 and p.requires_grad]
        muon = [p for name, p in matrices if name.startswith("blocks.")]
    other = {id(p) for p in model.parameters() if p.requires_grad} - {id(p) for p in muon}
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) in other]  # type: ignore[attr-defined]
    optimizers: dict[str, torch.optim.Optimizer] = {
        # fused: one kernel for all parameters, three to six times faster than a loop over them
        "adamw": torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
    }
    if muon:
        dtype = torch.bfloat16 if runtime.has_bfloat16_units(torch.device(device)) else torch.float32
        optimizers["muon"] = Muon(muon, config.muon_learning_rate, config.weight_decay, dtype=dtype)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """The fraction of the peak learning rate at `step` (0 is the first): a linear warm-up, then half a cosine.

    The shape is that of GPT-3 (Brown et al. 2020, appendix B). It ends at `min_learning_rate`.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return config.min_learning_rate + (1 - config.min_learning_rate) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def set_learning_rate(optimizers: dict[str, torch.optim.Optimizer], fraction: float) -> None:
    """Set every group's learning rate to this fraction of its peak."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * fraction
