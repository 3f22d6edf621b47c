"""minigpt tune: its flags, what they start from, and the model, the objective and the data that a run begins with."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import OmitArgPrefixes

from minigpt.commands.finding import load
from minigpt.commands.training import first_look, run_to_the_end, to_resume
from minigpt.config import TUNING, InputError, TrainConfig, nearest
from minigpt.training.options import PREFERENCE_METHODS, REWARD_METHODS, PreferenceOptions, RewardOptions

if TYPE_CHECKING:
    import torch

    from minigpt.model.gpt import GPT
    from minigpt.text.data import Data
    from minigpt.text.pairs import PairData
    from minigpt.text.tokenizer import Tokenizer
    from minigpt.training.answers import Prompts, Reward
    from minigpt.training.step import Objective

Method = Literal["grpo", "dapo", "dr_grpo", "reinforce", "dpo", "ipo", "simpo"]
STORIES = "stories"
GROUP_OF_STORIES = 64
"""Stories that are told together to make pairs of them: they all have the same prompt."""


@dataclass(frozen=True)
class Tune:
    """Make a trained model better than its examples: by what was right, or by which of two answers was better. The
    method brings a recipe; a flag changes a part of it."""

    task: str = STORIES
    """stories (right: no contradiction); questions, summaries, dialogue, mood or translation, for a model that has
    learned to answer (right: one of the known wordings); or for dpo, ipo and simpo the path of a file of JSON lines:
    {"prompt": "Once", "chosen": " upon a time", "rejected": " twice"} in each."""
    method: Method = "grpo"
    """By rewards: grpo, dapo, dr_grpo, reinforce. By preferences: dpo, ipo, simpo."""
    model: str = "storyteller"
    """What to begin with: a bundled model, or the folder of a run or of a checkpoint."""
    reference: str = ""
    """What the divergence is measured from, a model of the same shape; by default what the run begins with."""
    pairs: int = 300
    """dpo, ipo, simpo with a task: pairs to make of the model's own answers, a right one and a wrong one in each."""
    out: Path = Path("tuned")
    """Folder for metrics.jsonl, checkpoints, the reference, and the pairs that were made."""
    resume: bool = False
    """Go on with the run in --out from its newest good checkpoint."""
    skip_bad: bool = False
    """Leave out lines of the file that cannot be used, and count them."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, …"""
    rewards: OmitArgPrefixes[RewardOptions] = field(default_factory=RewardOptions)
    preferences: OmitArgPrefixes[PreferenceOptions] = field(default_factory=PreferenceOptions)
    train: OmitArgPrefixes[TrainConfig] = field(default_factory=lambda: TUNING["rewards"])


def tune_defaults(arguments: list[str]) -> Tune:
    """What the flags start from: the recipe of the method, or with --resume the values of the run itself."""
    if {"-h", "--help"} & set(arguments):
        return Tune()
    known = first_look(arguments, task=STORIES, method="grpo", out=Path("tuned"), resume=False)
    if known.resume:
        run = to_resume(known.out, "tune").run
        kept, config = run["objective"], TrainConfig(**run["train"])
        if kept["kind"] == "rewards":
            options = RewardOptions(**kept["options"])
            return Tune(kept["prompts"], out=known.out, resume=True, rewards=options, train=config)
        return Tune(
            run["data"]["name"], "dpo", out=known.out, resume=True, skip_bad=run["data"]["skip_bad"],
            preferences=PreferenceOptions(**kept["options"]), train=config,
        )  # fmt: skip
    methods = [*REWARD_METHODS, *PREFERENCE_METHODS]
    if known.method not in methods:
        raise InputError(f"there is no method {known.method!r}; {nearest(known.method, methods)}")
    if known.method in REWARD_METHODS:
        return Tune(known.task, known.method, rewards=REWARD_METHODS[known.method], train=TUNING["rewards"])
    options_of = PREFERENCE_METHODS[known.method]
    return Tune(known.task, known.method, preferences=options_of, train=TUNING["preferences"])


def tune(arguments: Tune) -> int:
    """Make a model better than its examples, by rewards or by preferences."""
    from minigpt import runtime

    device = runtime.pick_device(arguments.device)
    with runtime.processes(device):
        return _tune(arguments, device)


