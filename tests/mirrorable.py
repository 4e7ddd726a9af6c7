"""The table of networks that are mirrored: the form of each kernel, or the reason for none.

A form is written "outputs", "both", "inputs" or "repeated", with the runs of its inputs behind it
where they are not the two halves, and what the reason for making no pairs holds, after a colon.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from architectures import mlp, subclassed, transformer, vgg

layers, ops = keras.layers, keras.ops

END = "its output is that of the model"
LINEAR = "no activation follows, and a linear layer must not become pairs"
ODD = "3 units: an odd width has no pairs"


@dataclass(frozen=True)
class Network:
    """A model and what mirroring makes of it.

    Attributes:
        name: Its name.
        build: Makes it.
        shape: The shape of one input.
        forms: The form of each kernel.
        kept: What is true at inference: "sums" (`f(x + y) = f(x) + f(y)`), "sign"
            (`f(-x) = -f(x)`), or nothing, where some activation is not behind pairs.
    """

    name: str
    build: Callable
    shape: tuple[int, ...]
    forms: list[str]
    kept: str = "sums"


def stack(shape, *several):
    return lambda: keras.Sequential([keras.Input(shape), *(make() for make in several)])


def dense(units, *arguments, **options):
    return lambda: layers.Dense(units, *arguments, **options)


def conv(filters, size=3, *arguments, padding="same", activation="relu", **options):
    options |= {"padding": padding, "activation": activation}
    return lambda: layers.Conv2D(filters, size, *arguments, **options)


def call(function, shape):
    def build():
        inputs = keras.Input(shape)
        return keras.Model(inputs, function(inputs))

    return build


def behind(*several):
    """Three dense layers with these layers between each and the next."""
    blocks = [make for _ in range(3) for make in (dense(8), *several)]
    return stack((6,), *blocks, dense(3))


THREE = ["outputs", "both", "both", f"inputs: {ODD}"]


def relu():
    return layers.ReLU()


def image_mean():
    return layers.GlobalAveragePooling2D()


def average_vgg():
    blocks = []
    for filters in (4, 8):
        blocks += [conv(filters), conv(filters), lambda: layers.AveragePooling2D(2)]
    return stack((8, 8, 3), *blocks, layers.Flatten, dense(10, "relu"), dense(3))()


def concatenated(x):
    parts = [layers.Dense(8, "relu")(x), layers.Dense(4, "gelu")(x)]
    x = layers.Dense(8, "relu")(layers.Concatenate()(parts))
    return layers.Dense(3)(x)


def relu_on_both(x):
    """A ReLU on a ReLU hands its pairs on; on a GELU it ends them."""
    parts = [layers.Dense(8, "relu")(x), layers.Dense(4, "gelu")(x)]
    return layers.Dense(3)(ops.relu(layers.Concatenate()(parts)))


def shared(width):
    def function(x):
        layer = layers.Dense(width, "relu")
        return layers.Dense(3)(layer(layer(layers.Dense(8, "relu")(x) if width == 8 else x)))

    return function


def nested(x):
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, "silu"), layers.Dense(8, "relu")])
    return layers.Dense(3)(inner(inner(layers.Dense(8, "relu")(x))))


def summed(x):
    x = layers.Dense(8, "relu")(x)
    y = layers.Dense(8, "relu")(x)
    return layers.Dense(3)(layers.Dense(8, "gelu")(x + y))


def operations(x):
    x = ops.relu(layers.Conv2D(4, 3)(x))
    x = ops.mean(ops.silu(layers.Conv2D(6, 3)(x)), axis=(1, 2))
    return layers.Dense(3)(x)


def channels_first(x):
    options = {"data_format": "channels_first"}
    x = layers.Conv2D(4, 3, activation="relu", **options)(x)
    x = layers.AveragePooling2D(2, **options)(x)
    x = layers.Conv2D(6, 2, activation="gelu", **options)(x)
    return layers.Dense(3)(layers.Flatten(**options)(x))


NETWORKS = [
    Network("mlp", mlp, (6,), ["outputs", "both", "both", f"inputs: {END}"]),
    Network(
        "smooth",
        stack((6,), *(dense(8, name) for name in ("gelu", "silu", "softplus")), dense(3, "linear")),
        (6,),
        THREE,
    ),
    Network(
        "odd",
        stack((6,), dense(8, "relu"), dense(7, "relu"), dense(8, "relu"), dense(3)),
        (6,),
        ["outputs", "inputs: 7 units: an odd width has no pairs", "outputs", f"inputs: {ODD}"],
        "",
    ),
    Network(
        "bottleneck",
        stack((6,), dense(8, "relu"), dense(4), dense(8, "relu"), dense(6)),
        (6,),
        ["outputs", f"inputs: {LINEAR}", "outputs", f"inputs: {END}"],
    ),
    Network(
        "tanh-inside",
        stack((6,), dense(8, "relu"), dense(8, "tanh"), dense(8, "gelu"), dense(3)),
        (6,),
        ["outputs", "inputs: tanh has no linear odd part", "outputs", f"inputs: {ODD}"],
        "sign",  # tanh is odd
    ),
    Network(
        "maximum",
        vgg,
        (8, 8, 3),
        [
            "outputs",
            "inputs: max pooling ends the pairs; average pooling would keep them",
            "outputs",
            "inputs: max pooling",
            "outputs",
            f"inputs: {ODD}",
        ],
        "",
    ),
    Network(
        "average",
        average_vgg,
        (8, 8, 3),
        ["outputs", "both", "both", "both", "both (4, 4)", f"inputs: {ODD}"],
    ),
    Network(
        "all-convolutional",
        stack((8, 8, 3), conv(4), conv(6, 3, 2), conv(6, 1), conv(4, activation=None), image_mean),
        (8, 8, 3),
        ["outputs", "both", "both", f"inputs: {END}"],
    ),
    Network(
        "separable",
        stack(
            (8, 8, 3),
            conv(4),
            lambda: layers.SeparableConv2D(8, 3, padding="same", activation="relu"),
            lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
            conv(6, 1),
            image_mean,
            dense(3),
        ),
        (8, 8, 3),
        ["outputs", "repeated", "both", "repeated", "both", f"inputs: {ODD}"],
    ),
    Network(
        "depthwise",
        stack(
            (8, 8, 3),
            conv(4),
            lambda: layers.DepthwiseConv2D(3, activation="relu"),
            conv(6, 1),
            image_mean,
            dense(3),
        ),
        (8, 8, 3),
        [
            ": relu acts where only the difference of a pair is linear",
            ": a depthwise kernel makes no pairs",
            "outputs",
            f"inputs: {ODD}",
        ],
        "",
    ),
    Network(
        "depthwise-before",
        stack(
            (8, 8, 3),
            conv(4, activation=None),
            lambda: layers.DepthwiseConv2D(3, activation="relu"),
            conv(6, 1, activation=None),
            image_mean,
        ),
        (8, 8, 3),
        ["outputs", "repeated", f"inputs: {END}"],
    ),
    Network(
        "autoencoder",
        stack(
            (8, 8, 3),
            conv(4, 3, 2),
            layers.Flatten,
            dense(6),
            dense(64, "relu"),
            lambda: layers.Reshape((4, 4, 4)),
            lambda: layers.Conv2DTranspose(6, 4, 2, padding="same", activation="relu"),
            lambda: layers.Conv2DTranspose(3, 3, padding="same"),
        ),
        (8, 8, 3),
        [
            "outputs",
            f"inputs (2, 16): {LINEAR}",
            ": Reshape takes the pairs apart",
            "outputs",
            f"inputs: {ODD}",
        ],
        "",
    ),
    Network("prelu", behind(layers.PReLU), (6,), THREE),
    Network("leaky", behind(lambda: layers.LeakyReLU(negative_slope=0.2)), (6,), THREE),
    Network("batch", behind(layers.BatchNormalization, relu), (6,), THREE),
    Network(
        "batch-behind",
        behind(relu, layers.BatchNormalization),
        (6,),
        [*[": BatchNormalization behind an activation ends the pairs"] * 3, f": {ODD}"],
        "",
    ),
    Network("layer", behind(layers.LayerNormalization, relu), (6,), THREE, "sign"),
    Network("layer-behind", behind(relu, layers.LayerNormalization), (6,), THREE, "sign"),
    Network("rms", behind(layers.RMSNormalization, relu), (6,), THREE, "sign"),
    Network("rms-behind", behind(relu, layers.RMSNormalization), (6,), THREE, "sign"),
    Network("group", behind(lambda: layers.GroupNormalization(2), relu), (6,), THREE, "sign"),
    Network(
        "one-group-behind", behind(relu, lambda: layers.GroupNormalization(1)), (6,), THREE, "sign"
    ),
    Network(
        "groups-behind",
        behind(relu, lambda: layers.GroupNormalization(2)),
        (6,),
        [*[": GroupNormalization of 2 groups ends the pairs"] * 3, f": {ODD}"],
        "",
    ),
    Network(
        "passing",
        stack(
            (8, 8, 3),
            conv(4),
            lambda: layers.ZeroPadding2D(1),
            lambda: layers.SpatialDropout2D(0.3),
            conv(6, activation="gelu"),
            lambda: layers.UpSampling2D(2),
            lambda: layers.Cropping2D(2),
            lambda: layers.AveragePooling2D(2),
            lambda: layers.Permute((2, 1, 3)),
            lambda: layers.Reshape((64, 6)),
            lambda: layers.EinsumDense("abc,cd->abd", (64, 4), activation="silu"),
            layers.GlobalAveragePooling1D,
            dense(3),
        ),
        (8, 8, 3),
        ["outputs", "both", "both", f"inputs: {ODD}"],
    ),
    Network(
        "grouped",
        stack((8, 8, 3), conv(4), conv(4, groups=2), conv(4), image_mean, dense(3)),
        (8, 8, 3),
        [
            ": a grouped convolution ends the pairs",
            ": a grouped convolution ends the pairs",
            "outputs",
            f"inputs: {ODD}",
        ],
        "",
    ),
    Network(
        "concatenated",
        call(concatenated, (6,)),
        (6,),
        ["outputs", "outputs", "both (4, 1) (2, 1)", f"inputs: {ODD}"],
    ),
    Network(
        "relu-on-both",
        call(relu_on_both, (6,)),
        (6,),
        [*[": Relu acts where only the difference of a pair is linear"] * 2, f": {ODD}"],
        "",
    ),
    Network("shared", call(shared(8), (6,)), (6,), ["outputs", "both", f"inputs: {ODD}"]),
    Network(
        "shared-apart",
        call(shared(6), (6,)),
        (6,),
        [": its calls do not all have pairs of one kind", f": {ODD}"],
        "",
    ),
    Network("nested", call(nested, (6,)), (6,), ["outputs", "both", "both", f"inputs: {ODD}"]),
    Network("summed", call(summed, (6,)), (6,), ["outputs", "both", "both", f"inputs: {ODD}"]),
    Network("operations", call(operations, (8, 8, 3)), (8, 8, 3), ["outputs", "both", "inputs"]),
    Network(
        "channels-first",
        call(channels_first, (3, 8, 8)),
        (3, 8, 8),
        ["outputs", "both", "inputs (3, 4)"],
    ),
    Network(
        "transformer",
        transformer,
        (7,),
        [
            ": an embedding is looked up, not multiplied",
            *[": the kernel of an EinsumDense with several input or output axes"] * 4,
            "outputs",
            "inputs: Add of pairs and of something without pairs",
            f": {ODD}",
        ],
        "",
    ),
    Network(
        "subclassed",
        subclassed,
        (6,),
        [
            ": Add of pairs and of something without pairs",
            *["outputs", "inputs: no activation follows"] * 2,
            "outputs",
            f"inputs: {ODD}",
            ": 5 units: an odd width has no pairs",
        ],
        "",
    ),
]
PAIRED = [network for network in NETWORKS if any(form.split(":")[0] for form in network.forms)]
UNPAIRED = [network for network in NETWORKS if network not in PAIRED]
