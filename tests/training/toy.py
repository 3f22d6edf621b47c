"""A model of three tokens, whose every answer can be listed, and prompts and data for it."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from minigpt.config import GPTConfig, TrainConfig
from minigpt.model.gpt import GPT
from minigpt.text.batch import pad_rows
from minigpt.text.tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer
from minigpt.training.answers import Prompt, Prompts

TOKENIZER: Tokenizer = CharTokenizer("ab", [END_OF_TEXT])
END = TOKENIZER.special_tokens[END_OF_TEXT]
SHAPE = GPTConfig(vocab_size=3, context_length=8, n_layers=1, n_heads=2, d_model=8)


class ToyData:
    """What a run on the toy is measured on."""

    spec: dict[str, Any] = {"name": "toy"}
    tokenizer = TOKENIZER

    def batch_at(self, step: int, batch_size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        return pad_rows([[END, 0, 1, END]] * batch_size, END)

    def batches(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield pad_rows([[END, 0, 1, END], [END, 1, END]], END)

    def text_bytes(self, split: str) -> int:
        return 3


def toy(seed: int = 0, size: float = 0.3) -> GPT:
    """A model that prefers some answers to others, in float32."""
    torch.manual_seed(seed)
    model = GPT(SHAPE)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=size)
    return model


def prompts(max_new_tokens: int = 3) -> Prompts:
    """Three prompts in turn: nothing, a, b."""
    return Prompts("toy", lambda index: Prompt([END, *[[], [0], [1]][index % 3]], ["", "a", "b"][index % 3]), TOKENIZER,
                   END, max_new_tokens)  # fmt: skip


def recipe(**options: Any) -> TrainConfig:
    fields: dict[str, Any] = {
        "max_steps": 10, "batch_size": 24, "warmup_steps": 2, "learning_rate": 1e-2, "threads": 1, "seed": 0,
        "precision": "float32",
    }  # fmt: skip
    return TrainConfig(**fields | options)


def answers(longest: int = 3) -> list[list[int]]:
    """Every answer: up to `longest` tokens with END, which comes last where there is one."""
    found = []
    for n in range(1, longest + 1):
        for tokens in product(range(3), repeat=n):
            if END not in tokens[:-1] and (tokens[-1] == END or n == longest):
                found.append(list(tokens))
    return found


def said(model: GPT, prompt: list[int], tokens: list[int]) -> Tensor:
    """The log-probability of each token of an answer, (n,)."""
    logits = model(torch.tensor([[*prompt, *tokens[:-1]]]))[0, len(prompt) - 1 :]
    return logits.log_softmax(-1)[range(len(tokens)), tokens]
