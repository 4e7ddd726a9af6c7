"""Every matrix of a layer is listed, with a law or a reason, whatever else computes with it."""

import inspect
import itertools
import math

import keras
import numpy as np
import pytest
from architectures import array, equal, normal, weights

from keras_fracinit import laws
from keras_fracinit.graph.kernels import kernels_of
from keras_fracinit.graph.operations import Effect, effect_of
from keras_fracinit.planning import plan, reinitialize

layers, ops = keras.layers, keras.ops
EXPORTED = {
    name: kind
    for name, kind in vars(layers).items()
    if inspect.isclass(kind) and issubclass(kind, layers.Layer)
}


def lora(inputs):
    layer = layers.Dense(3)
    outputs = layer(inputs)
    layer.enable_lora(2)
    return outputs


def reversed_embedding(tied):
    def call(tokens):
        layer = layers.ReversibleEmbedding(7, 4, tie_weights=tied)
        return layer(layers.Dense(4, "relu")(layer(tokens)), reverse=True)

    return call


def cells():
    return layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(3), layers.SimpleRNNCell(3)])


# By the name of the layer: what it makes of an input of this shape.
IMAGE, SEQUENCE, VOLUME = (6, 6, 4), (6, 4), (4, 4, 4, 2)
WEIGHTED = {
    "Dense": (SEQUENCE, layers.Dense(3)),
    "EinsumDense": (SEQUENCE, layers.EinsumDense("abc,bcd->abd", (6, 3))),
    **{
        f"{name}{rank}D": (shape, getattr(layers, f"{name}{rank}D")(*arguments))
        for name, arguments in (
            ("Conv", (4, 2)),
            ("DepthwiseConv", (2,)),
            ("SeparableConv", (3, 2)),
            ("ConvLSTM", (2, 2)),
        )
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
        if name != "ConvLSTM" and hasattr(layers, f"{name}{rank}D")
    },
    **{
        f"Conv{rank}DTranspose": (shape, getattr(layers, f"Conv{rank}DTranspose")(3, 2))
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"ConvLSTM{rank}D": ((3, *shape), getattr(layers, f"ConvLSTM{rank}D")(2, 2))
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    "Embedding": ((5,), layers.Embedding(7, 4)),
    "ReversibleEmbedding": ((5,), reversed_embedding(False)),
    "ReversibleEmbedding, tied": ((5,), reversed_embedding(True)),
    "MultiHeadAttention": (SEQUENCE, lambda x: layers.MultiHeadAttention(2, 3)(x, x)),
    "GroupQueryAttention": (SEQUENCE, lambda x: layers.GroupQueryAttention(2, 4, 2)(x, x)),
    "Attention": (SEQUENCE, lambda x: layers.Attention(use_scale=True)([x, x])),
    "AdditiveAttention": (SEQUENCE, lambda x: layers.AdditiveAttention()([x, x])),
    "SimpleRNN": (SEQUENCE, layers.SimpleRNN(3)),
    "LSTM": (SEQUENCE, layers.LSTM(3)),
    "GRU": (SEQUENCE, layers.GRU(3)),
    "RNN": (SEQUENCE, lambda x: layers.RNN(cells())(x)),
    "LSTMCell": ((4,), lambda x: layers.LSTMCell(3)(x, [x[:, :3], x[:, :3]])[0]),
    "GRUCell": ((4,), lambda x: layers.GRUCell(3)(x, x[:, :3])[0]),
    "SimpleRNNCell": ((4,), lambda x: layers.SimpleRNNCell(3)(x, x[:, :3])[0]),
    "Bidirectional": (SEQUENCE, layers.Bidirectional(layers.LSTM(3))),
    "TimeDistributed": (SEQUENCE, layers.TimeDistributed(layers.Dense(3))),
    "PReLU": (IMAGE, layers.PReLU()),
    "LayerNormalization": (IMAGE, layers.LayerNormalization(axis=(-2, -1))),
    "BatchNormalization": (IMAGE, layers.BatchNormalization()),
    "GroupNormalization": (IMAGE, layers.GroupNormalization(2)),
    "RMSNormalization": (IMAGE, layers.RMSNormalization((-2, -1))),
    "SpectralNormalization": ((4,), layers.SpectralNormalization(layers.Dense(3))),
    "Normalization": (SEQUENCE, layers.Normalization(axis=(1, 2))),
    "STFTSpectrogram": ((64, 1), layers.STFTSpectrogram("magnitude", 16, 8)),
    "LoRA": ((4,), lora),
}


QUICK = ("Dense", "ReversibleEmbedding", "GRU", "RNN", "PReLU", "SpectralNormalization", "LoRA")
SOME = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in WEIGHTED]


