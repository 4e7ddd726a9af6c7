"""Pictures of a history (heat maps of layers x steps, profiles against depth) and of a search.

A history is the frame `MomentLogger.history`, or what `pandas.read_csv` makes of its file. Of rows
that give the same number twice the last counts; rows without a layer are left out. Nothing here is
global: no pyplot, no rcParams. The figure of the axes that are returned is `ax.figure`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from keras_fracinit._tables import (
    NOT_FINITE,
    NOT_POSITIVE,
    Search,
    Table,
    band_of,
    check_steps,
    search_of,
    select,
)
from keras_fracinit._validation import check_real

_COLOURS = "viridis"
_LINE, _DIGIT = 12.0, 5.5  # points that a small tick label takes, down and across
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": "small"}
# What has no colour is hatched, for no grey differs from every colour to every eye.
_HATCHED: dict[str, tuple[str, dict[str, Any]]] = {
    NOT_POSITIVE: ("white", {"hatch": "....", "edgecolor": "0.2", "linewidth": 0.0}),
    NOT_FINITE: ("0.82", {"hatch": "////", "edgecolor": "0.4", "linewidth": 0.0}),
}

_OURS, _THEIRS = "#0072B2", "#D55E00"  # blue and vermilion, of Okabe and Ito
_CROSSES = {"diverged": "x", "collapsed": "+", "failed": "1"}
_CROSS, _STRIP = 0.04, 0.25  # from cross to cross, and all of them at most, in heights of the axes


def _norm(tables: Iterable[Table], limits: Any = None) -> Normalize | None:
    """From `limits`, or from all that can be drawn; None if nothing can."""
    log = all(table.log for table in tables)
    values = np.concatenate([table.value.compressed() for table in tables])
    kind = LogNorm if log else Normalize
    if limits is None:
        return kind(values.min(), values.max()) if values.size else None
    if not isinstance(limits, Sequence) or len(limits) != 2:
        raise TypeError(f"`limits` must be a pair of numbers. Received: {limits=}")
    low, high = (check_real("limits", limit) for limit in limits)
    if not low < high or (log and low <= 0.0):
        rule = "0 < low < high" if log else "low < high"
        raise ValueError(f"`limits` must satisfy {rule}. Received: {limits=}")
    return kind(low, high)


def _draw_map(axes: Axes, table: Table, norm: Normalize | None) -> Any:
    x, y = (np.arange(count + 1) - 0.5 for count in (len(table.steps), len(table.names)))
    mesh = axes.pcolormesh(x, y, table.value, norm=norm, cmap=_COLOURS)
    keys = []
    for kind, cells in table.lost.items():
        if cells.any():
            face, style = _HATCHED[kind]
            one = np.ma.masked_where(~cells, cells)
            axes.pcolor(x, y, one, cmap=ListedColormap([face]), antialiased=False, **style)
            keys.append(Patch(facecolor=face, label=kind, **style))
    if keys:  # below the axes, where no cell is
        place: dict[str, Any] = {"bbox_to_anchor": (1.0, 0.0), "borderaxespad": 2.0}
        axes.legend(handles=keys, loc="upper right", ncols=2, **place, **_LEGEND)
    box, inch = axes.get_window_extent(), axes.figure.dpi / 72.0
    digits = 2 + max(len(str(step)) for step in table.steps)
    # The colorbar and the labels of the layers will take a quarter of the width.
    across, down = 0.75 * box.width / (_DIGIT * digits), box.height / _LINE
    ticks, labels = _thin([str(step) for step in table.steps], across / inch)
    axes.set_xticks(ticks, labels, fontsize="small")
    ticks, labels = _thin(table.names, down / inch)
    axes.set_yticks(ticks, labels, fontsize="small", parse_math=False)
    axes.set_xlabel("step", loc="left" if keys else "center")
    axes.set_ylim(y[-1], y[0])
    return mesh


def _thin(labels: list[str], room: float) -> tuple[range, list[str]]:
    """Every n-th, n = 1, 2, 5, 10, ..., so that there is room for them."""
    strides = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    every = next(stride for stride in strides if len(labels) <= stride * max(room, 1.0))
    return range(0, len(labels), every), labels[::every]


def _log_ticks(low: float, high: float) -> Locator:
    """A narrow range would have next to none at 1, 2, 5, and a wide one too many."""
    if high < 5.0 * low:
        return MaxNLocator(6)
    return LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,))


def _add_colorbar(mesh: Any, table: Table, axes: Any) -> None:
    low, high, drawn = mesh.norm.vmin, mesh.norm.vmax, mesh.get_array().compressed()
    beyond = int((drawn < low).any()) + 2 * int((drawn > high).any())
    options = {"ticks": _log_ticks(low, high), "format": "{x:g}"} if table.log else {}
    options |= {"label": table.label, "extend": ("neither", "min", "max", "both")[beyond]}
    mesh.figure.colorbar(mesh, ax=axes, **options).minorticks_off()


def _draw_profile(axes: Axes, table: Table, steps: list[int], band: Any) -> None:
    axes.set_yscale("log" if table.log else "linear")
    depth = np.arange(1, len(table.names) + 1)
    handles: list[Any] = []
    colours = matplotlib.colormaps[_COLOURS](np.linspace(0.0, 0.8, len(steps)))
    line: dict[str, Any] = {"fmt": "o-", "markersize": 3.5, "linewidth": 1.2, "capsize": 2.0}
    columns = [table.steps.index(step) for step in steps]
    for height, (column, colour) in enumerate(zip(columns, colours, strict=True)):
        value, error = table.value[:, column].filled(np.nan), 2.0 * table.stderr[:, column]
        label = f"step {table.steps[column]}"
        handles.append(axes.errorbar(depth, value, error, color=colour, label=label, **line))
        lost = depth[np.any([cells[:, column] for cells in table.lost.values()], axis=0)]
        # Crosses along the lower edge, a row for each step.
        edge, across = np.full(lost.size, 0.02 + 0.04 * height), axes.get_xaxis_transform()
        axes.plot(lost, edge, "x", color=colour, transform=across)
    kinds = [kind for kind, cells in table.lost.items() if cells[:, columns].any()]
    if kinds:
        handles += axes.plot([], [], "x", color="0.3", label=", ".join(kinds))
    if band is not None:
        depth = np.arange(len(table.names) + 1)
        handles += axes.plot(depth, band[0], "k:", linewidth=1.5, label="theory: typical network")
        label = "theory: 95% of networks"
        handles.append(axes.fill_between(depth, *band[1:], color="0.87", zorder=0, label=label))
    if table.log:
        locator = _log_ticks(*axes.get_ylim())
        axes.yaxis.set(major_locator=locator, major_formatter="{x:g}", minor_formatter="")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("depth" if band is None else "depth (0: the input)")
    _add_legend(axes, handles, [handle.get_label() for handle in handles])


def _add_legend(axes: Axes, handles: list[Any], labels: list[str]) -> None:
    place: dict[str, Any] = {"loc": "best", **_LEGEND, "frameon": True, "edgecolor": "none"}
    if axes.figure.get_layout_engine() is not None:  # which makes room below
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "borderaxespad": 4.5}
        place |= {"ncols": 2, **_LEGEND}
    axes.legend(handles, labels, **place)


def _draw_runs(tables: dict[str, Table], profiles: list[Any], title: str) -> Figure:
    height, norm = max(map(_height, tables.values())), _norm(tables.values())
    figure = Figure(figsize=(1.0 + 5.0 * len(tables), 4.0 + height), layout="constrained")
    upper, lower = figure.subplots(2, len(tables), height_ratios=(height, 4.0))
    figure.suptitle(title)
    first = next(iter(tables.values()))
    for place, (name, table) in enumerate(tables.items()):
        mesh = _draw_map(upper[place], table, norm)
        upper[place].set_title(name, parse_math=False)
        if place:
            upper[place].tick_params(labelleft=any(t.names != first.names for t in tables.values()))
            lower[place].tick_params(labelleft=False)
            lower[place].sharey(lower[0])
        _draw_profile(lower[place], table, *profiles[place])
    lower[0].set_ylabel(first.label)
    if norm:
        _add_colorbar(mesh, first, list(upper))
    return figure


def _draw_search(axes: Axes, search: Search, order: str) -> None:
    keys: dict[str, Any] = {}
    points: dict[str, Any] = {"linestyle": "none", "alpha": 0.4, "markeredgewidth": 0.0}
    if len(search.completed):
        x, y = search.completed["order"], search.completed["score"]
        (keys["completed execution"],) = axes.plot(x, y, marker="o", color=_OURS, **points)
        # Equal orders share a vertex, and nan, of a trial without a score, breaks the line.
        middle = search.medians.groupby("order")["score"].median()
        (line,) = axes.plot(middle.index, middle, color=_OURS, linewidth=1.2)
        x, y = search.medians["order"], search.medians["score"]
        (dot,) = axes.plot(x, y, "o", color=_OURS, markersize=5.0, markeredgecolor="white")
        keys["their median in each trial"] = (line, dot)
    if len(search.reference):
        x, y = search.reference["order"], search.reference["score"]
        line = axes.axhline(y.median(), color=_THEIRS, linestyle="--")
        (dot,) = axes.plot(x, y, marker="D", color=_THEIRS, **points)
        value = x.iloc[0]
        he = " (He)" if value == 2.0 else ""
        keys[f"reference: {order} = {value:g}{he}"] = (line, dot)
    if len(search.lost):
        keys |= _draw_lost(axes, search)
    _add_legend(axes, list(keys.values()), list(keys))


def _draw_lost(axes: Axes, search: Search) -> dict[str, Any]:
    """Crosses in a strip of their own at the worse edge, stacked where the order is the same."""
    rank = search.lost.groupby("order").cumcount() + 1
    step = min(_CROSS, _STRIP / rank.max())
    strip = step * (rank.max() + 1)
    # Asking settles the limits, which a transform does not wait for.
    if axes.get_ylim() and axes.get_autoscaley_on():
        beyond, to_data = strip / (1.0 - strip), axes.transAxes + axes.transData.inverted()
        edge = to_data.transform((0.0, 1.0 + beyond if search.rising else -beyond))[1]
        axes.set_ylim(**{"top" if search.rising else "bottom": edge}, auto=None)
    height, corner = step * rank, (0.0, 0.0)
    if search.rising:
        height, corner = 1.0 - height, (0.0, 1.0 - strip)
    axes.add_patch(Rectangle(corner, 1.0, strip, transform=axes.transAxes, color="0.94", zorder=0))
    style: dict[str, Any] = {"linestyle": "none", "transform": axes.get_xaxis_transform()}
    keys = {}
    for legend, rows in search.lost.groupby("legend"):
        style["color"] = _THEIRS if legend.startswith("reference") else "0.25"
        style["marker"] = _CROSSES[rows["status"].iloc[0]]
        (key,) = axes.plot(rows["order"], height[rows.index], scaley=False, **style)
        keys[f"{legend} ({len(rows)})"] = key
    return keys


def _height(table: Table) -> float:
    """Of a heat map, in inches."""
    return min(max(1.2 + 0.2 * len(table.names), 2.8), 8.0)


def heatmap(
    history: pd.DataFrame,
    statistic: str = "s_scale",
    order: float = 1.0,
    *,
    quantity: str = "activations",
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Every layer (the first at the top) at every recorded step, logarithmic for "s_scale".

    Cells that have no colour, because they are nan, infinite or (if logarithmic) not positive, are
    hatched, with a key below; cells that were not recorded are blank.

    Args:
        history: The frame, see above.
        statistic: One of those that the frame holds for `quantity`.
        order: The order s, where the statistic has one; ignored elsewhere.
        quantity: One of those that the frame holds.
        limits: The values (low, high) at the ends of the colours. Defaults to those drawn.
        ax: The axes to draw on, and to return. Defaults to new ones in a figure of their own.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the frame does not hold what is asked for, or `limits` are out of order.

    Example:

    >>> from keras_fracinit.callbacks import COLUMNS
    >>> row = (0, 0, "net/dense", 0, "activations", "s_scale", 1.0, 0.9, 0.01)
    >>> ax = heatmap(pd.DataFrame([row], columns=COLUMNS))
    >>> ax.figure.axes[1].get_ylabel()  # of the colorbar
    's-scale (s = 1)'
    """
    table = select(history, statistic, order, quantity)
    norm = _norm([table], limits)
    axes = ax or Figure(figsize=(8.0, _height(table)), layout="constrained").subplots()
    mesh = _draw_map(axes, table, norm)
    if norm:
        _add_colorbar(mesh, table, axes)
    axes.set_title(quantity)
    return axes


