"""Tests the cosine of two inputs: its map through one layer, and its collapse over the depth."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
from simulations import LAWS, SIGMAS, apply, every_law

from keras_fracinit.laws import Dropout, LeakyReLU, RandomizedLeakyReLU, ReLU
from keras_fracinit.propagation import correlation_map, propagate

pytestmark = pytest.mark.filterwarnings("error")


def kernel(phi, psi, c):
    """E phi(u) psi(v) for standard normal u, v of correlation c, both homogeneous: one angle."""
    theta = mp.acos(c)
    kinks = sorted(
        {x % (2 * mp.pi) for k in (-1, 1) for x in (k * mp.pi / 2, k * mp.pi / 2 + theta)}
    )
    return (
        mp.quad(lambda t: phi(mp.cos(t)) * psi(mp.cos(t - theta)), [0, *kinks, 2 * mp.pi]) / mp.pi
    )


def leaky(slope):
    return lambda x: x if x > 0 else slope * x


@pytest.mark.parametrize("c", [-1.0, -0.7, 0.0, 0.4, 0.99, 1.0])
@pytest.mark.parametrize("slope", [0.0, 0.1, 0.6, 1.0, -1.0, 2.5])
def test_the_map_is_an_integral_over_the_angle(slope, c):
    truth = kernel(leaky(slope), leaky(slope), c) / kernel(leaky(slope), leaky(slope), 1)
    assert correlation_map(LeakyReLU(slope), c) == pytest.approx(float(truth), abs=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("c", [-0.7, 0.0, 0.4, 1.0])
def test_random_slopes_are_averaged_over(c):
    # Legendre nodes: slopes enter as polynomials of degree 1 (own draws) and 2 (one draw).
    nodes, weights = np.polynomial.legendre.leggauss(3)
    law = RandomizedLeakyReLU(0.1, 0.6)
    slopes = [(0.35 + 0.25 * node, weight / 2) for node, weight in zip(nodes, weights, strict=True)]
    pairs = itertools.product(slopes, slopes)
    own = sum(p * q * kernel(leaky(a), leaky(b), c) for (a, p), (b, q) in pairs)
    one, size = (sum(p * kernel(leaky(a), leaky(a), x) for a, p in slopes) for x in (c, 1))
    assert correlation_map(law, c) == pytest.approx(float(own / size), abs=1e-14)
    assert correlation_map(law, c, shared=True) == pytest.approx(float(one / size), abs=1e-14)
    # A mask of mean 1: own draws leave the product, and enlarge the square by 1/(1 - rate).
    dropped = Dropout(law, 0.3)
    assert correlation_map(dropped, c) == pytest.approx(float(0.7 * own / size), abs=1e-14)
    assert correlation_map(dropped, c, shared=True) == pytest.approx(float(one / size), abs=1e-14)


def test_maps_that_coincide():
    for c in (-1.0, -0.3, 0.0, 0.8, 1.0):
        # The arc-cosine kernel of Cho and Saul, of first order.
        angle = math.acos(c)
        arc = (math.sin(angle) + (math.pi - angle) * c) / math.pi
        assert correlation_map("relu", c) == pytest.approx(arc, abs=1e-15)
        assert correlation_map("linear", c) == pytest.approx(c, abs=1e-15)
        assert correlation_map(RandomizedLeakyReLU(0.3, 0.3), c) == correlation_map(
            LeakyReLU(0.3), c
        )
    for law in LAWS:
        assert correlation_map(law, 1.0, shared=True) == 1.0


@every_law
@pytest.mark.parametrize("shared", [False, True])
def test_the_map_equals_simulated_layers(law, shared):
    # E phi(u) phi(v) of one unit, so exactly at any width.
    rng, units, c = np.random.default_rng(16), 2_000_000, 0.6
    u = rng.standard_normal(units)
    v = c * u + math.sqrt(1 - c * c) * rng.standard_normal(units)
    outputs = [
        apply(law, z, np.random.default_rng(17 + k * (not shared))) for k, z in enumerate((u, v))
    ]
    products = outputs[0] * outputs[1] / law.mean
    error = products.std() / math.sqrt(units)
    assert abs(products.mean() - correlation_map(law, c, shared)) < SIGMAS * error
    if law.overlap(True) != law.overlap(False):
        assert abs(products.mean() - correlation_map(law, c, not shared)) > 2 * SIGMAS * error


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, 0.1, 0.3, -1.0])
def test_inputs_collapse_as_one_over_the_square_of_the_depth(slope):
    collapse = propagate([1] * 40_000, LeakyReLU(slope), s=2).collapse()
    # Theory, section 5.
    rate = 2 * math.sqrt(2) * (1 - slope) ** 2 / (3 * math.pi * (1 + slope**2))
    assert collapse.rate == pytest.approx(rate, rel=1e-13)
    assert collapse.limit == 1.0
    ratios = [(1 - collapse.cosines[k]) * (rate * k) ** 2 / 4 for k in (400, 4000, 40_000)]
    gaps = [1 - ratio for ratio in ratios]
    # The next term of the expansion is of relative size (log k)/k.
    assert 0 < gaps[2] < gaps[1] / 5 < gaps[0] / 25
    assert gaps[2] < 0.01


def test_the_layer_of_collapse():
    for law, start in ((ReLU(), 0.0), (LeakyReLU(0.3), -0.5)):
        c, count = start, 0
        while 1 - c >= 0.01:
            c, count = correlation_map(law, c), count + 1
        collapse = propagate([64] * 7, law, s=1).collapse(start)
        assert collapse.layers == count
        assert len(collapse.cosines) == 8
        # About where 4/(K k)^2 is 0.01, less what the first layers save.
        assert 0.75 < count * collapse.rate / 20 < 1.0
    assert propagate([64] * 7, "relu", s=1).collapse(0.995).layers == 0


def test_what_keeps_inputs_apart():
    linear = propagate([64] * 5, "linear", s=1).collapse(0.3)
    assert linear.cosines == pytest.approx([0.3] * 6, abs=1e-15)
    assert linear.limit == pytest.approx(0.3, abs=1e-15)
    assert linear.layers == math.inf
    # Own masks leave two equal inputs at the cosine 1 - rate after one layer.
    dropped = propagate([64] * 60, "relu", s=1, dropout=0.2).collapse(1.0)
    assert dropped.cosines[1] == pytest.approx(0.8, abs=1e-15)
    assert dropped.cosines[60] == pytest.approx(dropped.limit, abs=1e-12)
    fixed = correlation_map(Dropout(ReLU(), 0.2), dropped.limit)
    assert fixed == pytest.approx(dropped.limit, abs=1e-14)
    assert propagate([64], "relu", s=1, dropout=0.2).collapse(0.1, shared=True).limit == 1.0


@pytest.mark.parametrize("law", [ReLU(), LeakyReLU(0.3)], ids=str)
def test_simulated_networks_collapse(law):
    # 1 - c of networks of width d is that of wide ones up to O(k/d): here 0.5 %.
    rng, networks, depth, width = np.random.default_rng(18), 200, 10, 2000
    cosines = np.zeros(networks)
    for _ in range(depth):
        u, v = rng.standard_normal((2, networks, width))
        c = cosines[:, None]
        x, y = apply(law, u, rng), apply(law, c * u + np.sqrt(1 - c * c) * v, rng)
        cosines = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    error = cosines.std() / math.sqrt(networks)
    expected = propagate([width] * depth, law, s=1).collapse().cosines
    assert abs(cosines.mean() - expected[depth]) < SIGMAS * error
    assert abs(cosines.mean() - expected[depth - 1]) > 2 * SIGMAS * error
