"""The whole GPT for the README, from a text to a distribution over the next token and back; and the small one for lessons.

Alt text: «A loop. The first sentence of a story, cut into numbered tokens, goes down into the token embedding; a position
embedding is added; Transformer blocks add what attention and feed-forward find to the residual stream; a final LayerNorm
and the output head turn it into bars, one for each token that may come next; one is drawn and appended to the text.»

The text is a validation story's first sentence. Tokens, ids, sizes and probabilities are those of the bundled model.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from minigpt.checkpoint import load_model
from minigpt.config import GPTConfig
from minigpt.course.plots import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE
from minigpt.stories import story_at

MUTED = "#808080"  # as legible on white as on the black box of lesson 1


@dataclass(frozen=True)
class Example:
    """A sentence cut into tokens, what the model expects after it, and what came."""

    tokens: list[str]
    ids: list[int]
    expected: list[tuple[str, float]]
    """The most probable next tokens, in whole percent, so that the picture is the same on every machine."""
    came: str
    config: GPTConfig


@cache
def example() -> Example:
    model, tokenizer = load_model("storyteller")
    first, stop, rest = story_at("val", 0).text.partition(".")
    ids = tokenizer.encode(first + stop)
    with torch.inference_mode():  # a story starts after the end of another
        probabilities = model(torch.tensor([[tokenizer.end_of_text, *ids]]))[0, -1].softmax(dim=-1)
    best = probabilities.topk(5)
    expected = [(tokenizer.decode([token]), round(p, 2)) for p, token in zip(*map(torch.Tensor.tolist, best), strict=True)]
    came = tokenizer.decode(tokenizer.encode(rest)[:1])
    return Example([tokenizer.decode([token]) for token in ids], ids, expected, came, model.config)


def draw() -> Figure:
    config, shown = example().config, example()
    figure, axes = page(10, 5.45)
    stream = 4.55
    heading(axes, 0.25, 0.3, "text, cut into tokens, each with its id")
    chips(axes, 0.25, 0.62, 5.4, shown.tokens, shown.ids)
    heading(axes, 6.95, 0.3, "which token comes next?")
    bars(axes, 7.6, 0.45, 1.55, 0.21, shown.expected, f"{config.vocab_size - len(shown.expected):,} others")
    arrow(axes, (6.75, 1.02), (5.75, 1.02), width=2.5)
    label(axes, 6.25, 0.72, "draw one,\nappend it")
    return figure


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """A white page measured in inches from its upper left corner."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes
