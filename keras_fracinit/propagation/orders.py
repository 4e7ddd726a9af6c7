"""Moments of any order, and the order that a given scale keeps.

Read backwards, `gain` says which order s any scale of the weights keeps: He's keeps 2, a larger
scale less, a smaller one more, without limit. The moments beyond the second come out of the same
race as the first (see `moments`): with T = Exp(1)/X and its density f, for p > 0 and any contour
from -i inf to i inf between the cut of z^(-p), which is the negative axis, and that of f(-z),

    E X^p = Gamma(p)/(2 pi i) * integral of f(-z) z^(-p) dz.

On the real axis between the cuts, log(f(-z) z^(-p)) is convex. The contour

    z = c + w (i sinh v + b (cosh v - 1))

crosses at its minimum c with the width w of the peak there, and the bend b turns it into the path
of steepest descent, to the left where p is small against the width of the layer, to the right where
it is large: on a straight line the integrand would oscillate without falling off. In v it is
analytic and decays at least exponentially, and the trapezoidal rule reaches rounding with a fixed
step.

Source: theory of `keras_fracinit.gain`; L. N. Trefethen and J. A. C. Weideman, SIAM Review 56
(2014), for the trapezoidal rule on contours.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from keras_fracinit.laws.base import Array, Law, law_of
from keras_fracinit.laws.smooth import point_mass_of
from keras_fracinit.propagation.moments import (
    log_density,
    log_mean_power,
    log_survival,
    race_of,
    time_unit,
)
from keras_fracinit.utils.printing import format_number, record_html
from keras_fracinit.utils.validation import check_integer, check_real, check_width

_STEP = 1 / 16


_LAST = 28.0  # exp(-(p + 1/2) v), the slowest tail there is, at p = 1


_SMALLEST, _LARGEST = 1e-300, 1e300  # of p, half the order


_ROUNDING = 1e-14  # relative rounding error of a gain


class LayerLaw(NamedTuple):
    """All that the moments of a layer depend on: `W_ij ~ N(0, gain/n)`, n the fan-in.

    Attributes:
        law: The law of its activation, dropout included.
        width: The number of output units d.
        gain: `n sigma^2`.
    """

    law: Law
    width: int
    gain: float

    def _repr_html_(self) -> str:
        return record_html(self)


Layer = LayerLaw  # its name up to 0.1


def log_moment(law: object, order: float, width: int) -> float:
    """`log E |phi(z)|^order` of `z ~ N(0, I_d)`: the logarithm of any moment of one layer.

    A layer of gain g multiplies the moment `E (|x|/sqrt(n))^order` by `(g/d)^(order/2)` times this.

    Args:
        law: A law of `keras_fracinit.laws`, or anything that `initializer_for` accepts.
        order: The order of the moment, above 0.
        width: The number of output units d, 1 to 10^7.

    Returns:
        The logarithm, to a relative error of the moment of `order * 1e-14`.

    Raises:
        TypeError: If an argument is not a number of its kind.
        ValueError: If an argument is outside its range.

    Example:

    >>> import math
    >>> from keras_fracinit.propagation import log_moment
    >>> round(math.exp(log_moment("linear", order=4, width=3)), 9)  # d (d + 2)
    15.0
    """
    found, d, p = normal_law_of(law), check_width(width), 0.5 * check_power(order)
    log_w = log_survival(found, d)
    return log_w + p * (math.log(d * found.mean) - log_w + _log_mean_power(found, d, p))


def effective_order(
    law: object,
    width: int,
    gain: float | None = None,
    stddev: float | None = None,
    fan_in: int | None = None,
) -> float:
    """The order s of the moment that a layer of a given scale keeps: the inverse of `gain`.

    It is the root s of `gain(law, s, width) = n sigma^2`, however large. He's and LeCun's scale
    have order 2. Below 2 the tails of the signal are heavier, above 2 it decays: s is the tail
    index of the output of a deep network with biases (Kesten and Goldie). It sums up the effect of
    a scale on all moments in one number, comparable across widths and activations.

    Args:
        law: A law of `keras_fracinit.laws`, or anything that `initializer_for` accepts.
        width: The number of output units d, 1 to 10^7. Not the fan-in.
        gain: `n sigma^2`, n the fan-in; the `scale` of a `VarianceScaling` of mode "fan_in".
        stddev: The standard deviation sigma of the weights, in place of the gain.
        fan_in: The fan-in n, together with `stddev`.

    Returns:
        The order: 2 at the gain 1/E q, exactly; infinity at gain 0; 0 at the gain of order 0 where
        no layer can die, and where the order is smaller than 1e-300. A relative error e of the gain
        is an error of about `4 d e/(E q^2/(E q)^2 - 1)` of the order.

    Raises:
        TypeError: If an argument is not a number of its kind.
        ValueError: If an argument is outside its range, not exactly one of gain and stddev is
            given, or there is no such order: above the gain of order 0, where no layer can die
            (linear, leaky ReLU), all moments of the signal grow. Where a layer can (ReLU,
            dropout), every gain has an order.

    Example:

    >>> from keras_fracinit import effective_order
    >>> effective_order("relu", width=64, gain=2.0)  # He
    2.0
    >>> round(effective_order("relu", width=64, gain=1.0), 1)  # Glorot
    63.6
    >>> round(effective_order("relu", width=64, stddev=0.051008, fan_in=784), 3)
    1.0

    Source: theory of `keras_fracinit.gain`.
    """
    found, d = normal_law_of(law), check_width(width)
    if (gain is None) == (stddev is None) or (stddev is None) != (fan_in is None):
        raise ValueError(
            "Exactly one of `gain` and `stddev` must be given, `stddev` together with `fan_in`. "
            f"Received: gain={gain}, stddev={stddev}, fan_in={fan_in}"
        )
    if stddev is None:
        scale = check_gain(gain)
    else:
        scale = check_gain(stddev, "stddev") ** 2 * check_integer("fan_in", fan_in, 1, 2**53)
    return common_order((LayerLaw(found, d, scale),))


def normal_law_of(law: object) -> Law:
    """Finds the law of a layer of normal weights; no other weights have all moments."""
    found = law_of(law)
    if found.exponent != 2.0:
        raise ValueError(f"`law` must be that of normal weights, not stable. Received: law={found}")
    return found


def check_gain(value: object, name: str = "gain") -> float:
    """Checks a scale of weights: a number that is not negative."""
    number = check_real(name, value)
    if number < 0.0:
        raise ValueError(f"`{name}` must not be negative. Received: {name}={value}")
    return number


def check_power(value: object) -> float:
    """Checks the order of a moment, which may be beyond the second."""
    order = check_real("order", value)
    if order <= 0.0:
        raise ValueError(f"`order` must be positive. Received: order={value}")
    return order


def common_order(layers: Iterable[LayerLaw]) -> float:
    """Finds the order of the moment that a stack of layers keeps as a whole."""
    counts = tuple(Counter(layers).items())
    if any(layer.gain == 0.0 for layer, _ in counts):
        return math.inf
    return _common_order(counts)


@functools.lru_cache(maxsize=4096)
def _common_order(counts: tuple[tuple[LayerLaw, int], ...]) -> float:
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    log_w = sum(count * log_survival(layer.law, layer.width) for layer, count in counts)
    # At p = 1 both are sums over layers of log(gain * E q), which is 0 for He, to the last bit.
    above = _drift(counts, 1.0) + log_w
    if above == 0.0:
        return 2.0
    if above < 0.0:
        low, high = 1.0, 2.0
        while log_w + high * _drift(counts, high) < 0.0:
            low, high = high, 2.0 * high
            if high > _LARGEST:
                return math.inf
    else:
        low, high = _SMALLEST, 1.0
        if log_w + low * (drift := _drift(counts, low)) >= 0.0:
            if drift > _ROUNDING * sum(count for _, count in counts) and _all_live(counts):
                raise ValueError(_no_order(counts))
            return 0.0
    # In log p, because the root may lie anywhere between 1e-300 and the largest float.
    log_p = brentq(
        lambda x: log_w + math.exp(x) * _drift(counts, math.exp(x)),
        math.log(low),
        math.log(high),
        xtol=1e-15,
        rtol=1e-15,
    )
    return 2.0 * math.exp(log_p)


def _drift(counts: tuple[tuple[LayerLaw, int], ...], p: float) -> float:
    """Computes `(1/p) log E r^(2p)` given survival, r the factor of the root mean square.

    As p -> 0 it is twice the mean log-norm. At a positive p the moment itself has `log w` besides.
    """
    total = 0.0
    for (law, width, gain), count in counts:
        # The first two cancel for He's gain, to the last bit.
        log_gain = math.log(gain) - math.log(1.0 / law.mean) - log_survival(law, width)
        total += count * (log_gain + _log_mean_power(law, width, p))
    return total


def _all_live(counts: tuple[tuple[LayerLaw, int], ...]) -> bool:
    return all(layer.law.alive == 1.0 for layer, _ in counts)


def _no_order(counts: tuple[tuple[LayerLaw, int], ...]) -> str:
    gains = ", ".join(sorted({f"{layer.gain:.6g}" for layer, _ in counts}))
    widths = ", ".join(str(width) for width in sorted({layer.width for layer, _ in counts}))
    return (
        "No moment is kept: at this scale every order grows, and the network explodes. The gain "
        f"must not exceed that of order s=0, where the log-norm keeps its mean. Received: "
        f"gain={gains} at width={widths}"
    )


@functools.lru_cache(maxsize=4096)
def _log_mean_power(law: Law, width: int, p: float) -> float:
    """Computes `log(E X^p) / p` for any p >= 0."""
    if p <= 1.0:
        return log_mean_power(race_of(law, width), p)
    end = 0.5 / (law.ceiling * time_unit(law, width))
    if p > (largest := min(1e6 * width, 1e10)):
        return _far_log_mean_power(law, width, p, largest) + math.log(p / end) - 1.0
    c = saddle(law, width, p, end)
    base = _on_axis(law, width, p, c)
    # The width of the peak, from where the logarithm has risen by 1; the bend, from its skewness.
    steps = min(c, end - c) * 2.0 ** -np.arange(1.0, 40.0, 0.5)
    right, left = (_on_axis(law, width, p, c + step) - base for step in (steps, -steps))
    peak = int(np.argmax(np.maximum(right, left) < 1.0))
    w, bend = steps[peak], (right[peak] - left[peak]) / (right[peak] + left[peak])
    v = np.arange(0.0, _LAST, _STEP)
    z = c + w * (bend * (np.cosh(v) - 1.0) + 1j * np.sinh(v))
    slope = w * (np.cosh(v) - 1j * bend * np.sinh(v))  # dz/dv over i
    log_ratio = log_density(law, width, -z) - base - p * np.log(z)
    terms = (np.exp(log_ratio) * slope).real
    integral = _STEP * (terms.sum() - 0.5 * terms[0]) / math.pi
    return (math.lgamma(p) + float(base) + math.log(integral)) / p


def _far_log_mean_power(law: Law, width: int, p: float, largest: float) -> float:
    """Extrapolates `_log_mean_power - log(p/(e end))` from orders where it can be integrated.

    Where p is large, floats cannot tell the minimum from the end of the axis any more, but there
    `E X^p` has become `(p/(e end))^p` times a power of p, which two points determine.
    """
    end = 0.5 / (law.ceiling * time_unit(law, width))
    points = (largest / 8.0, largest)
    first, second = (q * (_log_mean_power(law, width, q) - math.log(q / end) + 1.0) for q in points)
    return (second + (second - first) * math.log(p / largest) / math.log(8.0)) / p


def _on_axis(law: Law, width: int, p: float, z: Array | float) -> Array:
    """Computes `log(f(-z) z^(-p))` on the real axis between the cuts."""
    # Complex, because slopes above 1 make a root of a uniform law imaginary between the cuts.
    return log_density(law, width, np.asarray(-z + 0j)).real - p * np.log(z)


def saddle(law: Law, width: int, p: float, end: float) -> float:
    """Finds the minimum of `_on_axis` by a grid that is refined."""
    low, high = -20.0, 30.0  # log(z/(end - z)), wide enough for every order and width
    for _ in range(8):
        grid = np.linspace(low, high, 33)
        z = end / (1.0 + np.exp(-grid))
        lowest = int(np.argmin(_on_axis(law, width, p, z)))
        low, high = grid[max(lowest - 1, 0)], grid[min(lowest + 1, 32)]
    return float(z[lowest])


_GAIN_ROUNDING = 1e-9  # relative error of a gain


class EffectiveOrder(NamedTuple):
    """The order that a gain keeps; `censored` if it is only known to be above that one."""

    order: float
    censored: bool = False

    def text(self, digits: int) -> str:
        """Renders the order; "none" means that no order is kept."""
        if math.isnan(self.order):
            return "none"
        return f"{'>' if self.censored else ''}{format_number(self.order, digits)}"


def effective_order_or_nan(law: Any, width: int, gain: float) -> EffectiveOrder:
    """Finds the order that a gain keeps; nan if all moments grow, or the gain is no number."""
    try:
        return EffectiveOrder(effective_order(law, width, gain=gain))
    except ValueError:
        below = gain * law.mean < 1.0 + _GAIN_ROUNDING  # the gain of order 2
        return (
            EffectiveOrder(2.0, True)
            if below and point_mass_of(law) is not None
            else EffectiveOrder(math.nan)
        )
