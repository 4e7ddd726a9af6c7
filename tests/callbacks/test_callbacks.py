"""`MomentLogger`: training is not touched, and its records are complete."""

import copy
import json
import math
import pickle
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
from cases import numpy, quick
from networks import NETWORK_IDS, NETWORKS, Subclassed, convolutional, mlp, recurrent
from trainings import X, Y, compiled, fit

import keras_fracinit as kf
from keras_fracinit import MomentLogger
from keras_fracinit.callbacks import COLUMNS
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


@pytest.mark.slow
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
