"""The picture of a search, by what is in it: where its marks stand, and what is refused."""

import io
import itertools
import math
import pickle
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pictures import NAN, drawn, legend

from keras_fracinit.plots import score_by_order

GREY, OURS, THEIRS = "0.25", "#0072B2", "#D55E00"
DONE, MEDIAN = "completed execution", "their median in each trial"
# Trial, s, score, status: of two trials, one diverged in part, and of the reference.
ROWS = [
    ("0", 1.5, 0.7, "completed"),
    ("0", 1.5, 0.9, "completed"),
    ("0", 1.5, 0.74, "completed"),
    ("1", 0.5, 0.6, "completed"),
    ("1", 0.5, 0.1, "diverged"),
    ("reference", 2.0, 0.65, "completed"),
    ("reference", 2.0, 0.69, "completed"),
    ("reference", 2.0, 0.68, "completed"),
]


def results(rows=ROWS, objective="val_accuracy", direction="max"):
    """As `tuner.results` has it, as far as a picture looks."""
    frame = pd.DataFrame(rows, columns=["trial", "s", "score", "status"])
    frame.insert(1, "execution", frame.groupby("trial").cumcount().astype("Int64"))
    frame.insert(2, "learning_rate", np.linspace(0.01, 0.1, len(frame)))
    frame["seed"], frame["slope_initial"] = 7, -0.01
    frame.attrs.update(objective=objective, direction=direction)
    return frame


def worse(rows, by):
    return [(trial, s, score + by, status) for trial, s, score, status in rows]


def marks(ax):
    """The points of every kind by marker and colour, in data coordinates or heights of the axes."""
    found = {}
    for line in ax.lines:
        if line.get_marker() not in ("None", None):
            key = (line.get_marker(), line.get_color())
            points = [tuple(map(float, point)) for point in zip(*line.get_data(), strict=True)]
            found[key] = found.get(key, []) + points
    return found


def joined(ax):
    """The vertices of the solid line."""
    (line,) = (line for line in ax.lines if line.get_linestyle() == "-")
    assert same_color(line.get_color(), OURS)
    return [tuple(map(float, point)) for point in zip(*line.get_data(), strict=True)]


def level(ax):
    """Of the dashed line."""
    (line,) = (line for line in ax.lines if line.get_linestyle() == "--")
    assert same_color(line.get_color(), THEIRS)
    assert list(line.get_xdata()) == [0, 1]  # from edge to edge
    (height,) = {*line.get_ydata()}
    return height


def strip(ax):
    """From where to where it reaches, in heights of the axes."""
    (patch,) = (patch for patch in ax.patches if isinstance(patch, Rectangle))
    corners = ax.transAxes.inverted().transform_bbox(patch.get_window_extent())
    assert corners.intervalx == pytest.approx((0.0, 1.0))
    return corners.y0, corners.y1


def height(ax, y):
    return ax.transAxes.inverted().transform(ax.transData.transform((1.0, y)))[1]


def ticks(ax):
    """The labels that are drawn on the axis of the scores, as numbers."""
    low, high = sorted(ax.get_ylim())
    texts = [t.get_text() for t in ax.get_yticklabels() if low <= t.get_position()[1] <= high]
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts if text]


def test_every_execution_and_median_stands_where_it_belongs():
    ax = score_by_order(results())
    found = marks(ax)
    points, medians = [(1.5, 0.7), (1.5, 0.9), (1.5, 0.74), (0.5, 0.6)], [(1.5, 0.74), (0.5, 0.6)]
    assert found["o", OURS] == points + medians
    # Told apart by a rim.
    circles = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_markeredgecolor() == "white" for line in circles] == [False, True]
    assert joined(ax) == [(0.5, 0.6), (1.5, 0.74)]  # in order of s, not of trials
    assert found["D", THEIRS] == [(2.0, 0.65), (2.0, 0.69), (2.0, 0.68)]
    assert level(ax) == 0.68
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("s", "val_accuracy")
    assert legend(ax) == [DONE, MEDIAN, "reference: s = 2 (He)", "diverged (1)"]