@pytest.mark.slow  # reads the code of all layers
def test_every_layer_of_keras_with_weights_is_tried():
    """Those whose own code, or that of a class of Keras they derive from, adds a weight."""
    adding = set()
    for name, kind in EXPORTED.items():
        bases = kind.__mro__[: kind.__mro__.index(layers.Layer)]
        if name == kind.__name__ and any("add_weight(" in inspect.getsource(b) for b in bases):
            adding.add(name)
    others = {"JaxLayer", "FlaxLayer", "TFSMLayer"}  # hold weights of another library
    assert adding - {name.partition(",")[0] for name in WEIGHTED} == others


@pytest.mark.parametrize("name", SOME)
def test_every_matrix_is_listed_once_with_a_law_or_a_reason(name):
    shape, call = WEIGHTED[name]
    inputs = keras.Input(shape, dtype="int32" if "Embedding" in name else None)
    model = keras.Model(inputs, layers.Dense(2)(call(inputs)))
    listed = [id(kernel.site.variable) for kernel in kernels_of(model)]
    # Of the state of SpectralNormalization and the bias of a GRU nothing multiplies the signal.
    states = [v for v in model.weights if v.name in ("bias", "vector_u")]
    matrices = {id(v) for v in model.weights if len(v.shape) > 1} - {id(v) for v in states}
    assert set(listed) == matrices
    assert len(listed) == len(matrices)
    for change in plan(model):
        assert (change.gain > 0.0) != bool(change.skipped)


# A subclass with its own computation.


class Equalized(layers.Dense):
    """Scales its weights at run time (Karras et al., arXiv 1710.10196)."""

    def call(self, inputs):
        scale = math.sqrt(2.0 / self.kernel.shape[0])
        return self.activation(ops.matmul(inputs, scale * self.kernel) + self.bias)


