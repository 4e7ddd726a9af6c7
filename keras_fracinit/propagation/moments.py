"""Moments of one layer: the gain that keeps the s-th moment, and the law of the log-norm.

With `Q = q_1 + ... + q_d` the squared norm of `phi(z)` (see `laws`), everything here is a moment of
`log Q`. They all come out of one integral over one density.

The exponential race. Let w = P(Q > 0) and, given Q > 0, let X be Q divided by its conditional mean,
so that E X = 1. Let T = Exp(1)/X be the first ring of a clock of rate X. Then P(T > t), which is
E exp(-t X), is the Laplace transform that the law gives in closed form, its derivative is the
density f of T, and log X = log Exp(1) - log T. With p = s/2 in (0, 1), and with Exp(1) itself,
which is X = 1, as the control,

    E X^p = 1 + (1/Gamma(1-p)) * integral of (t^(-p) - 1) (f(t) - exp(-t)) dt.

Three things make this accurate to rounding at every width, order, slope and dropout rate at once:
conditioning on survival removes the atom, so the two densities have equal mass and the -1 costs
nothing while it makes the integrand O(p) at p = 0 (s = 0 is then no special case but the limit,
log E X^p / p -> E log X); equal means make the difference O(t^2) at t = 0, which covers p = 1; and
at large d, where E X^p = 1 + O(1/d), the difference is itself O(1/d) and is formed by `expm1`. In
log t the integrand is analytic and decays exponentially at both ends: the trapezoidal rule reaches
rounding with a fixed step.

For stable weights (see `stable`) p = s/alpha, and E Q may be infinite. Then X is Q divided by a
quantile, f grows like A + B log(1/t) as t falls, and for s near alpha the integrand falls off
slowly: the part below the grid is a geometric series and is summed as one.

Source: Gurbuzbalaban and Hu, AISTATS 2021 (arXiv 2005.11878) for the scheme; Kogler, Schwarz and
Kittle, arXiv 2602.10949, for the limit s -> 0.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from keras_fracinit.laws.base import Array, Law, law_of
from keras_fracinit.utils.printing import record_html
from keras_fracinit.utils.validation import check_choice, check_width

METHODS = ("exact", "asymptotic")


# The trapezoid's error is exp(-pi^2/step) = 7e-18. The window: exp(2 u) is left out below, and
# exp(-(u - log(mean/floor))/2), the slowest tail there is (d = 1), above.
_STEP = 0.25


_FIRST, _LAST = -44.0, 110.0


_LOG_MAX = 709.7  # the logarithm of the largest float64, with room for rounding


class LogNorm(NamedTuple):
    """Mean and variance of the log-norm that one layer adds to the signal.

    Attributes:
        mean: Per layer, in nats. Negative: almost every signal dies out with depth.
        variance: Per layer, in nats squared.
    """

    mean: float
    variance: float

    def _repr_html_(self) -> str:
        return record_html(self)


class Race(NamedTuple):
    """The density of the race on a grid: `log t`, and `step * t * (f(t) - exp(-t))` there.

    Sums over it are integrals. `below` is `step * (f(t) - exp(-t))` at the first point and its
    change over one step, by which it goes on below the grid; zero where nothing is left there.
    """

    u: Array
    excess: Array
    log_survival: float
    below: tuple[float, float] = (0.0, 0.0)


def log_survival(law: Law, width: int) -> float:
    """Computes `log P(Q > 0)` to all digits, near 0 (wide layers) and far from it (dropout)."""
    if law.alive == 1.0:
        return 0.0
    log_death = width * math.log1p(-law.alive)
    if log_death < -math.log(2.0):
        return math.log1p(-math.exp(log_death))
    return math.log(-math.expm1(log_death))


def time_unit(law: Law, width: int) -> float:
    """The factor from the time t of the race to the argument of the law's `psi`."""
    return math.exp(log_survival(law, width)) / (width * law.size(width))


def log_density(law: Law, width: int, t: Array) -> Array:
    """Computes `log f(t)`, the density of T given survival; at complex `t` its continuation."""
    psi, complement, decay = law.laplace(t * time_unit(law, width))
    near = np.abs(complement) < 0.5
    log1p = _log1p if np.iscomplexobj(psi) else np.log1p
    log_psi = np.where(near, log1p(-np.where(near, complement, 0.0)), np.log(psi))
    return (width - 1) * log_psi + np.log(decay / law.size(width))


def _log1p(z: Array) -> Array:
    x, y = z.real, z.imag
    # NumPy's own adds the 1 to a complex number first, and with it loses the digits of a small one.
    logarithm: Array = np.log1p(x * (2.0 + x) + y * y) / 2.0 + 1j * np.arctan2(y, 1.0 + x)
    return logarithm


