"""Tests the scale that each initializer draws with, to the last bit where Keras draws the same."""

import math

import keras
import mpmath as mp
import numpy as np
import pytest
from cases import CASES, covering, draws, numpy

import keras_fracinit as kf
from keras_fracinit import gain, laws

# shape, axes, (fan_in, fan_out, width): fans as in Keras, width the number of output units.
FANS = [
    ((5, 7), {}, (5, 7, 7)),
    ((7,), {}, (7, 7, 7)),
    ((3, 4, 8), {}, (12, 24, 8)),
    ((3, 3, 4, 8), {}, (36, 72, 8)),
    ((3, 3, 3, 4, 8), {}, (108, 216, 8)),
    ((8, 3, 5), {"input_axes": [0], "output_axes": [1, 2]}, (8, 15, 15)),
    ((3, 6, 8), {"input_axes": [0, 1], "output_axes": [2]}, (18, 8, 8)),
    ((5, 3, 6), {"input_axes": [-3], "output_axes": [-2, -1]}, (5, 18, 18)),
    ((4, 9), {"input_axes": [1], "output_axes": [0]}, (9, 4, 4)),
    ((6,), {"input_axes": [], "output_axes": [0]}, (1, 6, 6)),
]
MODES = ("mode", ["fan_in", "fan_out"])


@covering(draws(CASES, "untruncated_normal", "stable"), ("shape, axes, fans", FANS), MODES)
def test_stddev_is_the_gain_over_the_right_fan(case, weights, mode, shape, axes, fans):
    scale = case.make(s=0.8, mode=mode, **weights, **axes).describe(shape)
    assert (scale.fan_in, scale.fan_out, scale.width) == fans
    fan = fans[0] if mode == "fan_in" else fans[1]
    law = case.law_under(weights)
    expected = gain(law, 0.8, fans[2])  # itself proven in test_moments and test_stable
    assert scale.gain == expected
    assert scale.alpha == weights.get("alpha", 2.0)
    assert scale.stddev == pytest.approx((expected / fan) ** (1 / scale.alpha), rel=1e-11)


def test_stddev_is_the_papers_number():
    # theory: sigma^2 = g/n, g(s = 1, d = 64) of 40-digit arithmetic, and 1 % above He.
    scale = kf.FracReLU(s=1.0).describe((64, 64))
    assert scale.stddev**2 * 64 == pytest.approx(2.03982444920232, rel=1e-11)
    assert scale.ratio == pytest.approx(math.sqrt(2.03982444920232 / 2), rel=1e-11)


@covering(
    draws(CASES, "untruncated_normal", "truncated_normal", "uniform"),
    ("shape, axes", [row[:2] for row in FANS if row[0] != (6,)]),
    MODES,
)
def test_gain_reaches_the_sampler_to_the_last_bit(case, weights, shape, axes, mode):
    options = {"mode": mode, "seed": 7, **weights, **axes}
    initializer = case.make(s=0.7, **options)
    twin = keras.initializers.VarianceScaling(initializer.describe(shape).gain, **options)
    np.testing.assert_array_equal(numpy(initializer(shape)), numpy(twin(shape)))


@pytest.mark.parametrize("shape", [(64, 64), (3, 3, 16, 8), (300, 1)], ids=str)
def test_order_two_is_he_to_the_last_bit(shape):
    he = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=11)
    lecun = keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal", seed=11)
    pairs = [
        (kf.FracReLU(s=2, seed=11), he),
        (kf.FracLeakyReLU(0.0, s=2, seed=11), he),
        (kf.FracRandomizedLeakyReLU(0.0, 0.0, s=2, seed=11), he),
        (
            kf.FracReLU(s=2, seed=11, distribution="truncated_normal"),
            keras.initializers.HeNormal(11),
        ),
        (kf.FracReLU(s=2, seed=11, distribution="uniform"), keras.initializers.HeUniform(11)),
        (kf.FracLinear(s=2, seed=11), lecun),
        (kf.FracLeakyReLU(1.0, s=2, seed=11), lecun),
        (kf.FracLeakyReLU(-1.0, s=2, seed=11), lecun),
    ]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(numpy(ours(shape)), numpy(theirs(shape)))


