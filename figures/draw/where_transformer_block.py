"""Lesson 7 in the GPT: how attention and feed-forward are connected in a block.

Alt text: A block of the GPT opened: a thick line, the residual stream, runs straight through; attention and then
feed-forward each read from it through a LayerNorm, and what they compute goes through dropout and is added back.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, add, arrow, box, one_row, path, write


def draw() -> Figure:
    figure, axes = one_row({"block"}, height=5.3)
    for start, end in ((3.6, 0.5), (6.7, 9.1)):  # the lens: from the small block to the large one
        path(axes, (start, 2.1), (end, 2.7), colour=INK, linestyle=":", zorder=0)
    y = 4.65  # where the residual stream runs
    box(axes, 0.5, 2.7, 8.6, 2.4, "", INK)
    path(axes, (0.15, y), (9.3, y), linewidth=4, zorder=3)
    arrow(axes, (9.2, y), (9.5, y), width=3)
    for left, text, colour in ((1.1, "attention", BLUE), (5.05, "feed-forward", ORANGE)):
        right = left + 2.3
        arrow(axes, (left, y), (left, 4.15))
        box(axes, left - 0.45, 3.85, 0.9, 0.3, "LayerNorm", PURPLE)
        arrow(axes, (left, 3.85), (left, 3.4))
        box(axes, left - 0.45, 2.95, 3.2, 0.45, text, colour)
        arrow(axes, (right, 3.4), (right, 3.85))
        box(axes, right - 0.45, 3.85, 0.9, 0.3, "dropout", GREEN)
        add(axes, right, 4.15, y)
        write(axes, left + 0.08, 4.4, "reads", ha="left", style="italic")
        write(axes, right + 0.16, 4.4, "writes: adds", ha="left", style="italic")
    write(
        axes,
        4.8,
        4.9,
        "residual stream: d_model numbers for each token; nothing on this line but additions",
        color=GREY,
    )
    return figure
