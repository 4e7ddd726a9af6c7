"""The laws of heavy-tailed weights: symmetric alpha-stable, 1 < alpha < 2, of infinite variance.

Z is standard symmetric alpha-stable if `E exp(i t Z) = exp(-|t|^alpha)`. Sums of such numbers are
such numbers: with independent `W_ij = sigma Z_ij`, given x, every pre-activation is exactly

    (W x)_i = sigma |x|_alpha Z_i,    |x|_alpha = (sum_j |x_j|^alpha)^(1/alpha),

and independent of the others. The l_alpha norm takes the place of the Euclidean one, and everything
else stays: `|y|_alpha^alpha = sigma^alpha |x|_alpha^alpha Q`, with Q the sum over the units of
`q = |phi(Z)|^alpha`, so the race of `moments` runs with `psi(t) = E exp(-t q)` and p = s/alpha < 1.
(For a smooth phi, which has a size of its own, q is `|sqrt(2) phi(Z/sqrt(2))|^alpha`.) It is new
that `P(q > x)` falls like 1/x: E q is infinite, and a quantile takes its place.

Nodes. Z has a density, but no closed one. Its moments have:

    E |Z|^r = 2^r Gamma((1 + r)/2) Gamma(1 - r/alpha) / (sqrt(pi) Gamma(1 - r/2)),  -1 < r < alpha,

so the density of log |Z| is their inverse Mellin transform, an integral along a vertical line that
the trapezoidal rule takes to rounding: near the pole alpha for |Z| > 1, near -1 for |Z| < 1, which
keeps the relative accuracy of both tails. Then psi is one sum over nodes, geometric at both ends
and evenly spaced between, where smooth activations bend.

Source: docs/theory/stable.md; V. M. Zolotarev, "One-dimensional stable distributions", 1986, for
the moments; S. Favaro, S. Fortini and S. Peluchetti, "Stable behaviour of infinitely wide deep
neural networks", AISTATS 2020, for such weights in networks.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_fracinit.laws.base import Array, Laplace, Law
from keras_fracinit.laws.smooth import floor_of, transform
from keras_fracinit.utils.choices import check_alpha
from keras_fracinit.utils.validation import check_order

# z from exp(-61) to exp(105), which a layer of 10^7 units at alpha near 1 may need.
_FIRST, _LAST, _STEP = -60.0, 150.0, 0.125


_TURN = 45.0  # where the spacing of the nodes turns from even to geometric


# The lines of integration, off the poles, and a step with exp(-2 pi _OFF/step) < 1e-16.
_OFF, _LINE_STEP, _LINE_END = 0.2, 1 / 30, 56.0


# GELU is exp(-z^2/2) far below 0, where Z is not rare. No order from 0.1 on depends on the rest.
_SILENT = 1e-200


_ROOT = math.sqrt(2.0)  # Z/sqrt(2) tends to a standard normal as alpha does to 2


@functools.lru_cache(maxsize=32)
def _nodes(alpha: float) -> tuple[Array, Array]:
    """Gives nodes for `|Z|`, ascending, and their weights."""
    x = np.arange(_FIRST, _LAST, _STEP)
    z = np.logaddexp(0.0, x) / 3.0 + np.exp(x - _TURN)
    speed = 1.0 / (3.0 + 3.0 * np.exp(-x)) + np.exp(x - _TURN)
    weights = _log_density(np.log(z), alpha) / z * speed
    return z, weights / weights.sum()


def _log_density(log_z: Array, alpha: float) -> Array:
    """Computes the density of `log |Z|`."""
    from scipy.special import loggamma  # type: ignore[import-untyped]

    density = np.empty_like(log_z)
    y = np.arange(0.5, _LINE_END / _LINE_STEP) * _LINE_STEP
    for here, real in ((log_z < 0.0, _OFF - 1.0), (log_z >= 0.0, alpha - _OFF)):
        r = real + 1j * y
        log_moment = loggamma(0.5 + 0.5 * r) + loggamma(1.0 - r / alpha) - loggamma(1.0 - 0.5 * r)
        log_moment += r * math.log(2.0) - 0.5 * math.log(math.pi)
        terms = np.exp(log_moment - 1j * np.multiply.outer(log_z[here], y))
        density[here] = np.exp(-real * log_z[here]) * terms.real.sum(axis=1) * _LINE_STEP / math.pi
    return density


@dataclass(frozen=True)
class Stable(Law):
    """The law of `q = |phi(Z)|^alpha`: a layer whose weights are alpha-stable.

    With `W_ij = sigma Z_ij` and `sigma^alpha = g/n` the layer keeps `E (|x|_alpha/n^(1/alpha))^s`,
    g the `gain` of this law, for 0 <= s < alpha. At alpha = 2 Z would be normal of variance 2, and
    g half of the Gaussian gain. The relative error of g is at most 1e-10 for s >= 0.1.

    Args:
        law: The law of the activation under normal weights: any but `smooth.Sampled`, whose values
            end at 13. `Smooth` is exact at one size of the pre-activations, `Z/sqrt(2)`, which at
            alpha = 2 is a standard normal: where `sigma |x|_alpha = 1/sqrt(2)`. A q below 1e-200
            counts as 0, as GELU is far below 0: the gain at s = 0 is that given a Q above 1e-200.
        alpha: The tail index of the weights, between 1 and 2.

    Raises:
        TypeError: If `law` is not a `Law` or `alpha` not a real number.
        ValueError: If `alpha` is outside (1, 2), or the activation is not known beyond 13.

    Example:

    >>> from keras_fracinit import gain
    >>> from keras_fracinit.laws import ReLU, Stable
    >>> round(gain(Stable(ReLU(), alpha=1.5), s=1, width=64), 6)
    0.506555

    Source: `keras_fracinit.laws.Stable`.
    """

    law: Law
    alpha: float

    def __post_init__(self) -> None:
        if not isinstance(self.law, Law) or isinstance(self.law, Stable):
            raise TypeError(f"`law` must be the law of an activation. Received: law={self.law!r}")
        object.__setattr__(self, "alpha", check_alpha(self.alpha))
        self.law.magnitudes(np.ones(1))  # raises where the activation is not known far out

    @property
    def exponent(self) -> float:
        return self.alpha

    @property
    def mean(self) -> float:
        rows = _masses_of(self).masses
        if max(float(q[-1]) for _, q in rows) > 1e20:  # not bounded
            return math.inf
        return sum(float(weights @ q) for weights, q in rows)

    @property
    def mean_square(self) -> float:
        return math.inf  # finite for a bounded phi, but there is no expansion that would use it

    @property
    def alive(self) -> float:
        return _masses_of(self).alive

    @property
    def floor(self) -> float:
        return _masses_of(self).floor

    @property
    def ceiling(self) -> float:
        return math.inf  # psi ends at 0: q has no exponential moment

    def check_order(self, s: object) -> float:
        order = check_order(s)
        if order >= self.alpha:
            raise ValueError(
                "`s` must be below `alpha`: no higher moment of an alpha-stable weight is finite. "
                f"Received: s={s}, alpha={self.alpha}"
            )
        return order

    def size(self, width: int) -> float:
        """The quantile with `P(q > x)` about 1/width, over it: the largest terms make the sum."""
        mean = self.mean
        return mean if math.isfinite(mean) else _size(self, width)

    def laplace(self, t: Array) -> Laplace:
        found = _masses_of(self)
        return transform(t, found.masses, at_zero=1.0 - found.alive)

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        return self.law.magnitudes(z)

    def overlap(self, shared: bool) -> tuple[float, float]:
        raise ValueError(
            "Angles are Euclidean, and stable weights do not know them. "
            f"Received: a layer of alpha={self.alpha}"
        )

    @property
    def pair(self) -> Law | None:
        pair = self.law.pair
        return None if pair is None else Stable(pair, self.alpha)


class StableMasses(NamedTuple):
    """The law of q: weights and values where it is not 0, P(q > 0), and `Law.floor`."""

    masses: list[tuple[Array, Array]]
    alive: float
    floor: float


@functools.lru_cache(maxsize=32)
def _masses_of(law: Stable) -> StableMasses:
    z, weights = _nodes(law.alpha)
    shares, values = law.law.magnitudes(z / _ROOT)
    masses, silent = [], 0.0
    for share, q in zip(shares, (_ROOT * values) ** law.alpha, strict=True):
        if not q.any():
            continue  # counted by `law.alive`
        alive = q > _SILENT
        silent += share * float(weights[~alive].sum())
        masses.append((share * weights[alive], q[alive]))
    all_weights, all_q = (np.concatenate(parts) for parts in zip(*masses, strict=True))
    return StableMasses(masses, law.law.alive - silent, floor_of(all_q, all_weights))


@functools.lru_cache(maxsize=256)
def _size(law: Stable, width: int) -> float:
    log_t = np.arange(-60.0, 60.0, 0.25)
    share = law.laplace(np.exp(log_t)).complement / law.alive
    return math.exp(-float(np.interp(-math.expm1(-1.0 / width), share, log_t))) / width
