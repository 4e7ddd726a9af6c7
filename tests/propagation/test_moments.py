"""The gain and the log-norm, against published values, closed forms and 40-digit arithmetic."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import second_route
from hypothesis import given, settings
from hypothesis import strategies as st
from second_route import relative_error, rows_of

from keras_fracinit import death_probability, gain, laws, log_norm
from keras_fracinit.laws import Dropout, LeakyReLU, Linear, RandomizedLeakyReLU, ReLU

REFERENCE = rows_of("moments")
TOLERANCE = 1e-11
pytestmark = pytest.mark.filterwarnings("error")


def reference_law(row):
    law = {
        "linear": lambda slope: Linear(),
        "relu": lambda slope: ReLU(),
        "leaky_relu": LeakyReLU,
        "rrelu": lambda slope: RandomizedLeakyReLU(*slope),
    }[row["activation"]](row["slope"])
    return Dropout(law, row["dropout"]) if row.get("dropout") else law


@pytest.mark.parametrize("row", REFERENCE["gain"], ids=lambda row: f"{list(row.values())[:5]}")
def test_gain_equals_the_reference(row):
    # moments.json: 40-digit arithmetic, printed to 16 digits.
    value = gain(reference_law(row), row["s"], row["width"])
    assert relative_error(value, row["gain"]) < TOLERANCE


@pytest.mark.parametrize("row", REFERENCE["log_norm"], ids=lambda row: f"{list(row.values())[:3]}")
def test_log_norm_equals_the_reference(row):
    law, width = reference_law(row), row["width"]
    mean, variance = log_norm(law, 1.0, width)
    # The reference holds E log|phi(z)|; the layer adds log sigma to it.
    sigma = math.sqrt(gain(law, 1.0, width) / width)
    assert mean == pytest.approx(float(row["mean_log_norm"]) + math.log(sigma), abs=1e-12)
    assert variance == pytest.approx(float(row["var_log_norm"]), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9, 0.999])
@pytest.mark.parametrize("slope", [0.0, 1e-70, 1e-8, 1e-3, 0.3, 1.0, -1.0, 1.5, 1e3, -1e8])
def test_gain_equals_the_mixture_in_40_digits(slope, rate):
    law = Dropout(LeakyReLU(slope), rate)
    for s, width in itertools.product([0.01, 0.1, 0.5, 1.0, 1.7, 1.9999], [1, 2, 5]):
        truth = second_route.by_mixture(law, s, width)
        if truth > mp.mpf(1.7976e308):
            with pytest.raises(ValueError, match=r"P\(Q = 0\)"):
                gain(law, s, width)
        else:
            assert relative_error(gain(law, s, width), truth) < TOLERANCE, (s, width)


@pytest.mark.parametrize(
    ("law", "s", "width"),
    [
        (RandomizedLeakyReLU(0.0, 1 / 3), 0.01, 1),
        (RandomizedLeakyReLU(0.0, 1 / 3), 1.5, 2),
        (RandomizedLeakyReLU(1 / 8, 1 / 3), 0.01, 64),
        (RandomizedLeakyReLU(0.3, 0.3000001), 1.0, 2),
        (RandomizedLeakyReLU(0.1, math.nextafter(0.1, 1)), 1.0, 1),
        (RandomizedLeakyReLU(0.0, 1e-8), 0.01, 1),
        (RandomizedLeakyReLU(1e-8, 1.0), 0.5, 8),
        (RandomizedLeakyReLU(0.0, 1e8), 0.01, 2),
        (Dropout(RandomizedLeakyReLU(5.0, 1e8), 0.999), 0.5, 2),
        (ReLU(), 0.01, 10**7),
        (LeakyReLU(0.01), 1.0, 10**7),
        (Dropout(ReLU(), 0.999), 0.01, 64),
        (Dropout(ReLU(), 0.999), 0.01, 1000),
        (Dropout(LeakyReLU(1e8), 0.5), 1.5, 1000),
    ],
    ids=str,
)
def test_gain_equals_the_plain_integral_in_80_digits(law, s, width):
    assert relative_error(gain(law, s, width), second_route.by_laplace(law, s, width)) < TOLERANCE


@pytest.mark.parametrize("width", [1, 3, 64, 10**4, 10**7])
def test_linear_has_closed_forms(width):
    # |z|^2 is chi-squared: Gamma for the moment, digamma and trigamma for its logarithm.
    half = mp.mpf(width) / 2
    for s in (0.01, 0.7, 1.9, 1.999999):
        p = mp.mpf(s) / 2
        truth = width / (2**p * mp.gamma(half + p) / mp.gamma(half)) ** (1 / p)
        assert relative_error(gain("linear", s, width), truth) < TOLERANCE
    at_zero = width / (2 * mp.exp(mp.digamma(half)))
    assert relative_error(gain("linear", 0, width), at_zero) < TOLERANCE
    mean, variance = log_norm("linear", 2, width)
    assert mean == pytest.approx(float(-mp.log(at_zero) / 2), abs=1e-14)
    assert variance == pytest.approx(float(mp.polygamma(1, half) / 4), abs=1e-14, rel=1e-11)


SLOPES = [0.0, 0.01, 0.2, 0.3, 1.0, -0.5, 1.7, 1e8]


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("width", [1, 7, 10**6])
@pytest.mark.parametrize("method", ["exact", "asymptotic"])
def test_order_two_is_he_and_lecun_to_the_last_bit(slope, width, method):
    assert gain(LeakyReLU(slope), 2, width, method) == 2.0 / (1.0 + slope**2)
    assert gain(Dropout(LeakyReLU(slope), 0.5), 2, width, method) == 1.0 / (1.0 + slope**2)


@pytest.mark.parametrize("s", [0, 0.3, 1, 2])
@pytest.mark.parametrize("width", [1, 12, 1000])
def test_laws_that_coincide_agree_to_the_last_bit(s, width):
    assert gain("relu", s, width) == gain(LeakyReLU(0.0), s, width)
    assert gain("linear", s, width) == gain(LeakyReLU(1.0), s, width)
    assert gain("relu", s, width) == gain(RandomizedLeakyReLU(0.0, 0.0), s, width)
    assert gain(LeakyReLU(0.2), s, width) == gain(RandomizedLeakyReLU(0.2, 0.2), s, width)
    assert gain(LeakyReLU(0.2), s, width) == gain(LeakyReLU(-0.2), s, width)
    assert gain(LeakyReLU(0.2), s, width) == gain(Dropout(LeakyReLU(0.2), 0.0), s, width)


def test_order_zero_keeps_the_log_norm_given_survival():
    # E log chi2_k = digamma(k/2) + log 2, with k ~ Binomial(4, 1/2) given k > 0.
    parts = [mp.binomial(4, k) * (mp.digamma(mp.mpf(k) / 2) + mp.log(2)) for k in range(1, 5)]
    truth = 4 * mp.exp(-sum(parts) / 15)
    assert relative_error(gain("relu", 0, 4), truth) < TOLERANCE
    for law in (ReLU(), LeakyReLU(0.1), Dropout(RandomizedLeakyReLU(), 0.3)):
        assert log_norm(law, 0, 4).mean == pytest.approx(0.0, abs=1e-15)


def test_order_zero_is_a_jump_where_a_layer_can_die():
    assert gain("relu", 1e-2, 4) > 1e6 > gain("relu", 0, 4)
    assert gain("linear", 1e-9, 4) == pytest.approx(gain("linear", 0, 4), rel=1e-8)
    assert gain("linear", 5e-324, 4) == gain("linear", 0, 4)


def test_asymptotic_is_the_papers_expansion_at_the_output_width():
    for s, width in itertools.product([0.0, 0.8, 1.5], [8, 64]):
        # The authors' sigma^2 = 2/n + 5(2 - s)/(2 n^2) and 1/n + (2 - s)/(2 n^2), times n.
        relu, linear = 2 + 5 * (2 - s) / (2 * width), 1 + (2 - s) / (2 * width)
        assert gain("relu", s, width, "asymptotic") == pytest.approx(relu, rel=1e-15)
        assert gain("linear", s, width, "asymptotic") == pytest.approx(linear, rel=1e-15)


@pytest.mark.parametrize(
    "law", [Linear(), ReLU(), LeakyReLU(0.3), RandomizedLeakyReLU(), Dropout(ReLU(), 0.3)], ids=str
)
@pytest.mark.parametrize("s", [0.0, 0.5, 1.5])
def test_asymptotic_is_off_by_the_square_of_the_width(law, s):
    narrow, wide = (
        gain(law, s, width) - gain(law, s, width, "asymptotic") for width in (1000, 10_000)
    )
    assert narrow / wide == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("method", ["exact", "asymptotic"])
def test_log_norm_belongs_to_the_gain(method):
    # The mean is (log(gain/d) + E log Q)/2, whatever the gain: differences of orders show it.
    for law in (ReLU(), Dropout(LeakyReLU(0.2), 0.2)):
        low, high = (log_norm(law, s, 8, method).mean for s in (0.5, 2.0))
        ratio = gain(law, 0.5, 8, method) / gain(law, 2, 8, method)
        assert low - high == pytest.approx(0.5 * math.log(ratio), abs=1e-14)


def test_log_norm_equals_a_simulation():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((400_000, 8))
    slope = np.where(z > 0, 1.0, rng.uniform(0.1, 0.6, z.shape)) * (rng.random(z.shape) > 0.3) / 0.7
    squared = ((slope * z) ** 2).sum(axis=1)
    sample = 0.5 * np.log(squared[squared > 0])
    law = Dropout(RandomizedLeakyReLU(0.1, 0.6), 0.3)
    mean, variance = log_norm(law, 1, 8)
    mean -= 0.5 * math.log(gain(law, 1, 8) / 8)
    error = math.sqrt(variance / sample.size)
    assert abs(sample.mean() - mean) < 4 * error
    fourth = ((sample - mean) ** 4).mean()
    assert abs(sample.var() - variance) < 4 * math.sqrt((fourth - variance**2) / sample.size)


def test_death_probability():
    assert death_probability("relu", 10) == 2.0**-10
    assert death_probability(Dropout(ReLU(), 0.5), 3) == 0.75**3
    assert death_probability(Dropout(Linear(), 0.25), 2) == 0.0625
    assert death_probability("linear", 1) == death_probability(LeakyReLU(1e-8), 1) == 0.0
    assert death_probability("relu", 2000) == 0.0


orders = st.floats(0.01, 2.0)
widths = st.integers(1, 400) | st.sampled_from([10**4, 10**7])
slopes = st.floats(1e-8, 1.0)
plain_laws = st.one_of(
    st.sampled_from([Linear(), ReLU()]),
    st.builds(LeakyReLU, st.floats(-4, 4).filter(lambda a: a == 0 or abs(a) > 1e-8)),
    st.builds(
        lambda a, b: RandomizedLeakyReLU(min(a, b), max(a, b)),
        st.floats(1e-8, 4),
        st.floats(0.1, 4),
    ),
)
any_law = plain_laws | st.builds(Dropout, plain_laws, st.floats(0, 0.999))


def gain_or_inf(law, s, width):
    try:
        return gain(law, s, width)
    except ValueError as error:
        if "P(Q = 0)" not in str(error):
            raise
        return math.inf


@given(any_law, orders, orders, widths)
def test_gain_falls_as_the_order_grows(law, first, second, width):
    low, high = sorted((first, second))
    if high - low < 0.01:
        return
    at_low, at_high = gain_or_inf(law, low, width), gain_or_inf(law, high, width)
    assert at_low > at_high or at_low == at_high == math.inf


@given(slopes, orders, widths)
def test_gain_is_continuous_at_slope_zero(slope, s, width):
    # Q grows by at most slope^2 chi2_d, and (a + b)^p <= a^p + b^p.
    relu = gain_or_inf("relu", s, width)
    leaky = gain_or_inf(LeakyReLU(slope), s, width)
    assert leaky <= relu * (1 + TOLERANCE)
    if relu < math.inf:
        added = (slope**2 * relu / gain("linear", s, width)) ** (s / 2)
        assert math.log(relu / leaky) <= math.log1p(added) * 2 / s + TOLERANCE


@given(slopes, orders, widths)
def test_gain_is_continuous_at_slope_one(slope, s, width):
    # Q lies between slope^2 chi2_d and chi2_d.
    linear, leaky = gain("linear", s, width), gain(LeakyReLU(slope), s, width)
    assert linear * (1 - TOLERANCE) <= leaky <= linear / slope**2 * (1 + TOLERANCE)


@given(plain_laws, st.floats(1e-12, 0.9), orders, widths)
def test_gain_is_continuous_at_dropout_zero(law, rate, s, width):
    # Q/(1-r)^2 at most, and that at least when no unit is dropped, of probability (1-r)^width.
    before, after = gain_or_inf(law, s, width), gain_or_inf(Dropout(law, rate), s, width)
    if after == math.inf:
        return
    shift = math.log(after / before) - 2 * math.log1p(-rate)
    assert -TOLERANCE <= shift <= -2 * width / s * math.log1p(-rate) + TOLERANCE


@given(any_law, orders)
def test_gain_tends_to_the_variance_preserving_one(law, s):
    width = 10**7
    spread = (law.mean_square / law.mean**2 - 1) / width
    assert -TOLERANCE <= gain(law, s, width) * law.mean - 1 <= spread + TOLERANCE


@settings(max_examples=500)
@given(
    st.one_of(
        st.builds(LeakyReLU, st.floats(1e-75, 1e75) | st.floats(-1e75, -1e-75) | st.just(0.0)),
        st.builds(RandomizedLeakyReLU, st.just(0.0), st.floats(1e-75, 1e75)),
    ),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 2),
    st.integers(1, 10**7),
)
def test_no_nan_and_no_warning_anywhere_in_the_domain(law, rate, s, width):
    law = Dropout(law, rate)
    try:
        assert 0 < gain(law, s, width) < math.inf
        mean, variance = log_norm(law, s, width)
        assert math.isfinite(mean)
        assert variance >= -1e-12
    except ValueError as error:
        if "P(Q = 0)" not in str(error):
            raise


def test_gain_takes_whatever_names_an_activation():
    import keras

    import keras_fracinit as kf

    expected = gain(LeakyReLU(0.3), 1, 16)
    assert gain(keras.layers.LeakyReLU(), 1, 16) == expected
    assert gain(keras.layers.ReLU(negative_slope=0.3), 1, 16) == expected
    assert gain("leaky_relu", 1, 16) == gain(LeakyReLU(0.2), 1, 16)
    assert gain(None, 1, 16) == gain(keras.activations.linear, 1, 16) == gain(Linear(), 1, 16)
    assert log_norm(kf.RandomizedLeakyReLU(), 1, 16) == log_norm(RandomizedLeakyReLU(), 1, 16)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gain("relu", -0.1, 4),
            ValueError,
            "`s` must satisfy 0 <= s <= 2. Received: s=-0.1",
        ),
        (lambda: gain("relu", 2.5, 4), ValueError, "0 <= s <= 2. Received: s=2.5"),
        (lambda: gain("relu", math.nan, 4), ValueError, "`s` must be finite. Received: s=nan"),
        (lambda: gain("relu", math.inf, 4), ValueError, "`s` must be finite. Received: s=inf"),
        (lambda: gain("relu", "1", 4), TypeError, "`s` must be a real number. Received: s='1'"),
        (lambda: gain("relu", True, 4), TypeError, "`s` must be a real number. Received: s=True"),
        (lambda: gain("relu", np.ones(2), 4), TypeError, "`s` must be a real number"),
        (lambda: gain("relu", 1, 0), ValueError, "1 <= width <= 10000000. Received: width=0"),
        (lambda: gain("relu", 1, 10**7 + 1), ValueError, "`width` must satisfy"),
        (
            lambda: gain("relu", 1, 8.0),
            TypeError,
            "`width` must be an integer. Received: width=8.0",
        ),
        (lambda: gain("relu", 1, True), TypeError, "`width` must be an integer"),
        (lambda: gain("relu", 1, 4, "fast"), ValueError, "`method` must be one of 'exact'"),
        (lambda: log_norm("relu", 3, 4), ValueError, "`s` must satisfy"),
        (lambda: log_norm("relu", 1, 4, None), ValueError, "`method` must be one of"),
        (lambda: death_probability("relu", -1), ValueError, "`width` must satisfy"),
        (lambda: gain("softmax", 1, 4), ValueError, "which softmax does not"),
        (lambda: gain("relu", 0.001, 1), ValueError, r"P\(Q = 0\) = 0.5.*larger s"),
        (lambda: gain("relu", 5e-324, 1), ValueError, r"P\(Q = 0\) = 0.5.*larger s"),
        (lambda: log_norm("relu", 0.001, 1), ValueError, r"P\(Q = 0\) = 0.5.*larger s"),
        (lambda: LeakyReLU(math.nan), ValueError, "`negative_slope` must be finite"),
        (lambda: LeakyReLU("0.1"), TypeError, "`negative_slope` must be a real number"),
        (lambda: LeakyReLU(1e76), ValueError, "`negative_slope` must be 0 or of a size between"),
        (lambda: LeakyReLU(1e-76), ValueError, "`negative_slope` must be 0 or of a size between"),
        (
            lambda: RandomizedLeakyReLU(-0.1, 1),
            ValueError,
            "0 <= lower <= upper. Received: lower=-0.1",
        ),
        (lambda: RandomizedLeakyReLU(0.5, 0.1), ValueError, "Received: lower=0.5, upper=0.1"),
        (lambda: RandomizedLeakyReLU(0.5, math.nan), ValueError, "`upper` must be finite"),
        (lambda: Dropout(ReLU(), 1.0), ValueError, "0 <= dropout < 1. Received: dropout=1.0"),
        (lambda: Dropout(ReLU(), -0.5), ValueError, "0 <= dropout < 1"),
        (lambda: Dropout("relu", 0.5), TypeError, "`law` must be a law"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_public_laws_are_values():
    assert LeakyReLU(1) == LeakyReLU(1.0)
    assert hash(Dropout(ReLU(), 0.1)) == hash(Dropout(ReLU(), 0.1))
    assert ReLU() != LeakyReLU(0.0)
    with pytest.raises(AttributeError):
        laws.LeakyReLU(0.1).negative_slope = 0.2
