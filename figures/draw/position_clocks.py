"""Sinusoidal positions (Vaswani et al. 2017, section 3.5) as the hands of clocks, for eight columns.

Alt text: Four rows of clocks for the positions 0, 1, 2, 3, 10 and 100: in the top row the hand turns by one radian with
each position, in each row below ten times more slowly.
"""

import math

from matplotlib.figure import Figure
from matplotlib.patches import Circle

from figures.draw.gpt import BLUE, INK, MUTED, arrow, page, path, write

D_MODEL, RADIUS = 8, 0.34
POSITIONS = (0, 1, 2, 3, 10, 100)


def draw() -> Figure:
    figure, axes = page(9.6, 5.2)
    write(axes, 0.2, 0.3, "columns", weight="bold", ha="left")
    write(axes, 1.15, 0.3, "turn per position", weight="bold", ha="left")
    for column, position in enumerate(POSITIONS):
        x = 3.15 + 1.15 * column
        write(axes, x, 0.3, f"position {position}", weight="bold")
        for i in range(D_MODEL // 2):
            y, divisor = 0.95 + 1.15 * i, 10000 ** (2 * i / D_MODEL)
            sine, cosine = math.sin(position / divisor), math.cos(position / divisor)
            axes.add_patch(Circle((x, y), RADIUS, facecolor="white", edgecolor=MUTED, linewidth=1))
            path(axes, (x, y - RADIUS), (x, y - RADIUS + 0.06), colour=MUTED)  # where every hand starts
            arrow(axes, (x, y), (x + RADIUS * sine, y - RADIUS * cosine), colour=BLUE, width=1.6)
            write(axes, x, y + RADIUS + 0.17, f"{sine:.2f}   {cosine:.2f}".replace("-", "−"), size=7.5, color=INK)
            if column == 0:
                write(axes, 0.2, y, f"{2 * i} and {2 * i + 1}", ha="left")
                write(axes, 1.15, y, "1 radian" if i == 0 else f"1/{divisor:.0f} radian", ha="left")
    return figure
