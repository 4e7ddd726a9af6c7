"""Networks of many kinds: each kernel has its true fans, and a law or the reason for none."""

import keras
import numpy as np
import pytest
from architectures import (
    autoencoder,
    conv_lstm,
    grouped_query,
    lstm,
    mlp,
    mobilenet,
    normal,
    preactivation_resnet,
    resnet,
    subclassed,
    transformer,
    vgg,
)

from keras_fracinit import laws
from keras_fracinit.graph.kernels import kernels_of, look_into

layers = keras.layers
RELU, LINEAR = "ReLU()", "Linear()"
NORM = "a normalization follows"
SOFTMAX = "softmax follows"
GATES = "a recurrent kernel"
HIDDEN = "the model does not show what follows"
OUTSIDE = "what follows is no layer"
# kind, fan-in, width, and the law or why it stays as it is. Fans counted by hand.
MODELS = {
    "mlp": (mlp, [("dense", 6, 8, RELU), *[("dense", 8, 8, RELU)] * 2, ("dense", 8, 2, LINEAR)]),
    "vgg": (
        vgg,
        [
            ("convolution", 27, 4, RELU),
            ("convolution", 36, 4, RELU),
            ("convolution", 36, 8, RELU),
            ("convolution", 72, 8, RELU),
            ("dense", 32, 10, RELU),
            ("dense", 10, 3, SOFTMAX),
        ],
    ),
    "resnet": (
        lambda: resnet(False),
        [
            ("convolution", 27, 4, RELU),
            *[("convolution", 36, 4, RELU)] * 4,
            ("dense", 4, 3, LINEAR),
        ],
    ),
    "resnet-norm": (
        lambda: resnet(True),
        [
            ("convolution", 27, 4, RELU),
            *[("convolution", 36, 4, NORM)] * 4,
            ("dense", 4, 3, LINEAR),
        ],
    ),
    "preactivation-resnet": (
        preactivation_resnet,
        [
            ("dense", 6, 8, LINEAR),
            *[("dense", 8, 8, RELU), ("dense", 8, 8, LINEAR)] * 2,
            ("dense", 8, 3, LINEAR),
        ],
    ),
    "mobilenet": (
        mobilenet,
        [
            ("convolution", 27, 4, RELU),
            ("depthwise", 9, 4, RELU),
            ("convolution", 4, 6, RELU),
            ("depthwise", 25, 12, "LeakyReLU(negative_slope=0.3)"),
            ("convolution", 54, 8, LINEAR),
            ("depthwise", 9, 8, LINEAR),
            ("pointwise", 8, 5, RELU),
            ("dense", 5, 3, LINEAR),
        ],
    ),
    "autoencoder": (
        autoencoder,
        [
            ("convolution", 27, 4, RELU),
            ("transposed", 4 * 4 / 4 * 4, 6, RELU),  # 2 x 2 taps reach one output
            ("transposed", 9 / 4 * 6, 3, LINEAR),
        ],
    ),
    "transformer": (
        transformer,
        [
            ("embedding", 1, 8, "an embedding"),
            *[("einsum", 8, 10, LINEAR)] * 3,
            ("einsum", 10, 8, LINEAR),
            ("dense", 8, 16, RELU),
            ("dense", 16, 8, LINEAR),
            ("dense", 8, 3, LINEAR),
        ],
    ),
    "grouped-query": (
        grouped_query,
        [
            ("einsum", 8, 24, LINEAR),
            *[("einsum", 8, 12, LINEAR)] * 2,
            ("einsum", 24, 8, LINEAR),
            ("dense", 8, 3, LINEAR),
        ],
    ),
    "lstm": (
        lstm,
        [
            ("embedding", 1, 8, "an embedding"),
            *[("recurrent", 8, 4, GATES), ("recurrent", 4, 4, GATES)] * 2,
            ("dense", 8, 6, RELU),
            ("recurrent", 6, 5, GATES),
            ("recurrent", 5, 5, GATES),
            ("dense", 5, 1, LINEAR),
        ],
    ),
    "conv-lstm": (
        conv_lstm,
        [("recurrent", 18, 4, GATES), ("recurrent", 36, 4, GATES), ("dense", 4, 3, LINEAR)],
    ),
    "subclassed": (
        subclassed,
        [
            ("dense", 6, 8, RELU),
            *[("dense", 8, 16, "LeakyReLU(negative_slope=0.1)"), ("dense", 16, 8, LINEAR)] * 2,
            ("dense", 8, 4, RELU),
            ("dense", 4, 3, LINEAR),
            ("dense", 4, 5, HIDDEN),
        ],
    ),
    "no-symbols": (
        lambda: subclassed(False),
        [
            ("dense", 6, 8, RELU),
            *[("dense", 8, 16, "LeakyReLU(negative_slope=0.1)"), ("dense", 16, 8, OUTSIDE)] * 2,
            ("dense", 8, 4, RELU),
            ("dense", 4, 3, LINEAR),
            ("dense", 4, 5, HIDDEN),
        ],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_kernel_has_its_fans_and_its_law_or_a_reason(name):
    build, expected = MODELS[name]
    kernels = kernels_of(build())
    found = [(k.site.spec.kind, k.site.fan_in, k.site.width) for k in kernels]
    assert found == [row[:3] for row in expected]
    for kernel, (*_, words) in zip(kernels, expected, strict=True):
        if words.endswith(")"):
            assert (str(kernel.law), kernel.reason) == (words, "")
        else:
            assert kernel.law is None
            assert kernel.reason.startswith(words)


def test_an_unbuilt_stack_shows_what_follows_but_has_no_values():
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, layers.Dense(3, name="c")(layers.ReLU()(inputs)))
    chain = [layers.Dense(5, name="b"), layers.Dropout(0.1), layers.LeakyReLU(negative_slope=0.2)]
    model = keras.Sequential(
        [layers.Dense(4, name="a"), inner, layers.ReLU(), keras.Sequential(chain)]
    )
    assert not model.built
    kernels = [(kernel.path, kernel.law, kernel.reason) for kernel in kernels_of(model)]
    assert kernels == [
        ("a", laws.ReLU(), ""),
        ("c", laws.ReLU(), ""),
        ("b", laws.LeakyReLU(0.2), ""),
    ]
    with pytest.raises(ValueError, match="`model` must be built"):
        look_into(model)


def test_a_call_that_fails_leaves_keras_as_it_is_and_says_why():
    class Failing(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)
            self.works = True

        def call(self, inputs):
            if not self.works:
                raise RuntimeError("out of luck")
            return self.dense(inputs)

    model = Failing()
    model(normal(2, 4))
    model.works = False
    call, symbolic_call = keras.layers.Layer.__call__, keras.Operation.symbolic_call
    (kernel,) = kernels_of(model)
    assert kernel.reason.startswith(HIDDEN)
    assert "out of luck" in kernel.reason
    assert keras.layers.Layer.__call__ is call
    assert keras.Operation.symbolic_call is symbolic_call


def test_what_is_added_is_named():
    notes = [kernel.downstream.note for kernel in kernels_of(resnet(False))]
    assert [bool(note) for note in notes] == [False, False, True, False, True, False]
    assert notes[2] == "added to 1 other(s): the moment of the sum is not kept"


class Several(keras.Model):
    """Its `call` takes a vector and an image; the layers at the start are built or not."""

    def __init__(self, bare=False):
        super().__init__()
        self.vector = layers.Dense(8, "relu", name="vector")
        self.image = layers.Conv2D(4, 3, padding="same", name="image")
        self.act, self.pool = layers.ReLU(), layers.GlobalAveragePooling2D()
        self.last = layers.Dense(2, name="last")
        self.bare = bare

    def call(self, p, q, training=False):
        q = self.pool(q) if self.bare else self.act(self.pool(self.image(q)))
        return self.last(keras.ops.concatenate([self.vector(p), q], -1))


def test_each_argument_of_a_call_has_its_own_shape():
    """Keras keeps the shape of the first alone: those of the others are those of their layers."""
    model = Several()
    p, q = np.zeros((2, 5), "float32"), np.zeros((2, 6, 6, 3), "float32")
    model(p, q)
    graph, kernels = look_into(model)
    assert not graph.error
    found = {k.site.layer.name: (k.site.fan_in, k.downstream.law) for k in kernels}
    relu, linear = laws.ReLU(), laws.Linear()
    assert found == {"vector": (5, relu), "image": (27, relu), "last": (12, linear)}
    shapes = [tuple(t.shape)[1:] for call in graph.calls for t in call.inputs]
    assert shapes[:2] == [(6, 6, 3), (6, 6, 4)]


def test_an_argument_whose_shape_nothing_tells_is_a_reason():
    model = Several(bare=True)
    p, q = np.zeros((2, 5), "float32"), np.zeros((2, 6, 6, 3), "float32")
    model(p, q)
    graph, kernels = look_into(model)
    expected = (
        "Keras keeps the shape of the first argument of `call` alone, and no layer tells that"
    )
    assert f"{expected} of q;" in graph.error
    vector, last = kernels
    assert vector.downstream.law == laws.ReLU()  # which is inside its layer
    assert f"{HIDDEN} (ValueError: {expected}" in last.downstream.reason
    graph, kernels = look_into(model, [p, q])  # a diagnosis has the arrays
    assert not graph.error
    assert [k.downstream.law for k in kernels] == [laws.ReLU(), laws.Linear()]
