"""The plots of the lessons: each function takes numbers and returns a figure, which a cell shows as its last value.

The colours are Okabe and Ito's, made to be told apart by every eye (https://jfly.uni-koeln.de/color/); where a colour
tells two things apart, so does a label, a dash or a marker. The page is white, which reads on a dark theme too.

Whatever is drawn is rounded first to what the eye can tell apart, so that a processor that rounds a sum in another way
draws the same picture.
"""

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, PercentFormatter

from minigpt.config import TrainConfig
from minigpt.course.lesson import nearest
from minigpt.training.optim import learning_rate_at

BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#e69f00", "#009e73", "#cc79a7"
INK, GREY, PALE = "#222222", "#767676", "#e4e4e4"

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True, "axes.edgecolor": GREY, "axes.facecolor": "white", "axes.grid": True,
    "axes.labelcolor": INK, "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": 11,
    "figure.constrained_layout.use": True, "figure.facecolor": "white", "font.size": 10, "grid.color": PALE,
    "legend.frameon": False, "lines.linewidth": 1.8, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip


def loss_ladder(losses: dict[str, float], floor: float) -> Figure:
    """The loss of each model as a bar, from the top in the order given, down to the entropy floor.

    A bar is as long as the number beside it says (three decimals).

    Args:
        losses: each model's name and its loss in nats per token.
        floor: the smallest loss that any model can expect, in nats per token.
    """
    names, values = [*losses, "entropy floor"], [nearest(loss, 3) for loss in (*losses.values(), floor)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 1.4 + 0.4 * len(names)))
        axes = figure.subplots()
        bars = axes.barh(names, values, height=0.62, color=[BLUE] * len(losses) + ["white"], edgecolor=BLUE)
        axes.bar_label(bars, fmt="%.3f", padding=5)
        axes.axvline(values[-1], color=INK, linestyle="--", linewidth=1.2)
        axes.set(xlabel="loss (nats per token)", xlim=(0, 1.12 * max(values)))
        axes.grid(axis="y", visible=False)
        axes.invert_yaxis()
        perplexity = axes.secondary_xaxis("top", xlabel="perplexity (equally likely tokens)")
        marks = [n * 10**power for power in range(6) for n in (1, 2, 5) if n * 10**power < math.exp(axes.get_xlim()[1])]
        perplexity.set_xticks([math.log(n) for n in marks], [f"{n:,}" for n in marks])
    return figure


