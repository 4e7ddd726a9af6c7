"""Tests how sizes are carried on behind smooth activations, away from the unit size."""

import math

import keras
import numpy as np
import pytest
from architectures import normal
from diagnosable import IMAGES, X64, assert_healthy, dense, functional, strays

from keras_fracinit import diagnose, reinitialize
from keras_fracinit.laws import Smooth

layers = keras.layers

OFF_SIZE = [("tanh", 0.05), ("tanh", 10.0), ("softplus", 0.05), ("selu", 0.05), ("sigmoid", 0.05)]


@pytest.mark.parametrize(("activation", "size"), OFF_SIZE)
def test_sizes_behind_smooth_activations_are_those_of_the_length_map(activation, size):
    """The centre of the band is the map, applied layer by layer: the size in a wide network."""
    model = functional(X64, dense(3, activation, 256), head=False)
    reinitialize(model, s=2.0, seed=0)
    found = diagnose(model, size * X64)
    assert not strays(found), found.verdicts
    last = list(found)[-1]
    assert last.low < last.size < last.high
    if activation != "sigmoid":  # which has no law of its own name
        law, expected = Smooth(activation), math.log(found["input"].size)
        for gain in (1.0, 1.0 / law.mean, 1.0 / law.mean):
            before = expected + 0.5 * math.log(gain)
            expected = float(law.length_map(np.array([before]))[0])
        assert math.log(last.size) == pytest.approx(expected, abs=0.1)
        assert math.sqrt(last.low * last.high) == pytest.approx(last.size, rel=0.1)


@pytest.mark.parametrize(("activation", "size"), [("gelu", 0.05), ("silu", 0.05)])
def test_a_network_that_runs_away_from_its_operating_point_is_told_so(activation, size):
    model = functional(X64, dense(12, activation), head=False)
    reinitialize(model, s=1.0, seed=0)
    (verdict,) = strays(diagnose(model, size * X64))
    assert verdict.startswith("vanishes")


@pytest.mark.slow
def test_a_wrong_scale_is_found_away_from_the_operating_point():
    for activation, size, factor in (("tanh", 0.05, 0.5), ("selu", 0.05, 3.0), ("elu", 10.0, 0.3)):
        model = functional(X64, dense(6, activation), head=False)
        reinitialize(model, s=1.0, seed=0)
        for layer in model.layers[1:]:
            layer.kernel.assign(factor * layer.kernel)
        (verdict,) = strays(diagnose(model, size * X64))
        assert verdict.startswith("vanishes" if factor < 1.0 else "explodes")


@pytest.mark.slow
def test_positions_and_samples_of_many_sizes_are_mapped_one_by_one():
    spread = np.exp(2.0 * normal(64, 1, seed=1))
    assert_healthy(lambda: functional(X64, dense(4, "tanh")), spread * X64)
    sparse = 3.0 * IMAGES * (np.random.default_rng(0).uniform(size=(16, 8, 8, 1)) < 0.15)

    def convolutions(x):
        for _ in range(3):
            x = layers.Conv2D(16, 3, padding="same", activation="tanh")(x)
        return layers.Flatten()(x)

    assert_healthy(lambda: functional(IMAGES, convolutions), sparse.astype("float32"))