def test_trials_that_share_an_order_share_a_vertex():
    rows = [
        *[("0", 1.0, score, "completed") for score in (0.1, 0.2, 0.9)],
        ("1", 1.0, 0.4, "completed"),
        ("2", 1.0, 0.7, "completed"),
        ("3", 0.0, 0.5, "completed"),
    ]
    ax = score_by_order(results(rows))
    assert joined(ax) == [(0.0, 0.5), (1.0, 0.4)]  # of 0.2, 0.4 and 0.7
    medians = [line for line in ax.lines if line.get_markeredgecolor() == "white"]
    assert sorted(medians[0].get_ydata()) == [0.2, 0.4, 0.5, 0.7]


def test_the_line_is_broken_where_nothing_has_completed():
    rows = [
        ("0", 0.0, 0.8, "completed"),
        ("1", 1.0, 0.0, "diverged"),
        ("2", 2.0, 0.6, "completed"),
        ("3", 2.0, 0.0, "failed"),  # beside a trial that has completed
    ]
    np.testing.assert_array_equal(
        joined(score_by_order(results(rows))), [(0.0, 0.8), (1.0, NAN), (2.0, 0.6)]
    )


@pytest.mark.parametrize("direction", ["min", "max"])
def test_what_has_no_score_is_a_cross_at_the_worse_edge(direction):
    lost = [
        ("1", 0.5, 9.0, "diverged"),
        ("1", 0.5, NAN, "failed"),
        ("2", 0.5, 9.0, "diverged"),
        ("3", 0.25, 9.0, "collapsed"),
        ("reference", 2.0, 9.0, "diverged"),
    ]
    done = [row for row in ROWS if row[3] == "completed"]
    ax = score_by_order(results([*done, *lost], direction=direction))
    names = ["collapsed (1)", "diverged (2)", "failed (1)", "reference, diverged (1)"]
    assert legend(ax) == [DONE, MEDIAN, "reference: s = 2 (He)", *names]
    found = marks(ax)
    low, high = strip(ax)
    assert high - low == pytest.approx(0.16)  # of three crosses, one above the other
    assert (high if direction == "min" else 1.0 - low) == pytest.approx(1.0)

    def place(x, rank):
        return x, pytest.approx(1.0 - 0.04 * rank if direction == "min" else 0.04 * rank)

    assert found["x", GREY] == [place(0.5, 1), place(0.5, 3)]
    assert found["1", GREY] == [place(0.5, 2)]
    assert found["+", GREY] == [place(0.25, 1)]
    assert found["x", THEIRS] == [place(2.0, 1)]
    # The heights are of the axes, whatever the scale, and the scale knows nothing of penalties.
    crosses = [line for line in ax.lines if line.get_marker() in ("x", "+", "1")]
    for line in crosses:
        across = ax.transAxes.inverted().transform(
            line.get_transform().transform(np.column_stack(line.get_data()))
        )
        np.testing.assert_allclose(across[:, 1], line.get_ydata(), rtol=1e-9)
        assert np.all((across[:, 1] > low) & (across[:, 1] < high))
    assert all(0.5 < limit < 1.0 for limit in ax.get_ylim())


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_strip_hides_no_score_and_has_no_scale(direction):
    ax = score_by_order(results(direction=direction))
    drawn(ax.figure)
    low, high = strip(ax)
    scores = [row[2] for row in ROWS if row[3] == "completed"]
    places = [height(ax, score) for score in scores]
    # A margin as matplotlib leaves it, between the scores and the strip or the edge.
    room = 0.05 / 1.1 * (1.0 - (high - low))
    assert min(places) == pytest.approx((high if direction == "max" else 0.0) + room)
    assert max(places) == pytest.approx((low if direction == "min" else 1.0) - room)
    shown = [height(ax, tick) for tick in ticks(ax)]
    assert len(shown) > 2
    assert all(tick <= low + 1e-9 or tick >= high - 1e-9 for tick in shown)


def test_many_crosses_take_a_quarter_at_most():
    rows = [("0", 1.0, 0.5, "completed"), *[("1", 1.0, 0.0, "diverged")] * 60]
    ax = score_by_order(results(rows))
    low, high = strip(ax)
    assert low == 0.0
    assert 0.25 < high < 0.26
    heights = [y for _, y in marks(ax)["x", GREY]]
    np.testing.assert_allclose(heights, 0.25 * np.arange(1, 61) / 60, rtol=1e-12)
    assert height(ax, 0.5) > high
    assert "diverged (60)" in legend(ax)


