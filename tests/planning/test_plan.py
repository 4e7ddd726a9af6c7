"""Re-initialization of whole models: the plan, what it keeps, seeds, optimizers and errors."""

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
from networks import NETWORKS, Subclassed

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.graph.kernels import kernels_of
from keras_fracinit.planning import execute, plan, reinitialize, steps

layers, ops = keras.layers, keras.ops
RELU = "ReLU()"
NORM = "a normalization follows"


# The plan. Which fans and laws the kernels of these networks have is in graph/test_kernels.py.

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


# The fans, measured: at s = 2 the variance of the output is that of the input.

ATTENTION = {"MultiHeadAttention": (8, 16), "GroupQueryAttention": (16, 8, 4)}
KINDS = {
    "Dense": (lambda: layers.Dense(40), (30,)),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cde->abde", (None, 6, 7)), (4, 20)),
    "EinsumDense two in": (lambda: layers.EinsumDense("abde,dec->abc", (None, 30)), (3, 6, 7)),
    "EinsumDense groups": (lambda: layers.EinsumDense("abc,bcd->abd", (5, 20)), (5, 12)),
    "Conv1D": (lambda: layers.Conv1D(20, 3), (12, 10)),
    "Conv2D": (lambda: layers.Conv2D(20, 3, strides=2), (7, 7, 10)),
    "Conv2D dilation": (lambda: layers.Conv2D(20, 3, dilation_rate=2), (7, 7, 10)),
    "Conv2D groups": (lambda: layers.Conv2D(24, 3, groups=4), (5, 5, 16)),
    "Conv3D": (lambda: layers.Conv3D(8, 2), (3, 3, 3, 8)),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(5, depth_multiplier=3), (9, 40)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 30)),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(30, 5), (9, 60)),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(30, 3), (5, 5, 60)),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(20, 4, strides=2), (16, 10)),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(16, 3), (9, 9, 8)),
    "Conv2DTranspose strides": (lambda: layers.Conv2DTranspose(16, 4, strides=2), (8, 8, 8)),
    "Conv2DTranspose uneven": (lambda: layers.Conv2DTranspose(16, 3, strides=2), (8, 8, 8)),
    "Conv2DTranspose gaps": (lambda: layers.Conv2DTranspose(16, 2, strides=(3, 2)), (8, 8, 8)),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(6, 2, strides=2), (4, 4, 4, 6)),
}


def interior(layer, outputs):
    """Whole periods of the stride, of outputs that as many inputs reach as can."""
    if "Transpose" in type(layer).__name__:
        for axis, (kernel, stride) in enumerate(
            zip(layer.kernel_size, layer.strides, strict=True), start=1
        ):
            length = (outputs.shape[axis] - 2 * kernel) // stride * stride
            outputs = np.take(outputs, range(kernel, kernel + length), axis=axis)
    return outputs


def check_mean(samples, expected, precision):
    error = np.std(samples, ddof=1) / math.sqrt(len(samples))
    assert abs(np.mean(samples) - expected) < 4.5 * error, (np.mean(samples), error)
    assert error < precision


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_variance_is_kept_by_the_layer_itself(name):
    build, shape = KINDS[name]
    model = keras.Sequential([keras.Input(shape), build()])
    x = normal(64, *shape)
    variances = []
    for seed in range(12):
        report = reinitialize(model, s=2.0, seed=seed, distribution="untruncated_normal")
        assert all(change.gain == 1.0 for change in report)
        outputs = interior(model.layers[-1], array(model(x)))
        variances.append(np.mean(outputs.astype(float) ** 2) / np.mean(x.astype(float) ** 2))
    check_mean(variances, 1.0, 0.04)


@pytest.mark.parametrize("name", ATTENTION)
def test_the_variance_is_kept_by_each_kernel_of_attention(name):
    inputs = keras.Input((5, 24))
    layer = getattr(layers, name)(*ATTENTION[name])
    model = keras.Model(inputs, layer(inputs, inputs))
    kernels = [inner for inner in layer._flatten_layers() if hasattr(inner, "equation")]
    variances = {kernel.name: [] for kernel in kernels}
    for seed in range(12):
        reinitialize(model, s=2.0, seed=seed, distribution="untruncated_normal")
        assert not np.array_equal(array(kernels[1].kernel), array(kernels[2].kernel))
        for kernel in kernels:
            last = kernel.name == "attention_output"
            x = normal(16, 5, *(kernel.kernel.shape[:2] if last else (24,)))
            variances[kernel.name].append(np.mean(array(kernel(x)) ** 2) / np.mean(x**2))
    assert len(variances) == 4
    for samples in variances.values():
        check_mean(samples, 1.0, 0.03)


