"""What a checkpoint keeps of a run besides the weights, and whether a run that is resumed is still the same run."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from minigpt.config import GPTConfig, InputError, TrainConfig, fit_vocabulary, to_json
from minigpt.model.gpt import GPT
from minigpt.runtime import sum_over_processes, world_size
from minigpt.text.data import Data
from minigpt.training import metrics
from minigpt.training.shard import divided_like, whole
from minigpt.training.step import Objective
from minigpt.weights.checkpoint import Checkpoint, checkpoint_folders

Optimizers = dict[str, torch.optim.Optimizer]


def optimizer_state(optimizers: Optimizers) -> dict[str, Tensor]:
    """What the optimisers remember, as whole tensors with names. With shards, every process has to ask for it."""
    return {
        f"{name}.{index}.{key}": whole(value)
        for name, optimizer in optimizers.items()
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def load_optimizer_state(optimizers: Optimizers, state: dict[str, Tensor]) -> None:
    """The reverse of `optimizer_state`."""
    for name, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        values: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            if key.startswith(f"{name}."):
                _, index, field = key.split(".", 2)
                parameter = parameters[int(index)]
                of_its_shape = tensor.shape == parameter.shape  # not so the number of steps
                tensor = divided_like(tensor, parameter) if of_its_shape else tensor
                # A copy: a tensor of a file keeps it open, and Windows then cannot delete the old checkpoint.
                values.setdefault(int(index), {})[field] = tensor.clone()
        optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})


def model_state(model: GPT) -> dict[str, Tensor]:
    """The model's parameters, whole. With shards, every process has to ask for it."""
    return {name: whole(tensor) for name, tensor in model.state_dict().items()}


@torch.no_grad()
def load_model_state(model: GPT, state: dict[str, Tensor]) -> None:
    """The reverse of `model_state`."""
    for name, parameter in model.named_parameters():
        parameter.copy_(divided_like(state[name].to(parameter.device), parameter))


def take_folder(out: Path) -> None:
    """Make the folder of a new run.

    Raises:
        InputError: when it holds a run already, or cannot be made.
    """
    if checkpoint_folders(out):
        raise InputError(f"{str(out)!r} already holds a run: add --resume to go on with it, or choose another --out")
    if (out / metrics.NAME).exists():
        raise InputError(
            f"{str(out)!r} holds the metrics of a run and none of its checkpoints: delete {metrics.NAME} there "
            "to begin anew, or choose another --out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{str(out)!r} cannot hold a run ({error.strerror}): choose another --out") from None


def check_alike(model: GPT, sharded: bool) -> None:
    """Refuse to save when processes that should have the same weights have not.

    Raises:
        InputError: when they differ, as after a fault of memory, or when an optimiser rounds differently somewhere.
    """
    if world_size() == 1 or sharded:
        return
    mine = torch.stack([parameter.detach().double().sum() for parameter in model.parameters()])
    first = mine.clone()
    dist.broadcast(first, 0)
    if sum_over_processes((mine != first).any().float()):
        raise InputError(
            "the processes no longer hold the same weights, so this step is not saved: go on with --resume from the "
            "checkpoint before it, and if it happens again, with other hardware"
        )


def _adapters(config: TrainConfig) -> dict[str, Any]:
    names = ("lora", "lora_alpha", "lora_on") if config.lora else ("lora",)
    return {name: getattr(config, name) for name in names}


def _fixed(objective: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in objective.items() if name != "options"}


def check_same_run(
    out: Path,
    saved: Checkpoint,
    data: Data,
    model: GPTConfig | None,
    config: TrainConfig | None,
    objective: Objective | None = None,
) -> None:
    """Refuse to go on from a checkpoint with another model, data set, tokenizer, optimiser, adapters or objective.

    Raises:
        InputError: naming what has changed.
    """
    if not saved.training and saved.step:
        raise InputError(f"{str(saved.folder)!r} holds a model to use, not a run to resume: it has no optimiser state")
    run: dict[str, Any] = saved.run
    text = data.spec.get("sha256")
    moved = {"name": data.spec["name"]} if text and text == run["data"].get("sha256") else {}  # but the same text
    asked = config or TrainConfig(**run["train"])
    for what, was, now in (
        ("data", run["data"] | moved, data.spec),
        (
            "model",
            to_json(saved.model_config),
            to_json(fit_vocabulary(model or saved.model_config, data.tokenizer.vocab_size)),
        ),
        (
            "optimizer",
            {"optimizer": run["train"]["optimizer"], "trained": run["train"].get("trained", "all")},
            {"optimizer": asked.optimizer, "trained": asked.trained},
        ),
        ("set of adapters", _adapters(TrainConfig(**run["train"])), _adapters(asked)),
        ("objective", _fixed(run.get("objective", {})), _fixed({} if objective is None else objective.spec)),
    ):
        changed = [f"{k} was {was.get(k)}, now {now.get(k)}" for k in was | now if was.get(k) != now.get(k)]
        if changed:
            remedy = "leave those flags out" if what != "data" else "bring the old data back, or leave --data out"
            raise InputError(
                f"the run in {str(out)!r} has another {what} ({'; '.join(changed)}): {remedy}, or choose a new --out "
                "without --resume"
            )
    if data.tokenizer.contents() != saved.tokenizer.contents():
        raise InputError(f"the run in {str(out)!r} was trained with another tokenizer: choose a new --out")
