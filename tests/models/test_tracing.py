"""Tests how a model is traced and compiled to be measured, and when that is done anew."""

import keras
import numpy as np
import pytest
from cases import numpy
from measurements import by_hand, cells, measure, tensors
from networks import NETWORKS, mlp

from keras_fracinit.models import QUANTITIES, Data, Measurement, Request
from keras_fracinit.models.probe import probe_arrays, probe_data


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
