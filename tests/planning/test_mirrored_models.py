"""Tests that mirrored models keep sums, sizes and angles when they start, and learn from there."""

import itertools

import keras
import numpy as np
import pytest
from architectures import array, equal, mlp, normal, weights
from cases import exact, mirrored, quick
from mirrorable import PAIRED, behind, conv, dense, image_mean, stack
from mirroring import assert_keeps_sums, called, kernels, trained

from keras_fracinit.graph.kernel_table import sites_of
from keras_fracinit.initializers.pairs import pair_law_of
from keras_fracinit.laws import Dropout, LeakyReLU, Linear, ReLU
from keras_fracinit.planning import plan, reinitialize
from keras_fracinit.propagation import correlation_map
from keras_fracinit.propagation.moments import gain

layers = keras.layers
QUICK = ("average", "separable", "concatenated", "rms-behind")


def variables(model):
    return {variable.path: variable for variable in model.weights}


@pytest.mark.parametrize(
    "network",
    [pytest.param(n, id=n.name, marks=() if n.name in QUICK else pytest.mark.slow) for n in PAIRED],
)
def test_a_model_that_was_trained_is_linear_again(network):
    """What is planned is done: kernels in their forms, and all between them alike in the halves."""
    model = trained(network.build())
    before = weights(model)
    planned = plan(model, mirrored=True)
    dry = reinitialize(model, seed=0, mirrored=True, dry_run=True)
    assert equal(weights(model), before)
    report = reinitialize(model, seed=0, mirrored=True)
    assert repr(planned.changes) == repr(dry.changes) == repr(report.changes)
    found = variables(model)
    sites = {s.variable.path: s for x in model._flatten_layers() for s in sites_of(x)}
    for change, written in zip(kernels(report), network.forms, strict=True):
        (form, *runs), _, reason = runs_in(written)
        assert change.pairs == form
        assert form == "repeated" or reason in change.note + change.skipped
        kernel, axes = exact(found[change.path]), sites[change.path].axes
        if form == "repeated":
            first, second = np.split(kernel, 2, axis=-2)
            np.testing.assert_array_equal(first, second)
        elif form:
            inputs, outputs = (-2, -1) if axes[0] is None else (axes[0][-1], axes[1][-1])
            assert_mirrored(kernel, form, inputs, outputs, runs)
    for change in report:
        if change.kind in ("bias", "normalization", "slope"):
            assert set(array(found[change.path]).ravel()) == {np.float32(change.stddev)}
    if network.kept:
        assert_keeps_sums(called(model), normal(4, *network.shape), network.kept)


def runs_in(written):
    """The form of a row of the table with its runs, and the reason."""
    form, colon, reason = written.partition(":")
    name, *numbers = form.replace("(", "").replace(")", "").replace(",", "").split(" ")
    sizes = map(int, numbers)
    return [name, *zip(sizes, sizes, strict=True)], colon, reason.strip()


