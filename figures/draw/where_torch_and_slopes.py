"""The appendix in the GPT: what flows through all of it, tensors forward and slopes back.

Alt text: The GPT in grey; below it a blue arrow runs from left to right past the shapes of its tensors, from (T) to
(T, V), and a red arrow runs back: slopes.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, arrow, box, one_row, write

GRADIENT = "#d55e00"  # as in lesson 9


def draw() -> Figure:
    figure, axes = one_row(set(), height=3.75)
    arrow(axes, (0.5, 2.85), (9.3, 2.85), colour=BLUE, width=2.5)
    for x, shape in ((1.03, "(T)"), (2.92, "(T, d_model)"), (5.15, "(T, d_model)"), (7.37, "(T, V)")):
        box(axes, x - 0.5, 2.67, 1, 0.36, shape, BLUE)
    write(axes, 1.03, 2.5, "token ids")
    write(axes, 5.15, 2.5, "tensors, each with its shape")
    write(axes, 8.7, 2.65, "forward")
    arrow(axes, (9.3, 3.3), (0.5, 3.3), colour=GRADIENT, width=2.5)
    write(axes, 5.15, 3.5, "slopes, back through every part")
    return figure
