"""Tests mirrored kernels: their structure, their scale, and the initializer as an object."""

import copy
import itertools
import json
import math
import pickle

import keras
import numpy as np
import pytest
from cases import DTYPES, FORMS, TAPS, WEIGHTS, exact, mirrored, quick

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.propagation.moments import gain

L = keras.layers
BACKEND = keras.backend.backend()
RUNS = {"pairs": {"form": "both", "runs": [[1, 1], [2, 2]]}}  # of 10 inputs


def unpaired(form, distribution, **options):
    """The initializer of a block before ReLU: the difference is linear, its own output is not."""
    plain = kf.FracReLU if form == "inputs" else kf.FracLinear
    return plain(distribution=distribution, **WEIGHTS[distribution], **options)


def halved(shape, form, input_axis, output_axis):
    block = list(shape)
    if form != "inputs":
        block[output_axis] //= 2
    if form != "outputs":
        block[input_axis] //= 2
    return tuple(block)


# The structure, bit for bit.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distribution", WEIGHTS)
@pytest.mark.parametrize("form", quick("both", "outputs", "inputs"))
def test_a_kernel_is_the_block_of_an_unpaired_draw_doubled(form, distribution, dtype):
    options = {"s": 0.8, "seed": 5}
    initializer = kf.FracReLU(
        pairs=form, distribution=distribution, **WEIGHTS[distribution], **options
    )
    kernel = initializer((6, 8), dtype)
    assert keras.backend.standardize_dtype(kernel.dtype) == dtype
    assert tuple(kernel.shape) == (6, 8)
    block = exact(unpaired(form, distribution, **options)(halved((6, 8), form, 0, 1), dtype))
    np.testing.assert_array_equal(exact(kernel), mirrored(block, form, 0, 1))
    np.testing.assert_array_equal(exact(initializer((6, 8), dtype)), exact(kernel))


KERNELS = {
    "einsum": ((6, 3, 4), {"input_axes": [0], "output_axes": [1, 2]}, (0, 2)),
    "heads": ((3, 6, 4), {"input_axes": [0, 1], "output_axes": [2]}, (1, 2)),
    "turned": ((4, 6), {"input_axes": [1], "output_axes": [0]}, (1, 0)),
    "negative": ((6, 3, 4), {"input_axes": [-3], "output_axes": [-2, -1]}, (0, 2)),
    "convolution": ((3, 3, 4, 6), {}, (2, 3)),
    "transposed": ((3, 3, 6, 4), {"input_axes": [0, 1, 3], "output_axes": [2]}, (3, 2)),
}


@pytest.mark.parametrize("mode", quick("fan_in", "fan_out"))
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("form", FORMS)
def test_the_paired_axes_are_the_last_of_the_inputs_and_of_the_outputs(form, name, mode):
    shape, axes, paired = KERNELS[name]
    options = {"seed": 3, "mode": mode, **axes}
    for distribution in ("untruncated_normal", "orthogonal"):
        initializer = kf.FracReLU(pairs=form, distribution=distribution, **options)
        block = unpaired(form, distribution, **options)(halved(shape, form, *paired))
        np.testing.assert_array_equal(
            exact(initializer(shape)), mirrored(exact(block), form, *paired)
        )


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("form", FORMS)
def test_the_scale_is_that_of_the_law_of_the_pair(form, mode):
    shape, s = (3, 3, 6, 8), 0.7
    initializer = kf.FracLeakyReLU(0.3, s, mode=mode, pairs=form, seed=1)
    m = 9 * (6 if form == "outputs" else 3)
    d = 8 if form == "inputs" else 4
    law = laws.LeakyReLU(0.3) if form == "inputs" else laws.LeakyReLU(0.3).pair
    scale = initializer.describe(shape)
    assert initializer.law == law
    assert scale.gain == gain(law, s, d)
    fan = m if mode == "fan_in" else 9 * d
    assert scale.stddev == pytest.approx(math.sqrt(scale.gain / fan), rel=1e-12)
    assert scale.block == (m, d)
    assert (scale.fan_in, scale.fan_out, scale.width) == (54, 72, 8)
    he = math.sqrt(2 / (1 + 0.3**2) / (54 if mode == "fan_in" else 72))
    assert scale.ratio == pytest.approx(scale.stddev / he, rel=1e-12)
    # To the last bit, as Keras draws a block of this gain.
    twin = keras.initializers.VarianceScaling(scale.gain, mode, "untruncated_normal", 1)
    block = exact(twin(halved(shape, form, 2, 3)))
    np.testing.assert_array_equal(exact(initializer(shape)), mirrored(block, form, 2, 3))