# Below the second moment, where theory has it: many independent layers on one input.


def parallel(build, shape, copies):
    inputs = keras.Input(shape)
    return keras.Model(inputs, [build()(inputs) for _ in range(copies)])


def equal_patches(*shape):
    """Each channel, or group of them, sees a patch of the same norm."""
    x = normal(*shape).astype(float)
    return x / np.sqrt(np.mean(x**2, axis=(0, 1), keepdims=True))


# A layer, its input, the order, and how many layers are drawn how many times.
MOMENTS = {
    "EinsumDense": (
        lambda: layers.EinsumDense("bgi,gio->bgo", (2000, 4), activation="relu"),
        np.tile(normal(5), (2000, 1)),
        1.0,
        (1, 1),
    ),
    "Dense": (lambda: layers.Dense(6, "relu"), normal(5), 1.0, (40, 10)),
    "Conv2D": (
        lambda: layers.Conv2D(4, 3, activation=layers.LeakyReLU(negative_slope=0.2)),
        normal(3, 3, 2),
        0.5,
        (40, 10),
    ),
    "Conv2D groups": (lambda: layers.Conv2D(4, 3, groups=2), equal_patches(3, 3, 2), 0.5, (10, 20)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3), equal_patches(3, 3, 4), 0.5, (20, 10)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_the_moment_is_kept_by_the_layer_itself(name):
    build, x, s, (copies, draws) = MOMENTS[name]
    model = parallel(build, x.shape, copies)
    samples = []
    for seed in range(draws):
        reinitialize(model, s=s, seed=seed, distribution="untruncated_normal")
        for outputs in keras.tree.flatten(model(x[None].astype("float32"))):
            squares = np.mean(array(outputs).astype(float) ** 2, axis=-1)
            samples += (squares / np.mean(x**2)).ravel().tolist()
    check_mean(np.array(samples) ** (s / 2), 1.0, 0.03)


def test_a_deep_network_keeps_its_scale_where_the_default_does_not():
    """Inside the band of theory section 6: depth times the mean, two deviations around it."""
    hidden = [layers.Dense(64, "relu") for _ in range(20)]
    model = keras.Sequential([keras.Input((64,)), *hidden])
    x = normal(128, 64)

    def log_scale():
        return 0.5 * math.log(np.mean(array(model(x)) ** 2.0) / np.mean(x**2.0))

    assert log_scale() < -5.0  # Glorot: a factor of 1/sqrt(2) for each layer
    reinitialize(model, s=1.0, seed=1)
    mean, variance = kf.log_norm("relu", 1.0, 64)
    assert abs(log_scale() - 20 * mean) < 2.5 * math.sqrt(20 * variance)


# Seeds.


def test_one_seed_gives_one_model_whatever_its_layers_are_called():
    models = [keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.Dense(8)]) for _ in "ab"]
    assert models[0].layers[0].name != models[1].layers[0].name
    for model in models:
        assert reinitialize(model, seed=7).seed == 7
    assert equal(weights(models[0]), weights(models[1]))
    first = weights(models[0])
    reinitialize(models[0], seed=8)
    assert not equal(weights(models[0]), first)


def test_equal_layers_are_drawn_apart_and_alone_as_together():
    model = mlp()
    reinitialize(model, seed=7)
    together = weights(model)
    assert not np.array_equal(together[2], together[4])
    for patterns in ({"only": "hidden_1"}, {"skip": ["hidden_0", "hidden_2", "last"]}):
        reinitialize(model, seed=1)
        other = weights(model)
        report = reinitialize(model, seed=7, **patterns)
        assert [not change.skipped for change in report] == [False, True, False, False]
        now = weights(model)
        assert np.array_equal(now[2], together[2])
        assert equal(now[:2] + now[3:], other[:2] + other[3:])


def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="a[0]")], name="inner")
    return keras.Sequential([keras.Input((6,)), inner, layers.Dense(2, name="b")], name="net")


@pytest.mark.parametrize(
    "pattern", ["net/inner/a*", "inner", "inner/a[0]/kernel", "a[0]", "net/i*"]
)
def test_patterns_match_with_and_without_the_names_of_outer_models(pattern, tmp_path):
    """Keras drops these from the paths of a model that is loaded."""
    model = nested()
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    paths = [[change.path for change in plan(m)] for m in (model, loaded)]
    assert paths[0] != paths[1]
    for each in (model, loaded):
        assert [bool(c.skipped) for c in plan(each, only=pattern)] == [False, True]
        assert [bool(c.skipped) for c in plan(each, skip=pattern)] == [True, False]
        assert [c.s for c in plan(each, s={pattern: 0.5, "*": 1.5})] == [0.5, 1.5]


