"""Lesson 18 in the GPT: of two endings one is better, and what counts is how much more the model gives it than before.

Alt text: The GPT in one row with its distribution in colour; below it, an opening with two endings, a better and a
worse one; from each comes the sum of its log-probabilities, model less reference; the difference of both, the margin,
goes to a falling curve, the loss, with a dot at margin 0 and loss 0.693.
"""

import math

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREY, INK, ORANGE, PURPLE, arrow, box, one_row, path, write

OPENING = "… Near a tunnel, Mia\nmet Suki the mole."
ENDINGS = (
    ("better", "Mia and Suki wanted to\nrace to the globe. …", BLUE),
    ("worse", "Mia and Suki wanted to\nrace to the ring. …", ORANGE),
)


def draw() -> Figure:
    figure, axes = one_row({"distribution"}, height=5.0)
    top, low = 3.25, 4.4
    middle = (top + low) / 2
    box(axes, 0.15, middle - 0.32, 1.65, 0.64, OPENING, GREY)
    write(axes, 0.97, middle - 0.48, "given", color=INK)
    for (name, text, colour), y in zip(ENDINGS, (top, low), strict=True):
        path(axes, (1.8, middle), (1.95, middle), (1.95, y))
        arrow(axes, (1.95, y), (2.2, y))
        box(axes, 2.2, y - 0.32, 1.75, 0.64, text, colour)
        write(axes, 3.07, y - 0.48, name, color=INK, weight="bold")
        arrow(axes, (3.95, y), (4.4, y))
        box(axes, 4.4, y - 0.32, 1.5, 0.64, "sum of ln p,\nmodel − reference", PURPLE)
        path(axes, (5.9, y), (6.2, y))
        arrow(axes, (6.2, y), (6.2, middle + (0.18 if y > middle else -0.18)))
    write(axes, 6.2, middle, "better − worse", color=INK)
    arrow(axes, (6.75, middle), (7.25, middle))
    write(axes, 7.0, middle + 0.2, "× β", color=INK)
    # The curve: margins from -3 to 3 over two inches, losses from 0 to 3 over 1.2.
    left, width, floor, height = 7.45, 1.9, 4.45, 1.25
    path(axes, (left, floor - height), (left, floor), (left + width, floor))
    points = [(-3 + 6 * i / 60, math.log1p(math.exp(3 - 6 * i / 60))) for i in range(61)]
    path(axes, *((left + width * (m + 3) / 6, floor - height * loss / 3.1) for m, loss in points), colour=PURPLE)
    zero = (left + width / 2, floor - height * math.log(2) / 3.1)
    axes.plot(*zero, "o", color=INK, markersize=5, zorder=4)
    write(axes, zero[0] + 0.32, zero[1] - 0.17, f"{math.log(2):.3f}", color=INK)
    write(axes, left + width / 2, floor + 0.15, "margin (0 at the start)", color=INK)
    write(axes, left + 0.55, floor - height - 0.12, "loss", color=INK, weight="bold")
    return figure
