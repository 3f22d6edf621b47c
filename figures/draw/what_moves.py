"""What travels between memory and chip when attention is computed step by step, and when it is fused.

Alt text: Two panels, memory above and chip below. On the left, attention in four steps: each reads tables from memory
and writes the next one back, three of them with T by T numbers. On the right one fused step reads Q, K and V and writes
the output; the tables exist only tile by tile on the chip.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, GREY, ORANGE, arrow, box, page, write

SMALL, LARGE = 0.34, 0.62  # sides of the squares that stand for (T, d_k) and for (T, T)


def draw() -> Figure:
    figure, axes = page(9.6, 3.5)
    for left, width, title in (
        (0.75, 5.6, "by formula: every step goes through memory"),
        (6.6, 2.85, "fused: one step"),
    ):
        write(axes, left + width / 2, 0.2, title, weight="bold", size=10)
        box(axes, left, 0.4, width, 1.15, "", GREY)
        box(axes, left, 2.35, width, 0.95, "", BLUE)
    write(axes, 0.37, 0.97, "memory", weight="bold")
    write(axes, 0.37, 2.82, "chip", weight="bold")

    tables = {"scores": 2.05, "masked": 3.35, "weights": 4.65}
    tensor(axes, 1.05, "Q, K", SMALL, GREEN)
    for name, x in tables.items():
        tensor(axes, x, name, LARGE, ORANGE)
    tensor(axes, 5.25, "V", SMALL, GREEN)
    tensor(axes, 6.0, "out", SMALL, GREEN)
    steps = (("Q Kᵀ / √d", 1.05, 2.05, 1.5), ("mask", 2.05, 3.35, 2.7), ("softmax", 3.35, 4.65, 4.0))
    for name, source, target, x in steps:
        kernel(axes, name, x, 0.95)
        arrow(axes, (source + 0.1, 1.3 if source == 1.05 else 1.45), (x - 0.15, 2.55), width=1.8)
        arrow(axes, (x + 0.15, 2.55), (target - 0.1, 1.45), width=1.8)
    kernel(axes, "blend", 5.55, 0.95)
    arrow(axes, (4.75, 1.45), (5.3, 2.55), width=1.8)
    arrow(axes, (5.25, 1.3), (5.5, 2.55), width=1.8)
    arrow(axes, (5.75, 2.55), (6.0, 1.3), width=1.8)

    tensor(axes, 7.3, "Q, K, V", SMALL, GREEN)
    tensor(axes, 8.75, "out", SMALL, GREEN)
    kernel(axes, "tile by tile:\nscores, mask, softmax, blend", 8.02, 2.35)
    arrow(axes, (7.35, 1.3), (7.75, 2.55), width=1.8)
    arrow(axes, (8.3, 2.55), (8.7, 1.3), width=1.8)
    return figure


def tensor(axes: Axes, x: float, name: str, side: float, colour: str) -> None:
    """A tensor in memory, its name above it."""
    box(axes, x - side / 2, 1.05 - side / 2 + 0.08, side, side, "T × T" if side == LARGE else "", colour)
    write(axes, x, 0.58, name)


def kernel(axes: Axes, name: str, x: float, width: float) -> None:
    """A kernel on the chip."""
    box(axes, x - width / 2, 2.57, width, 0.5, name, BLUE)
