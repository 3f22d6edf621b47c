"""What a plot shows is what it was given, and drawing it again gives the same bytes."""

import io
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigpt.config import TrainConfig
from minigpt.course import plots
from minigpt.course.lesson import SVG_METADATA, nearest, use_stable_svg

Lines = dict[str, tuple[Sequence[float], Sequence[float]]]
LOSSES = {"uniform": math.log(1024), "bigram": 2.34567, "GPT": 0.8123}
SCHEDULE = TrainConfig(max_steps=50, warmup_steps=10, min_learning_rate=0.1)


def records(count: int, rate: float) -> list[dict[str, Any]]:
    """A made-up run: the loss falls with a saw on top, and every tenth step is measured."""
    run: list[dict[str, Any]] = [
        {"step": step, "seconds": 0.5 * step, "loss": 6 * math.exp(-rate * step) + step % 3}
        for step in range(1, count + 1)
    ]
    for record in run[9::10]:
        record |= {"val_loss": record["loss"] + 0.1, "grammatical": record["step"] / count, "consistent": 0.25}
    return run


def bars(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]


def numbers(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def points(values: Any) -> list[Any]:
    as_list: list[Any] = np.asarray(values).tolist()
    return as_list


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """The points of each line by its name in the legend; lines without a name are called _child0 and so on."""
    return {str(line.get_label()): (points(line.get_xdata()), points(line.get_ydata())) for line in axes.lines}


def test_a_bar_of_the_ladder_is_as_long_as_the_loss() -> None:
    axes = plots.loss_ladder(LOSSES, 0.8).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["uniform", "bigram", "GPT", "entropy floor"]
    assert bars(axes) == [6.931, 2.346, 0.812, 0.8]
    assert numbers(axes) == ["6.931", "2.346", "0.812", "0.800"]
    assert points(axes.lines[0].get_xdata()) == [0.8, 0.8]
    assert axes.yaxis_inverted(), "the first stands on top"


def test_the_ladder_s_upper_axis_gives_the_perplexity_of_the_loss_below() -> None:
    figure = plots.loss_ladder(LOSSES, 0.8)
    figure.draw_without_rendering()
    axis = figure.axes[0].child_axes[0].xaxis
    marks = {label.get_text(): place for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)}
    assert {"1", "2", "1,000"} <= set(marks)
    assert all(math.isclose(math.exp(place), float(mark.replace(",", ""))) for mark, place in marks.items())
    assert figure.axes[0].child_axes[0].get_xlim() == figure.axes[0].get_xlim()


@pytest.mark.parametrize("x", ["step", "seconds"])
def test_training_curves_show_every_record(x: Any) -> None:
    runs = {"AdamW": records(40, 0.1), "Muon": records(30, 0.2)}
    losses, shares = plots.training_curves(runs, floor=0.62, x=x).axes
    for number, (name, run) in enumerate(runs.items()):
        at, loss = [record[x] for record in run], [nearest(record["loss"], 3) for record in run]
        measured = run[9::10]
        assert lines(losses)[f"_child{3 * number}"] == (at, loss)
        assert lines(losses)[name] == (at, pytest.approx(loss)), "a mean over a fiftieth of 40 steps is over one"
        where = [record[x] for record in measured]
        assert lines(losses)[f"{name}, validation"] == (where, [nearest(record["val_loss"], 3) for record in measured])
        graded = [nearest(record["grammatical"], 3) for record in measured]
        assert lines(shares)[f"{name}, grammatical"] == (where, graded)
        assert lines(shares)[f"{name}, consistent"] == (where, [0.25] * len(where))
    assert lines(losses)["entropy floor 0.620"][1] == [0.62, 0.62]
    assert shares.get_xlabel() == x


def test_a_smoothed_loss_is_the_mean_around_its_step() -> None:
    run = records(200, 0.01)
    at, smooth = lines(plots.training_curves({"run": run}).axes[0])["run"]
    loss = {record["step"]: record["loss"] for record in run}
    assert at == list(range(2, 199))  # 200 / 50 = 4 steps: the one before, the step itself, and two after
    assert smooth == pytest.approx([np.mean([loss[step + k] for k in (-1, 0, 1, 2)]) for step in at], abs=0.0006)


def test_a_run_without_graded_samples_has_one_panel() -> None:
    run = [{"step": step, "loss": 1.0} for step in range(5)]
    (losses,) = plots.training_curves({"run": run}).axes
    assert set(lines(losses)) == {"_child0", "run"}
    assert losses.get_xlabel() == "step"