def profile(
    history: pd.DataFrame,
    statistic: str = "s_scale",
    order: float = 1.0,
    *,
    quantity: str = "activations",
    steps: Sequence[int] | None = None,
    theory: Sequence[Any] | None = None,
    start: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One line against depth for each step, with two standard errors either way.

    The theory of fresh networks: `start * exp(sum of means)` is the typical one, and 95% of them
    lie within `exp(+- 2 sqrt(sum of variances))` times that, the sums over the layers passed.

    Args:
        history, statistic, order, quantity, ax: As for `heatmap`.
        steps: Recorded steps. Defaults to the first and the last.
        theory: What `initializer.describe(shape)` returns, for each row of depth.
        start: The scale of the input, positive: that of the theory at depth 0.

    Raises:
        TypeError, ValueError: As for `heatmap`; if a step was not recorded; if the theory is of
            another length or statistic, or has no `start`.

    Example:

    >>> from keras_fracinit.callbacks import COLUMNS
    >>> row = (0, 0, "net/dense", 0, "activations", "s_scale", 1.0, 0.9, 0.01)
    >>> ax = profile(pd.DataFrame([row], columns=COLUMNS), steps=[0])
    >>> ax.get_ylabel()
    's-scale (s = 1)'
    """
    table = select(history, statistic, order, quantity)
    chosen, band = check_steps(steps, table.steps), band_of(theory, start, table)
    axes = ax or Figure(figsize=(7.0, 4.5), layout="constrained").subplots()
    _draw_profile(axes, table, chosen, band)
    axes.set(title=quantity, ylabel=table.label)
    return axes


def compare(
    runs: Mapping[str, pd.DataFrame],
    statistic: str = "s_scale",
    order: float = 1.0,
    *,
    quantity: str = "activations",
    steps: Sequence[int] | None = None,
    theory: Mapping[str, Sequence[Any]] | None = None,
    start: float | None = None,
) -> Figure:
    """The heat maps of several runs in the same colours, above their profiles on the same axis.

    Args:
        runs: Two or more histories by name.
        statistic, order, quantity, steps, start: As for `profile`, the same for all runs.
        theory: As for `profile`, by name, for all runs or some.

    Raises:
        TypeError, ValueError: As for `profile`, with a note that names the run.

    Example:

    >>> from keras_fracinit.callbacks import COLUMNS
    >>> row = (0, 0, "net/dense", 0, "activations", "s_scale", 1.0, 0.9, 0.01)
    >>> history = pd.DataFrame([row], columns=COLUMNS)
    >>> figure = compare({"He": history, "s = 1": history})
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['He', 's = 1']
    """
    if not isinstance(runs, Mapping):
        raise TypeError(f"`runs` must be a dict of histories. Received: runs={type(runs)}")
    if len(runs) < 2:
        raise ValueError(f"`runs` must hold two or more. Received: runs={list(runs)}")
    if theory is not None and (not isinstance(theory, Mapping) or not {*theory} <= {*runs}):
        rule = f"`theory` must be a dict by names of the runs {list(runs)}"
        raise ValueError(f"{rule}. Received: {theory=}")
    tables, profiles = {}, []
    for name, history in runs.items():
        try:
            tables[name] = table = select(history, statistic, order, quantity)
            band = band_of((theory or {}).get(name), start, table)
            profiles.append((check_steps(steps, table.steps), band))
        except (TypeError, ValueError) as error:
            error.add_note(f"In the run {name!r}.")
            raise
    return _draw_runs(tables, profiles, quantity)


def score_by_order(results: pd.DataFrame, order: str = "s", ax: Axes | None = None) -> Axes:
    """The score of a search against the order s of its initializers, and that of the reference.

    Points are completed executions, diamonds those of the reference, whose median is the dashed
    line. The solid line joins the medians of the trials, in order of s; where trials share one it
    goes through the median of their medians.

    What an execution that diverged or collapsed scored is a penalty, no measurement. It is a cross
    in the grey strip at the worse edge, which has no scale, as is a failed one; the counts are in
    the legend. Medians are over the completed executions alone, so crosses beside a median say that
    it flatters; where nothing has completed the line is broken.

    Args:
        results: What `tuner.results` returns, or `pandas.read_csv` makes of its file. Left out are
            rows without an order (inactive, in a conditional search) and trials still running.
            Where `results.attrs` (which a file loses) has no "direction", less is better if the
            penalties are above the scores, and otherwise more.
        order: The hyperparameter across, a column of numbers.
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
    _draw_search(axes, search, order)
    axes.set(xlabel=order, ylabel=search.score)
    return axes
