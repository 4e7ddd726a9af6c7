"""Tests that looking into a model changes nothing: no state, no draw, no layer, no other thread."""

import random
import threading

import keras
import numpy as np
import pytest
from cases import numpy, quick
from measurements import measure, tensors
from networks import NETWORK_IDS, NETWORKS

from keras_fracinit.models import QUANTITIES, Data, Measurement, Request


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
