"""Lesson 19 in the GPT: whole stories are drawn, graded, and learned from.

Alt text: The GPT in one row, its distribution and the arrow that draws a token in colour; below it three columns of
four boxes: stories 1 to 4, the verifier's marks 1, 1, 0, 1, and the marks minus their mean, +0.25 three times and −0.75
once; an arrow leads from the last column back to the first, «more of this, less of that».
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, INK, ORANGE, PURPLE, arrow, box, one_row, write

MARKS = (1, 1, 0, 1)


def draw() -> Figure:
    figure, axes = one_row({"distribution", "sampling"}, height=5.3)
    mean = sum(MARKS) / len(MARKS)
    columns = (
        (0.5, 2.4, "the model tells a group of stories", PURPLE, [f"story {i + 1}" for i in range(len(MARKS))]),
        (4.1, 1.2, "the verifier marks", GREEN, [str(mark) for mark in MARKS]),
        (7.0, 1.5, "minus the group's mean", ORANGE, [f"{mark - mean:+.2f}".replace("-", "−") for mark in MARKS]),
    )
    for x, width, title, colour, texts in columns:
        write(axes, x + width / 2, 2.75, title, color=INK, weight="bold")
        for row, text in enumerate(texts):
            box(axes, x, 2.95 + 0.42 * row, width, 0.34, text, colour)
    for row in range(len(MARKS)):
        y = 3.12 + 0.42 * row
        arrow(axes, (2.9, y), (4.1, y))
        arrow(axes, (5.3, y), (7.0, y))
    arrow(axes, (7.75, 4.65), (7.75, 4.95), (1.7, 4.95), (1.7, 4.65), colour=BLUE, width=1.8)
    write(axes, 4.7, 4.95, "more of this, less of that", color=BLUE, backgroundcolor="white")
    return figure
