"""Mirrored kernels: their structure, their scale, what they keep over depth, and bad input."""

import copy
import itertools
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from cases import WEIGHTS, exact, mirrored, numpy, quick

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.propagation.moments import gain

L = keras.layers
BACKEND = keras.backend.backend()
slow = pytest.mark.slow
FORMS = ("outputs", "both", "inputs")
DTYPES = ["float32", "bfloat16", "float16"]
if BACKEND != "jax":  # which has no float64 unless asked for
    DTYPES.append("float64")
TAPS = {"pairs": "both", "taps": "center"}
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


# One tap.

WINDOWS = [
    ((3, 4, 6), "center", (1,)),
    ((5, 3, 4, 6), "center", (2, 1)),
    ((4, 2, 4, 6), "center", (1, 0)),
    ((3, 3, 3, 4, 6), "center", (1, 1, 1)),
    ((1, 1, 4, 6), "center", (0, 0)),
    ((3, 3, 4, 6), 2, (2, 2)),
    ((3, 5, 4, 6), (0, 4), (0, 4)),
    ((3, 4, 6), [2], (2,)),
]


@pytest.mark.parametrize(("shape", "taps", "tap"), WINDOWS, ids=str)
@pytest.mark.parametrize("form", quick((None, "both"), "outputs", "inputs"))
def test_one_tap_holds_the_kernel_of_a_dense_layer(form, shape, taps, tap):
    for distribution in ("untruncated_normal", "orthogonal"):
        options = {"distribution": distribution, "seed": 4, "pairs": form}
        kernel = exact(kf.FracReLU(taps=taps, **options)(shape))
        expected = np.zeros(shape)
        expected[tap] = exact(kf.FracReLU(**options)(shape[-2:]))
        np.testing.assert_array_equal(kernel, expected)
    scale = kf.FracReLU(taps=taps, pairs=form).describe(shape)
    dense = kf.FracReLU(pairs=form).describe(shape[-2:])
    assert (scale.stddev, scale.gain) == (dense.stddev, dense.gain)
    assert scale.block == (dense.block or (4, 6))


@pytest.mark.parametrize("distribution", WEIGHTS)
def test_one_tap_of_a_transposed_kernel(distribution):
    axes = {"input_axes": [0, 1, 3], "output_axes": [2]}
    weights = {"distribution": distribution, **WEIGHTS[distribution], "seed": 4}
    for form in (None, *FORMS):
        kernel = kf.FracReLU(taps="center", pairs=form, **weights, **axes)((3, 3, 6, 4))
        turned = kf.FracReLU(pairs=form, **weights, input_axes=[1], output_axes=[0])((6, 4))
        expected = np.zeros((3, 3, 6, 4))
        expected[1, 1] = exact(turned)
        np.testing.assert_array_equal(exact(kernel), expected)


def test_one_tap_in_half_precision():
    for dtype in DTYPES:
        kernel = kf.FracReLU(**TAPS, seed=1)((3, 3, 4, 4), dtype)
        assert keras.backend.standardize_dtype(kernel.dtype) == dtype
        assert np.count_nonzero(exact(kernel)) == 16


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


# In layers, saved models and fresh processes. The three forms are rows of `cases`; here are taps
# and runs, which fit only some layers.


def convolutional():
    first = kf.FracActivation("gelu", pairs="outputs", distribution="orthogonal")
    center = kf.FracActivation("gelu", **TAPS, distribution="orthogonal")
    corner = kf.FracReLU(pairs="both", taps=[0, 2])
    head = kf.FracLinear(pairs={"form": "inputs", "runs": [[3, 20]]}, distribution="orthogonal")
    model = keras.Sequential(
        [
            keras.Input((6, 7, 2)),
            L.Conv2D(8, 3, activation="gelu", kernel_initializer=first),
            L.Conv2D(6, 3, padding="same", activation="gelu", kernel_initializer=center),
            L.Conv2D(6, 3, padding="same", activation="relu", kernel_initializer=corner),
            L.Flatten(),
            L.Dense(4, kernel_initializer=head),
        ]
    )
    return model, np.random.default_rng(0).standard_normal((3, 6, 7, 2)).astype("float32")


