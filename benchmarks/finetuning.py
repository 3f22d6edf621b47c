"""Supervised fine-tuning on conversations of uneven length: our Trainer beside transformers', adapters beside peft's.

The bundled storyteller learns to answer questions about stories, and its export in GPT-2's layout learns the same from
the same rows, eight steps at a time in turn. The losses of the first steps must agree before the clock runs.

transformers.Trainer gets token ids and labels that are ready, in its random order, and pads them by its own collator.
Ours draws and encodes its conversations while it trains, and sorts those of eight steps by length. The peer is measured
with the rows in our order, too: what is left then is the step itself.
"""

import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Options, Result, Row, check, compare, interleave
from benchmarks.training import RECIPE, THREADS, PlainLoop, memory, peak_memory
from minigpt.config import IGNORE
from minigpt.model.gpt import GPT
from minigpt.model.lora import adapter_state, with_adapters
from minigpt.model.vocabulary import with_more_tokens
from minigpt.text.chat import add_chat_tokens
from minigpt.text.finetuning import TOGETHER, ChatData
from minigpt.training.trainer import Trainer
from minigpt.weights.checkpoint import load_model
from minigpt.weights.pretrained import export_gpt2

BATCH, ROUNDS = 16, 7
RANK, ALPHA = 8, 16
PLACES = {"qkv": "attn.c_attn", "output": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
"""Our kinds of matrices and GPT-2's names: both adapt all four of a block."""

Losses = list[float]
Window = Callable[[], Losses]
"""Takes the TOGETHER steps of the next window of rows."""


@cache
def storyteller() -> tuple[GPT, ChatData]:
    """The model with chat tokens, and its conversations."""
    model, tokenizer = load_model()
    tokenizer = add_chat_tokens(tokenizer)
    model = with_more_tokens(model, tokenizer.vocab_size)
    # One less: transformers reads the last token of a row, too, whose place would be one too many.
    return model, ChatData("questions", tokenizer, model.config.context_length - 1)


@cache
def rows_of(window: int) -> list[dict[str, list[int]]]:
    """What TOGETHER steps read, in our order, as transformers wants it: ids, and labels in the same places."""
    _, data = storyteller()
    rows = []
    for step in range(window * TOGETHER, (window + 1) * TOGETHER):
        for inputs, targets in zip(*data.batch_at(step, BATCH), strict=True):
            length = int((targets != IGNORE).nonzero()[-1]) + 1  # a row ends with an answer's end token
            ids, labels = [*inputs[:length].tolist(), int(targets[length - 1])], [IGNORE, *targets[:length].tolist()]
            rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return rows


def ours(lora: bool) -> Window:
    """Our Trainer."""
    model, data = storyteller()
    recipe = replace(RECIPE, batch_size=BATCH, lora=RANK if lora else None, lora_alpha=float(ALPHA))
    trainer = Trainer(model.config, recipe, data, start=model)
    return lambda: [trainer.train_step().loss for _ in range(TOGETHER)]


@cache
def export() -> str:
    """The folder of the storyteller's export."""
    folder = tempfile.mkdtemp()
    model, data = storyteller()
    export_gpt2(model, data.tokenizer, folder)
    return folder


def exported(lora: bool) -> Any:
    """The storyteller in transformers; adapters of peft begin with the same numbers as ours."""
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(export())
    if not lora:
        return theirs
    from peft import LoraConfig, get_peft_model

    wanted = [*PLACES.values()]
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=wanted, fan_in_fan_out=True)
    adapted = get_peft_model(theirs, config)
    state = adapted.state_dict()
    for name, tensor in adapter_state(with_adapters(storyteller()[0], RANK, ALPHA)).items():
        _, block, _, attribute, kind = name.split(".")
        place = f"h.{block}.{PLACES[attribute]}.lora_{kind[-1].upper()}"
        state[f"base_model.model.transformer.{place}.default.weight"].copy_(tensor)
    return adapted


class Theirs:
    """transformers.Trainer in a thread of its own, which waits after each window until the next is called for.

    Args:
        lora: whether with peft's adapters.
        in_our_order: the rows; otherwise those of a window are shuffled, as its own sampler would.
        windows: how many there will be.
    """

    def __init__(self, lora: bool, in_our_order: bool, windows: int = 1 + ROUNDS) -> None:
        self.rows: list[dict[str, list[int]]] = []
        for window in range(windows):
            rows = rows_of(window)
            dice = torch.Generator().manual_seed(window)
            order = range(len(rows)) if in_our_order else torch.randperm(len(rows), generator=dice).tolist()
            self.rows += [rows[i] for i in order]
        self.lora, self.losses = lora, Losses()
        self.turn, self.done = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._train, daemon=True).start()
        self.done.acquire()

    def __call__(self) -> Losses:
        self.losses = []
        self.turn.release()
        self.done.acquire()
        return self.losses

    def wait(self) -> None:
        """Between two windows: say that one is done, and wait for the next turn."""
        self.done.release()
        self.turn.acquire()

    def _train(self) -> None:
        from transformers import AutoTokenizer, DataCollatorForSeq2Seq, PrinterCallback, TrainingArguments
        from transformers import Trainer as TheirTrainer
        from transformers.trainer_callback import TrainerCallback

        torch.set_num_threads(THREADS)  # each thread has a number of its own
        mine = self

        class InTurn(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                if state.global_step == 0:
                    mine.wait()

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
                mine.losses += [logs["loss"]] if "loss" in logs else []
                if state.global_step % TOGETHER == 0 and "loss" in logs:
                    mine.wait()

        tokenizer = AutoTokenizer.from_pretrained(export())
        tokenizer.pad_token = tokenizer.eos_token
        steps = len(self.rows) // BATCH
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder, per_device_train_batch_size=BATCH, max_steps=steps, use_cpu=True, seed=0,
                learning_rate=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay, adam_beta1=RECIPE.beta1,
                adam_beta2=RECIPE.beta2, lr_scheduler_type="constant", train_sampling_strategy="sequential",
                logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
            )  # fmt: skip
            trainer = TheirTrainer(
                exported(self.lora), arguments, train_dataset=self.rows,
                data_collator=DataCollatorForSeq2Seq(tokenizer), callbacks=[InTurn()],
            )  # fmt: skip
            trainer.remove_callback(PrinterCallback)
            trainer.train()


