"""Estimates against samples whose truth is known, with tolerances in standard errors."""

import math

import numpy as np
import pytest
from scipy import special, stats

from keras_fracinit import estimators, gain, laws, log_norm
from keras_fracinit.estimators import log_slope, s_scale, tail_index

ORDERS = (0.0, 0.3, 0.5, 1.0, 1.5, 2.0)
ERRORS = 4.0  # standard errors that an estimate may be off


def assert_close(estimate, truth, errors=ERRORS):
    assert 0 < estimate.stderr < 0.1 * abs(truth) + 0.01
    assert abs(estimate.value - truth) < errors * estimate.stderr


@pytest.mark.parametrize("units", [1, 3, 64])
@pytest.mark.parametrize("s", ORDERS)
def test_s_scale_of_gaussian_norms(s, units):
    # (E chi_d^s)^(1/s) / sqrt(d) = g(s, d)^(-1/2) for the linear law.
    samples = np.random.default_rng(1).normal(size=(20_000, units))
    assert_close(s_scale(samples, s), gain(laws.Linear(), s, units) ** -0.5)


@pytest.mark.parametrize("s", ORDERS)
def test_s_scale_of_gaussian_units(s):
    samples = np.random.default_rng(2).normal(size=(5_000, 8))
    assert_close(s_scale(samples, s, kind="unit"), gain(laws.Linear(), s, 1) ** -0.5)


@pytest.mark.parametrize("s", [0.3, 0.5, 0.7])
def test_s_scale_of_symmetric_stable_samples(s):
    # E|X|^s = Gamma(1 - s/alpha) / (Gamma(1 - s) cos(pi s/2)); s < alpha/2 so that |X|^s has a
    # variance and the standard error a meaning.
    alpha = 1.5
    samples = stats.levy_stable.rvs(alpha, 0, size=50_000, random_state=3)
    moment = special.gamma(1 - s / alpha) / (special.gamma(1 - s) * math.cos(math.pi * s / 2))
    assert_close(s_scale(samples, s), moment ** (1 / s))


def test_log_norm_of_gaussian_norms():
    units = 5
    truth = log_norm(laws.Linear(), 2.0, units)
    samples = np.random.default_rng(4).normal(size=(20_000, units))
    samples[::4] = 0.0
    estimate = estimators.log_norm(samples)
    assert_close(estimate.mean, truth.mean)
    assert_close(estimate.variance, truth.variance)
    assert estimate.zeros.value == 0.25


@pytest.mark.parametrize(
    ("name", "alpha", "k"),
    [("pareto", 1.3, 5_000), ("student", 2.0, 1_000), ("stable", 1.5, 1_000)],
)
def test_tail_index(name, alpha, k):
    # k is small where the law is a power only far out: the bias stays under the error.
    samples = {
        "pareto": lambda: np.random.default_rng(5).pareto(alpha, size=200_000) + 1,
        "student": lambda: stats.t.rvs(alpha, size=200_000, random_state=6),
        "stable": lambda: stats.levy_stable.rvs(alpha, 0, size=200_000, random_state=7),
    }[name]()
    estimate = tail_index(samples, k)
    assert estimate.k == k
    assert estimate.stderr == pytest.approx(estimate.value / math.sqrt(k))
    assert abs(estimate.value - alpha) < ERRORS * estimate.stderr


def test_tail_index_shows_the_k_it_chose():
    assert tail_index(np.arange(1.0, 102.0)).k == 10
    assert tail_index([1.0, 2.0]).k == 1


STATISTICS = {
    "s_scale 0": lambda x: s_scale(x, 0),
    "s_scale 0.5": lambda x: s_scale(x, 0.5),
    "s_scale 2": lambda x: s_scale(x, 2),
    "unit": lambda x: s_scale(x, 1, kind="unit"),
    "mean": lambda x: estimators.log_norm(x).mean,
    "variance": lambda x: estimators.log_norm(x).variance,
    "zeros": lambda x: estimators.log_norm(x).zeros,
}


@pytest.mark.parametrize("name", STATISTICS)
def test_standard_errors_are_those_of_repeated_probes(name):
    """Also where the positions of a sample and the units of a position depend on each other."""
    repeats = 600
    rng = np.random.default_rng(8)
    estimates = []
    for _ in range(repeats):
        x = rng.normal(size=(80, 1, 1)) + 0.5 * rng.normal(size=(80, 6, 3))
        dead = (rng.uniform(size=(80, 1, 1)) < 0.3) | (rng.uniform(size=(80, 6, 1)) < 0.1)
        estimates.append(STATISTICS[name](np.where(dead, 0.0, x)))
    values, errors = np.transpose(estimates)
    # The spread of 600 values is known to 1/sqrt(1200) = 2.9 %.
    assert np.std(values) / np.sqrt(np.mean(errors**2)) == pytest.approx(1, abs=0.12)


def test_tail_index_error_is_that_of_repeated_samples():
    rng = np.random.default_rng(9)
    estimates = [tail_index(rng.pareto(1.5, size=2_000) + 1, 200) for _ in range(600)]
    values, errors, _ = np.transpose(estimates)
    assert np.std(values) / np.mean(errors) == pytest.approx(1, abs=0.12)


