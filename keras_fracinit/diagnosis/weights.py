"""Judges the scale of the weights themselves, which narrow layers show better than their signals.

The signal of a layer of width d strays by about `sqrt(5/(4 d))` nats for ReLU, while the standard
deviation of its n d weights is known to `1/sqrt(2 n d)`. So in a narrow network the weights tell a
wrong scale from bad luck where the signal cannot. They are evidence only where the signal does as
theory says for them: in a trained network weights depend on each other, and their scale alone says
nothing.
"""

from __future__ import annotations

import math
from typing import Any

from keras_fracinit.diagnosis.chance import reach_of
from keras_fracinit.diagnosis.drifts import Drifts
from keras_fracinit.diagnosis.random_walk import KernelLaws, Walk, kernels_in
from keras_fracinit.propagation import moments

_LEAST = math.log(2.0)  # less than a factor of two of the signal does no harm


_AGREES = 4.0  # standard deviations of the signal around what theory says for the weights


def drifts_of_weights(walk: Walk, known: Any, chance: float) -> Drifts:
    """Computes how far the weights of each layer so far move the signal beyond order 2.

    A layer of gain g moves it by `log(g E q)/2`, which is 0 at s = 2 and largest at s = 0.
    """
    rows, variances = [], []
    value = high = variance = 0.0
    for step in walk.steps:
        items = kernels_in(step.first.layer, known)
        variances.append(step.share**2 * math.fsum(0.5 / item.weights for item in items))
        variance = step.share**2 * variance + variances[-1]
        value = step.share * (value + math.fsum(map(_log_scale, items)))
        high = step.share * (high + math.fsum(map(_log_scale_at_0, items)))
        rows.append((value, 0.0, high, math.sqrt(variance)))
    values, lows, highs, deviations = zip(*rows, strict=True)
    reach = reach_of(variances, [step.share for step in walk.steps], chance)
    return Drifts(values, lows, highs, deviations, reach, _LEAST)


def agree(walk: Walk, sizes: Drifts, weights: Drifts) -> bool:
    """Whether the signal does as the weights say where they are the strongest evidence."""
    place = weights.strongest
    measured, deviation = sizes.values[place], sizes.deviations[place]
    small = weights.excess < 0.0
    if measured >= sizes.highs[place] if small else measured <= sizes.lows[place]:
        return False
    expected = sum(step.mean for step in walk.steps[: place + 1])
    if math.isnan(expected):  # no size is predicted behind a smooth activation
        return True
    moved = walk.sizes[place + 1] - walk.sizes[0]
    return abs(moved - expected) <= _AGREES * deviation + (sizes.highs[place] - sizes.lows[place])


def _log_scale(item: KernelLaws) -> float:
    """The deviation from the scale of order 2, in nats; nan where there is none."""
    gain = item.gain
    if item.scale is None or not (math.isfinite(gain) and gain > 0.0):
        return math.nan
    return 0.5 * math.log(gain * item.scale.mean)


def _log_scale_at_0(item: KernelLaws) -> float:
    """The deviation of the scale of order 0, where the log-norm keeps its mean."""
    return -moments.log_norm(item.scale, 2.0, item.width).mean
