"""`MomentLogger`: faults cost a warning and no training, and what is wrong is refused before it."""

import os
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from cases import numpy, quick
from networks import mlp
from trainings import X, Y, assert_same_as_file, compiled, events, fit

from keras_fracinit import MomentLogger
from keras_fracinit.callbacks.record_files import RecordFile
from keras_fracinit.callbacks.records import Layout, Record
from keras_fracinit.callbacks.steps import StepCounter
from keras_fracinit.models import Measurement


def broken(*args, **kwargs):
    raise RuntimeError("broken on purpose")


FAULTS = {
    "the pass": (Measurement, "__call__"),
    "the slopes": (Layout, "values"),
    "the step": (StepCounter, "steps"),
    "the comparison": (Record, "repeats"),
    "the files": (RecordFile, "write"),
    "the bytes": (RecordFile, "_append"),
}


@pytest.mark.parametrize("every", quick("epoch", 2))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_record_costs_one_warning(fault, every, tmp_path, monkeypatch):
    place, name = FAULTS[fault]
    original, training = getattr(place, name), compiled()

    class Break(keras.callbacks.Callback):
        """Breaks the logger in the second and third epoch."""

        def on_epoch_begin(self, epoch, logs=None):
            monkeypatch.setattr(place, name, broken if epoch in (1, 2) else original)

    logger = MomentLogger(X, path=tmp_path / "a.csv", log_dir=tmp_path, every=every)
    fit(training, logger)  # so that a later fit compares its start
    logger.every = every
    with pytest.warns(RuntimeWarning, match="broken on purpose.*Training goes on") as caught:
        history = fit(training, Break(), logger, epochs=5, initial_epoch=1).history
    assert len([w for w in caught if "broken on purpose" in str(w.message)]) == 1
    assert int(numpy(training.optimizer.iterations)) == 25
    assert all(len(values) == 4 for values in history.values())  # the same keys in every epoch
    lost = fault in ("the pass", "the slopes")
    assert np.isnan(history["activations/slope/s1"][0]) == lost
    assert np.isfinite(history["activations/slope/s1"][-1])
    assert logger.records[-1].step == {"epoch": 25, 2: 24}[every]
    assert_same_as_file(logger, tmp_path / "a.csv")
    assert {event.step for event in events(tmp_path)} == {r.step for r in logger.records}


def test_a_model_that_fails_later_is_trained_on():
    class Fails(keras.layers.Layer):
        broken = False

        def call(self, inputs):
            if self.broken and keras.ops.shape(inputs)[0] == len(X):
                raise RuntimeError("out of memory")
            return inputs

    layer = Fails()
    model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(3)])
    model.compile("sgd", "mse", run_eagerly=True)
    spy = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(layer, "broken", epoch == 1)
    )
    logger = MomentLogger(X)
    with pytest.warns(RuntimeWarning, match="could not record: ValueError: (?s:.*)out of memory"):
        fit(model, spy, logger, epochs=3)
    assert [record.step for record in logger.records] == [0, 5, 15]


