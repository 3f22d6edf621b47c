"""Lesson 23 in the GPT: the whole of it grows, and what its loss then does.

Alt text: The whole GPT in one row in colour; below it two gauges with real points, and between them the valley of a
fitted law: left the loss above the floor against parameters, four lines that fall, those of longer training lower; in
the middle the law's loss over the parameters for one compute, its lowest point marked; right the ten dear runs, each
with a measured cross and the wide interval that a law of the cheap runs foretold.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, box, one_row, path, write
from minigpt.course import scaling
from minigpt.evaluation.laws import bootstrap_laws, fit_law

TOP, BOTTOM = 3.2, 4.55


def draw() -> Figure:
    parts = {"text", "embeddings", "attention", "feed-forward", "block", "output head", "distribution", "sampling"}
    figure, axes = one_row(parts, height=5.1)
    for x, title in ((0.3, "larger, and longer"), (3.45, "one compute"), (6.6, "cheap runs foretell dear ones")):
        box(axes, x, 2.75, 2.75, 2.15, "", GREY)
        write(axes, x + 1.375, 2.95, title, weight="bold")
    stored = scaling.load()
    runs = [run for run in stored["models"] if run["seed"] == 0]
    _lines(axes, 0.55, runs, stored["test"]["floor"])
    _valley(axes, 3.7, runs)
    _foretold(axes, 6.85, runs)
    return figure


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Places of logarithms between two ends."""
    return lambda x: start + (end - start) * math.log(x / low) / math.log(high / low)


def _columns(runs: Sequence[dict[str, float]]) -> tuple[list[float], list[float], list[float]]:
    return [run["parameters"] for run in runs], [run["tokens"] for run in runs], [run["loss"] for run in runs]


def _lines(axes: Axes, left: float, runs: Sequence[dict[str, float]], floor: float) -> None:
    x, y = _scale(9e3, 1.1e6, left + 0.1, left + 2.2), _scale(0.011, 3.3, BOTTOM, TOP)
    styles = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"))
    for steps, (colour, dash, mark) in zip(scaling.STEPS, styles, strict=True):
        points = [(x(r["parameters"]), y(r["loss"] - floor)) for r in runs if r["steps"] == steps]
        axes.plot(*zip(*points, strict=True), dash, color=colour, marker=mark, markersize=4.5, linewidth=1.5)
    write(axes, left + 1.12, 4.72, "parameters")
    write(axes, left - 0.07, 3.9, "loss above the floor", rotation=90)


def _valley(axes: Axes, left: float, runs: Sequence[dict[str, float]]) -> None:
    law = fit_law(*_columns(runs), delta=0.1)
    flops = 1.3e12
    sizes = np.geomspace(8e3, 1.2e6, 80)
    losses = [law.loss(n, flops / 6 / n) for n in sizes]
    x, y = _scale(8e3, 1.2e6, left + 0.1, left + 2.2), _scale(min(losses) / 1.1, 4.0, BOTTOM, TOP)
    kept = [(x(n), y(loss)) for n, loss in zip(sizes, losses, strict=True) if loss < 4.0]
    path(axes, *kept, colour=BLUE, linewidth=2)
    best, _ = law.best(flops)
    axes.plot([x(best)], [y(law.loss(best, flops / 6 / best))], "o", color=ORANGE, markeredgecolor=INK, markersize=8)
    write(axes, left + 0.3, 3.3, "too small", ha="left")
    write(axes, left + 2.25, 3.5, "too short", ha="right")
    write(axes, left + 1.12, 4.72, "parameters")
    write(axes, left - 0.07, 3.9, "loss", rotation=90)


def _foretold(axes: Axes, left: float, runs: Sequence[dict[str, float]]) -> None:
    by_cost = sorted(runs, key=lambda run: run["flops"])
    small, large = by_cost[:10], by_cost[10:]
    laws = bootstrap_laws(*_columns(small), delta=0.1)
    y = _scale(0.2, 3.0, BOTTOM, TOP)
    for place, run in enumerate(large):
        low, high = np.quantile([law.loss(run["parameters"], run["tokens"]) for law in laws], [0.025, 0.975])
        at = left + 0.2 + 0.215 * place
        path(axes, (at, y(max(0.2, low))), (at, y(min(3.0, high))), colour=BLUE, linewidth=4)
        axes.plot([at], [y(run["loss"])], "X", color=ORANGE, markeredgecolor=INK, markersize=7, zorder=5)
    write(axes, left + 1.12, 4.72, "runs by their cost")
    write(axes, left - 0.07, 3.9, "loss", rotation=90)
