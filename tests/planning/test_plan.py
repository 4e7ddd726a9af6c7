"""Tests that a plan gives each kernel the gain of its law, and that what is planned is done."""

import math
import re

import keras
import numpy as np
import pytest
from architectures import (
    array,
    autoencoder,
    conv_lstm,
    equal,
    grouped_query,
    lstm,
    mlp,
    mobilenet,
    normal,
    preactivation_resnet,
    resnet,
    subclassed,
    transformer,
    vgg,
    weights,
)
from networks import NETWORKS

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.graph.kernels import kernels_of
from keras_fracinit.planning import plan, reinitialize

layers, ops = keras.layers, keras.ops
RELU = "ReLU()"
NORM = "a normalization follows"

# Which fans and laws the kernels of these networks have is in graph/test_kernels.py.
NAMED = [mlp, vgg, preactivation_resnet, mobilenet, autoencoder, transformer, grouped_query]
NAMED += [lstm, conv_lstm, subclassed]
BUILDERS = {
    **{build.__name__: build for build in NAMED},
    "resnet": lambda: resnet(False),
    "resnet-norm": lambda: resnet(True),
    "no-symbols": lambda: subclassed(False),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_plan_gives_each_kernel_the_gain_of_its_law_and_changes_nothing(name):
    """The laws, the fans and the reasons are those of `kernels_of`."""
    model = BUILDERS[name]()
    before = weights(model)
    changes = list(plan(model, s=1.0))
    kernels = kernels_of(model)
    assert [change.path for change in changes] == [kernel.site.path for kernel in kernels]
    for change, kernel in zip(changes, kernels, strict=True):
        site = kernel.site
        assert change.skipped == kernel.reason
        assert (change.kind, change.fan_in, change.width) == (
            site.spec.kind,
            site.fan_in,
            site.width,
        )
        assert math.isnan(change.stddev) == bool(change.skipped)
        if not change.skipped:
            assert change.law == str(kernel.law)
            gain = kf.gain(kernel.law, 1.0, site.width)
            assert change.gain == pytest.approx(gain, rel=1e-12)
            assert change.stddev == pytest.approx(math.sqrt(gain / site.fan_in), rel=1e-12)
    paths = {variable.path for variable in model.weights if len(variable.shape) > 1}
    assert {change.path for change in changes} == {p for p in paths if not p.endswith("bias")}
    assert equal(weights(model), before)


@pytest.mark.parametrize("name", BUILDERS)
def test_what_is_planned_is_done_and_nothing_else(name):
    model = BUILDERS[name]()
    before = {id(variable): array(variable) for variable in model.weights}
    report = reinitialize(model, s=2.0, seed=3, distribution="untruncated_normal")
    drawn = {change.path: change for change in report if not change.skipped}
    for variable in model.weights:
        change = drawn.get(variable.path)
        value = array(variable)
        assert np.array_equal(value, before[id(variable)]) == (change is None), variable.path
        if change is not None:  # a sample of that size
            ratio = np.mean(value**2) / change.stddev**2
            assert abs(ratio - 1) < 5 * math.sqrt(2 / value.size), variable.path
            assert change.stddev_before == pytest.approx(
                math.sqrt(np.mean(before[id(variable)] ** 2.0)), rel=1e-5
            )
    model.summary(print_fn=lambda line: None)


@pytest.mark.parametrize(
    "network", [n for n in NETWORKS if n.name != "quantized"], ids=lambda n: n.name
)
def test_every_way_to_build_a_model_has_a_plan(network):
    model = network.build()
    if not model.built:
        model(keras.tree.map_structure(lambda x: x[:1], network.x))
    nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    call = keras.layers.Layer.__call__
    changes = reinitialize(model, s=1.0, seed=0)
    assert keras.layers.Layer.__call__ is call
    assert [len(layer._inbound_nodes) for layer in model._flatten_layers()] == nodes
    assert any(not change.skipped for change in changes)
    assert np.isfinite(array(model(network.x))).all()
    for change in changes:
        assert change.skipped or change.law, change


APPLICATIONS = ["MobileNetV3Small", "EfficientNetB0", "ConvNeXtTiny", "DenseNet121", "VGG16"]


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_architectures_of_keras_are_covered(name, monkeypatch):
    with monkeypatch.context() as patch:  # JAX would compile every draw of every shape
        patch.setattr(
            keras.initializers.VarianceScaling,
            "__call__",
            lambda initializer, shape, dtype=None: ops.zeros(shape, dtype),
        )
        model = getattr(keras.applications, name)(weights=None, classes=2, input_shape=(32, 32, 3))
    changes = plan(model, s=1.0)
    matrices = {variable.path for variable in model.weights if len(variable.shape) > 1}
    assert {change.path for change in changes} == matrices
    reasons = {change.skipped for change in changes}
    for change in changes:
        assert change.kind != "unknown"
        assert change.fan_in > 0
        assert change.skipped or change.gain > 1.0
    if name == "VGG16":  # all but the softmax
        assert [bool(change.skipped) for change in changes] == [False] * 15 + [True]
    else:
        assert any(reason.startswith(NORM) for reason in reasons)


def test_dropout_enters_the_law_where_asked():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8),
            layers.Dropout(0.2),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )
    assert plan(model).changes[0].law == RELU
    change = plan(model, s=1.0, dropout=True).changes[0]
    assert change.law == str(laws.Dropout(laws.ReLU(), 0.6))
    assert change.gain == kf.gain(laws.Dropout(laws.ReLU(), 0.6), 1.0, 8)


