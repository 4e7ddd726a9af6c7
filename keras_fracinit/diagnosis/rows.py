"""Makes the rows of a diagnosis: what was measured at each output, and what theory expects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_fracinit.diagnosis.drifts import Drifts
from keras_fracinit.diagnosis.gradients import bands_of_gradients
from keras_fracinit.diagnosis.order_intervals import order_intervals
from keras_fracinit.diagnosis.random_walk import Walk, kernels_in
from keras_fracinit.diagnosis.report import LayerDiagnosis
from keras_fracinit.estimators import summarize
from keras_fracinit.models.forward_pass import Output
from keras_fracinit.propagation.orders import effective_order_or_nan


@dataclass(frozen=True)
class Expectations:
    """What theory expects of outputs, by their ids, because a layer may be called more than once.

    Attributes:
        sizes: The number of the walk, and prediction and band of the size.
        gradients: The band of the size of the gradient.
    """

    sizes: Mapping[int, tuple[int, float, float, float]]
    gradients: Mapping[int, tuple[float, float]]


def expectations(
    walks: Sequence[Walk], sizes: Sequence[Drifts], gradients: Sequence[Drifts]
) -> Expectations:
    """Computes prediction and band at the start and behind each step, shifted by earlier pooling.

    They are those of the outputs, for which the sizes of differences of pairs are shifted too. What
    several walks have in common belongs to the first of them, and what starts one to that.
    """
    found: dict[int, tuple[int, float, float, float]] = {}
    starts: dict[int, tuple[int, float, float, float]] = {}
    for place, (walk, drifts) in enumerate(zip(walks, sizes, strict=True), start=1):
        mean, start = walk.sizes[0], _exp(walk.start.signal.log_size)
        starts.setdefault(id(walk.start), (place, start, start, start))
        rows = zip(walk.steps, walk.sizes[1:], walk.centres, drifts.band, strict=True)
        for step, size, centre, (low, high) in rows:
            mean += step.mean
            shift = step.last.signal.log_size - size
            a, b, c = (_exp(end + shift) for end in (mean, centre + low, centre + high))
            found.setdefault(id(step.last), (place, a, b, c))
    back: dict[int, tuple[float, float]] = {}
    for walk, drifts in zip(walks, gradients, strict=False):
        back = bands_of_gradients(walk, drifts) | back
    return Expectations(found | starts, {key: (_exp(a), _exp(b)) for key, (a, b) in back.items()})


def rows_of(
    outputs: Sequence[Output], known: Any, orders: tuple[float, ...], expected: Expectations
) -> tuple[LayerDiagnosis, ...]:
    """Makes a record for each output."""
    intervals = order_intervals(item for items in known.values() for item in items)
    return tuple(
        _row(
            output,
            orders,
            _expected(expected, id(output)),
            _facts(kernels_in(output.layer, known), intervals),
        )
        for output in outputs
    )


def _expected(expected: Expectations, key: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if size := expected.sizes.get(key):
        found.update(zip(("walk", "predicted", "low", "high"), size, strict=True))
    if gradient := expected.gradients.get(key):
        found.update(zip(("gradient_low", "gradient_high"), gradient, strict=True))
    return found


def _facts(kernels: Sequence[Any], intervals: Mapping[int, Any]) -> dict[str, Any]:
    """What is known of the kernel of a layer: in a separable convolution the pointwise one."""
    if not kernels:
        return {}
    item = kernels[-1]
    facts: dict[str, Any] = {
        "kind": item.kernel.site.spec.kind,
        "tail_index": item.values.tail_index,
        "alpha": getattr(item.kernel.site.initializer, "alpha", None) or 2.0,
    }
    if item.law is not None:
        order, censored = effective_order_or_nan(item.scale, item.width, item.gain)
        low, high = intervals[id(item.kernel)]
        facts |= {"law": str(item.activation), "effective_order": order}
        facts |= {"order_censored": censored, "order_low": low, "order_high": high}
    return facts


def _row(
    output: Output, orders: tuple[float, ...], expected: dict[str, Any], facts: dict[str, Any]
) -> LayerDiagnosis:
    signal = output.signal
    with np.errstate(all="ignore"):
        found = {key: float(value) for key, (value, _) in summarize(signal.norms, orders).items()}
    mean, variance = found["log_norm_mean", None], found["log_norm_variance", None]
    return LayerDiagnosis(
        path=output.path,
        depth=output.depth,
        s_scales={s: found["s_scale", s] for s in orders},
        log_norm_mean=mean,
        log_norm_std=math.sqrt(variance) if variance >= 0.0 else math.nan,
        size=_exp(signal.log_size),
        dead_units=signal.dead_units,
        dead_inputs=signal.dead_inputs,
        cosine=signal.cosine,
        nonfinite=signal.nonfinite,
        gradient=_exp(output.gradient.behind) if output.gradient else math.nan,
        **expected,
        **facts,
    )


def _exp(x: float) -> float:
    """Computes exp(x), with infinity where a float overflows."""
    return math.exp(x) if x < 709.0 else math.inf if x > 0.0 else math.nan