@pytest.mark.parametrize("form", ["both", "inputs"])
def test_runs_say_where_the_pairs_of_the_inputs_lie(form):
    for runs in ([[2, 3]], [[1, 1], [2, 2], [1, 1]], [[3, 1], [3, 1]], [[1, 6]]):
        initializer = kf.FracReLU(pairs={"form": form, "runs": runs}, seed=2)
        block = unpaired(form, "untruncated_normal", seed=2)(halved((12, 4), form, 0, 1))
        np.testing.assert_array_equal(
            exact(initializer((12, 4))), mirrored(exact(block), form, 0, 1, runs)
        )
    one = kf.FracReLU(pairs={"form": form, "runs": [[6, 1]]}, seed=2)
    np.testing.assert_array_equal(
        exact(one((12, 4))), exact(kf.FracReLU(pairs=form, seed=2)((12, 4)))
    )


def test_runs_are_those_of_a_flatten():
    """Each position hands on its channels: pairs of c/2, as many times as there are positions."""
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 2)).astype("float32")
    pairs = np.concatenate([x, -x], axis=-1)
    kernel = kf.FracLinear(pairs={"form": "inputs", "runs": [[2, 15]]}, seed=1)((60, 4))
    block = exact(kernel).reshape(15, 2, 2, 4)[:, 0].reshape(30, 4)
    expected = 2 * x.reshape(2, -1).astype("float64") @ block
    np.testing.assert_allclose(
        exact(L.Flatten()(pairs)) @ exact(kernel), expected, rtol=1e-5, atol=1e-5
    )


# The initializer as an object.

OPTIONS = [
    *({"pairs": form} for form in FORMS),
    TAPS,
    RUNS,
    {"taps": 2},
    {"taps": (0, 1), "pairs": "inputs"},
    {"pairs": "both", "distribution": "stable", "alpha": 1.5, "dropout": 0.2},
    {"pairs": "outputs", "distribution": "orthogonal", "mode": "fan_out", "s": 0.3},
]
MAKERS = {
    "relu": kf.FracReLU,
    "leaky": lambda **options: kf.FracLeakyReLU(0.2, **options),
    "randomized": lambda **options: kf.FracRandomizedLeakyReLU(**options),
    "gelu": lambda **options: kf.FracActivation("gelu", **options),
    "hard_silu": lambda **options: kf.FracActivation("hard_silu", **options),
}
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def shape_of(options):
    window = (3, 3) if options.get("taps", "all") != "all" else ()
    return (*window, 10, 6)


@every_option
def test_configurations_round_trip(options):
    for make in (kf.FracReLU, MAKERS["leaky"]):
        initializer = make(seed=7, **options)
        config = json.loads(json.dumps(keras.initializers.serialize(initializer)))
        for twin in (
            keras.initializers.deserialize(config),
            type(initializer).from_config(initializer.get_config()),
            pickle.loads(pickle.dumps(initializer)),
            copy.deepcopy(initializer),
            initializer.clone(),
        ):
            assert twin.get_config() == initializer.get_config()
            assert twin.law == initializer.law
            shape = shape_of(options)
            np.testing.assert_array_equal(exact(twin(shape)), exact(initializer(shape)))
            assert twin.describe(shape) == initializer.describe(shape)


def test_configurations_of_earlier_versions_load():
    config = kf.FracReLU(seed=7).get_config()
    assert (config.pop("pairs"), config.pop("taps")) == (None, "all")
    old = kf.FracReLU.from_config(config)
    np.testing.assert_array_equal(exact(old((4, 6))), exact(kf.FracReLU(seed=7)((4, 6))))


@pytest.mark.parametrize("name", quick(("gelu", "hard_silu"), "relu", "leaky", "randomized"))
def test_every_initializer_takes_pairs(name):
    for form, distribution in itertools.product(FORMS, WEIGHTS):
        if name == "hard_silu" and form == "inputs" and distribution == "stable":
            continue  # its own law is not known far out; that of its difference is
        weights = {"distribution": distribution, **WEIGHTS[distribution]}
        initializer = MAKERS[name](pairs=form, seed=1, **weights)
        kernel = exact(initializer((6, 8)))
        assert np.isfinite(kernel).all()
        block = kernel[: 6 if form == "outputs" else 3, : 8 if form == "inputs" else 4]
        np.testing.assert_array_equal(kernel, mirrored(block, form, 0, 1))


