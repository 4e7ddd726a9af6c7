"""What a probe holds for which model: inputs, targets and sample weights."""

import keras
import numpy as np
import pytest
from architectures import normal

from keras_fracinit import MomentLogger, diagnose, plan
from keras_fracinit.models.building import build_model
from keras_fracinit.models.probe import probe_arrays, probe_data

layers, ops = keras.layers, keras.ops
A, B, Y = normal(8, 4), normal(8, 4, seed=1), normal(8, 1, seed=2)


class Two(keras.Model):
    """Takes a list of two inputs, and does not say so."""

    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(6, "relu", name="a"), layers.Dense(6, "relu", name="b")
        self.c = layers.Dense(1, name="c")

    def call(self, inputs):
        p, q = inputs
        return self.c(ops.concatenate([self.a(p), self.b(q)], -1))


class Arguments(Two):
    """Takes two arguments."""

    def call(self, p, q, training=False):
        return super().call([p, q])


class Named(Two):
    def call(self, inputs):
        return super().call([inputs["p"], inputs["q"]])


class One(Two):
    def call(self, inputs):
        return super().call([inputs, inputs])


def called(model, *inputs):
    model(*inputs)
    return model


def functional(count):
    inputs = [keras.Input((4,)) for _ in range(count)]
    joined = ops.concatenate(inputs, -1) if count > 1 else inputs[0]
    return keras.Model(inputs if count > 1 else inputs[0], layers.Dense(1)(joined))


SPLITS = {
    "two in a list": (lambda: called(Two(), [A, B]), [A, B], (2, False)),
    "two in a tuple": (lambda: called(Two(), [A, B]), (A, B), (2, False)),
    "two with targets": (lambda: called(Two(), [A, B]), ([A, B], Y), (2, True)),
    "two arguments": (lambda: called(Arguments(), A, B), [A, B], (2, False)),
    "two names with targets": (
        lambda: called(Named(), {"p": A, "q": B}),
        ({"p": A, "q": B}, Y),
        (2, True),
    ),
    "one with targets": (lambda: called(One(), A), (A, Y), (1, True)),
    "one with targets, in a list": (lambda: called(One(), A), [A, Y], (1, True)),
    "not built, a list": (Two, [A, B], (2, False)),
    "not built, a tuple": (Two, (A, Y), (1, True)),
    "two functional": (lambda: functional(2), [A, B], (2, False)),
    "two functional with targets": (lambda: functional(2), ([A, B], Y), (2, True)),
    "one functional with targets": (lambda: functional(1), (A, Y), (1, True)),
}


@pytest.mark.parametrize("name", SPLITS)
def test_inputs_and_targets_are_told_apart(name):
    build, probe, (inputs, targets) = SPLITS[name]
    data = probe_data(probe_arrays(probe), build())
    assert len(keras.tree.flatten(data.x)) == inputs
    assert np.array_equal(keras.tree.flatten(data.x)[0], A)
    assert (data.y is not None) == targets
    assert data.sample_weight is None


def test_more_items_than_a_batch_has_are_refused():
    with pytest.raises(ValueError, match=r"`probe` must be the inputs.*4 items, for a model of 1"):
        probe_data((A, Y, Y, Y), functional(1))


@pytest.mark.slow  # the import of torch
def test_pairs_of_a_data_loader_are_pairs():
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(torch.tensor(A), torch.tensor(Y))
    arrays = probe_arrays(torch.utils.data.DataLoader(pairs, batch_size=4))
    data = probe_data(arrays, Two())
    assert np.array_equal(data.x, A[:4])
    assert np.array_equal(data.y, Y[:4])


@pytest.mark.parametrize("kind", [Two, Arguments])
def test_all_inputs_are_used(kind):
    """Sequences too, of which two samples of the first would do for two inputs."""
    several = [normal(8, 5, 4), 100 * normal(8, 5, 4, seed=1)]
    model = called(kind(), *(several if kind is Arguments else [several]))
    assert not any(change.skipped for change in plan(model))
    sizes = {row.path.rpartition("/")[-1]: row.size for row in diagnose(model, several)}
    assert 20.0 < sizes["b"] / sizes["a"] < 500.0
    assert diagnose(model, tuple(several))[model.b.path].size == sizes["b"]


def test_the_logger_takes_several_inputs_and_says_how_where_it_cannot_tell():
    model = Two()
    with pytest.raises(ValueError, match=r"of several inputs a list, with targets \(\[a, b\], y\)"):
        build_model(model, probe_data((A, B), model).x)
    model([A, B])
    model.compile("sgd", "mse", run_eagerly=True)
    for probe in ([A, B], ([A, B], Y)):
        logger = MomentLogger(probe, to_logs=False)
        model.fit([A, B], Y, verbose=0, callbacks=[logger])
        paths = {path.rpartition("/")[-1] for path in logger.history.layer}
        assert {"a", "b", "c"} <= paths
