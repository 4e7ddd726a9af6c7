"""The table of networks that are looked into: one row for each way a model may be built."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

import keras_fracinit as kf

layers = keras.layers
SAMPLES = 40


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(SAMPLES, *shape)).astype("float32")


def _integers(high, *shape):
    return np.random.default_rng(1).integers(high, size=(SAMPLES, *shape))


def mlp():
    relu = kf.FracReLU(s=1.0)
    stack = [layers.Dense(16, "relu", kernel_initializer=relu) for _ in range(2)]
    return keras.Sequential([keras.Input((8,)), *stack, layers.Dropout(0.3), layers.Dense(3)])


def convolutional():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.SeparableConv2D(5, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def recurrent():
    return keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(6, "tanh")),
            layers.GRU(5),
            layers.Dense(3),
        ]
    )


def nested():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, "relu"), layers.Dropout(0.2)])
    shared = layers.Dense(8, activation="tanh")
    inputs = keras.Input((8,))
    x = inner(inner(inputs))
    for _ in range(3):
        x = shared(x)
    return keras.Model(inputs, layers.Dense(3)(layers.add([x, inputs])))


def dictionary():
    inputs = {"left": keras.Input((4,), name="left"), "right": keras.Input((6,), name="right")}
    joined = layers.Concatenate()([layers.Dense(5, "relu")(tensor) for tensor in inputs.values()])
    return keras.Model(inputs, layers.Dense(3)(joined))


def pair():
    inputs = [keras.Input((4,)), keras.Input((6,))]
    joined = layers.Concatenate()([layers.Dense(5, "relu")(tensor) for tensor in inputs])
    return keras.Model(inputs, layers.Dense(3)(joined))


def attention():
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(11, 8, mask_zero=True)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    return keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def layer_activation():
    leaky = layers.LeakyReLU(negative_slope=0.1)
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(6, activation=leaky, activity_regularizer="l2"),
            layers.Dense(6, kernel_regularizer="l2"),
            layers.PReLU(),
            kf.RandomizedLeakyReLU(),
            layers.Dense(3),
        ]
    )


class Block(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.inner = [layers.Dense(units, "relu") for _ in range(2)]

    def call(self, inputs):
        x = inputs
        for layer in self.inner:
            x = layer(x)
        return inputs + x


class Subclassed(keras.Model):
    """Has no graph, no input shape, and a block whose output is that of no layer in it."""

    def __init__(self):
        super().__init__()
        self.kernel = 3  # somebody's own attribute, and no kernel
        self.block = Block(8)
        self.dropout = layers.Dropout(0.2)
        self.head = layers.Dense(3)

    def call(self, inputs, training=False):
        return self.head(self.dropout(self.block(inputs), training=training))


def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return mlp()
    finally:
        keras.config.set_dtype_policy(before)


def quantized():
    model = mlp()
    model.quantize("int8")
    return model


def lora():
    model = mlp()
    model.layers[1].enable_lora(2)
    return model


@dataclass(frozen=True)
class Network:
    name: str
    build: Callable
    x: object
    trains: bool = True

    @property
    def y(self):
        return _normal(3, seed=2)


NETWORKS = [
    Network("mlp", mlp, _normal(8)),
    Network("convolutional", convolutional, _normal(6, 6, 2)),
    Network("recurrent", recurrent, _normal(5, 4)),
    Network("nested", nested, _normal(8)),
    Network("dictionary", dictionary, {"left": _normal(4), "right": _normal(6)}),
    Network("pair", pair, [_normal(4), _normal(6)]),
    Network("attention", attention, _integers(11, 7)),
    Network("layer-activation", layer_activation, _normal(8)),
    Network("subclassed", Subclassed, _normal(8)),
    Network("mixed-precision", mixed_precision, _normal(8)),
    Network("quantized", quantized, _normal(8), trains=False),
    Network("lora", lora, _normal(8)),
]
NETWORK_IDS = [network.name for network in NETWORKS]
