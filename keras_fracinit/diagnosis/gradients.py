"""Follows a gradient back through a network: the backward walk of the same kernels.

Behind layer l, with kernel W_l, the gradient g_l of the output becomes `W_l^T (phi'(u_l) g_l)` in
front of it. Its norm is multiplied by

    |g_(l-1)| / |g_l| = sigma_l sqrt(|W^T v|^2 / |v|^2) |v| / |g_l|,    v = phi'(u_l) g_l.

With n the fan-in and sigma^2 the variance of the weights this is `n sigma^2 E phi'^2` in the mean
square. The norm itself is kept where the size of the signal is: no factor of the two widths is
left, since every output sums over n inputs. For a homogeneous activation `phi'(z)^2 zeta^2`, with
independent normal z and zeta, has the law of `phi(z)^2`; so the walk backward has the steps of the
walk forward, in reverse, and the same band. A smooth activation has `chi = g E phi'(z)^2`, which
is not 1 where the signal keeps its size (1.18 for tanh): its gradients grow or shrink with depth
whatever the scale.

The gradients of different samples start in independent directions, so the mean of their logarithms
fluctuates less. Where the mean squared cosine between them is rho^2, d units leave

    (R (1 + 2 rho^2) - 1) / (4 d),    R = E phi'^4 / (E phi'^2)^2,

of its variance at most, if all samples meet the same slopes phi'; rho^2 is measured. The derivation
is on the page "Gradients" of the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras_fracinit.diagnosis.chance import reach_of, third_cumulant
from keras_fracinit.diagnosis.drifts import Drifts
from keras_fracinit.diagnosis.random_walk import KernelLaws, LayerStep, Walk, edges, kernels_in
from keras_fracinit.graph.operations import moves_size
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Dropout, Linear
from keras_fracinit.laws.smooth import point_mass_of
from keras_fracinit.models.forward_pass import Output
from keras_fracinit.propagation.moments import LogNorm, log_norm

_LEAST = math.log(10.0)  # less than a factor of ten does no harm; one sigmoid makes five


def drifts_of_gradients(walk: Walk, outputs: Sequence[Output], known: Any, chance: float) -> Drifts:
    """Computes the drift of the gradient from the end of a walk back to the input of each step.

    The steps are in reverse. What pooling and its like do to the gradient is left out.
    """
    value = low = high = variance = third = 0.0
    rows, variances = [], []
    for place in range(len(walk.steps) - 1, -1, -1):
        step = walk.steps[place]
        above = walk.steps[place + 1].first if place + 1 < len(walk.steps) else None
        value += _moved(step, above, outputs, known)
        laws = zip(kernels_in(step.first.layer, known), step.laws, strict=True)
        alike = step.last.gradient.alike if step.last.gradient else 1.0
        norms = [(item, _log_norm(item, law, alike)) for item, law in laws]
        positions = len(step.first.signal.shape) > 2
        for item, norm in norms:
            low += norm.mean + edges(item.kernel.site, step.first.signal.shape)
            high -= norm.mean if positions else 0.0
        variances.append(sum(norm.variance for _, norm in norms))
        variance += variances[-1]
        third += third_cumulant(variances[-1])
        # The last product with W^T fluctuates as its n entries do.
        entries = log_norm(Linear(), 2.0, _inputs(norms[0][0]))
        total = variance + alike * entries.variance
        rows.append((value, low, high, math.sqrt(total), third / total**1.5))
    values, lows, highs, deviations, skew = zip(*rows, strict=True)
    reach = reach_of(variances, [1.0] * len(variances), chance)
    return Drifts(values, lows, highs, deviations, reach, _LEAST, skew)


def bands_of_gradients(walk: Walk, drifts: Drifts) -> dict[int, tuple[float, float]]:
    """The band of the gradient of each output of a walk but the last, by the ids of the outputs."""
    places = [walk.start, *(step.last for step in walk.steps[:-1])]
    found = {}
    for output, value, (low, high) in zip(
        reversed(places), drifts.values, drifts.band, strict=True
    ):
        if output.gradient is not None:
            shift = output.gradient.behind - value
            found[id(output)] = (shift + low, shift + high)
    return found


def _moved(step: LayerStep, above: Output | None, outputs: Sequence[Output], known: Any) -> float:
    """The logarithm of the factor of the gradient from behind a step to its input."""
    first, last = step.first, step.last
    if first.gradient is None or last.gradient is None:
        return math.nan
    items = kernels_in(first.layer, known)
    end = last.gradient.behind - _of_pairs(items[-1].mirrored.has_paired_outputs)
    inside = last is not first or items[-1].acts or step.laws[-1] == Linear()
    if not inside and above is not None and above.gradient is not None:
        # The activation is an operation, of which no gradient is known but at its end.
        taken = kernels_in(above.layer, known)[0].mirrored.takes_pairs
        end = above.gradient.into - _of_pairs(taken)
    start = first.gradient.into - _of_pairs(items[0].mirrored.takes_pairs)
    return start - end - _pooled(first, last, outputs)


def _of_pairs(paired: bool) -> float:
    """Both units of a pair have the same gradient, up to its sign."""
    return 0.5 * math.log(2.0) if paired else 0.0


def _pooled(first: Output, last: Output, outputs: Sequence[Output]) -> float:
    """The logarithm of the factor that pooling between two outputs has."""
    moved, output = 0.0, last
    while output is not first and output.parent >= 0:
        parent = outputs[output.parent]
        if moves_size(output.layer) and output.gradient and parent.gradient:
            moved += parent.gradient.behind - output.gradient.behind
        output = parent
    return moved


def _log_norm(item: KernelLaws, law: Law | None, alike: float) -> LogNorm:
    """Mean and variance of the mean log-norm of the backward step, at the scale of s = 2."""
    if item.mirrored.longer_side:  # an orthogonal block has a spread where it contracts
        shorter = log_norm(Linear(), 2.0, min(_inputs(item), item.mirrored.longer_side))
        longer = log_norm(Linear(), 2.0, item.mirrored.longer_side)
        return LogNorm(shorter.mean - longer.mean, max(shorter.variance - longer.variance, 0.0))
    kurtosis = _slope_kurtosis(law)
    single = (3.0 * kurtosis - 1.0) / (4.0 * item.width)
    common = (kurtosis * (1.0 + 2.0 * alike) - 1.0) / (4.0 * item.width)
    mean, variance = -single, single
    if point_mass_of(law) is None:  # exactly, as for the signal
        mean, variance = item.log_norm(law)
    return LogNorm(mean, variance * common / single)


def _slope_kurtosis(law: Law | None) -> float:
    """`E phi'^4 / (E phi'^2)^2`, of the slopes that the gradient meets, masks included."""
    kept = 1.0
    while isinstance(law, Dropout):
        kept, law = kept * (1.0 - law.rate), law.law
    smooth = point_mass_of(law)
    if smooth is not None:
        return smooth.slope_kurtosis / kept
    return 1.0 if law is None else law.mean_square / (3.0 * law.mean**2) / kept


def _inputs(item: KernelLaws) -> int:
    return max(int(item.fan_in), 1)
