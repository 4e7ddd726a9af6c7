"""The moments, the log-norm and the tail index of measured signals, each with its standard error.

A signal is an array of samples x positions x units: the last axis holds the units of a layer, the
first the samples, and all axes between (the pixels of an image, the steps of a sequence) are
positions. Everything is a statistic of the scaled norms

    r = |A| / sqrt(units)        one for each sample and position (kind "norm"), or
    r = |A_j|                    one for each unit as well (kind "unit").

Positions of one sample depend on each other, so a standard error takes the samples, not the
positions, to be independent. Units of one sample share its norm and are no more independent. All
samples of a layer share its weights: the errors say how well the probe determines the statistic of
this network, not how another draw of the weights would differ.

The same lines serve NumPy arrays on the host and tensors on a device: `xp` is the namespace of the
array functions, `numpy` or `keras.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from keras_fracinit.utils.validation import check_choice, check_integer, check_order

__all__ = [
    "Estimate",
    "LogNormEstimate",
    "TailIndex",
    "log_norm",
    "log_slope",
    "s_scale",
    "tail_index",
]

KINDS = ("norm", "unit")


# Roots and products cost a fraction of the power function.
_POWERS = {0.5: "sqrt", 2.0: "square"}


# The bounds of a divisor of a signal: zero stays zero, and infinity infinity. Their reciprocals
# are normal numbers of float32, because compilers multiply by the reciprocal.
_DIVISORS = (1e-37, 1e37)
# The same for float64. Wide, because on torch Keras takes the mean of float64 in float32.
_DOUBLE_DIVISORS = (1e-307, 1e307)


_silent = np.errstate(divide="ignore", invalid="ignore", over="ignore")


class Estimate(NamedTuple):
    """A statistic and its standard error (nan where one sample gives none)."""

    value: float
    stderr: float


class LogNormEstimate(NamedTuple):
    """Mean and variance of `log r` over the survivors (r > 0), in nats; the share of `r = 0`."""

    mean: Estimate
    variance: Estimate
    zeros: Estimate


class TailIndex(NamedTuple):
    """Hill's estimate of the tail index, from the `k` largest of the samples."""

    value: float
    stderr: float
    k: int


@_silent
def s_scale(samples: npt.ArrayLike, s: float, kind: str | float = "norm") -> Estimate:
    """The s-scale of a signal: `m_s = (mean r^s)^(1/s)`, and `m_0 = exp(mean log r)`.

    An initializer of order s keeps it from layer to layer. It is comparable across widths, layers
    and orders: m_2 is the root mean square, and m_s grows with s. At s = 0 the mean is over the
    survivors, `r > 0`.

    Args:
        samples: An array of numbers, samples x ... x units; a vector is read as samples of one
            unit.
        s: The order of the moment, 0 <= s <= 2.
        kind: "norm" (default) for `r = |A|/sqrt(units)`, "unit" for `r = |A_j|`, or a number alpha
            in (0, 2) for the l_alpha norm, `r = (mean |A_j|^alpha)^(1/alpha)`, which layers of
            alpha-stable weights keep.

    Returns:
        A named tuple `(value, stderr)`, in the unit of the samples. The standard error is that of
        the delta method, over samples.

    Raises:
        TypeError: If `samples` does not hold real numbers, or `s` is not a number.
        ValueError: If `samples` is empty or a scalar, or an argument outside its range.

    Example:

    >>> import numpy as np
    >>> from keras_fracinit.estimators import s_scale
    >>> round(s_scale([[3.0, 3.0], [1.0, 1.0]], s=1).value, 6)
    2.0

    Source: theory of `keras_fracinit.gain`, whose prediction it measures.
    """
    order = check_order(s)
    return _floats(summarize(_norms(samples, kind), (order,))["s_scale", order])


@_silent
def log_norm(samples: npt.ArrayLike, kind: str | float = "norm") -> LogNormEstimate:
    """Mean and variance of the log-norm of a signal, and the share of samples that are zero.

    Args:
        samples: As for `s_scale`.
        kind: As for `s_scale`.

    Returns:
        A named tuple `(mean, variance, zeros)` of `Estimate`: of `log r` over the survivors, in
        nats and nats squared, and of the share of `r = 0`.

    Raises:
        TypeError: If `samples` does not hold real numbers.
        ValueError: If `samples` is empty or a scalar, or `kind` is unknown.

    Example:

    >>> from keras_fracinit.estimators import log_norm
    >>> estimate = log_norm([1.0, 1.0, 0.0, 1.0])
    >>> estimate.mean.value, estimate.variance.value, estimate.zeros
    (0.0, 0.0, Estimate(value=0.25, stderr=0.25))
    """
    statistics = summarize(_norms(samples, kind), ())
    names = ("log_norm_mean", "log_norm_variance", "zeros")
    return LogNormEstimate(*(_floats(statistics[name, None]) for name in names))


