"""Lesson 12 in the GPT: several copies of it, each with its own rows of the batch, and one sum of their gradients.

Alt text: The GPT in grey, and below it three copies side by side: each reads its own rows of the batch and finds its
own part of the gradient; one bar under all of them, all-reduce, gives everyone the sum, and all take the same step.
"""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.draw.gpt import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, arrow, box, one_row, write


def draw() -> Figure:
    figure, axes = one_row(set(), height=5.95)
    axes.add_patch(Rectangle((2.3, 0.42), 5.6, 1.83, fill=False, linestyle="--", edgecolor=INK))
    write(axes, 3.05, 2.4, "one copy for each process", ha="left")
    for r in range(3):
        left = 0.55 + 3 * r
        middle = left + 1.25
        start = 2.8 if r == 0 else min(middle, 7.4)  # on the frame
        way = [(start, 2.25), (start, 2.55), (middle, 2.55)] if start != middle else [(start, 2.25)]
        arrow(axes, *way, (middle, 2.8), colour=GREY)
        box(axes, left, 2.8, 2.5, 3, "", INK)
        write(axes, middle, 2.97, f"process {r}", weight="bold")
        box(axes, left + 0.25, 3.15, 2, 0.34, f"rows {8 * r} to {8 * r + 7} of the batch", GREEN)
        arrow(axes, (middle, 3.49), (middle, 3.73))
        box(axes, left + 0.25, 3.73, 2, 0.34, "the same GPT", GREY)
        arrow(axes, (middle, 4.07), (middle, 4.31))
        box(axes, left + 0.25, 4.31, 2, 0.34, "its part of the gradient", ORANGE)
        arrow(axes, (middle - 0.4, 4.65), (middle - 0.4, 4.89), width=2)
        arrow(axes, (middle + 0.4, 5.19), (middle + 0.4, 5.41), width=2)
        box(axes, left + 0.25, 5.41, 2, 0.3, "optimiser: the same step", BLUE)
    box(axes, 0.3, 4.89, 9, 0.3, "all-reduce: everyone gets the sum of all parts", PURPLE)
    return figure
