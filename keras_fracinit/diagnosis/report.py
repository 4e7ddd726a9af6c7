"""Holds a diagnosis as a record that prints as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from keras_fracinit.diagnosis.table import table_of
from keras_fracinit.utils.printing import Shown, Table, record_html

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LayerDiagnosis:
    """The diagnosis of one output of a layer.

    Norms r are root mean squares over the units at one position of one sample.

    Attributes:
        path: The path of the layer; "input" for the input of the model.
        depth: The number of layers with a kernel up to here, this one included.
        s_scales: By order, `(mean r^s)^(1/s)` over samples and positions.
        log_norm_mean: The mean of `log r` over the norms that are not zero, in nats.
        log_norm_std: The standard deviation of `log r` over the same, in nats.
        size: The geometric mean, over the samples that are not zero, of their root mean squares.
        dead_units: The share of units that are zero for all samples.
        dead_inputs: The share of samples that are zero as a whole.
        cosine: The mean cosine between two different samples.
        nonfinite: The number of norms r that are nan or infinite.
        kind: The kind of the layer's kernel, as in a `Plan`; empty if it has none.
        law: The law of the activation of the kernel's output; empty if theory does not follow.
        effective_order: The order that the weights keep, if they are independent with mean zero; 2
            is He's. nan where there is no law, or the scale is above that of order 0.
        order_censored: Whether `effective_order` is only a lower bound, as in a `Change`.
        tail_index: Hill's estimate of the tail index of the weights.
        alpha: The tail index that the initializer draws: 2 except for stable weights, for which the
            table shows it beside the estimate.
        walk: The number of the stretch of layers for which theory holds, from 1; 0 outside.
        predicted: The size that theory expects for these weights, from the start of the walk on;
            nan from the first smooth activation on, behind which it depends on the size before.
        low: The lower end of the band of one draw, a size.
        high: The upper end.
        gradient: The size of a random gradient that is sent back from the outputs of the model: the
            geometric mean over samples of its norm, over that at the outputs. nan with
            `gradients=False`.
        gradient_low: The lower end of the band of gradients that keep their size from the end of
            the walk on; nan at that end.
        gradient_high: The upper end.
        order_low: The lower end of the orders that the weights allow with 95 % confidence, those of
            equal layers taken together; nan where every order grows.
        order_high: The upper end; infinite where theory knows it only to be above 2.
    """

    path: str
    depth: int
    s_scales: Mapping[float, float]
    log_norm_mean: float
    log_norm_std: float
    size: float
    dead_units: float
    dead_inputs: float
    cosine: float
    nonfinite: int
    kind: str = ""
    law: str = ""
    effective_order: float = math.nan
    order_censored: bool = False
    tail_index: float = math.nan
    alpha: float = 2.0
    walk: int = 0
    predicted: float = math.nan
    low: float = math.nan
    high: float = math.nan
    gradient: float = math.nan
    gradient_low: float = math.nan
    gradient_high: float = math.nan
    order_low: float = math.nan
    order_high: float = math.nan

    _repr_html_ = record_html

    @property
    def log_norm_stddev(self) -> float:
        """The name of `log_norm_std` up to 0.1, kept for one release."""
        return self.log_norm_std

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickle, in which 0.1 wrote `log_norm_std` under its old name."""
        names = {"log_norm_stddev": "log_norm_std"}
        vars(self).update({names.get(name, name): value for name, value in state.items()})


@dataclass(frozen=True)
class Diagnosis(Shown):
    """The diagnosis of a network. Prints as a table with the verdicts below it.

    `print` shows the columns that fit 80 characters, `to_string(wide=True)` all that are meant for
    the eye, `to_pandas` everything.

    Attributes:
        layers: A record for each output, in the order of the calls.
        verdicts: Sentences on what is wrong, or noteworthy; the gravest first.
        healthy: Whether none of the verdicts is against the network.
    """

    layers: tuple[LayerDiagnosis, ...]
    verdicts: tuple[str, ...]
    healthy: bool

    def __iter__(self) -> Iterator[LayerDiagnosis]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, path: str) -> LayerDiagnosis:
        """The record of the last output of the layer with this path."""
        found = [layer for layer in self.layers if layer.path == path]
        if not found:
            raise KeyError(path)
        return found[-1]

    def to_pandas(self) -> pd.DataFrame:
        """Makes a frame: a row for each output, a column for each attribute.

        The s-scale of order 1 is the column "s_scale_1".

        The last column, "log_norm_stddev", is `log_norm_std` under its name up to 0.1.
        """
        import pandas as pd

        rows = []
        for layer in self.layers:
            row = asdict(layer)
            scales = {f"s_scale_{s:g}": value for s, value in row.pop("s_scales").items()}
            rows.append({**row, **scales, "log_norm_stddev": layer.log_norm_stddev})
        names = [field.name for field in fields(LayerDiagnosis) if field.name != "s_scales"]
        orders = [f"s_scale_{s:g}" for s in self.layers[0].s_scales]
        columns = [*names[:2], *orders, *names[2:], "log_norm_stddev"]
        return pd.DataFrame(rows, columns=columns)

    def _table(self, wide: bool = False) -> Table:
        return table_of(self.layers, self.verdicts, wide)
