"""Lesson 2 in the GPT: between text and embeddings, the tokenizer cuts the text and numbers the pieces.

Alt text: The whole GPT in grey with the text in colour; below it, the beginning of the text as a row of bytes, under
the bytes boxes that each join a few of them into a token such as ␣time, and under each token its id; an arrow leads
from the ids up to the embeddings.

Tokens and ids are the bundled model's.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import GREEN, GREY, arrow, box, example, one_row, write

BYTES = 27  # more would not fit on the page
WIDTH = 0.205  # of a byte, in inches


def draw() -> Figure:
    shown = example()
    figure, axes = one_row({"text"}, height=4.3)
    arrow(axes, (0.55, 2.25), (0.55, 2.85), (1.4, 2.85), width=2.5)
    write(axes, 1.55, 2.85, "bytes", weight="bold", ha="left")
    write(axes, 1.55, 3.35, "tokens", weight="bold", ha="left")
    write(axes, 1.55, 3.95, "ids", weight="bold", ha="left")
    left = first = 2.4
    for token, number in zip(shown.tokens, shown.ids, strict=True):
        data = token.replace("␣", " ").encode()
        if left - first + WIDTH * len(data) > WIDTH * BYTES:
            break
        for i, byte in enumerate(data):
            write(axes, left + WIDTH * (i + 0.5), 2.85, f"{byte:02X}", family="monospace", size=7.5)
        right = left + WIDTH * len(data)
        box(axes, left + 0.02, 3.2, right - left - 0.04, 0.3, "", GREEN)
        write(axes, (left + right) / 2, 3.38, token, va="baseline")
        arrow(axes, ((left + right) / 2, 3.55), ((left + right) / 2, 3.83), colour=GREY)
        write(axes, (left + right) / 2, 3.95, str(number))
        left = right
    for y in (2.85, 3.35, 3.95):
        write(axes, left + 0.15, y, "…")
    arrow(axes, (left + 0.35, 3.95), (9.2, 3.95), (9.2, 2.45), (2.9, 2.45), (2.9, 1.97), width=2.5)
    return figure