def test_the_device_computes_the_same_as_the_host():
    import keras

    samples = np.random.default_rng(10).normal(size=(30, 4, 5)) ** 3
    samples[3:6] = 0.0
    for kind in estimators.KINDS:
        norms = estimators.scaled_norms(
            keras.ops.convert_to_tensor(samples, "float32"), kind, keras.ops
        )
        device = estimators.summarize(norms[None], ORDERS, True, xp=keras.ops)
        for s in ORDERS:
            pair = [float(keras.ops.convert_to_numpy(tensor)[0]) for tensor in device["s_scale", s]]
            np.testing.assert_allclose(pair, s_scale(samples, s, kind), rtol=2e-5)
        for name, truth in zip(
            ("log_norm_mean", "log_norm_variance", "zeros", "tail_index"),
            (*estimators.log_norm(samples, kind), tail_index(samples, kind=kind)[:2]),
            strict=True,
        ):
            pair = [float(keras.ops.convert_to_numpy(tensor)[0]) for tensor in device[name, None]]
            np.testing.assert_allclose(pair, truth, rtol=2e-5)


def test_limits_and_identities():
    samples = np.random.default_rng(11).normal(size=(50, 4))
    scales = [s_scale(samples, s).value for s in ORDERS]
    assert scales == sorted(scales)
    assert s_scale(samples, 2).value == pytest.approx(np.sqrt(np.mean(samples**2)), rel=1e-13)
    assert s_scale(samples, 1e-4).value == pytest.approx(scales[0], rel=1e-4)
    assert s_scale(samples, 0).value == pytest.approx(
        math.exp(estimators.log_norm(samples).mean.value), rel=1e-14
    )
    for factor in (1e-150, 1e150):  # the scale of a signal is the signal's
        assert s_scale(factor * samples, 1).value == pytest.approx(factor * scales[3], rel=1e-12)


def test_degenerate_samples_have_no_error():
    assert math.isnan(s_scale([[3.0, 4.0]], 1).stderr)
    assert s_scale(np.zeros((4, 2)), 1).value == 0
    assert math.isnan(estimators.log_norm(np.zeros((4, 2))).mean.value)
    assert math.isnan(tail_index([1.0, 0.0, 0.0, 0.0], 2).value)
    assert math.isnan(tail_index([1.0, math.inf, 1.0, 1.0], 2).value)
    assert math.isnan(s_scale([1.0, math.nan], 1).value)
    assert s_scale([1.0, math.inf], 1).value == math.inf


def test_log_slope():
    rng = np.random.default_rng(12)
    depths = np.arange(400)
    scales = np.exp(0.3 - 0.02 * depths + 0.5 * rng.normal(size=400))
    slope = log_slope(depths, scales)
    fit = stats.linregress(depths, np.log(scales))
    assert slope == pytest.approx((fit.slope, fit.stderr), rel=1e-10)
    assert log_slope([1, 2, 3], [1.0, 0.0, math.exp(2)]).value == pytest.approx(1.0)
    assert math.isnan(log_slope([1, 1], [1.0, 2.0]).value)
    assert math.isnan(log_slope([1, 2], [1.0, math.nan]).value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: s_scale([1.0], 2.5), ValueError, "`s` must satisfy"),
        (lambda: s_scale(["a"], 1), TypeError, "`samples` must hold real numbers"),
        (lambda: s_scale([], 1), ValueError, "`samples` must be an array"),
        (lambda: s_scale(3.0, 1), ValueError, "`samples` must be an array"),
        (
            lambda: s_scale([1.0], 1, kind="rows"),
            ValueError,
            "`kind` must be one of 'norm', 'unit'",
        ),
        (lambda: tail_index([1.0, 2.0], 2), ValueError, "`k` must satisfy 1 <= k <= 1"),
        (lambda: tail_index([1.0, 2.0], 1.5), TypeError, "`k` must be an integer"),
        (lambda: log_slope([1, 2], [1.0]), ValueError, "vectors of one length"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("alpha", [0.5, 1.2, 1.9])
def test_the_kind_of_a_number_is_the_norm_of_that_exponent(alpha):
    samples = np.random.default_rng(0).normal(size=(50, 7))
    r = (np.abs(samples) ** alpha).mean(axis=1) ** (1.0 / alpha)
    assert s_scale(samples, 0.7, kind=alpha).value == pytest.approx((r**0.7).mean() ** (1 / 0.7))
    huge = s_scale(1e150 * samples, 0.7, kind=alpha).value
    assert huge == pytest.approx(1e150 * s_scale(samples, 0.7, kind=alpha).value)


@pytest.mark.parametrize("kind", [0.0, 2.0, -1.0, math.nan])
def test_a_norm_of_another_exponent_is_refused(kind):
    with pytest.raises(ValueError, match=r"`kind` must be .*Received: kind="):
        s_scale(np.ones((3, 3)), 1.0, kind=kind)