def test_initializers_that_coincide_agree_to_the_last_bit():
    for s in (0, 0.6, 1.4):
        relu, linear = kf.FracReLU(s, seed=3), kf.FracLinear(s, seed=3)
        leaky, same = (
            kf.FracLeakyReLU(0.3, s, seed=3),
            kf.FracRandomizedLeakyReLU(0.3, 0.3, s, seed=3),
        )
        for one, other in [
            (relu, kf.FracLeakyReLU(0.0, s, seed=3)),
            (linear, kf.FracLeakyReLU(1.0, s, seed=3)),
            (leaky, same),
        ]:
            np.testing.assert_array_equal(numpy(one((9, 5))), numpy(other((9, 5))))


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((8, 8), {}),
        ((6, 20), {}),
        ((20, 6), {}),
        ((3, 3, 2, 5), {}),
        ((2, 9, 4), {"input_axes": [1], "output_axes": [0, 2]}),
    ],
    ids=str,
)
def test_orthogonal_is_orthogonal_times_the_exact_multiplier(shape, axes, s, mode):
    initializer = kf.FracReLU(s, mode, "orthogonal", seed=5, **axes)
    kernel = numpy(initializer(shape))
    if axes:
        kernel = np.moveaxis(kernel, 1, 0)
        n, d, fan_out = 9, 8, 8
    else:
        n, d = math.prod(shape[:-1]), shape[-1]
        fan_out = d * math.prod(shape[:-2])
    matrix = kernel.reshape(n, d)
    m = max(n, d)
    # eta = (E chi_m^s / E Q^(s/2))^(1/s) keeps |x|, eta sqrt(d/n) keeps |x|/sqrt(n), by Gamma
    # functions and the binomial law of the active units; per position, fan_out is larger than d.
    half = mp.mpf(s) / 2
    chi = [
        2**half * mp.gamma(mp.mpf(k) / 2 + half) / mp.gamma(mp.mpf(k) / 2) for k in range(1, m + 1)
    ]
    moment = sum(mp.binomial(d, k) * mp.mpf(0.5) ** d * chi[k - 1] for k in range(1, d + 1))
    eta = float((chi[m - 1] / moment) ** (1 / mp.mpf(s)))
    multiplier = eta * math.sqrt(d / (n if mode == "fan_in" else fan_out))
    assert initializer.describe(shape).stddev * math.sqrt(m) == pytest.approx(multiplier, rel=1e-11)
    gram = matrix.T @ matrix if n >= d else matrix @ matrix.T
    np.testing.assert_allclose(gram, multiplier**2 * np.eye(min(n, d)), atol=2e-6 * multiplier**2)


def test_orthogonal_linear_layers_are_isometries():
    scale = kf.FracLinear(0.5, distribution="orthogonal").describe((16, 16))
    assert scale.stddev == 0.25
    assert scale.log_norm_mean == scale.log_norm_std == 0.0


def test_describe_prints_one_readable_line():
    scale = kf.FracLeakyReLU(negative_slope=0.3, s=1.0, dropout=0.1).describe((3, 3, 8, 16))
    line = str(scale)
    assert "\n" not in line
    for part in ("fan_in 72", "fan_out 144", "width 16", f"{scale.stddev:.6g}", "x He"):
        assert part in line
    mean, variance = kf.log_norm(laws.Dropout(laws.LeakyReLU(0.3), 0.1), 1.0, 16)
    assert (scale.log_norm_mean, scale.log_norm_std) == (mean, math.sqrt(variance))
    assert "x LeCun" in str(kf.FracLinear().describe((4, 4)))
    with pytest.raises(AttributeError):
        scale.gain = 1.0


def test_describe_of_a_recurrent_kernel_sees_all_gates():
    units = 6
    layer = keras.layers.LSTM(units, kernel_initializer=kf.FracLinear())
    layer.build((None, 3, 5))
    assert kf.FracLinear().describe(layer.cell.kernel.shape).width == 4 * units