@_silent
def tail_index(
    samples: npt.ArrayLike, k: int | None = None, kind: str | float = "norm"
) -> TailIndex:
    """Hill's estimator of alpha, where `P(r > x) ~ c x^-alpha`.

    With `x_1 >= x_2 >= ...` the ordered samples, `1/alpha = (1/k) sum log(x_i/x_(k+1))` over the k
    largest. A small k is noisy, a large one biased by samples outside the tail: look at several.

    Args:
        samples: As for `s_scale`.
        k: The number of largest samples, 1 <= k < size. The integer part of `sqrt(size)` by
            default.
        kind: As for `s_scale`.

    Returns:
        A named tuple `(value, stderr, k)`. The standard error is `alpha/sqrt(k)`, that of
        independent samples; alpha is nan where fewer than k + 1 samples are positive and finite.

    Raises:
        TypeError: If `samples` does not hold real numbers, or `k` is not an integer.
        ValueError: If `samples` is empty or a scalar, or an argument outside its range.

    Example:

    >>> import numpy as np
    >>> from keras_fracinit.estimators import tail_index
    >>> pareto = np.random.default_rng(0).pareto(1.5, size=100_000) + 1
    >>> value, stderr, k = tail_index(pareto, k=1000)
    >>> abs(value - 1.5) < 3 * stderr
    True

    Source: B. M. Hill, Annals of Statistics 3 (1975).
    """
    norms = _norms(samples, kind).ravel()
    k = _tail_size(norms.size) if k is None else check_integer("k", k, 1, norms.size - 1)
    return TailIndex(*_floats(_hill(norms, k, np)), k)