@functools.lru_cache(maxsize=256)
def race_of(law: Law, width: int) -> Race:
    """Computes the race of a layer on the grid where it is integrated."""
    last = _LAST + math.log(law.size(width) / law.floor)
    u = np.arange(_FIRST, last + _STEP, _STEP)
    t = np.exp(u)
    log_f = log_density(law, width, t)
    near = log_f + t
    # Where the two densities are close, their difference by expm1; elsewhere as it stands.
    difference = np.where(
        np.abs(near) < 1.0,
        np.exp(-t) * np.expm1(np.clip(near, -1.0, 1.0)),
        np.exp(log_f) - np.exp(-t),
    )
    below = (0.0, 0.0)
    if math.isinf(law.mean):
        below = (_STEP * float(difference[0]), _STEP * float(difference[0] - difference[1]))
    return Race(u, _STEP * t * difference, log_survival(law, width), below)


def log_mean_power(race: Race, p: float) -> float:
    """Computes `log(E X^p) / p` for 0 <= p <= 1; its limit E log X at p = 0."""
    if p < 1e-20:  # the limit, reached to rounding; below, p * u would lose digits as a subnormal
        return float(-(race.u @ race.excess))
    if p == 1.0:
        return 0.0
    integral = float(np.expm1(-p * race.u) @ race.excess) + _below(race, p)
    return math.log1p(integral / math.gamma(1.0 - p)) / p


def _below(race: Race, p: float) -> float:
    """The sum over k > 0 of `t^(1-p) (level + k change)` at the k-th point below the grid."""
    level, change = race.below
    ratio = math.exp(-(1.0 - p) * _STEP)
    gap = -math.expm1(-(1.0 - p) * _STEP)
    return math.exp((1.0 - p) * float(race.u[0])) * ratio * (level / gap + change / gap**2)


def _log_gain(law: Law, s: float, width: int) -> float:
    """`log(gain * size / w)`, exact."""
    race = race_of(law, width)
    log_gain = -log_mean_power(race, s / law.exponent)
    if s > 0.0:  # at s = 0 the moment is that given survival, hence the jump where P(Q = 0) > 0
        log_gain -= law.exponent * race.log_survival / s
    if log_gain + race.log_survival - min(0.0, math.log(law.size(width))) > _LOG_MAX:
        raise ValueError(overflow_message(law, s, width, "gain", "float64"))
    return log_gain


@functools.lru_cache(maxsize=4096)
def _gain(law: Law, s: float, width: int, method: str) -> float:
    if s == law.exponent:
        return 1.0 / law.mean
    if method == "asymptotic":
        relative_variance = law.mean_square / law.mean**2 - 1.0
        return (1.0 + (2.0 - s) / (4.0 * width) * relative_variance) / law.mean
    return math.exp(_log_gain(law, s, width) + log_survival(law, width)) / law.size(width)


@functools.lru_cache(maxsize=4096)
def _log_norm(law: Law, s: float, width: int, method: str) -> LogNorm:
    race = race_of(law, width)
    if method == "exact":
        log_gain = _log_gain(law, s, width)
    else:
        log_gain = math.log(_gain(law, s, width, method) * law.mean) - race.log_survival
    # log X = log Exp(1) - log T, independent: Var log X = Var log T - Var log Exp(1), both written
    # as differences from Exp(1), whose log has mean -euler.
    first = float(race.u @ race.excess)
    second = float(race.u**2 @ race.excess)
    variance = second + 2.0 * float(np.euler_gamma) * first - first**2
    return LogNorm((log_gain - first) / law.exponent, variance / law.exponent**2)


def checked(law: object, s: object, method: str) -> tuple[Law, float]:
    """Checks that law, order and method fit each other, and gives the law and the order."""
    check_choice("method", method, METHODS)
    found = law_of(law)
    if method != "exact" and found.exponent != 2.0:
        raise ValueError(
            "`method` must be 'exact' for stable weights: they have no expansion in 1/d. "
            f"Received: method={method!r}"
        )
    return found, found.check_order(s)


def overflow_message(law: Law, s: float, width: int, quantity: str, dtype: str) -> str:
    """Says why a scale is too large for a dtype, and how to avoid it."""
    return (
        f"The {quantity} that keeps the moment of order s={s:g} at width {width} is not finite in "
        f"{dtype}: all units of such a layer are zero together with probability P(Q = 0) = "
        f"{death_probability(law, width):g}, and the survivors have to make up for it. Use a "
        "larger s, a wider layer, less dropout, or s=0, which keeps the log-norm given survival."
    )


