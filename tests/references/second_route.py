"""The moments of one layer by other formulas, in 40-digit arithmetic.

Nothing here shares a formula or a quadrature with `keras_fracinit.propagation.moments`:

- `by_mixture`: Q is a mixture over how many units met which slope, of `A + c B` with chi-squared A
  and B, whose moments are Gamma and hypergeometric functions. Exact, any order, small widths.
- `by_laplace`: E Q^p = (1/Gamma(1-p)) * integral of t^(-p) (-L'(t)) dt, unconditioned and without
  any control, the transform L written down naively. Any law and width, p up to about 0.9.
"""

import json
import pathlib

import mpmath as mp
import numpy as np

from keras_fracinit import laws

mp.mp.dps = 40


def rows_of(name):
    """The rows of a reference file in this folder."""
    return json.loads(pathlib.Path(__file__).with_name(f"{name}.json").read_text())


def relative_error(value, truth):
    return float(abs(mp.mpf(value) / mp.mpf(truth) - 1))


def _unwrap(law):
    if isinstance(law, laws.Dropout):
        return law.law, mp.mpf(law.rate)
    return law, mp.mpf(0)


def mean(law):
    inner, rate = _unwrap(law)
    if isinstance(inner, laws.Slopes):
        squared = sum(
            mp.mpf(p) * (mp.mpf(low) ** 2 + mp.mpf(low) * high + mp.mpf(high) ** 2) / 3
            for p, low, high in inner.parts
        )
        return squared / (1 - rate)
    if isinstance(inner, laws.RandomizedLeakyReLU):
        low, high = mp.mpf(inner.lower), mp.mpf(inner.upper)
        squared = (low**2 + low * high + high**2) / 3
    else:
        squared = mp.mpf(inner.negative_slope) ** 2
    return (1 + squared) / 2 / (1 - rate)


def _chi_pair(first, second, square, p):
    """E (A + square * B)^p for independent chi-squared A, B of `first`, `second` degrees."""
    total = first + second
    if total == 0:
        return mp.mpf(0)
    chi = 2**p * mp.gammaprod([mp.mpf(total) / 2 + p], [mp.mpf(total) / 2])
    if second == 0 or square == 1:
        return chi
    if first == 0 or square == 0:
        return square**p * chi if first == 0 else _chi_pair(first, 0, square, p)
    if square > 1:
        return square**p * _chi_pair(second, first, 1 / square, p)
    return chi * mp.hyp2f1(-p, mp.mpf(second) / 2, mp.mpf(total) / 2, 1 - square)


def by_mixture(law, s, width):
    """The gain of a two-slope law, with or without dropout."""
    inner, rate = _unwrap(law)
    p, square = mp.mpf(s) / 2, mp.mpf(inner.negative_slope) ** 2
    moment = mp.mpf(0)
    for up in range(width + 1):
        for down in range(width + 1 - up):
            off = width - up - down
            if off and not rate:
                continue
            ways = mp.binomial(width, up) * mp.binomial(width - up, down)
            probability = ways * ((1 - rate) / 2) ** (up + down) * rate**off
            moment += probability * _chi_pair(up, down, square, p)
    return width * (1 - rate) ** 2 / moment ** (1 / p)


def _transform(inner, t):
    """`psi` and `-psi'` without dropout, as in a textbook: they cancel, hence the 80 digits."""
    if isinstance(inner, laws.Slopes):
        found = [(mp.mpf(p), _transform_of_slope(low, high, t)) for p, low, high in inner.parts]
        return tuple(sum(p * x[i] for p, x in found) for i in (0, 1))
    if isinstance(inner, laws.RandomizedLeakyReLU):
        ends = (inner.lower, inner.upper)
    else:
        ends = (inner.negative_slope, inner.negative_slope)
    up, down = _transform_of_slope(1, 1, t), _transform_of_slope(*ends, t)
    return (up[0] + down[0]) / 2, (up[1] + down[1]) / 2


def _transform_of_slope(low, high, t):
    """The same of `(B z)^2`, B uniform between two slopes."""
    low, high = mp.mpf(low), mp.mpf(high)
    if low == high:
        root = 1 + 2 * low**2 * t
        return root ** mp.mpf(-0.5), low**2 * root ** mp.mpf(-1.5)
    x = mp.sqrt(2 * t)
    psi = (mp.asinh(high * x) - mp.asinh(low * x)) / (x * (high - low))
    ends = [end / mp.sqrt(1 + (end * x) ** 2) for end in (low, high)]
    return psi, (psi - (ends[1] - ends[0]) / (high - low)) / x**2


def by_laplace(law, s, width, step=0.25):
    """The gain of any law, for s up to about 1.8."""
    inner, rate = _unwrap(law)
    p, keep = mp.mpf(s) / 2, 1 - rate
    first = -42 / float(1 - p)
    last = 130 + float(mp.log(mean(law) / mp.mpf(law.floor)))
    integral = mp.mpf(0)
    with mp.workdps(80):
        for u in np.arange(first, last, step):
            t = mp.exp(mp.mpf(float(u))) / (width * mean(law))
            psi, decay = _transform(inner, t / keep**2)
            density = width * (rate + keep * psi) ** (width - 1) * decay / keep
            integral += step * t ** (1 - p) * density
    return width / (integral / mp.gamma(1 - p)) ** (1 / p)
