"""Looking into models: the numbers are those of the layers, and looking changes nothing."""

import functools
import math
import random
import re
import threading

import keras
import numpy as np
import pytest
from cases import numpy, quick
from networks import NETWORK_IDS, NETWORKS, layer_activation, mixed_precision, mlp

from keras_fracinit.models import QUANTITIES, Data, Measurement, Request
from keras_fracinit.models.probe import probe_arrays, probe_data

ORDERS = (0.0, 0.5, 0.8, 1.0, 2.0)


def by_hand(array, s):
    """Value and error of the s-scale, sample by sample, straight from the definition."""
    array = np.asarray(array, "float64")
    array = array.reshape(len(array), -1, array.shape[-1])
    norms = np.sqrt(np.mean(array**2, axis=-1))
    if s == 0:
        alive = norms > 0
        logs = np.log(norms, where=alive, out=np.zeros_like(norms))
        mean = logs.sum() / alive.sum()
        deviations = (alive * (logs - mean)).sum(axis=1)
        error = np.sqrt(len(array) / (len(array) - 1) * (deviations**2).sum()) / alive.sum()
        return np.exp(mean), np.exp(mean) * error
    moments = np.mean(norms**s, axis=1)
    value = np.mean(moments) ** (1 / s)
    error = np.std(moments, ddof=1) / np.sqrt(len(moments))
    return value, value * error / (s * np.mean(moments))


def log_norm_by_hand(array):
    """Mean and variance of the log-norm over the survivors, the share of zeros."""
    array = np.asarray(array, "float64")
    norms = np.sqrt(np.mean(array.reshape(-1, array.shape[-1]) ** 2, axis=-1))
    logs = np.log(norms[norms > 0])
    return {
        "log_norm_mean": np.mean(logs),
        "log_norm_variance": np.var(logs, ddof=1),
        "zeros": np.mean(norms == 0),
        "nonfinite": 0.0,
    }


def measure(model, x, y=None, **options):
    model.compile("sgd", "mse")
    request = Request(**{"orders": ORDERS, **options})
    measurement = Measurement(model, Data(x, y), request)
    return measurement, measurement()


def cells(measurement, table):
    """`{(quantity, layer, call): {(statistic, order): (value, stderr)}}`."""
    columns = measurement.request.columns
    return {
        row[:3]: dict(zip(columns, map(tuple, values), strict=True))
        for row, values in zip(measurement.rows, table, strict=True)
    }


def tensors(x):
    return keras.tree.map_structure(keras.ops.convert_to_tensor, x)


@functools.cache
def seen(name):
    """Measures a network, once for all tests that change nothing of it."""
    network = NETWORKS[NETWORK_IDS.index(name)]
    quantities = QUANTITIES if network.trains else QUANTITIES[:3]
    model = network.build()
    return model, *measure(model, network.x, network.y, quantities=quantities)


@pytest.mark.parametrize("network", NETWORKS, ids=NETWORK_IDS)
def test_every_kind_of_model_is_seen(network):
    model, measurement, table = seen(network.name)
    quantities = QUANTITIES if network.trains else QUANTITIES[:3]
    assert {row.quantity for row in measurement.rows} == set(quantities)
    head = [row for row in measurement.rows if row.quantity == "activations"][-1]
    prediction = numpy(model(tensors(network.x)))
    tolerance = 2e-3 if network.name == "mixed-precision" else 2e-5
    for s in ORDERS:
        value = cells(measurement, table)[head[:3]]["s_scale", s]
        np.testing.assert_allclose(value, by_hand(prediction, s), rtol=tolerance)
    assert np.isfinite(table[[row.quantity == "activations" for row in measurement.rows], 0]).all()


