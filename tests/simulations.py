"""Simulates networks of random matrices on arrays, for tests of the laws that they follow.

A layer is y = phi(W x). All its matrices are drawn, or, where many are needed, W x itself, which is
N(0, |x|^2 sigma^2 I) given x. Tolerances are in standard errors; depth and order obey the power
rule s nu sqrt(k) <= 1 (see `test_preservation`) where a moment is sampled.
"""

import itertools
import math

import numpy as np
import pytest

from keras_fracinit.laws import Dropout, LeakyReLU, Linear, RandomizedLeakyReLU, ReLU

SIGMAS = 4.0
LAWS = [
    Linear(),
    ReLU(),
    LeakyReLU(0.1),
    RandomizedLeakyReLU(0.1, 0.6),
    Dropout(ReLU(), 0.2),
    Dropout(RandomizedLeakyReLU(0.1, 0.6), 0.3),
]
every_law = pytest.mark.parametrize("law", LAWS, ids=str)


def apply(law, z, rng):
    """The activation of a law, on an array of pre-activations."""
    if isinstance(law, Dropout):
        kept = rng.random(z.shape) >= law.rate
        return apply(law.law, z, rng) * kept / (1 - law.rate)
    if isinstance(law, RandomizedLeakyReLU):
        return np.where(z > 0, z, z * rng.uniform(law.lower, law.upper, z.shape))
    return np.where(z > 0, z, z * law.negative_slope)


def simulate(law, widths, gains, networks, rng):
    """log r of networks whose matrices are all drawn; -inf where the output is zero."""
    x = np.ones((networks, widths[0]))
    for (n, d), g in zip(itertools.pairwise(widths), gains, strict=True):
        weights = rng.standard_normal((networks, n, d)) * math.sqrt(g / n)
        x = apply(law, np.einsum("bn,bnd->bd", x, weights), rng)
    with np.errstate(divide="ignore"):
        return np.log(np.sqrt((x**2).mean(axis=1)))
