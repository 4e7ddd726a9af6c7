"""Moments of any order and the order of a scale, against closed forms and 40-digit arithmetic."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import second_route
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_fracinit import effective_order, gain
from keras_fracinit.laws import Dropout, LeakyReLU, Linear, RandomizedLeakyReLU, ReLU
from keras_fracinit.propagation import LayerLaw, log_moment
from keras_fracinit.propagation.orders import common_order

pytestmark = pytest.mark.filterwarnings("error")

TWO_SLOPES = [
    Linear(),
    ReLU(),
    LeakyReLU(0.3),
    LeakyReLU(-1e-8),
    LeakyReLU(1e8),
    Dropout(ReLU(), 0.5),
    Dropout(LeakyReLU(0.1), 0.9),
    Dropout(ReLU(), 0.999),
]
CONTINUOUS = [
    RandomizedLeakyReLU(),
    RandomizedLeakyReLU(0.5, 3.0),
    RandomizedLeakyReLU(0.0, 1e8),
    RandomizedLeakyReLU(0.3, 0.3000001),
    Dropout(RandomizedLeakyReLU(0.0, 0.5), 0.999),
]


def conditioning(law, width):
    """How much a relative error of the gain is worth in the order, near order 2."""
    return 4 * width / (law.mean_square / law.mean**2 - 1)


def assert_same_root(moment, truth, order):
    """`(E Q^p)^(1/p)`, what a gain is made of, to a relative 3e-14."""
    assert abs(moment - float(truth)) / (order / 2) < 3e-14 * max(1, abs(float(truth)) * 2 / order)


@pytest.mark.slow
@pytest.mark.parametrize("law", TWO_SLOPES, ids=str)
def test_moments_equal_the_mixture_in_40_digits(law):
    # Both formulas (under and over order 2) and where they meet, up to far beyond any use.
    orders = [0.02, 1.0, 1.9999, 2.0000002, 2.6, 3.998, 6.6, 20.0, 200.0, 6000.0, 2e6]
    for order, width in itertools.product(orders, [1, 2, 5, 12]):
        p = mp.mpf(order) / 2
        truth = p * mp.log(width / second_route.by_mixture(law, order, width))
        assert_same_root(log_moment(law, order, width), truth, order)


@pytest.mark.parametrize("width", [1, 3, 64, 1000, 10**5, 10**7])
def test_linear_moments_are_gamma_functions(width):
    half = mp.mpf(width) / 2
    for order in (0.1, 1.0, 2.0002, 3.0, 6.0, 60.0, 2e3, 2e6, 2e8, 2e9):
        p = mp.mpf(order) / 2
        truth = mp.loggamma(half + p) - mp.loggamma(half) + p * mp.log(2)
        assert_same_root(log_moment("linear", order, width), truth, order)


def by_series(law, p, width):
    """`E Q^p` for an integer p: p! times a coefficient of the power series of `(E exp(t q))^d`."""
    inner, rate = (law.law, mp.mpf(law.rate)) if isinstance(law, Dropout) else (law, mp.mpf(0))
    low, high = mp.mpf(inner.lower), mp.mpf(inner.upper)
    series = [mp.mpf(1)]
    for j in range(1, p + 1):
        below = (high ** (2 * j + 1) - low ** (2 * j + 1)) / ((2 * j + 1) * (high - low))
        chi = mp.fac2(2 * j - 1) * (1 + below) / 2
        series.append(chi * (1 - rate) / (1 - rate) ** (2 * j) / mp.factorial(j))
    power = [mp.mpf(1)]
    for n in range(1, p + 1):  # J. C. P. Miller's recurrence
        terms = ((width * k - n + k) * series[k] * power[n - k] for k in range(1, n + 1))
        power.append(mp.fsum(terms) / n)
    return power[p] * mp.factorial(p)


@pytest.mark.parametrize("law", CONTINUOUS, ids=str)
def test_even_moments_of_random_slopes_are_sums(law):
    for width, p in itertools.product([1, 2, 8, 64, 1000, 10**7], [1, 2, 3, 10, 50]):
        truth = mp.log(by_series(law, p, width))
        assert_same_root(log_moment(law, 2 * p, width), truth, 2 * p)


def test_moments_equal_a_simulation():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((400_000, 8))
    slope = np.where(z > 0, 1.0, rng.uniform(0.1, 0.6, z.shape)) * (rng.random(z.shape) > 0.3) / 0.7
    norms = np.sqrt(((slope * z) ** 2).sum(axis=1))
    law = Dropout(RandomizedLeakyReLU(0.1, 0.6), 0.3)
    for order in (0.5, 2.5, 3.0, 4.5):
        sample = norms**order
        error = sample.std() / math.sqrt(sample.size)
        assert abs(sample.mean() - math.exp(log_moment(law, order, 8))) < 4 * error
        assert error < 0.01 * sample.mean()


# Theory: the order of Glorot initialization under ReLU.
@pytest.mark.parametrize(("width", "order"), [(8, "10.0"), (64, "63.6"), (256, "247.5")])
def test_glorot_has_the_published_order(width, order):
    s = effective_order("relu", width, gain=1.0)
    assert f"{s:.1f}" == order
    assert abs(second_route.by_mixture(ReLU(), s, width) - 1) < 1e-14


@pytest.mark.parametrize("law", TWO_SLOPES, ids=str)
def test_effective_order_inverts_the_mixture_in_40_digits(law):
    for s, width in itertools.product([0.05, 0.7, 1.9, 2.1, 3.0, 9.0, 150.0], [1, 2, 5, 12]):
        scale = second_route.by_mixture(law, s, width)
        if scale < 1e300:
            assert effective_order(law, width, float(scale)) == pytest.approx(s, rel=1e-12)


def test_effective_order_is_two_at_he_and_lecun_exactly():
    for law, width in itertools.product([*TWO_SLOPES, *CONTINUOUS], [1, 7, 1000, 10**7]):
        assert effective_order(law, width, gain(law, 2, width)) == 2.0


@pytest.mark.parametrize("width", [1, 8, 64, 10**4])
@pytest.mark.parametrize("law", [Linear(), LeakyReLU(0.1), RandomizedLeakyReLU()], ids=str)
def test_effective_order_ends_at_zero_where_no_layer_can_die(law, width):
    top = gain(law, 0, width)
    assert effective_order(law, width, top) == pytest.approx(
        0, abs=1e-14 * conditioning(law, width)
    )
    just_below = effective_order(law, width, top * (1 - 1e-6))
    assert just_below == pytest.approx(1e-6 * conditioning(law, width), rel=1)
    with pytest.raises(ValueError, match="every order grows, and the network explodes"):
        effective_order(law, width, top * (1 + 1e-6))


@pytest.mark.parametrize("scale", [2.1, 3.0, 1e3, 1e100, 1e308])
@pytest.mark.parametrize("width", [1, 4, 16])
def test_every_gain_has_an_order_where_layers_can_die(scale, width):
    s = effective_order("relu", width, scale)
    assert 0 < s < 2
    assert second_route.by_mixture(ReLU(), s, width) == pytest.approx(scale, rel=1e-11)


def test_orders_too_small_for_a_float_are_zero():
    # P(Q = 0) = 2^-d: the root is about 2^(1-d)/(log gain - log gain at order 0).
    expected = 2.0**-63 / math.log(3 / gain("relu", 0, 64))
    assert effective_order("relu", 64, 3.0) == pytest.approx(expected, rel=1e-12)
    assert effective_order("relu", 1000, 3.0) == effective_order("relu", 2000, 3.0) == 0.0


@pytest.mark.parametrize("law", [ReLU(), Linear(), RandomizedLeakyReLU(0.5, 3.0)], ids=str)
@pytest.mark.parametrize("width", [1, 100, 10**7])
def test_small_gains_have_large_orders_and_zero_an_infinite_one(law, width):
    # E Q^p is Gamma(p) (2 ceiling)^p times a power of p, so gain * s tends to d e/ceiling.
    for scale in (1e-6, 1e-12, 1e-30, 1e-280):
        limit = width * math.e / law.ceiling
        s = effective_order(law, width, scale)
        assert s * scale == pytest.approx(limit, rel=100 * scale + 1e-9)
    assert effective_order(law, width, 0.0) == math.inf
    assert effective_order(law, width, 5e-324) == math.inf


def test_a_standard_deviation_is_a_gain():
    for n, stddev in ((784, 0.05), (16, 0.3)):
        assert effective_order("relu", 64, stddev=stddev, fan_in=n) == effective_order(
            "relu", 64, stddev**2 * n
        )


def test_a_stack_of_equals_has_the_order_of_one():
    layer = LayerLaw(ReLU(), 16, 1.5)
    assert common_order([layer] * 9) == pytest.approx(effective_order("relu", 16, 1.5), rel=1e-13)
    mixed = [LayerLaw(law, d, gain(law, 0.8, d)) for law in (ReLU(), Linear()) for d in (3, 50)]
    assert common_order(mixed) == pytest.approx(0.8, rel=1e-12)


laws_with_any_slope = st.one_of(
    st.sampled_from([Linear(), ReLU()]),
    st.builds(LeakyReLU, st.floats(-4, 4).filter(lambda a: a == 0 or abs(a) > 1e-8)),
    st.builds(RandomizedLeakyReLU, st.floats(1e-8, 1), st.floats(1, 4)),
)
any_law = laws_with_any_slope | st.builds(Dropout, laws_with_any_slope, st.floats(0, 0.999))
widths = st.integers(1, 400) | st.sampled_from([10**4, 10**7])


@settings(max_examples=40)
@given(any_law, st.floats(0.05, 2.0), widths)
def test_effective_order_inverts_gain(law, s, width):
    try:
        scale = gain(law, s, width)
    except ValueError:
        return  # larger than any float
    error = abs(effective_order(law, width, scale) - s)
    assert error < 1e-12 + 1e-14 * conditioning(law, width)


@pytest.mark.slow
@settings(max_examples=40)
@given(any_law, st.floats(1e-300, 1), st.floats(1e-300, 1), widths)
def test_a_smaller_gain_has_a_larger_order(law, first, second, width):
    low, high = sorted((first, second))
    if high < low * (1 + 1e-9):
        return
    orders = [effective_order(law, width, scale / law.mean) for scale in (low, high)]
    assert orders[0] > orders[1] >= 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: effective_order("relu", 8), ValueError, "one of `gain` and `stddev` must be"),
        (lambda: effective_order("relu", 8, 1.0, 0.1), ValueError, "Exactly one of `gain` and"),
        (lambda: effective_order("relu", 8, 1.0, fan_in=8), ValueError, "together with `fan_in`"),
        (lambda: effective_order("relu", 8, stddev=0.1), ValueError, "together with `fan_in`"),
        (lambda: effective_order("relu", 8, -1.0), ValueError, "`gain` must not be negative"),
        (lambda: effective_order("relu", 8, math.inf), ValueError, "`gain` must be finite"),
        (lambda: effective_order("relu", 8, "1"), TypeError, "`gain` must be a real number"),
        (
            lambda: effective_order("relu", 8, stddev=-0.1, fan_in=8),
            ValueError,
            "`stddev` must not be negative. Received: stddev=-0.1",
        ),
        (lambda: effective_order("relu", 8, stddev=1, fan_in=0), ValueError, "1 <= fan_in"),
        (lambda: effective_order("relu", 8, stddev=1, fan_in=2.0), TypeError, "`fan_in` must be"),
        (lambda: effective_order("relu", 0, 1.0), ValueError, "`width` must satisfy"),
        (lambda: effective_order("tanh", 8, 1.0), ValueError, "of an order above 2.*'tanh'"),
        (lambda: effective_order(None, 8, 1.2), ValueError, "gain=1.2 at width=8"),
        (lambda: log_moment("relu", 0, 8), ValueError, "`order` must be positive"),
        (lambda: log_moment("relu", math.nan, 8), ValueError, "`order` must be finite"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
