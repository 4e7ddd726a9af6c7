"""Mirrored models: known by their values, judged by the differences of pairs; the cures by name."""

import itertools
import math

import keras
import numpy as np
import pytest
from architectures import array, normal
from diagnosable import mlp, reaches

import keras_fracinit as kf
from keras_fracinit.diagnosis import diagnose
from keras_fracinit.diagnosis.mirrored import mirrored_of
from keras_fracinit.graph.kernels import look_into
from keras_fracinit.planning import reinitialize

layers = keras.layers
X = normal(64, 32)
IMAGES = normal(8, 8, 8, 3)
slow = pytest.mark.slow


def network(depth=20, width=16, activation="relu", units=10):
    return mlp(depth, width, activation, [layers.Dense(units, name="last")])


def images(*stack):
    return keras.Sequential([keras.Input((8, 8, 3)), *stack], name="net")


def conv(filters=16, **options):
    return layers.Conv2D(filters, 3, padding="same", **options)


def mirrored(model, seed=0, **options):
    reinitialize(model, seed=seed, mirrored=True, **options)
    return model


def scaled(model, factor):
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(factor * layer.kernel)
    return model


def forms(model, training=False):
    found = mirrored_of(*look_into(model), training)
    return [facts.form.pairs.form if facts.form.pairs else "" for facts in found]


# Healthy, and not.

QUICK = {("relu", None, 5, 16), ("leaky_relu", "untruncated_normal", 5, 16), ("gelu", None, 5, 64)}
PRODUCT = itertools.product(
    ("relu", "leaky_relu", "gelu"), (None, "untruncated_normal"), (5, 50), (16, 64)
)
CASES = [pytest.param(*row, marks=() if row in QUICK else slow) for row in PRODUCT]


@pytest.mark.parametrize(("activation", "distribution", "depth", "width"), CASES)
def test_a_mirrored_stack_is_healthy_and_a_wrong_scale_is_named(
    activation, distribution, depth, width
):
    """A few Gaussian layers hide a wrong scale, as unmirrored ones do: one draw spreads more."""
    model = network(depth, width, activation)
    options = {"distribution": distribution, "s": 1.0 if depth == 50 else 0.5}
    for seed in range(1 if (activation, distribution, depth, width) in QUICK else 3):
        diagnosis = diagnose(mirrored(model, seed, **options), X)
        assert diagnosis.healthy, diagnosis.verdicts
        if seed == 0 and (distribution is None or depth == 50):
            for factor, word in ((0.8, "vanishes"), (1.25 / 0.8, "explodes")):
                verdict = diagnose(scaled(model, factor), X).verdicts[0]
                assert verdict.startswith(f"{word}: x")


@slow
def test_nothing_collapses_where_independent_weights_do():
    model = network(120, 16)
    reinitialize(model, seed=0)
    assert any(v.startswith("inputs collapse") for v in diagnose(model, X).verdicts)
    diagnosis = diagnose(mirrored(model), X)
    assert diagnosis.healthy, diagnosis.verdicts
    # arccos(0)'s share of the c map of ReLU: 1/pi, but few units are not orthogonal in the mean.
    assert diagnosis["net/h119"].cosine == pytest.approx(1 / math.pi, abs=0.06)


STACKS = {
    "convolutional": lambda: [
        *[conv(activation="relu") for _ in range(6)],
        *[layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(16, "gelu"), layers.Dense(4)],
    ],
    "layers behind": lambda: [
        *[conv(), layers.LeakyReLU(negative_slope=0.3), conv(activation="relu")],
        *[layers.GlobalAveragePooling2D(), layers.Dense(16), layers.PReLU(), layers.Dense(4)],
    ],
    "separable": lambda: [
        *[conv(activation="relu"), conv(), layers.DepthwiseConv2D(3), layers.Activation("silu")],
        *[layers.SeparableConv2D(16, 3, activation="relu"), conv(4)],
    ],
    "normalized": lambda: [
        *[conv(), layers.BatchNormalization(), layers.ReLU(), conv(activation="relu")],
        *[layers.LayerNormalization(), conv(activation="gelu"), conv(4)],
    ],
}
STACK_CASES = [
    pytest.param(name, taps, marks=() if (name, taps) == ("convolutional", "all") else slow)
    for name in STACKS
    for taps in ("all", "center")
]


