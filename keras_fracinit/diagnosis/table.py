"""Lays a diagnosis out as a table: the columns that fit 80 characters, or all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keras_fracinit.propagation.orders import EffectiveOrder
from keras_fracinit.utils.printing import Column, Table, format_number

if TYPE_CHECKING:
    from keras_fracinit.diagnosis.report import LayerDiagnosis


def table_of(layers: Sequence[LayerDiagnosis], verdicts: Sequence[str], wide: bool) -> Table:
    """Makes the table, with the verdicts below it."""

    def column(name: str, cell: Callable[[LayerDiagnosis], str], is_text: bool = False) -> Column:
        return Column(name, [cell(layer) for layer in layers], is_text)

    def scale(s: float) -> Column:
        return column(f"m_{s:g}", lambda layer: format_number(layer.s_scales[s], 3))

    path = column("layer", lambda layer: layer.path, is_text=True)
    size = column("size", lambda layer: format_number(layer.size, 3))
    band = column("band of\none draw", lambda layer: _range(layer.low, layer.high))
    gradient = column("gradient", lambda layer: format_number(layer.gradient, 3))
    cosine = column("cosine", lambda layer: _fixed(layer.cosine))
    units = column("dead\nunits", lambda layer: f"{layer.dead_units:.0%}")
    columns = [path, size, band, cosine, gradient, units]
    if wide:
        columns = [
            path,
            column("kind", lambda layer: layer.kind, is_text=True),
            column("depth", lambda layer: str(layer.depth)),
            *map(scale, layers[0].s_scales),
            column("log-norm", _log_norm),
            units,
            column("dead\ninputs", lambda layer: f"{layer.dead_inputs:.0%}"),
            cosine,
            column("order", _order),
            column("tail", _tail),
            size,
            column("theory", lambda layer: format_number(layer.predicted, 3)),
            band,
            gradient,
            column(
                "band of\none draw", lambda layer: _range(layer.gradient_low, layer.gradient_high)
            ),
        ]
    return Table(columns, verdicts, _notable(layers))


def _notable(layers: Sequence[LayerDiagnosis]) -> list[int]:
    """Finds the layers that are outside of a band or not finite, and where walks begin."""
    walks = [0, *(layer.walk for layer in layers)]
    return [
        place
        for place, layer in enumerate(layers)
        if layer.nonfinite
        or layer.size < layer.low
        or layer.size > layer.high
        or layer.gradient < layer.gradient_low
        or layer.gradient > layer.gradient_high
        or walks[place] != layer.walk
    ]


def _range(low: float, high: float, digits: int = 2) -> str:
    return "" if math.isnan(low) else f"{low:.{digits}g} to {high:.{digits}g}"


def _fixed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _order(layer: LayerDiagnosis) -> str:
    if not layer.law:
        return ""
    order = EffectiveOrder(layer.effective_order, layer.order_censored).text(3)
    interval = _range(layer.order_low, layer.order_high, 3)
    return f"{order} ({interval})" if interval else order


def _tail(layer: LayerDiagnosis) -> str:
    alpha = f" ({layer.alpha:g})" if layer.alpha < 2.0 else ""
    return format_number(layer.tail_index, 3) + alpha


def _log_norm(layer: LayerDiagnosis) -> str:
    return f"{layer.log_norm_mean:.2f} +- {layer.log_norm_std:.2f}"