def test_graded_samples_may_stand_in_records_of_their_own() -> None:
    run = [{"step": step, "loss": 7.0 - step} for step in (1, 2, 3)]
    graded = {"step": 2, "grammatical": 0.9, "consistent": 0.5}
    losses, shares = plots.training_curves({"run": [*run, graded]}).axes
    assert lines(losses)["_child0"] == ([1, 2, 3], [6, 5, 4])
    assert lines(shares) == {"run, grammatical": ([2], [0.9]), "run, consistent": ([2], [0.5])}


def test_more_runs_than_colours_are_all_drawn() -> None:
    (losses,) = plots.training_curves({f"run {i}": [{"step": 1, "loss": 1.0}] for i in range(6)}).axes
    assert {f"run {i}" for i in range(6)} <= set(lines(losses))


def test_runs_differ_by_more_than_colour() -> None:
    losses, shares = plots.training_curves({"a": records(20, 0.1), "b": records(20, 0.2)}).axes
    styles = {line.get_label(): line.get_linestyle() for line in losses.lines}
    assert styles["a"] != styles["b"]
    marks = {line.get_label(): line.get_marker() for line in shares.lines}
    assert marks["a, grammatical"] != marks["a, consistent"]


def test_the_schedule_rises_to_one_and_falls_to_its_end() -> None:
    axes = plots.learning_rate_schedule(SCHEDULE).axes[0]
    ((steps, rates),) = lines(axes).values()
    assert steps == list(range(50))
    assert rates[:10] == [(step + 1) / 10 for step in range(10)]
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * (step - 10) / 40)) / 2 for step in range(10, 50)]
    assert rates[10:] == pytest.approx(cosine, abs=0.0006)
    assert bars(axes) == [10], "the shaded part is the warm-up"


def test_a_bar_of_the_next_tokens_is_as_long_as_the_probability() -> None:
    axes = plots.next_token_bars([" Pip", "\n", " Pip"], [0.61234, 0.3, 0.00049], "after «once»").axes[0]
    assert bars(axes) == [0.612, 0.3, 0.0]
    assert numbers(axes) == ["61.2%", "30.0%", "0.0%"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["␣Pip", "↵", "␣Pip"]
    assert axes.get_title() == "after «once»"
    assert axes.yaxis_inverted(), "the first stands on top"


def test_a_field_of_the_heat_map_holds_its_number() -> None:
    axes = plots.heatmap([" the", "fox"], ["a", "b\n"], [[-1e-9, 2], [1 / 3, 1]], "word", "next word").axes[0]
    assert points(axes.collections[0].get_array()) == [[0, 2], [0.33, 1]]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0.5, 0.5): "0", (1.5, 0.5): "2", (0.5, 1.5): "0.33", (1.5, 1.5): "1"
    }  # fmt: skip
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b↵"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["␣the", "fox"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("next word", "word")
    assert axes.yaxis_inverted(), "rows are read from the top"


def test_what_a_heat_map_does_not_know_is_grey() -> None:
    axes = plots.heatmap(["a"], ["b", "c"], [[0.5, float("nan")]]).axes[0]
    assert np.ma.getmaskarray(np.ma.asarray(axes.collections[0].get_array())).tolist() == [[False, True]]
    assert [text.get_text() for text in axes.texts] == ["0.5"]
    assert axes.get_facecolor() != plots.heatmap(["a"], ["b"], [[0.5]]).axes[0].get_facecolor()


def test_a_large_heat_map_has_no_numbers() -> None:
    names = [f"w{i}" for i in range(40)]
    figure = plots.heatmap(names, names, np.eye(40).tolist(), numbers=False)
    assert not figure.axes[0].texts and max(figure.get_size_inches()) < 12


def test_curves_hold_the_points_they_were_given() -> None:
    axes = plots.curves({"a": ([1, 10], [2, 3]), "b": ([1, 10], [4, 1])}, "size", "time", log="x").axes[0]
    drawn = {str(line.get_label()): (points(line.get_xdata()), points(line.get_ydata())) for line in axes.lines}
    assert drawn == {"a": ([1, 10], [2, 3]), "b": ([1, 10], [4, 1])}
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines}) == 2


def test_a_roof_rises_with_the_bandwidth_up_to_the_peak() -> None:
    axes = plots.roofline(
        {"fast": (100.0, 10.0), "slow": (40.0, 10.0)}, {"copy": (0.5, 5.0), "product": (40, 80)}
    ).axes[0]
    drawn = lines(axes)
    assert drawn["roof, fast"] == ([0.25, 10, 160], [2.5, 100, 100]), "a slope of 10 up to 100 / 10 FLOPs per byte"
    assert drawn["roof, slow"] == ([0.25, 4, 160], [2.5, 40, 40])
    assert drawn["copy"] == ([0.5], [5]) and drawn["product"] == ([40], [80])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert len({(line.get_marker(), line.get_linestyle()) for line in axes.lines}) == 4, "told apart without colour"


