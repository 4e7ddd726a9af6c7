"""Tests what the history of a `MomentLogger` holds, and what of it goes into the logs of Keras."""

import math

import keras
import numpy as np
import pandas as pd
import pytest
from cases import numpy
from networks import NETWORK_IDS, NETWORKS
from trainings import X, Y, compiled, fit

from keras_fracinit import MomentLogger
from keras_fracinit.callbacks import COLUMNS


def test_history_is_tidy_and_begins_with_the_fresh_network():
    model = compiled()
    fresh = numpy(model(keras.ops.convert_to_tensor(X)))
    logger = MomentLogger(X, orders=(1.0, 2.0))
    fit(model, logger, epochs=3)
    history = logger.history
    assert tuple(history.columns) == COLUMNS
    assert sorted(history.step.unique()) == [0, 5, 10, 15]
    assert list(history.drop_duplicates("step").epoch) == [0, 0, 1, 2]
    statistics = {"s_scale", "log_norm_mean", "log_norm_variance", "zeros", "nonfinite"}
    assert set(history.statistic) == statistics | {"slope", "seconds"}
    # 4 layers, 2 orders and 4 other statistics, 2 slopes, the time.
    assert len(history) == 4 * (4 * 6 + 2 + 1)
    assert (history[history.statistic == "seconds"].value > 0).all()
    head = history[(history.layer == model.layers[-1].path) & (history.step == 0)]
    scale = head[(head.statistic == "s_scale") & (head.order == 2)].value.item()
    assert scale == pytest.approx(np.sqrt(np.mean(fresh**2)), rel=1e-5)
    assert not history.duplicated(["step", "layer", "call", "quantity", "statistic", "order"]).any()


def test_slope_over_depth():
    # Linear layers c, c, c after the input: log m_s falls by log c for each kernel passed.
    class Scaled(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return 0.5 * keras.ops.eye(shape[0], dtype=dtype)

    layers = [keras.layers.Dense(8, kernel_initializer=Scaled()) for _ in range(3)]
    layers.insert(1, keras.layers.Dropout(0.1))  # passes no kernel
    model = compiled(lambda: keras.Sequential([keras.Input((8,)), *layers]))
    logger = MomentLogger(X, orders=(0.5,))
    fit(model, logger, y=X)
    slope = logger.history.query("statistic == 'slope' and step == 0")
    assert slope.value.item() == pytest.approx(math.log(0.5), rel=1e-5)
    assert (slope.order.item(), slope.layer.item()) == (0.5, "")


@pytest.mark.slow
def test_logs_are_the_same_floats_every_epoch(tmp_path):
    model = compiled()
    seen = []
    spy = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    quantities = ("activations", "gradients")
    logger = MomentLogger((X, Y), quantities=quantities, orders=(0.5, 2), to_logs=True)
    history = fit(model, logger, spy, table, epochs=3).history
    head = model.layers[-1].path
    keys = [
        *(f"activations/{head}/s{s}" for s in ("0.5", "2")),
        *(f"gradients/{head}/kernel/s{s}" for s in ("0.5", "2")),
        *(
            f"{quantity}/slope/s{s}"
            for quantity in ("activations", "gradients")
            for s in ("0.5", "2")
        ),
        "logger/seconds",
    ]
    for logs in seen:
        assert list(logs) == ["loss", *keys]
        assert all(type(logs[key]) is float for key in keys)
    assert history[keys[0]] == [logs[keys[0]] for logs in seen]
    columns = [c for c in pd.read_csv(tmp_path / "log.csv") if not c.startswith("val_")]
    assert columns == ["epoch", *sorted(["loss", *keys])]  # Keras adds a val_ for each
    last = logger.history.query(f"layer == '{head}' and statistic == 's_scale' and order == 2")
    assert seen[-1][keys[1]] == last.value.iloc[-1]


def test_logs_may_hold_all_or_nothing_and_have_a_prefix():
    nested = NETWORKS[NETWORK_IDS.index("nested")]
    model = compiled(nested.build)
    loggers = [
        MomentLogger(X, to_logs=False),
        MomentLogger(X[:8], orders=(1,), to_logs="all", prefix="train/"),
        MomentLogger(X[8:16], orders=(1,), to_logs=True, prefix="test/"),
    ]
    history = fit(model, *loggers).history
    shared = next(layer.path for layer in model.layers if len(layer._inbound_nodes) == 3)
    keys = {key for key in history if key.startswith("train/")}
    assert {f"train/activations/{shared}/{call}/s1" for call in range(3)} <= keys
    assert {f"train/activations/{shared}/2/zeros", "train/activations/slope/s1"} <= keys
    assert len(keys) == 9 * 5 + 2
    others = {key for key in history if key not in keys} - {"loss"}
    head = model.layers[-1].path
    assert others == {
        f"test/activations/{head}/s1",
        "test/activations/slope/s1",
        "test/logger/seconds",
    }


def test_at_most_two_short_numbers_go_into_the_progress_line_by_default(capsys):
    quantities = ("weights", "gradients", "activations")
    logger = MomentLogger((X, Y), (0, 0.9, 1.2), quantities)
    history = fit(compiled(), logger, verbose=2).history
    keys = ["loss", "activations/slope/s0.9", "weights/slope/s0.9"]
    assert list(history) == keys
    line = capsys.readouterr().out.splitlines()[-1]
    assert [part.split(":")[0] for part in line.split(" - ")[-3:]] == keys
