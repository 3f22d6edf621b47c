"""The first line of every lesson: the same numbers and the same figures on every machine."""

import logging
import math

import matplotlib
import numpy as np
import torch
from matplotlib_inline.backend_inline import set_matplotlib_formats

SVG_METADATA = {"Date": None, "Creator": None}  # neither the day nor matplotlib's version stands in the file


def use_stable_svg() -> None:
    """Make SVG files depend only on what is drawn: no random ids, and text as outlines of the font in matplotlib."""
    matplotlib.rc("svg", hashsalt="minigpt", fonttype="path")
    matplotlib.rc("font", family="DejaVu Sans")


def nearest(value: float, digits: int) -> float:
    """A number to so many decimals for a picture: halves go up, and so does what lies a hair below a half.

    Simple fractions are halves: 0.0625 to three decimals. One processor's sum comes out just above it, another's just
    below, and with `round` the picture of each would differ. What is not finite stays as it is.
    """
    value, scale = float(value), 10.0**digits
    return round(math.floor(value * scale + 0.505) / scale, digits) if math.isfinite(value) else value


def start_lesson() -> None:
    """Compute on one thread, print four decimals, draw figures as SVG.

    Sums of floating-point numbers depend on their order, and so on the number of threads. On one thread a lesson prints
    what its page shows. Random numbers stay with the lesson: it seeds the generator where it draws.
    """
    torch.set_num_threads(1)
    torch.set_printoptions(precision=4, sci_mode=False)
    np.set_printoptions(precision=4, suppress=True)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # silent while it indexes the fonts once
    use_stable_svg()
    if "inline" in str(matplotlib.get_backend(auto_select=False)):  # in Jupyter, not where a test runs the set-up cell
        set_matplotlib_formats("svg", metadata=SVG_METADATA)
