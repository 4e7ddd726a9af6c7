"""Models whose walks a diagnosis follows, and the verdicts on these walks."""

import keras
from architectures import normal

from keras_fracinit import diagnose, reinitialize

layers = keras.layers
X, IMAGES = normal(64, 64), normal(16, 8, 8, 8)


def functional(x, body, head=True):
    """A model of `body` between inputs of the shape of `x` and a small head."""
    inputs = keras.Input(x.shape[1:])
    outputs = body(inputs)
    return keras.Model(inputs, layers.Dense(10, name="head")(outputs) if head else outputs)


def dense(depth, activation="relu", width=64):
    """A body of equal dense layers."""

    def body(x):
        for _ in range(depth):
            x = layers.Dense(width, activation)(x)
        return x

    return body


def strays(diagnosis):
    return [v for v in diagnosis.verdicts if v.startswith(("vanishes", "explodes"))]


def assert_healthy(build, x, training=False, seeds=3):
    """Fresh models of several seeds stray as seldom as one does: not at all in a few."""
    model = build()
    for seed in range(seeds):
        reinitialize(model, s=1.0, seed=seed)
        found = diagnose(model, x, training=training, gradients=False)
        assert not strays(found), found.verdicts
    return found
