"""Lesson 3 in the GPT: from the text to the vectors that the first block reads.

Alt text: The GPT in grey with text and embeddings in colour; below, five tokens of a story: each id fetches a row of
the token table, each position a row of the position table, and their sum goes into the first block.

Each strip shows the first numbers of a vector in the bundled model: the darker, the larger.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.draw.gpt import GREEN, INK, PURPLE, arrow, chip, chip_width, example, one_row, path, write
from minigpt.course.plots import BLUE
from minigpt.weights.checkpoint import load_model

SHOWN = 6  # numbers of each vector
LEFT, STEP = 3.1, 1.3  # where the first column of tokens stands, and how far it is to the next


def draw() -> Figure:
    figure, axes = one_row({"text", "embeddings"}, height=5.4)
    model, tokenizer = load_model("storyteller")
    shown = example()
    tokens, ids = ["START", *shown.tokens[:4]], [tokenizer.end_of_text, *shown.ids[:4]]
    token_rows = model.token_embedding.weight[ids, :SHOWN].detach().numpy()
    position_rows = model.position_embedding.weight[: len(ids), :SHOWN].detach().numpy()

    for x, end in ((2.45, 0.3), (3.4, 9.35)):  # the box above, enlarged
        path(axes, (x, 1.97), (x, 2.33), (end, 2.62), colour=GREEN, linestyle=":")
    names = ("tokens", "ids", "rows of the\ntoken embedding", "rows of the\nposition embedding", "their sum")
    for y, name in zip((2.95, 3.3, 3.75, 4.3, 4.85), names, strict=True):
        write(axes, 0.3, y, name, ha="left")
    for column, (token, number) in enumerate(zip(tokens, ids, strict=True)):
        x = LEFT + STEP * column
        chip(axes, x - chip_width(token) / 2, 2.8, token, GREEN)
        write(axes, x, 3.3, str(number))
        arrow(axes, (x, 3.4), (x, 3.62))
        strip(axes, x, 3.75, token_rows[column], GREEN)
        write(axes, x - 0.62, 4.3, "+", size=11)
        write(axes, x, 4.53, f"position {column}", size=7.5)
        strip(axes, x, 4.3, position_rows[column], PURPLE)
        write(axes, x - 0.62, 4.85, "=", size=11)
        strip(axes, x, 4.85, token_rows[column] + position_rows[column], BLUE)
    end = LEFT + STEP * (len(ids) - 1) + 0.55
    arrow(axes, (end, 4.85), (9.4, 4.85), width=2.5)
    write(axes, 9.0, 5.15, "to the first block")
    return figure


def strip(axes: Axes, x: float, y: float, numbers: np.ndarray, colour: str) -> None:
    """The numbers as fields around (x, y), from white (-1 and below) to the colour (1 and above)."""
    shades = np.round((np.clip(numbers, -1, 1) + 1) / 2, 1)
    width = 0.95 / len(numbers)
    for i, shade in enumerate(shades):
        face = [1 - shade * (1 - part) for part in to_rgb(colour)]
        place = (x - 0.475 + i * width, y - 0.11)
        axes.add_patch(Rectangle(place, width, 0.22, facecolor=face, edgecolor=INK, linewidth=0.6, zorder=2))
