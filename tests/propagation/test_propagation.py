"""The law of deep networks, against closed forms, 40-digit arithmetic and simulated networks.

Simulated networks: y = phi(W x) with all matrices drawn, or, where many are needed, by the fact
that W x is N(0, |x|^2 sigma^2 I) given x. Tolerances in standard errors; depth and order obey the
power rule s nu sqrt(k) <= 1 (see `test_preservation`) where a moment is sampled.
"""

import itertools
import math
import warnings

import mpmath as mp
import numpy as np
import pytest
from cases import quick

import keras_fracinit as kf
from keras_fracinit import effective_order, estimators, gain, log_norm
from keras_fracinit.laws import Dropout, LeakyReLU, Linear, RandomizedLeakyReLU, ReLU, Smooth
from keras_fracinit.propagation import correlation_map, propagate

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


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def apply(law, z, rng, slopes=None):
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


# Moments and tails.


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


# Two inputs.


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


# Arguments and records.


def test_each_argument_is_one_for_all_or_one_per_layer():
    alike = propagate([8, 16], "relu", s=1)
    assert propagate((8, np.int64(16)), ["relu", ReLU()], s=[1, 1.0]) == alike
    assert propagate(np.array([8, 16]), "relu", gain=[gain("relu", 1, d) for d in (8, 16)]) == alike
    mixed = propagate([8, 16], ["relu", None], s=[0.5, 2], dropout=[0.0, 0.3])
    assert [layer.law for layer in mixed.layers] == [ReLU(), Dropout(Linear(), 0.3)]
    assert [layer.gain for layer in mixed.layers] == [gain("relu", 0.5, 8), 0.7]
    assert hash(alike) == hash(propagate([8, 16], "relu", s=1))


def test_an_initializer_is_propagated_by_its_gain():
    initializer = kf.FracReLU(s=0.7, dropout=0.1)
    scale = initializer.describe((32, 32))
    p = propagate([32], "relu", s=0.7, dropout=0.1)
    assert p.layers[0].gain == scale.gain
    assert p.mean == pytest.approx(scale.log_norm_mean, abs=1e-15)
    assert math.sqrt(p.variance) == pytest.approx(scale.log_norm_std, rel=1e-13)


def test_records_print_readably():
    text = str(propagate([8] * 4, LeakyReLU(0.1), s=0))
    assert text.startswith("4 layers: log r ")
    assert "a random walk" in text
    assert len(text.splitlines()) == 2
    assert "every moment grows" in str(propagate([8], None, gain=2.0))
    assert str(propagate([64] * 20, "relu", s=1).collapse()) == (
        "cosine 0 -> 0.9484 in 20 layers, limit 1; K = 0.3001, 1 - c < 0.01 from layer 57"
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: propagate([], "relu", s=1), ValueError, "`widths` must not be empty"),
        (lambda: propagate(8, "relu", s=1), TypeError, "`widths` must be a sequence"),
        (lambda: propagate([8, 0], "relu", s=1), ValueError, "1 <= width <= .* width=0"),
        (lambda: propagate([8.0], "relu", s=1), TypeError, "`width` must be an integer"),
        (lambda: propagate([8], "relu"), ValueError, "one of `s` and `gain` must be given"),
        (lambda: propagate([8], "relu", s=1, gain=2), ValueError, "one of `s` and `gain`"),
        (lambda: propagate([8], "relu", s=2.5), ValueError, "`s` must satisfy 0 <= s <= 2"),
        (lambda: propagate([8], "relu", s="1"), TypeError, "`s` must be a real number"),
        (lambda: propagate([8], "relu", gain=-1), ValueError, "`gain` must not be negative"),
        (lambda: propagate([8], "relu", gain=0), ValueError, "`gain` must be positive"),
        (lambda: propagate([8], "relu", s=1, dropout=1), ValueError, "0 <= dropout < 1"),
        (lambda: propagate([8], "relu", s=1, dropout="0"), TypeError, "`dropout` must be"),
        (lambda: propagate([8], "tanh", s=1), ValueError, "at one size of the signal only.*'tanh'"),
        (
            lambda: propagate([8], ["gelu"], gain=2, dropout=0.1),
            ValueError,
            "no product of independent factors.*'gelu'",
        ),
        (
            lambda: propagate([8], Dropout(Smooth("elu"), 0.1), s=1),
            ValueError,
            "at one size of the signal only.*'elu'",
        ),
        (lambda: propagate([8], "sigmoid", s=1), ValueError, "one size.*'sigmoid'"),
        (lambda: correlation_map("tanh", 0.5), ValueError, "angles between inputs.*'tanh'"),
        (
            lambda: propagate([8, 8], "relu", s=[1, 1, 1]),
            ValueError,
            "`s` must be one for all layers or one for each of the 2. Received: s of length 3",
        ),
        (lambda: propagate([8, 8], ["relu"], s=1), ValueError, "`activation` must be one for"),
        (lambda: propagate([1], "relu", s=0.001), ValueError, r"P\(Q = 0\) = 0.5"),
        (lambda: propagate([8], None, gain=2).tail_index(), ValueError, "the network explodes"),
        (lambda: propagate([8], None, s=1).cdf(math.nan), ValueError, "`x` must be finite"),
        (lambda: propagate([8], None, s=1).cdf(0, "normal"), ValueError, "`method` must be one"),
        (lambda: propagate([8], None, s=1).quantile(1), ValueError, "0 < q < 1. Received: q=1"),
        (lambda: propagate([8], None, s=1).quantile("a"), TypeError, "`q` must be a real number"),
        (
            lambda: propagate([8], None, s=1).probability_below(0),
            ValueError,
            "`threshold` must be positive. Received: threshold=0",
        ),
        (lambda: propagate([8], None, s=1).probability_above(-1), ValueError, "`threshold` must"),
        (lambda: propagate([8], None, s=1).log_moment(0), ValueError, "`order` must be positive"),
        (lambda: propagate([8], None, s=1).collapse(1.1), ValueError, "-1 <= start <= 1"),
        (lambda: correlation_map("relu", -2), ValueError, "-1 <= c <= 1. Received: c=-2"),
        (lambda: correlation_map("relu", "0"), TypeError, "`c` must be a real number"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