def test_a_completed_score_that_is_no_number_counts_as_diverged():
    rows = [
        ("0", 1.0, 0.5, "completed"),
        ("1", 0.5, math.inf, "completed"),
        ("2", 0.7, NAN, "completed"),
    ]
    ax = score_by_order(results(rows))
    assert "diverged (2)" in legend(ax)
    assert [x for x, _ in marks(ax)["x", GREY]] == [0.5, 0.7]


@pytest.mark.parametrize("penalty", [0.2, 1.2])
def test_a_file_tells_the_direction_by_its_penalties(penalty):
    done = [row for row in ROWS if row[3] == "completed"]
    rows = [*done, ("2", 0.4, penalty, "diverged"), ("3", 0.3, NAN, "failed")]
    read = pd.read_csv(io.StringIO(results(rows, direction="wrong").to_csv(index=False)))
    assert not read.attrs
    ax = score_by_order(read)
    assert ax.get_ylabel() == "score"
    low, high = strip(ax)
    assert (low > 0.5) == (penalty == 1.2)
    assert (high < 0.5) == (penalty == 0.2)
    # And otherwise a file is as good as a frame.
    whole = score_by_order(results(rows, direction="min" if penalty == 1.2 else "max"))
    np.testing.assert_equal(marks(ax), marks(whole))
    np.testing.assert_equal(joined(ax), joined(whole))
    assert legend(ax) == legend(whole)
    assert ax.get_ylim() == whole.get_ylim()


def test_attributes_count_more_than_penalties():
    ax = score_by_order(results(direction="min"))  # where the penalty is below
    assert strip(ax)[1] == pytest.approx(1.0)


def test_a_file_without_a_reference_has_numbers_for_trials():
    rows = [row for row in ROWS if row[0] != "reference"]
    read = pd.read_csv(io.StringIO(results(rows).to_csv(index=False)))
    assert read["trial"].dtype.kind == "i"
    ax = score_by_order(read)
    assert joined(ax) == [(0.5, 0.6), (1.5, 0.74)]
    assert legend(ax) == [DONE, MEDIAN, "diverged (1)"]


def test_rows_without_an_order_or_an_outcome_are_left_out():
    rows = [
        *ROWS,
        ("2", NAN, 99.0, "completed"),
        ("3", NAN, 99.0, "diverged"),
        ("4", 1.0, NAN, "running"),
    ]
    ax, bare = score_by_order(results(rows)), score_by_order(results())
    np.testing.assert_equal(marks(ax), marks(bare))
    assert joined(ax) == joined(bare)
    assert ax.get_ylim() == bare.get_ylim()
    assert legend(ax) == legend(bare)


def test_another_hyperparameter_may_be_the_order():
    frame = results().rename(columns={"s": "s_early"})
    ax = score_by_order(frame, "s_early")
    assert ax.get_xlabel() == "s_early"
    assert "reference: s_early = 2 (He)" in legend(ax)
    ax = score_by_order(results(), order="learning_rate")
    rates = results()["learning_rate"].to_list()
    assert [x for x, _ in marks(ax)["D", THEIRS]] == rates[5:]
    assert legend(ax)[2] == f"reference: learning_rate = {rates[5]:g}"  # which is not He


def test_nothing_but_the_reference():
    ax = score_by_order(results(ROWS[5:]))
    assert level(ax) == 0.68
    assert list(marks(ax)) == [("D", THEIRS)]
    assert legend(ax) == ["reference: s = 2 (He)"]
    assert not ax.patches
    drawn(ax.figure)


def test_a_single_trial():
    ax = score_by_order(results(ROWS[3:4], direction="min"))
    assert legend(ax) == [DONE, MEDIAN]
    assert joined(ax) == [(0.5, 0.6)]
    low, high = ax.get_ylim()
    assert low < 0.6 < high
    drawn(ax.figure)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_given_axes_are_used_and_returned(direction):
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    assert score_by_order(results(direction=direction), ax=right) is right
    assert figure.axes == [left, right]
    assert not left.lines
    inner = Figure(layout="constrained").subfigures(1, 2)[1].subplots()
    assert score_by_order(results(), ax=inner).figure is inner.figure


