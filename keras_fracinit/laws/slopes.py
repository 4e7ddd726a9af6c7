"""Random slopes: transforms of `U^2 z^2`, and the law of a unit that multiplies by a random slope.

Every positively homogeneous activation multiplies a number by one slope above zero and by another
below, each of which may be random. The difference of a mirrored pair, `phi(u) - phi(-u)`, is u
times the sum of both: a unit whose slope is the same above and below, which is the law `Slopes`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from keras_fracinit.laws.base import Array, Laplace, Law, Sides, Slope


def gaussian(slope: float, t: Array) -> Laplace:
    """The transform of `slope^2 z^2`: `psi = (1 + x)^(-1/2)`, `x = 2 slope^2 t`."""
    square = slope * slope
    x = 2.0 * square * t
    root = np.sqrt(1.0 + x)
    # Divided twice, because root^3 overflows where t is huge.
    return Laplace(1.0 / root, x / (root * (1.0 + root)), square / root / (1.0 + x))


# asinh(y)/y = sum of a_k y^(2k); from k = 1 on, with the sign turned: 1 - asinh(y)/y over y^2.
_ASINH = [(-1) ** (k + 1) * math.comb(2 * k, k) / (4**k * (2 * k + 1)) for k in range(1, 15)]


def uniform(lower: float, upper: float, t: Array) -> Laplace:
    """The transform of `U^2 z^2`, `U` uniform on `[lower, upper]`, `0 <= lower < upper`.

    With x = sqrt(2t), a = lower x, b = upper x, the integrals over U are elementary:
    psi = (asinh b - asinh a)/(b - a), and x^2 (-psi') = psi - E (1 + x^2 U^2)^(-3/2). As they stand
    they cancel for small t and for lower near upper. Below, y = sinh(asinh b - asinh a) is
    `(b - a) ratio`, and every difference from 1 is formed without subtracting from 1.
    """
    x = np.sqrt(2.0 * t)
    a, b = lower * x, upper * x
    root_a, root_b = np.sqrt(1.0 + a * a), np.sqrt(1.0 + b * b)
    excess_a, excess_b = a * a / (1.0 + root_a), b * b / (1.0 + root_b)  # root - 1
    scale = b * root_a + a * root_b
    ratio = (a + b) / scale
    ratio_complement = (b * excess_a + a * excess_b) / scale
    y = (upper - lower) * x * ratio  # b - a rounds to 0 where the two slopes are neighbours
    arc = np.arcsinh(y) / y
    small = np.abs(y) < 0.25
    y2 = np.where(small, y, 0.0) ** 2
    series = y2 * np.polynomial.polynomial.polyval(y2, _ASINH)
    arc_complement = np.where(small, series, 1.0 - arc)
    roots = root_a * root_b
    roots_complement = (excess_a + root_a * excess_b) / roots  # 1 - 1/roots
    difference = np.where(np.abs(roots) < 2.0, roots_complement - arc_complement, arc - 1.0 / roots)
    return Laplace(
        ratio * arc, ratio_complement + ratio * arc_complement, ratio * difference / (2.0 * t)
    )


@dataclass(frozen=True)
class Slopes(Law):
    """`phi(u) = B u`, the slope B drawn afresh for each unit from a mixture. C = B^2.

    It is the law of the difference of a mirrored pair, see `Law.pair`.

    Args:
        parts: `(probability, lower, upper)` for each part of the mixture, on which B is uniform;
            the probabilities add up to 1, and 0 <= lower < upper, or both are one number.

    Example:

    >>> from keras_fracinit.laws import LeakyReLU
    >>> LeakyReLU(0.5).pair  # phi(u) - phi(-u) = 1.5 u
    Slopes(parts=((1.0, 1.5, 1.5),))
    >>> LeakyReLU(0.5).pair.mean
    2.25
    """

    parts: tuple[Slope, ...]

    @property
    def mean(self) -> float:
        return math.fsum(p * _power_mean(low, high, 2) for p, low, high in self.parts)

    @property
    def mean_square(self) -> float:
        return 3.0 * math.fsum(p * _power_mean(low, high, 4) for p, low, high in self.parts)

    @property
    def alive(self) -> float:
        dead = math.fsum(p for p, _, high in self.parts if not high)
        return 1.0 - dead

    @property
    def floor(self) -> float:
        return min(high**2 for _, _, high in self.parts if high)

    @property
    def ceiling(self) -> float:
        return max(high**2 for _, _, high in self.parts)

    def laplace(self, t: Array) -> Laplace:
        found = [(p, _transform(low, high, t)) for p, low, high in self.parts]
        sums = (sum((p * x[i] for p, x in found), np.zeros_like(t)) for i in range(3))
        return Laplace(*sums)

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        rows = [row for part in self.parts for row in _nodes_of(part)]
        return np.array([p for p, _ in rows]), np.stack([abs(slope) * z for _, slope in rows])

    @property
    def sides(self) -> Sides:
        return self.parts, self.parts

    def overlap(self, shared: bool) -> tuple[float, float]:
        middle = math.fsum(p * 0.5 * (low + high) for p, low, high in self.parts)
        return (self.mean if shared else middle**2), 0.0


def _power_mean(low: float, high: float, power: int) -> float:
    """`E U^power`, U uniform on [low, high], without a division by their difference."""
    if low == high:
        return low**power
    return sum(low**k * high ** (power - k) for k in range(power + 1)) / (power + 1)


def _transform(low: float, high: float, t: Array) -> Laplace:
    return gaussian(high, t) if low == high else uniform(low, high, t)


def _nodes_of(part: Slope) -> list[tuple[float, float]]:
    """A part of a mixture as probabilities and single slopes."""
    p, low, high = part
    if low == high:
        return [(p, high)]
    return [(p * w, slope) for slope, w in zip(*uniform_nodes(low, high), strict=True)]


_LEGENDRE = np.polynomial.legendre.leggauss(16)


def uniform_nodes(lower: float, upper: float) -> tuple[Array, Array]:
    """Nodes of the uniform law on `[lower, upper]`, and their weights, which add up to 1.

    What is averaged is analytic in the slope, but for slope 0. The rule of Gauss and Legendre in
    log slope needs few nodes where 0 is far from both ends. Where it is near, the nodes are graded
    toward both ends by `share = 1/(1 + exp(-pi sinh v))`, because everything may happen next to it;
    a step of 0.2 would err by 1e-8 for lower = upper/1000.
    """
    if lower > 0.01 * upper:
        x, weights = _LEGENDRE
        slopes = lower * np.exp(0.5 * (1.0 + x) * math.log(upper / lower))
        weights = weights * slopes
    else:
        v = np.arange(-3.5, 3.5, 0.125)
        share = 1.0 / (1.0 + np.exp(-math.pi * np.sinh(v)))
        slopes = lower + (upper - lower) * share
        weights = share * (1.0 - share) * np.cosh(v)
    return slopes, weights / weights.sum()


def sum_of(above: tuple[Slope, ...], below: tuple[Slope, ...]) -> tuple[Slope, ...]:
    """The mixture of the sum of two independent slopes, of which at most one part is uniform."""
    parts: defaultdict[tuple[float, float], float] = defaultdict(float)
    for p, low, high in above:
        for q, other_low, other_high in below:
            parts[low + other_low, high + other_high] += p * q
    return tuple((p, low, high) for (low, high), p in parts.items())
