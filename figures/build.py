"""Draw the figures: figures/draw/NAME.py has a function draw(), and what it returns becomes figures/NAME.svg.

``python -m figures.build gpt`` draws figures/gpt.svg, without a name all of them.
"""

import argparse
import importlib
import io
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

from minigpt.course.lesson import SVG_METADATA, use_stable_svg

FIGURES = Path(__file__).parent
NAMES = sorted(path.stem for path in (FIGURES / "draw").glob("*.py"))


def svg(name: str) -> str:
    """The figure as SVG, the same bytes on every run: default style, text as outlines, no date, a white page."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        use_stable_svg()
        matplotlib.use("svg")
        figure = importlib.import_module(f"figures.draw.{name}").draw()
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata=SVG_METADATA, facecolor="white")
        plt.close(figure)
    return file.getvalue().decode("utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Draw some or all of the figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of figures; all where none is given")
    names = parser.parse_args(arguments).names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no figures/draw/{unknown[0]}.py; there are {', '.join(NAMES)}")
    for name in names:
        (FIGURES / f"{name}.svg").write_text(svg(name), encoding="utf-8", newline="\n")
        print(f"figures/{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
