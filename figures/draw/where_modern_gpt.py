"""Lesson 20 in the GPT: four changes inside the block.

Alt text: The GPT in one row, its block in colour; below it four panels. 1, RMSNorm: a column of numbers is divided by
its root mean square. 2, rotary positions: dials whose hands turn from position to position. 3, SwiGLU: from x two ways
lead up, a gate and up; they meet in a multiplication, and one way leads down. 4, grouped queries: nine boxes of
queries, of which each three lead to one of three boxes of keys and values.
"""

import math

from matplotlib.figure import Figure
from matplotlib.patches import Circle

from figures.draw.gpt import BLUE, GREEN, GREY, INK, MUTED, ORANGE, PURPLE, arrow, box, one_row, path, write


def draw() -> Figure:
    figure, axes = one_row({"attention", "feed-forward", "block"}, height=5.6)
    for x in (3.6, 6.7):
        path(axes, (x, 2.1), (0.35 if x < 5 else 9.25, 2.85), colour=INK, linestyle=":", zorder=0)
    box(axes, 0.35, 2.85, 8.9, 2.6, "", INK)
    names = ("1  RMSNorm", "2  rotary positions", "3  SwiGLU", "4  grouped queries")
    for name, x in zip(names, (1.35, 3.4, 5.8, 8.05), strict=True):
        write(axes, x, 3.08, name, weight="bold")

    for i, (before, after) in enumerate((("3", "1.2"), ("4", "1.6"), ("0", "0"), ("0", "0"))):
        y = 3.45 + 0.33 * i
        box(axes, 0.6, y, 0.4, 0.27, before, GREY)
        box(axes, 1.7, y, 0.4, 0.27, after, GREEN)
    arrow(axes, (1.08, 4.08), (1.62, 4.08))
    write(axes, 1.35, 3.9, "÷ 2.5")
    write(axes, 1.35, 5.07, "2.5 is the root of\nthe mean square")

    for i in range(3):  # the angle of each position
        x, y = 2.75 + 0.65 * i, 3.85
        axes.add_patch(Circle((x, y), 0.26, facecolor="white", edgecolor=MUTED, linewidth=1, zorder=2))
        for steps, colour, length in ((0.9, BLUE, 0.26), (0.25, PURPLE, 0.2)):
            angle = steps * i
            arrow(axes, (x, y), (x + length * math.sin(angle), y - length * math.cos(angle)), colour=colour, width=1.3)
        write(axes, x, y + 0.43, f"position {i}", size=7.5)
    write(axes, 3.4, 5.0, "each pair of numbers of a\nquery or key turns, fast\nor slowly, with its place")

    write(axes, 4.85, 4.1, "x", weight="bold")
    for y, name in ((3.45, "gate"), (4.35, "up")):
        arrow(axes, (4.95, 4.1), (5.15, y + 0.16))
        box(axes, 5.15, y, 0.5, 0.32, name, ORANGE)
        arrow(axes, (5.65, y + 0.16), (5.98, 4.02 if y < 4 else 4.18))
    write(axes, 5.93, 3.62, "SiLU", size=7.5)
    axes.add_patch(Circle((6.07, 4.1), 0.12, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=3))
    write(axes, 6.07, 4.1, "×", zorder=4)
    arrow(axes, (6.19, 4.1), (6.31, 4.1))
    box(axes, 6.31, 3.94, 0.5, 0.32, "down", ORANGE)
    write(axes, 5.80, 5.0, "what leaves the gate\nmultiplies the other way")

    for i in range(9):
        x = 7.03 + 0.24 * i
        box(axes, x, 3.45, 0.18, 0.27, "", BLUE)
        path(axes, (x + 0.09, 3.72), (7.36 + 0.72 * (i // 3), 4.35), colour=GREY, linewidth=0.9, zorder=3)
    for i in range(3):
        box(axes, 7.11 + 0.72 * i, 4.35, 0.5, 0.27, "k, v", PURPLE)
    write(axes, 8.05, 5.0, "9 heads of queries,\n3 of keys and values")
    return figure
