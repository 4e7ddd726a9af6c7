"""The files of `MomentLogger`: whole records in CSV and TensorBoard events, whatever may happen."""

import os
import signal
import subprocess
import sys
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
from networks import NETWORK_IDS, NETWORKS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trainings import X, Y, assert_same_as_file, compiled, events, fit

from keras_fracinit import MomentLogger
from keras_fracinit.callbacks import COLUMNS
from keras_fracinit.callbacks.record_files import csv_file
from keras_fracinit.models import QUANTITIES

BACKEND = keras.backend.backend()


def test_the_csv_file_holds_the_history_and_is_continued(tmp_path):
    path = tmp_path / "deep" / "moments.csv"
    first, second = MomentLogger(X, path=path), MomentLogger(X, path=path)
    model = compiled()
    fit(model, first, epochs=2)
    assert_same_as_file(first, path)
    with path.open("ab") as file:
        file.write(b"10,1,half a ro")  # what a killed process may leave
    fit(model, second)
    for run, logger in enumerate([first, second]):
        assert_same_as_file(logger, path, run)
    assert [record.step for record in second.records] == [10, 15]
    fit(model, second)  # of the same run
    assert_same_as_file(second, path, 1)
    other = MomentLogger(X, path=path, append=False)
    fit(model, other, epochs=2)
    assert_same_as_file(other, path)
    assert set(pd.read_csv(path).run) == {0}


def test_the_runs_of_a_file_are_counted(tmp_path):
    """Also from a file that has only its first line, or part of it; from 9 to 10."""
    path = tmp_path / "a.csv"
    for start in ("", "step,ep", ",".join([*COLUMNS, "run"]), ",".join([*COLUMNS, "run\n"])):
        path.write_text(start)
        for _ in range(12):
            csv_file(path, COLUMNS, lambda record: [[*range(9)]] * record).write([2])
        assert pd.read_csv(path).run.tolist() == [*np.repeat(range(12), 2)]


def test_a_file_without_runs_is_continued_without_them(tmp_path):
    path, line = tmp_path / "a.csv", ",".join(COLUMNS) + "\n"
    path.write_text(line + "0,0,dense,0,activations,s_scale,0.5,0.7,0.08\nhalf a r")
    logger = MomentLogger(X, path=path)
    fit(compiled(), logger)
    frame = pd.read_csv(path)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 1 + len(logger.history)
    fit(compiled(), MomentLogger(X, path=path, append=False))
    assert set(pd.read_csv(path).run) == {0}


KILLED = """
import os, signal, sys
import keras, numpy as np
from keras_fracinit import MomentLogger

class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

x = np.ones((16, 4), "float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
model.compile("sgd", "mse")
logger = MomentLogger(x, path=sys.argv[1], log_dir=sys.argv[2])
model.fit(x, x, batch_size=8, epochs=9, verbose=0, callbacks=[logger, Kill()])
"""


@pytest.mark.slow
def test_a_killed_process_has_written_every_record(tmp_path):
    path = tmp_path / "moments.csv"
    command = [sys.executable, "-c", KILLED, str(path), str(tmp_path / "events")]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    frame = pd.read_csv(path)
    assert sorted(frame.step.unique()) == [0, 2, 4, 6]
    assert frame.groupby("step").size().nunique() == 1
    assert {event.step for event in events(tmp_path / "events")} == {0, 2, 4, 6}


def test_a_full_disk_costs_one_warning_and_no_record(tmp_path, monkeypatch):
    path, write = tmp_path / "moments.csv", os.write
    full = False

    def limited(descriptor, data):
        return write(descriptor, data[: len(data) // 2] if full else data)

    class Disk(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            nonlocal full
            full = epoch in (1, 2)
            if epoch == 2:  # whole rows of the first two records so far
                assert path.read_bytes().endswith(b"\n")
                assert set(pd.read_csv(path).step) == {0, 5}

    monkeypatch.setattr(os, "write", limited)
    logger = MomentLogger(X, path=path)
    with pytest.warns(RuntimeWarning, match="no space left.*Training goes on") as caught:
        fit(compiled(), Disk(), logger, epochs=4)
    assert len([w for w in caught if "moments.csv" in str(w.message)]) == 1
    assert_same_as_file(logger, path)


def test_a_deleted_file_is_written_anew(tmp_path):
    path = tmp_path / "moments.csv"

    class Delete(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                path.unlink()

    logger = MomentLogger(X, path=path)
    with pytest.warns(RuntimeWarning, match="it was deleted"):
        fit(compiled(), Delete(), logger, epochs=3)
    assert_same_as_file(logger, path)


def test_nan_and_inf_are_written_as_such(tmp_path):
    path = tmp_path / "moments.csv"
    x = X.copy()
    x[0] = np.inf

    def linear():  # TensorFlow's compiled ReLU makes 0 of nan where oneDNN fuses it with Dense
        return keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(3)])

    logger = MomentLogger(x, path=path, log_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fit(compiled(linear), logger)
    assert_same_as_file(logger, path)
    assert (logger.history.query("statistic == 'nonfinite'").value > 0).any()


def test_tensorboard_reads_the_scalars(tmp_path):
    nested = NETWORKS[NETWORK_IDS.index("nested")]
    logger = MomentLogger((X, Y), log_dir=tmp_path, quantities=QUANTITIES)
    fit(compiled(nested.build), logger, epochs=2)
    spec = EventAccumulator(str(tmp_path))
    spec.Reload()
    tags = logger.records[0].layout.tags
    scalars = {tag: spec.Tensors(tag) for tag in spec.Tags()["tensors"]}
    scalars |= {tag: spec.Scalars(tag) for tag in spec.Tags()["scalars"]}
    assert set(scalars) == set(tags)
    assert "activations/slope/s0.5" in tags
    for i, tag in enumerate(tags):
        assert [event.step for event in scalars[tag]] == [0, 5, 10]
        expected = [np.float32(record.values[i, 0]) for record in logger.records]
        values = [
            event.value if hasattr(event, "value") else event.tensor_proto.float_val[0]
            for event in scalars[tag]
        ]
        np.testing.assert_array_equal(np.float32(values), expected)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="imports it anyway")
def test_events_are_written_without_tensorflow(tmp_path):
    code = (
        "import sys, pathlib; from keras_fracinit.callbacks.tensorboard_file import events_file\n"
        "assert 'tensorboard' not in sys.modules\n"  # which only those need who give a folder
        "file = events_file(pathlib.Path(sys.argv[1]), lambda record: record)\n"
        "file.write([(0.0, 3, [('tag', 0.5)])])\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    assert [event.step for event in events(tmp_path)] == [3]