def log_slope(depths: npt.ArrayLike, scales: npt.ArrayLike) -> Estimate:
    """The change of `log scale` per unit of depth, by least squares.

    Scales that are zero or not finite have no logarithm and are left out.

    Args:
        depths: Numbers, one for each scale.
        scales: The s-scales at these depths.

    Returns:
        The slope in nats, and the standard error of the fit; nan if there are too few points. The
        layers of one network are one draw of a random walk, which the error of a fit ignores:
        theory's band is the right yardstick, not this error.

    Raises:
        ValueError: If there is not one depth for each scale.

    Example:

    >>> from keras_fracinit.estimators import log_slope
    >>> round(log_slope([1, 2, 3, 4], [8.0, 4.0, 2.0, 1.0]).value, 6)
    -0.693147
    """
    x, y = np.asarray(depths, dtype=float), np.asarray(scales, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(
            "`depths` and `scales` must be vectors of one length. "
            f"Received: shapes {x.shape} and {y.shape}"
        )
    slope, error = log_slopes(x, y[:, None])
    return Estimate(float(slope[0]), float(error[0]))


@_silent
def log_slopes(depths: Any, scales: Any) -> tuple[Any, Any]:
    """Computes `log_slope` of every column of `(depths, series)` at once."""
    weights = np.isfinite(scales) & (scales > 0)
    logs = np.log(np.where(weights, scales, 1.0))
    count = weights.sum(axis=0)
    x = depths[:, None] - weights.T @ depths / count
    x *= weights
    y = weights * (logs - logs.sum(axis=0) / count)
    spread = (x * x).sum(axis=0)
    slopes = (x * y).sum(axis=0) / spread
    residuals = y - slopes * x
    variance = (residuals * residuals).sum(axis=0) / (count - 2)
    # Two points leave no residual, and one, or several at one depth, no slope.
    return slopes, np.where(count > 2, np.sqrt(variance / spread), math.nan)


def statistics_of(orders: Sequence[float], tail_index: bool) -> list[tuple[str, float | None]]:
    """Lists the keys of `summarize`, in their order: the columns of a table of statistics."""
    names = ["log_norm_mean", "log_norm_variance", "zeros", "nonfinite"]
    if tail_index:
        names.append("tail_index")
    return [*(("s_scale", order) for order in orders), *((name, None) for name in names)]


def check_kind(kind: Any) -> Any:
    """Checks the kind of norm that statistics are taken of."""
    if isinstance(kind, str) or not isinstance(kind, Real) or isinstance(kind, bool):
        return check_choice("kind", kind, KINDS)
    if not 0.0 < float(kind) < 2.0:
        raise ValueError(
            "`kind` must be 'norm', 'unit', or a number alpha in (0, 2) for the l_alpha norm. "
            f"Received: kind={kind}"
        )
    return float(kind)


def scaled_norms(signal: Any, kind: Any, xp: Any) -> Any:
    """Computes the scaled norms r of a signal, `(positions, samples)`.

    Samples come last because that is the longer axis where there are no positions, and sums over a
    last axis of one element take three times as long (compiled by XLA, on a CPU).
    """
    if kind == "unit" or len(signal.shape) == 1:
        signal = signal[..., None]
    magnitudes = xp.abs(signal)
    if signal.shape[-1] == 1:
        norms = magnitudes[..., 0]
    else:
        # In float32 the square of 1e20 overflows and that of 1e-23 is zero, and signals that
        # explode or vanish are the very ones to be measured.
        scale = _divisor(xp.max(magnitudes, axis=-1), xp)
        if isinstance(kind, str):
            norms = scale * xp.sqrt(xp.mean(xp.square(signal / scale[..., None]), axis=-1))
        else:
            powers = xp.power(magnitudes / scale[..., None], kind)
            norms = scale * xp.power(xp.mean(powers, axis=-1), 1.0 / kind)
    if len(norms.shape) == 1:
        return norms[None]
    return xp.transpose(xp.reshape(norms, (norms.shape[0], -1)))


def summarize(
    norms: Any, orders: Sequence[float], tail_index: bool = False, xp: Any = np
) -> dict[tuple[str, float | None], tuple[Any, Any]]:
    """Computes all statistics of norms `(..., positions, samples)`, as pairs `(value, stderr)`.

    Leading axes are kept: they are layers whose norms have one shape. The precision is that of the
    norms; in float32 that of an s-scale is its rounding over s.
    """
    ones, zeros = xp.ones_like(norms), xp.zeros_like(norms)
    alive = xp.where(norms == 0, zeros, ones)
    logs = xp.log(xp.where(norms == 0, ones, norms))
    log_mean, log_mean_error = _mean(logs, alive, xp)
    survivors = xp.sum(alive, axis=(-2, -1))
    deviations = xp.square(logs - log_mean[..., None, None])
    log_variance = [moment * survivors / (survivors - 1) for moment in _mean(deviations, alive, xp)]
    scale = _divisor(xp.max(norms, axis=(-2, -1)), xp)
    relative = norms / scale[..., None, None]

    def s_scale(order: float) -> tuple[Any, Any]:
        if order == 0:
            value = xp.exp(log_mean)
            return value, value * log_mean_error
        power = getattr(xp, _POWERS.get(order, ""), lambda r: r**order)
        moment, error = _mean(power(relative), ones, xp)
        value = scale * moment ** (1 / order)
        return value, value * error / (order * moment)

    nonfinite = xp.sum(xp.where(xp.isfinite(norms), zeros, ones), axis=(-2, -1))
    table: dict[tuple[str, float | None], tuple[Any, Any]]
    table = {("s_scale", order): s_scale(order) for order in orders}
    table["log_norm_mean", None] = (log_mean, log_mean_error)
    table["log_norm_variance", None] = (log_variance[0], log_variance[1])
    table["zeros", None] = _mean(1 - alive, ones, xp)
    table["nonfinite", None] = (nonfinite, xp.zeros_like(nonfinite))
    if tail_index:
        size = math.prod(norms.shape[-2:])
        flat = xp.reshape(norms, (*norms.shape[:-2], size))
        table["tail_index", None] = _hill(flat, _tail_size(size), xp)
    return table


def _divisor(largest: Any, xp: Any) -> Any:
    double = "float64" in str(largest.dtype)
    return xp.clip(largest, *(_DOUBLE_DIVISORS if double else _DIVISORS))


def _mean(values: Any, weights: Any, xp: Any) -> tuple[Any, Any]:
    """Computes the weighted mean over positions and samples; its error has samples as clusters.

    A ratio of two sums over samples, linearised: `e_i = sum_j w_ij (x_ij - mean)`.
    """
    total = xp.sum(weights, axis=(-2, -1))
    mean = xp.sum(weights * values, axis=(-2, -1)) / total
    deviations = xp.sum(weights * (values - mean[..., None, None]), axis=-2)
    samples = values.shape[-1]
    correction = samples / (samples - 1) if samples > 1 else math.nan
    return mean, xp.sqrt(xp.sum(xp.square(deviations), axis=-1) * correction) / total


def _hill(samples: Any, k: int, xp: Any) -> tuple[Any, Any]:
    """Computes Hill's estimate over the last axis; nan where there is no tail."""
    if k < 1:
        nothing = xp.sum(samples, axis=-1) * math.nan
        return nothing, nothing
    largest = xp.sort(samples, axis=-1)[..., -k - 1 :]
    excess = xp.mean(xp.log(largest[..., 1:] / largest[..., :1]), axis=-1)
    alpha = xp.where(xp.isfinite(excess), 1 / excess, math.nan * xp.ones_like(excess))
    return alpha, alpha / math.sqrt(k)


def _tail_size(size: int) -> int:
    return min(math.isqrt(size), size - 1)


def _norms(samples: npt.ArrayLike, kind: str | float) -> npt.NDArray[np.float64]:
    kind = check_kind(kind)
    array = np.asarray(samples)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"`samples` must hold real numbers. Received: dtype {array.dtype}")
    if not array.size or not array.ndim:
        raise ValueError(
            "`samples` must be an array of samples x units that is not empty. "
            f"Received: shape {array.shape}"
        )
    signal: npt.NDArray[np.float64] = scaled_norms(array.astype(np.float64), kind, np)
    return signal


def _floats(pair: tuple[Any, Any]) -> Estimate:
    return Estimate(float(pair[0]), float(pair[1]))
