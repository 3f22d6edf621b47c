"""minigpt train: its flags, what they start from, and a run from its first message to its last."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import OmitArgPrefixes

from minigpt.commands.output import quoted
from minigpt.config import GPTConfig, InputError, TrainConfig, preset

if TYPE_CHECKING:
    import argparse

    import torch

    from minigpt.training.trainer import Trainer
    from minigpt.weights.checkpoint import Checkpoint

STOPPED = 75
"""Exit status of a training that stopped early with a checkpoint (a signal, --max-minutes): BSD's «try again»."""


@dataclass(frozen=True)
class Train:
    """Train a model. A preset sets all of it; any flag below changes one part."""

    preset: str = "storyteller"
    """storyteller or -fast, tiny, shakespeare-char, -fast, -long or -gpu, gpt2, gpt2-8, gpt2-medium, -large or -xl."""
    data: str = "stories"
    """stories, shakespeare, or the path of a text file or of a folder that `minigpt data prepare` made."""
    out: Path = Path("run")
    """Folder for metrics.jsonl and checkpoints."""
    resume: bool = False
    """Go on with the run in --out from its newest good checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, …"""
    tokenizer: Literal["auto", "char", "bpe"] = "auto"
    """For a text file: one token per character, or byte pairs learned from it (--vocab-size of them)."""
    model: OmitArgPrefixes[GPTConfig] = field(default_factory=GPTConfig)
    train: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


def first_look(arguments: list[str], **flags: str | Path | Literal[False]) -> "argparse.Namespace":
    """These flags of a command, which decide what all others start from; of each its default.

    Raises:
        InputError: for one that lacks its value.
    """
    import argparse

    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, default in flags.items():
        if default is False:
            scan.add_argument(f"--{name}", action="store_true")
        else:
            scan.add_argument(f"--{name}", type=type(default), default=default)
    try:
        return scan.parse_known_args(arguments)[0]
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from None


def train_defaults(arguments: list[str]) -> Train:
    """What the flags start from: the preset's values, or with --resume those of the run itself."""
    known = first_look(arguments, preset="storyteller", out=Path("run"), resume=False, device="auto")
    chosen = preset(known.preset)
    defaults = Train(
        known.preset,
        chosen.data,
        known.out,
        known.resume,
        tokenizer=chosen.tokenizer,
        model=chosen.model,
        train=chosen.train,
    )
    if {"-h", "--help"} & set(arguments):
        return defaults
    if known.resume:
        saved = to_resume(known.out, "train")
        spec = saved.run["data"]
        defaults = replace(
            defaults, data=spec["name"], tokenizer=spec.get("tokenizer", "auto"),
            model=saved.model_config, train=TrainConfig(**saved.run["train"]),
        )  # fmt: skip
    else:
        from minigpt import runtime

        if runtime.pick_device(known.device).type == "cuda":
            defaults = replace(defaults, train=replace(defaults.train, compile=True))
    return defaults


def to_resume(out: Path, command: str) -> "Checkpoint":
    """The checkpoint that a run goes on from.

    Raises:
        InputError: when there is none, or another command began the run.
    """
    from minigpt.text.finetuning import is_task
    from minigpt.weights import checkpoint

    saved, _ = checkpoint.newest_good(out)
    if not saved.run:
        raise InputError(f"{str(saved.folder)!r} does not say how it was trained, so it cannot be resumed")
    began = "tune" if "objective" in saved.run else "finetune" if is_task(saved.run["data"]) else "train"
    if began != command:
        raise InputError(
            f"the run in {str(out)!r} was begun by another command: go on with minigpt {began} --out {quoted(out)} "
            "--resume"
        )
    return saved


def train(arguments: Train) -> int:
    """Train a model, or go on with a run."""
    from minigpt import runtime

    device = runtime.pick_device(arguments.device)
    with runtime.processes(device):
        return _train(arguments, device)


def _train(arguments: Train, device: "torch.device") -> int:
    from minigpt.text.data import load_data
    from minigpt.training.trainer import Trainer

    model = arguments.model
    try:
        source = load_data(arguments.data, model.context_length, arguments.tokenizer, model.vocab_size)
    except InputError as error:
        if arguments.resume:
            raise InputError(f"{error}. If the data was moved, add --data NEW_PLACE") from None
        raise
    # The data's tokenizer knows how many tokens there are.
    model_config = replace(model, vocab_size=source.tokenizer.vocab_size)
    if arguments.resume:
        trainer = Trainer.resume(arguments.out, source, model_config, arguments.train, device)
    else:
        trainer = Trainer(model_config, arguments.train, source, device, arguments.out)
    return run_to_the_end(trainer, arguments.out, "train", ("generate", "evaluate"))


def run_to_the_end(trainer: "Trainer", folder: Path, command: str, then: tuple[str, ...]) -> int:
    """A run from its first message to its last: what it computes with, its steps, and what can be done next.

    Args:
        trainer: of the run, new or resumed.
        folder: of the run.
        command: of minigpt, with which the run goes on after a stop.
        then: commands to try on the finished model.
    """
    from minigpt.runtime import rank

    out = quoted(folder)
    say = print if rank() == 0 else lambda message: None
    max_steps = trainer.config.max_steps
    if trainer.step >= max_steps:
        say(f"{folder} is finished: {trainer.step} steps are done. To train longer, raise --max-steps")
        return 0
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    doing = "going on with" if trainer.step else "training"
    say(trainer.choices())
    say(f"{doing} {folder}: {size:,} parameters, step {trainer.step} of {max_steps}")
    if not trainer.run():
        say(f"stopped after step {trainer.step}; go on with: minigpt {command} --out {out} --resume")
        return STOPPED
    say("done. Try: " + "    ".join(f"minigpt {each} --model {out}" for each in then))
    return 0