# Path without automatic numbers, call, depth.
SEEN = {
    "convolutional": [
        ("sequential/conv2d", 0, 1),
        ("sequential/batch_normalization", 0, 1),
        ("sequential/re_lu", 0, 1),
        ("sequential/separable_conv2d", 0, 2),
        ("sequential/global_average_pooling2d", 0, 2),
        ("sequential/dense", 0, 3),
    ],
    "recurrent": [
        ("sequential/bidirectional", 0, 1),
        ("sequential/time_distributed", 0, 2),
        ("sequential/gru", 0, 3),
        ("sequential/dense", 0, 4),
    ],
    "nested": [
        ("sequential/dense", 0, 1),
        ("sequential/dropout", 0, 1),
        ("sequential/dense", 1, 2),
        ("sequential/dropout", 1, 2),
        ("dense", 0, 3),
        ("dense", 1, 4),
        ("dense", 2, 5),
        ("add", 0, 5),
        ("dense", 0, 6),
    ],
    "subclassed": [
        ("subclassed/block/dense", 0, 1),
        ("subclassed/block/dense", 0, 2),
        ("subclassed/block", 0, 2),  # adds its input: no layer in it has put that out
        ("subclassed/dropout", 0, 2),
        ("subclassed/dense", 0, 3),
    ],
    "attention": [
        ("embedding", 0, 0),
        ("multi_head_attention/query", 0, 1),
        ("multi_head_attention/key", 0, 2),
        ("multi_head_attention/value", 0, 3),
        ("multi_head_attention/attention_output", 0, 4),
        ("layer_normalization", 0, 4),
        ("functional/global_average_pooling1d", 0, 4),
        ("dense", 0, 5),
    ],
    "layer-activation": [
        ("sequential/dense", 0, 1),
        ("sequential/dense", 0, 2),
        ("sequential/p_re_lu", 0, 2),
        ("sequential/randomized_leaky_re_lu", 0, 2),
        ("sequential/dense", 0, 3),
    ],
}


@pytest.mark.parametrize("name", SEEN)
def test_each_call_of_a_layer_is_one_row(name):
    _, measurement, _ = seen(name)
    rows = [
        (re.sub(r"_\d+", "", layer), *rest)
        for quantity, layer, *rest in measurement.rows
        if quantity == "activations"
    ]
    assert rows == SEEN[name]


@pytest.mark.parametrize("name", ["mlp", "convolutional", "dictionary", "attention"])
def test_activations_are_those_of_layer_output(name):
    model, measurement, table = seen(name)
    x = tensors(NETWORKS[NETWORK_IDS.index(name)].x)
    measured = cells(measurement, table)
    found = {key[1].split("/")[-1]: key for key in measured if key[0] == "activations"}
    checked = 0
    for layer in model.layers:
        path = found.get(layer.name)
        if path is None:
            continue  # an input, or attention, whose output is that of a layer in it
        checked += 1
        output = numpy(keras.Model(model.inputs, layer.output)(x))
        for s in ORDERS:
            expected = by_hand(output, s)
            np.testing.assert_allclose(measured[path]["s_scale", s], expected, rtol=2e-5)
        for name, expected in log_norm_by_hand(output).items():
            value = measured[path][name, None][0]
            np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-6)
    assert checked >= 4


def test_units_are_samples_of_their_own_where_asked():
    network = NETWORKS[0]
    model = network.build()
    measurement, table = measure(model, network.x, kind="unit", tail_index=True)
    output = numpy(model(tensors(network.x)))
    measured = cells(measurement, table)["activations", model.layers[-1].path, 0]
    for s in ORDERS:
        expected = by_hand(output[..., None], s)  # each unit a position of one unit
        np.testing.assert_allclose(measured["s_scale", s], expected, rtol=2e-5)
    ordered = np.sort(np.abs(output).ravel())[::-1]
    k = int(np.sqrt(ordered.size))
    alpha = 1 / np.mean(np.log(ordered[:k] / ordered[k]))
    expected = (alpha, alpha / np.sqrt(k))
    np.testing.assert_allclose(measured["tail_index", None], expected, rtol=2e-5)


@pytest.mark.parametrize("build", [mlp, layer_activation])
def test_preactivations_are_what_the_activation_is_given(build):
    model = build()
    x = NETWORKS[0].x
    measurement, table = measure(model, x, quantities=("preactivations",))
    first = model.layers[0]
    output = np.asarray(x, "float64") @ numpy(first.kernel) + numpy(first.bias)
    measured = cells(measurement, table)["preactivations", first.path, 0]
    for s in ORDERS:
        np.testing.assert_allclose(measured["s_scale", s], by_hand(output, s), rtol=2e-5)
    assert [row.depth for row in measurement.rows] == [1, 2, 3]


