"""Draws the scores of a search against the order s."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import Locator

from keras_fracinit.plots.style import _OURS, THEIRS, Figure, _add_legend
from keras_fracinit.utils.validation import check_choice

_STATUSES = ("completed", "diverged", "collapsed", "failed")


# The columns of a table of results that are not hyperparameters.
_OUTCOMES = ("score", "status", "slope_initial", "slope_final", "spread_initial", "spread_final")


_RESULTS = ("trial", "execution", "seed", *_OUTCOMES)


class Search(NamedTuple):
    """The executions of a search, as frames with the columns trial, order, score, status."""

    score: str  # the name of the objective
    rising: bool  # whether a higher score is a worse one
    completed: pd.DataFrame
    medians: pd.DataFrame  # over the completed executions of each trial; nan if there are none
    reference: pd.DataFrame  # the completed executions of the reference
    lost: pd.DataFrame  # the executions that did not complete, with their legend


def search_of(results: Any, order: Any) -> Search:
    """Sorts the executions in a table of results; the arguments are those of `score_by_order`."""
    rows, attrs = _check_results(results, order), results.attrs
    done, theirs = rows["status"] == "completed", rows["trial"] == "reference"
    # A file has no direction, but penalties are worse than scores.
    guess = "min" if rows["score"][~done].median() > rows["score"][done].median() else "max"
    rising = attrs.get("direction", guess) == "min"
    rows["score"] = rows["score"].where(done)
    trials = rows[~theirs].groupby("trial", sort=False)
    medians = trials.agg({"order": "first", "score": "median"})
    # Assigned before the selection: a column assigned to an empty frame would add its rows.
    legend = rows["status"].mask(theirs, "reference, " + rows["status"])
    lost = rows.assign(legend=legend)[~done]
    completed, reference = rows[done & ~theirs], rows[done & theirs]
    score = str(attrs.get("objective", "score"))
    return Search(score, rising, completed, medians, reference, lost)


def _check_results(results: Any, order: Any) -> pd.DataFrame:
    """Checks a table of results, and keeps the rows that have an order and an outcome."""
    if not isinstance(results, pd.DataFrame):
        raise TypeError(f"`results` must be a DataFrame. Received: results={type(results)}")
    columns = list(results.columns)
    if lacking := [name for name in ("trial", "score", "status") if name not in columns]:
        rule = f"`results` must have the columns trial, score and status, and lacks {lacking}"
        raise ValueError(f"{rule}. Received: results.columns={columns}")
    # The column of a hyperparameter that no trial has is all None, which is no dtype of numbers.
    numbers = {*results.select_dtypes("number"), *results.columns[results.isna().all()]}
    check_choice("order", order, [n for n in columns if n in numbers and n not in _RESULTS])
    value, score = (results[name].to_numpy(float, na_value=np.nan) for name in (order, "score"))
    trial, status = (results[name].astype(str).to_numpy(object) for name in ("trial", "status"))
    status[(status == "completed") & ~np.isfinite(score)] = "diverged"
    rows = pd.DataFrame({"trial": trial, "order": value, "score": score, "status": status})
    rows = rows[rows["order"].notna()]
    if rows.empty:
        rule = f"`results` must have a row where {order!r} is a number"
        raise ValueError(f"{rule}. Received: {len(results)=}")
    if not (rows["status"] == "completed").any():
        rule = "`results` must have a completed execution"
        raise ValueError(f"{rule}. Received: status={rows['status'].value_counts().to_dict()}")
    return rows[rows["status"].isin(_STATUSES)]


_CROSSES = {"diverged": "x", "collapsed": "+", "failed": "1"}


# The distance between crosses, and the largest height of all, as shares of the axes' height.
_CROSS, _STRIP = 0.04, 0.25


def draw_search(axes: Axes, search: Search, order: str) -> None:
    """Draws the points, medians, reference and lost executions of a search, with their legend."""
    keys: dict[str, Any] = {}
    points: dict[str, Any] = {"linestyle": "none", "alpha": 0.4, "markeredgewidth": 0.0}
    if len(search.completed):
        x, y = search.completed["order"], search.completed["score"]
        (keys["completed execution"],) = axes.plot(x, y, marker="o", color=_OURS, **points)
        # Trials of equal order share a vertex; nan (a trial without a score) breaks the line.
        middle = search.medians.groupby("order")["score"].median()
        (line,) = axes.plot(middle.index, middle, color=_OURS, linewidth=1.2)
        x, y = search.medians["order"], search.medians["score"]
        (dot,) = axes.plot(x, y, "o", color=_OURS, markersize=5.0, markeredgecolor="white")
        keys["their median in each trial"] = (line, dot)
    if len(search.reference):
        x, y = search.reference["order"], search.reference["score"]
        line = axes.axhline(y.median(), color=THEIRS, linestyle="--")
        (dot,) = axes.plot(x, y, marker="D", color=THEIRS, **points)
        value = x.iloc[0]
        he = " (He)" if value == 2.0 else ""
        keys[f"reference: {order} = {value:g}{he}"] = (line, dot)
    if len(search.lost):
        keys |= _draw_lost(axes, search)
    _add_legend(axes, list(keys.values()), list(keys))


class _Beside(Locator):
    """Filters the ticks of another locator: it drops those in the strip, which has no scale."""

    def __init__(self, inner: Any, axes: Axes, low: float, high: float) -> None:
        self.inner, self.axes, self.low, self.high = inner, axes, low, high

    def __call__(self) -> Any:
        ticks = np.asarray(self.inner())
        across = np.full(len(ticks), self.axes.get_xlim()[0])
        to_axes = self.axes.transData + self.axes.transAxes.inverted()
        height = to_axes.transform(np.column_stack([across, ticks]))[:, 1]
        return ticks[(height >= self.low) & (height <= self.high)]

    def nonsingular(self, v0: float, v1: float) -> Any:
        return self.inner.nonsingular(v0, v1)


def _draw_lost(axes: Axes, search: Search) -> dict[str, Any]:
    """Draws crosses in a strip at the worse edge, stacked where orders are equal."""
    rank = search.lost.groupby("order").cumcount() + 1
    step = min(_CROSS, _STRIP / rank.max())
    strip = step * (rank.max() + 1)
    # `get_ylim` applies a pending autoscale, which transforms ignore.
    if axes.get_ylim() and axes.get_autoscaley_on():
        beyond, to_data = strip / (1.0 - strip), axes.transAxes + axes.transData.inverted()
        edge = to_data.transform((0.0, 1.0 + beyond if search.rising else -beyond))[1]
        axes.set_ylim(**{"top" if search.rising else "bottom": edge}, auto=None)
        ends = (0.0, 1.0 - strip) if search.rising else (strip, 1.0)
        axes.yaxis.set_major_locator(_Beside(axes.yaxis.get_major_locator(), axes, *ends))
    height, corner = step * rank, (0.0, 0.0)
    if search.rising:
        height, corner = 1.0 - height, (0.0, 1.0 - strip)
    axes.add_patch(Rectangle(corner, 1.0, strip, transform=axes.transAxes, color="0.94", zorder=0))
    style: dict[str, Any] = {"linestyle": "none", "transform": axes.get_xaxis_transform()}
    keys = {}
    for legend, rows in search.lost.groupby("legend"):
        style["color"] = THEIRS if legend.startswith("reference") else "0.25"
        style["marker"] = _CROSSES[rows["status"].iloc[0]]
        (key,) = axes.plot(rows["order"], height[rows.index], scaley=False, **style)
        keys[f"{legend} ({len(rows)})"] = key
    return keys


def score_by_order(results: pd.DataFrame, order: str = "s", ax: Axes | None = None) -> Axes:
    """Draws the score of a search against the order s of its initializers, with the reference.

    Points are completed executions, and diamonds are completed executions of the reference, whose
    median is the dashed line. The solid line joins the medians of the trials in order of s; trials
    of equal s share one vertex, the median of their medians.

    The score of an execution that diverged or collapsed is a penalty, not a measurement. Such an
    execution is a cross in the grey strip at the worse edge, which has no scale, and so is a failed
    one; the counts are in the legend. Medians are over the completed executions alone, so a median
    beside crosses looks better than its trial was. Where no execution completed, the line is
    broken.

    Args:
        results: The frame that `tuner.results` returns, or the one that `pandas.read_csv` makes of
            its file. Rows without an order (inactive, in a conditional search) and trials still
            running are left out. If `results.attrs` (which a file loses) has no "direction", less
            is better if the penalties are above the scores, and otherwise more.
        order: The hyperparameter on the horizontal axis, a column of numbers. Defaults to "s".
        ax: The axes to draw on, and to return. Defaults to new ones in a figure of their own.

    Returns:
        The axes.

    Raises:
        TypeError: If `results` is no DataFrame.
        ValueError: If it lacks a column, or has no completed execution with an order.

    Example:

    >>> rows = [("0", 0.8, 0.91, "completed"), ("reference", 2.0, 0.87, "completed")]
    >>> ax = score_by_order(pd.DataFrame(rows, columns=["trial", "s", "score", "status"]))
    >>> ax.get_legend().get_texts()[-1].get_text()
    'reference: s = 2 (He)'
    """
    search = search_of(results, order)
    axes = ax or Figure(figsize=(7.0, 4.5), layout="constrained").subplots()
    draw_search(axes, search, order)
    axes.set(xlabel=order, ylabel=search.score)
    return axes
