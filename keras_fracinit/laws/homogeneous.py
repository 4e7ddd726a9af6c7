"""Laws of positively homogeneous activations, and of dropout behind any activation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from keras_fracinit.laws.base import Array, Laplace, Law
from keras_fracinit.utils.validation import check_real

# `mean_square` holds the fourth power of a slope, which must stay a normal float64.
_SMALLEST_SLOPE, _LARGEST_SLOPE = 1e-75, 1e75


def _gaussian(slope: float, t: Array) -> Laplace:
    """The transform of `slope^2 z^2`: `psi = (1 + x)^(-1/2)`, `x = 2 slope^2 t`."""
    square = slope * slope
    x = 2.0 * square * t
    root = np.sqrt(1.0 + x)
    # Divided twice, because root^3 overflows where t is huge.
    return Laplace(1.0 / root, x / (root * (1.0 + root)), square / root / (1.0 + x))


# asinh(y)/y = sum of a_k y^(2k); from k = 1 on, with the sign turned: 1 - asinh(y)/y over y^2.
_ASINH = [(-1) ** (k + 1) * math.comb(2 * k, k) / (4**k * (2 * k + 1)) for k in range(1, 15)]


def _uniform(lower: float, upper: float, t: Array) -> Laplace:
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


def _mixture(first: Laplace, second: Laplace) -> Laplace:
    """Half of each: a symmetric `z` meets either half-line with probability 1/2."""
    return Laplace(*(0.5 * (a + b) for a, b in zip(first, second, strict=True)))


def _check_slope(name: str, value: float) -> float:
    slope = check_real(name, value)
    if slope != 0.0 and not _SMALLEST_SLOPE <= abs(slope) <= _LARGEST_SLOPE:
        raise ValueError(
            f"`{name}` must be 0 or of a size between {_SMALLEST_SLOPE:g} and {_LARGEST_SLOPE:g}. "
            f"Received: {name}={value}"
        )
    return slope


class _TwoSlopes(Law):
    """Slope 1 above zero, `negative_slope` below: C is 1 or its square, half the time each."""

    negative_slope: float

    @property
    def mean(self) -> float:
        return 0.5 * (1.0 + self.negative_slope**2)

    @property
    def mean_square(self) -> float:
        return 1.5 * (1.0 + self.negative_slope**4)

    @property
    def alive(self) -> float:
        return 1.0 if self.negative_slope else 0.5

    @property
    def floor(self) -> float:
        return min(1.0, self.negative_slope**2 or 1.0)

    @property
    def ceiling(self) -> float:
        return max(1.0, self.negative_slope**2)

    def laplace(self, t: Array) -> Laplace:
        return _mixture(_gaussian(1.0, t), _gaussian(self.negative_slope, t))

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        return np.array([0.5, 0.5]), np.stack([z, abs(self.negative_slope) * z])

    def overlap(self, shared: bool) -> tuple[float, float]:
        return self.mean, 0.25 * (1.0 - self.negative_slope) ** 2


@dataclass(frozen=True)
class Linear(_TwoSlopes):
    """`phi(u) = u`. C = 1.

    Example:

    >>> Linear().mean
    1.0
    """

    negative_slope = 1.0


@dataclass(frozen=True)
class ReLU(_TwoSlopes):
    """`phi(u) = max(u, 0)`. C is 1 or 0, half the time each.

    Example:

    >>> ReLU().mean, ReLU().alive
    (0.5, 0.5)
    """

    negative_slope = 0.0


@dataclass(frozen=True)
class LeakyReLU(_TwoSlopes):
    """`phi(u) = u` above zero, `negative_slope * u` below. C is 1 or negative_slope^2.

    Args:
        negative_slope: Any real number: 0 gives ReLU, 1 the identity, -1 the absolute value. A
            PReLU is this law at its start.

    Raises:
        TypeError: If the slope is not a real number.
        ValueError: If it is nan, infinite, larger than 1e75, or not 0 but smaller than 1e-75.

    Example:

    >>> LeakyReLU(0.5).mean
    0.625
    """

    negative_slope: float

    def __post_init__(self) -> None:
        slope = _check_slope("negative_slope", self.negative_slope)
        object.__setattr__(self, "negative_slope", slope)


@dataclass(frozen=True)
class RandomizedLeakyReLU(Law):
    """`phi(u) = u` above zero, `U u` below, the slope U uniform on [lower, upper], fresh per unit.

    This is the layer in training mode. At inference its slope is the mean of the two ends, which is
    `LeakyReLU((lower + upper) / 2)`.

    Args:
        lower: The smallest slope, at least 0.
        upper: The largest slope, at least `lower`.

    Raises:
        TypeError: If an end is not a real number.
        ValueError: If `lower` is negative or above `upper`, or an end out of `LeakyReLU`'s range.

    Example:

    >>> RandomizedLeakyReLU(0.0, 1.0).mean  # (1 + 1/3) / 2
    0.6666666666666666
    """

    lower: float = 1 / 8
    upper: float = 1 / 3

    def __post_init__(self) -> None:
        lower, upper = _check_slope("lower", self.lower), _check_slope("upper", self.upper)
        if not 0.0 <= lower <= upper:
            raise ValueError(
                "`lower` and `upper` must satisfy 0 <= lower <= upper. "
                f"Received: lower={self.lower}, upper={self.upper}"
            )
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @property
    def mean(self) -> float:
        low, high = self.lower, self.upper
        # E U^2 = (l^2 + l u + u^2)/3, written so that lower = upper gives the leaky ReLU's bits.
        return 0.5 * (1.0 + low**2 + (high - low) * (high + 2.0 * low) / 3.0)

    @property
    def mean_square(self) -> float:
        low, high = self.lower, self.upper
        powers = sum(low**k * high ** (4 - k) for k in range(5))
        return 1.5 * (1.0 + powers / 5.0)

    @property
    def alive(self) -> float:
        return 1.0 if self.upper else 0.5

    @property
    def floor(self) -> float:
        return min(1.0, self.upper**2 or 1.0)

    @property
    def ceiling(self) -> float:
        return max(1.0, self.upper**2)

    def laplace(self, t: Array) -> Laplace:
        if self.lower == self.upper:
            below = _gaussian(self.upper, t)
        else:
            below = _uniform(self.lower, self.upper, t)
        return _mixture(_gaussian(1.0, t), below)

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        # Graded toward both ends, because all that happens may happen next to slope 0.
        v = np.arange(-3.5, 3.5, 0.125)
        share = 1.0 / (1.0 + np.exp(-math.pi * np.sinh(v)))
        weights = share * (1.0 - share) * np.cosh(v)
        slopes = self.lower + (self.upper - self.lower) * share
        probabilities = np.concatenate([[1.0], weights / weights.sum()]) / 2.0
        return probabilities, np.concatenate([z[None], np.multiply.outer(slopes, z)])

    def overlap(self, shared: bool) -> tuple[float, float]:
        middle = self.lower + 0.5 * (self.upper - self.lower)
        variance = (self.upper - self.lower) ** 2 / 12.0
        total, even = 0.5 * (1.0 + middle**2), 0.25 * (1.0 - middle) ** 2
        return (self.mean, even + 0.25 * variance) if shared else (total, even)


@dataclass(frozen=True)
class Dropout(Law):
    """Any law followed by inverted dropout: C/(1 - rate)^2 with probability 1 - rate, else 0.

    This is the network in training mode.

    Args:
        law: The law of the activation before the dropout.
        rate: The share of units dropped, in [0, 1).

    Raises:
        TypeError: If `law` is not a `Law` or `rate` not a real number.
        ValueError: If `rate` is outside [0, 1).

    Example:

    >>> Dropout(ReLU(), 0.5).mean, Dropout(ReLU(), 0.5).alive
    (1.0, 0.25)
    """

    law: Law
    rate: float

    def __post_init__(self) -> None:
        if not isinstance(self.law, Law):
            raise TypeError(f"`law` must be a law of this module. Received: law={self.law!r}")
        rate = check_real("dropout", self.rate)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"`dropout` must satisfy 0 <= dropout < 1. Received: dropout={rate}")
        object.__setattr__(self, "rate", rate)

    @property
    def mean(self) -> float:
        return self.law.mean / (1.0 - self.rate)

    @property
    def mean_square(self) -> float:
        return self.law.mean_square / (1.0 - self.rate) ** 3

    @property
    def alive(self) -> float:
        return (1.0 - self.rate) * self.law.alive

    @property
    def floor(self) -> float:
        return self.law.floor / (1.0 - self.rate) ** 2

    @property
    def ceiling(self) -> float:
        return self.law.ceiling / (1.0 - self.rate) ** 2

    def laplace(self, t: Array) -> Laplace:
        keep = 1.0 - self.rate
        kept = self.law.laplace(t / keep**2)
        return Laplace(self.rate + keep * kept.psi, keep * kept.complement, kept.decay / keep)

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        shares, values = self.law.magnitudes(z)
        keep = 1.0 - self.rate
        dropped = np.zeros_like(z)[None]
        return np.append(keep * shares, self.rate), np.concatenate([values / keep, dropped])

    def overlap(self, shared: bool) -> tuple[float, float]:
        total, even = self.law.overlap(shared)
        keep = 1.0 - self.rate if shared else 1.0  # two masks of mean 1: E m m' is 1/keep or 1
        return total / keep, even / keep