def test_weights_gradients_and_updates_by_hand():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 30, 4)).astype("float32")
    weight = rng.uniform(size=30).astype("float32")
    layer = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.1))
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile("sgd", "mse")
    request = Request(("weights", "gradients", "updates"), ORDERS)
    measurement = Measurement(model, Data(x, y, weight), request)
    first, start = cells(measurement, measurement()), numpy(layer.kernel)
    residuals = x @ start - y
    gradient = 2 / 4 * x.T @ (weight[:, None] * residuals) / 30 + 2 * 0.1 * start
    layer.kernel.assign(start + 1e-2 * gradient)
    second = cells(measurement, measurement())
    path = layer.kernel.path
    for s in ORDERS:
        column = ("s_scale", s)
        for value, entries in (
            (first["weights", path, 0], start),
            (first["gradients", path, 0], gradient),
            (second["updates", path, 0], numpy(layer.kernel) - start),
        ):
            expected = by_hand(entries.reshape(-1, 1), s)
            np.testing.assert_allclose(value[column], expected, rtol=1e-4)
    assert np.isnan(first["updates", path, 0]["s_scale", 1.0]).all()  # nothing to compare with


@pytest.mark.slow
def test_half_precision_gradients_are_scaled_as_in_training():
    x = NETWORKS[0].x
    y = 1e-4 * NETWORKS[0].y  # the gradients underflow in float16
    model, reference = mixed_precision(), mlp()
    reference.set_weights(model.get_weights())
    for layer in (*model.layers[:-1], *reference.layers[:-1]):
        for variable in layer.weights:
            variable.assign(0.2 * variable.value)
    kernels = []
    for network in (model, reference):
        measurement, table = measure(network, x, y, quantities=("gradients",))
        kernels.append([values["s_scale", 1.0][0] for values in cells(measurement, table).values()])
    np.testing.assert_allclose(*kernels, rtol=0.05)


class AddsLoss(keras.layers.Layer):
    """Adds the sum of the squares of its inputs, times 50, to the loss."""

    def call(self, inputs):
        self.add_loss(50.0 * keras.ops.sum(keras.ops.square(inputs)))
        return inputs


@pytest.mark.parametrize("external", ["mse", None])
def test_gradients_are_of_all_losses(external):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 30, 4)).astype("float32")
    layer = keras.layers.Dense(4, activity_regularizer=keras.regularizers.L2(100.0))
    model = keras.Sequential([keras.Input((4,)), layer, AddsLoss()])
    model.compile("sgd", external)
    request = Request(("gradients",), (2.0,))
    measurement = Measurement(model, Data(x, y if external else None), request)
    kernel = numpy(layer.kernel)
    # Keras divides what a regularizer of activities gives by the number of samples.
    output = x @ kernel
    gradient = x.T @ output * (2 * 100.0 / 30 + 2 * 50.0)
    if external:
        gradient += 2 / 4 * x.T @ (output - y) / 30
    measured = cells(measurement, measurement())["gradients", layer.kernel.path, 0]
    expected = np.sqrt(np.mean(gradient**2))
    assert measured["s_scale", 2.0][0] == pytest.approx(expected, rel=1e-4)


