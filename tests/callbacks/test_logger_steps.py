"""Tests at which steps a `MomentLogger` records: over several fits, and with own training steps."""

import warnings

import keras
import numpy as np
import pytest
from cases import numpy, quick
from networks import mlp
from trainings import X, compiled, fit

import keras_fracinit as kf
from keras_fracinit import MomentLogger

BACKEND = keras.backend.backend()


@pytest.mark.parametrize("steps", [1, 5])
def test_records_every_so_many_steps(steps):
    if steps > 1 and BACKEND == "torch":
        pytest.skip("torch takes one step at a time")
    logger = MomentLogger(X, every=3)
    fit(compiled(steps_per_execution=steps), logger, batch_size=4, epochs=2)  # 10 steps each
    expected = {1: [0, 3, 6, 9, 12, 15, 18], 5: [0, 5, 10, 15, 20]}[steps]
    assert [record.step for record in logger.records] == expected
    assert [record.epoch for record in logger.records][-1] == 1


def test_steps_are_those_of_the_optimizer_when_gradients_accumulate():
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    logger = MomentLogger(X, every=2)
    fit(compiled(optimizer=optimizer), logger, batch_size=4, epochs=2)
    assert [record.step for record in logger.records] == [0, 2, 4, 6, 8, 10]


def test_batch_hooks_are_there_only_for_those_who_ask():
    """Keras gives up its asynchronous dispatch for a callback with a hook for batches."""
    for every, expected in (("epoch", True), (3, False)):
        hook = MomentLogger(X, every=every).on_train_batch_end
        assert getattr(hook, "_is_default", False) is expected


def test_several_fits_continue_and_another_model_starts_afresh():
    logger = MomentLogger(X)
    model = compiled()
    fit(model, logger)
    measurement = logger._measurement
    fit(model, logger, epochs=2)
    assert [record.step for record in logger.records] == [0, 5, 10, 15]
    assert logger._measurement is measurement  # traced once
    model.compile("sgd", "mae")  # the steps of the optimizer start at zero again
    fit(model, logger)
    assert [record.step for record in logger.records] == [0, 5, 10, 15, 15, 20]
    fit(compiled(), logger)
    assert [record.step for record in logger.records] == [0, 5]


def test_a_fit_begins_with_a_record_if_the_model_has_changed():
    logger, model = MomentLogger(X, quantities=("weights",)), compiled()
    fit(model, logger)
    kf.reinitialize(model, s=1.0, seed=3)
    fit(model, logger, epochs=2, initial_epoch=1)
    assert [(r.step, r.epoch) for r in logger.records] == [(0, 0), (5, 0), (5, 1), (10, 1)]
    kernels = "statistic == 's_scale' and layer.str.endswith('kernel')"
    fresh = logger.history.query(f"epoch == 1 and step == 5 and {kernels}")
    kf.reinitialize(model, s=1.0, seed=3)
    fit(model, logger)
    again = logger.history.query(f"epoch == 0 and step == 10 and {kernels}")
    np.testing.assert_array_equal(again.value, fresh.value)


@pytest.mark.parametrize("first", quick(True, False))
def test_a_fit_begins_with_the_weights_that_were_restored(first):
    best = keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
    logger, model = MomentLogger(X, quantities=("weights", "updates")), compiled()
    fit(model, *[logger, best][:: 1 if first else -1], epochs=4)
    kernel = model.layers[0].kernel
    restored = np.sqrt(np.mean(numpy(kernel) ** 2))
    fit(model, logger)
    values = logger.history.query(f"layer == '{kernel.path}' and order == 2")
    values = values.pivot_table("value", "step", "quantity", lambda v: [*v], dropna=False)
    assert list(values.index) == [0, 5, 10, 15]  # 10 twice: the last of two epochs, and restored
    stopped, start = values.weights[10]
    assert start == pytest.approx(restored, rel=1e-5)
    assert stopped != pytest.approx(restored, rel=1e-5)
    assert values.updates[10][1] > 0


class OwnStep(keras.Model):
    """Trains by optimizers that Keras does not know, as a GAN does: here by none."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, *args):
        logs = {"seen": keras.ops.ones(())}
        return (logs, args[0]) if BACKEND == "jax" else logs


def frozen():
    model = mlp()
    model.trainable = False
    return model


@pytest.mark.parametrize(
    ("build", "accumulation", "every", "steps"),
    [
        (OwnStep, None, "epoch", [0, 5, 10, 15]),
        (OwnStep, None, 2, [0, 2, 4, 6, 8, 10, 12, 14]),
        (OwnStep, None, 7, [0, 7, 10, 14]),  # 10: the second fit begins
        (OwnStep, 2, 2, [0, 4, 6, 8, 10, 12, 14]),  # two steps take four batches
        (OwnStep, 2, 7, [0, 14]),
        (frozen, None, "epoch", [0, 5, 10, 15]),
        (frozen, None, 2, [0, 2, 4, 6, 8, 10, 12, 14]),
    ],
)
def test_batches_are_counted_where_the_optimizer_of_the_model_stands_still(
    build, accumulation, every, steps
):
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=accumulation)
    model, logger = compiled(build, optimizer), MomentLogger(X, every=every)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that there is nothing to train
        fit(model, logger, epochs=2)
        fit(model, logger, epochs=3, initial_epoch=2)
    assert [record.step for record in logger.records] == steps


def test_a_train_step_that_uses_the_optimizer_counts_its_steps():
    class Usual(keras.Sequential):
        def train_step(self, *args, **kwargs):
            return super().train_step(*args, **kwargs)

    def build():
        return Usual([keras.Input((8,)), keras.layers.Dense(3)])

    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    logger = MomentLogger(X, every=2)
    fit(compiled(build, optimizer), logger, batch_size=4, epochs=2)
    assert [record.step for record in logger.records] == [0, 2, 4, 6, 8, 10]
