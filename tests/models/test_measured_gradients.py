"""Tests that the weights, gradients and updates of a model are measured as worked out by hand."""

import keras
import numpy as np
import pytest
from cases import numpy
from measurements import ORDERS, by_hand, cells, measure
from networks import NETWORKS, mixed_precision, mlp

from keras_fracinit.models import Data, Measurement, Request


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