class OwnLoss(keras.Model):
    """Has a loss of its own, whose signature is that before Keras 3.3."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2, use_bias=False)

    def call(self, inputs):
        return self.dense(inputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return keras.ops.mean(3.0 * y_pred)


def test_gradients_of_a_loss_of_the_model_without_the_argument_training():
    x = NETWORKS[0].x
    model = OwnLoss()
    model.compile("sgd")
    measurement = Measurement(model, Data(x), Request(("gradients",), (2.0,)))
    gradient = np.repeat(1.5 * x.mean(axis=0)[:, None], 2, axis=1)
    measured = cells(measurement, measurement())["gradients", model.dense.kernel.path, 0]
    expected = np.sqrt(np.mean(gradient**2))
    assert measured["s_scale", 2.0][0] == pytest.approx(expected, rel=1e-4)


def test_gradients_need_a_loss():
    model = mlp()
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"'gradients' needs a loss.*Received: loss=None"):
        Measurement(model, Data(NETWORKS[0].x, NETWORKS[0].y), Request(("gradients",)))


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float64"])
def test_gradients_under_a_policy_of_one_type(policy):
    if policy == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is switched on.")
    x, y = NETWORKS[0].x, NETWORKS[0].y
    reference, model = (
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, dtype=dtype)])
        for dtype in ("float32", policy)
    )
    model.set_weights(reference.get_weights())
    values = []
    for network in (reference, model):
        measurement, table = measure(network, x, y, quantities=("gradients",))
        values.append(table[:, measurement.request.columns.index(("s_scale", 1.0)), 0])
    np.testing.assert_allclose(*values, rtol={"float64": 1e-5}.get(policy, 0.05))


def test_gradients_of_a_model_without_trainable_variables():
    model = mlp()
    model.trainable = False
    measurement, table = measure(
        model, NETWORKS[0].x, NETWORKS[0].y, quantities=("activations", "gradients")
    )
    assert {row.quantity for row in measurement.rows} == {"activations"}
    assert np.isfinite(table[:, 0]).all()


def test_a_loss_that_no_variable_changes_has_gradients_of_zero():
    class Constant(OwnLoss):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return keras.ops.mean(x)

    model = Constant()
    model.compile("sgd")
    measurement = Measurement(model, Data(NETWORKS[0].x), Request(("gradients",)))
    zeros = measurement.request.columns.index(("zeros", None))
    assert measurement.first[:, zeros, 0] == [1.0]


def draws():
    """One number of every global generator."""
    numpy_draw = np.random.random()  # noqa: NPY002
    return [random.random(), numpy_draw, numpy(keras.random.normal((3,)))]


LONG = ("recurrent", "attention")  # to trace


@pytest.mark.parametrize(
    ("name", "training"),
    quick(
        (*((n, True) for n in NETWORK_IDS if n not in LONG), ("convolutional", False)),
        *((name, True) for name in LONG),
    ),
)
def test_looking_changes_nothing(name, training):
    network = NETWORKS[NETWORK_IDS.index(name)]
    model = network.build()
    model(tensors(network.x))
    model.compile("adam", "mse")
    quantities = QUANTITIES if network.trains else QUANTITIES[:3]
    state = [numpy(variable) for variable in model.variables]
    keras.utils.set_random_seed(7)
    before = draws()
    keras.utils.set_random_seed(7)
    request = Request(quantities, training=training)
    measurement = Measurement(model, Data(network.x, network.y), request)
    for _ in range(2):
        measurement()
    np.testing.assert_equal(draws(), before)
    np.testing.assert_equal([numpy(variable) for variable in model.variables], state)
    # A regularizer of activities has left nothing; one of weights is computed when it is asked for.
    assert not any(layer._losses for layer in model._flatten_layers())


def test_training_mode_sees_dropout():
    model = keras.Sequential([keras.Input((400,)), keras.layers.Dropout(0.75)])
    x = np.ones((50, 400), "float32")
    for training, expected in ((False, 1.0), (True, 2.0)):  # E y^2 = 0.25 * 4^2
        measurement, table = measure(model, x, training=training)
        value = cells(measurement, table)["activations", measurement.rows[0].layer, 0]
        assert value["s_scale", 2.0][0] == pytest.approx(expected, rel=0.02)


def constant(value, dtype):
    layer = keras.layers.Dense(8, bias_initializer=keras.initializers.Constant(value), dtype=dtype)
    return keras.Sequential([keras.Input((3,)), layer])


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_signals_far_from_one_neither_overflow_nor_die(value):
    measurement, table = measure(constant(value, "float32"), np.zeros((5, 3), "float32"))
    measured = cells(measurement, table)["activations", measurement.rows[0].layer, 0]
    for s in ORDERS:
        assert measured["s_scale", s][0] == pytest.approx(value, rel=1e-5)
    assert measured["zeros", None][0] == 0


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="float64 must be switched on first.")
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("factor", [1e-60, 1e60])
def test_float64_is_kept(factor, compiled):
    class Scales(keras.layers.Layer):
        def call(self, inputs):
            return inputs * keras.ops.convert_to_tensor(factor, "float64")

    layers = [keras.layers.Rescaling(2.0), Scales(dtype="float64")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    measurement = Measurement(model, Data(np.ones((5, 3), "float32")), Request(), compiled)
    order = measurement.request.columns.index(("s_scale", 1.0))
    assert measurement.first[:, order, 0] == pytest.approx([2.0, 2.0 * factor], rel=1e-6, abs=0)


def test_float16_does_not_overflow():
    measurement, table = measure(constant(300, "mixed_float16"), np.zeros((5, 3), "float32"))
    measured = cells(measurement, table)["activations", measurement.rows[0].layer, 0]
    assert [measured["s_scale", s][0] for s in ORDERS] == pytest.approx([300] * len(ORDERS))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_recorded_and_counted(value):
    x = np.ones((6, 3), "float32")
    x[:2, 1] = value
    model = keras.Sequential([keras.Input((3,)), keras.layers.Activation("linear")])
    measurement, table = measure(model, x, tail_index=True)
    measured = cells(measurement, table)["activations", measurement.rows[0].layer, 0]
    assert measured["nonfinite", None][0] == 2
    assert measured["zeros", None][0] == 0
    for s in ORDERS:
        np.testing.assert_equal(measured["s_scale", s][0], value)


def test_a_dead_layer_is_recorded_as_such():
    model = keras.Sequential([keras.Input((3,)), keras.layers.ReLU()])
    measurement, table = measure(model, -np.ones((6, 3), "float32"))
    measured = cells(measurement, table)["activations", measurement.rows[0].layer, 0]
    assert measured["zeros", None][0] == pytest.approx(1)
    assert measured["s_scale", 1.0][0] == 0
    assert math.isnan(measured["log_norm_mean", None][0])


def test_the_model_is_traced_once(monkeypatch):
    calls = []
    forward = Measurement.forward
    monkeypatch.setattr(Measurement, "forward", lambda *a: (calls.append(1), forward(*a))[1])
    measurement, _ = measure(mlp(), NETWORKS[0].x, NETWORKS[0].y, quantities=QUANTITIES)
    for _ in range(3):
        measurement()
    assert len(calls) == (5 if keras.backend.backend() == "torch" else 1)


def test_a_model_that_changes_is_measured_anew():
    model = mlp()
    measurement, _ = measure(model, NETWORKS[0].x)
    assert measurement.fits(model)
    model.layers[0].enable_lora(2)
    assert not measurement.fits(model)
    assert not measurement.fits(mlp())


def test_nothing_stays_patched_when_the_model_fails():
    class Fails(keras.layers.Layer):
        def call(self, inputs):
            if self.broken:
                raise RuntimeError("broken")
            return inputs

    layer = Fails()
    layer.broken = False
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu"), layer])
    activation, call = model.layers[0].activation, keras.layers.Layer.__call__
    layer.broken = True
    with pytest.raises(ValueError, match="broken"):
        measure(model, np.ones((4, 3), "float32"), quantities=("preactivations",))
    assert keras.layers.Layer.__call__ is call
    assert model.layers[0].activation is activation


def test_other_threads_are_not_recorded():
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="elsewhere")])
    x = np.ones((4, 3), "float32")

    class Calls(keras.layers.Layer):
        """Has another thread call another model while this one is traced."""

        def call(self, inputs):
            thread = threading.Thread(target=other, args=(x,))
            thread.start()
            thread.join()
            return inputs

    measurement, _ = measure(keras.Sequential([keras.Input((3,)), Calls()]), x)
    assert len(measurement.rows) == 1


class Odd(keras.layers.Layer):
    """Puts out samples, and what has no statistics: integers, a number, no units."""

    def call(self, inputs):
        return inputs, keras.ops.cast(inputs, "int32"), keras.ops.sum(inputs), inputs[:, :0]


def test_outputs_that_are_no_samples_are_left_out():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Odd()(inputs)[0])
    measurement, _ = measure(model, np.ones((4, 3), "float32"))
    assert len(measurement.rows) == 1


TENSORFLOW_ONLY = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="Other backends know all shapes, and no strings.",
)


@TENSORFLOW_ONLY
def test_outputs_whose_shape_a_compiler_does_not_know_are_measured():
    import tensorflow as tf

    class Mask(keras.layers.Layer):
        def call(self, inputs):
            return tf.boolean_mask(inputs, inputs[:, 0] > 0)

        def compute_output_shape(self, shape):
            return shape

    mask, dense = Mask(), keras.layers.Dense(3, "relu", kernel_initializer="identity")
    model = keras.Sequential([keras.Input((3,)), mask, dense])
    x = np.array([[1, 2, 2], [-1, 5, 5], [2, 1, 2]], "float32")
    quantities = ("activations", "preactivations")
    measurement, table = measure(model, x, quantities=quantities)
    measured = cells(measurement, table)
    assert set(measured) == {
        ("activations", mask.path or mask.name, 0),
        ("preactivations", dense.path, 0),
        ("activations", dense.path, 0),
    }
    for values in measured.values():
        assert values["s_scale", 2.0][0] == pytest.approx(np.sqrt(3.0))


@TENSORFLOW_ONLY
def test_strings_are_measured_behind_a_tokenizer():
    import tensorflow as tf

    text = np.array([["a b c"], ["d e f"], ["a d"]] * 8)
    vectorize = keras.layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    vectorize.adapt(text[:, 0])
    embedding, dense = keras.layers.Embedding(20, 8), keras.layers.Dense(1)
    inputs = keras.Input((1,), dtype="string")
    pooled = keras.layers.GlobalAveragePooling1D()(embedding(vectorize(inputs)))
    model = keras.Model(inputs, dense(pooled))
    expected = by_hand(numpy(model(tensors(text))), 2.0)
    data = tf.data.Dataset.from_tensor_slices((text, np.zeros((24, 1), "float32"))).batch(24)
    for probe in (text, text.astype("S"), data):
        arrays = probe_data(probe_arrays(probe), model)
        measurement, table = measure(model, arrays.x)
        measured = cells(measurement, table)
        value = measured["activations", dense.path, 0]["s_scale", 2.0]
        assert value == pytest.approx(expected, rel=1e-5)
        assert ("activations", embedding.path, 0) in measured


class LooksAtValues(keras.layers.Layer):
    """Computes with values of its inputs on the host, which no compiler allows."""

    def __init__(self):
        super().__init__()
        self.looks = 0

    def call(self, inputs):
        if isinstance(inputs, keras.KerasTensor):
            return inputs
        largest = float(np.max(keras.ops.convert_to_numpy(inputs)))
        self.looks += 1
        return inputs * min(1.0, 10.0 / largest)

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}, {}])
def test_a_model_that_cannot_be_compiled_is_measured(options):
    layer = LooksAtValues()
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile("sgd", "mse", **options)
    x = np.full((8, 3), 20.0, "float32")
    measurement = Measurement(model, Data(x), Request())
    order = measurement.request.columns.index(("s_scale", 1.0))
    assert measurement()[:, order, 0] == pytest.approx([10.0])


class Traced(keras.layers.Layer):
    """Notes whether its inputs had values each time that it was called."""

    def __init__(self):
        super().__init__()
        self.had_values = []

    def call(self, inputs):
        try:
            np.asarray(keras.ops.convert_to_numpy(inputs))
        except Exception:
            self.had_values.append(False)
        else:
            self.had_values.append(True)
        return inputs


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch never traces.")
@pytest.mark.parametrize("option", ["run_eagerly", "jit_compile"])
def test_a_model_is_compiled_only_if_it_is_trained_so(option):
    layer = Traced()
    model = keras.Sequential([keras.Input((3,)), layer])
    eager = option == "run_eagerly"
    model.compile("sgd", "mse", **{option: eager})
    layer.had_values.clear()
    measurement = Measurement(model, Data(np.ones((4, 3), "float32")), Request())
    eagerly = eager or keras.backend.backend() == "jax"
    assert layer.had_values == [eagerly]
    model.run_eagerly, model.jit_compile = not eagerly, True
    assert not measurement.fits(model)


class Chooses(keras.layers.Layer):
    """Calls one of two layers, as it is told."""

    def __init__(self):
        super().__init__()
        self.layers, self.choice = [keras.layers.Dense(3), keras.layers.Dense(4)], 0

    def build(self, shape):
        for layer in self.layers:
            layer.build(shape)

    def call(self, inputs):
        self.layers[self.choice](inputs)
        return keras.ops.cast(inputs > 0, "int32")


def test_calls_that_vary_are_matched_by_name():
    layer = Chooses()
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Rescaling(2.0)])
    model.compile("sgd", "mse", run_eagerly=True)
    measurement = Measurement(model, Data(np.ones((4, 3), "float32")), Request())
    layer.choice = 1
    first, last = cells(measurement, measurement()).values()
    assert np.isnan(list(first.values())).all()
    assert last["s_scale", 1.0][0] == 2.0


class Unbuilt(keras.Model):
    """Has a seed and a counter that move whenever it is really called."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)
        self.first, self.second = keras.layers.Dense(8, "relu"), keras.layers.Dense(3)

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.first.build(shape)
        self.second.build((None, 8))

    def call(self, inputs):
        self.calls.assign_add(1.0)
        noise = keras.random.normal((8,), seed=self.generator)
        return self.second(self.first(inputs) + noise)


