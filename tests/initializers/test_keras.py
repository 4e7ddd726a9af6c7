"""Each initializer inside the layers, precisions and wrappers of Keras."""

import keras
import numpy as np
import pytest
from cases import EVERY, assert_drawn_at, covering, drawn_from, draws, numpy

import keras_fracinit as kf

L = keras.layers

# The layer, its input shape, and the axes of its kernel where its shape does not tell.
LAYERS = {
    "Dense": (lambda k: L.Dense(6, kernel_initializer=k), (2, 4), {}),
    "Conv1D": (lambda k: L.Conv1D(6, 3, kernel_initializer=k), (2, 7, 4), {}),
    "Conv2D": (lambda k: L.Conv2D(6, 3, kernel_initializer=k), (2, 7, 7, 4), {}),
    "Conv3D": (lambda k: L.Conv3D(6, 2, kernel_initializer=k), (2, 4, 4, 4, 2), {}),
    "EinsumDense": (
        lambda k: L.EinsumDense("abc,cde->abde", (None, 3, 6), kernel_initializer=k),
        (2, 4, 4),
        {"input_axes": [0], "output_axes": [1, 2]},
    ),
    # Its default recurrent initializer, Keras' orthogonal, cannot draw in bfloat16.
    "LSTM": (
        lambda k: L.LSTM(6, kernel_initializer=k, recurrent_initializer="glorot_uniform"),
        (2, 3, 4),
        {},
    ),
}


def kernel_of(layer):
    return layer.cell.kernel if isinstance(layer, L.LSTM) else layer.kernel


def attend(layer):
    x = np.ones((2, 4, 8), "float32")
    return numpy(layer(x, x))


@covering(draws(EVERY, "untruncated_normal", "orthogonal", "stable"), ("name", LAYERS))
def test_a_layer_gets_the_kernel_of_the_initializer(case, weights, name):
    make, shape, axes = LAYERS[name]
    initializer = case.make(s=0.9, seed=4, **weights)
    layer = make(initializer)
    y = numpy(layer(np.ones(shape, "float32")))
    assert np.isfinite(y).all()
    kernel = kernel_of(layer)
    # The same seed through the explicit axes: EinsumDense must have found them by itself.
    twin = case.make(s=0.9, seed=4, **weights, **axes)
    np.testing.assert_array_equal(numpy(kernel), numpy(twin(kernel.shape)))


@drawn_from("untruncated_normal", "stable", cases=EVERY)
def test_attention_gets_the_fans_of_its_heads(case, weights):
    layer = L.MultiHeadAttention(3, 4, kernel_initializer=case.make(s=0.9, seed=4, **weights))
    assert np.isfinite(attend(layer)).all()
    for dense, inputs, outputs in [
        (layer.query_dense, [0], [1, 2]),
        (layer.key_dense, [0], [1, 2]),
        (layer.value_dense, [0], [1, 2]),
        (layer.output_dense, [0, 1], [2]),
    ]:
        twin = case.make(s=0.9, seed=4, input_axes=inputs, output_axes=outputs, **weights)
        np.testing.assert_array_equal(numpy(dense.kernel), numpy(twin(dense.kernel.shape)))


@covering(
    draws(EVERY, "untruncated_normal", "truncated_normal", "orthogonal", "stable"),
    ("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float16"]),
)
def test_precision_policies(case, weights, policy):
    initializer = case.make(seed=4, **weights)
    layer = L.Dense(32, kernel_initializer=initializer, dtype=policy)
    y = layer(np.ones((2, 32), "float32"))
    variable_dtype = "float32" if policy.startswith("mixed") else policy
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == variable_dtype
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    assert np.isfinite(numpy(y)).all()
    # Half precision draws other bits on some backends, at the same scale.
    assert_drawn_at(initializer.describe((32, 32)), numpy(layer.kernel))