@pytest.mark.parametrize("form", FORMS)
def test_without_a_seed_every_draw_is_new(form):
    initializer = kf.FracReLU(pairs=form)
    first, second = (exact(initializer((6, 8))) for _ in range(2))
    assert (first != second).all()
    seeded = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        seeded.append(exact(kf.FracReLU(pairs=form)((6, 8))))
    np.testing.assert_array_equal(*seeded)


@pytest.mark.parametrize("seed", [0, 10**9, 2**31 - 3, 2**31 - 2, 2**31, 2**32 - 1], ids=str)
def test_every_integer_seeds_a_block_as_it_seeds_an_unpaired_draw(seed):
    for distribution in ("untruncated_normal", "truncated_normal", "uniform", "orthogonal"):
        options = {"s": 0.8, "seed": seed}
        kernel = kf.FracReLU(pairs="both", distribution=distribution, **options)((6, 8))
        block = exact(unpaired("both", distribution, **options)((3, 4), "float32"))
        np.testing.assert_array_equal(exact(kernel), mirrored(block, "both", 0, 1))


@pytest.mark.skipif(BACKEND == "torch", reason="torch does not trace.")
@pytest.mark.parametrize("options", quick(TAPS, *(x for x in OPTIONS if x is not TAPS)), ids=str)
def test_a_traced_draw_has_the_same_bits(options):
    initializer, shape = kf.FracReLU(seed=3, **options), shape_of(options)
    if BACKEND == "jax":
        import jax

        traced = jax.jit(lambda: initializer(shape))()
    else:
        import tensorflow as tf

        traced = tf.function(lambda: initializer(shape))()
    # A compiler may fuse the last multiplication; where a QR or a power stands, by more.
    tolerance = 0 if BACKEND == "tensorflow" else 2e-6
    np.testing.assert_allclose(exact(traced), exact(initializer(shape)), rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "options", "shape", "active"),
    [
        ("relu", {"pairs": "both"}, (8, 8), False),
        ("leaky", {"pairs": "both"}, (8, 8), False),
        ("gelu", {"pairs": "both"}, (8, 8), False),
        ("relu", {"pairs": "outputs"}, (4, 8), False),
        ("relu", {"pairs": "outputs"}, (5, 8), True),  # 5 inputs into 4 differences
        ("relu", {"pairs": "both"}, (8, 16), False),
        ("relu", {"pairs": "both"}, (16, 8), True),
        ("relu", {"pairs": "inputs"}, (8, 8), True),  # its own ReLU follows
        ("gelu", {"pairs": "inputs"}, (8, 8), True),
        ("relu", {"pairs": "both", "dropout": 0.2}, (8, 8), True),
        ("randomized", {"pairs": "both"}, (8, 8), True),
        ("relu", {"pairs": "both", "distribution": "untruncated_normal"}, (8, 8), True),
        ("relu", {"pairs": "both"}, (3, 3, 8, 8), True),  # 36 inputs into 4 differences
        ("relu", {"pairs": "both", "taps": "center"}, (3, 3, 8, 8), False),
        ("relu", {}, (8, 8), True),
        ("linear", {}, (8, 8), False),
        ("linear", {"pairs": "inputs"}, (8, 4), False),
        ("linear", {"pairs": "inputs"}, (8, 3), True),
    ],
    ids=str,
)
def test_s_is_active_where_it_changes_the_scale(make, options, shape, active):
    maker = kf.FracLinear if make == "linear" else MAKERS[make]
    options = {"distribution": "orthogonal", **options}
    low, high = (maker(s=s, **options).describe(shape) for s in (0.3, 2.0))
    assert low.s_is_active == high.s_is_active == active
    assert (abs(low.stddev / high.stddev - 1) > 1e-9) == active
    assert ("whatever s is" in str(low)) == (not active)
    if not active:
        assert abs(low.log_norm_mean) < 1e-12
        assert low.log_norm_std < 1e-6


def test_pairs_have_no_operating_point():
    paired = str(kf.FracActivation("gelu", pairs="both").describe((8, 8)))
    assert "REPELS" not in paired
    assert "REPELS" in str(kf.FracActivation("gelu", pairs="inputs").describe((8, 8)))