def test_an_unbuilt_model_is_built_without_moving_its_state():
    model = Unbuilt()
    state = numpy(model.generator.state.value)
    measurement, table = measure(model, NETWORKS[0].x)
    assert model.built
    assert len(measurement.rows) == 2
    assert np.isfinite(table[:, 0]).all()
    np.testing.assert_array_equal(numpy(model.generator.state.value), state)
    assert numpy(model.calls) == 0


def test_a_model_that_build_only_marks_as_built_is_built():
    class Marked(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.unused = keras.layers.Dense(3), keras.layers.Dense(4)

        def call(self, inputs):
            return self.dense(inputs)

    model = Marked()
    with pytest.warns(UserWarning, match="unbuilt state"):
        model.build((None, 8))
    assert not model.weights
    measurement = measure(model, NETWORKS[0].x, quantities=("weights",))[0]
    assert [row.layer for row in measurement.rows] == [v.path for v in model.weights]


def test_layers_are_selected_by_name_path_and_pattern():
    network = NETWORKS[NETWORK_IDS.index("subclassed")]
    model = network.build()
    measurement, _ = measure(model, network.x, layers=("block*",), quantities=QUANTITIES[:3])
    assert all("/block" in row.layer for row in measurement.rows)
    assert len(measurement.rows) == 3 + 2 + 4
    head = measurement.model.layers[-1].path
    for pattern in (head, head.split("/")[-1], head[:-1] + "*", head.replace("dense", "d?nse")):
        measurement, _ = measure(model, network.x, layers=(pattern,))
        assert {row.layer for row in measurement.rows} == {head}
        assert [row.depth for row in measurement.rows] == [3]  # counted whether shown or not


def test_what_cannot_be_measured_is_an_error():
    model, x = mlp(), NETWORKS[0].x
    names = [layer.name for layer in model.layers]
    with pytest.raises(ValueError, match=rf"'{names[0]}x', which matches none.*'{names[0]}'"):
        measure(model, x, layers=(names[0] + "x",))
    with pytest.raises(ValueError, match=r"which takes .*\(None, 8\).*Received: .*\(40, 5\)"):
        measure(model, x[:, :5])
    weightless = keras.Sequential([keras.Input((8,)), keras.layers.Dropout(0.1)])
    with pytest.raises(ValueError, match="`quantities` must name something"):
        measure(weightless, x, quantities=("weights",))
