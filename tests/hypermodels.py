"""Small hypermodels, tuners and data for the tests of searches."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

from keras_fracinit.tuner import order

layers, initializers = keras.layers, keras.initializers


def hyperparameters(**values):
    """As a tuner hands them to a build function: with values for what is not declared yet."""
    hp = kt.HyperParameters()
    hp.values.update(values)
    return hp


# Tiny networks: compiling or tracing takes longer than all it saves, except on JAX.
FAST = {"jit_compile": True} if keras.backend.backend() == "jax" else {"run_eagerly": True}


def dense(initializer="glorot_uniform", activation="relu", units=8, **options):
    return layers.Dense(units, activation, kernel_initializer=initializer, **options)


def stack(hp=None, initializer="glorot_uniform"):
    """Plain Keras, which knows nothing of this package."""
    model = keras.Sequential([keras.Input((6,)), *(dense(initializer) for _ in range(3))])
    model.add(dense(initializer, None, 2, name="logits"))
    model.compile("sgd", "mse", **FAST)
    return model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = dense(), layers.Dense(2, name="second")

    def call(self, inputs):
        return self.second(self.first(inputs))


X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
DATA = {"validation_data": (X[32:], Y[32:]), "epochs": 2, "batch_size": 16, "verbose": 0}
DATA["shuffle"] = False  # nothing but the weights is drawn


def classifier(hp, initializer="he_normal", activation="relu", depth=3):
    hidden = [dense(initializer, activation, hp.Int("width", 4, 8)) for _ in range(depth)]
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(1)])
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], **FAST)
    return model


def shallow(hp):
    """For tests of what a search makes of its scores."""
    return classifier(hp, depth=1)


TUNERS = {
    "random": lambda *args, **kw: kt.RandomSearch(*args, max_trials=2, **kw),
    "bayesian": lambda *args, **kw: kt.BayesianOptimization(
        *args, max_trials=3, num_initial_points=2, **kw
    ),
    "grid": lambda *args, **kw: kt.GridSearch(*args, max_trials=2, **kw),
    "hyperband": lambda *args, **kw: kt.Hyperband(*args, max_epochs=2, factor=3, **kw),
}


class Scripted(kt.HyperModel):
    """Trains nothing: `script(hp, model)` gives the logs of its one epoch."""

    def __init__(self, script, build):
        super().__init__()
        self.script, self.build = script, build

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        logs = self.script(hp, model)
        for callback in callbacks:  # they save what has come of it
            callback.set_model(model)
            callback.on_epoch_end(0, logs)
        return logs


def exploding(hp, where=lambda s: s > 1.0):
    """Its loss overflows at some orders; below it learns the better the closer it comes to them."""
    s = order(hp, low=0.0)
    rate = 1e30 if where(s) else 0.03 * s
    kernels = initializers.HeNormal(seed=1), initializers.HeNormal(seed=2)
    model = keras.Sequential([keras.Input((6,)), dense(kernels[0]), dense(kernels[1], None, 1)])
    optimizer = keras.optimizers.SGD(rate)
    model.compile(optimizer, "mse", metrics=["mae"], **FAST)
    return model


trained_and_scripted = pytest.mark.parametrize(
    "kind", ["scripted", pytest.param("trained", marks=pytest.mark.slow)]
)
