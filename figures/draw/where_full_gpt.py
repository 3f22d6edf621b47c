"""Lesson 8 in the GPT: all of it, and the tie between its two ends.

Alt text: The whole GPT in colour, from the text through embeddings, Transformer blocks and output head to the bars for
the next token; under it a dashed line ties the output head to the embeddings: one table for both.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import GREEN, PURPLE, one_row, path, write


def draw() -> Figure:
    parts = {"text", "embeddings", "attention", "feed-forward", "block", "output head", "distribution"}
    figure, axes = one_row(parts, height=2.75)
    path(axes, (2.92, 1.95), (2.92, 2.45), (5.15, 2.45), colour=GREEN, linestyle="--")
    path(axes, (7.37, 1.95), (7.37, 2.45), (5.15, 2.45), colour=PURPLE, linestyle="--")
    write(axes, 5.15, 2.45, "tied: one table for both", backgroundcolor="white")
    return figure
