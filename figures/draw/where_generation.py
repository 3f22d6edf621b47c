"""Lesson 13 in the GPT: what happens between the probabilities and the token that is drawn.

Alt text: The GPT in grey, its bars for the next token and the arrow back to the text in colour; below, the same bars
four times: as the model gives them, with temperature 0.5 the long ones longer, with top-k 5 all but five gone, with
top-p 0.6 all but the few that together hold 60 percent; then one is drawn.

The bars are the bundled model's, after the text in the box on the left.
"""

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from figures.draw.gpt import BLUE, PURPLE, arrow, bars, box, example, one_row, write
from minigpt.generation.generate import distribution
from minigpt.weights.checkpoint import load_model

STAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the model's probabilities", {}),
    ("temperature 0.5", {"temperature": 0.5}),
    ("top-k, k = 5", {"top_k": 5}),
    ("top-p, p = 0.6", {"top_p": 0.6}),
)


def draw() -> Figure:
    figure, axes = one_row({"distribution", "sampling"}, height=5.05)
    for i, (title, panel) in enumerate(stages()):
        left = 0.15 + 2.1 * i + (0.35 if i else 0)
        box(axes, left, 2.75, 1.95, 2.15, "", PURPLE if i == 0 else BLUE)
        write(axes, left + 0.98, 2.95, title, weight="bold")
        for bar in bars_above(axes, left + 0.9, 3.17, panel, PURPLE if i == 0 else BLUE):
            bar.set_zorder(3)
    arrow(axes, (2.1, 3.8), (2.56, 3.8), width=2)
    write(axes, 2.33, 3.5, "one of\nthese", size=8)
    arrow(axes, (8.75, 3.8), (9.05, 3.8), width=2)
    write(axes, 9.25, 3.8, "draw\none")
    return figure


def bars_above(axes: Axes, x: float, y: float, panel: dict[str, float], colour: str) -> list[Patch]:
    """Bars, and the patches among them: they lie above the box."""
    before = len(axes.patches)
    bars(axes, x, y, panel, colour, length=1.15)
    return list(axes.patches)[before:]


def stages() -> list[tuple[str, dict[str, float]]]:
    """For each stage the seven tokens that the model finds most probable, in whole percent, the same everywhere."""
    model, tokenizer = load_model("storyteller")
    with torch.inference_mode():
        logits = model.double()(torch.tensor([[tokenizer.end_of_text, *example().ids]]))[:, -1]
    best = logits[0].topk(7).indices.tolist()
    names = [tokenizer.decode([token]).replace(" ", "␣") for token in best]
    found = []
    for title, change in STAGES:
        probabilities = distribution(logits, **change)[0, best].tolist()
        panel = {name: round(p, 2) for name, p in zip(names, probabilities, strict=True)}
        panel["others"] = abs(round(1 - sum(probabilities), 2))
        found.append((title, panel))
    return found
