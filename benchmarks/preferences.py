"""A step from rewards and a step from preferences: our Trainer beside trl's GRPOTrainer and DPOTrainer.

Rewards: the storyteller tells 64 stories in groups of 8, the verifier grades them, and there is one update; trl does
the same with the export in GPT-2's layout, the same verifier, in float32 and without gradient checkpointing. Ours takes
no step from a group in which all rewards are equal; so that nothing is gained by that, both are timed a second time
with a reward in which the length counts a little, and no two are equal.

Preferences: 16 pairs of a true story and one whose last sentence is another's, the reference's log-probabilities
computed beforehand by both. The losses of the first steps must agree before the clock runs. Such answers begin alike,
and ours reads that once; so both are timed a second time with pairs of two unrelated stories.

Both have the same threads, two where there are two cores: the clock on the wall needs a machine that is quiet.
"""

import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Options, Result, Row, check, compare, interleave
from benchmarks.training import THREADS, memory, peak_memory
from minigpt.config import TrainConfig
from minigpt.model.gpt import GPT, flops_per_token
from minigpt.text.data import StoryData
from minigpt.text.pairs import PairData, line_of
from minigpt.text.stories import story_at, verify
from minigpt.text.tokenizer import Tokenizer
from minigpt.training.answers import Prompt, consistent, story_prompts
from minigpt.training.options import PreferenceOptions, RewardOptions
from minigpt.training.preferences import PreferenceObjective
from minigpt.training.rewards import RewardObjective
from minigpt.training.trainer import Trainer
from minigpt.weights.checkpoint import load_model
from minigpt.weights.pretrained import export_gpt2

ANSWERS, GROUP, PAIRS = 64, 8, 16
ROUNDS, FIRST = 7, 3
"""FIRST steps of both on pairs must have the same losses."""
LEARNING_RATE, BETA = 1e-5, 0.1
"""Small: all rounds shall do the same work."""

Step = Callable[[], float]
"""Takes one step and returns its loss."""


@cache
def storyteller() -> tuple[GPT, Tokenizer]:
    return load_model()


@cache
def folder() -> Path:
    """What lies on disk for both: the export, and the pairs."""
    place = Path(tempfile.mkdtemp())
    export_gpt2(*storyteller(), str(place / "export"))
    stories = [story_at("train", index).text for index in range(PAIRS * (ROUNDS + FIRST + 3) * 2)]
    lines: dict[str, list[str]] = {"pairs": [], "apart": []}
    for true, other in zip(stories[0::2], stories[1::2], strict=True):
        mixed = true.rsplit(". ", 1)[0] + ". " + other.rsplit(". ", 1)[1]
        lines["pairs"] += [line_of("", true, mixed)] * (mixed != true)
        lines["apart"].append(line_of("", true, other))
    for name, found in lines.items():
        (place / f"{name}.jsonl").write_text("\n".join(found), encoding="utf-8")
    return place


def recipe(batch_size: int) -> TrainConfig:
    return TrainConfig(
        max_steps=10**9, batch_size=batch_size, learning_rate=LEARNING_RATE, warmup_steps=0, weight_decay=0.0,
        precision="float32", beta2=0.999, threads=THREADS,
    )  # fmt: skip


def uneven(prompt: Prompt, answer: str) -> float:
    """The verifier's verdict and a little of the length, so that no group has equal rewards."""
    return consistent(prompt, answer) + 1e-3 * len(answer)


def our_rewards(every: bool) -> Step:
    """Our step; `every`: each group gives one."""
    model, tokenizer = storyteller()
    prompts = story_prompts(tokenizer, model.config.context_length)
    objective = RewardObjective(prompts, uneven if every else consistent, model, RewardOptions(group=GROUP))
    data = StoryData(tokenizer, model.config.context_length)
    trainer = Trainer(model.config, recipe(ANSWERS), data, start=model, objective=objective)
    return lambda: trainer.train_step().loss


@cache
def pairs(name: str = "pairs") -> PairData:
    """ "pairs" that begin alike, or far "apart"."""
    model, tokenizer = storyteller()
    return PairData(folder() / f"{name}.jsonl", tokenizer, model.config.context_length)


def our_pairs(name: str) -> Step:
    """Our step."""
    model, _ = storyteller()
    objective = PreferenceObjective(pairs(name), model, PreferenceOptions(beta=BETA))
    trainer = Trainer(model.config, recipe(PAIRS), pairs(name), start=model, objective=objective)
    return lambda: trainer.train_step().loss


