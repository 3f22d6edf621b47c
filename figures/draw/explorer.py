"""The explorer on the first sentence of a story, as lessons show it: its own drawing, drawn again by matplotlib.

Alt text: The tokens of a story's first sentence as boxes with their ids; thin grey arcs between them, and a thick blue
arc from the full stop back to the name Ida; below, bars for the next token, Her, Every and Ida nearly equally long and
five shorter ones; beside them a table in which the guess after each part of the model turns from a full stop into Her.

The explorer writes text as text. Here it becomes outlines, like that of all figures, so that no font is needed.
"""

import re
from xml.etree import ElementTree

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from figures.draw.gpt import page
from minigpt.course import explore, pictures
from minigpt.weights.checkpoint import load_model

PIXELS = 92  # in an inch of the figure


def draw() -> Figure:
    model, tokenizer = load_model("storyteller")
    shown = explore(model.double(), tokenizer, "Once upon a time, there was a kind pony named Ida.")
    root = ElementTree.fromstring(pictures.svg(shown.picture(), page=False))
    figure, axes = page(float(root.get("width", 0)) / PIXELS, float(root.get("height", 0)) / PIXELS)
    axes.set(xlim=(0, float(root.get("width", 0))), ylim=(float(root.get("height", 0)), 0))
    for child in root:
        add(axes, child, 0.0, 0.0)
    return figure


def add(axes: Axes, element: ElementTree.Element, left: float, top: float) -> None:
    """Draw an element of the explorer's SVG; its group begins at (left, top)."""
    kind = element.tag.rpartition("}")[2]
    style = dict(part.split(":") for part in without_variables(element.get("style", "")).split(";") if part)
    edge, dash = style.get("stroke", "none"), (0, (3, 2)) if "stroke-dasharray" in style else "solid"
    width = float(style.get("stroke-width", 1)) * 72 / PIXELS
    if kind == "g":
        found = re.fullmatch(r"translate\((\S+) (\S+)\)", element.get("transform", "translate(0 0)"))
        assert found is not None
        for child in element:
            add(axes, child, left + float(found[1]), top + float(found[2]))
    elif kind == "rect":
        x, y, w, h, r = (float(element.get(name, 0)) for name in ("x", "y", "width", "height", "rx"))
        corners = f"round,pad=0,rounding_size={r}" if r else "square,pad=0"
        face, alpha = style["fill"], float(style.get("fill-opacity", 1))
        shape = FancyBboxPatch((left + x, top + y), w, h, corners, linewidth=width, linestyle=dash)
        shape.set(facecolor="none" if face == "none" else (face, alpha), edgecolor=edge)
        axes.add_patch(shape)
    elif kind == "path":
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", element.get("d", ""))]
        points = [(left + x, top + y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        curve = Path(points, [Path.MOVETO, *[Path.CURVE4] * (len(points) - 1)])
        alpha = float(style.get("stroke-opacity", 1))
        axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=(edge, alpha), linewidth=width))
    elif kind == "text":
        size = float(style.get("font-size", "12px").removesuffix("px")) * 72 / PIXELS
        end = {"start": "left", "middle": "center", "end": "right"}[element.get("text-anchor", "start")]
        axes.text(
            left + float(element.get("x", 0)), top + float(element.get("y", 0)), element.text or "",
            size=size, ha=end, va="baseline", color=style["fill"], weight=style.get("font-weight", "normal"),
            family="DejaVu Sans Mono", parse_math=False,
        )  # fmt: skip
    else:
        assert kind == "title", f"no way to draw <{kind}>"


def without_variables(style: str) -> str:
    """The colours of a page without a theme: var(--name,#123456) is #123456."""
    return re.sub(r"var\([^,()]+,([^()]*)\)", r"\1", style)
