"""Lesson 10 in the GPT: the loop around it that changes its parameters.

Alt text: The GPT in grey, and under it in colour a way back: the loss compares the bars for the next token with the
token that came, the backward pass finds a gradient for every parameter, and the optimiser changes each a little.
"""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.draw.gpt import BLUE, GREEN, INK, ORANGE, PURPLE, arrow, box, chip, example, one_row, write


def draw() -> Figure:
    figure, axes = one_row({"text", "distribution"}, height=3.85)
    axes.add_patch(Rectangle((2.3, 0.42), 5.6, 1.83, fill=False, linestyle="--", edgecolor=INK))
    write(axes, 2.4, 0.58, "all parameters", ha="left")
    arrow(axes, (8.85, 2.42), (8.85, 2.8))
    box(axes, 8.35, 2.8, 1, 0.4, "loss", PURPLE)
    arrow(axes, (8.85, 3.5), (8.85, 3.2))
    write(axes, 8.5, 3.635, "what came:", ha="right")
    chip(axes, 8.6, 3.5, example().came, GREEN)
    arrow(axes, (8.35, 3), (6.5, 3), width=2.5)
    box(axes, 5.1, 2.8, 1.4, 0.4, "backward pass", ORANGE)
    write(axes, 5.8, 3.4, "a gradient for every parameter")
    arrow(axes, (5.1, 3), (3.65, 3), width=2.5)
    box(axes, 2.45, 2.8, 1.2, 0.4, "optimiser", BLUE)
    write(axes, 3.05, 3.4, "changes every parameter a little")
    arrow(axes, (3.05, 2.8), (3.05, 2.25), width=2.5)
    return figure
