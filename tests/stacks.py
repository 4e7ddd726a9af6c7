"""Stacks of dense layers to diagnose, and fresh weights for them."""

import keras
from architectures import normal

from keras_fracinit.planning import reinitialize

layers = keras.layers
X = normal(64, 32)


def mlp(depth=20, width=64, activation="relu", head=(), **options):
    hidden = [layers.Dense(width, activation, name=f"h{i}", **options) for i in range(depth)]
    return keras.Sequential([keras.Input((32,)), *hidden, *head], name="net")


def fresh(model, s=1.0, seed=0):
    reinitialize(model, s=s, seed=seed)
    return model
