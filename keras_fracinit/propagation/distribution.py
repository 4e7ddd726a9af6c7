"""The exact law of a sum of log-norms, by its characteristic function.

The characteristic function of one layer is a moment of imaginary order, E X^(iu/2) in the terms of
`orders`. The same integral gives it, on a straight line: a bend to the left would let z^(-p) grow.
At low frequencies the race of `moments` is the better of the two. The characteristic functions of
the layers of a stack multiply, and the inversion formula of Gil-Pelaez turns the product into a
distribution function. Both integrals are trapezoidal sums of analytic functions.

Source: J. Gil-Pelaez, Biometrika 38 (1951); R. B. Davies, Biometrika 60 (1973), for the sum.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from keras_fracinit.laws.base import Array, Law
from keras_fracinit.propagation.moments import log_density, log_mean_power, race_of, time_unit
from keras_fracinit.propagation.orders import saddle

_PILOT = 1 / 16  # the step at which the speed of a phase is measured


_LOG_NOTHING = -39.0  # the logarithm of a probability that rounding hides


# A characteristic function this small is left out: it falls on, and is divided by its place.
_NOTHING = 1e-13


class Spectrum(NamedTuple):
    """The law of `log r - E log r`, given by its characteristic function at `(j + 1/2) pi/radius`.

    The law is negligible outside of `[-radius, radius]`.
    """

    radius: float
    frequencies: Array
    weights: Array

    def cdf(self, x: float) -> float:
        if abs(x) >= self.radius:
            return 0.0 if x < 0.0 else 1.0
        # The midpoint rule for the inversion of Gil-Pelaez errs by the tails beyond the radius.
        value = 0.5 - float((np.exp(-1j * x * self.frequencies) * self.weights).imag.sum())
        return min(max(value, 0.0), 1.0)

    def quantile(self, q: float) -> float:
        from scipy.optimize import brentq  # type: ignore[import-untyped]

        return float(brentq(lambda x: self.cdf(x) - q, -self.radius, self.radius, xtol=1e-14))


@functools.lru_cache(maxsize=256)
def spectrum(counts: tuple[tuple[tuple[Law, int], int], ...], variance: float) -> Spectrum:
    """Computes the law of a stack from the count of each layer and the variance of the sum."""
    # Nine standard deviations for the nearly normal rest, once a rare small layer is set apart.
    radius = 9.0 * math.sqrt(variance) + max(_reach(*layer) for layer, _ in counts)
    blocks: list[tuple[Array, Array]] = []
    while not blocks or np.abs(blocks[-1][1]).max() > _NOTHING:
        frequencies = (32 * len(blocks) + np.arange(32) + 0.5) * math.pi / radius
        values = np.ones(32, dtype=complex)
        for (law, width), count in counts:
            centre = 0.5 * log_mean_power(race_of(law, width), 0.0)
            factor = characteristic(law, width, frequencies) * np.exp(-1j * centre * frequencies)
            values = values * factor**count
        blocks.append((frequencies, values))
    frequencies, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return Spectrum(radius, frequencies, values / (math.pi * (np.arange(values.size) + 0.5)))


def characteristic(law: Law, width: int, frequencies: Array) -> Array:
    """`E exp(i u (log X)/2)` at increasing u > 0: the characteristic function of the log-norm.

    Given survival, and without the constant `log(E[Q | Q > 0])/2`.
    """
    from scipy.special import gamma, loggamma  # type: ignore[import-untyped]

    p = 0.5j * frequencies
    # By the race itself where Gamma(p) is large, and by the line where Gamma(1 - p) is small.
    slow = frequencies < 2.0
    race = race_of(law, width)
    u, excess = race.u, race.excess
    near = 1.0 + np.expm1(-np.outer(p[slow], u)) @ excess / gamma(1.0 - p[slow])
    log_weight, log_z = _line(law, width, float(frequencies[-1]))
    pairs = zip(p[~slow], loggamma(p[~slow]), strict=True)
    far = [np.exp(log_weight + log_gamma - q * log_z).sum() for q, log_gamma in pairs]
    return np.concatenate([near, far])


def _line(law: Law, width: int, fastest: float) -> tuple[Array, Array]:
    """Computes `log(f(-z) dz/(2 pi i))` and `log z` on a line fine enough for all frequencies."""
    end = 0.5 / (law.ceiling * time_unit(law, width))
    c = saddle(law, width, 1.0, end)
    w = min(c, end - c)

    def at(step: float) -> tuple[Array, Array]:
        v = np.arange(-80.0, 80.0, step)
        z = c + 1j * w * np.sinh(v)
        log_weight = log_density(law, width, -z) + np.log(step * w * np.cosh(v) / (2.0 * math.pi))
        kept = log_weight.real > log_weight.real.max() - 42.0
        return log_weight[kept], np.log(z[kept])

    # The factor that turns faster in v sets the step: f (like exp(z) for a wide layer) or z^(-p).
    turning = 2.0 * np.abs(np.diff(at(_PILOT)[0].imag)).max() / _PILOT
    return at(2.0 * math.pi / (max(turning, 0.5 * fastest) + 32.0))


def _reach(law: Law, width: int) -> float:
    """Bounds how far below its mean the log-norm of one layer falls, but for a tiny probability.

    By Markov `P(X <= x) <= exp(t x) P(T > t)`, T the race of `moments`: the best of all t.
    """
    u, *_ = race_of(law, width)
    log_mass = log_density(law, width, np.exp(u)) + u + math.log(u[1] - u[0])
    log_tail = np.logaddexp.accumulate(log_mass[::-1])[::-1]
    lowest = float(np.max((_LOG_NOTHING - log_tail) * np.exp(-u)))
    return 0.5 * (log_mean_power(race_of(law, width), 0.0) - math.log(lowest))
