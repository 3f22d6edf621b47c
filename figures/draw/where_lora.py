"""Lesson 17 in the GPT: beside a frozen matrix stand two thin ones that learn.

Alt text: The GPT in one row, attention and feed-forward in colour; below it one of their matrices W, large and grey,
frozen, and beside it two thin coloured strips A and B, through which the same input flows; both results are added.
"""

from matplotlib.figure import Figure
from matplotlib.patches import Circle

from figures.draw.gpt import BLUE, GREY, INK, ORANGE, PURPLE, arrow, box, example, one_row, path, write


def draw() -> Figure:
    figure, axes = one_row({"attention", "feed-forward"}, height=5.5)
    for start, end, colour in ((4.35, 2.4, BLUE), (5.9, 7.2, ORANGE)):  # the lens: from the small boxes to the large
        path(axes, (start, 1.32), (end, 2.75), colour=colour, linestyle=":", zorder=0)
    box(axes, 0.5, 2.75, 8.6, 2.6, "", INK)
    d = example().config.d_model
    y = 4.05  # where x comes in and y goes out
    write(axes, 0.85, y - 0.2, "x", weight="bold")
    write(axes, 1.07, y + 0.25, f"{d} numbers")
    path(axes, (0.7, y), (1.6, y))
    arrow(axes, (1.6, y), (1.6, 3.45), (2.6, 3.45))
    arrow(axes, (1.6, y), (1.6, 4.75), (2.6, 4.75))
    box(axes, 2.6, 2.9, 1.1, 1.1, f"W\n{d} × {d}\nfrozen", GREY)
    box(axes, 2.6, 4.68, 1.1, 0.14, "", PURPLE)
    write(axes, 3.15, 4.52, f"A: 1 × {d}")
    write(axes, 3.15, 5.05, "one number comes out")
    arrow(axes, (3.7, 4.75), (5.0, 4.75))
    box(axes, 5.0, 4.2, 0.14, 1.1, "", PURPLE)
    write(axes, 5.62, 4.45, f"B: {d} × 1")
    arrow(axes, (5.14, 4.75), (7.1, 4.75), (7.1, y + 0.12))
    write(axes, 6.15, 4.95, "times α / r")
    arrow(axes, (3.7, 3.45), (7.1, 3.45), (7.1, y - 0.12))
    write(axes, 5.4, 3.3, "W x + b, as ever")
    axes.add_patch(Circle((7.1, y), 0.12, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=3))
    path(axes, (7.03, y), (7.17, y), zorder=4)
    path(axes, (7.1, y - 0.07), (7.1, y + 0.07), zorder=4)
    arrow(axes, (7.22, y), (8.6, y))
    write(axes, 8.1, y - 0.2, "y", weight="bold")
    write(axes, 8.1, y + 0.25, f"{d} numbers")
    return figure
