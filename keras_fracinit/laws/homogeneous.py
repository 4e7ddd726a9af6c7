"""Laws of positively homogeneous activations, and of dropout behind any activation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_fracinit.laws.base import Array, Laplace, Law, Sides, Slope
from keras_fracinit.laws.slopes import Slopes, gaussian, sum_of, uniform, uniform_nodes
from keras_fracinit.utils.validation import check_real

# `mean_square` holds the fourth power of a slope, which must stay a normal float64.
_SMALLEST_SLOPE, _LARGEST_SLOPE = 1e-75, 1e75


def _mixture(first: Laplace, second: Laplace) -> Laplace:
    """Half of each: a symmetric `z` lies on either half-line with probability 1/2."""
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
        return _mixture(gaussian(1.0, t), gaussian(self.negative_slope, t))

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        return np.array([0.5, 0.5]), np.stack([z, abs(self.negative_slope) * z])

    def overlap(self, shared: bool) -> tuple[float, float]:
        return self.mean, 0.25 * (1.0 - self.negative_slope) ** 2

    @property
    def sides(self) -> Sides:
        return ((1.0, 1.0, 1.0),), ((1.0, self.negative_slope, self.negative_slope),)

    @property
    def pair(self) -> Law | None:
        return _pair_of(*self.sides)


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
            below = gaussian(self.upper, t)
        else:
            below = uniform(self.lower, self.upper, t)
        return _mixture(gaussian(1.0, t), below)

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        slopes, weights = uniform_nodes(self.lower, self.upper)
        probabilities = np.concatenate([[1.0], weights]) / 2.0
        return probabilities, np.concatenate([z[None], np.multiply.outer(slopes, z)])

    def overlap(self, shared: bool) -> tuple[float, float]:
        middle = self.lower + 0.5 * (self.upper - self.lower)
        variance = (self.upper - self.lower) ** 2 / 12.0
        total, even = 0.5 * (1.0 + middle**2), 0.25 * (1.0 - middle) ** 2
        return (self.mean, even + 0.25 * variance) if shared else (total, even)

    @property
    def sides(self) -> Sides:
        return ((1.0, 1.0, 1.0),), ((1.0, self.lower, self.upper),)

    @property
    def pair(self) -> Law | None:
        return _pair_of(*self.sides)


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

    @property
    def sides(self) -> Sides | None:
        if self.law.sides is None:
            return None
        above, below = (self._masked(side) for side in self.law.sides)
        return above, below

    @property
    def pair(self) -> Law | None:
        """None behind smooth activations: the mask takes their even part out of balance, too."""
        pair = self.law.pair
        if pair is None or self.law.sides is None or self.sides is None:
            return None
        silent = not any(high for _, _, high in self.law.sides[1])
        # Before ReLU one unit of a pair is 0, so one mask alone decides.
        return Dropout(pair, self.rate) if silent else _pair_of(*self.sides)

    def _masked(self, side: tuple[Slope, ...]) -> tuple[Slope, ...]:
        keep = 1.0 - self.rate
        kept = ((keep * p, low / keep, high / keep) for p, low, high in side)
        return (*kept, (self.rate, 0.0, 0.0))


def _pair_of(above: tuple[Slope, ...], below: tuple[Slope, ...]) -> Law | None:
    """The law of `phi(u) - phi(-u)`: u times the sum of the slopes on both sides."""
    parts = sum_of(above, below)
    if above == below or not any(high for _, _, high in parts):
        return None
    _, low, high = parts[0]
    return slope_law(high) if len(parts) == 1 and low == high else Slopes(parts)


def slope_law(slope: float) -> Law:
    """The law of `phi(u) = slope u`."""
    size = abs(slope)
    return Linear() if size == 1.0 else Slopes(((1.0, size, size),))