def assert_mirrored(kernel, form, input_axis, output_axis, runs):
    block = kernel
    if form != "inputs":
        block = np.split(block, 2, output_axis)[0]
    if form != "outputs":
        runs = runs or [(kernel.shape[input_axis] // 2, 1)]
        rows, position = [], 0
        for size, count in runs:
            for _ in range(count):
                rows += range(position, position + size)
                position += 2 * size
        block = np.take(block, rows, input_axis)
    axes = (input_axis % kernel.ndim, output_axis % kernel.ndim)
    np.testing.assert_array_equal(kernel, mirrored(block, form, *axes, runs))
    assert np.abs(block).max() > 0


def deep(activation, head=8):
    """Its head has as many units as there are differences, so orthogonal blocks lose nothing."""
    return stack((8,), *[dense(16, activation)] * 20, dense(head))()


@pytest.mark.parametrize("activation", quick("relu", "silu", "leaky_relu"))
def test_orthogonal_blocks_keep_every_size_and_angle(activation):
    model = trained(deep(activation))
    x = normal(6, 8)
    report = reinitialize(model, seed=0, mirrored=True)
    y = called(model)(x)
    np.testing.assert_allclose(y @ y.T, x @ x.T, atol=1e-4)
    assert {change.distribution for change in kernels(report)} == {"orthogonal"}
    assert [change.pairs for change in kernels(report)] == ["outputs", *["both"] * 19, "inputs"]


@pytest.mark.slow
def test_outputs_have_the_angles_of_one_activation_behind_any_depth():
    """Cosines of the differences stay; those of the outputs are theirs, through one layer."""
    model = stack((128,), *[dense(256, "relu")] * 20)()
    with_head = keras.Sequential([model, layers.Dense(4)])
    reinitialize(with_head, seed=0, mirrored=True)
    y = called(model)(np.eye(128, dtype="float32"))
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    cosines = (y @ y.T)[np.triu_indices(128, 1)]
    # 1/pi, up to the spread of 128 units, over some 128 independent rows.
    assert cosines.mean() == pytest.approx(correlation_map("relu", 0.0), abs=4 * cosines.std() / 11)


def test_batch_statistics_of_training_keep_the_halves():
    model = trained(behind(layers.BatchNormalization, layers.ReLU)())
    reinitialize(model, seed=0, mirrored=True)
    assert_keeps_sums(lambda x: exact(model(x, training=True)), normal(8, 6), "sign")


def test_center_taps_keep_every_position():
    """Channels come in fours, and one tap leaves each position to itself."""
    model = stack((5, 4, 4), *[conv(8, 3, activation="gelu")] * 10, conv(4, 3, activation=None))()
    report = reinitialize(model, seed=0, mirrored=True, taps="center")
    x = normal(2, 5, 4, 4)
    y = called(model)(x)
    np.testing.assert_allclose((y**2).sum(-1), (x**2).sum(-1), rtol=1e-4)
    assert not any("full taps" in change.note for change in report)
    for change in kernels(report):
        kernel = exact(variables(model)[change.path])
        assert np.count_nonzero(np.abs(kernel).sum((2, 3))) == 1
    reinitialize(model, seed=0, mirrored=True)
    mixed = (called(model)(x) ** 2).sum(-1)
    assert np.abs(mixed / (x**2).sum(-1) - 1).max() > 0.1


PLACE = "full taps: no tap of this layer has the place of its output"
FEW = "full taps: one tap of so few channels would make all positions alike"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (conv(8), ""),
        (conv(8, 5), ""),
        (conv(8, 3, dilation_rate=2), ""),
        (conv(8, (3, 1)), ""),
        (conv(8, 1), None),
        (conv(8, 3, padding="valid"), PLACE),
        (conv(8, 2), PLACE),
        (conv(8, 3, 2), PLACE),
        (conv(12), FEW),
        (lambda: layers.Conv2DTranspose(8, 3, padding="same", activation="relu"), PLACE),
    ],
)
def test_center_taps_are_taken_where_the_layer_has_one(make, why):
    model = stack((8, 8, 3), conv(8), make, image_mean, dense(2))()
    changes = kernels(reinitialize(model, seed=0, mirrored=True, taps="center"))
    assert FEW in changes[0].note  # three channels into four differences
    assert "full taps" not in changes[-1].note  # of a dense layer
    kernel = exact(variables(model)[changes[1].path])
    taken = np.count_nonzero(np.abs(kernel).sum((2, 3))) == 1
    assert taken == (why in ("", None))
    assert (why or "") in changes[1].note
    assert bool(why) == ("full taps" in changes[1].note)


def test_a_causal_convolution_keeps_its_last_tap():
    causal = [lambda: layers.Conv1D(8, 3, padding="causal", activation="relu", dilation_rate=2)] * 2
    model = stack((9, 4), *causal, layers.GlobalAveragePooling1D, dense(4))()
    reinitialize(model, seed=0, mirrored=True, taps="center")
    for layer in model.layers[:2]:
        assert list(np.flatnonzero(np.abs(array(layer.kernel)).sum((1, 2)))) == [2]


def test_the_scale_is_that_of_the_block():
    model = mlp(8)
    for s, mode in itertools.product((0.5, 2.0), ("untruncated_normal", "uniform")):
        changes = kernels(plan(model, s=s, mirrored=True, distribution=mode))
        for change, (m, width, law) in zip(
            changes,
            [(6, 4, Linear()), (4, 4, Linear()), (4, 4, Linear()), (4, 2, Linear())],
            strict=True,
        ):
            assert change.gain == pytest.approx(gain(law, s, width), rel=1e-12)
            assert change.stddev == pytest.approx((change.gain / m) ** 0.5, rel=1e-12)
            assert change.s == s