def every_plot(*noise: float) -> dict[str, Figure]:
    """All functions once; with noise, its numbers are the relative errors of what they are given, over and over.

    The numbers are simple fractions as lessons have them, many of which lie on the border between two decimals.
    """
    errors = cycle(noise or [0.0])

    def off(number: float) -> float:
        return number * (1 + next(errors))

    runs = {
        name: [{k: v if k in ("step", "seconds") else off(v) for k, v in record.items()} for record in run]
        for name, run in {"a": [*records(40, 0.1), {"step": 41, "loss": 0.0625}], "b": records(30, 0.2)}.items()
    }
    squares: Lines = {
        "a": ([1, 2, 3], [off(n * n) for n in (1, 2, 3)]),
        "b": ([1, 2, 3], [off(1 / 16), off(4), off(1 / 3)]),
    }
    unit: Lines = {"a": ([off(n / 16) for n in range(17)], [off(n / 16) for n in range(17)])}
    return {
        "loss_ladder": plots.loss_ladder({name: off(loss) for name, loss in LOSSES.items()}, off(0.8125)),
        "training_curves": plots.training_curves(runs, floor=off(0.0625)),
        "learning_rate_schedule": plots.learning_rate_schedule(SCHEDULE),
        "next_token_bars": plots.next_token_bars([" a", " b"], [off(0.8125), off(0.0625)], "next"),
        "token_boxes": plots.token_boxes(["the", " fox"], [False, True]),
        "heatmap": plots.heatmap(["the", "fox"], ["the", "fox"], [[0, off(2)], [off(1 / 8), off(1 / 3)]]),
        "curves": plots.curves(squares, "x", "y", log="y"),
        "curves of length 1": plots.curves(unit, "x", "y"),
        "roofline": plots.roofline(
            {"roof": (off(1e12), off(1e11))}, {"a": (off(1), off(5e10)), "b": (off(100), off(9e11))}
        ),
    }


def svg(figure: Figure) -> str:
    with rc_context():
        use_stable_svg()
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=SVG_METADATA)
    return file.getvalue()


DRAWN = {name: svg(figure) for name, figure in every_plot().items()}


def test_drawing_again_gives_the_same_svg_without_date_text_or_bitmap() -> None:
    for name, figure in every_plot().items():
        drawing = svg(figure)
        assert drawing == DRAWN[name]
        assert "<dc:date>" not in drawing and "<text" not in drawing and "<image" not in drawing


@pytest.mark.parametrize("seed", range(3))
def test_another_processor_s_rounding_draws_the_same_svg(seed: int) -> None:
    """Relative errors as in tests/portable, also where a number is the half that decides between two decimals."""
    noise = np.random.default_rng(seed).normal(scale=1e-6, size=101).tolist()
    assert {name: svg(figure) for name, figure in every_plot(*noise).items()} == DRAWN


def test_what_the_eye_sees_changes_the_svg() -> None:
    changed = {name: svg(figure) for name, figure in every_plot(0.03, -0.03).items()}
    assert [name for name in DRAWN if DRAWN[name] == changed[name]] == ["learning_rate_schedule", "token_boxes"], (
        "of settings or of tokens alone"
    )


def test_every_plot_has_a_white_page_whatever_the_theme() -> None:
    with rc_context({"figure.facecolor": "black", "axes.facecolor": "black", "text.color": "white"}):
        for name, figure in every_plot().items():
            assert to_hex(figure.get_facecolor()) == "#ffffff", name
            assert all(to_hex(axes.get_facecolor()) == "#ffffff" for axes in figure.axes), name


def test_every_function_of_the_module_is_drawn_here() -> None:
    public = [name for name, value in vars(plots).items() if getattr(value, "__module__", "") == plots.__name__]
    assert [name for name in public if not name.startswith("_")] == [name for name in DRAWN if " " not in name]


def test_boxes_show_each_token_once_and_underline_the_marked() -> None:
    tokens, marked = ["<|user|>", "Hi", "\n", " Mia", "<|end|>"] * 4, [False, False, False, True, True] * 4
    axes = plots.token_boxes(tokens, marked, columns=40).axes[0]
    assert numbers(axes) == ["<|user|>", "Hi", "↵", "␣Mia", "<|end|>"] * 4
    boxes = [box for box in axes.patches if isinstance(box, Rectangle)]
    coloured = [to_hex(box.get_facecolor()) == plots.ORANGE for box in boxes]
    assert coloured == marked and len(axes.lines) == sum(marked)
    for one, other in zip(boxes, boxes[1:], strict=False):
        assert other.get_y() > one.get_y() or other.get_x() >= one.get_x() + one.get_width(), "none overlaps"
    assert len({box.get_y() for box in boxes}) > 1 and max(box.get_x() + box.get_width() for box in boxes) < 48
