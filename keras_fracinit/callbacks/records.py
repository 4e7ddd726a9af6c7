"""Names the numbers of a measurement: the columns, tags and keys under which they are recorded."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from keras_fracinit.estimators import log_slopes
from keras_fracinit.models.measurement import Row

COLUMNS = ("step", "epoch", "layer", "call", "quantity", "statistic", "order", "value", "stderr")


class Label(NamedTuple):
    """The columns of `MomentLogger.history` that tell numbers of one record apart."""

    layer: str
    call: int
    quantity: str
    statistic: str
    order: float


class Layout:
    """The labels and tags of all numbers of a record, in order."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[tuple[str, float | None]]) -> None:
        self.labels: list[Label] = []
        self.tags: list[str] = []
        self._in_logs: list[int] = []
        self._slopes: list[int] = []  # of each quantity the one at the order nearest to 1
        self._profiles: list[tuple[list[int], npt.NDArray[np.float64]]] = []
        self._orders = sum(statistic == "s_scale" for statistic, _ in columns)
        calls = Counter((row.quantity, row.layer) for row in rows)
        last = {row.quantity: i for i, row in enumerate(rows) if row.depth is not None}
        for i, row in enumerate(rows):
            call = [str(row.call)] if calls[row.quantity, row.layer] > 1 else []
            for statistic, order in columns:
                logged = statistic == "s_scale" and i == last.get(row.quantity)
                name = statistic if order is None else f"s{order:g}"
                label = Label(row.layer, row.call, row.quantity, statistic, _number(order))
                self._add(label, [row.quantity, row.layer, *call, name], logged)
        for quantity in last:
            deep = [i for i, r in enumerate(rows) if r.quantity == quantity and r.depth is not None]
            self._profiles.append((deep, np.array([rows[i].depth for i in deep], dtype=float)))
            orders = [_number(order) for _, order in columns[: self._orders]]  # these come first
            nearest = min(orders, key=lambda order: abs(order - 1.0))
            for order in orders:
                if order == nearest:
                    self._slopes.append(len(self.labels))
                label = Label("", 0, quantity, "slope", order)
                self._add(label, [quantity, "slope", f"s{order:g}"], True)
        self._add(Label("", 0, "logger", "seconds", math.nan), ["logger", "seconds"], True)

    def _add(self, label: Label, tag: list[str], logged: bool) -> None:
        if logged:
            self._in_logs.append(len(self.labels))
        self.labels.append(label)
        self.tags.append("/".join(tag))

    def logged(self, which: bool | str) -> Sequence[int]:
        """The numbers that go into the logs of an epoch; `which` is `to_logs` of `MomentLogger`."""
        if which == "slopes":
            return self._slopes[:2]  # a progress line shows all of the logs
        return range(len(self.labels)) if which == "all" else self._in_logs if which else ()

    def values(self, table: npt.NDArray[np.float64], start: float) -> npt.NDArray[np.float64]:
        """Value and standard error of every label; `start` is when the measurement began."""
        slopes = [
            np.transpose(log_slopes(depths, table[rows, : self._orders, 0]))
            for rows, depths in self._profiles
        ]
        seconds = (time.perf_counter() - start, math.nan)
        return np.concatenate([table.reshape(-1, 2), *slopes, [seconds]])


class Record(NamedTuple):
    """The numbers measured at one step: `values[i]` belongs to `layout.labels[i]`."""

    time: float
    step: int
    epoch: int
    layout: Layout
    values: npt.NDArray[np.float64]

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (self.step, self.epoch, *label, value, stderr)
            for label, (value, stderr) in zip(self.layout.labels, self.values.tolist(), strict=True)
        ]

    def repeats(self, other: Record) -> bool:
        """Whether the same was measured at the same step; changes since then do not count."""
        if self.step != other.step or self.layout is not other.layout:
            return False
        state = [label.quantity not in ("updates", "logger") for label in self.layout.labels]
        # An accelerator may sum in another order.
        return np.allclose(self.values[state], other.values[state], 1e-6, 0.0, equal_nan=True)

    def scalars(self) -> tuple[float, int, zip[tuple[str, float]]]:
        return self.time, self.step, zip(self.layout.tags, self.values[:, 0].tolist(), strict=True)


def _number(order: float | None) -> float:
    return math.nan if order is None else order
