"""The whole GPT, from a text to a distribution over the next token and back; and the same in one row, for lessons.

Alt text: The GPT as a loop: the first sentence of a story, cut into numbered tokens, becomes token plus position
embeddings; in each Transformer block, attention and feed-forward add to the residual stream; a last LayerNorm and the
output head turn it into bars for the tokens that may come next; one is drawn and appended to the text.

Tokens, ids, sizes and probabilities are the bundled model's, for a story that it was not trained on.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from textwrap import fill
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from minigpt.config import GPTConfig
from minigpt.course.plots import BLUE, GREEN, GREY, INK, ORANGE, PURPLE
from minigpt.text.stories import story_at
from minigpt.weights.checkpoint import load_model

MUTED = "#808080"  # what a lesson is not about; it reads on white and on the black box of lesson 1


@dataclass(frozen=True)
class Example:
    """A sentence as tokens (␣ is a space), how probable the model finds what may follow, and the token that came."""

    tokens: list[str]
    ids: list[int]
    expected: dict[str, float]
    came: str
    config: GPTConfig


@cache
def example() -> Example:
    """The first sentence of a story, and the five most probable next tokens: in whole percent."""
    model, tokenizer = load_model("storyteller")
    sentence, stop, rest = story_at("val", 0).text.partition(".")
    ids = tokenizer.encode(sentence + stop)
    with torch.inference_mode():  # in training, too, a story comes after an end of text
        probabilities = model.double()(torch.tensor([[tokenizer.end_of_text, *ids]]))[0, -1].softmax(dim=-1)

    def name(token: int) -> str:
        return tokenizer.decode([token]).replace(" ", "␣")

    best = probabilities.topk(5).indices.tolist()
    expected = {name(token): round(probabilities[token].item(), 2) for token in best}
    expected[f"{len(probabilities) - 5:,} others"] = round(1 - probabilities[best].sum().item(), 2)
    return Example([name(token) for token in ids], ids, expected, name(tokenizer.encode(rest)[0]), model.config)


def draw() -> Figure:
    shown = example()
    config, y = shown.config, 4.45  # where the residual stream runs
    figure, axes = page(10, 5.3)
    write(axes, 0.3, 0.3, "text, cut into tokens, each with its id", weight="bold", ha="left")
    left, top = 0.3, 0.5
    for token, number in zip(shown.tokens, shown.ids, strict=True):
        if left + chip_width(token) > 5.3:
            left, top = 0.3, top + 0.6
        right = chip(axes, left, top, token, GREEN)
        write(axes, (left + right) / 2, top + 0.38, str(number), size=7.5)
        left = right + 0.05
    write(axes, 8.45, 0.3, "which token comes next?", weight="bold")
    bars(axes, 8.1, 0.5, shown.expected, PURPLE, length=2)
    arrow(axes, (6.9, 1.05), (5.7, 1.05), width=2.5)
    write(axes, 6.3, 0.75, "draw one,\nappend it")

    for depth in (2, 1, 0):  # the cards behind say that there are several
        box(axes, 2.75 + 0.06 * depth, y - 2.3 - 0.06 * depth, 4.7, 2.7, "", GREY if depth else INK)
    write(axes, 2.95, y - 2.08, f"Transformer block ({config.n_layers} in a row)", weight="bold", ha="left")
    for lane in (-0.08, -0.04, 0, 0.04, 0.08):  # a few tokens side by side
        path(axes, (1.5, y + lane), (8.85, y + lane), linewidth=1)
    write(axes, 5.1, y + 0.25, f"residual stream: {config.d_model} numbers for each token")
    arrow(axes, (0.9, 1.75), (0.9, y - 0.3))
    write(axes, 1.3, 2.3, "look up\neach id")
    box(axes, 0.3, y - 0.3, 1.2, 0.6, f"token embedding\n{config.vocab_size:,} × {config.d_model}", GREEN)
    box(axes, 1.2, y - 1.5, 1.3, 0.6, f"position embedding\n{config.context_length:,} × {config.d_model}", GREEN)
    add(axes, 1.85, y - 0.9, y)
    attention = f"causal self-attention\n{config.n_heads} heads: each token looks\nat itself and those before"
    sizes = f"{config.d_model} → {config.feed_forward_size} → {config.d_model} numbers"
    for x, text, colour in ((2.95, attention, BLUE), (5.2, f"feed-forward\neach token by itself:\n{sizes}", ORANGE)):
        arrow(axes, (x + 0.45, y - 0.08), (x + 0.45, y - 0.55))
        box(axes, x, y - 0.85, 0.9, 0.3, "LayerNorm", GREY)
        arrow(axes, (x + 0.45, y - 0.85), (x + 0.45, y - 1.15))
        box(axes, x, y - 1.85, 2, 0.7, text, colour)
        add(axes, x + 1.6, y - 1.15, y)
    box(axes, 7.75, y - 0.2, 0.85, 0.4, "LayerNorm", GREY)
    box(axes, 8.85, y - 0.3, 0.95, 0.6, f"output head\n{config.d_model} × {config.vocab_size:,}", PURPLE)
    arrow(axes, (9.3, y - 0.3), (9.3, 1.85))
    scores = f"{config.vocab_size:,} scores (logits)"
    write(axes, 8.5, 3, f"for the last token:\n{scores},\nwhich softmax turns\ninto probabilities")
    if config.tie_embeddings:
        path(axes, (0.9, y + 0.3), (0.9, y + 0.6), (9.3, y + 0.6), (9.3, y + 0.3), colour=GREY, linestyle="--")
        write(axes, 5.1, y + 0.6, "tied: one matrix for both", backgroundcolor="white")
    return figure


def one_row(highlight: Collection[str], height: float = 2.5) -> tuple[Figure, Axes]:
    """The GPT in one row, for the header of a lesson: what is highlighted in colour, all else grey.

    Args:
        highlight: of "text", "embeddings", "attention", "feed-forward", "block", "output head", "distribution" and
            "sampling".
        height: of the page in inches; the row takes 2.5, what is below is for the lesson to draw on.
    """

    def tone(part: str, colour: str = INK) -> str:
        return colour if part in highlight else MUTED

    shown, y = example(), 1.75
    figure, axes = page(9.6, height)
    text = "".join(shown.tokens).replace("␣", " ")
    box(axes, 0.15, y - 0.5, 1.75, 1, fill(text, width=20), tone("text", GREEN))
    arrow(axes, (1.9, y), (2.45, y), colour=tone("embeddings"))
    box(axes, 2.45, y - 0.2, 0.95, 0.4, "embeddings", tone("embeddings", GREEN))
    box(axes, 3.6, 0.6, 3.1, 1.5, "", tone("block"))
    write(axes, 3.72, 0.75, f"Transformer block × {shown.config.n_layers}", color=tone("block"), ha="left")
    path(axes, (3.4, y), (6.95, y), colour=tone("block"), linewidth=2.5)
    for x, part, colour in ((3.75, "attention", BLUE), (5.3, "feed-forward", ORANGE)):
        arrow(axes, (x + 0.2, y), (x + 0.2, 1.32), colour=tone(part))
        box(axes, x, 0.92, 1.2, 0.4, part, tone(part, colour))
        add(axes, x + 1, 1.32, y, colour=tone(part))
    box(axes, 6.95, y - 0.2, 0.85, 0.4, "output head", tone("output head", PURPLE))
    arrow(axes, (7.8, y), (8.25, y), colour=tone("output head"))
    bars(axes, 8.85, 1.2, shown.expected, tone("distribution", PURPLE), length=0.6)
    arrow(axes, (9, 1.1), (9, 0.25), (1, 0.25), (1, 1.25), colour=tone("sampling"), width=1.8)
    write(axes, 5.1, 0.25, "draw a token, append it", color=tone("sampling"), backgroundcolor="white")
    return figure, axes


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """A white page measured in inches from its upper left corner."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text around a point."""
    usual: dict[str, Any] = {"ha": "center", "va": "center", "size": 8.5, "color": INK, "linespacing": 1.35}
    axes.text(x, y, text, **usual | style)


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    """A box with its upper left corner at (x, y), in a tint of its colour; plain if that is grey or black."""
    tint = [0.82 + 0.18 * part for part in to_rgb(colour)]
    face = "none" if colour == MUTED else "white" if colour in (INK, GREY) else tint
    shape = f"round,pad=0,rounding_size={min(0.08, height / 3)}"
    axes.add_patch(FancyBboxPatch((x, y), width, height, shape, fc=face, ec=colour, linewidth=1.3, zorder=2))
    write(axes, x + width / 2, y + height / 2, text, color=MUTED if colour == MUTED else INK)


