"""What a token costs as the model or the batch grows, measured by benchmarks/scaling.py and predicted by arithmetic.

Alt text: Three panels on logarithmic axes, microseconds per token upwards. Training against context and against width,
in float32 and bfloat16, and one step of generation against batch size: measured points above, the predicted floor as a
dashed line below them.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "AVX-512" / "scaling.json"
"""Of a processor with units for bfloat16, which the figure compares with float32."""

COLOURS = {"float32": ("#0072b2", "o"), "bfloat16": ("#d55e00", "s")}  # Okabe and Ito's, told apart without colour too
PANELS = {
    "context": "training: tokens of context",
    "width": "training: width, d_model",
    "batch": "generating: samples at once",
}


def draw() -> Figure:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["more"]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for precision, curve in found[name].items():
            colour, marker = COLOURS[precision]
            middle, low, high = ([1e6 * t for t in curve[key]] for key in ("seconds", "low", "high"))
            error = [[m - lo for m, lo in zip(middle, low, strict=True)],
                     [hi - m for m, hi in zip(middle, high, strict=True)]]  # fmt: skip
            axes.errorbar(curve["sizes"], middle, error, color=colour, marker=marker, capsize=3, label=precision)
            predicted = [1e6 * t for t in curve["predicted"]]
            axes.plot(curve["sizes"], predicted, color=colour, linestyle="--", label=f"{precision}, predicted")
        axes.set_title(title, fontsize=11)
        axes.set_xticks([size for size in curve["sizes"] if size.bit_count() == 1])  # powers of 2 have room
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("µs per token")
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
