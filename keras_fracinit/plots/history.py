"""Draws one recorded history: as a heat map of layers x steps, or as profiles against depth."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from keras_fracinit.callbacks.records import COLUMNS
from keras_fracinit.plots.style import LEGEND, Figure, _add_legend, log_ticks, thin
from keras_fracinit.utils.validation import check_choice, check_integer, check_real

_LABELS = {
    "s_scale": "s-scale",
    "log_norm_mean": "mean of the log-norm (nats)",
    "log_norm_variance": "variance of the log-norm (nats²)",
    "zeros": "share of samples that are zero",
    "nonfinite": "samples with nan or inf",
    "tail_index": "tail index",
}


_LONGEST = 24  # characters in the label of a layer


NOT_POSITIVE, NOT_FINITE = "≤ 0", "nan or infinite"  # why a value cannot be drawn


class Table(NamedTuple):
    """One statistic, layers in order of depth x recorded steps."""

    statistic: str
    label: str
    names: list[str]
    steps: list[int]
    value: Any  # masked where it cannot be drawn
    stderr: Any
    lost: dict[str, Any]  # for each reason, the recorded cells that it keeps from being drawn

    @property
    def log(self) -> bool:
        return self.statistic == "s_scale"


def select(history: Any, statistic: str, order: float, quantity: str) -> Table:
    """Selects one statistic of a history; the arguments are those of `heatmap`."""
    if not isinstance(history, pd.DataFrame):
        raise TypeError(f"`history` must be a DataFrame. Received: history={type(history)}")
    if not {*COLUMNS} <= {*history.columns}:
        rule = f"`history` must have the columns {', '.join(COLUMNS)}"
        raise ValueError(f"{rule}. Received: history.columns={list(history.columns)}")
    rows = history[history["layer"].notna() & (history["layer"] != "")]
    if rows.empty:
        raise ValueError(f"`history` must have rows about layers. Received: {len(history)=}")
    for column, wanted in (("quantity", quantity), ("statistic", statistic)):
        rows = rows[rows[column] == check_choice(column, wanted, list(rows[column].unique()))]
    label, orders = _LABELS.get(statistic, statistic), rows["order"].to_numpy(float)
    if not np.isnan(orders).all():
        close = np.isclose(orders, check_real("order", order), rtol=1e-6, atol=0.0)
        if not close.any():
            options = ", ".join(f"{held:g}" for held in np.unique(orders[~np.isnan(orders)]))
            raise ValueError(f"`order` must be one of {options}. Received: {order=}")
        rows, label = rows[close], f"{label} (s = {order:g})"
    last = rows.drop_duplicates(["step", "layer", "call"], keep="last").assign(recorded=1.0)
    # Layers stand in the order of the step with most rows, then in that of their first rows.
    ordered = pd.concat([rows[rows["step"] == last["step"].mode()[0]], rows])
    layers = pd.MultiIndex.from_frame(ordered[["layer", "call"]].drop_duplicates())
    wide = last.pivot(index=["layer", "call"], columns="step").reindex(layers)
    value, stderr = (wide[column].to_numpy(float) for column in ("value", "stderr"))
    finite, recorded = np.isfinite(value), wide["recorded"].notna().to_numpy()
    zero = finite & (value <= 0.0) & (statistic == "s_scale")
    lost = {NOT_POSITIVE: zero, NOT_FINITE: recorded & ~finite}
    value = np.ma.masked_where(zero | ~finite, value)
    steps = [int(step) for step in wide["value"].columns]
    return Table(statistic, label, _names(list(layers)), steps, value, stderr, lost)


def _names(layers: list[tuple[str, int]]) -> list[str]:
    """Labels layers by their paths, without the part that all share, with "#call" if repeated."""
    paths = [path.split("/") for path, _ in layers]
    levels = zip(*(path[:-1] for path in paths), strict=False)
    shared = len(list(itertools.takewhile(lambda level: len({*level}) == 1, levels)))
    names = []
    for path, (_, call) in zip(paths, layers, strict=True):
        suffix = f"#{call}" if paths.count(path) > 1 else ""
        names.append(_shorten(path[shared:], _LONGEST - len(suffix)) + suffix)
    return names


def _shorten(parts: list[str], room: int) -> str:
    """Shortens the longest parts in their middle, since Keras numbers layers at the ends."""
    sizes = [len(part) for part in parts]
    while sum(sizes) + len(sizes) - 1 > room and max(sizes) > 3:
        sizes[sizes.index(max(sizes))] -= 1
    short = [
        part if len(part) <= size else f"{part[: size // 2]}…{part[size // 2 + 1 - size :]}"
        for part, size in zip(parts, sizes, strict=True)
    ]
    return "/".join(short)


def check_steps(steps: Any, recorded: list[int]) -> list[int]:
    """Checks that steps were recorded; None stands for the first and the last."""
    wanted = np.atleast_1d([recorded[0], recorded[-1]] if steps is None else steps)
    chosen = [check_integer("steps", step, -sys.maxsize, sys.maxsize) for step in wanted]
    if not chosen:
        raise ValueError(f"`steps` must hold a step or more. Received: {steps=}")
    for step in {*chosen} - {*recorded}:
        nearest = min(recorded, key=lambda other: abs(other - step))
        rule = f"`steps` must be recorded ones; the nearest to {step} is {nearest}"
        raise ValueError(f"{rule}. Received: steps={chosen}")
    return list(dict.fromkeys(chosen))


def band_of(theory: Any, start: Any, table: Table) -> Any:
    """Computes the scale of the typical network and the ends of the band, from depth 0 on."""
    if theory is None:
        return None
    if not table.log:
        rule = "`theory` goes with the statistic 's_scale'"
        raise ValueError(f"{rule}. Received: statistic={table.statistic!r}")
    if start is None or check_real("start", start) <= 0.0:
        raise ValueError(f"`start` must be positive, and given with a theory. Received: {start=}")
    if not isinstance(theory, Sequence):
        raise TypeError(f"`theory` must be a list of records. Received: theory={type(theory)}")
    if len(theory) != len(table.names):
        rule = f"`theory` must have {len(table.names)} records, one for each row of depth"
        raise ValueError(f"{rule}. Received: {len(theory)=}")
    moments = np.zeros((2, len(theory) + 1))
    for depth, record in enumerate(theory):
        for row, name in enumerate(("log_norm_mean", "log_norm_std")):
            value = check_real(f"theory[{depth}].{name}", getattr(record, name, None))
            moments[row, depth + 1] = value
    drift, spread = np.cumsum(moments[0]), 2.0 * np.sqrt(np.cumsum(moments[1] ** 2))
    with np.errstate(over="ignore"):
        return start * np.exp([drift, drift - spread, drift + spread])


_COLOURS = "viridis"


_LINE, _DIGIT = 12.0, 5.5  # height of a small tick label and width of its digits, in points


# Cells without a colour are hatched: no grey is distinct from every colour for every eye.
_HATCHED: dict[str, tuple[str, dict[str, Any]]] = {
    NOT_POSITIVE: ("white", {"hatch": "....", "edgecolor": "0.2", "linewidth": 0.0}),
    NOT_FINITE: ("0.82", {"hatch": "////", "edgecolor": "0.4", "linewidth": 0.0}),
}


def norm_of(tables: Iterable[Table], limits: Any = None) -> Normalize | None:
    """Maps values to colours, between `limits` or over all drawn values; None if there are none."""
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
    """Draws a heat map with hatched cells, their key, and as many tick labels as fit."""
    x, y = (np.arange(count + 1) - 0.5 for count in (len(table.steps), len(table.names)))
    mesh = axes.pcolormesh(x, y, table.value, norm=norm, cmap=_COLOURS)
    keys = []
    for kind, cells in table.lost.items():
        if cells.any():
            face, style = _HATCHED[kind]
            one = np.ma.masked_where(~cells, cells)
            axes.pcolor(x, y, one, cmap=ListedColormap([face]), antialiased=False, **style)
            keys.append(Patch(facecolor=face, label=kind, **style))
    if keys:  # the key stands below the axes, where it hides no cell
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


def add_colorbar(mesh: Any, table: Table, axes: Any) -> None:
    """Adds a colorbar, with arrows at the ends that values exceed."""
    low, high, drawn = mesh.norm.vmin, mesh.norm.vmax, mesh.get_array().compressed()
    beyond = int((drawn < low).any()) + 2 * int((drawn > high).any())
    options = {"ticks": log_ticks(low, high), "format": "{x:g}"} if table.log else {}
    options |= {"label": table.label, "extend": ("neither", "min", "max", "both")[beyond]}
    mesh.figure.colorbar(mesh, ax=axes, **options).minorticks_off()


def draw_profile(axes: Axes, table: Table, steps: list[int], band: Any) -> None:
    """Draws one line against depth for each step, and the band of the theory if there is one."""
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


def height_of(table: Table) -> float:
    """Computes the height of a heat map in inches."""
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
    """Draws every layer (the first at the top) at every recorded step as a heat map.

    Colours are logarithmic for "s_scale". Values without a colour, because they are nan, infinite
    or (if logarithmic) not positive, are hatched, with a key below; cells that were not recorded
    are blank.

    Args:
        history: The frame `MomentLogger.history`, or one read from its file.
        statistic: A statistic that the frame holds for `quantity`. Defaults to "s_scale".
        order: The order s of a statistic that has one; ignored for the others. Defaults to 1.
        quantity: A quantity that the frame holds. Defaults to "activations".
        limits: The values (low, high) at the ends of the colours, in the unit of the statistic.
            Defaults to the extremes of the drawn values.
        ax: The axes to draw on, and to return. Defaults to new ones in a figure of their own.

    Returns:
        The axes.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the frame lacks the statistic, order or quantity, or `limits` are out of
            order.

    Example:

    >>> from keras_fracinit.callbacks import COLUMNS
    >>> row = (0, 0, "net/dense", 0, "activations", "s_scale", 1.0, 0.9, 0.01)
    >>> ax = heatmap(pd.DataFrame([row], columns=COLUMNS))
    >>> ax.figure.axes[1].get_ylabel()  # of the colorbar
    's-scale (s = 1)'
    """
    table = select(history, statistic, order, quantity)
    norm = norm_of([table], limits)
    axes = ax or Figure(figsize=(8.0, height_of(table)), layout="constrained").subplots()
    mesh = draw_map(axes, table, norm)
    if norm:
        add_colorbar(mesh, table, axes)
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
    """Draws a statistic against depth, one line for each step, with two standard errors either way.

    With `theory` it also draws the band of freshly initialized networks. A typical network has the
    scale `start * exp(sum of means)`, and 95% of networks lie within `exp(+- 2 sqrt(sum of
    variances))` times that, with sums over the layers passed.

    Args:
        history, statistic, order, quantity, ax: As for `heatmap`.
        steps: Recorded steps. Defaults to the first and the last.
        theory: The record that `initializer.describe(shape)` returns, for each row of depth.
        start: The scale of the input, positive: the value of the theory at depth 0. Required with
            `theory`.

    Returns:
        The axes.

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
    draw_profile(axes, table, chosen, band)
    axes.set(title=quantity, ylabel=table.label)
    return axes
