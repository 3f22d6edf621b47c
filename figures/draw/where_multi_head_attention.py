"""Lesson 5 in the GPT: the attention box opened, from the tokens through the heads and back.

Alt text: The GPT in grey with attention in blue; below, enlarged: the tokens x are projected to queries, keys and
values, split into heads, each head has a triangle of weights of its own, and the heads are joined and projected again.

The triangles are the bundled model's weights in its last layer, for the sentence in the box on the left.
"""

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from figures.draw.gpt import BLUE, GREEN, GREY, ORANGE, PURPLE, arrow, box, example, one_row, path, write
from minigpt.model.attention import CausalSelfAttention, scaled_dot_product_attention
from minigpt.weights.checkpoint import load_model


def draw() -> Figure:
    figure, axes = one_row({"attention"}, height=4.75)
    left, right, top, bottom, y = 0.25, 9.35, 2.65, 4.6, 3.6
    box(axes, left, top, right - left, bottom - top, "", BLUE)
    for start, end in (((3.75, 1.32), (3.5, top)), ((4.95, 1.32), (5.2, top))):
        path(axes, start, end, colour=BLUE, linewidth=0.9, linestyle=":", zorder=0.5)

    titles = ((0.75, "x"), (2.05, "project, split"), (4.8, "attend"), (7.38, "join"), (8.65, "project"))
    for x, title in titles:
        write(axes, x, top + 0.2, title, weight="bold")
    box(axes, 0.45, y - 0.45, 0.6, 0.9, "T\ntokens", GREEN)
    arrow(axes, (1.05, y), (1.4, y))
    for i, (name, colour) in enumerate((("queries", GREY), ("keys", GREY), ("values", PURPLE))):
        box(axes, 1.4, y - 0.54 + 0.38 * i, 1.3, 0.32, f"{name} of all heads", colour)
    weights = weights_of_last_layer()
    size, first = 0.92, 3.05
    step = (6.95 - first) / len(weights)
    arrow(axes, (2.7, y), (first, y))
    for head, table in enumerate(weights):
        triangle(axes, first + step * head + (step - size) / 2, y - 0.5, size, table)
        write(axes, first + step * (head + 0.5), y + 0.58, f"head {head + 1}")
    write(axes, 4.98, y + 0.82, "each head: its own T × T weights, none on the future")
    arrow(axes, (6.95, y), (7.15, y))
    box(axes, 7.15, y - 0.45, 0.46, 0.9, "heads\nside\nby\nside", ORANGE)
    arrow(axes, (7.61, y), (8.05, y))
    box(axes, 8.05, y - 0.3, 1.15, 0.6, "one matrix\nmixes the heads", GREY)
    return figure


def weights_of_last_layer() -> list[Tensor]:
    """The weights of each head (T, T), of the bundled model's last layer, to two decimals: the same everywhere."""
    model, tokenizer = load_model("storyteller")
    model = model.double()
    *_, last = (module for module in model.modules() if isinstance(module, CausalSelfAttention))
    inputs: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        model(torch.tensor([[tokenizer.end_of_text, *example().ids]]))
        hook.remove()
        q, k, v = (part.unflatten(-1, (last.n_heads, -1)).transpose(1, 2) for part in last.qkv(inputs[0]).chunk(3, -1))
        weights = scaled_dot_product_attention(q, k, v, causal=True)[1]
    return list(weights[0].mul(100).round().div(100))


def triangle(axes: Axes, x: float, y: float, size: float, table: Tensor) -> None:
    """A lower triangle of fields, the larger the weight the darker."""
    edges = [i * size / len(table) for i in range(len(table) + 1)]
    fields = table.masked_fill(torch.ones_like(table, dtype=torch.bool).triu(1), torch.nan)
    shade = LinearSegmentedColormap.from_list("white to blue", ["white", BLUE])
    style: dict[str, Any] = {"cmap": shade, "vmin": 0, "vmax": 1, "edgecolors": "#c8c8c8", "linewidth": 0.3}
    axes.pcolormesh([x + edge for edge in edges], [y + edge for edge in edges], fields.numpy(), zorder=3, **style)