def chip(axes: Axes, x: float, y: float, token: str, colour: str) -> float:
    """A token in a box; returns where the box ends."""
    width = chip_width(token)
    box(axes, x, y, width, 0.27, "", colour)
    write(axes, x + width / 2, y + 0.18, token, va="baseline", color=MUTED if colour == MUTED else INK)
    return x + width


def chip_width(token: str) -> float:
    """In inches: the text at the size of `write`, with room around it."""
    return max(0.3, 0.14 + float(TextPath((0, 0), token, size=8.5).get_extents().width) / 72)


def path(axes: Axes, *points: tuple[float, float], colour: str = INK, **style: Any) -> None:
    """A line through the points."""
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=colour, **{"linewidth": 1.2} | style)


def arrow(axes: Axes, *points: tuple[float, float], colour: str = INK, width: float = 1.2) -> None:
    """A line through the points that ends in an arrowhead."""
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7 + 3 * width, "joinstyle": "miter"}
    axes.add_patch(FancyArrowPatch(path=Path(points), color=colour, linewidth=width, zorder=2, **style))


def add(axes: Axes, x: float, start: float, y: float, colour: str = INK) -> None:
    """An arrow down onto the residual stream, and a plus where it adds to it."""
    face = "none" if colour == MUTED else "white"
    axes.add_patch(Circle((x, y), 0.12, facecolor=face, edgecolor=colour, linewidth=1.2, zorder=3))
    path(axes, (x - 0.07, y), (x + 0.07, y), colour=colour, zorder=4)
    path(axes, (x, y - 0.07), (x, y + 0.07), colour=colour, zorder=4)
    arrow(axes, (x, start), (x, y - 0.12), colour=colour)


def bars(axes: Axes, x: float, y: float, probabilities: dict[str, float], colour: str, length: float) -> None:
    """For each token a bar, of this length for probability 1, its name to the left and its percentage to the right."""
    style: dict[str, Any] = {"va": "baseline", "color": MUTED if colour == MUTED else INK}
    for token, probability in probabilities.items():
        end = x + length * probability
        axes.add_patch(Rectangle((x, y), end - x, 0.15, facecolor=colour))
        write(axes, x - 0.06, y + 0.115, token, ha="right", **style)
        write(axes, end + 0.06, y + 0.115, f"{probability:.0%}", ha="left", **style)
        y += 0.2
