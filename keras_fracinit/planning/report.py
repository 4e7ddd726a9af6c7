"""The plan of a re-initialization as a record that prints as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from keras_fracinit.planning.table import table_of
from keras_fracinit.utils.patterns import did_you_mean
from keras_fracinit.utils.printing import Shown, Table, record_html

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

    _repr_html_ = record_html


@dataclass(frozen=True)
class Plan(Shown):
    """The changes of a whole model. Prints as a table, with each note once below it.

    `print` shows the columns that fit 80 characters, `to_string(wide=True)` more, `to_pandas` all.

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
        """The change of the variable of this path; a KeyError suggests the closest paths."""
        found = next((change for change in self.changes if change.path == path), None)
        if found is None:
            question = did_you_mean(str(path), [change.path for change in self.changes], whole=True)
            raise KeyError(f"`path` must be that of a variable. Received: {path!r}. {question}")
        return found

    def to_pandas(self) -> pd.DataFrame:
        """A frame with a row for each change and a column for each of its attributes."""
        import pandas as pd

        columns = [field.name for field in fields(Change)]
        return pd.DataFrame([asdict(change) for change in self.changes], columns=columns)

    def _table(self, wide: bool = False) -> Table:
        return table_of(self.changes, self.optimizer, wide)