def test_without_a_seed_the_global_one_governs():
    model = mlp()
    draws = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        reinitialize(model)
        draws.append(weights(model))
    assert equal(draws[0], draws[1])
    assert not equal(draws[0], draws[2])
    report = reinitialize(model)
    now = weights(model)
    reinitialize(model, seed=report.seed)
    assert equal(weights(model), now)


# Orders.


@pytest.mark.parametrize(
    ("s", "orders"),
    [
        (0.5, [0.5] * 4),
        ({"hidden_1": 0.5, "*": 2}, [2.0, 0.5, 2.0, 2.0]),
        ({"hidden_*": 1.5}, [1.5, 1.5, 1.5, None]),
        ({"*/last/kernel": 0.5}, [None, None, None, 0.5]),
        (lambda depth: 2.0 - depth, [2.0, 2 - 1 / 3, 2 - 2 / 3, 1.0]),
    ],
)
def test_an_order_for_all_for_some_or_by_depth(s, orders):
    changes = plan(mlp(), s=s)
    assert [None if change.skipped else change.s for change in changes] == pytest.approx(orders)
    for change in changes:
        if change.skipped:
            assert change.skipped == "no pattern of `s` matches"
        else:
            assert change.gain == kf.gain(
                "linear" if "last" in change.path else "relu", change.s, change.width
            )


def test_the_distribution_is_that_of_the_model_or_the_one_asked_for():
    model = mlp(kernel_initializer="he_normal")
    model.layers[0].kernel_initializer = keras.initializers.Zeros()
    changes = plan(model).changes
    assert changes[0].skipped.startswith("its initializer Zeros has no scale")
    assert {change.distribution for change in changes[1:]} == {"truncated_normal"}
    reinitialize(model, s=2.0, seed=0, distribution="orthogonal")
    kernel = array(model.layers[1].kernel)
    np.testing.assert_allclose(kernel.T @ kernel, 2.0 * np.eye(8), atol=1e-5)


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


def test_frozen_layers_stay_unless_included():
    model = mlp()
    model.layers[1].trainable = False
    assert [change.skipped for change in plan(model)] == ["", "it is frozen", "", ""]
    assert [change.skipped for change in plan(model, include_frozen=True)] == [""] * 4


def test_biases_are_kept_or_set_to_zero():
    model = mlp(bias_initializer="ones")
    reinitialize(model)
    assert all((array(layer.bias) == 1.0).all() for layer in model.layers)
    report = reinitialize(model, biases="zero", skip="last")
    assert [change.kind for change in report] == ["dense", "bias"] * 3 + ["dense"]
    assert [array(layer.bias).max() for layer in model.layers] == [0.0, 0.0, 0.0, 1.0]


# Nothing half done.


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("in_memory", [1, 2**24])
def test_an_error_leaves_the_model_as_it_was(monkeypatch, error, dtype, in_memory):
    model, calls = mlp(dtype=dtype), []
    before = weights(model)
    monkeypatch.setattr(execute, "_IN_MEMORY", in_memory)

    def failing(site, initializer, form):
        calls.append(site)
        if len(calls) == last:
            raise error("out of memory")
        return ops.ones(site.shape, dtype)

    monkeypatch.setattr(steps, "sample_kernel", failing)
    for last in range(1, 5):
        calls.clear()
        with pytest.raises(error, match="out of memory"):
            reinitialize(model)
        assert len(calls) == last
        assert equal(weights(model), before)
    last = 0
    reinitialize(model)
    assert not equal(weights(model), before)


@pytest.mark.parametrize("step", ["pieces", "reset_slots"])
def test_an_error_beside_the_draws_leaves_the_kernels_as_they_were(monkeypatch, step):
    model = mlp()
    before = weights(model)

    def failing(*args):
        yield np.ones(1, "float32")
        raise OSError("no space left")

    patched = failing if step == "pieces" else lambda *args: list(failing())
    monkeypatch.setattr(execute, step, patched)
    with pytest.raises(OSError, match="no space left"):
        reinitialize(model, biases="zero")
    assert equal(weights(model), before)


def test_a_scale_beyond_all_floats_is_an_error_that_names_the_kernel():
    model = mlp(width=1)
    before = weights(model)
    with pytest.raises(ValueError, match=r"hidden_0/kernel: .*finite"):
        reinitialize(model, s=0.001)
    assert equal(weights(model), before)