def test_given_limits_and_scales_are_kept():
    ax = Figure().subplots()
    ax.set_ylim(0.0, 1.0)
    score_by_order(results(), ax=ax)
    assert ax.get_ylim() == (0.0, 1.0)
    assert 0.0 in ticks(ax)  # which is the user's own
    ax = Figure().subplots()
    ax.set_yscale("log")
    rows = [(trial, s, 10.0 ** (10.0 * score), status) for trial, s, score, status in ROWS]
    score_by_order(results(rows), ax=ax)
    drawn(ax.figure)
    assert strip(ax)[1] < height(ax, 1e6) < height(ax, 1e9) < 1.0
    assert ax.get_yscale() == "log"
    assert all(tick > 0.0 for tick in ax.get_yticks())
    assert all(height(ax, tick) >= strip(ax)[1] for tick in ax.get_yticks())


def test_two_searches_on_the_same_axes():
    ax = score_by_order(results())
    score_by_order(results(worse(ROWS, 5.0)), ax=ax)
    drawn(ax.figure)
    shown = ticks(ax)
    assert min(shown) <= 1.0  # both ranges have their labels
    assert max(shown) > 5.0


def test_nothing_overlaps():
    lost = [("9", 0.1, 0.0, status) for status in ("diverged", "collapsed", "failed") * 4]
    ax = score_by_order(results([*ROWS, *lost, ("reference", 2.0, 0.0, "failed")]))
    renderer = drawn(ax.figure)
    parts = [ax, ax.get_legend(), ax.xaxis.label, ax.yaxis.label]
    boxes = [part.get_window_extent(renderer) for part in parts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    inside = ax.figure.bbox
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)


def test_nothing_global_is_touched(monkeypatch, tmp_path):
    frame = results()
    before, copied = dict(matplotlib.rcParams), frame.copy()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it is an error
    score_by_order(frame).figure.savefig(tmp_path / "search.png")
    assert dict(matplotlib.rcParams) == before
    assert not Gcf.figs
    pd.testing.assert_frame_equal(frame, copied)
    assert frame.attrs == copied.attrs


def test_the_figure_can_be_pickled():
    figure = pickle.loads(pickle.dumps(score_by_order(results()).figure))
    assert ticks(figure.axes[0])


BAD = [
    ([{"s": 1.0}], "s", TypeError, "`results` must be a DataFrame. Received: results=<class 'list"),
    (
        results().drop(columns=["score", "trial"]),
        "s",
        ValueError,
        r"lacks \['trial', 'score'\]. Received: results.columns=\['execution', 'learning_rate'",
    ),
    (results(), "q", ValueError, "must be one of 'learning_rate', 's'. Received: order='q'"),
    # Numbers, but no hyperparameters.
    (results(), "seed", ValueError, "must be one of 'learning_rate', 's'. Received: order='seed'"),
    (results(), "slope_initial", ValueError, "Received: order='slope_initial'"),
    (results().assign(s="relu"), "s", ValueError, "must be one of 'learning_rate'. Received"),
    (results().assign(s=NAN), "s", ValueError, r"a row where 's' is a number. Received: len\("),
    (results()[:0], "s", ValueError, r"a row where 's' is a number. Received: len\(results\)=0"),
    (
        results(ROWS[4:5]),
        "s",
        ValueError,
        "must have a completed execution. Received: status={'diverged': 1}",
    ),
    # Completed, but not where there is an order.
    (
        results([("0", NAN, 0.5, "completed"), ROWS[4]]),
        "s",
        ValueError,
        "must have a completed execution. Received: status={'diverged': 1}",
    ),
]


@pytest.mark.parametrize(("frame", "order", "error", "message"), BAD)
def test_what_cannot_be_drawn_is_refused(frame, order, error, message):
    ax = Figure().subplots()
    with pytest.raises(error, match=message):
        score_by_order(frame, order, ax)
    assert not ax.lines  # before anything is drawn