@pytest.mark.parametrize(("name", "taps"), STACK_CASES)
def test_mirrored_networks_of_other_layers_are_healthy(name, taps):
    for seed in range(1 if name == "convolutional" else 4):
        model = mirrored(images(*STACKS[name]()), seed, taps=taps)
        assert "both" in forms(model)
        assert diagnose(model, IMAGES).healthy


@slow
def test_where_pairs_lie_is_lost_at_a_concatenation_and_found_again():
    inputs = keras.Input((32,))
    x = layers.Dense(16, "relu")(inputs)
    joined = layers.Concatenate()([x, layers.Dense(8, "relu")(x)])
    output = layers.Dense(4, name="last")(layers.Dense(16, "relu", name="behind")(joined))
    model = mirrored(keras.Model(inputs, output))
    assert forms(model) == ["outputs", "both", "both", "inputs"]
    diagnosis = diagnose(model, X)
    assert diagnosis.healthy
    assert [diagnosis[name].walk for name in ("input", "behind", "last")] == [1, 2, 2]
    last = model.get_layer("last")
    last.kernel.assign(3.0 * last.kernel)
    assert diagnose(model, X).verdicts[0].startswith("explodes: x")


# The numbers.


def test_the_band_is_that_of_half_the_width():
    model = mirrored(network(4, 16, "leaky_relu", 6), distribution="untruncated_normal", seed=1)
    diagnosis, start = diagnose(model, X), math.log(diagnose(model, X)["input"].size)
    pairs, last = kf.log_norm("linear", 2, 8), kf.log_norm("linear", 2, 6)
    variances = [*[pairs.variance] * 4, last.variance]
    below, above = (ends[-1] for ends in reaches(variances))
    assert math.log(diagnosis["net/last"].low) - start == pytest.approx(
        4 * pairs.mean + last.mean - below, abs=1e-9
    )
    assert math.log(diagnosis["net/last"].high) - start == pytest.approx(above, abs=1e-9)
    # What the weights as they are make of the size, in the mean: fan-in and gain of the blocks.
    squares = [np.mean(array(layer.kernel).astype("float64") ** 2) for layer in model.layers]
    gains = [32 * squares[0] * 1.2**2, *(8 * s * 1.2**2 for s in squares[1:4]), 8 * squares[4]]
    expected = 4 * pairs.mean + last.mean + 0.5 * sum(map(math.log, gains))
    assert math.log(diagnosis["net/last"].predicted) - start == pytest.approx(expected, abs=1e-6)
    for row in diagnosis.layers[1:]:
        assert row.low < row.size < row.high
    assert diagnosis["net/h1"].law == "LeakyReLU(negative_slope=0.2)"


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_orthogonal_blocks_leave_no_room(activation):
    """The first block contracts, 32 to 32 does not: its size is kept to rounding."""
    model = mirrored(network(30, 64, activation, 32), seed=2)
    diagnosis = diagnose(model, X)
    start, last = diagnosis["input"].size, diagnosis["net/last"]
    assert last.size == pytest.approx(start, rel=1e-5)
    assert last.predicted == pytest.approx(start, rel=1e-5)
    assert 1.0 < last.high / last.low < math.exp(31 * 2e-3 + 1e-6)


def test_a_branch_that_starts_at_zero_is_not_taken_for_death():
    inputs = keras.Input((32,))
    x = layers.Dense(16, "relu")(inputs)
    for _ in range(2):
        branch = layers.Dense(16, "relu")(x)
        x = layers.ReLU()(layers.Add()([x, layers.Dense(16, kernel_initializer="zeros")(branch)]))
    model = keras.Model(inputs, layers.Dense(4, name="last")(x))
    assert diagnose(model, X).healthy
    first = model.layers[1]
    first.kernel.assign(0.0 * first.kernel)
    model.get_layer("last").bias.assign(np.ones(4))  # after which the outputs are not zero
    path = f"layer 1 ({first.path})"
    assert diagnose(model, X).verdicts[0] == f"dead: every output is zero from {path} on"


# What is recognised.


def test_after_a_step_of_training_a_model_is_one_like_any_other():
    model = mirrored(network(6))
    assert forms(model) == ["outputs", *["both"] * 5, "inputs"]
    model.compile("sgd", "mse", **({} if keras.backend.backend() == "jax" else EAGER))
    model.fit(X, normal(64, 10), batch_size=64, verbose=0)
    assert forms(model) == [""] * 7
    rows = diagnose(model, X).layers
    variances = [*[kf.log_norm("relu", 2, 16).variance] * 6, kf.log_norm("linear", 2, 10).variance]
    _, above = reaches(variances)
    assert math.log(rows[6].high / rows[0].size) == pytest.approx(above[5], abs=1e-9)


