"""Lesson 25 in the GPT: three limits that were measured on what it writes.

Alt text: The GPT in one row with its bars for the next token and the arrow that draws one in colour; below, three
panels: five bars that rise with the number of copies, from about 1 bit for a secret never planted to 8.9 for 64 copies,
with a dashed line at luck's 1.4; a share of 0.70 that becomes 0.84 and then 1.00 as the temperature falls; and points
for the orders obeyed out of 24, 19 without a defence, 10 with signs as text and 1 with a reminder, with intervals.
"""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.draw.gpt import BLUE, GREY, INK, ORANGE, box, one_row, path, write
from minigpt.course import canaries, injection
from minigpt.evaluation.intervals import wilson

FLOOR = 4.55
"""Where the bars of the first two panels stand."""


def draw() -> Figure:
    figure, axes = one_row({"distribution", "sampling"}, height=5.2)
    for x, title in ((0.3, "what it keeps"), (3.45, "what it prefers"), (6.6, "whom it obeys")):
        box(axes, x, 2.75, 2.75, 2.3, "", GREY)
        write(axes, x + 1.375, 2.95, title, weight="bold")
    _exposures(axes, 0.3)
    _temperatures(axes, 3.45)
    _obeyed(axes, 6.6)
    return figure


def _bar(axes: Axes, x: float, height: float, colour: str) -> None:
    axes.add_patch(Rectangle((x, FLOOR - height), 0.32, height, facecolor=colour, edgecolor=INK, zorder=3))


def _exposures(axes: Axes, left: float) -> None:
    seeds = canaries.load()["middle"]["seeds"]
    scale = 1.05 / 10  # inches for a bit
    for i, times in enumerate(canaries.TIMES):
        bits = [e for seed in seeds for e in seed["exposures"][str(times)]]
        mean = sum(bits) / len(bits)
        x = left + 0.22 + 0.48 * i
        _bar(axes, x, mean * scale, BLUE if times else GREY)
        write(axes, x + 0.16, FLOOR - mean * scale - (0.27 if mean < 3 else 0.12), f"{mean:.1f}")
        write(axes, x + 0.16, FLOOR + 0.13, f"{times}×")
    luck = FLOOR - scale / math.log(2)
    path(axes, (left + 0.1, luck), (left + 2.65, luck), linestyle="--", zorder=4)
    write(axes, left + 1.375, 4.9, "bits of exposure, by copies")


def _temperatures(axes: Axes, left: float) -> None:
    for i, (name, power) in enumerate((("T = 1", 1.0), ("T = 1/2", 2.0), ("T → 0", math.inf))):
        share = 1.0 if power == math.inf else 0.7**power / (0.7**power + 0.3**power)
        x = left + 0.4 + 0.82 * i
        _bar(axes, x, share * 1.1, ORANGE)
        write(axes, x + 0.16, FLOOR - share * 1.1 - 0.12, f"{share:.2f}")
        write(axes, x + 0.16, FLOOR + 0.13, name)
    write(axes, left + 1.375, 4.9, "share of the majority")


def _obeyed(axes: Axes, left: float) -> None:
    start, width = left + 0.3, 2.15
    found = injection.load()
    shown = (
        ("order as a turn, signs become tokens", "no defence"),
        ("order as a turn, signs stay text", "signs stay text"),
        ("… and a reminder", "and a reminder"),
    )
    for i, (condition, name) in enumerate(shown):
        y = 3.45 + 0.44 * i
        obeyed, of = found[condition]["obeyed"], found[condition]["of"]
        low, high = wilson(obeyed, of)
        path(axes, (start + low * width, y), (start + high * width, y), colour=BLUE, linewidth=3)
        axes.plot([start + obeyed / of * width], [y], "o", color=BLUE, markeredgecolor=INK, markersize=8, zorder=5)
        write(axes, left + 1.375, y - 0.19, f"{name}: {obeyed} of {of}")
    path(axes, (start, FLOOR + 0.02), (start + width, FLOOR + 0.02))
    for share in (0.0, 0.5, 1.0):
        path(axes, (start + share * width, FLOOR + 0.02), (start + share * width, FLOOR + 0.07))
        write(axes, start + share * width, FLOOR + 0.18, f"{share:.0%}")
    write(axes, left + 1.375, 4.9, "orders obeyed")
