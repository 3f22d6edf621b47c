"""minigpt finetune: its flags, what they start from, and the model and the data that a run begins with."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import OmitArgPrefixes

from minigpt.commands.finding import load, with_chat_tokens
from minigpt.commands.output import quoted
from minigpt.commands.training import first_look, run_to_the_end, to_resume
from minigpt.config import FINETUNING, InputError, TrainConfig

if TYPE_CHECKING:
    import torch

    from minigpt.text.finetuning import ChatData
    from minigpt.text.labels import LabelData
    from minigpt.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Finetune:
    """Teach a trained model a task, or what a file shows. The task brings a recipe; a flag changes a part of it."""

    task: str = ""
    """questions, summaries, dialogue, mood, translation, or all of these: learn to answer; for translation, into
    Chinese, the tokenizer learns a token for each character first. sentiment or moderation: learn to label. Or the
    path of a file of JSON lines: {"messages": [{"role": "user", "content": "Hi"}, …]} or {"text": "…", "label": "…"}
    in each; a tenth of them is held out to measure on."""
    model: str = "storyteller"
    """What to begin with: a bundled model, the folder of a run or of a checkpoint, gpt2, …"""
    out: Path = Path("finetuned")
    """Folder for metrics.jsonl and checkpoints."""
    resume: bool = False
    """Go on with the run in --out from its newest good checkpoint."""
    stories: float = 0.0
    """Share of the steps that learn from stories, so that the model does not forget how to tell one (0.25)."""
    language: Literal["en", "zh"] = "en"
    """Of the comments of sentiment and moderation."""
    skip_bad: bool = False
    """Leave out lines of the file that cannot be used, such as those too long for the context, and count them."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, …"""
    train: OmitArgPrefixes[TrainConfig] = field(default_factory=lambda: FINETUNING["chats"])


def finetune_defaults(arguments: list[str]) -> Finetune:
    """What the flags start from: the recipe for the task, or with --resume the values of the run itself."""
    if {"-h", "--help"} & set(arguments):
        return Finetune()
    known = first_look(arguments, task="", out=Path("finetuned"), resume=False, device="auto")
    if known.resume:
        run = to_resume(known.out, "finetune").run
        spec = run["data"]
        return Finetune(
            task=spec["name"], out=known.out, resume=True, stories=spec.get("share", 0.0),
            language=spec.get("language", "en"), skip_bad=spec.get("skip_bad", False),
            train=TrainConfig(**run["train"]),
        )  # fmt: skip
    from minigpt import runtime
    from minigpt.text.example_files import format_of

    if not known.task:
        raise InputError(
            "which task? Add --task questions, summaries, dialogue, mood, translation, all (of these), sentiment, "
            "moderation, or the path of a file of JSON lines"
        )
    recipe = FINETUNING[format_of(known.task)]
    compiled = runtime.pick_device(known.device).type == "cuda"
    return Finetune(known.task, out=known.out, train=replace(recipe, compile=compiled))


def finetune(arguments: Finetune) -> int:
    """Teach a trained model a task, or the conversations or labels of a file."""
    from minigpt import runtime

    device = runtime.pick_device(arguments.device)
    with runtime.processes(device):
        return _finetune(arguments, device)


def _finetune(arguments: Finetune, device: "torch.device") -> int:
    from minigpt.model.classifier import with_labels
    from minigpt.runtime import rank
    from minigpt.text.data import Data, StoryData
    from minigpt.text.example_files import format_of
    from minigpt.text.finetuning import MixedData, finetuning_data
    from minigpt.text.tasks import CHINESE_TASKS
    from minigpt.training.trainer import Trainer

    base, news = None, []
    if arguments.resume:
        saved = to_resume(arguments.out, "finetune")
        tokenizer, length = saved.tokenizer, saved.model_config.context_length
    else:
        base, tokenizer = load(arguments.model)
        length = base.config.context_length
        learns_chats = format_of(arguments.task) == "chats"
        if learns_chats and base.config.n_labels:
            raise InputError(
                f"this model tells {base.config.n_labels} labels apart and writes nothing: take the language model "
                "that it was made from"
            )
        if learns_chats or tokenizer.end_of_text is None:
            chinese = arguments.task in CHINESE_TASKS
            known, (base, tokenizer) = tokenizer, with_chat_tokens(base, tokenizer, chinese=chinese)
            news = _told_of_chinese(known, tokenizer) if chinese else []
    try:
        learned = finetuning_data(
            arguments.task, tokenizer, length, language=arguments.language, skip_bad=arguments.skip_bad
        )
    except InputError as error:
        if arguments.resume:
            raise InputError(f"{error}. If the file was moved, add --task NEW_PLACE") from None
        raise
    data: Data = learned
    if arguments.stories:
        if learned.spec.get("labels"):
            raise InputError("a classifier learns labels and can tell no stories: leave --stories out")
        data = MixedData(learned, StoryData(tokenizer, length), arguments.stories)
    if base is None:
        trainer = Trainer.resume(arguments.out, data, None, arguments.train, device)
    else:
        labels, seed = learned.spec.get("labels"), arguments.train.seed
        start = with_labels(base, len(labels), seed) if labels else base
        trainer = Trainer(start.config, arguments.train, data, device, arguments.out, start)
        if rank() == 0:
            for line in news + _told(learned, arguments.train):
                print(line)
    status = run_to_the_end(trainer, arguments.out, "finetune", ("evaluate",))
    if status == 0 and rank() == 0 and trainer.config.lora and not learned.spec.get("labels"):
        _save_adapter(arguments.out)
    return status


def _save_adapter(out: Path) -> None:
    """Beside the checkpoints of a finished run, what it has learned alone: a classifier has learned its head, too."""
    from minigpt.weights import checkpoint
    from minigpt.weights.adapter import save_adapter

    found, path = checkpoint.newest_good(out)[0], out / "adapter.safetensors"
    save_adapter(path, checkpoint.build_model(found, merge=False), found.run["data"])
    print(f"the adapter alone, {path.stat().st_size / 1e6:.1f} MB: --adapter {quoted(path)}, beside the same --model")


def _told_of_chinese(before: "Tokenizer", after: "Tokenizer") -> list[str]:
    """What the tokenizer has learned for the Chinese of a task, if anything."""
    from minigpt.text.chinese import tokens_per_character

    if (now := tokens_per_character(after)) == (once := tokens_per_character(before)):
        return []
    return [f"the tokenizer has learned Chinese: {now:.1f} tokens a character, and {once:.1f} before"]


def _told(learned: "ChatData | LabelData", config: TrainConfig) -> list[str]:
    """What there is to learn from, and what was left out."""
    from minigpt.text.finetuning import ChatData

    name, spec = learned.spec["name"], learned.spec
    if "sha256" in spec:
        train, val = (learned.size(split) for split in ("train", "val"))
        rounds = config.max_steps * config.batch_size / train
        lines = [f"{name}: {train} lines to learn from, {rounds:.1f} times each, and {val} to measure on"]
        if learned.left_out:
            lines += [f"{len(learned.left_out)} lines were left out:", *(f"  {line}" for line in learned.left_out[:5])]
            lines += ["  …"] * (len(learned.left_out) > 5)
        return lines
    if isinstance(learned, ChatData) and (again := learned.drawn_again()):
        return [f"{again} of 100 examples of {name} are longer than the context and are drawn again"]
    return []