EAGER = {"run_eagerly": True}


@pytest.mark.parametrize("kernel", ["first", "last"])
def test_one_value_decides(kernel):
    model = mirrored(network(2))
    layer = model.layers[0 if kernel == "first" else -1]
    values = array(layer.kernel).copy()
    values[-1, -1] *= 1.0 + 1e-6
    layer.kernel.assign(values)
    expected = {"first": ["", "outputs", "inputs"], "last": ["outputs", "inputs", ""]}
    assert forms(model) == expected[kernel]


def test_zeros_are_no_pairs():
    model = scaled(network(2), 0.0)
    assert forms(model) == ["", "", ""]


def test_a_saved_model_has_the_same_verdicts(tmp_path):
    stack = conv(activation="gelu", name="conv"), layers.Flatten(name="flat"), layers.Dense(4)
    model = mirrored(images(*stack))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert forms(loaded) == ["outputs", "inputs"]
    # A model that is loaded is built anew, and its paths lack the name of the model.
    expected = [verdict.replace("net/", "") for verdict in diagnose(model, IMAGES).verdicts]
    assert list(diagnose(loaded, IMAGES).verdicts) == expected
    assert expected[0].startswith("healthy: ")


# Cures.


def cure(model, x=X):
    """With large biases, under which any draw of any network collapses."""
    reinitialize(model, seed=0)
    for layer in model.layers:
        if hasattr(layer, "bias"):
            layer.bias.assign(100.0 + array(layer.bias))
    verdicts = diagnose(model, x).verdicts
    place = next(i for i, v in enumerate(verdicts) if v.startswith("inputs collapse"))
    assert verdicts[place].endswith("which no scale cures")
    assert verdicts[place + 1].startswith("what would keep them apart: ")
    return verdicts[place + 1].removeprefix("what would keep them apart: ")


def test_deep_relu_stacks_are_told_to_mirror_or_to_take_a_slope():
    assert cure(network(40)) == (
        "reinitialize(model, mirrored=True), for 41 of 41 kernels; or LeakyReLU(negative_slope="
        "0.38), which would keep the cosine at 0.9 over 40 layers"
    )


def test_what_ends_the_pairs_is_named():
    pool = [layers.MaxPooling1D(2, 1, padding="same") for _ in range(3)]
    hidden = [layers.Dense(16, "relu", name=f"h{i}") for i in range(3)]
    stack = [layer for pair in zip(hidden, pool, strict=True) for layer in pair]
    model = keras.Sequential([keras.Input((4, 8)), *stack, layers.Dense(2)], name="net")
    assert cure(model, normal(16, 4, 8)).startswith(
        "mirrored weights, but max pooling ends the pairs; average pooling would keep them (net/h0)"
    )
    assert "15 units: an odd width has no pairs" in cure(network(3, 15))


def test_another_activation_is_told_to_take_a_normalization():
    assert cure(network(3, 16, "tanh")) == (
        "mirrored weights, but tanh has no linear odd part (net/h0); "
        "or a normalization behind every activation"
    )


@pytest.mark.parametrize(("depth", "slope", "larger"), [(40, 0.3, True), (20, 0.3, False)])
def test_a_slope_is_named_only_where_it_is_larger(depth, slope, larger):
    """A slope of 0.38 keeps the cosine at 0.9 over 40 layers, one of 0.18 over 20."""
    hidden = [layers.Dense(8, layers.LeakyReLU(negative_slope=slope)) for _ in range(depth)]
    text = cure(keras.Sequential([keras.Input((32,)), *hidden, layers.Dense(2)]))
    assert ("LeakyReLU(negative_slope=0.38)" in text) == larger
    assert ("a normalization behind every activation" in text) != larger


@slow
@pytest.mark.parametrize("seed", range(3))
def test_the_cure_works(seed):
    model = network(120)
    reinitialize(model, s=2.0, seed=seed)
    verdicts = diagnose(model, X).verdicts
    assert any("reinitialize(model, mirrored=True), for 121 of 121" in v for v in verdicts)
    assert diagnose(mirrored(model, seed), X).healthy
