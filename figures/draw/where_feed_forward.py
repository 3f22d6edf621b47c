"""Lesson 6 in the GPT: each token by itself goes through a network that widens and narrows again.

Alt text: The feed-forward box of the GPT opened: three tokens side by side, each with its own column of numbers that a
network widens and narrows again; the three networks have the same weights and no connection.
"""

from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from figures.draw.gpt import GREEN, GREY, INK, ORANGE, arrow, box, chip, chip_width, example, one_row, path, write


def draw() -> Figure:
    figure, axes = one_row({"feed-forward"}, height=5.4)
    for start, end in ((5.3, 4.9), (6.5, 6.9)):  # the lens: from the small box to the large one
        path(axes, (start, 1.32), (end, 2.75), colour=ORANGE, linestyle=":", zorder=0)
    box(axes, 0.3, 2.75, 9, 2.45, "", ORANGE)
    config, names = example().config, example().tokens[-4:-1]
    for left, name in zip((1.55, 3.85, 6.15), names, strict=True):
        network(axes, left, name)
    for y, what, size in ((4.7, "in", "d_model"), (3.95, "hidden", "d_ff"), (3.2, "out", "d_model")):
        write(axes, 0.42, y, f"{what}: {size}", ha="left", weight="bold")
    numbers = {"d_model": config.d_model, "d_ff": config.feed_forward_size}
    for y, size in ((4.87, "d_model"), (4.12, "d_ff"), (3.37, "d_model")):
        write(axes, 0.42, y, f"{numbers[size]} numbers", ha="left")
    for x in (3.74, 6.04):
        write(axes, x, 4.33, "=", size=13, weight="bold")
        write(axes, x, 3.58, "=", size=13, weight="bold")
    write(axes, 8.72, 4.33, "up: W₁, b₁")
    write(axes, 8.72, 3.95, "activation")
    write(axes, 8.72, 3.58, "down: W₂, b₂")
    return figure


def network(axes: Axes, left: float, name: str) -> None:
    """One token's network, from the bottom up: two numbers stand for d_model, eight for d_ff."""
    wide = [left + 0.2 + 0.24 * i for i in range(8)]
    narrow = [wide[3], wide[4]]
    for low, high, y in ((narrow, wide, 4.7), (wide, narrow, 3.95)):
        for a, b in product(low, high):
            path(axes, (a, y), (b, y - 0.75), colour=GREY, linewidth=0.6, zorder=2.5)
    for xs, y in ((narrow, 4.7), (wide, 3.95), (narrow, 3.2)):
        for x in xs:
            axes.add_patch(Circle((x, y), 0.075, facecolor="white", edgecolor=INK, linewidth=1.1, zorder=3))
    centre = (wide[3] + wide[4]) / 2
    chip(axes, centre - chip_width(name) / 2, 4.85, name, GREEN)
    arrow(axes, (centre, 3.1), (centre, 2.87))
