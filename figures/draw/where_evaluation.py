"""Lesson 22 in the GPT: what can be measured at its bars for the next token, and what tips each measure.

Alt text: The GPT in one row with its bars for the next token in colour; below it three gauges: two bars of bits per
byte, the storyteller's just at a dashed floor and a table's several times as long; 31 of 50 and 55 of 100 as points
with wide intervals that overlap; and a balance on which a long answer hangs lower than a short one.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.draw.gpt import BLUE, GREY, INK, ORANGE, PURPLE, box, one_row, path, write
from minigpt.evaluation.intervals import wilson
from minigpt.text import stories

STORYTELLER, TABLE = 0.153, 0.541
"""Bits per byte on 20 test stories, as lesson 22 measures them."""


def draw() -> Figure:
    figure, axes = one_row({"distribution"}, height=5.1)
    for x, title in ((0.3, "how many bits?"), (3.45, "how sure?"), (6.6, "who judges?")):
        box(axes, x, 2.75, 2.75, 2.15, "", GREY)
        write(axes, x + 1.375, 2.95, title, weight="bold")
    _bits(axes, 0.3)
    _share(axes, 3.45)
    _balance(axes, 6.6)
    return figure


def _bits(axes: Axes, left: float) -> None:
    scale = 2.2 / 0.6  # inches for a bit per byte
    start = left + 0.25
    for y, name, bits, colour in (
        (3.3, "the storyteller", STORYTELLER, BLUE),
        (3.9, "a table of signs", TABLE, ORANGE),
    ):
        write(axes, start + 0.68, y, name, ha="left")
        axes.add_patch(Rectangle((start, y + 0.12), bits * scale, 0.2, facecolor=colour, edgecolor=INK, zorder=3))
    told = [stories.story_at("test", i) for i in range(20)]
    floor = sum(story.bits for story in told) / sum(len(story.text.encode()) for story in told)
    path(axes, (start + floor * scale, 3.2), (start + floor * scale, 4.45), linestyle="--", zorder=4)
    write(axes, start + floor * scale + 0.08, 4.45, "the floor", ha="left")
    write(axes, left + 1.375, 4.75, "bits per byte")


def _share(axes: Axes, left: float) -> None:
    start, scale = left + 0.3, 2.15 / 0.5  # from 35 % to 85 %

    def at(share: float) -> float:
        return start + (share - 0.35) * scale

    for y, right, n, colour, mark in ((3.6, 31, 50, BLUE, "o"), (4.2, 55, 100, ORANGE, "s")):
        low, high = wilson(right, n)
        path(axes, (at(low), y), (at(high), y), colour=colour, linewidth=3)
        axes.plot([at(right / n)], [y], mark, color=colour, markeredgecolor=INK, markersize=9, zorder=5)
        write(axes, at(right / n), y - 0.24, f"{right} of {n}")
    path(axes, (start, 4.48), (start + 2.15, 4.48))
    for share in (0.4, 0.5, 0.6, 0.7, 0.8):
        path(axes, (at(share), 4.48), (at(share), 4.54))
        write(axes, at(share), 4.68, f"{share:.0%}")


def _balance(axes: Axes, left: float) -> None:
    middle, top, tilt = left + 1.375, 3.35, 0.18
    path(axes, (middle, top), (middle, 4.6), linewidth=2)
    path(axes, (middle - 0.35, 4.6), (middle + 0.35, 4.6), linewidth=2)
    path(axes, (middle - 0.8, top - tilt), (middle + 0.8, top + tilt), linewidth=2)
    for side, lines, colour in ((-1, 1, BLUE), (1, 5, PURPLE)):
        x, y = middle + side * 0.8, top + side * tilt
        height = 0.2 + 0.1 * lines
        path(axes, (x, y), (x, y + 0.2))
        box(axes, x - 0.35, y + 0.2, 0.7, height, "", colour)
        for i in range(lines):
            path(axes, (x - 0.25, y + 0.36 + 0.1 * i), (x + 0.25, y + 0.36 + 0.1 * i), colour=GREY)
    write(axes, middle - 0.8, 4.15, "short")
    write(axes, middle + 0.8, 4.68, "long")