GLOBAL = ("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])


@pytest.fixture
def global_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("global_policy")
@covering(
    [*draws(EVERY, "untruncated_normal"), *draws(EVERY[:1], "stable")], GLOBAL, ("name", LAYERS)
)
def test_every_layer_under_every_policy(case, weights, policy, name):
    make, shape, _ = LAYERS[name]
    layer = make(case.make(s=0.5, **weights))
    assert np.isfinite(numpy(layer(np.ones(shape, "float32")))).all()
    assert np.isfinite(numpy(kernel_of(layer))).all()


@pytest.mark.usefixtures("global_policy")
@covering(draws(EVERY, "untruncated_normal", "stable"), GLOBAL)
def test_attention_under_every_policy(case, weights, policy):
    layer = L.MultiHeadAttention(3, 4, kernel_initializer=case.make(s=0.5, **weights))
    assert np.isfinite(attend(layer)).all()


@drawn_from("untruncated_normal", "stable", cases=EVERY)
def test_training_starts_and_ends_finite(case, weights):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            L.Dense(16, kernel_initializer=case.make(**weights)),
            case.activation(),
            L.Dense(2, kernel_initializer=case.make(**weights)),
        ]
    )
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((64, 8)).astype("float32")
    history = model.fit(x, x[:, :2], epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()


# RandomizedLeakyReLU.


def test_randomized_leaky_relu_uses_the_mean_slope_at_inference():
    x = np.linspace(-3, 3, 13).astype("float32")
    expected = np.where(x >= 0, x, x * (1 / 8 + 1 / 3) / 2)
    layer = kf.RandomizedLeakyReLU()
    np.testing.assert_allclose(numpy(layer(x)), expected, rtol=1e-6)
    if keras.backend.backend() == "torch":
        import torch

        theirs = torch.nn.RReLU().eval()(torch.tensor(x)).numpy()
        np.testing.assert_allclose(numpy(layer(x)), theirs, rtol=1e-6)


def test_randomized_leaky_relu_draws_a_slope_per_unit_and_sample():
    layer = kf.RandomizedLeakyReLU(0.2, 0.6, seed=1)
    x = np.full((500, 40), -2.0, "float32")
    first, second = (numpy(layer(x, training=True)) / -2 for _ in range(2))
    assert (first != second).mean() > 0.99
    assert first.min() >= 0.2
    assert first.max() <= 0.6
    # Uniform: mean 0.4, standard deviation 0.4/sqrt(12); rows and columns spread as means do.
    stddev = 0.4 / np.sqrt(12)
    assert abs(first.mean() - 0.4) < 4 * stddev / np.sqrt(first.size)
    # The fourth moment of a uniform is 9/5 of its variance squared.
    assert abs(first.var() / stddev**2 - 1) < 4 * np.sqrt(0.8 / first.size)
    for axis, count in ((0, 500), (1, 40)):
        spread = first.mean(axis=axis).std() / (stddev / np.sqrt(count))
        assert 0.5 < spread < 1.5
    positive = np.abs(x)
    np.testing.assert_array_equal(numpy(layer(positive, training=True)), positive)


def test_randomized_leaky_relu_as_a_keras_layer():
    layer = kf.RandomizedLeakyReLU(0.1, 0.5, seed=3, name="rrelu")
    assert layer.compute_output_shape((None, 4)) == (None, 4)
    assert layer.supports_masking
    config = layer.get_config()
    assert (config["lower"], config["upper"], config["seed"]) == (0.1, 0.5, 3)
    x = -np.ones((2, 4), "float32")
    clone = kf.RandomizedLeakyReLU.from_config(config)
    np.testing.assert_array_equal(numpy(clone(x, training=True)), numpy(layer(x, training=True)))
    half = kf.RandomizedLeakyReLU(dtype="mixed_float16")
    for training in (False, True):
        y = half(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == "float16"
    symbolic = kf.RandomizedLeakyReLU()(keras.Input((None, 4)))
    assert symbolic.shape == (None, None, 4)


def test_randomized_leaky_relu_takes_integers():
    x = np.array([[-2, 0, 4]], "int32")
    layer = kf.RandomizedLeakyReLU(0.25, 0.75)
    outputs = layer(keras.Input((3,), dtype="int32"))
    for y in (layer(x), keras.Model(layer.input, outputs)(x)):
        assert keras.backend.standardize_dtype(y.dtype) == "float32"
        np.testing.assert_array_equal(numpy(y), [[-1.0, 0.0, 4.0]])
    assert -1.5 <= numpy(layer(x, training=True))[0, 0] <= -0.5


def test_a_subclass_of_randomized_leaky_relu_is_built():
    class Scaled(kf.RandomizedLeakyReLU):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones")

        def call(self, inputs, training=False):
            return self.scale * super().call(inputs, training)

    layer = Scaled(0.25, 0.25)
    assert not layer.built
    np.testing.assert_allclose(numpy(layer(np.full((2, 3), -1.0, "float32"))), -0.25)
    assert [weight.shape for weight in layer.weights] == [(3,)]


def test_randomized_leaky_relu_passes_masks_on():
    inputs = keras.Input((None,), dtype="int32")
    hidden = L.Embedding(5, 3, mask_zero=True)(inputs)
    outputs = L.LSTM(2)(kf.RandomizedLeakyReLU()(hidden))
    model = keras.Model(inputs, outputs)
    y = numpy(model(np.array([[1, 2, 0, 0], [1, 2, 3, 4]])))
    shorter = numpy(model(np.array([[1, 2]])))
    np.testing.assert_allclose(y[:1], shorter, atol=1e-6)


def test_randomized_leaky_relu_with_equal_ends_is_leaky_relu():
    x = np.linspace(-3, 3, 7).astype("float32")
    layer = kf.RandomizedLeakyReLU(0.25, 0.25)
    for training in (False, True):
        expected = np.where(x >= 0, x, 0.25 * x)
        np.testing.assert_allclose(numpy(layer(x, training=training)), expected, rtol=1e-6)
