"""Tests the law of the log-norm of deep networks: mean, variance, distribution function, death."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
from simulations import SIGMAS, every_law, simulate

from keras_fracinit import gain, log_norm
from keras_fracinit.laws import Dropout, LeakyReLU, Linear, ReLU
from keras_fracinit.propagation import propagate

pytestmark = pytest.mark.filterwarnings("error")


def kolmogorov(sample, cdf):
    """The largest distance of an empirical distribution function, in units of 1/sqrt(n)."""
    values = np.array([cdf(x) for x in np.sort(sample)])
    steps = np.arange(len(sample) + 1) / len(sample)
    return math.sqrt(len(sample)) * max((steps[1:] - values).max(), (values - steps[:-1]).max())


KOLMOGOROV = 1.95  # exceeded with probability 0.001


# The mean, the variance and what follows from them.


def test_linear_stacks_have_closed_forms():
    # r^2 = prod g chi2_d/d.
    p = propagate([3, 50, 7], None, gain=[1.0, 1.3, 0.2])
    halves = [mp.mpf(d) / 2 for d in (3, 50, 7)]
    mean = mp.log(mp.mpf(1.3) * mp.mpf(0.2)) + sum(mp.digamma(h) - mp.log(h) for h in halves)
    assert p.mean == pytest.approx(float(mean / 2), abs=1e-13)
    variance = sum(mp.polygamma(1, h) for h in halves) / 4
    assert p.variance == pytest.approx(float(variance), rel=1e-12)
    assert p.lyapunov == p.mean / 3
    assert p.limit == 0.0
    # LeCun's gain is 1 at every width.
    assert p.dominance == pytest.approx(math.log(1.3 * 0.2) / 2, rel=1e-14)


@every_law
@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
def test_layers_add_up_to_the_log_norm_of_their_order(law, s):
    widths = [4, 64, 4, 1000]
    p = propagate(widths, law, s=s)
    layers = [log_norm(law, s, width) for width in widths]
    assert p.mean == pytest.approx(sum(layer.mean for layer in layers), abs=1e-13)
    assert p.variance == pytest.approx(sum(layer.variance for layer in layers), rel=1e-13)
    he = propagate(widths, law, s=2)
    assert he.dominance == 0.0
    assert p.dominance == pytest.approx(p.mean - he.mean, abs=1e-13)


@every_law
def test_a_smaller_order_dominates_at_every_threshold(law):
    stacks = [propagate([8] * 10, law, s=s) for s in (2.0, 1.5, 1.0, 0.5)]
    for he, ours in itertools.pairwise(stacks):
        assert ours.dominance > he.dominance
        for threshold in (1e-3, 0.1, 1.0, 10.0):
            assert ours.probability_below(threshold) < he.probability_below(threshold)
    # The shift is that of the weights, draw by draw.
    shift = stacks[2].dominance
    assert shift == pytest.approx(5 * math.log(gain(law, 1, 8) / gain(law, 2, 8)), rel=1e-12)
    assert stacks[2].cdf(shift - 0.3) == pytest.approx(stacks[0].cdf(-0.3), abs=1e-13)


def test_the_almost_sure_limit():
    assert propagate([8] * 3, LeakyReLU(0.1), s=0.01).limit == 0.0
    assert propagate([8, 64, 3], LeakyReLU(0.1), s=0).limit is None
    assert propagate([8] * 3, LeakyReLU(0.1), gain=3.0).limit == math.inf
    # Given survival the log-norm of a narrow ReLU network can grow although E r = 1.
    assert propagate([1] * 3, "relu", s=0.5).limit == math.inf


# The exact law.


def mixture_cdf(law, width, scale, x):
    """P(log r <= x) of one layer of a one-slope law: chi-squared of a binomial number of units."""
    alive = mp.mpf(law.alive)
    q = mp.exp(2 * mp.mpf(x)) * width / (scale * mp.mpf(law.ceiling))
    parts = (
        mp.binomial(width, k)
        * alive**k
        * (1 - alive) ** (width - k)
        * mp.gammainc(mp.mpf(k) / 2, 0, q / 2, regularized=True)
        for k in range(width if alive == 1 else 1, width + 1)
    )
    return float(mp.fsum(parts) / (1 - (1 - alive) ** width))


@pytest.mark.parametrize("law", [Linear(), ReLU(), Dropout(ReLU(), 0.9)], ids=str)
@pytest.mark.parametrize("width", [1, 2, 8, 30, 64])
def test_the_law_of_one_layer_is_a_mixture_of_chi_squares(law, width):
    p = propagate([width], law, gain=1.7)
    for deviations in (-8, -3, -1, 0, 1, 2.5, 5):
        x = p.mean + deviations * math.sqrt(p.variance)
        assert p.cdf(x) == pytest.approx(mixture_cdf(law, width, 1.7, x), abs=1e-13)


@pytest.mark.parametrize(("width", "error"), [(1000, 1e-12), (10**5, 1e-11)])
def test_the_law_of_one_wide_layer(width, error):
    p = propagate([width], Linear(), s=2)
    for deviations in (-4, -1, 0, 1, 4):
        x = p.mean + deviations * math.sqrt(p.variance)
        assert p.cdf(x) == pytest.approx(mixture_cdf(Linear(), width, 1, x), abs=error)


def test_the_law_of_two_layers_of_two_linear_units():
    # r^2 is a product of two Exp(1): P(r <= y) = 1 - 2 y K_1(2 y).
    p = propagate([2, 2], "linear", s=2)
    for x in np.linspace(-12, 1.5, 10):
        y = mp.exp(mp.mpf(float(x)))
        assert p.cdf(x) == pytest.approx(float(1 - 2 * y * mp.besselk(1, 2 * y)), abs=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("widths", [[1, 2, 3, 50], [1] * 30, [8] * 400], ids=len)
def test_the_law_of_a_linear_stack_equals_the_inversion_in_40_digits(widths):
    # log r = sum of log(chi2_d/d)/2, whose characteristic functions are Gamma functions.
    p = propagate(widths, "linear", s=2)

    def integrand(u, x):
        value = mp.exp(-1j * u * x)
        for d in set(widths):
            half = mp.mpf(d) / 2
            ratio = mp.exp(mp.loggamma(half + 0.5j * u) - mp.loggamma(half))
            value *= (ratio * mp.exp(-0.5j * u * mp.log(half))) ** widths.count(d)
        return (value / u).imag

    end = 9 / math.sqrt(p.variance) + 40 / len(widths)
    with mp.workdps(20):
        for deviations in (-2, 0.5):
            x = p.mean + deviations * math.sqrt(p.variance)
            integral = mp.quad(lambda u, x=x: integrand(u, mp.mpf(x)), np.linspace(0, end, 12))
            assert p.cdf(x) == pytest.approx(float(0.5 - integral / mp.pi), abs=1e-13)


@every_law
@pytest.mark.parametrize("method", ["exact", "asymptotic"])
def test_the_quantile_inverts_the_distribution_function(law, method):
    p = propagate([16, 4, 64], law, s=1)
    for q in (1e-6, 0.05, 0.5, 0.9, 1 - 1e-9):
        assert p.cdf(p.quantile(q, method), method) == pytest.approx(q, abs=1e-13)


def test_the_law_is_one_of_probabilities_far_out():
    p = propagate([8] * 4, "relu", s=1)
    assert p.cdf(-1e6) == 0.0
    assert p.cdf(1e6) == 1.0
    values = [p.cdf(x) for x in np.linspace(-30, 5, 200)]
    assert np.diff(values).min() > -1e-14


def distance(p):
    """Between the exact law and the normal limit."""
    grid = p.mean + math.sqrt(p.variance) * np.linspace(-5, 5, 401)
    return max(abs(p.cdf(x) - p.cdf(x, "asymptotic")) for x in grid)


@pytest.mark.parametrize("width", [1, 8, 64])
def test_the_normal_limit_is_approached_as_edgeworth_says(width):
    # The largest distance tends to |skewness|/(6 sqrt(2 pi)), and the skewness falls as k^(-1/2).
    half = width / 2
    skewness = float(mp.polygamma(2, half) / mp.polygamma(1, half) ** 1.5)
    for depth in (64, 256, 1024):
        leading = abs(skewness) / (6 * math.sqrt(2 * math.pi * depth))
        assert distance(propagate([width] * depth, "linear", s=2)) == pytest.approx(
            leading, rel=3 / depth**0.5
        )


@every_law
def test_the_distance_from_normal_halves_with_four_times_the_depth(law):
    distances = [distance(propagate([8] * depth, law, s=1)) for depth in (16, 64, 256)]
    for near, far in itertools.pairwise(distances):
        assert near / far == pytest.approx(2, rel=0.1)


@every_law
def test_simulated_networks_follow_the_exact_law_and_not_the_normal(law):
    widths, s = [5, 6, 3, 4], 1.0
    gains = [gain(law, s, width) for width in widths[1:]]
    sample = simulate(law, widths, gains, 20_000, np.random.default_rng(11))
    sample = sample[np.isfinite(sample)]
    p = propagate(widths[1:], law, s=s)
    assert kolmogorov(sample, p.cdf) < KOLMOGOROV
    assert kolmogorov(sample, lambda x: p.cdf(x, "asymptotic")) > 1.5 * KOLMOGOROV


# Death and thresholds.


def test_a_relu_network_is_dead_with_the_published_probability():
    assert propagate([3] * 7, "relu", s=1).death_probability == pytest.approx(
        1 - (1 - 2.0**-3) ** 7, rel=1e-14
    )
    # 1 - (1 - 2^-d)^k would be 0 from d = 54 on.
    assert propagate([60] * 10, "relu", s=1).death_probability == pytest.approx(
        10 * 2.0**-60, rel=1e-14
    )
    assert propagate([3] * 7, LeakyReLU(0.1), s=1).death_probability == 0.0
    dropped = propagate([2, 5], "linear", s=1, dropout=[0.25, 0.5])
    assert dropped.death_probability == pytest.approx(1 - (1 - 2.0**-4) * (1 - 2.0**-5), rel=1e-14)


@pytest.mark.parametrize("law", [ReLU(), Dropout(LeakyReLU(0.1), 0.4)], ids=str)
def test_thresholds_count_the_dead(law):
    widths = [4, 3, 2, 3]
    gains = [1.5, 2.5, 2.0]
    networks = 40_000
    sample = simulate(law, widths, gains, networks, np.random.default_rng(12))
    p = propagate(widths[1:], law, gain=gains)
    dead = (sample == -np.inf).mean()
    assert dead > 0.05
    counts = [(p.death_probability, dead)]
    for threshold in (0.01, 0.3, 1.0, 3.0):
        below = p.probability_below(threshold)
        assert p.probability_above(threshold) == 1 - below
        counts.append((below, (sample <= math.log(threshold)).mean()))
    for probability, share in counts:
        error = math.sqrt(probability * (1 - probability) / networks)
        assert abs(share - probability) < SIGMAS * error
