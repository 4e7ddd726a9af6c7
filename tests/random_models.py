"""Builds random models from a seed: many kinds of layers, branches, sums, gates, sharing, nesting.

A model grows step by step: each step applies one row of the table of the rank of a signal, which is
a vector (batch, units), a sequence (batch, steps, units) or an image (batch, rows, columns,
channels), and sometimes joins two signals. A new kind of layer is a new row.
"""

from dataclasses import dataclass

import keras
import numpy as np

import keras_fracinit as kf

layers, ops = keras.layers, keras.ops
SAMPLES = 8
ACTIVATIONS = ["relu", "relu", "leaky_relu", "linear", "tanh", "gelu", "elu", "sigmoid", "softplus"]
POLICIES = ["float32"] * 7 + ["float64", "bfloat16", "mixed_bfloat16"]


@dataclass
class RandomModel:
    """A compiled model with inputs and targets for it.

    Attributes:
        model: The model, compiled with a random optimizer.
        x: Inputs, one array or a list.
        y: Targets, one array or a list.
        steps: The names of the rows that were applied, for messages.
    """

    model: keras.Model
    x: object
    y: object
    steps: list


class _Growth:
    """Random choices, and the rows that were applied."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.steps = []

    def one_of(self, values):
        return values[self.random.integers(len(values))]

    def chance(self, probability):
        return self.random.random() < probability

    def units(self):
        return int(self.one_of([4, 6, 8, 12]))

    def activation(self):
        return self.one_of(ACTIVATIONS)

    def apply(self, tensor):
        name = self.one_of([*ROWS[len(tensor.shape)]])
        self.steps.append(name)
        return ROWS[len(tensor.shape)][name](self, tensor)


def troubles_of(model):
    """What an alarm of the fresh model may be right about, as a set of names.

    The slope of a sigmoid is at most 1/4, and it is 0.5 at 0, as softplus is 0.7; a spectral norm
    of 1 is less than a scale that keeps the signal.
    """
    heads = [output._keras_history.operation for output in model.outputs]
    gated = (layers.LSTM, layers.GRU)
    hidden = [layer for layer in model._flatten_layers() if layer not in heads]
    plain = [layer for layer in hidden if not isinstance(layer, gated)]
    names = {getattr(getattr(layer, "activation", None), "__name__", "") for layer in plain}
    spectral = any(isinstance(layer, layers.SpectralNormalization) for layer in hidden)
    return (names & {"sigmoid", "softplus"}) | ({"spectral norm"} if spectral else set())


def build(seed):
    """Makes the model of a seed; the same seed always makes the same model and weights."""
    growth = _Growth(seed)
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(growth.one_of(POLICIES))
    try:
        model = _model(growth)
        _compile(growth, model)
    finally:
        keras.config.set_dtype_policy(before)
    x = [_values(growth.random, tensor) for tensor in model.inputs]
    y = [growth.random.normal(size=(SAMPLES, *out.shape[1:])) for out in model.outputs]
    return RandomModel(model, _single(x), _single(y), growth.steps)


def _single(items):
    return items[0] if len(items) == 1 else items


def _model(growth):
    inputs = [growth.one_of(INPUTS)() for _ in range(1 + growth.chance(0.25))]
    signals = [_embedded(growth, tensor) for tensor in inputs]
    for _ in range(growth.random.integers(3, 9)):
        place = growth.random.integers(len(signals))
        grown = growth.apply(signals[place])
        if growth.chance(0.15):
            signals.append(grown)  # and the old one goes on: a branch
        else:
            signals[place] = grown
    vectors = [_flat(growth, tensor) for tensor in signals]
    if len(vectors) > 1 and growth.chance(0.7):
        vectors = [growth.one_of([_concatenated, _summed])(growth, vectors)]
    heads = [_head(growth, tensor) for tensor in vectors]
    return keras.Model(_single(inputs), _single(heads))


def _compile(growth, model):
    optimizer = growth.one_of([keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.Lion])
    eager = growth.chance(0.8)  # which costs a fraction of compiling
    losses = ["mse"] * len(model.outputs)
    model.compile(optimizer(1e-3), loss=losses, run_eagerly=eager, jit_compile=False)


def _values(random, tensor):
    shape = (SAMPLES, *tensor.shape[1:])
    if tensor.dtype == "int32":
        return random.integers(0, 9, size=shape)
    return random.normal(size=shape).astype("float32")


INPUTS = [
    lambda: keras.Input((6,)),
    lambda: keras.Input((6,)),
    lambda: keras.Input((5, 4)),
    lambda: keras.Input((6, 6, 2)),
    lambda: keras.Input((5,), dtype="int32"),
]


def _embedded(growth, tensor):
    return layers.Embedding(9, growth.units())(tensor) if tensor.dtype == "int32" else tensor


def _flat(growth, tensor):
    rank = len(tensor.shape)
    if rank == 2:
        return tensor
    pooled = layers.GlobalAveragePooling1D if rank == 3 else layers.GlobalMaxPooling2D
    return growth.one_of([layers.Flatten, pooled])()(tensor)


def _concatenated(growth, vectors):
    growth.steps.append("concatenate")
    return layers.Concatenate()(vectors)


def _summed(growth, vectors):
    growth.steps.append("sum")
    units = growth.units()
    return layers.add([layers.Dense(units)(tensor) for tensor in vectors])


def _head(growth, tensor):
    growth.steps.append("head")
    return layers.Dense(
        int(growth.one_of([1, 3, 8])), growth.one_of(["linear", "sigmoid", "softmax"])
    )(tensor)


def _twice(layer, tensor):
    return layer(layer(tensor))


def _residual(growth, tensor):
    units = tensor.shape[-1]
    inner = layers.Dense(units)(layers.Dense(growth.units(), growth.activation())(tensor))
    return growth.one_of([lambda: layers.add([tensor, inner]), lambda: tensor + inner])()


def _gate(growth, tensor):
    """Squeeze and excitation over the last axis."""
    weights = layers.Dense(tensor.shape[-1], "sigmoid")(tensor)
    return growth.one_of([lambda: layers.multiply([tensor, weights]), lambda: tensor * weights])()


def _grouped(growth, tensor):
    channels = tensor.shape[-1]
    return layers.Conv2D(2 * channels, 3, groups=channels, padding="same")(tensor)


def _recurrent(kind, growth, **options):
    """Without Keras' default, for which TensorFlow has no bfloat16."""
    return kind(growth.units(), recurrent_initializer="glorot_uniform", **options)