def gain(law: object, s: float, width: int, method: str = "exact") -> float:
    """The gain `g` for which a layer keeps the s-th moment of its signal.

    With `W_ij ~ N(0, g/n)`, `n` the fan-in and `d` the width (number of output units),
    `E (|y|/sqrt(d))^s = E (|x|/sqrt(n))^s` for `y = phi(W x)`; with `W_ij ~ N(0, g/d)`,
    `E |y|^s = E |x|^s`. Exactly, at every width:

        g(s, d) = d / E[Q^(s/2)]^(2/s),    Q = |phi(z)|^2,  z ~ N(0, I_d).

    For stable weights (law `stable.Stable`) `W_ij` has the scale `(g/n)^(1/alpha)`, norms are
    l_alpha norms, and `g = d/E[Q^(s/alpha)]^(alpha/s)`, `Q = |phi(Z)|_alpha^alpha`, s < alpha.

    It generalises the `scale` of `keras.initializers.VarianceScaling`: 2 for ReLU at s = 2 (He), 1
    for linear (LeCun). At s = 0 it is the limit given survival, `d exp(-E[log Q | Q > 0])`; where
    P(Q = 0) > 0 (ReLU, dropout) that is a jump, because g grows without bound as s falls to 0.

    Args:
        law: A law of `keras_fracinit.laws`, or anything that `initializer_for` accepts.
        s: The order of the moment, 0 <= s <= 2.
        width: The number of output units d, 1 to 10^7. Not the fan-in.
        method: "exact", or "asymptotic" for the expansion
            `(1/E q) (1 + (2 - s)/(4 d) (E q^2/(E q)^2 - 1))`, off by O(d^-2).

    Returns:
        The gain, positive, dimensionless; relative error at most 1e-11 (exact method, s >= 0.01,
        slopes 0 or of size 1e-8 to 1e8, dropout up to 0.999), and exactly `1/E q` at s = 2.

    Raises:
        TypeError: If `s` or `width` is not a number of its kind.
        ValueError: If an argument is outside its range, or the gain is larger than any float64
            (small s at small width, where P(Q = 0) is large).

    Example:

    >>> from keras_fracinit import gain
    >>> gain("relu", s=2, width=64)
    2.0
    >>> round(gain("relu", s=1, width=64), 6)
    2.039824
    >>> round(gain("relu", s=1, width=64, method="asymptotic"), 6)
    2.039062

    Source: Gurbuzbalaban and Hu, AISTATS 2021, arXiv 2005.11878.
    """
    return _gain(*checked(law, s, method), check_width(width), method)


def log_norm(law: object, s: float, width: int, method: str = "exact") -> LogNorm:
    """Mean and variance of the log-norm that one layer adds, at the scale that `gain` sets.

    With `sigma^2 = g/n`, of `log(|y|/sqrt(d)) - log(|x|/sqrt(n))`; with `sigma^2 = g/d`, of
    `log |y| - log |x|`. They are the same two numbers, given survival (Q > 0):

        mean = (log(g/d) + E[log Q]) / 2,    variance = Var[log Q] / 4.

    Over k layers means and variances add, and the sum is asymptotically normal.

    Args:
        law: A law of `keras_fracinit.laws`, or anything that `initializer_for` accepts.
        s: The order of the moment that is kept, 0 <= s <= 2.
        width: The number of output units d, 1 to 10^7.
        method: As for `gain`.

    Returns:
        A named tuple `(mean, variance)`, in nats and nats squared, to an absolute 1e-14.

    Raises:
        TypeError: If `s` or `width` is not a number of its kind.
        ValueError: If an argument is outside its range, or the gain larger than any float64.

    Example:

    >>> from keras_fracinit import log_norm
    >>> mean, variance = log_norm("relu", s=2, width=64)
    >>> print(f"{mean:.5f} {variance:.5f}")
    -0.02005 0.02075

    Source: Gurbuzbalaban and Hu, AISTATS 2021, arXiv 2005.11878.
    """
    return _log_norm(*checked(law, s, method), check_width(width), method)


def death_probability(law: object, width: int) -> float:
    """`P(Q = 0)`: the probability that every unit of one layer is zero for a given input.

    It is `(1 - P(q > 0))^width`: `2^-width` for ReLU, 0 for linear and leaky ReLU without dropout.

    Args:
        law: A law of `keras_fracinit.laws`, or anything that `initializer_for` accepts.
        width: The number of output units d, 1 to 10^7.

    Returns:
        A probability, per layer. It underflows to 0 for wide layers (ReLU from width 1075).

    Raises:
        TypeError: If `width` is not an integer.
        ValueError: If `width` is outside its range.

    Example:

    >>> from keras_fracinit import death_probability
    >>> death_probability("relu", width=4)
    0.0625
    """
    return (1.0 - law_of(law).alive) ** check_width(width)
