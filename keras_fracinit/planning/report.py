"""The plan of a re-initialization as a record that prints as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from keras_fracinit.propagation.orders import EffectiveOrder
from keras_fracinit.utils.printing import format_number, render

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Change:
    """The change of one variable.

    Attributes:
        path: The path of the variable.
        kind: "dense", "einsum", "convolution", "depthwise", "pointwise", "transposed", "embedding",
            "recurrent", "unknown"; "bias", "normalization" or "slope" for other parameters.
        fan_in: Inputs that one output sums over; for a transposed convolution the average.
        width: Output units at one position; for a recurrent kernel those of one gate.
        activation: The activation that acts on the output.
        law: The law that the scale is made for: that of the activation on the output or, where that
            one is smooth, of the activation that the input passed; dropout is included if it was
            asked for.
        s: The order that is kept; nan if the variable stays as it is.
        distribution: The distribution of the new values.
        alpha: The tail index of stable weights; None for all others.
        gain: `fan_in * stddev^2`, for stable weights `fan_in * stddev^alpha`; nan if the variable
            stays as it is.
        stddev_before: Root mean square of the present values.
        stddev: Standard deviation of the new values, or their scale if they are stable; nan if the
            variable stays as it is.
        order_before: The order of the moment that the present values keep: 2 for He's scale,
            infinity for zeros. nan if there is no law, or if the scale exceeds that of order 0, so
            that all moments grow.
        order_censored: Whether `order_before` is only a lower bound: for a smooth activation no
            order above 2 is known, and the order is then 2, printed as ">2".
        skipped: Why the variable stays as it is; empty if it does not.
        note: Where the theory is approximate, and what it leaves out.
        pairs: How a kernel of a mirrored model is paired: "outputs", "both" or "inputs" as in
            `FracReLU`, or "repeated" for a depthwise kernel whose halves share their values. Gain,
            stddev and s are those of the block that is drawn. Empty if it is not paired.
    """

    path: str
    kind: str
    fan_in: float = math.nan
    width: int = 0
    activation: str = ""
    law: str = ""
    s: float = math.nan
    distribution: str = ""
    alpha: float | None = None
    gain: float = math.nan
    stddev_before: float = math.nan
    stddev: float = math.nan
    order_before: float = math.nan
    order_censored: bool = False
    skipped: str = ""
    note: str = ""
    pairs: str = ""


@dataclass(frozen=True)
class Plan:
    """The changes of a whole model. Prints as a table; `to_pandas` has all columns.

    Attributes:
        changes: One for each kernel, in the order in which the model calls their layers, and one
            for each bias that is set to zero.
        seed: The seed of the draws; None in a plan.
        optimizer: What was done to the state of the optimizer; empty in a plan.
    """

    changes: tuple[Change, ...]
    seed: int | None = None
    optimizer: str = ""

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __getitem__(self, path: str) -> Change:
        """The change of the variable of this path."""
        found = next((change for change in self.changes if change.path == path), None)
        if found is None:
            raise KeyError(path)
        return found

    def to_pandas(self) -> pd.DataFrame:
        """A frame with a row for each change and a column for each of its attributes."""
        import pandas as pd

        columns = [field.name for field in fields(Change)]
        return pd.DataFrame([asdict(change) for change in self.changes], columns=columns)

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table(caption=self.optimizer or None, caption_justify="left")
        for column in ("variable", "kind"):
            table.add_column(column, overflow="fold")
        for column in ("fan-in", "width"):
            table.add_column(column, justify="right")
        table.add_column("law")
        mirrored = any(change.pairs for change in self.changes)
        if mirrored:
            table.add_column("pairs")
        for column in ("s", "gain", "stddev", "order before"):
            table.add_column(column, justify="right")
        table.add_column("note", overflow="fold")
        for change in self.changes:
            cells = _cells(change)
            table.add_row(*cells[:5], *([change.pairs] if mirrored else []), *cells[5:])
        return table

    def __str__(self) -> str:
        return render(self)


def _cells(change: Change) -> list[str]:
    """The cells of one row of the table."""
    drawn, sized = not change.skipped, change.width > 0
    before = format_number(change.stddev_before)
    return [
        change.path,
        change.kind,
        f"{change.fan_in:g}" if sized else "",
        str(change.width) if sized else "",
        change.law or change.activation,
        format_number(change.s),
        format_number(change.gain),
        f"{before} -> {format_number(change.stddev)}" if drawn else before,
        EffectiveOrder(change.order_before, change.order_censored).text(4) if change.law else "",
        f"skipped, because {change.skipped}" if change.skipped else change.note,
    ]