def test_dropout_enters_the_law_of_the_pair_where_asked():
    dropped = [dense(8, "relu"), lambda: layers.Dropout(0.2)]
    leaky = [lambda: layers.Dense(8, layers.LeakyReLU(negative_slope=0.3)), dropped[1]]
    model = stack((6,), *dropped, *leaky, dense(3))()
    options = {"mirrored": True, "distribution": "untruncated_normal"}
    for s in (0.5, 1.0):
        found = [c.gain for c in kernels(plan(model, s=s, dropout=True, **options))]
        laws = [Dropout(ReLU(), 0.2), Dropout(LeakyReLU(0.3), 0.2)]
        assert found[:2] == [gain(pair_law_of(law, "both"), s, 4) for law in laws]
        without = [c.gain for c in kernels(plan(model, s=s, **options))]
        assert without[0] == gain(Linear(), s, 4)


def test_dropout_behind_a_smooth_activation_ends_pairs_in_training_mode():
    model = stack((6,), dense(8, "gelu"), lambda: layers.Dropout(0.2), dense(8, "relu"), dense(2))()
    assert [c.pairs for c in kernels(plan(model, mirrored=True))] == ["outputs", "both", "inputs"]
    changes = kernels(plan(model, mirrored=True, dropout=True))
    assert [change.pairs for change in changes] == ["", "outputs", "inputs"]
    assert "dropout behind a smooth activation ends the pairs in training mode" in changes[0].note


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_half_precision(dtype):
    model = mlp(8, dtype=dtype)
    reinitialize(model, seed=0, mirrored=True)
    for layer, form in zip(model.layers, ("outputs", "both", "both", "inputs"), strict=True):
        assert_mirrored(exact(layer.kernel), form, 0, 1, None)


# Optimizers and training.

X, Y = normal(32, 6), normal(32, 3, seed=1)


def fitted(model, optimizer="adam"):
    model.compile(optimizer, "mse", jit_compile=False)
    model.train_on_batch(X, Y)
    return model


def three(*between):
    return behind(lambda: layers.Activation("relu"), *between)()


def test_the_optimizer_forgets_what_is_drawn_or_reset():
    model = fitted(three(layers.LayerNormalization), keras.optimizers.SGD(0.1, momentum=0.9))
    moments = [v for v in model.optimizer.variables if v.path.endswith("momentum")]
    assert all(array(moment).any() for moment in moments)
    report = reinitialize(model, seed=0, mirrored=True)
    reset = [change for change in report if not change.skipped]
    assert {change.kind for change in reset} == {"dense", "bias", "normalization"}
    assert len(reset) == len(moments) == len(model.trainable_weights)
    assert report.optimizer == f"{len(moments)} variables of the optimizer start anew"
    assert not any(array(moment).any() for moment in moments)


def step(model, x, y):
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    model.train_on_batch(x, y)


def halves_differ(kernel):
    p, q = np.split(exact(kernel), 2, axis=1)
    return np.abs(p + q).max() / np.abs(p).max()


def test_one_step_of_training_takes_the_halves_apart():
    model = three()
    reinitialize(model, seed=0, mirrored=True)
    assert halves_differ(model.layers[2].kernel) == 0.0
    step(model, X, Y)
    assert halves_differ(model.layers[2].kernel) > 1e-3
    y = called(model)(X)
    assert np.abs(called(model)(-X) + y).max() > 1e-3 * np.abs(y).max()


def test_targets_that_are_negated_with_the_inputs_keep_the_network_odd():
    model = three()
    reinitialize(model, seed=0, mirrored=True)
    x, y = np.concatenate([X, -X]), np.concatenate([Y, -Y])
    before = called(model)(X)
    for _ in range(5):
        step(model, x, y)
    after = called(model)(X)
    assert np.abs(after - before).max() > 1e-2  # it has learned
    np.testing.assert_allclose(called(model)(-X), -after, atol=1e-5 * np.abs(after).max())
