"""Lesson 15 in the GPT: another output head, read at the last real token of a padded text.

Alt text: The GPT in one row with its output head in colour; below it a comment in boxes, after it grey
padding; an arrow goes from the last real token, a full stop, to a smaller output head with three rows and three bars
for positive, negative and neutral; the padding's arrow is crossed out.

The bars are the true odds of the comment's labels.
"""

import re

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREY, INK, PURPLE, arrow, bars, box, chip, one_row, path, write
from minigpt.text.comments import label_odds

COMMENT = "Sweet songs, clever jokes, short letters."
PIECES = ("<|endoftext|>", *re.findall(r"\w+|[,.]", COMMENT))


def draw() -> Figure:
    figure, axes = one_row({"output head"}, height=4.65)
    y, x = 2.95, 0.2
    for piece in PIECES:
        start, x = x, chip(axes, x, y, piece, BLUE)
    last = (start + x) / 2 - 0.03
    for _ in range(2):
        start, x = x, chip(axes, x, y, "<|endoftext|>", GREY)
    write(axes, (start + x) / 2 - 0.55, y + 0.36, "padding", color=INK)
    write(axes, 2.4, y + 0.36, "a comment, a box for each word", color=INK)
    arrow(axes, (last, y + 0.29), (last, 3.8), colour=PURPLE, width=2)
    box(axes, last - 0.75, 3.8, 1.5, 0.6, "output head\n3 rows × d_model", PURPLE)
    crossed = (start + x) / 2
    path(axes, (crossed, y + 0.55), (crossed, 3.95), colour=GREY, linestyle="--", linewidth=1.5)
    write(axes, crossed, 4.1, "not here", color=INK)
    path(axes, (crossed - 0.12, 3.55), (crossed + 0.12, 3.8), colour=INK, linewidth=2)
    path(axes, (crossed - 0.12, 3.8), (crossed + 0.12, 3.55), colour=INK, linewidth=2)
    odds = {label: round(p, 2) for label, p in label_odds("sentiment", COMMENT).items()}
    arrow(axes, (last - 0.75, 4.1), (last - 1.35, 4.1), colour=PURPLE, width=2)
    bars(axes, last - 2.6, 3.75, odds, PURPLE, length=1.1)
    return figure
