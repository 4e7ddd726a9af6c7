"""Tests where walks begin and end: at operations, where signals meet, in wrappers."""

import math

import keras
import numpy as np
import pytest
from architectures import normal
from diagnosable import IMAGES, X64, assert_healthy, dense, functional, strays

from keras_fracinit import diagnose, reinitialize

layers, ops = keras.layers, keras.ops
STEPS = normal(16, 5, 16)


# Operations that are no layers.


FACTORS = {
    "operator": lambda x: x / 255.0,
    "operation": lambda x: ops.multiply(x, 1 / 255),
    "lambda": lambda x: layers.Lambda(lambda y: y / 255.0)(x),
    "rescaling": lambda x: layers.Rescaling(1 / 255)(x),
    "normalization": lambda x: layers.Normalization(mean=0.0, variance=255.0**2)(x),
    "constant": lambda x: x + 50.0,
}


@pytest.mark.parametrize("name", FACTORS)
def test_the_factor_of_an_operation_is_not_charged_to_the_kernels_behind_it(name):
    found = assert_healthy(lambda: functional(X64, lambda x: dense(4)(FACTORS[name](x))), 100 * X64)
    assert [row.walk for row in found][-5:] == [1, 1, 1, 1, 1]
    found = assert_healthy(
        lambda: functional(X64, lambda x: dense(3)(FACTORS[name](dense(3)(x)))), X64, seeds=2
    )
    assert max(row.walk for row in found) == 2


def test_a_wrong_scale_behind_an_operation_is_found():
    model = functional(X64, lambda x: dense(10)(x * 8.0), head=False)  # Glorot's
    (verdict,) = strays(diagnose(model, X64))
    assert verdict.startswith("vanishes")
    assert "over 10 layers" in verdict


def test_embeddings_that_are_multiplied_start_a_walk():
    ids = np.random.default_rng(0).integers(0, 100, (32, 10))

    def build():
        inputs = keras.Input((10,), dtype="int32")
        return keras.Model(inputs, dense(4)(layers.Embedding(100, 64)(inputs) * 8.0))

    found = assert_healthy(build, ids)
    assert [row.walk for row in found][-4:] == [1, 1, 1, 1]


class Bare(keras.Model):
    """A subclassed model whose activations are operations."""

    def __init__(self, depth, activation):
        super().__init__()
        self.hidden = [layers.Dense(64) for _ in range(depth)]
        self.head = layers.Dense(10)
        self.activation = activation

    def call(self, x):
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.head(ops.reshape(x, (-1, 64)))


@pytest.mark.parametrize("activation", [ops.relu, ops.tanh])
def test_activations_and_operations_that_pass_a_signal_on_are_followed(activation):
    def build():
        model = Bare(6, activation)
        model(X64)
        return model

    found = assert_healthy(build, 0.1 * X64)
    assert {row.walk for row in found} == {1}
    small = build()
    for layer in small.hidden:
        layer.kernel.assign(0.3 * layer.kernel)
    assert strays(diagnose(small, X64))


class Block(layers.Layer):
    """A user's layer that ends in an operation."""

    def __init__(self, end):
        super().__init__()
        self.dense, self.end = layers.Dense(64), end

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    def call(self, x):
        return self.end(x, self.dense(x))


@pytest.mark.parametrize(
    ("end", "walks"),
    [
        (lambda x, y: ops.relu(y), 1),
        (lambda x, y: x + y, 5),
        (lambda x, y: ops.sigmoid(y) * x, 5),
        (lambda x, y: 20.0 * ops.relu(y), 5),
    ],
)
def test_what_a_layer_of_the_users_ends_with_is_known(end, walks):
    def body(x):
        for _ in range(4):
            x = Block(end)(x)
        return x

    found = assert_healthy(lambda: functional(X64, body), X64)
    assert max(row.walk for row in found) == walks


# Several signals.