class Logits(nn.Module):
    """A model of transformers that says logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits


def plain(network: nn.Module) -> Window:
    """The plain loop of benchmarks/training.py on our batches: the same for ours and for peft's adapters."""
    _, data = storyteller()
    loop, step = PlainLoop(network), iter(range(10**9))
    return lambda: [loop.step(*data.batch_at(next(step), BATCH)) for _ in range(TOGETHER)]


WORKS: dict[str, Callable[[], Window]] = {
    "whole: minigpt": lambda: ours(False),
    "whole: transformers": lambda: Theirs(False, False),
    "whole: transformers, in our order": lambda: Theirs(False, True),
    "adapters: minigpt": lambda: ours(True),
    "adapters: peft in transformers": lambda: Theirs(True, False),
    "adapters: peft in transformers, in our order": lambda: Theirs(True, True),
    "adapters: plain loop": lambda: plain(with_adapters(storyteller()[0], RANK, ALPHA)),
    "adapters: peft in the plain loop": lambda: plain(Logits(exported(True))),
}
SHUFFLED = ("whole: transformers", "adapters: peft in transformers")
COMPARED = (  # ours, the peer, and the target
    ("whole: minigpt", "whole: transformers", 2.0),
    ("whole: minigpt", "whole: transformers, in our order", None),
    ("adapters: minigpt", "adapters: peft in transformers", 1.5),
    ("adapters: minigpt", "adapters: peft in transformers, in our order", None),
    ("adapters: plain loop", "adapters: peft in the plain loop", None),
)


def check_losses(losses: dict[str, Losses]) -> None:
    """The losses of a window must be ours to three digits; in another order of the rows, their mean to a tenth.

    Raises:
        SystemExit: where they are not.
    """
    for name, theirs in losses.items():
        mine = losses["whole: minigpt" if name.startswith("whole") else "adapters: minigpt"]
        limit = 0.1 if name in SHUFFLED else 1e-3
        pairs = [(sum(mine), sum(theirs))] if name in SHUFFLED else list(zip(mine, theirs, strict=True))
        check(all(abs(a - b) < limit * b for a, b in pairs), f"{name} has other losses than minigpt: {pairs}")


def memory_of(name: str) -> None:
    """Print, as JSON, the peak memory before the model is made and after a window; for a process of its own."""
    import peft
    import transformers.trainer  # noqa: F401  for all alike: imports are no part of training

    assert peft
    torch.set_num_threads(THREADS)
    rows_of(0)
    export()
    before = peak_memory()
    WORKS[name]()()
    print(json.dumps([before, peak_memory()]))


def run(options: Options) -> Result:
    torch.set_num_threads(THREADS)
    works = {name: make() for name, make in WORKS.items()}
    losses = {name: work() for name, work in works.items()}
    check_losses(losses)
    times = interleave(works, ROUNDS, warm_up=0, seconds=300)
    read = sum(len(row["input_ids"]) - 1 for window in range(ROUNDS) for row in rows_of(1 + window)) / ROUNDS
    notes = f"{THREADS} threads, batches of {BATCH} rows; tokens without padding"
    rows: list[Row] = []
    for mine, peer, target in COMPARED:
        what, _, name = peer.partition(": ")
        work = "fine-tuning the whole model" if what == "whole" else f"fine-tuning adapters of rank {RANK}"
        rows.append(
            compare(
                f"{work}{', the plain loop' * ('plain' in mine)}", times[mine], times[peer], name, unit="tokens/s",
                amount=read, target=target, notes=notes,
            )
        )  # fmt: skip
    held: dict[str, float] = {}
    notes = "growth of the peak of resident memory (VmHWM) over imports and data, in a fresh process each"
    for mine, peer in (("whole: minigpt", SHUFFLED[0]), ("adapters: minigpt", SHUFFLED[1])):
        held |= {name: memory(__name__, name) for name in (mine, peer)}
        work = f"peak memory of {rows[0 if mine.startswith('whole') else 2].work}"
        rows.append(
            Row(work, held[mine], "MB", held[peer], peer.partition(": ")[2], held[peer] / held[mine], 1.0, notes=notes)
        )
    return Result(rows, {"first_losses": losses, "peak_memory": held, "tokens_of_a_round": read})
