"""Tests that tiny, huge, infinite, missing and dead signals are measured as what they are."""

import math

import keras
import numpy as np
import pytest
from measurements import ORDERS, cells, measure

from keras_fracinit.models import Data, Measurement, Request
from keras_fracinit.models.weight_statistics import root_mean_square


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


@pytest.mark.parametrize("size", [5, 256, 1000])
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25, 0.0, np.inf, np.nan])
def test_the_root_mean_square_of_weights_of_any_size(scale, size):
    values = (np.random.default_rng(0).normal(size=size) * scale).astype("float32")
    values[: size // 2] *= 1e-8  # rows of their own size
    expected = np.sqrt(np.mean(values.astype("float64") ** 2))
    found = root_mean_square(keras.Variable(values))
    np.testing.assert_allclose(found, expected, rtol=1e-7)
