"""What a picture shows.

Of a history: one statistic as a table of layers x steps, and its theory. Of a search: its scores.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_fracinit._records import COLUMNS
from keras_fracinit._validation import check_choice, check_integer, check_real

_LABELS = {
    "s_scale": "s-scale",
    "log_norm_mean": "mean of the log-norm (nats)",
    "log_norm_variance": "variance of the log-norm (nats²)",
    "zeros": "share of samples that are zero",
    "nonfinite": "samples with nan or inf",
    "tail_index": "tail index",
}
_LONGEST = 24  # characters in the label of a layer
NOT_POSITIVE, NOT_FINITE = "≤ 0", "nan or infinite"  # what has no place on a scale
_STATUSES = ("completed", "diverged", "collapsed", "failed")
# The columns of the results of a search that are no hyperparameters.
_OUTCOMES = ("score", "status", "slope_initial", "slope_final", "spread_initial", "spread_final")
_RESULTS = ("trial", "execution", "seed", *_OUTCOMES)


class Table(NamedTuple):
    """One statistic, layers in order of depth x recorded steps."""

    statistic: str
    label: str
    names: list[str]
    steps: list[int]
    value: Any  # masked where it cannot be drawn
    stderr: Any
    lost: dict[str, Any]  # the recorded cells of each kind that cannot be drawn

    @property
    def log(self) -> bool:
        return self.statistic == "s_scale"


class Search(NamedTuple):
    """The executions of a search, as frames with the columns trial, order, score, status."""

    score: str  # its name
    rising: bool  # the score gets worse upwards
    completed: pd.DataFrame
    medians: pd.DataFrame  # of the completed ones of each trial, nan where there are none
    reference: pd.DataFrame  # the completed ones of the reference
    lost: pd.DataFrame  # the others, with their legend


def select(history: Any, statistic: str, order: float, quantity: str) -> Table:
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
    # Depth is the order of the fullest step, and of first rows, whichever of them count.
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
    """Without the path that all share, with "#call" where there are several, and not too long."""
    paths = [path.split("/") for path, _ in layers]
    levels = zip(*(path[:-1] for path in paths), strict=False)
    shared = len(list(itertools.takewhile(lambda level: len({*level}) == 1, levels)))
    names = []
    for path, (_, call) in zip(paths, layers, strict=True):
        suffix = f"#{call}" if paths.count(path) > 1 else ""
        names.append(_shorten(path[shared:], _LONGEST - len(suffix)) + suffix)
    return names


def _shorten(parts: list[str], room: int) -> str:
    """An ellipsis inside the longest parts: Keras tells layers apart by the ends of parts."""
    sizes = [len(part) for part in parts]
    while sum(sizes) + len(sizes) - 1 > room and max(sizes) > 3:
        sizes[sizes.index(max(sizes))] -= 1
    short = [
        part if len(part) <= size else f"{part[: size // 2]}…{part[size // 2 + 1 - size :]}"
        for part, size in zip(parts, sizes, strict=True)
    ]
    return "/".join(short)


def check_steps(steps: Any, recorded: list[int]) -> list[int]:
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
    """The scale of the typical network, and the ends of the band, from depth 0 on."""
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


def search_of(results: Any, order: Any) -> Search:
    rows, attrs = _check_results(results, order), results.attrs
    done, theirs = rows["status"] == "completed", rows["trial"] == "reference"
    # A file does not tell the direction, but the penalties do.
    guess = "min" if rows["score"][~done].median() > rows["score"][done].median() else "max"
    rising = attrs.get("direction", guess) == "min"
    rows["score"] = rows["score"].where(done)
    trials = rows[~theirs].groupby("trial", sort=False)
    medians = trials.agg({"order": "first", "score": "median"})
    # Assigned first: a frame without rows would take those of the column.
    legend = rows["status"].mask(theirs, "reference, " + rows["status"])
    lost = rows.assign(legend=legend)[~done]
    completed, reference = rows[done & ~theirs], rows[done & theirs]
    score = str(attrs.get("objective", "score"))
    return Search(score, rising, completed, medians, reference, lost)


def _check_results(results: Any, order: Any) -> pd.DataFrame:
    """The rows that have an order and an outcome."""
    if not isinstance(results, pd.DataFrame):
        raise TypeError(f"`results` must be a DataFrame. Received: results={type(results)}")
    columns = list(results.columns)
    if lacking := [name for name in ("trial", "score", "status") if name not in columns]:
        rule = f"`results` must have the columns trial, score and status, and lacks {lacking}"
        raise ValueError(f"{rule}. Received: results.columns={columns}")
    # A number that no trial has is a column of None.
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
