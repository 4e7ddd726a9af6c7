"""Methods for smooth activations, whose scale is right at one size of the signal."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.special import ndtr

from _learning.draws import KERNELS, TAILS, Draw, Method, each, fan_in
from _learning.networks import Site, is_smooth
from _learning.tasks import Array
from keras_fracinit import gain, laws
from keras_fracinit.initializers.stable_sampling import stable_of
from keras_fracinit.laws import Stable
from keras_fracinit.laws.smooth import CURVES, Sampled, nodes


def met(draw: Draw, site: Site) -> laws.Law:
    """The law that the input of a hidden kernel has passed; the first input is data."""
    return laws.Linear() if site.first else draw.law


def smooth_of_order(s: float, signal: float = 1.0) -> Method:
    """Takes the gain that keeps the signal, that of the gradient, or a geometric mean of the two.

    Args:
        signal: The share of the gain of the signal, 1, 0 or between.
    """

    def kernel(draw: Draw, site: Site, z: Array) -> Array:
        law, d = met(draw, site), site.shape[-1]
        g = gain(law, s, d)
        if is_smooth(law) and signal < 1.0:
            g = g**signal * gain(slope_law(law), s, d) ** (1.0 - signal)
        return z * math.sqrt(g / fan_in(site.shape))

    return each(kernel)


@functools.cache
def slope_law(law: laws.Smooth) -> laws.Law:
    """The law of phi'(z)^2, of which a squared gradient is a sum."""
    return Sampled.of(f"slope of {law.activation}", CURVES[law.activation].slope(nodes(True)))


def stable_numbers(normals: Array, exponentials: Array, alpha: float) -> Array:
    """Draws standard symmetric alpha-stable numbers, `E exp(itZ) = exp(-|t|^alpha)`."""
    half = 0.5 * math.pi
    u = np.clip(math.pi * (ndtr(normals.astype("float64")) - 0.5), -half + 1e-12, half - 1e-12)
    return np.asarray(stable_of(u, exponentials, alpha, np))


def stable(alpha: float, s: float = 1.0) -> Method:
    def kernels(draw: Draw) -> list[Array]:
        result = []
        for at, (site, z) in enumerate(zip(draw.sites, draw.normals, strict=True)):
            streams = [np.random.default_rng([seed, KERNELS + at, TAILS]) for seed in draw.seeds]
            exponentials = np.stack([rng.standard_exponential(z.shape[1:]) for rng in streams])
            law, n, d = met(draw, site), fan_in(site.shape), site.shape[-1]
            # For data the kernel has the size at which a smooth activation is exact, Z/sqrt(2).
            g = gain(Stable(law, alpha), s, d) if is_smooth(law) else 2.0 ** (-0.5 * alpha)
            scale = (g / n) ** (1.0 / alpha)
            result.append((scale * stable_numbers(z, exponentials, alpha)).astype("float32"))
        return result

    return Method(kernels)