def gated(x):
    """Squeeze and excitation of a small signal."""
    gate = layers.Dense(16, "relu", name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    gate = layers.Dense(8, "sigmoid", name="excite")(gate)
    return layers.Conv2D(8, 1)(layers.Multiply()([0.05 * x, gate]))


def mixed(join, *factors):
    def body(x):
        for _ in range(3):
            x = join([factor * layers.Dense(64, "relu")(x) for factor in factors])
        return x

    return body


def glu(x):
    for _ in range(3):
        value, gate = ops.split(layers.Dense(128)(x), 2, -1)
        x = 0.05 * value * ops.sigmoid(gate)
    return x


def attention(x):
    for _ in range(2):
        query, key, value = (layers.Dense(16)(x) for _ in range(3))
        scores = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
        x = ops.matmul(scores, value)
    return x


SEVERAL = {
    "squeeze and excitation": (gated, IMAGES),
    "gated linear unit": (glu, X64),
    "attention by operations": (attention, STEPS),
    "attention": (lambda x: layers.MultiHeadAttention(2, 8)(x, 0.01 * x), STEPS),
    "add": (mixed(layers.Add(), 1.0, 0.01), X64),
    "subtract": (mixed(layers.Subtract(), 0.01, 1.0), X64),
    "average": (mixed(layers.Average(), 1.0, 0.01), X64),
    "maximum": (mixed(layers.Maximum(), 1.0, 0.01), X64),
    "concatenate": (mixed(layers.Concatenate(), 1.0, 0.01), X64),
    "residual": (lambda x: 100.0 * x + dense(2)(layers.LayerNormalization()(x)), X64),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_a_walk_ends_where_signals_of_other_sizes_come_in(name):
    body, x = SEVERAL[name]
    found = assert_healthy(lambda: functional(x, body), x)
    assert found["head"].walk > 0


def test_a_gradient_that_vanishes_in_a_gate_has_other_ways():
    """A sigmoid multiplies it by 0.2; by itself it would be told so."""
    model = functional(IMAGES, gated)
    reinitialize(model, s=1.0, seed=0)
    assert diagnose(model, IMAGES).verdicts[0].startswith("healthy")
    alone = functional(X64, dense(3, "sigmoid"))
    assert any(v.startswith("gradients vanish") for v in diagnose(alone, X64).verdicts)


@pytest.mark.slow
def test_a_kernel_whose_activation_is_behind_a_sum_is_judged_by_its_own_output():
    """Its scale is for the ReLU behind the sum: its output is larger than its input by sqrt 2."""

    def body(x):
        for _ in range(4):
            x = layers.ReLU()(layers.Add()([x, layers.Dense(64)(layers.Dense(64, "relu")(x))]))
        return x

    found = assert_healthy(lambda: functional(X64, body), X64, seeds=6)
    assert found.layers[2].size / found.layers[1].size == pytest.approx(math.sqrt(2), rel=0.25)
    model = functional(X64, body)
    model.layers[2].kernel.assign(0.1 * model.layers[2].kernel)
    assert strays(diagnose(model, X64))


def inverted(x):
    """A block of EfficientNet, tiny."""
    skip = x
    for layer in (layers.Conv2D(32, 1), layers.DepthwiseConv2D(3, padding="same")):
        x = layers.Activation("silu")(layers.BatchNormalization()(layer(x)))
    gate = layers.Reshape((1, 1, 32))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(32, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="silu")(gate))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1)(layers.multiply([x, gate])))
    return layers.add([layers.Dropout(0.2)(x), skip])


@pytest.mark.slow
def test_blocks_of_efficientnet_do_not_stray():
    build = lambda: functional(IMAGES, lambda x: inverted(inverted(inverted(x))))  # noqa: E731
    assert_healthy(build, 30 * IMAGES, training=True, seeds=8)
    assert_healthy(build, 30 * IMAGES, seeds=2)


# Wrappers, and what changes a size by the signal.


def per_step(x):
    """Two dense layers at each step, and a normalization that only the wrapper shows."""
    x = layers.TimeDistributed(layers.Dense(16, "relu"))(0.01 * x)
    x = layers.TimeDistributed(layers.LayerNormalization())(x)
    return layers.TimeDistributed(keras.Sequential([layers.Dense(16, "relu"), layers.Dense(8)]))(x)


def padded(x):
    for _ in range(3):
        x = layers.Conv2D(8, 3, activation="relu")(layers.ZeroPadding2D(4)(x))
    return x


WRAPPED = {
    "TimeDistributed": (per_step, STEPS),
    "Bidirectional": (
        lambda x: dense(3)(layers.Bidirectional(layers.LSTM(8))(5.0 * x)),
        STEPS,
    ),
    "ZeroPadding2D": (padded, IMAGES),
    "GaussianNoise": (lambda x: dense(3)(layers.GaussianNoise(1.0)(x)), 0.01 * X64),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_padding_and_noise_are_no_fault_of_kernels(name):
    body, x = WRAPPED[name]
    assert_healthy(lambda: functional(x, body), x, training=True)
