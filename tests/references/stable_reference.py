"""Gains of stable weights in 40-digit arithmetic: the script that writes stable.json.

Z is met through its moments alone, M(r) = E |Z|^r in closed form, along vertical lines:

    E exp(-t |Z|^alpha) = (1/2 pi i) * integral of Gamma(w) t^(-w) M(-alpha w) dw

for homogeneous activations, without a density; for smooth ones the density of log |Z|, the integral
of exp(-r log z) M(r), with the nearest pole taken out on either side. Then
E Q^p = p/Gamma(1-p) * integral of (1 - psi^d) t^(-p-1) dt stands as in a textbook, by a trapezoid
in log t: no race, no control, no size.
"""

import json
import pathlib
from bisect import bisect_left
from itertools import accumulate
from multiprocessing import Pool

import mpmath as mp
from smooth_reference import ACTIVATIONS as SMOOTH
from smooth_reference import gauss_legendre

mp.mp.dps = 40
ALPHAS, WIDTHS = ("1.2", "1.5", "1.8"), (1, 2, 8, 64, 1024)
STEP, LINE = mp.mpf("0.25"), mp.mpf("0.05")
SLOPE = mp.mpf("0.1")


def orders(alpha):
    return mp.mpf("0.1"), mp.mpf("0.5"), mp.mpf(1), mp.mpf("0.9") * alpha


def moment(r, alpha):
    return (
        mp.power(2, r) * mp.gamma((1 + r) / 2) * mp.gamma(1 - r / alpha)
        * mp.rgamma(1 - r / 2) / mp.sqrt(mp.pi)
    )  # fmt: skip


def along(real, integrand, end):
    """The values of a Mellin transform on half a line; the other half is conjugate."""
    return [integrand(mp.mpc(real, (k + mp.mpf(1) / 2) * LINE)) for k in range(int(end / LINE))]


def inverse(values, real, log_x):
    """`x^-real/pi * integral of Re(values exp(-i y log x)) dy`."""
    turn = mp.expj(-LINE * log_x)
    total = mp.mpc(0)
    for value in reversed(values):
        total = total * turn + value
    total *= mp.expj(-LINE * log_x / 2)
    return mp.exp(-real * log_x) * total.real * LINE / mp.pi


def homogeneous(alpha, log_t):
    """1 - E exp(-t |Z|^alpha), on a line right of the pole at 0 or left of the double one at -1."""

    def integrand(w):
        return mp.gamma(w) * moment(-alpha * w, alpha)

    left, right = -mp.mpf(3) / 2, 1 / (2 * alpha)
    small, large = along(left, integrand, 26), along(right, integrand, 26)
    factor = mp.power(2, alpha) * mp.gamma((1 + alpha) / 2)
    factor *= mp.rgamma(1 - alpha / 2) / mp.sqrt(mp.pi)
    slope = alpha * mp.log(2) + alpha / 2 * (
        mp.digamma((1 + alpha) / 2) + mp.digamma(1 - alpha / 2)
    )
    level = 1 - 2 * mp.euler - slope
    return [
        factor * mp.exp(u) * (level - u) - inverse(small, left, u)
        if u < 0
        else 1 - inverse(large, right, u)
        for u in log_t
    ]


def nodes(alpha):
    """Nodes for |Z| by panels, and their weights: the density of log |Z|, over z."""
    ends = [mp.mpf(2) ** -k for k in range(90, 1, -1)]
    ends += [mp.mpf(k) / 4 for k in range(2, 65)]
    ends += [mp.mpf(2) ** k for k in range(5, 240)]
    small = along(mp.mpf(-2), lambda r: moment(r, alpha), 76)
    large = along(3 * alpha / 2, lambda r: moment(r, alpha), 76)
    at_zero = mp.gamma(1 + 1 / alpha) / (mp.sqrt(mp.pi) * mp.gamma(mp.mpf(3) / 2))
    far = alpha * mp.power(2, alpha) * mp.gamma((1 + alpha) / 2)
    far *= mp.rgamma(1 - alpha / 2) / mp.sqrt(mp.pi)
    rule = list(gauss_legendre())
    for low, high in zip([mp.mpf(0), *ends[:-1]], ends, strict=True):
        for x, weight in rule:
            z = (low + high) / 2 + x * (high - low) / 2
            log_z = mp.log(z)
            if log_z < 0:
                density = at_zero * z + inverse(small, mp.mpf(-2), log_z)
            else:
                density = far * z**-alpha + inverse(large, 3 * alpha / 2, log_z)
            yield z, weight * (high - low) / 2 * density / z


