"""Models to diagnose, fresh weights for them, and what a diagnosis of one draw may find."""

import keras
import numpy as np
from architectures import normal

from keras_fracinit import diagnose, reinitialize
from keras_fracinit.diagnosis.chance import reach_of, third_cumulant

layers = keras.layers
X, X64, IMAGES = normal(64, 32), normal(64, 64), normal(16, 8, 8, 8)


def mlp(depth=20, width=64, activation="relu", head=(), inputs=32, **options):
    """A stack of equal dense layers, with a head behind it."""
    hidden = [layers.Dense(width, activation, name=f"h{i}", **options) for i in range(depth)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, *head], name="net")


def fresh(model, seed=0, s=1.0, **options):
    reinitialize(model, s=s, seed=seed, **options)
    return model


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


def reaches(variances):
    """How far the band extends beyond the means, below and above, behind each step."""
    c = reach_of(variances, [1.0] * len(variances), 0.02)
    total = np.cumsum(variances)
    third = np.cumsum([third_cumulant(variance) for variance in variances])
    return c * np.sqrt(total) - (c * c - 1.0) / 6.0 * third / total, c * np.sqrt(total)