def joined():
    inputs = keras.Input((5,))
    parts = [
        L.Dense(2 * half, "relu", kernel_initializer=kf.FracReLU(pairs="outputs"))(inputs)
        for half in (1, 4)
    ]
    both = kf.FracReLU(pairs={"form": "both", "runs": [[1, 1], [4, 1]]})
    hidden = L.Dense(6, "relu", kernel_initializer=both)(L.Concatenate()(parts))
    head = kf.FracLinear(pairs="inputs")
    model = keras.Model(inputs, L.Dense(3, kernel_initializer=head)(hidden))
    return model, np.random.default_rng(0).standard_normal((3, 5)).astype("float32")


MODELS = {"convolutional": convolutional, "joined": joined}


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_linear_in_its_input(name):
    model, x = MODELS[name]()
    y, size = exact(model(x)), np.abs(exact(model(x))).max()
    np.testing.assert_allclose(exact(model(-x)), -y, atol=1e-5 * size)
    whole = exact(model(x[:1] + 2 * x[1:2]))
    np.testing.assert_allclose(whole, y[:1] + 2 * y[1:2], atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("suffix", quick(".keras", ".h5"))
@pytest.mark.parametrize("name", MODELS)
def test_taps_and_runs_are_saved(name, suffix, tmp_path):
    model, x = MODELS[name]()
    model.save(tmp_path / f"model{suffix}")
    loaded = keras.saving.load_model(tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    for one, other in zip(model.layers, loaded.layers, strict=True):
        if hasattr(one, "kernel"):
            same = other.kernel_initializer.get_config() == one.kernel_initializer.get_config()
            assert same
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(numpy(twin(x)), numpy(model(x)))


FRESH = """
import sys, numpy as np, keras, keras_fracinit
for name in sys.argv[2:]:
    path = f"{sys.argv[1]}/{name}"
    y = keras.saving.load_model(path + ".keras")(np.load(path + ".x.npy"))
    np.save(path + ".y.npy", keras.ops.convert_to_numpy(y))
"""


@slow
def test_taps_and_runs_reload_in_a_fresh_process(tmp_path):
    models = {name: make() for name, make in MODELS.items()}
    for name, (model, x) in models.items():
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.x.npy", x)
    folder = Path(__file__).parents[2]
    command = [sys.executable, "-c", FRESH, str(tmp_path), *models]
    subprocess.run(command, check=True, cwd=folder)
    for name, (model, x) in models.items():
        y = np.load(tmp_path / f"{name}.y.npy")
        np.testing.assert_allclose(y, numpy(model(x)), rtol=1e-5, atol=1e-6)


CONVOLUTIONS = {
    "Conv1D": (L.Conv1D, (2, 7, 4)),
    "Conv2D": (L.Conv2D, (2, 7, 7, 4)),
    "Conv3D": (L.Conv3D, (2, 4, 4, 4, 4)),
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_center_tap_moves_no_position_into_another(name, policy):
    layer, shape = CONVOLUTIONS[name]
    pairs = kf.FracReLU(**TAPS, seed=2)
    conv = layer(6, 3, padding="same", kernel_initializer=pairs, dtype=policy)
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    kernel = exact(kf.FracReLU(pairs="both", seed=2)((4, 6), conv.variable_dtype))
    tolerance = 1e-5 if policy == "float32" else 5e-2
    np.testing.assert_allclose(numpy(conv(x)), x @ kernel, atol=tolerance * 4)


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


# Bad input.

relu, gelu = kf.FracReLU, lambda **options: kf.FracActivation("gelu", **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relu(pairs="all"), "`pairs` must be.*'outputs'.*'both'.*'inputs'.*pairs='all'"),
        (lambda: relu(pairs=True), "`pairs`.*True"),
        (lambda: relu(pairs=("both",)), "`pairs`"),
        (lambda: relu(pairs={"form": "both"}), "keys 'form' and 'runs'"),
        (lambda: relu(pairs={"form": "both", "runs": [[1, 1]], "x": 1}), "keys 'form' and 'runs'"),
        (lambda: relu(pairs={"form": "half", "runs": [[1, 1]]}), r"`pairs\['form'\]`.*'half'"),
        (lambda: relu(pairs={"form": "outputs", "runs": [[1, 1]]}), r"`pairs\['runs'\]`.*inputs"),
        (lambda: relu(pairs={"form": "both", "runs": []}), r"`pairs\['runs'\]` must be"),
        (lambda: relu(pairs={"form": "both", "runs": "2x3"}), r"`pairs\['runs'\]` must be"),
        (lambda: relu(pairs={"form": "both", "runs": [[0, 1]]}), r"`pairs\['runs'\]`.*0"),
        (lambda: relu(pairs={"form": "both", "runs": [[2, -1]]}), r"`pairs\['runs'\]`.*-1"),
        (lambda: relu(taps="middle"), "`taps` must be.*'all'.*'center'.*'middle'"),
        (lambda: relu(taps=-1), "`taps`.*-1"),
        (lambda: relu(taps=())((3, 3, 4, 4)), "`taps`"),
        (lambda: relu(pairs="outputs")((6, 7)), "even number of output units.*7 output.*make it 8"),
        (lambda: relu(pairs="both")((5, 8)), "even number of inputs.*5 inputs; make it 6"),
        (lambda: relu(pairs="both")((6, 7)), "even number of output units.*7 output"),
        (lambda: relu(pairs="inputs")((5, 8)), "even number of inputs.*5 inputs"),
        (lambda: relu(pairs="inputs")((3, 3, 5, 8)), "even number of inputs.*5 inputs"),
        (lambda: relu(pairs="outputs").describe((6, 7)), "even number of output units"),
        (lambda: relu(pairs="outputs")((4,)), "`pairs` needs a kernel of rank 2 or more"),
        (lambda: relu(pairs="outputs")((4, 1)), "even number of output units.*1 output"),
        (lambda: relu(pairs="inputs")((1, 4)), "even number of inputs.*1 inputs"),
        (
            lambda: relu(pairs={"form": "both", "runs": [[2, 2]]})((10, 4)),
            "its runs cover 8 of them.*kernel of 10 inputs",
        ),
        (
            lambda: relu(pairs={"form": "inputs", "runs": [[2, 2], [3, 1]]})((12, 4)),
            "its runs cover 14 of them.*kernel of 12 inputs",
        ),
        (lambda: relu(taps="center")((4, 4)), "`taps` must be 'all' for kernels without a window"),
        (lambda: relu(taps=0)((4,)), "`taps` must be 'all' for kernels without a window"),
        (lambda: relu(taps=3)((3, 3, 4, 4)), r"`taps` must be an index into the window \(3, 3\)"),
        (lambda: relu(taps=(1, 1, 1))((3, 3, 4, 4)), "`taps` must be an index into the window"),
        (lambda: relu(taps=(0, 5))((3, 3, 4, 4)), r"an index into the window.*\(0, 5\)"),
        (lambda: kf.FracLinear(pairs="outputs"), "linear layer must not become pairs.*'inputs'"),
        (lambda: kf.FracLinear(pairs="both", dropout=0.1), "linear layer must not become pairs"),
        (lambda: kf.FracLeakyReLU(1.0, pairs="both"), "linear layer must not become pairs"),
        (lambda: kf.FracLeakyReLU(-1.0, pairs="both"), "no linear odd part"),
        (lambda: kf.FracActivation("tanh", pairs="both"), "no linear odd part.*'tanh'"),
        (lambda: kf.FracActivation("relu6", pairs="outputs"), "no linear odd part.*'relu6'"),
        (lambda: gelu(pairs="both", dropout=0.2), "smooth activation under dropout.*`dropout` out"),
    ],
)
def test_bad_input_is_named_with_what_to_do(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_inputs_of_pairs_go_with_every_activation():
    for initializer in (
        kf.FracLinear(pairs="inputs"),
        kf.FracActivation("tanh", pairs="inputs"),
        gelu(pairs="inputs", dropout=0.2),
    ):
        assert np.isfinite(exact(initializer((6, 3)))).all()