def point_masses(alpha, name):
    """Of q = |sqrt(2) phi(Z/sqrt(2))|^alpha, smallest first: values, weights, the
    sums of their products from below, and those of the weights from above."""
    root, phi = mp.sqrt(2), SMOOTH[name]
    points = []
    for z, weight in nodes(alpha):
        for side in (z, -z):
            points.append((abs(root * phi(side / root)) ** alpha, weight / 2))
    values, weights = zip(*sorted(points), strict=True)
    assert abs(mp.fsum(weights) - 1) < mp.mpf("1e-22")
    means = accumulate(q * weight for q, weight in zip(values, weights, strict=True))
    return values, weights, list(means), [*accumulate(reversed(weights))][::-1]


def lost(points, t):
    """1 - E exp(-t q), with the relative accuracy of small t."""
    values, weights, means, shares = points
    first, last = bisect_left(values, mp.mpf("1e-22") / t), bisect_left(values, 60 / t)
    total = t * means[first - 1] if first else mp.mpf(0)
    for k in range(first, last):
        total -= weights[k] * mp.expm1(-t * values[k])
    return total + (shares[last] if last < len(shares) else 0)


def power(p, log_t, dead, d):
    """`E Q^p` from 1 - psi on a grid; above it is a constant, below `t (a + b log t)`."""

    def any_of(x):  # 1 - psi^d
        return -mp.expm1(d * mp.log1p(-x)) if x < 0.5 else 1 - (1 - x) ** d

    values = [mp.exp(-p * u) * any_of(x) for u, x in zip(log_t, dead, strict=True)]
    ratio = mp.exp(-(1 - p) * STEP)
    change = values[0] - values[1] * ratio
    below = values[0] * ratio / (1 - ratio) + change * ratio / (1 - ratio) ** 2
    total = mp.fsum(values) + values[-1] / mp.expm1(p * STEP) + below
    return p * mp.rgamma(1 - p) * STEP * total


def gains(job):
    text, name = job
    alpha = mp.mpf(text)
    if name in SMOOTH:
        points = point_masses(alpha, name)
        # GELU is exp(-z^2/4) far below 0, where Z is not rare: all of that is waited for.
        log_t = [k * STEP for k in range(-480, 2400 if name == "gelu" else 400)]
        dead = [lost(points, mp.exp(u)) for u in log_t]
        known = orders(alpha)[:3]
    else:
        log_t = [k * STEP for k in range(-480, 700)]
        full = homogeneous(alpha, log_t)
        # Of the slope a, t becomes t a^alpha.
        steep = homogeneous(alpha, [u + alpha * mp.log(SLOPE) for u in log_t])
        other = {"Linear": full, "ReLU": [0] * len(full), "LeakyReLU": steep}[name]
        dead = [(x + y) / 2 for x, y in zip(full, other, strict=True)]
        known = orders(alpha)
    return [
        {
            "activation": name,
            "alpha": float(text),
            "s": float(s),
            "width": d,
            "gain": mp.nstr(d / power(s / alpha, log_t, dead, d) ** (alpha / s), 20),
        }
        for d in WIDTHS
        for s in known
    ]


if __name__ == "__main__":
    names = ("gelu", "tanh", "Linear", "ReLU", "LeakyReLU")
    jobs = [(alpha, name) for name in names for alpha in ALPHAS]
    with Pool(2) as pool:
        rows = [row for part in pool.map(gains, jobs, chunksize=1) for row in part]
    text = ",\n".join(json.dumps(row) for row in rows)
    pathlib.Path(__file__).with_name("stable.json").write_text(f"[\n{text}\n]\n")
