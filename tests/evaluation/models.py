"""A small world of stories, and small models that are far from their start."""

from functools import cache
from typing import Any

import torch

from minigpt.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.data import StoryData
from minigpt.text.tokenizer import BPETokenizer


@cache
def story_data() -> StoryData:
    tokenizer = BPETokenizer.train([stories.draw(0, i).text for i in range(200)], 600)
    return StoryData(tokenizer, 400, held_out=12)


def tiny(vocab_size: int, context_length: int = 400, **options: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(vocab_size=vocab_size, context_length=context_length, n_layers=1, n_heads=2, d_model=16, **options)
    )
    with torch.no_grad():  # far from the start, where all tokens are equally likely
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model
