"""The tiny GPT of lesson 9 as a computation: forward to the loss, and the gradient's way back in six steps.

Alt text: The tiny GPT from its embeddings through attention, feed-forward and output head to the loss; black arrows run
forward along the residual stream and through both branches, red arrows run back along the same paths in six numbered
steps.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from figures.draw.gpt import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, add, arrow, box, page, write
from figures.draw.where_loss_backprop_adamw import GRADIENT


def draw() -> Figure:
    y, back = 1.3, 1.02  # the residual stream forward, and above it the way back
    figure, axes = page(9.8, 4.0)
    box(axes, 0.15, y - 0.4, 1.15, 0.6, "embeddings\ntoken + position", GREEN)
    box(axes, 6.75, y - 0.4, 0.95, 0.6, "LayerNorm", GREY)
    box(axes, 7.95, y - 0.4, 0.8, 0.6, "output\nhead", PURPLE)
    box(axes, 9.0, y - 0.4, 0.65, 0.6, "loss", PURPLE)
    for start, end in ((1.3, 6.75), (7.7, 7.95), (8.75, 9.0)):
        arrow(axes, (start, y), (end, y))
        arrow(axes, (end, back), (start, back), colour=GRADIENT, width=2)
    for left, text, colour in ((1.75, "attention", BLUE), (4.35, "feed-forward", ORANGE)):
        box(axes, left, 2.1, 0.9, 0.35, "LayerNorm", GREY)
        box(axes, left, 3.0, 1.95, 0.45, text, colour)
        arrow(axes, (left + 0.3, y), (left + 0.3, 2.1))
        arrow(axes, (left + 0.3, 2.45), (left + 0.3, 3.0))
        add(axes, left + 1.45, 3.0, y)
        arrow(axes, (left + 1.7, back), (left + 1.7, 3.0), colour=GRADIENT, width=2)
        arrow(axes, (left + 0.6, 3.0), (left + 0.6, 2.45), colour=GRADIENT, width=2)
        arrow(axes, (left + 0.6, 2.1), (left + 0.6, back), colour=GRADIENT, width=2)
        write(axes, left + 0.6, 0.78, "paths meet:\ngradients add", size=7.5)
    for x, name in ((1.52, "x0"), (4.1, "x1"), (6.55, "x2"), (7.82, "h"), (8.87, "z")):
        write(axes, x, y + 0.17, name)
    for x, top, step in (
        (9.32, 0.62, 1),
        (8.35, 0.62, 2),
        (7.22, 0.62, 3),
        (5.32, 3.72, 4),
        (2.72, 3.72, 5),
        (0.72, 0.62, 6),
    ):
        number(axes, x, top, step)
    arrow(axes, (6.75, 3.75), (7.3, 3.75))
    write(axes, 7.4, 3.75, "forward: numbers", ha="left")
    arrow(axes, (7.3, 3.45), (6.75, 3.45), colour=GRADIENT, width=2)
    write(axes, 7.4, 3.45, "backward: gradients", ha="left")
    return figure


def number(axes: Axes, x: float, y: float, step: int) -> None:
    """The number of a step back."""
    axes.add_patch(Circle((x, y), 0.15, facecolor=INK, edgecolor=INK, zorder=3))
    write(axes, x, y, str(step), color="white", weight="bold", zorder=4)
