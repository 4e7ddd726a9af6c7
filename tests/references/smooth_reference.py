"""Gains of smooth activations in 40-digit arithmetic: the script that writes smooth.json.

Nothing is shared with `laws.smooth` and `propagation.moments`: the activations are mpmath's,
E exp(-t q) is integrated by Gauss-Legendre panels in z, halved toward 0, and
E Q^p = (1/Gamma(1-p)) * integral of t^(-p) (-L'(t)) dt stands as in a textbook, without a control.
For a layer of one unit `direct` is a third route, E |phi(z)|^s itself.
"""

import json
import pathlib
from multiprocessing import Pool

import mpmath as mp

mp.mp.dps = 40
ORDERS, WIDTHS = (0, 0.1, 0.5, 1, 1.5, 2), (1, 4, 64, 1024)
STEP = mp.mpf("0.3")


def softplus(z):
    return mp.log1p(mp.exp(z))


def elu(z):
    return z if z > 0 else mp.expm1(z)


def selu(z):
    scale, alpha = mp.mpf("1.0507009873554804934"), mp.mpf("1.6732632423543772848")
    return scale * (z if z > 0 else alpha * mp.expm1(z))


ACTIVATIONS = {
    "tanh": mp.tanh,
    "gelu": lambda z: z * mp.ncdf(z),
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "elu": elu,
    "selu": selu,
    "softplus": softplus,
    "mish": lambda z: z * mp.tanh(softplus(z)),
}


def panels():
    ends = [mp.mpf(2) ** -k for k in range(90, 1, -1)]
    ends += [mp.mpf(k) / 4 for k in range(2, 53)]
    return zip([mp.mpf(0), *ends[:-1]], ends, strict=True)


def gauss_legendre(count=20):
    for k in range(count):
        guess = mp.cos(mp.pi * (k + 0.75) / (count + 0.5))
        x = mp.findroot(lambda x: mp.legendre(count, x), (guess, guess + mp.mpf("1e-9")))
        slope = count * mp.legendre(count - 1, x) / (1 - x**2)
        yield x, 2 / ((1 - x**2) * slope**2)


def masses(phi):
    """Weights and squared values of phi on a standard normal."""
    rule = list(gauss_legendre())
    for low, high in panels():
        for x, weight in rule:
            z = (low + high) / 2 + x * (high - low) / 2
            density = weight * (high - low) / 2 * mp.npdf(z)
            yield density, phi(z) ** 2
            yield density, phi(-z) ** 2


def transform(points, t):
    psi = decay = mp.mpf(0)
    for weight, q in points:
        if t * q < 120:
            term = weight * mp.exp(-t * q)
            psi += term
            decay += q * term
    return psi, decay


def gains(name):
    points = list(masses(ACTIVATIONS[name]))
    mean = mp.fsum(weight * q for weight, q in points)
    grid = [(j * STEP, *transform(points, mp.exp(j * STEP))) for j in range(-150, 310)]
    rows = []
    for d in WIDTHS:
        density = [(u, d * psi ** (d - 1) * decay) for u, psi, decay in grid]
        for s in ORDERS:
            p = mp.mpf(s) / 2
            if s == 2:
                gain = 1 / mean
            elif s == 0:
                log_t = STEP * mp.fsum(u * mp.exp(u) * f for u, f in density)
                gain = d * mp.exp(mp.euler + log_t)  # E log Q = -euler - E log T
            else:
                integral = STEP * mp.fsum(mp.exp((1 - p) * u) * f for u, f in density)
                # Below the grid the density is d E q, and the sum a geometric one.
                ratio = mp.exp(-(1 - p) * STEP)
                integral += STEP * d * mean * mp.exp((1 - p) * grid[0][0]) * ratio / (1 - ratio)
                gain = d / (integral / mp.gamma(1 - p)) ** (1 / p)
            rows.append({"activation": name, "s": s, "width": d, "gain": mp.nstr(gain, 20)})
    return rows


def direct(name, s):
    """The gain of a layer of one unit, by one integral over z."""
    phi = ACTIVATIONS[name]
    moment = mp.fsum(weight * q ** (mp.mpf(s) / 2) for weight, q in masses(phi))
    return moment ** (-2 / mp.mpf(s))


if __name__ == "__main__":
    with Pool(2) as pool:
        rows = [row for part in pool.map(gains, ACTIVATIONS, chunksize=1) for row in part]
    text = ",\n".join(json.dumps(row) for row in rows)
    pathlib.Path(__file__).with_name("smooth.json").write_text(f"[\n{text}\n]\n")
