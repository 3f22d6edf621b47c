"""Lesson 4 in the GPT: attention, and what happens in it to one query.

Alt text: The GPT in grey with attention in blue; below, enlarged: the query of «it» is compared with three keys, the
key of «kite» gets the longest bar of weight, and the three values are blended with these weights into one output.
"""

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.draw.gpt import BLUE, GREEN, GREY, ORANGE, PURPLE, arrow, box, one_row, path, write
from minigpt.model.attention import scaled_dot_product_attention

TOKENS = ("Pip", "kite", "it")
Q = torch.tensor([[2.0, 0.0]])  # the query of «it»; numbers are those of the lesson
K = torch.tensor([[0.0, 2.0], [2.0, 0.0], [1.0, 1.0]])
V = torch.tensor([[0.0, 6.0], [3.0, 0.0], [0.0, 0.0]])


def draw() -> Figure:
    figure, axes = one_row({"attention"}, height=4.65)
    left, right, top, bottom = 1.3, 8.3, 2.65, 4.5
    box(axes, left, top, right - left, bottom - top, "", BLUE)
    for start, end in ((3.75, 3.47), (4.95, 5.23)):  # between the boxes above
        path(axes, (start, 1.32), (end, top), colour=BLUE, linestyle=":")

    output, weights = scaled_dot_product_attention(Q.double(), K.double(), V.double())
    middle = 3.65
    for x, title in ((2.1, "query"), (3.65, "keys"), (4.95, "weights"), (6.25, "values"), (7.55, "output")):
        write(axes, x, top + 0.26, title, weight="bold", va="baseline")
    box(axes, 1.6, middle - 0.2, 1.0, 0.4, f"it  {numbers(Q[0])}", GREEN)
    box(axes, 7.0, middle - 0.2, 1.1, 0.4, numbers(output[0]), ORANGE)
    for i, (token, weight) in enumerate(zip(TOKENS, weights[0].tolist(), strict=True)):
        y = middle + 0.5 * (i - 1)
        arrow(axes, (2.6, middle), (3.1, y))
        box(axes, 3.1, y - 0.17, 1.1, 0.34, f"{token}  {numbers(K[i])}", GREY)
        axes.add_patch(Rectangle((4.4, y - 0.08), 0.9 * weight, 0.16, facecolor=BLUE, zorder=3))
        write(axes, 4.46 + 0.9 * weight, y, f"{weight:.2f}", ha="left")
        box(axes, 5.9, y - 0.17, 0.7, 0.34, numbers(V[i]), PURPLE)
        arrow(axes, (6.6, y), (7.0, middle + 0.1 * (i - 1)), width=0.6 + 3 * weight)
    return figure


def numbers(vector: torch.Tensor) -> str:
    """[2, 0] or [2.3, 0.27]."""
    return f"[{', '.join(f'{round(x, 2):g}' for x in vector.tolist())}]"