def _nested(growth, tensor):
    inner = [keras.Input(tensor.shape[1:]), layers.Dense(growth.units(), growth.activation())]
    return keras.Sequential([*inner, layers.Dropout(0.2)])(tensor)


ANY = {
    "dense": lambda g, x: layers.Dense(g.units(), g.activation())(x),
    "dense, then an activation": lambda g, x: layers.Activation(g.activation())(
        layers.Dense(g.units())(x)
    ),
    "dense, then leaky": lambda g, x: layers.LeakyReLU(negative_slope=0.2)(
        layers.Dense(g.units(), use_bias=False)(x)
    ),
    "dense, then prelu": lambda g, x: layers.PReLU()(layers.Dense(g.units())(x)),
    "dense, then randomized": lambda g, x: kf.RandomizedLeakyReLU()(layers.Dense(g.units())(x)),
    "shared dense": lambda g, x: _twice(layers.Dense(x.shape[-1], g.activation()), x),
    "residual": _residual,
    "gate": _gate,
    "nested": _nested,
    "dropout": lambda g, x: layers.Dropout(0.2)(x),
    "batch norm": lambda g, x: layers.BatchNormalization()(x),
    "layer norm": lambda g, x: layers.LayerNormalization()(x),
    "scaled": lambda g, x: x * 0.5,
    "shifted": lambda g, x: layers.Rescaling(2.0, offset=0.1)(x),
    "spectral": lambda g, x: layers.SpectralNormalization(layers.Dense(g.units()))(x),
}
ROWS = {
    2: {
        **ANY,
        "einsum": lambda g, x: layers.EinsumDense("ab,bc->ac", (g.units(),), bias_axes="c")(x),
        "to a sequence": lambda g, x: layers.Reshape((2, x.shape[-1] // 2))(x),
    },
    3: {
        **ANY,
        "convolution 1d": lambda g, x: layers.Conv1D(
            g.units(), 2, padding="causal", activation=g.activation()
        )(x),
        "separable 1d": lambda g, x: layers.SeparableConv1D(g.units(), 2, padding="same")(x),
        "lstm": lambda g, x: _recurrent(layers.LSTM, g, return_sequences=True)(x),
        "gru": lambda g, x: _recurrent(layers.GRU, g)(x),
        "both directions": lambda g, x: layers.Bidirectional(
            _recurrent(layers.SimpleRNN, g, return_sequences=True)
        )(x),
        "attention": lambda g, x: layers.MultiHeadAttention(2, 3)(x, x),
        "each step": lambda g, x: layers.TimeDistributed(layers.Dense(g.units(), "relu"))(x),
        "einsum": lambda g, x: layers.EinsumDense("abc,cd->abd", (x.shape[1], g.units()))(x),
        "einsum over steps": lambda g, x: layers.EinsumDense("abc,cd->ad", (g.units(),))(x),
        "permuted": lambda g, x: layers.Permute((2, 1))(x),
        "average": lambda g, x: layers.GlobalAveragePooling1D()(x),
    },
    4: {
        **ANY,
        "convolution": lambda g, x: layers.Conv2D(
            g.units(), 3, padding=g.one_of(["same", "same", "valid"]), activation=g.activation()
        )(layers.ZeroPadding2D(2)(x)),
        "strided": lambda g, x: layers.Conv2D(g.units(), 2, strides=2, padding="same")(x),
        "groups": _grouped,
        "depthwise": lambda g, x: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x),
        "separable": lambda g, x: layers.SeparableConv2D(g.units(), 3, padding="same")(x),
        "transposed": lambda g, x: layers.Conv2DTranspose(g.units(), 2, strides=2)(
            layers.Cropping2D(1)(layers.ZeroPadding2D(2)(x))
        ),
        "max pooling": lambda g, x: layers.MaxPooling2D(2, padding="same")(x),
        "average pooling": lambda g, x: layers.AveragePooling2D(2, padding="same")(x),
        "larger": lambda g, x: layers.UpSampling2D(2)(x) if x.shape[1] < 8 else x,
        "group norm": lambda g, x: layers.GroupNormalization(x.shape[-1] // 2)(x),
        "flat": lambda g, x: layers.Flatten()(x),
    },
}
