"""Tests each number of a diagnosis, and the band around its theory, against its own formula."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from architectures import array, normal
from diagnosable import X, fresh, mlp, reaches

import keras_fracinit as kf
from keras_fracinit import estimators
from keras_fracinit.diagnosis import diagnose

layers = keras.layers


def test_each_number_is_what_it_says():
    model = fresh(mlp(3, 16))
    rows = {row.path: row for row in diagnose(model, X, orders=(0, 0.5, 2))}
    assert list(rows) == ["input", "net/h0", "net/h1", "net/h2"]
    value = X.astype("float64")
    for depth, layer in enumerate([None, *model.layers]):
        row = rows[f"net/{layer.name}" if layer else "input"]
        value = np.maximum(value @ array(layer.kernel), 0.0) if layer else value
        sizes = np.sqrt(np.mean(value**2, axis=1))
        unit = value / np.linalg.norm(value, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[~np.eye(len(unit), dtype=bool)]
        assert row.depth == depth
        for s in (0.5, 2.0):
            assert row.s_scales[s] == pytest.approx(np.mean(sizes**s) ** (1 / s), rel=1e-5)
        assert row.s_scales[0.0] == pytest.approx(row.size, rel=1e-5)
        assert row.size == pytest.approx(math.exp(np.mean(np.log(sizes))), rel=1e-5)
        assert row.log_norm_mean == pytest.approx(np.mean(np.log(sizes)), abs=1e-5)
        assert row.log_norm_std == pytest.approx(np.std(np.log(sizes), ddof=1), rel=1e-4)
        assert row.cosine == pytest.approx(np.mean(cosines), abs=1e-5)
        assert row.dead_units == np.mean(np.all(value == 0.0, axis=0))
        assert row.dead_inputs == 0.0
        assert row.nonfinite == 0


def test_the_facts_of_a_kernel_are_those_of_its_values():
    model = mlp(2, 16)
    for name, layer in zip(("net/h0", "net/h1"), model.layers, strict=True):
        row, kernel = diagnose(model, X)[name], array(layer.kernel).astype("float64")
        rms = math.sqrt(np.mean(kernel**2))
        order = kf.effective_order("relu", 16, stddev=rms, fan_in=kernel.shape[0])
        assert row.effective_order == pytest.approx(order, rel=1e-9)
        expected = estimators.tail_index(kernel.ravel()).value
        assert row.tail_index == pytest.approx(expected, rel=1e-6)
        assert (row.kind, row.law) == ("dense", "ReLU()")


def test_a_large_kernel_is_read_by_pieces(monkeypatch):
    model = mlp(1, 40)
    whole = dataclasses.asdict(diagnose(model, X)["net/h0"])
    monkeypatch.setattr("keras_fracinit.models.weight_statistics._PIECE", 100)
    pieces = dataclasses.asdict(diagnose(model, X)["net/h0"])
    assert pieces.keys() == whole.keys()
    for name, value in whole.items():  # the sums of pieces are rounded in another order
        if isinstance(value, float):
            assert pieces[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
        else:
            assert pieces[name] == value, name


def test_theory_and_band_are_those_of_the_stack():
    depth, width = 5, 16
    model = fresh(mlp(depth, width), s=1.0)
    diagnosis = diagnose(model, X)
    start = diagnosis["input"].size
    gains = [array(layer.kernel).astype("float64") for layer in model.layers]
    gains = [kernel.shape[0] * np.mean(kernel**2) for kernel in gains]
    he = kf.log_norm("relu", 2, width)
    below, above = reaches([he.variance] * depth)
    for k in range(1, depth + 1):
        row = diagnosis[f"net/h{k - 1}"]
        expected = kf.propagation.propagate([width] * k, "relu", gain=gains[:k]).mean
        assert math.log(row.predicted / start) == pytest.approx(expected, abs=1e-9)
        assert math.log(row.low / start) == pytest.approx(k * he.mean - below[k - 1], abs=1e-9)
        assert math.log(row.high / start) == pytest.approx(above[k - 1], abs=1e-9)


def test_the_cosine_of_images_is_that_of_whole_samples():
    model = keras.Sequential([keras.Input((6, 5, 2)), layers.Conv2D(3, 3, padding="same")])
    x = normal(8, 6, 5, 2)
    flat = array(model(x)).reshape(8, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    expected = np.mean((unit @ unit.T)[~np.eye(8, dtype=bool)])
    row = diagnose(model, x).layers[-1]
    assert row.cosine == pytest.approx(expected, abs=1e-5)
    sizes = np.sqrt(np.mean(flat.astype("float64") ** 2, axis=1))
    assert row.size == pytest.approx(math.exp(np.mean(np.log(sizes))), rel=1e-5)


def test_what_no_float32_can_square_is_still_measured():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, use_bias=False)])
    base = diagnose(model, normal(16, 8))
    for factor in (1e-25, 1e25):
        row = diagnose(model, factor * normal(16, 8)).layers[-1]
        assert row.size == pytest.approx(factor * base.layers[-1].size, rel=1e-4)
        assert row.cosine == pytest.approx(base.layers[-1].cosine, abs=1e-4)


@pytest.mark.slow
def test_signals_that_only_float64_holds_are_no_dead_ones():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX has float64 where it is asked for at start; torch's Dense is float32")
    for stddev, word in ((1e-3, "vanishes"), (1e3, "explodes")):
        initializer = keras.initializers.RandomNormal(stddev=stddev, seed=0)
        options = {"kernel_initializer": initializer, "dtype": "float64"}
        hidden = [layers.Dense(8, **options) for _ in range(20)]
        model = keras.Sequential([keras.Input((8,), dtype="float64"), *hidden])
        x = np.random.default_rng(0).normal(size=(64, 8))
        found = diagnose(model, x)
        assert found.verdicts[0].startswith(word)
        size = np.sqrt(np.mean(array(model(x)) ** 2))
        assert list(found)[-1].s_scales[2.0] == pytest.approx(size, rel=1e-6)
        assert not np.float32(size**2) or np.isinf(np.float32(size**2))


def test_zeros_at_the_edges_and_positions_widen_the_band():
    """By the share of inputs that are no padding: 22 of 24 in each direction."""
    x = normal(4, 8, 8, 3)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(16, 3, padding="same")])
    first, row = diagnose(model, x).layers
    mean, variance = kf.log_norm("linear", 2, 16)
    (below,), (above,) = reaches([variance])
    assert math.log(row.low / first.size) == pytest.approx(mean - below + math.log(22 / 24))
    assert math.log(row.high / first.size) == pytest.approx(above - mean)


def test_a_separable_convolution_has_its_edges_once():
    stack = [keras.Input((8, 8, 4)), layers.SeparableConv2D(16, 3, padding="same")]
    first, row = diagnose(keras.Sequential(stack), normal(4, 8, 8, 4)).layers
    depthwise, pointwise = (kf.log_norm("linear", 2, width) for width in (4, 16))
    (below,), _ = reaches([depthwise.variance + pointwise.variance])
    low = depthwise.mean + pointwise.mean + math.log(22 / 24) - below
    assert math.log(row.low / first.size) == pytest.approx(low)


@pytest.mark.parametrize("s", [0.0, 1.0, 2.0])
def test_a_band_is_left_as_seldom_as_it_says(s):
    """Anywhere, of 4,000 networks of one input, simulated: at most 2 in 100, and not none."""
    depth, width, draws, random = 12, 32, 4000, np.random.default_rng(0)
    size, outside = np.zeros(draws), np.zeros(draws, bool)
    start, *rows = diagnose(mlp(depth, width), X, gradients=False).layers
    for row in rows:
        z = np.maximum(random.normal(size=(draws, width)), 0.0)
        size += 0.5 * np.log(kf.gain("relu", s, width) / width * np.sum(z * z, axis=1))
        low, high = (math.log(edge / start.size) for edge in (row.low, row.high))
        outside |= (size < low) | (size > high)
    assert 0.002 < outside.mean() < 0.02 + 3.0 * math.sqrt(0.02 / draws)