def test_a_model_with_nothing_to_measure_is_trained():
    model = compiled(lambda: keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]))
    model.trainable = False
    logger = MomentLogger((X, Y), quantities=("gradients",), every=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(model, logger, epochs=2).history
    assert len([w for w in caught if "Nothing is recorded" in str(w.message)]) == 1
    assert list(history) == ["loss"]
    assert not logger.records
    model.trainable = True
    model.compile("sgd", "mse")
    fit(model, logger)
    assert [record.step for record in logger.records] == [0, 2, 4]


def test_losses_without_targets():
    layer = keras.layers.Dense(3, activity_regularizer="l2")
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile("sgd")
    logger = MomentLogger((X, None), quantities=("gradients",))
    fit(model, logger, y=None)
    assert len(logger.records) == 2


def test_paths_are_expanded_and_local(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fit(compiled(), MomentLogger(X, path="~/moments.csv", log_dir="~/events"))
    assert (tmp_path / "moments.csv").is_file()
    assert events(tmp_path / "events")
    for name, path in (
        ("path", "gs://bucket/a.csv"),
        ("path", Path("gs://bucket/a.csv")),
        ("log_dir", "s3://bucket/logs"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be on a local file system"):
            MomentLogger(X, **{name: path})
    assert {path.name for path in tmp_path.iterdir()} == {"moments.csv", "events"}


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quantities": ("activation",)}, ValueError, "`quantities` must be one of 'activations'"),
        ({"quantities": "weights"}, TypeError, "`quantities` must be a sequence"),
        ({"quantities": ()}, ValueError, "`quantities` must not be empty"),
        ({"orders": (3.0,)}, ValueError, "`s` must satisfy 0 <= s <= 2"),
        ({"orders": 1.0}, TypeError, "`orders` must be a sequence"),
        ({"every": 0}, ValueError, "`every` must satisfy 1 <= every"),
        ({"every": "batch"}, TypeError, "`every` must be 'epoch' or a number"),
        ({"every": True}, TypeError, "`every` must be"),
        ({"kind": "rows"}, ValueError, "`kind` must be one of"),
        ({"layers": "dense"}, TypeError, "`layers` must be a sequence"),
        ({"layers": (3,)}, TypeError, "`layers` must be a str"),
        ({"training": 1}, TypeError, "`training` must be a bool"),
        ({"to_logs": "some"}, TypeError, "`to_logs` must be a bool"),
        ({"path": "moments.txt"}, ValueError, "`path` must end in .csv"),
        ({"path": 3}, TypeError, "`path` must be a path"),
        ({"append": None}, TypeError, "`append` must be a bool"),
        ({"quantities": ("gradients",)}, ValueError, "needs targets"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        MomentLogger(X, **options)


@pytest.mark.parametrize(
    ("probe", "error", "message"),
    [
        ((np.ones((3, 2)), np.ones(4)), ValueError, "the same number of samples"),
        (np.ones((0, 3)), ValueError, "`probe` must hold samples"),
        (iter([1]), TypeError, "`probe` must be an array"),
        (None, ValueError, "`probe` must hold samples"),
        (3.0, TypeError, "`probe` must be an array"),
        ((), ValueError, "`probe` must hold samples"),
    ],
)
def test_bad_probes(probe, error, message):
    with pytest.raises(error, match=message):
        MomentLogger(probe)


def refuses(message, logger, build=mlp):
    """Training is refused before its first step, and the model is as it was."""
    model = compiled(build)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        fit(model, logger)
    np.testing.assert_equal(model.get_weights(), before)
    assert int(numpy(model.optimizer.iterations)) == 0


def test_a_probe_that_does_not_fit_the_model():
    refuses(
        r"which takes .*\(None, 8\).*Received: probe of shape \(40, 7\)", MomentLogger(X[:, :7])
    )
    targets = MomentLogger((X, Y[:, :2]), quantities=("gradients",))
    refuses(r"targets of `probe` must fit the loss.*Received: y of shape \(40, 2\)", targets)
    refuses("4 items, for a model of 1 inputs", MomentLogger((X, Y, Y, Y)))


def test_a_layer_that_is_not_there():
    refuses("'dens', which matches none. Did you mean '", MomentLogger(X, layers=("dens",)))


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc"), reason="needs /proc")
def test_files_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").touch()
    refuses("`path` must be writable", MomentLogger(X, path=tmp_path / "taken" / "a.csv"))
    refuses("`log_dir` must be writable", MomentLogger(X, log_dir=tmp_path / "taken"))
    refuses("`path` must be writable", MomentLogger(X, path="/proc/moments.csv"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for append in (True, False):
        logger = MomentLogger(X, path=tmp_path / "other.csv", append=append)
        refuses("`path` must be a new file or one that", logger)
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"