class Theirs:
    """A trainer of trl in a thread of its own, which waits after each step until the next is called for.

    Args:
        make: makes the trainer, from its callbacks.
    """

    def __init__(self, make: Callable[[list[Any]], Any]) -> None:
        self.loss = float("nan")
        self.turn, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.problem: BaseException | None = None
        threading.Thread(target=self._train, args=(make,), daemon=True).start()
        self._finished()

    def __call__(self) -> float:
        self.turn.release()
        self._finished()
        return self.loss

    def _finished(self) -> None:
        self.done.acquire()
        if self.problem is not None:
            raise self.problem

    def _train(self, make: Callable[[list[Any]], Any]) -> None:
        from transformers import PrinterCallback
        from transformers.trainer_callback import TrainerCallback

        torch.set_num_threads(THREADS)  # each thread has a number of its own
        mine = self

        class InTurn(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                mine.done.release()
                mine.turn.acquire()

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
                mine.loss = logs.get("loss", mine.loss)

        try:
            trainer = make([InTurn()])
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        except BaseException as error:  # it must not be lost with its thread
            self.problem = error
        finally:
            self.done.release()  # behind the last step, too


def settings(batch: int) -> dict[str, Any]:
    """What both of trl's trainers are told."""
    return {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": batch, "max_steps": 1000, "use_cpu": True,
        "learning_rate": LEARNING_RATE, "weight_decay": 0.0, "lr_scheduler_type": "constant", "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False,
        "bf16": False, "gradient_checkpointing": False, "beta": 0.04, "seed": 0,
    }  # fmt: skip


def exported() -> tuple[Any, Any]:
    """The storyteller in transformers, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = str(folder() / "export")
    return AutoModelForCausalLM.from_pretrained(place), AutoTokenizer.from_pretrained(place)


def their_rewards(every: bool) -> Step:
    """trl's step."""

    def reward(completions: Sequence[str], **more: Any) -> list[float | None]:
        return [verify(text).consistent + 1e-3 * len(text) * every for text in completions]

    def make(callbacks: list[Any]) -> Any:
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        model, tokenizer = exported()
        length = storyteller()[0].config.context_length
        arguments = GRPOConfig(
            **settings(ANSWERS), num_generations=GROUP, max_completion_length=length - 1, temperature=1.0, top_k=0,
            loss_type="grpo", use_bias_correction_kl=False,
        )  # fmt: skip
        data = Dataset.from_list([{"prompt": tokenizer.eos_token}] * 1000)
        return GRPOTrainer(model, reward, arguments, data, processing_class=tokenizer, callbacks=callbacks)

    return Theirs(make)


def their_pairs(name: str) -> Step:
    """trl's step, on our pairs in our order."""

    def make(callbacks: list[Any]) -> Any:
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        model, tokenizer = exported()
        ours = pairs(name)
        decode, end = ours.tokenizer.decode, tokenizer.eos_token
        order = [ours.train[i] for i in ours.pairs_at(0, PAIRS * (ROUNDS + FIRST + 1))]
        rows = [
            {"prompt": end, "chosen": decode(pair.chosen[:-1]), "rejected": decode(pair.rejected[:-1])}
            for pair in order
        ]
        arguments = DPOConfig(
            **settings(PAIRS) | {"beta": BETA, "max_steps": len(rows) // PAIRS, "adam_beta2": 0.999},
            precompute_ref_log_probs=True, train_sampling_strategy="sequential", max_length=None,
        )  # fmt: skip
        return DPOTrainer(
            model, None, arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            callbacks=callbacks,
        )  # fmt: skip

    return Theirs(make)


WORKS: dict[str, Callable[[], Step]] = {
    "rewards: minigpt": lambda: our_rewards(False),
    "rewards: trl": lambda: their_rewards(False),
    "every group: minigpt": lambda: our_rewards(True),
    "every group: trl": lambda: their_rewards(True),
    "pairs: minigpt": lambda: our_pairs("pairs"),
    "pairs: trl": lambda: their_pairs("pairs"),
    "apart: minigpt": lambda: our_pairs("apart"),
    "apart: trl": lambda: their_pairs("apart"),
}
COMPARED = (  # what, in words, and the target
    ("rewards", f"a GRPO step: {ANSWERS} stories in groups of {GROUP}", 4.0),
    ("every group", "a GRPO step in which every group counts", None),
    ("pairs", f"a DPO step: {PAIRS} pairs of stories", 2.0),
    ("apart", "a DPO step on answers that do not begin alike", None),
)


def memory_of(name: str) -> None:
    """Print, as JSON, the peak memory before the model is made and after two steps; for a process of its own."""
    from trl import DPOTrainer, GRPOTrainer  # for all alike: imports are no part of training

    assert {DPOTrainer, GRPOTrainer}
    torch.set_num_threads(THREADS)
    folder()
    before = peak_memory()
    step = WORKS[name]()
    step()
    step()
    print(json.dumps([before, peak_memory()]))


def floor() -> dict[str, float]:
    """Operations of a GRPO step, in GFLOP: what no program can leave out.

    Each token is read once to be drawn, once by the reference and once to be learned from, which costs three times a
    reading (forward and backward).
    """
    model, _ = storyteller()
    tokens = ANSWERS * 127  # a story's mean length, measured
    training = flops_per_token(model.config, 127) * tokens
    return {"sampling": training / 3e9, "reference": training / 3e9, "update": training / 1e9}


def run(options: Options) -> Result:
    torch.set_num_threads(THREADS)
    works = {name: make() for name, make in WORKS.items()}
    for name in ("pairs", "apart"):
        for _ in range(FIRST):
            loss, other = works[f"{name}: minigpt"](), works[f"{name}: trl"]()
            check(abs(loss - other) < 1e-3 * other, f"trl has another loss on the same pairs: {loss}, {other}")
    times = interleave(works, ROUNDS, warm_up=1, seconds=400)
    rows: list[Row] = []
    for what, words, target in COMPARED:
        mine, theirs = f"{what}: minigpt", f"{what}: trl"
        notes = f"{THREADS} threads, float32"
        rows.append(compare(words, times[mine], times[theirs], "trl", target=target, notes=notes))
        if target is None:
            continue
        used, others = memory(__name__, mine), memory(__name__, theirs)
        work = f"peak memory of {words.partition(':')[0]}"
        rows.append(Row(work, used, "MB", others, "trl", others / used, 1.0, notes="growth in a fresh process"))
    return Result(rows, {"floor in GFLOP": floor()})
