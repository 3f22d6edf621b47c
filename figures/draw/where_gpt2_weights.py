"""Lesson 14 in the GPT: which tensor of the file fills which part.

Alt text: The GPT in one row, its embeddings, attention, feed-forward and output head in colour; below it the file
model.safetensors as a strip of tensors, with arrows from them to the parts that they fill.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, arrow, box, one_row, path, write

STRIP = (  # what stands in it, how wide, its colour; in the order of computing, which a file need not keep
    ("header: names,\nshapes, places", 1.35, GREY),
    ("wte, wpe", 0.95, GREEN),
    ("ln_1, c_attn, c_proj", 1.6, BLUE),
    ("ln_2, c_fc, c_proj", 1.6, ORANGE),
    ("more blocks: h.1 …", 1.35, GREY),
    ("ln_f", 1.15, PURPLE),
)


def draw() -> Figure:
    figure, axes = one_row({"embeddings", "attention", "feed-forward", "block", "output head"}, height=3.8)
    top, left = 2.95, 0.95
    edges = []
    for text, width, colour in STRIP:
        box(axes, left, top, width, 0.5, text, colour)
        edges.append((left, left + width))
        left += width
    write(axes, 0.85, top + 0.25, "model.\nsafetensors", ha="right", weight="bold")
    (block, _), (_, block_end) = edges[2], edges[3]
    path(axes, (block + 0.05, top + 0.58), (block_end - 0.05, top + 0.58), colour=INK)
    write(axes, (block + block_end) / 2, top + 0.7, "block 0: h.0")
    targets = {1: (2.92, 1.95), 2: (4.35, 1.32), 3: (5.9, 1.32), 5: (7.38, 1.95)}
    colours = {1: GREEN, 2: BLUE, 3: ORANGE, 5: PURPLE}
    for part, (x, y) in targets.items():
        start = sum(edges[part]) / 2
        middle = 2.4 + (0.15 if part in (2, 5) else 0)
        arrow(axes, (start, top), (start, middle), (x, middle), (x, y), colour=colours[part], width=1.8)
    write(axes, 7.4, 2.73, "and wte once more: tied")
    return figure
