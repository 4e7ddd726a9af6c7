"""Says how well the weights of a layer tell the order that their scale keeps.

The gain `n sigma^2` of a layer is estimated by the mean square of its N = n d weights. For normal
weights N times the estimate over the truth is chi-squared with N degrees of freedom, so the gain is
known to about `sqrt(2/N)`, and better for uniform or orthogonal weights. The order is far less
certain: a relative error e of the gain makes one of about `4 d e/(E q^2/(E q)^2 - 1)` in the order,
0.8 d e for ReLU. Equal layers have one scale, so their weights are pooled, if they agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from keras_fracinit.diagnosis.random_walk import KernelLaws
from keras_fracinit.propagation.orders import effective_order_or_nan

_CONFIDENCE = 0.95


_AGREE = 4.0  # standard deviations of a gain from that of all equal layers


class OrderInterval(NamedTuple):
    """The orders that the weights allow with 95 % confidence; nan where every order grows."""

    low: float = math.nan
    high: float = math.nan


def order_intervals(items: Iterable[KernelLaws]) -> dict[int, OrderInterval]:
    """Computes the interval of each kernel that has a law, by the ids of the kernels."""
    groups: dict[object, list[KernelLaws]] = {}
    for item in items:
        if item.scale is not None and item.law is not None:
            site = item.kernel.site
            equal = (item.scale, item.width, site.fan_in, site.spec.kind, item.mirrored.longer_side)
            groups.setdefault(equal, []).append(item)
    found: dict[int, OrderInterval] = {}
    for group in groups.values():
        for pool in [group] if _agree(group) else [[item] for item in group]:
            interval = _interval(pool)
            found.update((id(item.kernel), interval) for item in pool)
    return found


def _agree(group: Sequence[KernelLaws]) -> bool:
    gain = math.fsum(item.gain for item in group) / len(group)
    if not (math.isfinite(gain) and gain > 0.0):
        return False
    reach = _AGREE * math.sqrt(2.0 / group[0].weights)
    return all(abs(item.gain / gain - 1.0) <= reach for item in group)


def _interval(pool: Sequence[KernelLaws]) -> OrderInterval:
    from scipy.stats import chi2  # type: ignore[import-untyped]

    item, count = pool[0], sum(item.weights for item in pool)
    gain = math.fsum(item.gain for item in pool) / len(pool)
    if not math.isfinite(gain):
        return OrderInterval()
    tails = (0.5 - 0.5 * _CONFIDENCE, 0.5 + 0.5 * _CONFIDENCE)
    # An orthogonal block has the mean square that it was given.
    factors = (1.0, 1.0) if item.mirrored.longer_side else chi2.ppf(tails, count) / count
    highest, lowest = (
        effective_order_or_nan(item.scale, item.width, gain / float(factor)) for factor in factors
    )
    if math.isnan(lowest.order):
        return OrderInterval()
    low = 0.0 if math.isnan(highest.order) else highest.order
    return OrderInterval(low, math.inf if lowest.censored else lowest.order)
