"""Lesson 24 in the GPT: the way that a name takes through the residual stream.

Alt text: The GPT in one row with its block in colour; below it a grid, a column for each word of «named Kira. It was
foggy, so» and a row for the embeddings and each of three layers; a thick way leads from Kira's embedding to the full
stop after layer 1, stays there through layer 2, and goes to «so» in layer 3, where Kira comes next; Kira's own column
is crossed out above the embeddings.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, arrow, box, chip, chip_width, one_row, path, write

TOKENS = ("a", "mole", "named", "Kira", ".", "It", "was", "foggy", ",", "so")
NAME, STOP, ASK = 3, 4, 9
ROWS = ("embeddings", "after layer 1", "after layer 2", "after layer 3")


def draw() -> Figure:
    figure, axes = one_row({"embeddings", "block", "attention", "output head"}, height=6.2)
    box(axes, 0.15, 2.7, 9.3, 3.35, "", GREY)
    columns = [1.95 + 0.68 * i for i in range(len(TOKENS))]
    heights = [5.25 - 0.62 * n for n in range(len(ROWS))]
    for x, token in zip(columns, TOKENS, strict=True):
        chip(axes, x - chip_width(token) / 2, 5.6, token, GREEN)
        path(axes, (x, 5.6), (x, heights[-1]), colour=GREY, linewidth=0.8)
        for y in heights:
            axes.plot([x], [y], "o", color="white", markeredgecolor=GREY, markersize=6, zorder=3)
    for y, row in zip(heights, ROWS, strict=True):
        write(axes, 1.5, y, row, ha="right")
    way = [(NAME, 0), (STOP, 1), (STOP, 2), (ASK, 3)]
    points = [(columns[place], heights[state]) for place, state in way]
    for begin, end, colour in zip(points, points[1:], (BLUE, INK, ORANGE), strict=False):
        arrow(axes, begin, end, colour=colour, width=2.6)
    for x, y in points:
        axes.plot([x], [y], "o", color=PURPLE, markeredgecolor=INK, markersize=9, zorder=5)
    for state in (1, 2, 3):
        x, y = columns[NAME], heights[state]
        axes.plot([x], [y], "x", color=INK, markersize=9, markeredgewidth=2, zorder=5)
    write(axes, columns[STOP] + 0.12, 4.97, "layer 1, head 0", ha="left", backgroundcolor="white", zorder=4)
    write(axes, columns[8], 3.76, "layer 3, heads 0, 1, 2", backgroundcolor="white", zorder=4)
    write(axes, columns[ASK] + 0.6, heights[-1], "Kira\ncomes next")
    write(axes, 2.1, 2.98, "where the name is kept", weight="bold")
    return figure