def test_a_dry_run_is_the_plan():
    model = mlp()
    before = weights(model)
    report = reinitialize(model, s=0.7, dry_run=True)
    assert report == plan(model, s=0.7)
    assert (report.seed, report.optimizer) == (None, "")
    assert equal(weights(model), before)


# Bad input.


def poisoned(kind):
    model = mlp()
    variable = getattr(model.layers[1], kind)
    variable.assign(np.full(variable.shape, np.nan))
    return model


def test_nan_that_would_stay_is_refused_and_nan_that_would_not_is_cured():
    model = poisoned("bias")
    before = weights(model)
    with pytest.raises(ValueError, match=r"`model` must have finite values.*hidden_1/bias"):
        reinitialize(model)
    np.testing.assert_equal(weights(model), before)
    reinitialize(model, biases="zero")
    assert np.isfinite(array(model(normal(16, 6)))).all()
    model = poisoned("kernel")
    assert math.isnan(plan(model).changes[1].stddev_before)
    reinitialize(model)
    assert np.isfinite(array(model(normal(16, 6)))).all()
    model = poisoned("kernel")
    with pytest.raises(ValueError, match="hidden_1/kernel"):
        reinitialize(model, skip="hidden_1")


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (lambda: "model", {}, TypeError, "`model` must be a keras.Model"),
        (lambda: keras.Sequential([layers.Dense(3)]), {}, ValueError, r"built.*`build"),
        (lambda: Subclassed(), {}, ValueError, "`model` must be built: call it once"),
        (
            lambda: keras.Sequential([keras.Input((3,)), layers.ReLU()]),
            {},
            ValueError,
            "`model` must have kernels",
        ),
        (
            next(network.build for network in NETWORKS if network.name == "quantized"),
            {},
            ValueError,
            "`model` must not be quantized.* in int8",
        ),
        (mlp, {"s": 2.5}, ValueError, "`s` must satisfy 0 <= s <= 2. Received: s=2.5"),
        (mlp, {"s": "1"}, TypeError, "`s` must be a real number"),
        (mlp, {"s": {"hidden*": -1}}, ValueError, "`s` must satisfy"),
        (mlp, {"s": {3: 1.0}}, TypeError, "`s` must be a str"),
        (mlp, {"s": lambda depth: 3.0}, ValueError, "`s` must satisfy"),
        (mlp, {"s": {"hiden_1": 1}}, ValueError, "`s` must hold .*'hiden_1'.*mean 'hidden_"),
        (mlp, {"only": "conv*"}, ValueError, "`only` must hold .*'conv\\*'"),
        (mlp, {"skip": ["last", "x"]}, ValueError, "`skip` must hold .*'x'"),
        (mlp, {"only": []}, ValueError, "`only` must not be empty"),
        (mlp, {"only": 3}, TypeError, "`only` must be a sequence"),
        (mlp, {"include_frozen": 1}, TypeError, "`include_frozen` must be a bool"),
        (mlp, {"distribution": "cauchy"}, ValueError, "`distribution` must be one of"),
        (mlp, {"distribution": "stable"}, ValueError, "`alpha` must be given with"),
        (mlp, {"alpha": 1.5}, ValueError, "`distribution` must be one of .*distribution=None"),
        (mlp, {"distribution": "uniform", "alpha": 1.5}, ValueError, "`alpha` must be given with"),
        (mlp, {"distribution": "stable", "alpha": 2.0}, ValueError, "`alpha` must lie between"),
        (mlp, {"biases": "one"}, ValueError, "`biases` must be one of 'keep', 'zero'"),
        (mlp, {"dropout": 0.5}, TypeError, "`dropout` must be a bool"),
        (
            mlp,
            {"onyl": "last"},
            TypeError,
            "`options` must be among 'only', 'skip', .*Received: onyl='last'. Did you mean 'only'",
        ),
        (mlp, {"order": 1.0}, TypeError, "`options` must be among .*Received: order=1.0$"),
        (mlp, {"seed": -1}, ValueError, "`seed` must satisfy"),
        (mlp, {"dry_run": 1}, TypeError, "`dry_run` must be a bool"),
    ],
)
def test_bad_input_is_refused_by_name(build, options, error, message):
    with pytest.raises(error, match=message):
        reinitialize(build(), **options)
    if not {"seed", "dry_run"} & set(options):
        with pytest.raises(error, match=message):
            plan(build(), **options)


def test_options_go_by_name_and_their_own_arguments_are_suggested_too():
    with pytest.raises(TypeError, match="Did you mean 'dry_run'"):
        reinitialize(mlp(), dryrun=True)
    with pytest.raises(TypeError, match="positional"):
        plan(mlp(), 1.0, "last")
