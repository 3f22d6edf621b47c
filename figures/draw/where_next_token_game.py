"""Lesson 1 in the GPT: a black box, a text goes in and a distribution over the next token comes out.

Alt text: The first sentence of a story goes into a black box called GPT, its parts faint inside; out come bars for the
tokens that may come next, and an arrow leads from them back to the text: draw a token, append it.
"""

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from figures.draw.gpt import INK, arrow, one_row, write


def draw() -> Figure:
    figure, axes = one_row({"text", "distribution", "sampling"})
    axes.add_patch(FancyBboxPatch((2.3, 0.45), 5.65, 1.8, "round,pad=0,rounding_size=0.1", facecolor=INK, zorder=0.5))
    write(axes, 2.92, 0.85, "GPT", color="white", weight="bold", size=16)
    arrow(axes, (1.9, 1.75), (2.3, 1.75), width=2.5)
    arrow(axes, (7.95, 1.75), (8.32, 1.75), width=2.5)
    return figure
