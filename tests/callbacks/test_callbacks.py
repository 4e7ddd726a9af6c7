"""`MomentLogger`: training is not touched, records are complete, files outlive what may happen."""

import copy
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from cases import numpy, quick
from networks import NETWORK_IDS, NETWORKS, Subclassed, convolutional, mlp, recurrent
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import keras_fracinit as kf
from keras_fracinit import MomentLogger
from keras_fracinit.callbacks import COLUMNS
from keras_fracinit.callbacks.record_files import RecordFile, csv_file
from keras_fracinit.callbacks.records import Layout, Record
from keras_fracinit.callbacks.steps import StepCounter
from keras_fracinit.models import QUANTITIES, Measurement

BACKEND = keras.backend.backend()
X, Y = NETWORKS[0].x, NETWORKS[0].y
EVERYTHING = {
    "quantities": QUANTITIES,
    "training": True,
    "tail_index": True,
    "to_logs": "all",
    "orders": (0, 0.8, 2),
}


def compiled(build=mlp, optimizer="sgd", **options):
    model = build()
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, *callbacks, x=X, y=Y, **options):
    return model.fit(x, y, **{"verbose": 0, "batch_size": 8, "callbacks": [*callbacks], **options})


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


def probes():
    yield "array", X
    yield "tensor", keras.ops.convert_to_tensor(X)
    yield "frame", pd.DataFrame(X)
    yield "pair", (X, Y)
    yield "weighted", (X, Y, np.ones(len(X)))
    yield "list", [X, Y]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return X, Y

    yield "PyDataset", Batches()
    if BACKEND == "tensorflow":
        import tensorflow as tf

        yield "tf.data", tf.data.Dataset.from_tensor_slices((X, Y)).batch(len(X))
    if BACKEND == "torch":
        import torch

        dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
        yield "DataLoader", torch.utils.data.DataLoader(dataset, batch_size=len(X))


def test_every_form_of_probe_gives_the_same_numbers():
    model = compiled()
    tables = {}
    for name, probe in probes():
        logger = MomentLogger(probe)
        fit(model, logger, epochs=0)
        logger.set_model(model)
        logger.on_train_begin()
        logger.on_epoch_begin(0)
        tables[name] = logger.records[-1].values[:-1]
    for table in tables.values():
        np.testing.assert_array_equal(table, tables["array"])
    assert len(tables) >= 7


@pytest.mark.skipif(BACKEND != "torch", reason="The loader is torch's.")
def test_a_shuffling_loader_does_not_touch_the_global_generator():
    import torch

    loader = torch.utils.data.DataLoader(torch.tensor(X), batch_size=8, shuffle=True)
    state = torch.random.get_rng_state()
    MomentLogger(loader)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_inputs_and_targets_are_told_apart_by_the_model():
    pair = NETWORKS[NETWORK_IDS.index("pair")]
    for probe in (pair.x, tuple(pair.x), (pair.x, pair.y), (tuple(pair.x), pair.y)):
        logger = MomentLogger(probe)
        fit(compiled(pair.build), logger, x=pair.x, y=pair.y)
        assert len(logger.records) == 2
    dictionary = NETWORKS[NETWORK_IDS.index("dictionary")]
    logger = MomentLogger((dictionary.x, dictionary.y), quantities=("gradients",))
    fit(compiled(dictionary.build), logger, x=dictionary.x, y=dictionary.y)
    assert len(logger.records) == 2


def test_large_probes_are_capped_with_a_note():
    with pytest.warns(UserWarning, match="`probe` holds 300 samples; the first 256 are used"):
        logger = MomentLogger((np.zeros((300, 8)), np.zeros(300)))
    assert [array.shape for array in logger.probe] == [(256, 8), (256,)]
    assert logger.probe[0].dtype == np.float32  # as fit converts it


@pytest.mark.slow
def test_the_configuration_is_saved_copied_and_pickled(tmp_path):
    options = {"every": 2, "layers": ["dense*"], "kind": "unit", "prefix": "p/", "to_logs": "all"}
    options |= {
        "path": str(tmp_path / "a.csv"),
        "append": False,
        "log_dir": str(tmp_path),
        "training": True,
    }
    logger = MomentLogger((X, Y), (0, 1), ("weights", "gradients"), tail_index=True, **options)
    fit(compiled(), logger)
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(logger)))
    assert saved["registered_name"] == "keras_fracinit>MomentLogger"
    for other in (
        copy.deepcopy(logger),
        pickle.loads(pickle.dumps(logger)),
        keras.saving.deserialize_keras_object(saved),
        MomentLogger.from_config(logger.get_config()),
    ):
        assert not other.records
        config, expected = other.get_config(), logger.get_config()
        np.testing.assert_equal([*config.pop("probe")], [*expected.pop("probe")])
        assert config == expected
        fit(compiled(), other)
        assert len(other.records) == len(logger.records)


def test_a_dictionary_of_inputs_survives_serialization():
    dictionary = NETWORKS[NETWORK_IDS.index("dictionary")]
    saved = keras.saving.serialize_keras_object(MomentLogger(dictionary.x))
    other = keras.saving.deserialize_keras_object(json.loads(json.dumps(saved)))
    np.testing.assert_equal(other.probe, dictionary.x)


@pytest.mark.slow
def test_keras_tuner_copies_it_and_keeps_what_it_logs(tmp_path):
    import keras_tuner

    key = "activations/slope/s1"
    tuner = keras_tuner.RandomSearch(
        lambda hp: compiled(optimizer=keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-2))),
        objective=keras_tuner.Objective(key, "max"),
        max_trials=2,
        directory=tmp_path,
    )
    logger = MomentLogger(X)
    tuner.search(X, Y, epochs=2, verbose=0, callbacks=[logger])
    assert not logger.records  # the tuner trains with copies
    for trial in tuner.oracle.get_best_trials(2):
        assert trial.score == trial.metrics.get_best_value(key)
        assert len(trial.metrics.get_history(f"{key}")) == 1


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


# Files


def assert_same_as_file(logger, path, run=0):
    frame = pd.read_csv(path, keep_default_na=False, na_values=["nan"])
    frame = frame[frame.pop("run") == run]
    expected = logger.history
    pd.testing.assert_frame_equal(
        frame.reset_index(drop=True), expected, check_dtype=False, check_exact=True
    )


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


def events(folder):
    files = sorted(folder.glob("events.out.tfevents.*"))
    found = [event for file in files for event in EventFileLoader(str(file)).Load()]
    return [event for event in found if event.HasField("summary")]


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


# Faults


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
