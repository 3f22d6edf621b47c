"""Lesson 16 in the GPT: a conversation is a text with marks, and only the answer and its end are learned.

Alt text: The GPT in one row with its text and its distribution in colour; below it a conversation as a row of boxes:
question in grey, the answer and the end token behind it in colour, and from each coloured box an arrow back to the box
before it, which has to foretell it.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import GREY, INK, PURPLE, arrow, chip, one_row, write

ASKED = ("<|user|>", "Who", "␣is", "␣sad", "?", "<|end|>", "<|assistant|>")
ANSWERED = ("␣Mia", ".", "<|end|>")


def draw() -> Figure:
    figure, axes = one_row({"text", "distribution"}, height=4.3)
    y, x = 3.1, 0.2
    middles: list[float] = []
    for piece in (*ASKED, *ANSWERED):
        start, x = x, chip(axes, x, y, piece, PURPLE if piece in ANSWERED and len(middles) >= len(ASKED) else GREY)
        middles.append((start + x) / 2)
    for before, told in zip(middles[len(ASKED) - 1 : -1], middles[len(ASKED) :], strict=True):
        arrow(
            axes,
            (told, y + 0.32),
            (told, y + 0.55),
            (before + 0.06, y + 0.55),
            (before + 0.06, y + 0.34),
            colour=PURPLE,
        )
    write(axes, (middles[0] + middles[len(ASKED) - 1]) / 2, y - 0.22, "given: read, not learned", color=INK)
    write(axes, middles[-2], y - 0.22, "learned, the end too", color=INK)
    write(
        axes,
        (middles[len(ASKED) - 1] + middles[-1]) / 2,
        y + 0.75,
        "each is foretold by the token before it",
        color=INK,
    )
    return figure