def training_curves(
    runs: dict[str, list[dict[str, Any]]], floor: float | None = None, x: Literal["step", "seconds"] = "step"
) -> Figure:
    """How the loss falls and, where samples were graded, how the share of good ones rises below it.

    Faint: the loss of each step. Line: its mean over a window of a fiftieth of the run, drawn at the window's middle.

    Args:
        runs: each run's name and its records, as in metrics.jsonl, each with `step` (or `seconds`) and some of `loss`,
            `val_loss`, `grammatical` and `consistent` (shares from 0 to 1).
        floor: the smallest loss that any model can expect, in nats per token.
        x: what to draw against.
    """
    graded = any("consistent" in record for records in runs.values() for record in records)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 6 if graded else 4))
        losses, *shares = figure.subplots(2 if graded else 1, sharex=True, squeeze=False)[:, 0]
        styles = cycle([(BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":")])
        for (name, records), (colour, dash) in zip(runs.items(), styles, strict=False):  # styles never end
            at, loss = _points(records, x, "loss")
            losses.plot(at, _to_thousandths(loss), color=colour, alpha=0.25, linewidth=0.8)
            width = max(1, len(loss) // 50)
            middle = at[(width - 1) // 2 : len(at) - width // 2]
            mean = np.convolve(loss, np.full(width, 1 / width), "valid").tolist()
            losses.plot(middle, _to_thousandths(mean), dash, color=colour, label=name)
            if any("val_loss" in record for record in records):
                when, values = _points(records, x, "val_loss")
                style = {"color": colour, "markeredgecolor": "white", "label": f"{name}, validation"}
                losses.plot(when, _to_thousandths(values), "o", **style)
            for panel in shares:
                for key, mark, fill in (("grammatical", ":o", "white"), ("consistent", "-s", colour)):
                    when, values = _points(records, x, key)
                    panel.plot(when, _to_thousandths(values), mark, color=colour, mfc=fill, label=f"{name}, {key}")
        if floor is not None:
            floor = nearest(floor, 3)
            losses.axhline(floor, color=INK, linestyle=":", label=f"entropy floor {floor:.3f}")
        losses.set(ylabel="loss (nats per token, log scale)", yscale="log")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        losses.yaxis.set_major_formatter("{x:g}")
        losses.yaxis.set_minor_locator(NullLocator())
        losses.legend(loc="upper right")
        for panel in shares:
            panel.set(ylabel="share of samples", ylim=(0, 1.05))
            panel.yaxis.set_major_formatter(PercentFormatter(1))
            panel.legend(loc="lower right")
        figure.axes[-1].set_xlabel(x)
    return figure


def _points(records: list[dict[str, Any]], x: str, y: str) -> tuple[list[float], list[float]]:
    """The two columns of those records that have y; x in tenths."""
    found = [record for record in records if y in record]
    return [nearest(record[x], 1) for record in found], [record[y] for record in found]


def learning_rate_schedule(config: TrainConfig) -> Figure:
    """The learning rate of every step as a fraction of its peak: a straight line up, then half a cosine down."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 2.8))
        axes = figure.subplots()
        axes.axvspan(0, config.warmup_steps, color=PALE, label=f"warm-up, {config.warmup_steps} steps")
        axes.plot(_to_thousandths([learning_rate_at(step, config) for step in range(config.max_steps)]), color=BLUE)
        axes.set(xlabel="step", ylabel="learning rate / peak", ylim=(0, 1.05))
        axes.legend()
    return figure


def next_token_bars(tokens: list[str], probabilities: list[float], title: str) -> Figure:
    """The probability of each token as a bar, from the top in the order given; ␣ is a space, ↵ a new line.

    A bar is as long as the number beside it says (tenths of a percent).
    """
    shares = _to_thousandths(probabilities)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 0.8 + 0.32 * len(tokens)))
        axes = figure.subplots()
        bars = axes.barh(range(len(tokens)), shares, height=0.7, color=BLUE)
        axes.bar_label(bars, fmt="{:.1%}", padding=5)
        axes.set_yticks(range(len(tokens)), [_visible(token) for token in tokens])
        axes.set(title=title, xlabel="probability", xticks=[], xlim=(0, 1.15 * max(shares)))
        axes.grid(visible=False)
        axes.invert_yaxis()
    return figure


def token_boxes(tokens: Sequence[str], marked: Sequence[bool], columns: int = 60) -> Figure:
    """A text as a box for each token, in lines; those that are marked are coloured and underlined."""
    lines: list[list[tuple[str, bool]]] = [[]]
    width = 0
    for token, mark in zip(tokens, marked, strict=True):
        label = _visible(token)
        if width and width + len(label) + 2 > columns:
            lines.append([])
            width = 0
        lines[-1].append((label, mark))
        width += len(label) + 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.15 + 0.42 * len(lines)))
        axes = figure.subplots()
        for row, line in enumerate(lines):
            x = 0.0
            for label, mark in line:
                wide = len(label) + 1.4
                axes.add_patch(Rectangle((x, row), wide, 0.72, facecolor=ORANGE if mark else PALE, edgecolor=GREY))
                axes.text(x + wide / 2, row + 0.36, label, ha="center", va="center", family="monospace", fontsize=9)
                if mark:
                    axes.plot([x, x + wide], [row + 0.82, row + 0.82], color=INK, linewidth=2)
                x += wide + 0.5
        axes.set(xlim=(-0.5, columns + 8), ylim=(len(lines), -0.2))
        axes.set_axis_off()
    return figure


def heatmap(
    rows: Sequence[str],
    columns: Sequence[str],
    matrix: Sequence[Sequence[float]],
    ylabel: str = "",
    xlabel: str = "",
    numbers: bool = True,
) -> Figure:
    """A matrix as shaded fields, the larger the darker; in each field its number, to two decimals.

    Fields hold what two decimals say, and nothing below 0 is darker than 0. What is nan, a masked weight, is grey.

    Args:
        rows: the name of each row, from the top.
        columns: the name of each column; ␣ is a space in both, ↵ a new line.
        matrix: the numbers, a list for each row.
        ylabel: what the rows are.
        xlabel: what the columns are.
        numbers: whether to write the numbers; without them a field is small, and the matrix may be large.
    """
    values = np.array([[nearest(number, 2) for number in row] for row in matrix])
    shade = LinearSegmentedColormap.from_list("white to blue", ["white", BLUE])
    wide, high = (0.62, 0.45) if numbers else (0.24, 0.24)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.4 + wide * len(columns), 1 + high * len(rows)))
        axes = figure.subplots()
        lines: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.5 if numbers else 0.3}
        axes.pcolormesh(np.ma.masked_invalid(values), cmap=shade, vmin=0, **lines)
        if np.isnan(values).any():
            axes.set_facecolor(PALE)  # seen through what is masked
        for (row, column), value in np.ndenumerate(values) if numbers else ():
            if np.isnan(value):
                continue
            colour = "white" if value > 0.85 * np.nanmax(values) else INK
            axes.text(column + 0.5, row + 0.5, f"{value:g}", ha="center", va="center", color=colour)
        names = [[_visible(name) for name in side] for side in (columns, rows)]
        rotation = 0 if numbers and max(map(len, names[0])) <= 6 else 45 if numbers else 90
        axes.set_xticks([i + 0.5 for i in range(len(columns))], names[0], rotation=rotation)
        axes.set_yticks([i + 0.5 for i in range(len(rows))], names[1])
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.xaxis.set(label_position="top", ticks_position="top")
        axes.tick_params(length=0, labelsize=10 if numbers else 8)
        axes.spines[:].set_visible(False)
        axes.invert_yaxis()
    return figure


def curves(
    lines: dict[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    log: Literal["", "x", "y", "xy"] = "",
    markers: bool = True,
) -> Figure:
    """Several y over x, told apart by colour, dash and marker.

    Args:
        lines: each line's name with its x and its y, of which a thousandth of an axis is drawn.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.
        log: the axes with a logarithmic scale.
        markers: whether to mark the points; not for hundreds of them.
    """
    xs, ys = (_rounded([line[i] for line in lines.values()], "xy"[i] in log) for i in (0, 1))
    styles = cycle([(BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (INK, "-", "v")])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.8))
        axes = figure.subplots()
        for name, x, y, (colour, dash, marker) in zip(lines, xs, ys, styles, strict=False):  # styles never end
            axes.plot(x, y, dash, color=colour, marker=marker if markers else "", markersize=5, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        for side, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            if side in log:
                axes.set(**{f"{side}scale": "log"})
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")  # over less than a decade matplotlib would write 2 × 10²
        if len(lines) > 1:
            axes.legend()
    return figure


def roofline(roofs: dict[str, tuple[float, float]], points: dict[str, tuple[float, float]]) -> Figure:
    """What a machine can do at most, given the FLOPs that a task makes of each byte, and where tasks lie under it.

    Williams, Waterman and Patterson 2009: a slope, where memory is the limit, then a level, where arithmetic is. Both
    axes are logarithmic.

    Args:
        roofs: the name of each roof with its level in FLOP/s and its slope in bytes/s.
        points: the name of each task with its FLOP per byte and its FLOP/s.
    """
    marks = "osD^vP*X<>"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.2))
        axes = figure.subplots()
        limits, drawn = (_rounded(list(named.values()), log=True) for named in (roofs, points))
        ridges = [level / slope for level, slope in limits]
        intensities = [intensity for intensity, _ in drawn] + ridges
        left, right = min(intensities) / 2, max(intensities) * 4
        for name, (level, slope), ridge, dash in zip(roofs, limits, ridges, cycle(["-", "--", ":"]), strict=False):
            axes.plot([left, ridge, right], [left * slope, level, level], dash, color=INK, label=f"roof, {name}")
        for i, (name, (intensity, speed)) in enumerate(zip(points, drawn, strict=True)):
            colour = (BLUE, ORANGE, GREEN, PURPLE)[i % 4]
            style: dict[str, Any] = {"color": colour, "markersize": 8, "markeredgecolor": INK}
            axes.plot([intensity], [speed], marks[i % len(marks)], label=name, **style)
        axes.set(xscale="log", yscale="log", xlim=(left, right), xlabel="FLOPs per byte")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter(EngFormatter(unit="FLOP/s"))
        figure.legend(loc="outside right center")
    return figure


def _to_thousandths(numbers: Sequence[float]) -> list[float]:
    return [nearest(number, 3) for number in numbers]


def _rounded(lines: Sequence[Sequence[float]], log: bool) -> list[list[float]]:
    """The numbers of one axis to a thousandth of its length or finer; on a logarithmic one to four digits each.

    Integers are exact on every processor, and stay.
    """
    drawn = [float(number) for line in lines for number in line if math.isfinite(number)]
    length = max(drawn, default=0.0) - min(drawn, default=0.0)

    def decimals(size: float) -> int:
        """How many decimals show four digits of a number; the factor: 0.9999999 is the 1 of another processor."""
        return 3 - math.floor(math.log10(1.001 * size)) if size > 0 else 3

    def seen(number: float) -> float:
        return number if isinstance(number, int) else nearest(number, decimals(abs(number) if log else length))

    return [[seen(number) for number in line] for line in lines]


def _visible(token: str) -> str:
    """A token as a label: its spaces and new lines can be seen."""
    return token.replace(" ", "␣").replace("\n", "↵")
