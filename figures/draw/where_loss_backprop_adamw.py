"""Lesson 9 in the GPT: the way back from the loss, through every part, to the optimiser that changes the weights.

Alt text: The GPT in grey; from the loss under its output a red arrow runs back past the output head, the block and the
embeddings to AdamW, which changes the weights.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, PURPLE, arrow, box, chip, example, one_row, path, write

GRADIENT = "#d55e00"  # Okabe and Ito's vermilion: no part of the GPT has it


def draw() -> Figure:
    figure, axes = one_row({"distribution"}, height=3.95)
    arrow(axes, (8.85, 2.42), (8.85, 2.8))
    box(axes, 8.35, 2.8, 1, 0.4, "loss", PURPLE)
    arrow(axes, (8.85, 3.5), (8.85, 3.2))
    write(axes, 8.5, 3.635, "what came:", ha="right")
    chip(axes, 8.6, 3.5, example().came, GREEN)
    path(axes, (8.35, 3), (2.92, 3), colour=GRADIENT, linewidth=2.5)
    for x, top in ((7.37, 1.97), (5.9, 1.34), (4.35, 1.34), (2.92, 1.97)):
        arrow(axes, (x, 3), (x, top), colour=GRADIENT, width=1.8)
    arrow(axes, (2.92, 3), (1.9, 3), colour=GRADIENT, width=2.5)
    write(axes, 5.1, 3.22, "gradients, from the end to the start: how would each weight change the loss?")
    box(axes, 0.7, 2.8, 1.2, 0.4, "AdamW", BLUE)
    write(axes, 1.3, 3.42, "changes every weight a little")
    return figure
