"""Tests that a `MomentLogger` changes no bit of the training that it watches."""

import keras
import numpy as np
import pytest
from cases import numpy, quick
from networks import NETWORK_IDS, NETWORKS, Subclassed, convolutional, mlp, recurrent
from trainings import X, Y, compiled, fit

import keras_fracinit as kf
from keras_fracinit import MomentLogger
from keras_fracinit.models import QUANTITIES

BACKEND = keras.backend.backend()
EVERYTHING = {
    "quantities": QUANTITIES,
    "training": True,
    "tail_index": True,
    "to_logs": "all",
    "orders": (0, 0.8, 2),
}


def data_of(build):
    shape = {convolutional: (6, 6, 2), recurrent: (5, 4)}.get(build, (8,))
    return np.random.default_rng(5).normal(size=(40, *shape)).astype("float32")


def mixed_float16():
    return NETWORKS[NETWORK_IDS.index("mixed-precision")].build()


def averaged():
    return keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9)


TRAININGS = {
    "mlp with dropout": (mlp, {}),
    "conv net with BatchNorm": (convolutional, {}),
    "recurrent": (recurrent, {}),
    "subclassed": (Subclassed, {}),
    "compiled": (mlp, {"jit_compile": True}),
    "not compiled": (mlp, {"jit_compile": False}),
    "run eagerly": (mlp, {"run_eagerly": True}),
    "averaged weights": (mlp, {"optimizer": averaged}),
    "mixed precision": (mixed_float16, {"optimizer": lambda: "adam"}),
    "5 steps per execution": (mlp, {"steps_per_execution": 5}),
    "accumulated gradients": (
        mlp,
        {"optimizer": lambda: keras.optimizers.SGD(gradient_accumulation_steps=2)},
    ),
}


QUICK = ("mlp with dropout",)


@pytest.mark.parametrize(
    ("name", "every"),
    [
        *(pytest.param(n, 3, marks=() if n in QUICK else pytest.mark.slow) for n in TRAININGS),
        pytest.param("mlp with dropout", "epoch", marks=pytest.mark.slow),
    ],
)
def test_training_is_bit_identical(name, every):
    build, options = TRAININGS[name]
    if "steps_per_execution" in options and BACKEND == "torch":
        pytest.skip("torch takes one step at a time")
    x = data_of(build)
    results = []
    for watched in (False, True):
        keras.utils.set_random_seed(1)
        optimizer = options.get("optimizer", lambda: keras.optimizers.SGD(0.05, momentum=0.9))()
        model = compiled(build, optimizer, **{k: v for k, v in options.items() if k != "optimizer"})
        loggers = [MomentLogger((x[:16], Y[:16]), every=every, **EVERYTHING)] * watched
        history = fit(model, *loggers, x=x, epochs=2, validation_split=0.2).history
        history = {key: value for key, value in history.items() if "/" not in key}
        results.append((model.get_weights(), history))
    (weights, history), (watched_weights, watched_history) = results
    assert watched_history == history
    assert len(weights) == len(watched_weights)
    for a, b in zip(weights, watched_weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(loggers[0].records) > 1


def test_unseeded_initializers_draw_the_same_in_a_model_that_is_built_by_training():
    class Unbuilt(keras.Model):
        def __init__(self):
            super().__init__()
            relu = kf.FracReLU()
            self.stack = [keras.layers.Dense(8, "relu", kernel_initializer=relu) for _ in range(3)]

        def call(self, inputs):
            for layer in self.stack:
                inputs = layer(inputs)
            return inputs

    weights = []
    for watched in (False, True):
        keras.utils.set_random_seed(1)
        model = compiled(Unbuilt)
        fit(model, *[MomentLogger(X)] * watched, y=X)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("eager", quick(False, True))
def test_state_of_a_model_that_is_built_by_training_does_not_move(eager):
    class Unbuilt(keras.Model):
        """Has seeds and a counter, some made when it is built."""

        def __init__(self):
            super().__init__()
            self.noise, self.dropout = keras.layers.GaussianNoise(0.5), keras.layers.Dropout(0.3)
            self.first, self.second = keras.layers.Dense(8, "relu"), keras.layers.Dense(3)
            self.generator = keras.random.SeedGenerator()

        def build(self, shape):
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
            self.late = keras.random.SeedGenerator()
            super().build(shape)

        def call(self, inputs, training=False):
            self.calls.assign_add(1.0)
            for generator in (self.generator, self.late):
                inputs += keras.random.normal((8,), seed=generator)
            return self.second(self.dropout(self.first(self.noise(inputs))))

    assert_state_does_not_move(Unbuilt, run_eagerly=eager)


def test_state_of_layers_that_keras_builds_on_symbols_does_not_move():
    """It does so where neither the model nor the layer has a `build`."""

    class Sampling(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(1337)

        def call(self, inputs):
            return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator)

    class Unbuilt(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.sampling = keras.layers.Dense(4), Sampling()
            self.second = keras.layers.Dense(3)

        def call(self, inputs):
            return self.second(self.sampling(self.first(inputs)))

    assert_state_does_not_move(Unbuilt)


def assert_state_does_not_move(build, **options):
    results = []
    for watched in (False, True):
        keras.utils.set_random_seed(1)
        model = compiled(build, **options)
        log = fit(model, *[MomentLogger((X, Y), quantities=QUANTITIES)] * watched, epochs=2)
        results.append((log.history["loss"], [numpy(v) for v in model.variables]))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failing_training_leaves_nothing_behind():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("stop")

    call = keras.layers.Layer.__call__
    model = compiled()
    activation = model.layers[0].activation
    logger = MomentLogger(X, quantities=("activations", "preactivations"))
    with pytest.raises(RuntimeError, match="stop"):
        fit(model, logger, Stop())
    assert keras.layers.Layer.__call__ is call
    assert model.layers[0].activation is activation
    fit(model, logger)
    assert logger.records[-1].step > logger.records[0].step
