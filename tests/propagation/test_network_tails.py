"""Tests the moments of deep networks, and the tails of what they put out."""

import math

import numpy as np
import pytest
from cases import quick
from simulations import SIGMAS, apply, every_law, simulate

from keras_fracinit import effective_order, estimators, gain
from keras_fracinit.laws import LeakyReLU, Linear, ReLU
from keras_fracinit.propagation import propagate

pytestmark = pytest.mark.filterwarnings("error")


@every_law
@pytest.mark.parametrize("s", [0.4, 1.0, 1.7, 2.0])
def test_the_order_that_is_kept_is_the_tail_index(law, s):
    p = propagate([3, 8, 500], law, s=s)
    assert p.log_moment(s) == pytest.approx(0, abs=1e-12)
    assert p.tail_index() == pytest.approx(s, rel=1e-12)
    # Jensen: smaller moments fall, larger ones grow.
    assert p.log_moment(0.9 * s) < -1e-4
    assert p.log_moment(1.1 * s) > 1e-4


def test_moments_of_any_order_equal_simulated_networks():
    widths, networks = [16, 12, 16, 12], 30_000
    sample = simulate(ReLU(), widths, [1.0, 2.0, 1.5], networks, np.random.default_rng(13))
    p = propagate(widths[1:], "relu", gain=[1.0, 2.0, 1.5])
    for order in (0.5, 1.0, 1.3):
        assert order * math.sqrt(p.variance) <= 1
        powers = np.exp(order * sample)
        error = powers.std() / math.sqrt(networks)
        assert abs(powers.mean() - math.exp(p.log_moment(order))) < SIGMAS * error


def test_the_tail_index_of_any_scale_is_its_effective_order():
    for law, scale in ((ReLU(), 1.0), (LeakyReLU(0.3), 1.8), (ReLU(), 2.3)):
        expected = effective_order(law, 8, scale)
        assert propagate([8] * 40, law, gain=scale).tail_index() == pytest.approx(
            expected, rel=1e-12
        )
    assert propagate([8, 64] * 3, "relu", s=2).tail_index() == 2.0


def stationary(law, width, scale, chains, layers, rng):
    """|x|/sqrt(d) after many layers phi(W x + b), b standard normal: W x + b is N(0, (..) I)."""
    size = np.zeros(chains)
    for _ in range(layers):
        z = rng.standard_normal((chains, width))
        size = np.sqrt((scale * size**2 + 1) * (apply(law, z, rng) ** 2).mean(axis=1))
    return size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "width", "s"),
    quick(((Linear(), 1, 0.7), (LeakyReLU(0.1), 4, 1.0)), (ReLU(), 6, 1.5), (ReLU(), 4, 2.0)),
    ids=str,
)
def test_outputs_with_biases_have_the_tail_index(law, width, s):
    scale = gain(law, s, width)
    sizes = stationary(law, width, scale, 150_000, 100, np.random.default_rng(14))
    estimate = estimators.tail_index(sizes, k=800, kind="unit")
    kappa = propagate([width], law, gain=scale).tail_index()
    assert abs(estimate.value - kappa) < SIGMAS * estimate.stderr
    assert 0.3 * kappa > 2 * SIGMAS * estimate.stderr


def test_outputs_of_drawn_matrices_with_biases_have_the_tail_index():
    rng, chains, width, scale = np.random.default_rng(15), 60_000, 3, gain("relu", 1, 3)
    x = np.zeros((chains, width))
    for _ in range(60):
        weights = rng.standard_normal((chains, width, width)) * math.sqrt(scale / width)
        biases = rng.standard_normal((chains, width))
        x = np.maximum(np.einsum("bn,bnd->bd", x, weights) + biases, 0.0)
    estimate = estimators.tail_index(x, k=600)
    assert abs(estimate.value - 1.0) < SIGMAS * estimate.stderr
