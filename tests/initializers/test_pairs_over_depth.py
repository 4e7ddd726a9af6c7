"""Tests what mirrored kernels keep over depth: singular values exactly, moments in the mean."""

import math

import keras
import numpy as np
import pytest
from cases import DTYPES, exact, numpy, quick

import keras_fracinit as kf

L = keras.layers
slow = pytest.mark.slow

# What is kept, exactly: orthogonal blocks.

SMOOTH = {
    "relu": (kf.FracReLU, {}, 1.0),
    "leaky": (kf.FracLeakyReLU, {"negative_slope": 0.3}, 1.3),
    "gelu": (kf.FracActivation, {"activation": "gelu"}, 1.0),
    "silu": (kf.FracActivation, {"activation": "silu"}, 1.0),
}
LAYER = {"leaky": lambda: L.LeakyReLU(negative_slope=0.3)}


def orthogonal(name, **options):
    initializer, arguments, slope = SMOOTH[name]
    return initializer(**arguments, distribution="orthogonal", **options), slope


@pytest.mark.parametrize(
    "dtype",
    ["float32", *(pytest.param(d, marks=slow) for d in DTYPES if d == "float64")],
)
@pytest.mark.parametrize(
    ("name", "units"), [("gelu", 16), *(pytest.param(name, 256, marks=slow) for name in SMOOTH)]
)
def test_a_hundred_layers_keep_all_singular_values(name, units, dtype):
    """The Jacobian of the differences is the product of the blocks, each times c."""
    initializer, slope = orthogonal(name, pairs="both")
    jacobian, half = np.eye(units // 2), units // 2
    for _ in range(100):
        kernel = exact(initializer((units, units), dtype))
        jacobian = slope * jacobian @ kernel[:half, :half]
    values = np.linalg.svd(jacobian, compute_uv=False)
    assert np.abs(values - 1).max() < (2e-5 if dtype == "float32" else 1e-12)


@slow
@pytest.mark.parametrize("size", [1e-3, 30.0])
@pytest.mark.parametrize("name", SMOOTH)
def test_a_real_network_of_a_hundred_layers_is_an_isometry(name, size):
    """Differences are linear in the input, so the images of a basis are their Jacobian."""
    half = 16
    activation = LAYER.get(name, lambda: L.Activation(name))
    forms = ["outputs", *["both"] * 99]
    stack = [
        L.Dense(2 * half, kernel_initializer=orthogonal(name, pairs=form)[0]) for form in forms
    ]
    x = (size * np.eye(half)).astype("float32")
    act = activation()
    for dense in stack:
        x = act(dense(x))
    y = exact(x)
    values = np.linalg.svd((y[:, :half] - y[:, half:]) / size, compute_uv=False)
    # The activations round relative to the larger half: a pair of leaky units, say, by 1.3.
    assert np.abs(values - 1).max() < 2e-5


# What is kept in the mean: Gaussian blocks, by thousands of networks at once, as in
# test_preservation. The tolerance is in standard errors.

SIGMAS = 4.0
SLICED = {"input_axes": [1], "output_axes": [2]}
BEHIND = {
    "relu": (kf.FracReLU, {}, L.ReLU),
    "leaky": (kf.FracLeakyReLU, {"negative_slope": 0.3}, LAYER["leaky"]),
    "gelu": (kf.FracActivation, {"activation": "gelu"}, lambda: L.Activation("gelu")),
    "silu": (kf.FracActivation, {"activation": "silu"}, lambda: L.Activation("silu")),
    "softplus": (kf.FracActivation, {"activation": "softplus"}, lambda: L.Activation("softplus")),
    "dropout": (
        kf.FracReLU,
        {"dropout": 0.2},
        lambda: keras.Sequential([L.ReLU(), L.Dropout(0.2)]),
    ),
    "leaky-dropout": (
        kf.FracLeakyReLU,
        {"negative_slope": 0.3, "dropout": 0.2},
        lambda: keras.Sequential([LAYER["leaky"](), L.Dropout(0.2)]),
    ),
    "randomized": (
        kf.FracRandomizedLeakyReLU,
        {"lower": 0.1, "upper": 0.6},
        lambda: kf.RandomizedLeakyReLU(0.1, 0.6),
    ),
}
CHANGING = ["relu", "leaky", "gelu", "randomized", "silu", "leaky-dropout", "softplus", "dropout"]


def sizes_over_depth(names, s, mode="fan_in", networks=8000, units=16, order=None, size=1.0):
    """The s-th power of the size of the difference behind each layer, then that of an output."""
    order = s if order is None else order
    x = np.random.default_rng(1).standard_normal((networks, 1, units // 2)).astype("float32")
    x *= size / np.sqrt((x**2).mean(axis=-1, keepdims=True))
    found, width = [], units // 2
    forms = ["outputs", *["both"] * (len(names) - 1), "inputs"]
    for name, form in zip([*names, None], forms, strict=True):
        initializer, arguments, activation = BEHIND.get(name, (kf.FracLinear, {}, L.Identity))
        kernel = initializer(**arguments, s=order, mode=mode, pairs=form, **SLICED)
        out = units if form != "inputs" else 6
        x = L.EinsumDense("nbi,nio->nbo", (1, out), kernel_initializer=kernel)(x)
        x = activation()(x, training=True) if name else x
        y = numpy(x)[:, 0] / size
        delta = y[:, : units // 2] - y[:, units // 2 :] if name else y
        norm = np.linalg.norm(delta, axis=1)
        # In mode "fan_out" the plain norm is kept, here that of the input.
        found.append((norm / math.sqrt(delta.shape[1] if mode == "fan_in" else width)) ** s)
    return np.array(found)


def deviations(sizes):
    return (sizes.mean(axis=1) - 1) / (sizes.std(axis=1) / math.sqrt(sizes.shape[1]))


@pytest.mark.parametrize("s", quick(1.0, 0.5))
@pytest.mark.parametrize("mode", quick("fan_in", "fan_out"))
def test_the_moment_is_kept_while_the_activation_changes(s, mode):
    assert np.abs(deviations(sizes_over_depth(CHANGING, s, mode))).max() < SIGMAS


def test_the_same_test_catches_the_scale_of_another_order():
    found = deviations(sizes_over_depth(["relu"] * 6, 1.0, order=2.0))
    assert found.min() < -2 * SIGMAS


@slow
@pytest.mark.parametrize("size", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("name", BEHIND)
def test_the_moment_is_kept_at_every_size_of_the_signal(name, mode, size):
    assert np.abs(deviations(sizes_over_depth([name] * 6, 1.0, mode, size=size))).max() < SIGMAS


def test_the_output_behind_the_last_pairs_keeps_the_moment_of_its_own_activation():
    networks, s = 8000, 1.0
    x = np.random.default_rng(1).standard_normal((networks, 1, 8)).astype("float32")
    x /= np.sqrt((x**2).mean(axis=-1, keepdims=True))
    pairs = np.maximum(np.concatenate([x, -x], axis=-1), 0.0)  # their difference is x
    for initializer, activation in ((kf.FracReLU, L.ReLU()), (kf.FracLinear, L.Identity())):
        kernel = initializer(s, pairs="inputs", **SLICED)
        y = L.EinsumDense("nbi,nio->nbo", (1, 5), kernel_initializer=kernel)(pairs)
        sizes = np.sqrt((numpy(activation(y))[:, 0] ** 2).mean(axis=-1)) ** s
        assert np.abs(deviations(sizes[None])).max() < SIGMAS


@pytest.mark.parametrize("taps", ["center", "all"])
def test_center_taps_keep_each_position_and_full_taps_do_not(taps):
    """20 convolutions of 3 taps with ReLU on a line of 4 positions, zeros around it.

    In the differences, which structure and slope make linear: h is `V^T delta`, summed over taps.
    """
    networks, positions, half, s, depth = 2000, 4, 16, 1.0, 20
    scale = kf.FracReLU(s, pairs="both", taps=taps).describe((3, 2 * half, 2 * half))
    rng = np.random.default_rng(2)
    delta = rng.standard_normal((positions, half)) * np.array([0.5, 1.0, 2.0, 4.0])[:, None]
    start = np.linalg.norm(delta, axis=-1) ** s
    delta = np.repeat(delta[None], networks, axis=0)
    for _ in range(depth):
        padded = np.pad(delta, ((0, 0), (1, 1), (0, 0)))
        h = np.zeros_like(delta)
        for tap in range(3) if taps == "all" else [1]:
            block = scale.stddev * rng.standard_normal((networks, half, half))
            h += padded[:, tap : tap + positions] @ block
        delta = np.maximum(h, 0.0) - np.maximum(-h, 0.0)
    kept = (np.linalg.norm(delta, axis=-1) ** s / start).T
    off = np.abs(deviations(kept))
    if taps == "center":
        assert off.max() < SIGMAS
    else:
        assert off.min() > 2 * SIGMAS  # positions mix, and zeros come in at the ends
