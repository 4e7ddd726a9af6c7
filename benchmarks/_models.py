"""The networks that several benchmarks build."""

from __future__ import annotations

from typing import Any

import keras

layers = keras.layers


def small_vgg() -> Any:
    """A VGG of an eighth of VGG16's widths, for images of 64 x 64."""
    stack: list[Any] = [keras.Input((64, 64, 3))]
    for filters, depth in ((8, 2), (16, 2), (32, 3), (64, 3), (64, 3)):
        stack += [
            layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(depth)
        ]
        stack.append(layers.MaxPooling2D())
    stack += [layers.Flatten(), layers.Dense(512, "relu"), layers.Dense(512, "relu")]
    return keras.Sequential([*stack, layers.Dense(100, "softmax")])


def residual_net(side: int, filters: int, blocks: int = 1) -> keras.Model:
    """A convolutional net of three stages, each of so many residual blocks."""
    inputs = x = keras.Input((side, side, 3))
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    for stage in range(3):
        for block in range(blocks):
            width, strides = filters * 2**stage, 2 if stage and not block else 1
            shortcut = x if block else layers.Conv2D(width, 1, strides=strides)(x)
            x = layers.Conv2D(width, 3, strides=strides, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.add([layers.BatchNormalization()(x), shortcut]))
    x = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def transformer(blocks: int, width: int, heads: int, length: int, words: int = 1000) -> keras.Model:
    """A classifier of sequences of words, normalized before each sub-layer."""
    inputs = keras.Input((length,), dtype="int32")
    x = layers.Embedding(words, width)(inputs)
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = layers.add([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
        y = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(x))
        x = layers.add([x, layers.Dense(width)(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(x))
