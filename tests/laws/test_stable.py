"""The laws of heavy-tailed weights: the gain by other routes."""

import math

import numpy as np
import pytest
from cases import quick
from scipy import stats
from scipy.special import gamma
from second_route import rows_of

from keras_fracinit import (
    effective_order,
    gain,
    log_norm,
)
from keras_fracinit.laws import (
    Dropout,
    LeakyReLU,
    Linear,
    RandomizedLeakyReLU,
    ReLU,
    Smooth,
    Stable,
)
from keras_fracinit.laws.slopes import uniform_nodes
from keras_fracinit.laws.smooth import NAMES
from keras_fracinit.propagation import log_moment, propagate

ALPHAS = (1.01, 1.2, 1.5, 1.8, 1.99)
# Each with E |slope|^s.
LAWS = {
    Linear(): lambda s: 1.0,
    ReLU(): lambda s: 0.5,
    LeakyReLU(-0.3): lambda s: 0.5 + 0.5 * 0.3**s,
    RandomizedLeakyReLU(0.0, 1.0): lambda s: 0.5 + 0.5 / (s + 1.0),
    RandomizedLeakyReLU(0.125, 0.5): lambda s: (
        0.5 + 0.5 * (0.5 ** (s + 1.0) - 0.125 ** (s + 1.0)) / (s + 1.0) / 0.375
    ),
    Dropout(ReLU(), 0.4): lambda s: 0.6 * 0.5 / 0.6**s,
}

SIMPLE = [law for law in LAWS if not isinstance(law, RandomizedLeakyReLU)]


def moment(alpha, s):
    """E |Z|^s, in closed form."""
    return (
        2.0**s * gamma(0.5 + 0.5 * s) * gamma(1.0 - s / alpha)
        / (math.sqrt(math.pi) * gamma(1.0 - 0.5 * s))
    )  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("alpha", quick(ALPHAS[::2], *ALPHAS[1::2]))
def test_one_unit_has_the_closed_moment(law, alpha):
    for s in (0.1, 0.5, 1.0, alpha - 0.1, alpha - 1e-3, alpha - 1e-6):
        expected = (moment(alpha, s) * LAWS[law](s)) ** (-alpha / s)
        assert gain(Stable(law, alpha), s, 1) == pytest.approx(expected, rel=2e-11)


ENDS = [
    *((0.0, 1.0), (1 / 8, 1 / 3), (0.3, 0.3)),
    *((0.0099, 1.0), (0.0101, 1.0)),  # both sides of the change of rule
    *((1e-3, 1.0), (0.1, 100.0), (1e-8, 1.0)),
]


@pytest.mark.parametrize(("lower", "upper"), ENDS)
def test_nodes_of_a_uniform_slope_give_its_moments(lower, upper):
    slopes, weights = uniform_nodes(lower, upper)
    for s in (0.0, 0.1, 0.5, 1.0, 1.9):
        powers = [end ** (s + 1.0) for end in (lower, upper)]
        whole = (powers[1] - powers[0]) / (s + 1.0) / (upper - lower) if upper > lower else upper**s
        assert weights @ slopes**s == pytest.approx(whole, rel=1e-12), s


REFERENCE = rows_of("stable")
REFERENCE_LAWS = {
    "Linear": Linear(),
    "ReLU": ReLU(),
    "LeakyReLU": LeakyReLU(0.1),
    "tanh": Smooth("tanh"),
    "gelu": Smooth("gelu"),
}


@pytest.mark.parametrize("activation", REFERENCE_LAWS)
def test_the_gain_equals_40_digit_arithmetic(activation):
    """The script is stable_reference.py."""
    rows = [row for row in REFERENCE if row["activation"] == activation]
    assert len(rows) >= 36
    for row in rows:
        law = Stable(REFERENCE_LAWS[activation], row["alpha"])
        computed = gain(law, row["s"], row["width"])
        assert computed == pytest.approx(float(row["gain"]), rel=1e-10), row


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_what_gelu_takes_from_one_side_it_gives_to_the_other(name, alpha):
    """`|phi(z)| + |phi(-z)| = |z|`, so E |phi(Z)| is that of ReLU, far out and next to 0."""
    expected = gain(Stable(ReLU(), alpha), 1.0, 1)
    assert gain(Stable(Smooth(name), alpha), 1.0, 1) == pytest.approx(expected, rel=1e-11)


