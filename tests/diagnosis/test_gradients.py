"""Gradients in a diagnosis: their band, the verdicts, and what turns them off."""

import math

import keras
import numpy as np
import pytest
from architectures import normal
from diagnosable import fresh, mlp

import keras_fracinit as kf
from keras_fracinit.diagnosis import diagnose
from keras_fracinit.diagnosis.gradients import _slope_kurtosis
from keras_fracinit.laws import Dropout, LeakyReLU, Linear, ReLU, Smooth
from keras_fracinit.planning import reinitialize

layers = keras.layers
X = normal(32, 32)


def classifier(depth, width=64, activation="relu"):
    return mlp(depth, width, activation, [layers.Dense(10)])


def of_gradients(diagnosis):
    return [verdict for verdict in diagnosis.verdicts if verdict.startswith("gradients")]


def test_a_network_that_keeps_its_signal_keeps_its_gradient():
    diagnosis = diagnose(fresh(classifier(10)), X)
    assert diagnosis.healthy, diagnosis.verdicts
    for row in diagnosis.layers[:-1]:
        assert row.gradient_low < row.gradient < row.gradient_high
    last = diagnosis.layers[-1]
    assert last.gradient == pytest.approx(1.0, abs=0.2)  # of 10 units, relative to their mean norm
    assert math.isnan(last.gradient_low)


@pytest.mark.slow
def test_a_tanh_network_keeps_its_signal_and_not_its_gradient():
    """Its squared gradient grows 1.178 times per layer, as mean-field theory says."""
    diagnosis = diagnose(fresh(classifier(40, 256, "tanh")), X)
    (verdict,) = of_gradients(diagnosis)
    assert verdict.startswith("gradients explode: x1.0")
    assert not any(v.startswith(("explodes", "vanishes")) for v in diagnosis.verdicts)
    growth = (diagnosis["net/h0"].gradient / diagnosis["net/h39"].gradient) ** (2 / 39)
    assert growth == pytest.approx(Smooth("tanh").gradient_factor, abs=0.03)


@pytest.mark.parametrize(
    ("factor", "word"), [(0.7, "vanish"), pytest.param(1.4, "explode", marks=pytest.mark.slow)]
)
def test_kernels_of_a_wrong_scale_are_told_by_gradients_too(factor, word):
    model = fresh(classifier(8))
    for layer in model.layers:
        layer.kernel.assign(factor * layer.kernel)
    (verdict,) = of_gradients(diagnose(model, X))
    assert verdict.startswith(f"gradients {word}: x{factor:.1f}"[:-1])
    assert "back to" in verdict


def test_gradients_are_off_by_one_argument():
    diagnosis = diagnose(fresh(classifier(3)), X, gradients=False)
    assert all(math.isnan(row.gradient) for row in diagnosis)
    assert not of_gradients(diagnosis)
    with pytest.raises(TypeError, match="`gradients` must be a bool"):
        diagnose(classifier(2), X, gradients=1)


def test_pooling_and_branches_are_no_fault_of_kernels():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    x = layers.AveragePooling2D(4)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    skip = layers.Conv2D(16, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, skip]))
    model = fresh(keras.Model(inputs, layers.Dense(5)(x)))
    diagnosis = diagnose(model, normal(8, 16, 16, 3))
    assert not of_gradients(diagnosis), diagnosis.verdicts
    assert all(row.gradient > 0.0 for row in diagnosis)


@pytest.mark.parametrize(
    "distribution", [pytest.param(None, marks=pytest.mark.slow), "untruncated_normal"]
)
def test_gradients_of_a_mirrored_network_are_those_of_a_linear_one(distribution):
    model = classifier(6, 32)
    reinitialize(model, mirrored=True, distribution=distribution, seed=0)
    diagnosis = diagnose(model, X)
    assert diagnosis.healthy, diagnosis.verdicts


def test_a_model_without_a_gradient_is_diagnosed_all_the_same():
    class OnHost(layers.Layer):
        def call(self, inputs):
            if vars(self).get("call"):  # tapped
                raise NotImplementedError("no gradient")
            return inputs

    model = keras.Sequential([keras.Input((32,)), layers.Dense(8), OnHost(), layers.Dense(3)])
    verdicts = diagnose(model, X).verdicts
    assert verdicts[-1].startswith("gradients not measured: NotImplementedError")


@pytest.mark.parametrize(
    ("law", "slope"),
    [
        (Linear(), lambda z: np.ones_like(z)),
        (ReLU(), lambda z: (z > 0.0).astype(float)),
        (LeakyReLU(0.5), lambda z: np.where(z > 0.0, 1.0, 0.5)),
        (Smooth("tanh"), lambda z: 1.0 - np.tanh(z) ** 2),
    ],
)
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_spread_of_slopes_is_that_of_a_sample(law, slope, rate):
    random = np.random.default_rng(0)
    slopes = slope(random.normal(size=100_000)) * (random.random(100_000) >= rate)
    expected = np.mean(slopes**4) / np.mean(slopes**2) ** 2
    found = _slope_kurtosis(Dropout(law, rate) if rate else law)
    assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_band_of_gradients_is_as_wide_as_one_draw_needs(activation):
    """Simulated: 300 networks of 6 layers of 16, the mean log-norm over 32 samples."""
    random, depth, width, drifts = np.random.default_rng(0), 6, 16, []
    phi, slope = {
        "relu": (lambda u: np.maximum(u, 0.0), lambda u: (u > 0.0) * 1.0),
        "tanh": (np.tanh, lambda u: 1.0 - np.tanh(u) ** 2),
    }[activation]
    model = fresh(classifier(depth, width, activation))
    diagnosis = diagnose(model, X)
    for _ in range(300):
        x, layers_of_one = random.normal(size=(32, 32)), []
        for _ in range(depth):
            law = "linear" if activation == "tanh" and not layers_of_one else activation
            gain = kf.gain(law, 2, width)
            kernel = random.normal(0.0, math.sqrt(gain / x.shape[1]), (x.shape[1], width))
            layers_of_one.append((kernel, x @ kernel))
            x = phi(layers_of_one[-1][1])
        gradient = random.normal(size=(32, width))
        start = np.mean(np.log(np.linalg.norm(gradient, axis=1)))
        for kernel, before in reversed(layers_of_one):
            gradient = (gradient * slope(before)) @ kernel.T
        norms = np.linalg.norm(gradient, axis=1)
        drifts.append(np.mean(np.log(norms[norms > 0.0])) - start)
    row, end = diagnosis.layers[0], diagnosis[f"net/h{depth - 1}"]
    low, high = (math.log(edge / end.gradient) for edge in (row.gradient_low, row.gradient_high))
    assert np.mean([not low < drift < high for drift in drifts]) < 0.04
