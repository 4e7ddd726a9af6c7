"""What the package is for: the s-moment survives real Keras layers, and under He it does not.

Monte Carlo, every tolerance in standard errors of the sample at hand. Thousands of networks are
drawn at once, as the slices of one EinsumDense kernel: explicit axes tell the initializer that each
slice is a matrix of its own. Depth, order and width obey the power rule s nu sqrt(k) <= 1 (nu the
standard deviation of the log-norm per layer, k the depth), beyond which neither the mean of |x_k|^s
nor its standard error can be trusted.
"""

import itertools
import math

import keras
import numpy as np
import pytest
from cases import HOMOGENEOUS, each, every_case, numpy

import keras_fracinit as kf
from keras_fracinit import gain, log_norm

SIGMAS = 4.0
every_homogeneous = each(HOMOGENEOUS)


def size(x, s, alpha=2.0):
    """The root mean square of each sample, or the mean of another power alpha, to the power s."""
    return (np.abs(numpy(x)) ** alpha).mean(axis=-1) ** (s / alpha)


def inputs(count, width, alpha=2.0):
    """Of unit size, so that the moment to be kept is exactly 1."""
    x = np.random.default_rng(1).standard_normal((count, 1, width))
    return (x / size(x, 1, alpha)[..., None]).astype("float32")


def deviations(initializer, activation, s, widths, networks=12_000):
    """The s-moment after each layer, minus 1, in standard errors."""
    alpha = initializer.alpha or 2.0
    x = inputs(networks, widths[0], alpha)
    result = []
    for width in widths[1:]:
        dense = keras.layers.EinsumDense("nbi,nio->nbo", (1, width), kernel_initializer=initializer)
        x = activation(dense(x), training=True)
        sizes = size(x, s, alpha)
        result.append((sizes.mean() - 1) / (sizes.std() / math.sqrt(networks)))
    return np.array(result)


SLICED = {"input_axes": [1], "output_axes": [2]}


def spread(law, s, widths):
    return s * math.sqrt(sum(log_norm(law, s, width).variance for width in widths[1:]))


@pytest.mark.parametrize("s", [0.5, 1.0])
@every_homogeneous
def test_the_moment_is_kept_over_depth(case, s):
    widths = [16] * 7
    assert spread(case.law, s, widths) <= 1
    ours = deviations(case.make(s=s, **SLICED), case.activation(), s, widths)
    assert np.abs(ours).max() < SIGMAS


@every_homogeneous
def test_the_same_test_catches_he(case):
    he = deviations(case.make(s=2.0, **SLICED), case.activation(), 1.0, [16] * 7)
    assert he.min() < -2 * SIGMAS


@every_homogeneous
def test_stable_layers_keep_it_in_the_norm_of_their_own(case):
    # At s = 0.3: |y|^s has a variance only for s < alpha/2, and light tails only far below.
    widths, stable = [16, 8, 16, 16], {"distribution": "stable", "alpha": 1.5, **SLICED}
    ours = deviations(case.make(s=0.3, **stable), case.activation(), 0.3, widths)
    assert np.abs(ours).max() < SIGMAS
    other = deviations(case.make(s=0.6, **stable), case.activation(), 0.3, widths)
    assert other.min() < -2 * SIGMAS


@every_homogeneous
def test_the_moment_is_kept_where_the_width_changes(case):
    widths = [64, 16, 128, 8]
    ours = deviations(case.make(s=1.0, **SLICED), case.activation(), 1.0, widths, 5000)
    assert np.abs(ours).max() < SIGMAS


@pytest.mark.slow
def test_one_percent_of_the_scale_is_seen():
    # He is 1 % under the scale of s = 1 at width 64: the error that a loose tolerance would hide.
    widths, relu = [64] * 8, keras.layers.ReLU()
    he = deviations(kf.FracReLU(2.0, **SLICED), relu, 1.0, widths, 2500)
    ours = deviations(kf.FracReLU(1.0, **SLICED), relu, 1.0, widths, 2500)
    assert he.min() < -2 * SIGMAS
    assert np.abs(ours).max() < SIGMAS


@every_case
def test_fan_out_keeps_the_plain_norm(case):
    widths = [64, 16, 32]
    dense = case.make(s=1.0, mode="fan_in", **SLICED)
    outer = case.make(s=1.0, mode="fan_out", **SLICED)
    # |x| kept means the root mean square grows by sqrt(n/d) per layer.
    for n, d in itertools.pairwise(widths):
        ratio = outer.describe((1, n, d)).stddev / dense.describe((1, n, d)).stddev
        assert ratio == pytest.approx(math.sqrt(n / d), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "s"), [([8] * 4, 0.5), ([8] * 4, 1.0), ([3, 4, 3], 1.0)], ids=str
)
def test_the_moment_is_kept_by_orthogonal_layers(widths, s):
    networks = 600
    initializer = kf.FracReLU(s, distribution="orthogonal")
    shapes = list(itertools.pairwise(widths))
    layers = [keras.layers.Dense(d, activation="relu", use_bias=False) for _, d in shapes]
    for layer, (n, _) in zip(layers, shapes, strict=True):
        layer.build((None, n))
    sizes = np.empty(networks)
    # Many inputs to each network: under orthogonal kernels their mean varies less than one does.
    x_all = inputs(networks * 16, widths[0]).reshape(networks, 16, -1)
    for network, x in enumerate(x_all):
        for layer in layers:
            layer.kernel.assign(initializer(layer.kernel.shape))
            x = layer(x)
        sizes[network] = size(x, s).mean()
    error = sizes.std() / math.sqrt(networks)
    assert abs(sizes.mean() - 1) < SIGMAS * error
    # Power: the gain of Gaussian weights is larger by that of a linear layer, at every layer.
    factor = math.prod(gain("linear", s, max(shape)) ** (s / 2) for shape in shapes)
    assert factor * sizes.mean() - 1 > SIGMAS * factor * error


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["untruncated_normal", "orthogonal"])
def test_a_convolution_keeps_each_position_against_its_own_patch(distribution):
    s, filters, draws = 1.0, 4, 500
    x = np.random.default_rng(3).standard_normal((1, 4, 4, 3)).astype("float32")
    patches = [x[0, i : i + 3, j : j + 3].reshape(-1) for i in range(2) for j in range(2)]
    before = size(np.stack(patches), s)
    layer = keras.layers.Conv2D(filters, 3, activation="relu", use_bias=False)
    layer.build(x.shape)

    def deviation(initializer):
        ratios = np.empty((draws, len(before)))
        for draw in range(draws):
            layer.kernel.assign(initializer(layer.kernel.shape))
            ratios[draw] = size(layer(x), s).reshape(-1) / before
        return (ratios.mean(axis=0) - 1) / (ratios.std(axis=0) / math.sqrt(draws))

    ours = kf.FracReLU(s, distribution=distribution)
    he = kf.FracReLU(2.0, distribution=distribution)
    assert np.abs(deviation(ours)).max() < SIGMAS
    assert deviation(he).max() < -SIGMAS
