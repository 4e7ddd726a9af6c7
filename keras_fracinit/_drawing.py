"""How the tables of `_tables` are put on axes: heat maps, profiles, searches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from keras_fracinit._tables import NOT_FINITE, NOT_POSITIVE, Search, Table
from keras_fracinit._validation import check_real

_COLOURS = "viridis"
_LINE, _DIGIT = 12.0, 5.5  # points that a small tick label takes, down and across
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": "small"}
# What has no colour is hatched, for no grey differs from every colour to every eye.
_HATCHED: dict[str, tuple[str, dict[str, Any]]] = {
    NOT_POSITIVE: ("white", {"hatch": "....", "edgecolor": "0.2", "linewidth": 0.0}),
    NOT_FINITE: ("0.82", {"hatch": "////", "edgecolor": "0.4", "linewidth": 0.0}),
}

_OURS, THEIRS = "#0072B2", "#D55E00"  # blue and vermilion, of Okabe and Ito
_CROSSES = {"diverged": "x", "collapsed": "+", "failed": "1"}
_CROSS, _STRIP = 0.04, 0.25  # from cross to cross, and all of them at most, in heights of the axes


def norm_of(tables: Iterable[Table], limits: Any = None) -> Normalize | None:
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


def draw_map(axes: Axes, table: Table, norm: Normalize | None) -> Any:
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
        axes.legend(handles=keys, loc="upper right", ncols=2, **place, **LEGEND)
    box, inch = axes.get_window_extent(), axes.figure.dpi / 72.0
    digits = 2 + max(len(str(step)) for step in table.steps)
    # The colorbar and the labels of the layers will take a quarter of the width.
    across, down = 0.75 * box.width / (_DIGIT * digits), box.height / _LINE
    ticks, labels = thin([str(step) for step in table.steps], across / inch)
    axes.set_xticks(ticks, labels, fontsize="small")
    ticks, labels = thin(table.names, down / inch)
    axes.set_yticks(ticks, labels, fontsize="small", parse_math=False)
    axes.set_xlabel("step", loc="left" if keys else "center")
    axes.set_ylim(y[-1], y[0])
    return mesh


def thin(labels: list[str], room: float) -> tuple[range, list[str]]:
    """Every n-th, n = 1, 2, 5, 10, ..., so that there is room for them."""
    strides = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    every = next(stride for stride in strides if len(labels) <= stride * max(room, 1.0))
    return range(0, len(labels), every), labels[::every]


def log_ticks(low: float, high: float) -> Locator:
    """A narrow range would have next to none at 1, 2, 5, and a wide one too many."""
    if high < 5.0 * low:
        return MaxNLocator(6)
    return LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,))


def add_colorbar(mesh: Any, table: Table, axes: Any) -> None:
    low, high, drawn = mesh.norm.vmin, mesh.norm.vmax, mesh.get_array().compressed()
    beyond = int((drawn < low).any()) + 2 * int((drawn > high).any())
    options = {"ticks": log_ticks(low, high), "format": "{x:g}"} if table.log else {}
    options |= {"label": table.label, "extend": ("neither", "min", "max", "both")[beyond]}
    mesh.figure.colorbar(mesh, ax=axes, **options).minorticks_off()


def draw_profile(axes: Axes, table: Table, steps: list[int], band: Any) -> None:
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
        locator = log_ticks(*axes.get_ylim())
        axes.yaxis.set(major_locator=locator, major_formatter="{x:g}", minor_formatter="")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("depth" if band is None else "depth (0: the input)")
    _add_legend(axes, handles, [handle.get_label() for handle in handles])


def _add_legend(axes: Axes, handles: list[Any], labels: list[str]) -> None:
    place: dict[str, Any] = {"loc": "best", **LEGEND, "frameon": True, "edgecolor": "none"}
    if axes.figure.get_layout_engine() is not None:  # which makes room below
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "borderaxespad": 4.5}
        place |= {"ncols": 2, **LEGEND}
    axes.legend(handles, labels, **place)


def draw_runs(tables: dict[str, Table], profiles: list[Any], title: str) -> Figure:
    height, norm = max(map(height_of, tables.values())), norm_of(tables.values())
    figure = Figure(figsize=(1.0 + 5.0 * len(tables), 4.0 + height), layout="constrained")
    upper, lower = figure.subplots(2, len(tables), height_ratios=(height, 4.0))
    figure.suptitle(title)
    first = next(iter(tables.values()))
    for place, (name, table) in enumerate(tables.items()):
        mesh = draw_map(upper[place], table, norm)
        upper[place].set_title(name, parse_math=False)
        if place:
            upper[place].tick_params(labelleft=any(t.names != first.names for t in tables.values()))
            lower[place].tick_params(labelleft=False)
            lower[place].sharey(lower[0])
        draw_profile(lower[place], table, *profiles[place])
    lower[0].set_ylabel(first.label)
    if norm:
        add_colorbar(mesh, first, list(upper))
    return figure


def draw_search(axes: Axes, search: Search, order: str) -> None:
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
        line = axes.axhline(y.median(), color=THEIRS, linestyle="--")
        (dot,) = axes.plot(x, y, marker="D", color=THEIRS, **points)
        value = x.iloc[0]
        he = " (He)" if value == 2.0 else ""
        keys[f"reference: {order} = {value:g}{he}"] = (line, dot)
    if len(search.lost):
        keys |= _draw_lost(axes, search)
    _add_legend(axes, list(keys.values()), list(keys))


class _Beside(Locator):
    """The ticks of another locator that do not lie in a strip, which has no scale."""

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
    """Crosses in a strip of their own at the worse edge, stacked where the order is the same."""
    rank = search.lost.groupby("order").cumcount() + 1
    step = min(_CROSS, _STRIP / rank.max())
    strip = step * (rank.max() + 1)
    # Asking settles the limits, which a transform does not wait for.
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


def height_of(table: Table) -> float:
    """Of a heat map, in inches."""
    return min(max(1.2 + 0.2 * len(table.names), 2.8), 8.0)