def test_the_order_that_the_weights_keep_is_that_of_their_scale():
    model = mlp(64, kernel_initializer="he_normal")
    first = plan(model).changes[1]
    value = array(model.layers[1].kernel).astype(float)
    gain = 64 * np.mean(value**2)
    assert first.order_before == pytest.approx(kf.effective_order("relu", 64, gain=gain), rel=1e-3)
    model.layers[1].kernel.assign(0.0 * model.layers[1].kernel)
    model.layers[3].kernel.assign(100.0 * model.layers[3].kernel)  # linear: all moments grow
    changes = plan(model).changes
    assert changes[1].order_before == math.inf
    assert math.isnan(changes[3].order_before)


def test_a_plan_prints_as_a_table_and_is_a_frame():
    report = plan(resnet(True), s=1.0)
    text = str(report)
    assert "skipped, because" in text
    assert "conv2d" in text
    assert "\x1b" not in text
    frame = report.to_pandas()
    assert len(frame) == len(report) == 6
    assert frame.fan_in.tolist() == [27, 36, 36, 36, 36, 4]
    assert report[frame.path[0]] is report.changes[0]
    with pytest.raises(KeyError, match=r"Did you mean 'conv2d_?\d*/kernel'"):
        report[frame.path[0].partition("/")[0]]
    with pytest.raises(AttributeError):
        report.seed = 1


def test_a_table_has_few_digits_and_each_note_once():
    slope = layers.LeakyReLU(negative_slope=1 / 3)
    hidden = [layers.Dense(8, activation=slope, name=f"h{i}") for i in range(3)]
    smooth = [layers.Dense(8, "tanh", name=f"t{i}") for i in range(4)]
    model = keras.Sequential([keras.Input((8,)), *hidden, *smooth])
    text = plan(model).to_string(wide=True)
    assert text.count("LeakyReLU(negative_slope=0.3333)") == 3
    assert text.count("before tanh, its input from tanh") == 1
    assert not re.search(r"\d\.\d{6}", text)


class Counting(layers.Layer):
    """Draws, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs + keras.random.normal(ops.shape(inputs), seed=self.seed_generator)


class Noisy(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.noise, self.last = layers.Dense(3), Counting(), layers.Dense(4)

    def call(self, inputs):
        return self.last(self.noise(self.first(inputs)))


def test_a_plan_moves_no_seed_and_no_counter():
    model = Noisy()
    with pytest.raises(ValueError, match="`model` must be built: call it once"):
        plan(model)
    assert not model.built
    assert array(model.noise.count) == 0.0
    model(normal(2, 4))
    seed, count = array(model.noise.seed_generator.state), array(model.noise.count)
    assert [bool(change.skipped) for change in plan(model)] == [True, False]
    assert np.array_equal(array(model.noise.seed_generator.state), seed)
    assert array(model.noise.count) == count


def test_the_scale_before_a_frozen_normalization_counts():
    """It divides by constants in both modes, so that what goes in times 100 comes out so."""
    model = keras.Sequential([keras.Input((8,))])
    for activation in (None, "relu"):
        model.add(layers.Dense(8, activation, use_bias=False))
        model.add(layers.BatchNormalization())
    model.add(layers.ReLU())
    inner, inside = (layer for layer in model.layers if isinstance(layer, layers.Dense))
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert [change.skipped.startswith(NORM) for change in plan(model)] == [True, True]
    for norm in norms:
        norm.trainable = False
    first, second = plan(model)
    assert (first.law, first.skipped, first.note) == ("Linear()", "", "")
    assert (second.law, second.skipped, second.note) == (RELU, "", "")
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    before = array(model(x, training=True))
    for dense in (inner, inside):
        dense.kernel.assign(10.0 * dense.kernel)
    np.testing.assert_allclose(array(model(x, training=True)), 100.0 * before, rtol=1e-5)
    # By gamma over the root of the variance, and by beta less the mean times that.
    norms[0].gamma.assign([3.0] * 4 + [4.0] * 4)
    norms[0].moving_variance.assign([4.0 - norms[0].epsilon] * 8)
    norms[1].beta.assign([0.5] * 8)
    norms[1].moving_mean.assign([1.0] * 8)
    norms[1].moving_variance.assign([1.0 - norms[1].epsilon] * 8)
    first, second = plan(model)
    name = "BatchNormalization is frozen: it"
    assert first.note == f"{name} multiplies by 1.77"  # the root of (1.5^2 + 2^2)/2
    assert second.note == f"{name} adds 0.5"
    assert (first.law, second.law) == ("Linear()", RELU)


def test_a_dry_run_is_the_plan():
    model = mlp()
    before = weights(model)
    report = reinitialize(model, s=0.7, dry_run=True)
    assert report == plan(model, s=0.7)
    assert (report.seed, report.optimizer) == (None, "")
    assert equal(weights(model), before)