def quadrature(alpha):
    """|Z| by Chambers, Mallows and Stuck: tanh-sinh in U, a trapezoid in log E, no density."""
    v = np.arange(-3.6, 3.6, 0.06)
    share = 1.0 / (1.0 + np.exp(-math.pi * np.sinh(v)))
    rest = 1.0 / (1.0 + np.exp(math.pi * np.sinh(v)))
    weight_u = share * rest * np.cosh(v)
    u, cosine = 0.5 * math.pi * share, np.sin(0.5 * math.pi * rest)
    k = np.arange(-40.0, 4.4, 0.15)
    weight_e = np.exp(k - np.exp(k))
    weights = np.multiply.outer(weight_u / weight_u.sum(), weight_e / weight_e.sum())
    factor = np.sin(alpha * u) * cosine ** (-1.0 / alpha)
    factor *= np.cos((alpha - 1.0) * u) ** (1.0 / alpha - 1.0)
    return np.multiply.outer(factor, np.exp((1.0 - 1.0 / alpha) * k)).ravel(), weights.ravel()


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8])
def test_the_gain_of_many_units_by_another_quadrature(alpha):
    """`E Q^p = p/Gamma(1-p) * integral of (1 - psi^d) t^(-p-1) dt`, no race and no density."""
    z, weights = quadrature(alpha)
    root = math.sqrt(2.0)
    activations = {
        Linear(): (lambda x: x, lambda x: x),
        ReLU(): (lambda x: x, lambda x: 0.0 * x),
        Smooth("tanh"): (np.tanh, np.tanh),
        Smooth("selu"): (lambda x: abs(keras_selu(x)), lambda x: abs(keras_selu(-x))),
    }
    s, step = 0.6 * alpha, 0.25
    p, u = s / alpha, np.arange(-90.0, 64.0, 0.25)
    for law, sides in activations.items():
        q = [(root * side(z / root)) ** alpha for side in sides]
        dead = [0.5 * sum(float(-np.expm1(-t * x) @ weights) for x in q) for t in np.exp(u)]
        for width in (2, 8, 256):
            lost = -np.expm1(width * np.log1p(-np.minimum(dead, 1.0 - 1e-16)))
            power = p / gamma(1.0 - p) * step * float(np.exp(-p * u) @ lost)
            expected = width / power ** (1.0 / p)
            assert gain(Stable(law, alpha), s, width) == pytest.approx(expected, rel=1e-9)


def keras_selu(x):
    negative = 1.6732632423543772848 * np.expm1(np.minimum(x, 0.0))
    return 1.0507009873554804934 * np.where(x > 0.0, x, negative)


@pytest.mark.parametrize(
    "law", quick((*SIMPLE, *map(Smooth, NAMES)), *(n for n in LAWS if n not in SIMPLE)), ids=str
)
def test_alpha_2_is_the_normal_distribution(law):
    """With `scale^2 = stddev^2/2`; the difference falls off as 2 - alpha does."""
    for width, s in ((1, 0.5), (64, 1.0), (1000, 1.9)):
        error = [
            2.0 * gain(Stable(law, 2.0 - gap), s, width) / gain(law, s, width) - 1.0
            for gap in (1e-5, 1e-6)
        ]
        assert abs(error[1]) < 3e-5
        assert error[0] / error[1] == pytest.approx(10.0, rel=0.02)
    normal, stable = log_norm(law, 1.0, 64), log_norm(Stable(law, 2.0 - 1e-7), 1.0, 64)
    assert stable == pytest.approx(normal, rel=1e-5)


def simulated(alpha, shape, seed=0):
    return stats.levy_stable.rvs(alpha, 0.0, size=shape, random_state=seed)


@pytest.mark.parametrize(
    ("law", "phi"),
    [
        (ReLU(), lambda u: np.maximum(u, 0.0)),
        (LeakyReLU(0.1), lambda u: np.where(u > 0.0, u, 0.1 * u)),
        (Smooth("tanh"), np.tanh),
    ],
    ids=["relu", "leaky", "tanh"],
)
@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8])
def test_a_simulated_layer_keeps_the_moment(law, phi, alpha):
    """At s = 0.3: |y|^s has a variance only for s < alpha/2, and a mean is soon near only well
    below. The size of x is that at which a smooth activation is exact."""
    width, fan_in, s, draws = 8, 5, 0.3, 40_000
    sigma = (gain(Stable(law, alpha), s, width) / fan_in) ** (1.0 / alpha)
    x = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    x /= sigma * math.sqrt(2.0) * (np.abs(x) ** alpha).sum() ** (1.0 / alpha)
    y = phi(sigma * simulated(alpha, (draws, width, fan_in)) @ x)
    before = (np.abs(x) ** alpha).mean() ** (s / alpha)
    after = (np.abs(y) ** alpha).mean(axis=1) ** (s / alpha) / before
    error = after.std() / math.sqrt(draws)
    assert error < 0.003
    assert after.mean() == pytest.approx(1.0, abs=4.0 * error)


def test_the_log_norm_is_that_of_a_simulation():
    alpha, width, draws = 1.5, 16, 100_000
    y = np.maximum(simulated(alpha, (draws, width)), 0.0)
    size = np.log((y**alpha).sum(axis=1)) / alpha
    size += math.log(gain(Stable(ReLU(), alpha), 1.0, width) / width) / alpha
    mean, variance = log_norm(Stable(ReLU(), alpha), 1.0, width)
    assert size.mean() == pytest.approx(mean, abs=4.0 * math.sqrt(variance / draws))
    assert size.var() == pytest.approx(variance, rel=0.05)


def test_what_is_not_known_of_stable_layers_is_refused():
    with pytest.raises(TypeError, match="`alpha`"):
        Stable(ReLU(), "1.5")
    with pytest.raises(TypeError, match="`law`"):
        Stable(Stable(ReLU(), 1.5), 1.5)
    for refused in (
        lambda: effective_order(Stable(ReLU(), 1.5), 8, gain=1.0),
        lambda: log_moment(Stable(ReLU(), 1.5), 1.0, 8),
        lambda: propagate([8, 8], Stable(ReLU(), 1.5), 1.0),
    ):
        with pytest.raises(ValueError, match="not stable"):
            refused()
