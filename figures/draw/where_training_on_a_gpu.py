"""Lesson 11 in the GPT: all of it, as the machine sees it. Numbers wait in a memory, and a chip computes.

Alt text: The GPT in grey on a chip that computes; under it in colour the memory, with four boxes: weights, gradients,
Adam's means and activations; two thick arrows between chip and memory carry bytes up and down.
"""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.draw.gpt import BLUE, GREEN, ORANGE, PURPLE, arrow, box, one_row, write


def draw() -> Figure:
    figure, axes = one_row(set(), height=4.7)
    axes.add_patch(Rectangle((0.05, 0.05), 9.5, 2.75, fill=False, linestyle="--", linewidth=1.6, edgecolor=BLUE))
    write(axes, 0.2, 2.6, "the chip: how many FLOPs a second?", ha="left", weight="bold")
    arrow(axes, (4.35, 3.4), (4.35, 2.8), width=4)
    arrow(axes, (5.25, 2.8), (5.25, 3.4), width=4)
    write(axes, 5.55, 3.1, "how many bytes a second?", ha="left", weight="bold")
    box(axes, 0.05, 3.4, 9.5, 1.2, "", ORANGE)
    write(axes, 0.2, 3.6, "the memory: how many bytes fit?", ha="left", weight="bold")
    ledger = (("weights", 0.3, 1.6, GREEN), ("gradients", 2.05, 1.6, ORANGE), ("Adam's two means", 3.8, 2.4, BLUE),
              ("activations, more with every token", 6.35, 3.0, PURPLE))  # fmt: skip
    for name, left, width, colour in ledger:
        box(axes, left, 3.85, width, 0.55, name, colour)
    return figure