def _tune(arguments: Tune, device: "torch.device") -> int:
    from minigpt.runtime import rank
    from minigpt.training.trainer import Trainer
    from minigpt.weights import checkpoint

    kept, saved = arguments.out / "reference", None
    if arguments.resume:
        saved = to_resume(arguments.out, "tune")
        try:
            base, tokenizer = checkpoint.load_model(str(kept))
        except InputError as error:
            raise InputError(f"the run cannot go on without its reference: {error}") from None
    else:
        base, tokenizer = load(arguments.model)
        if checkpoint.checkpoint_folders(arguments.out):
            raise InputError(f"{str(arguments.out)!r} already holds a run: add --resume, or choose another --out")
        if base.config.n_labels:
            raise InputError(f"this model tells {base.config.n_labels} labels apart and writes nothing: take another")
    reference = _reference(arguments.reference, base, tokenizer).to(device)
    by_rewards = arguments.method in REWARD_METHODS
    with tempfile.TemporaryDirectory() as folder:
        made: Path | None = None
        data: Data
        objective: Objective
        if by_rewards:
            prompts, reward, data = _asked(arguments.task, tokenizer, base.config.context_length)
            objective = _by_rewards(prompts, reward, reference, arguments.rewards)
        else:
            if arguments.task in _tasks() and not arguments.resume:
                made = Path(folder) / "pairs.jsonl"
                _make_pairs(arguments, base.to(device), tokenizer, made)
            pairs = _pairs(arguments, made, tokenizer, base.config.context_length)
            if saved is not None and "task" in saved.run["data"]:
                pairs.spec["task"] = saved.run["data"]["task"]
            data, objective = pairs, _by_preferences(pairs, reference, arguments.preferences)
        if arguments.resume:
            trainer = Trainer.resume(arguments.out, data, None, arguments.train, device, objective)
        else:
            trainer = Trainer(base.config, arguments.train, data, device, arguments.out, base, objective)
            if rank() == 0:
                if made is not None:
                    shutil.copyfile(made, arguments.out / made.name)
                checkpoint.save(kept, reference, tokenizer)
    return run_to_the_end(trainer, arguments.out, "tune", ("generate", "evaluate"))


def _tasks() -> list[str]:
    from minigpt.text.tasks import TASKS

    return [STORIES, *TASKS]


def _reference(name: str, base: "GPT", tokenizer: "Tokenizer") -> "GPT":
    """A copy of what the run begins with, or the model of this name."""
    from copy import deepcopy

    from minigpt.training.rewards import check_reference

    if not name:
        return deepcopy(base)
    reference, its_tokenizer = load(name)
    check_reference(base.config, reference.config)
    if its_tokenizer.contents() != tokenizer.contents():
        raise InputError(
            f"the reference {name!r} has another tokenizer than the model, so their tokens cannot be compared: take a "
            "copy of the model that the run starts with"
        )
    return reference


def _asked(task: str, tokenizer: "Tokenizer", context_length: int) -> "tuple[Prompts, Reward, Data]":
    """What is asked, what an answer is worth, and what the run is measured on."""
    from minigpt.text.data import StoryData
    from minigpt.text.finetuning import ChatData
    from minigpt.training.answers import consistent, exact, story_prompts, task_prompts

    if task == STORIES:
        return story_prompts(tokenizer, context_length), consistent, StoryData(tokenizer, context_length)
    if task not in _tasks():
        raise InputError(
            f"rewards need a task whose right answers are known, and there is none called {task!r}; "
            f"{nearest(task, _tasks())}"
        )
    chats = ChatData(task, tokenizer, context_length)
    return task_prompts(chats), exact, chats


def _by_rewards(prompts: "Prompts", reward: "Reward", reference: "GPT", options: RewardOptions) -> "Objective":
    from minigpt.training.rewards import RewardObjective

    return RewardObjective(prompts, reward, reference, options)


def _by_preferences(pairs: "PairData", reference: "GPT", options: PreferenceOptions) -> "Objective":
    from minigpt.training.preferences import PreferenceObjective

    return PreferenceObjective(pairs, reference, options)


def _make_pairs(arguments: Tune, model: "GPT", tokenizer: "Tokenizer", path: Path) -> None:
    """Pairs of the model's own answers, written to a file."""
    from minigpt.runtime import rank
    from minigpt.training.preferences import sample_pairs

    prompts, reward, _ = _asked(arguments.task, tokenizer, model.config.context_length)
    group = GROUP_OF_STORIES if arguments.task == STORIES else 8
    if rank() == 0:
        print(f"making {arguments.pairs} pairs of a right and a wrong answer to {arguments.task} …", flush=True)
    lines, asked = sample_pairs(model, prompts, reward, arguments.pairs, group, arguments.train.seed)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if rank() == 0:
        print(f"{len(lines)} pairs of {asked} answers")


def _pairs(arguments: Tune, made: Path | None, tokenizer: "Tokenizer", context_length: int) -> "PairData":
    """The pairs of a file, or those that were made, which then lie in the run's folder."""
    from minigpt.text.pairs import PairData

    path = made or Path(arguments.task)
    if made is None and not path.exists():
        if arguments.resume:
            raise InputError(f"the pairs in {arguments.task!r} are gone; if they were moved, add --task NEW_PLACE")
        raise InputError(
            f"there is no task and no file called {arguments.task!r}; {nearest(arguments.task, _tasks())}; or give the "
            "path of a file of pairs"
        )
    data = PairData(path, tokenizer, context_length, skip_bad=arguments.skip_bad)
    if made is not None:
        extra: dict[str, Any] = {"name": str(arguments.out / made.name), "task": arguments.task}
        data.spec |= extra
    return data