class Standardized(layers.Conv2D):
    """Standardizes its weights at run time (Qiao et al., arXiv 1903.10520)."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / ops.std(kernel))


class Halved(layers.Dense):
    @property
    def kernel(self):
        return 0.5 * self._kernel


class Plain(layers.Dense):
    """Adds a second matrix and changes nothing of what Dense computes."""

    def build(self, input_shape):
        super().build(input_shape)
        self.more = self.add_weight(shape=(3, 3), name="more")


def patched():
    layer = layers.Dense(8, "relu", name="own")
    layer.call = lambda inputs: 2.0 * type(layer).call(layer, inputs)
    return layer


OWN = {
    "call": ((8,), lambda: Equalized(8, "relu", name="own")),
    "convolution_op": ((4, 4, 8), lambda: Standardized(8, 3, padding="same", name="own")),
    "kernel": ((8,), lambda: Halved(8, "relu", name="own")),
    "instance": ((8,), patched),
}


@pytest.mark.parametrize("name", OWN)
def test_a_layer_that_computes_otherwise_than_its_base_is_unknown(name):
    """So is what it does to the signal of the kernel before it."""
    shape, make = OWN[name]
    model = keras.Sequential(
        [keras.Input(shape), layers.Dense(8, name="before"), make(), layers.Dense(2, name="last")]
    )
    before = weights(model)
    report = {change.path.split("/")[-2]: change for change in reinitialize(model, seed=0)}
    own = report["own"]
    assert own.kind == "unknown"
    assert "computes its output otherwise than" in own.skipped
    if name != "instance":  # of which the table of classes knows nothing
        assert "is unknown" in report["before"].skipped or name == "kernel"
    assert not report["last"].skipped
    if name != "kernel":
        assert np.array_equal(array(model.get_layer("own").kernel), before[2])


def test_a_subclass_that_only_adds_is_what_its_base_is_and_its_matrix_is_listed():
    model = keras.Sequential([keras.Input((3,)), Plain(3, "relu", name="own"), layers.Dense(2)])
    kernel, more, _ = plan(model)
    assert (kernel.kind, kernel.law, kernel.skipped) == ("dense", "ReLU()", "")
    assert "Plain has it beside its kernel" in more.skipped
    assert kernels_of(model)[0].path == model.layers[0].path


def test_a_layer_without_kernels_is_unknown_too_where_it_computes_otherwise():
    class Doubling(layers.MaxPooling2D):
        def call(self, inputs):
            return 2.0 * super().call(inputs)

    class Named(layers.MaxPooling2D):
        pass

    assert effect_of(Named()) is Effect.PICKS
    assert effect_of(Doubling()) is Effect.ENDS


class Capped(layers.LeakyReLU):
    """Has a law by its base, and computes otherwise."""

    def call(self, inputs):
        return ops.minimum(super().call(inputs), 1.0)


class Renamed(layers.LeakyReLU):
    """Computes what its base does."""


@pytest.mark.parametrize("inside", [False, True])
def test_an_activation_that_computes_otherwise_than_its_base_is_unknown(inside):
    def first(activation):
        dense = layers.Dense(4, activation=activation if inside else None)
        stack = [keras.Input((3,)), dense, *([] if inside else [activation]), layers.Dense(2)]
        return plan(keras.Sequential(stack)).changes[0]

    assert "Capped follows, which is unknown" in first(Capped(0.2)).skipped
    assert first(Renamed(0.2)).law == str(laws.LeakyReLU(0.2))


# Axes of the input that an EinsumDense sums over without a weight.

SUMS = {
    "abc,cd->ad": ((6, 8), 48),
    "...bc,cd->...d": ((5, 6, 8), 48),
    "abc...,cd->ad...": ((6, 8, 2), 48),
    "abc,bcd->ad": ((6, 8), 48),
}


@pytest.mark.parametrize("equation", SUMS)
def test_the_fan_in_counts_axes_that_are_summed_without_a_weight(equation):
    shape, fan_in = SUMS[equation]
    inputs = keras.Input(shape)
    layer = layers.EinsumDense(equation, output_shape=(3,))
    model = keras.Model(inputs, layer(inputs))
    (change,) = plan(model, s=2.0)
    assert ("sums over positions" in change.note) == (equation != "abc,bcd->ad")
    assert (change.fan_in, change.gain) == (fan_in, 1.0)
    assert change.stddev == pytest.approx(fan_in**-0.5, rel=1e-6)
    reinitialize(model, s=2.0, seed=0, distribution="untruncated_normal")
    assert np.std(array(layer.kernel)) == pytest.approx(change.stddev, rel=0.5)


def test_the_variance_is_kept_where_the_summands_are_uncorrelated():
    """All patterns of six signs, over which the mean square of their sum is 6."""
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
    x = (signs[:, :, None] * normal(8)).astype("float32")
    inputs, units = keras.Input((6, 8)), 4000
    model = keras.Model(inputs, layers.EinsumDense("abc,cd->ad", (units,))(inputs))
    reinitialize(model, s=2.0, seed=0, distribution="untruncated_normal")
    ratio = np.mean(np.square(array(model(x)))) / np.mean(np.square(x))
    assert abs(ratio - 1.0) < 5.0 * math.sqrt(2.0 / units)


def test_a_sum_over_an_axis_of_unknown_length_leaves_the_kernel_alone():
    inputs = keras.Input((None, 8))
    layer = layers.EinsumDense("abc,cd->ad", output_shape=(3,))
    model = keras.Model(inputs, layers.Dense(2)(layer(inputs)))
    before = weights(model)
    first, last = reinitialize(model, seed=0)
    assert first.skipped == "it sums over positions, and their number is not known"
    assert not last.skipped
    assert equal(weights(model)[:1], before[:1])


# Activations with weights count as they are.


@pytest.mark.parametrize("place", ["layer", "activation"])
@pytest.mark.parametrize("slopes", [[0.5] * 4, [-0.5] * 4, [0.0, 0.2, 0.4, 1.5]])
def test_slopes_count_with_their_present_values(place, slopes):
    prelu = layers.PReLU(name="prelu")
    first = [layers.Dense(4), prelu] if place == "layer" else [layers.Dense(4, activation=prelu)]
    model = keras.Sequential([keras.Input((3,)), *first, layers.Dense(2, name="last")])
    model(normal(1, 3))  # before, an activation inside a layer has no slopes
    assert plan(model).changes[0].law == "ReLU()"
    prelu.alpha.assign(np.array(slopes, "float32"))
    change = plan(model, s=2.0).changes[0]
    assert change.gain == pytest.approx(2.0 / (1.0 + np.mean(np.square(slopes))), rel=1e-6)
    if len(set(slopes)) == 1:
        assert change.law == str(laws.LeakyReLU(slopes[0]))
        return
    # E q of units with slopes of their own, measured.
    x = normal(20_000, 4)
    measured = np.mean(np.square(array(prelu(x))), axis=1).mean()
    assert measured == pytest.approx(1.0 / change.gain, rel=0.03)
