"""The order as a hyperparameter: what a wrapped hypermodel builds, and real searches of it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest
from cases import quick

import keras_fracinit as kf
from keras_fracinit import estimators, laws
from keras_fracinit.laws import Smooth
from keras_fracinit.tuner import (
    FracInitHyperModel,
    FracMLP,
    frac_initializer,
    order,
    reference,
    results,
)

layers = keras.layers
FATAL = (kt.errors.FatalValueError, kt.errors.FatalTypeError)


def hyperparameters(**values):
    """As a tuner hands them to a build function: with values for what is not declared yet."""
    hp = kt.HyperParameters()
    hp.values.update(values)
    return hp


def orders_of(report):
    """pandas has nan where there is no string."""
    return [None if order is np.nan else order for order in report.order]


def array(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


# The search space.


def test_the_default_is_he_and_the_range_is_the_one_asked_for():
    hp = kt.HyperParameters()
    assert order(hp) == 2.0
    assert order(hp, "s_late", low=0.5, high=1.5, step=0.25, default=0.5) == 0.5
    first, second = hp.space
    assert (first.name, first.min_value, first.max_value, first.step) == ("s", 0.5, 2.0, None)
    assert tuple(second.values) == (0.5, 0.75, 1.0, 1.25, 1.5)
    assert order(hyperparameters(s=0.3)) == 0.3


def test_steps_that_add_up_to_a_little_more_than_two_stay_two():
    hp = hyperparameters(s=2.0000000000000004)
    assert order(hp, step=0.1) == 2.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"low": 1.0, "high": 0.5}, ValueError, "`low` must not exceed `high`"),
        ({"low": -0.1}, ValueError, "`low` must satisfy 0 <= low <= 2. Received: low=-0.1"),
        ({"high": 2.5}, ValueError, "`high` must satisfy 0 <= high <= 2. Received: high=2.5"),
        ({"default": math.nan}, ValueError, "`default` must be finite"),
        ({"default": "1"}, TypeError, "`default` must be a real number"),
        ({"step": 0}, ValueError, "`step` must be positive. Received: step=0"),
        ({"name": 3}, TypeError, "`name` must be a str"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        order,
        lambda hp, **options: frac_initializer(hp, "relu", **options),
        lambda hp, **options: (
            FracInitHyperModel(stack, **{k: v for k, v in options.items() if k != "default"})
            if "default" not in options
            else order(hp, **options)
        ),
    ],
    ids=["order", "frac_initializer", "FracInitHyperModel"],
)
def test_an_impossible_range_is_refused_at_once(ask, options, error, message):
    with pytest.raises(error, match=message):
        ask(kt.HyperParameters(), **options)


@pytest.mark.parametrize("value", ["wide", 64])
def test_a_name_that_another_hyperparameter_has_is_refused(value):
    hp = kt.HyperParameters()
    hp.Choice("s", [value])
    with pytest.raises(ValueError, match="`name` must not be that of another hyperparameter"):
        order(hp)


def test_one_line_gives_the_initializer_of_the_activation():
    leaky = layers.LeakyReLU(negative_slope=0.2)
    initializer = frac_initializer(hyperparameters(s=0.5), leaky, distribution="uniform", seed=1)
    expected = kf.FracLeakyReLU(0.2, s=0.5, distribution="uniform", seed=1)
    assert initializer.get_config() == expected.get_config()


def test_a_scope_that_is_not_active_has_no_order():
    hp = kt.HyperParameters()
    hp.Choice("kind", ["he", "ours"])
    with hp.conditional_scope("kind", ["ours"]):
        assert order(hp) is None
        assert frac_initializer(hp, "relu", name="t") is None
    assert set(hp.values) == {"kind"}


# What the wrapper builds.

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


initializers = keras.initializers
DISTRIBUTIONS = {
    "glorot_uniform": ("uniform", lambda n, d: math.sqrt(2 / (n + d))),
    "he_normal": ("truncated_normal", lambda n, d: math.sqrt(2 / n)),
    "lecun_uniform": ("uniform", lambda n, d: math.sqrt(1 / n)),
    "orthogonal": ("orthogonal", lambda n, d: 1 / math.sqrt(max(n, d))),
}
INSTANCES = [
    *((name, *row) for name, row in DISTRIBUTIONS.items()),
    (
        initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        "untruncated_normal",
        lambda n, d: math.sqrt(2 / d),
    ),
    (initializers.RandomNormal(stddev=0.1), "untruncated_normal", lambda n, d: 0.1),
    (initializers.RandomUniform(-0.3, 0.3), "uniform", lambda n, d: 0.6 / math.sqrt(12)),
    (
        kf.FracReLU(s=1.0),
        "untruncated_normal",
        lambda n, d: kf.FracReLU(s=1.0).describe((n, d)).stddev,
    ),
]


@pytest.mark.parametrize(("initializer", "distribution", "stddev"), INSTANCES)
def test_s_2_is_he_in_the_distribution_that_the_user_chose(initializer, distribution, stddev):
    hypermodel = FracInitHyperModel(lambda hp: stack(hp, initializer), seed=0)
    model = hypermodel.build(kt.HyperParameters())
    for layer in model.layers:
        scale = 1.0 if layer.name == "logits" else 2.0
        made = layer.kernel_initializer
        assert (made.s, made.distribution) == (2.0, distribution)
        assert made.law == (laws.Linear() if layer.name == "logits" else laws.ReLU())
        if distribution == "orthogonal":
            continue
        expected = initializers.VarianceScaling(scale, "fan_in", distribution, seed=made.seed)
        np.testing.assert_array_equal(array(layer.kernel), array(expected(layer.kernel.shape)))
    rows = hypermodel.report().itertuples()
    for row, layer in zip(rows, model.layers, strict=True):
        n, d = layer.kernel.shape
        scale = 1.0 if layer.name == "logits" else 2.0
        assert (row.order, row.distribution, row.note) == ("s", distribution, "")
        assert row.stddev == pytest.approx(stddev(n, d), rel=1e-12)
        if distribution != "orthogonal":
            assert row.stddev_at_2 == pytest.approx(math.sqrt(scale / n), rel=1e-12)
        assert row.ratio == row.stddev_at_2 / row.stddev
        assert row.changed == (abs(row.ratio - 1) > 1e-6)


def test_the_report_names_the_kernels_whose_scale_changed():
    report = FracInitHyperModel(lambda hp: stack(hp, "he_normal")).report()
    assert report[report.changed].layer.str.endswith("logits").tolist() == [True]  # to LeCun
    report = FracInitHyperModel(stack).report()
    assert report.changed.all()
    assert report.ratio.to_numpy() == pytest.approx(
        [math.sqrt(2 / 6 / (2 / 14)), *[math.sqrt(2)] * 2, math.sqrt(1 / 8 / (2 / 10))]
    )


def test_a_smaller_order_is_the_scale_of_its_initializer():
    model = FracInitHyperModel(stack, seed=0).build(hyperparameters(s=0.7))
    for layer in model.layers[:-1]:
        made = layer.kernel_initializer
        assert (type(made), made.s) == (kf.FracReLU, 0.7)
        kernel = kf.FracReLU(0.7, distribution="uniform", seed=made.seed)(layer.kernel.shape)
        np.testing.assert_array_equal(array(layer.kernel), array(kernel))


def test_every_kernel_and_every_execution_has_a_seed_of_its_own():
    def seeds(seed, executions=2, **values):
        hypermodel, hp = FracInitHyperModel(stack, seed=seed), hyperparameters(**values)
        models = [hypermodel.build(hp) for _ in range(executions)]  # as a tuner does in a trial
        return [[layer.kernel_initializer.seed for layer in model.layers] for model in models]

    fresh = seeds(None) + seeds(None)
    assert len({seed for model in fresh for seed in model}) == 16
    kept = seeds(5)
    assert len({seed for model in kept for seed in model}) == 8
    assert seeds(5) == kept
    for others in (seeds(6), seeds(5, s=1.0)):
        assert not {s for model in others for s in model} & {s for model in kept for s in model}
    keras.utils.set_random_seed(3)
    again = seeds(None)
    keras.utils.set_random_seed(3)
    assert seeds(None) == again


def test_a_model_not_yet_built_gets_its_initializers_before_it_is():
    def build(hp):
        return keras.Sequential([layers.Conv2D(3, 2, activation="relu"), dense("he_normal")])

    model = FracInitHyperModel(build).build(hyperparameters(s=1.0))
    assert not model.built
    model.build((None, 4, 4, 2))
    for layer in model.layers:
        made = layer.kernel_initializer
        assert made.s == 1.0
        np.testing.assert_array_equal(array(layer.kernel), array(made(layer.kernel.shape)))
    assert FracInitHyperModel(build).report().changed.tolist() == [None, None]


# A functional model of everything that may stand around a kernel, and what is said of each layer.
EXPECTED = {
    "inside": (laws.ReLU(), ""),
    "leaky_behind": (laws.LeakyReLU(0.1), ""),
    "prelu_behind": (laws.LeakyReLU(0.25), ""),
    "randomized_behind": (laws.RandomizedLeakyReLU(0.1, 0.6), ""),
    "far_behind": (laws.ReLU(), ""),
    "before_a_kernel": (laws.Linear(), ""),
    "before_a_softmax": (None, "softmax follows"),
    "before_a_norm": (None, "a normalization follows"),
    "tanh": (Smooth("tanh"), ""),
    "forked": (None, "its output meets different activations"),
    "frozen": (None, "frozen"),
    "zeros": (None, "its initializer Zeros has no scale to tune"),
    "depthwise": (laws.Linear(), ""),
    "in_a_model": (laws.ReLU(), ""),
    "before_a_model": (laws.ReLU(), ""),
    "shared": (laws.ReLU(), ""),
    "last": (laws.Linear(), ""),
}


def everything(hp=None):
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="inside")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(4, 3, padding="same", name="far_behind")(x)
    x = layers.ReLU()(layers.Dropout(0.1)(layers.Flatten()(layers.MaxPooling2D()(x))))
    for name, following in [
        ("leaky_behind", [layers.LeakyReLU(negative_slope=0.1)]),
        ("prelu_behind", [layers.PReLU(alpha_initializer=initializers.Constant(0.25))]),
        ("randomized_behind", [kf.RandomizedLeakyReLU(0.1, 0.6)]),
        ("before_a_kernel", [layers.Dense(4, "relu", trainable=False, name="frozen")]),
        ("before_a_softmax", [layers.Activation("softmax")]),
        ("before_a_norm", [layers.BatchNormalization()]),
        ("tanh", [layers.Activation("tanh")]),
    ]:
        for layer in [layers.Dense(4, name=name), *following]:
            x = layer(x)
    x = layers.Dense(4, kernel_initializer="zeros", name="zeros")(x)
    fork = layers.Dense(4, name="forked")(x)
    x = layers.add([layers.ReLU()(fork), layers.Activation("linear")(fork)])
    inner = [keras.Input((4,)), layers.ReLU(), layers.Dense(4, "relu", name="in_a_model")]
    x = keras.Sequential(inner)(layers.Dense(4, name="before_a_model")(x))
    shared = layers.Dense(4, "relu", name="shared")
    x = shared(shared(x))
    return keras.Model(inputs, layers.Dense(3, name="last")(x))


def test_what_follows_each_kernel_decides():
    report = FracInitHyperModel(everything).report().set_index("layer")
    report.index = [path.split("/")[-1] for path in report.index]
    assert set(report.index) == set(EXPECTED)
    assert not report.index.duplicated().any()
    for name, (law, note) in EXPECTED.items():
        row = report.loc[name]
        assert row.activation == str(law or ""), name
        assert (row.order == "s") == (law is not None), name
        assert row.note.startswith(note), (name, row.note)
        assert bool(row.note) == bool(note), (name, row.note)


def test_the_search_space_takes_smooth_activations():
    hp = hyperparameters(s=0.5)
    initializer = frac_initializer(hp, "tanh", dropout=0.1)
    assert (initializer.activation, initializer.s) == ("tanh", 0.5)
    model = FracMLP(1, "mse", depth=3, width=8, activation=("gelu", "relu")).build(hp)
    model(X[:1])
    laws_found = [type(layer.kernel_initializer) for layer in model.layers if layer.weights]
    assert laws_found == [kf.FracLinear, kf.FracActivation, kf.FracActivation, kf.FracLinear]


@pytest.mark.parametrize("built", [True, False])
def test_smooth_activations_have_an_order_too(built):
    def build(hp=None):
        stack = [keras.Input((6,))] if built else []
        stack += [dense(activation=a, name=f"d{i}") for i, a in enumerate(["tanh", "tanh", "gelu"])]
        return keras.Sequential([*stack, layers.Dense(3, name="last")])

    hypermodel = FracInitHyperModel(build)
    assert (hypermodel.report().order == "s").all()
    hp = hyperparameters(s=0.5)
    model = hypermodel.build(hp)
    made = [layer.kernel_initializer for layer in model.layers]
    assert [type(m) for m in made] == [
        *(kf.FracLinear, kf.FracActivation, kf.FracActivation, kf.FracLinear)
    ]
    assert [m.activation for m in made[1:3]] == ["tanh", "tanh"]
    assert {m.s for m in made} == {0.5}


def test_what_cannot_be_scaled_stays_as_it_is():
    keras.utils.set_random_seed(1)
    plain = everything()
    keras.utils.set_random_seed(1)
    model = FracInitHyperModel(everything).build(kt.HyperParameters())
    for mine, theirs in zip(model.weights, plain.weights, strict=True):
        assert mine.shape == theirs.shape
        name = mine.path.split("/")[-2]
        tuned = mine.name == "kernel" and EXPECTED[name][0] is not None
        assert np.array_equal(array(mine), array(theirs)) == (not tuned), mine.path


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = dense(), layers.Dense(2, name="second")

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_a_subclassed_model_shows_what_follows():
    def build(hp):
        model = Subclassed()
        model(np.zeros((1, 3), "float32"))
        return model

    report = FracInitHyperModel(build).report()
    assert orders_of(report) == ["s", "s"]
    assert report.activation.tolist() == [str(laws.ReLU()), str(laws.Linear())]


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (None, ["s", "s", "s", "s"]),
        ("layer", ["s_1", "s_2", "s_3", "s_4"]),
        ({"first": "a*", "rest": ["*"]}, ["s_first", "s_rest", "s_rest", "s_rest"]),
        ({"ends": ["a", "logits"]}, ["s_ends", None, None, "s_ends"]),
        ({}, [None] * 4),
    ],
)
def test_one_order_for_all_for_a_group_or_for_each_layer(groups, names):
    def build(hp):
        stacked = [*(dense(name=name) for name in "abc"), dense("he_normal", None, name="logits")]
        return keras.Sequential([keras.Input((6,)), *stacked])

    hypermodel = FracInitHyperModel(build, groups=groups)
    assert orders_of(hypermodel.report()) == names
    values = {name: 0.1 * i for i, name in enumerate(dict.fromkeys(filter(None, names)), start=1)}
    hp = hyperparameters(**values)
    model = hypermodel.build(hp)
    assert hypermodel.orders(hp) == list(values)
    for layer, name in zip(model.layers, names, strict=True):
        assert getattr(layer.kernel_initializer, "s", None) == values.get(name)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inner": 3}, TypeError, "`inner` must be a keras_tuner.HyperModel or a function"),
        ({"groups": "layers"}, TypeError, "`groups` must be None, 'layer' or a mapping"),
        ({"groups": {"a": []}}, ValueError, "`groups` must not be empty"),
        ({"groups": {"a": [3]}}, TypeError, "`groups` must be a str"),
        ({"groups": {1: "a"}}, TypeError, "`groups` must be a str"),
        ({"seed": -1}, ValueError, "`seed` must satisfy"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer"),
        ({"collapsed": 1}, TypeError, "`collapsed` must be a bool"),
        ({"probe": 1.0}, TypeError, "`probe` must be an array"),
    ],
)
def test_bad_arguments_of_the_wrapper_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        FracInitHyperModel(**{"inner": stack, **arguments})


def untunable(hp):
    soft = dense(activation="softmax", name="soft")
    return keras.Sequential(
        [keras.Input((3,)), layers.Dense(2, name="normed"), layers.LayerNormalization(), soft]
    )


@pytest.mark.parametrize(
    ("inner", "parts"),
    [
        (lambda hp: None, ["`inner` must build a keras.Model", "Received: None"]),
        (lambda hp: Subclassed(), ["`build(input_shape)`", "call it once"]),
        (untunable, ["normed: a normalization follows", "soft: softmax follows"]),
        (lambda hp: keras.Sequential([keras.Input((3,)), layers.ReLU()]), ["without kernels"]),
        (lambda hp: [hp.Float("s", 0.0, 1.0), stack()][1], ["`name` must be none of", "'s'"]),
    ],
)
def test_a_model_that_cannot_be_tuned_ends_the_search_with_the_reason(inner, parts, tmp_path):
    with pytest.raises(FATAL) as raised:
        kt.RandomSearch(FracInitHyperModel(inner), "loss", max_trials=1, directory=tmp_path)
    assert all(part in str(raised.value) for part in parts), raised.value


# Real searches, small ones.

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
DATA = {"validation_data": (X[32:], Y[32:]), "epochs": 2, "batch_size": 16, "verbose": 0}
DATA["shuffle"] = False  # nothing but the weights is drawn


def classifier(hp, initializer="he_normal", activation="relu"):
    hidden = [dense(initializer, activation, hp.Int("width", 4, 8)) for _ in range(3)]
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(1)])
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], **FAST)
    return model


TUNERS = {
    "random": lambda *args, **kw: kt.RandomSearch(*args, max_trials=2, **kw),
    "bayesian": lambda *args, **kw: kt.BayesianOptimization(
        *args, max_trials=3, num_initial_points=2, **kw
    ),
    "grid": lambda *args, **kw: kt.GridSearch(*args, max_trials=2, **kw),
    "hyperband": lambda *args, **kw: kt.Hyperband(*args, max_epochs=2, factor=3, **kw),
}


@pytest.mark.parametrize("name", TUNERS)
def test_a_search_keeps_every_execution(name, tmp_path):
    # So narrow a network does explode near 0, where layers that die outright weigh in.
    hypermodel = FracInitHyperModel(classifier, low=0.5, seed=0)
    options = {"objective": "val_accuracy", "executions_per_trial": 2, "seed": 1}
    tuner = TUNERS[name](hypermodel, directory=tmp_path, **options)
    tuner.search(X[:32], Y[:32], **DATA)
    trials, frame = tuner.oracle.trials, results(tuner)
    assert [trial.status for trial in trials.values()] == ["COMPLETED"] * len(trials)
    expected = [(trial, execution) for trial in sorted(trials) for execution in (0, 1)]
    assert list(zip(frame.trial, frame.execution, strict=True)) == expected
    assert set(frame.status) == {"completed"}
    assert frame.attrs == {"objective": "val_accuracy", "direction": "max"}
    assert frame.seed.nunique() == len(frame)  # different draws, not copies
    moments = frame[["slope_initial", "slope_final", "spread_initial", "spread_final"]]
    assert np.isfinite(moments.to_numpy()).all()
    assert (moments.slope_initial != moments.slope_final).all()
    for trial, rows in frame.groupby("trial"):
        record = trials[trial]
        values = record.hyperparameters.values
        assert rows[["s", "width", "learning_rate"]].drop_duplicates().to_numpy().tolist() == [
            [values["s"], values["width"], values["learning_rate"]]
        ]
        assert record.score == pytest.approx(rows.score.mean(), rel=1e-12)
        get = record.metrics.get_best_value
        assert get("fracinit/slope_initial") == pytest.approx(rows.slope_initial.mean())
        assert get("fracinit/diverged") == 0.0
    best = tuner.oracle.get_best_trials(1)[0]
    accuracy = tuner.get_best_models(1)[0].evaluate(X[32:], Y[32:], verbose=0, return_dict=True)
    # Of the best execution, at its best epoch.
    assert accuracy["accuracy"] == pytest.approx(frame[frame.trial == best.trial_id].score.max())


def test_what_is_recorded_is_the_log_norm_of_the_network(tmp_path):
    probe = X[:20]
    hypermodel = FracInitHyperModel(classifier, seed=0, probe=probe)
    tuner = TUNERS["random"](hypermodel, "val_loss", directory=tmp_path, seed=1)
    tuner.search(X[:32], Y[:32], **DATA)
    row = results(tuner).iloc[0]
    # The same network again, from its seed.
    again = FracInitHyperModel(classifier, seed=0)
    model = again.build(tuner.oracle.trials["0"].hyperparameters)
    signals, x = [], probe
    for layer in model.layers:
        x = (
            np.maximum(x @ array(layer.kernel), 0)
            if layer is not model.layers[-1]
            else x @ array(layer.kernel)
        )
        signals.append(x)
    logs = [estimators.log_norm(signal) for signal in signals]
    depths = np.arange(1, 5)
    slope = np.polyfit(depths, [log.mean.value for log in logs], 1)[0]
    assert row.slope_initial == pytest.approx(slope, rel=1e-4)
    assert row.spread_initial == pytest.approx(math.sqrt(logs[-1].variance.value), rel=1e-4)


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


class Inner(kt.HyperModel):
    """In the style of KerasTuner's guides: it trains in its own way."""

    def build(self, hp):
        return classifier(hp)

    def fit(self, hp, model, *args, **kwargs):
        size = hp.Choice("batch", [8, 16])
        return model.fit(*args, **{**kwargs, "batch_size": size, "shuffle": hp.Boolean("shuffle")})


@pytest.mark.slow
def test_the_rest_of_the_inner_hypermodel_stays(tmp_path):
    tuner = TUNERS["random"](FracInitHyperModel(Inner()), "val_loss", directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    names = {"width", "learning_rate", "s", "batch", "shuffle"}
    assert set(tuner.oracle.get_best_trials(1)[0].hyperparameters.values) == names
    assert names < set(results(tuner).columns)
    assert results(tuner)[list(names)].notna().all(axis=None)  # those of `fit` in the first trial


@pytest.mark.slow
def test_orders_in_a_conditional_scope(tmp_path):
    def build(hp):
        kind = hp.Choice("activation", ["relu", "tanh"])
        initializer = "glorot_uniform"
        with hp.conditional_scope("activation", ["relu"]):
            if kind == "relu":
                initializer = frac_initializer(hp, "relu")
        return keras.Sequential([keras.Input((6,)), dense(initializer, kind), layers.Dense(1)])

    hypermodel = FracInitHyperModel(Scripted(lambda *_: {"val_loss": 1.0}, build), groups={})
    tuner = kt.RandomSearch(hypermodel, "val_loss", max_trials=6, seed=2, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    assert set(frame.activation) == {"relu", "tanh"}
    assert (frame.s.notna() == (frame.activation == "relu")).all()
    assert set(frame.status) == {"completed"}


# Searches in which training diverges.


def exploding(hp, where=lambda s: s > 1.0):
    """Its loss overflows at some orders; below it learns the better the closer it comes to them."""
    s = order(hp, low=0.0)
    rate = 1e30 if where(s) else 0.03 * s
    kernels = initializers.HeNormal(seed=1), initializers.HeNormal(seed=2)
    model = keras.Sequential([keras.Input((6,)), dense(kernels[0]), dense(kernels[1], None, 1)])
    optimizer = keras.optimizers.SGD(rate)
    model.compile(optimizer, "mse", metrics=["mae"], **FAST)
    return model


def exploding_by_script(hp, where=lambda s: s > 1.0):
    """The logs that such a training would have."""
    s = order(hp, low=0.0)
    loss, fraction = (math.inf, 0.0) if where(s) else (1.0 - 0.5 * s, 1.0)
    return {"val_loss": loss, "fraction": fraction, "multi_objective": loss - fraction}


def one_layer(hp):
    order(hp, low=0.0)
    return keras.Sequential([keras.Input((6,)), layers.Dense(1)])


def inner_exploding(kind, where=lambda s: s > 1.0):
    if kind == "trained":
        return lambda hp: exploding(hp, where)
    return Scripted(lambda hp, model: exploding_by_script(hp, where), one_layer)


trained_and_scripted = pytest.mark.parametrize(
    "kind", ["scripted", pytest.param("trained", marks=pytest.mark.slow)]
)


@pytest.mark.slow
@trained_and_scripted
def test_guided_trials_leave_the_half_that_diverges(kind, tmp_path):
    hypermodel = FracInitHyperModel(inner_exploding(kind), groups={}, seed=0)
    tuner = kt.BayesianOptimization(
        hypermodel, "val_loss", max_trials=12, num_initial_points=6, seed=4, directory=tmp_path
    )
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    diverged = frame.s > 1.0
    assert 2 <= diverged[:6].sum() <= 4  # the oracle has seen both halves
    assert (frame.status == np.where(diverged, "diverged", "completed")).all()
    # A corner is looked into once, and the edge, where the best is, may be stepped over.
    assert diverged[6:].sum() <= 2
    assert (frame.s[6:] > 1.1).sum() <= 1
    assert np.isfinite(frame.score).all()
    assert frame.score[diverged].min() > frame.score[~diverged].max()
    assert tuner.oracle.get_best_trials(1)[0].hyperparameters.values["s"] <= 1.0


@pytest.mark.parametrize(
    ("objective", "worse"),
    [
        ("val_loss", 1),
        (kt.Objective("fraction", "max"), -1),
        ([kt.Objective("val_loss", "min"), kt.Objective("fraction", "max")], 1),
    ],
    ids=["min", "max", "several"],
)
@trained_and_scripted
def test_a_diverged_run_is_worse_than_all_others(kind, objective, worse, tmp_path):
    def fraction(y_true, y_pred):
        return keras.ops.mean(keras.ops.cast(keras.ops.abs(y_pred) < 1e3, "float32"))

    def where(s):
        return s in (0.5, 2.0)

    def build(hp):
        model = exploding(hyperparameters(s=hp.values["s"]), where)
        model.compile(model.optimizer, "mse", metrics=[fraction], **FAST)
        return model

    def script(hp, model):
        return exploding_by_script(hyperparameters(s=hp.values["s"]), where)

    def untrained(hp):
        return one_layer(hyperparameters())

    hp = kt.HyperParameters()
    hp.Choice("s", [2.0, 0.0, 0.5, 1.0], default=2.0)  # in this order: one diverges at once
    # A choice, which `order` would take for somebody else's.
    inner = build if kind == "trained" else Scripted(script, untrained)
    hypermodel = FracInitHyperModel(inner, groups={}, seed=0)
    tuner = kt.GridSearch(hypermodel, objective, hyperparameters=hp, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner).set_index("s")
    lost = frame.status == "diverged"
    assert frame.index[lost].tolist() == [2.0, 0.5]
    assert np.isfinite(frame.score).all()
    known = frame.score.to_numpy() * worse
    assert known[2] > max(known[1], known[3])
    assert tuner.oracle.get_best_trials(1)[0].hyperparameters.values["s"] in (0.0, 1.0)


@trained_and_scripted
def test_three_in_a_row_do_not_end_the_search(kind, tmp_path):
    hypermodel = FracInitHyperModel(inner_exploding(kind, lambda s: True), groups={})
    tuner = kt.RandomSearch(hypermodel, "val_loss", max_trials=4, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    assert frame.status.tolist() == ["diverged"] * 4
    assert np.isfinite(frame.score).all()
    assert {trial.status for trial in tuner.oracle.trials.values()} == {"COMPLETED"}


@pytest.mark.slow
@trained_and_scripted
def test_hyperband_goes_on_where_most_have_diverged(kind, tmp_path):
    hypermodel = FracInitHyperModel(inner_exploding(kind, lambda s: s > 0.2), groups={})
    tuner = kt.Hyperband(hypermodel, "val_loss", max_epochs=4, factor=2, seed=1, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    assert frame["tuner/initial_epoch"].gt(0).any()  # some go on, diverged ones among them
    assert (frame.status[frame["tuner/initial_epoch"] > 0] == "diverged").any()
    assert set(frame.status) <= {"diverged", "completed"}
    assert {trial.status for trial in tuner.oracle.trials.values()} == {"COMPLETED"}


@pytest.mark.slow
@pytest.mark.parametrize("collapsed", quick(True, False))
def test_dead_networks_count_as_diverged_where_asked(collapsed, tmp_path):
    def build(hp):
        order(hp)
        model = keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(3, "relu", bias_initializer=initializers.Constant(-1e3)),
                layers.Dense(1),
            ]
        )
        model.compile("sgd", "mse", **FAST)
        return model

    hypermodel = FracInitHyperModel(build, groups={}, collapsed=collapsed)
    tuner = TUNERS["random"](hypermodel, "val_loss", directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    assert set(results(tuner).status) == {"collapsed" if collapsed else "completed"}


@pytest.mark.parametrize("kind", quick(dict, float))
def test_what_a_fit_returns_may_be_a_number_or_a_dict(kind, tmp_path):
    class Returning(kt.HyperModel):
        def build(self, hp):
            return classifier(hp)

        def fit(self, hp, model, *args, **kwargs):
            s = hp.values["s"]
            score = math.inf if s > 1.0 else s
            return score if kind is float else {"score": score, "extra": 3.0}

    objective = None if kind is float else kt.Objective("score", "min")
    tuner = kt.RandomSearch(
        FracInitHyperModel(Returning()), objective, max_trials=6, seed=5, directory=tmp_path
    )
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    lost = frame.s > 1.0
    assert 0 < lost.sum() < 6
    assert (frame.status == np.where(lost, "diverged", "completed")).all()
    assert (frame.score[~lost] == frame.s[~lost]).all()
    assert np.isfinite(frame.score).all()


@pytest.mark.slow
def test_an_execution_that_fails_is_recorded_and_tried_again(tmp_path):
    class Failing(kt.HyperModel):
        failures = 0

        def build(self, hp):
            return classifier(hp)

        def fit(self, hp, model, *args, **kwargs):
            if not self.failures:
                self.failures += 1
                raise RuntimeError("out of luck")
            return {"val_loss": 1.0}

    options = {"max_trials": 1, "max_retries_per_trial": 1, "executions_per_trial": 2}
    tuner = kt.RandomSearch(
        FracInitHyperModel(Failing()), "val_loss", directory=tmp_path, **options
    )
    tuner.search(X[:32], Y[:32], **DATA)
    assert results(tuner)[["execution", "status"]].to_numpy().tolist() == [
        [0, "completed"],
        [1, "completed"],
    ]
    tuner = kt.RandomSearch(
        FracInitHyperModel(Failing()), "val_loss", max_trials=1, directory=tmp_path / "once"
    )
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    assert frame.status.tolist() == ["failed"]
    path = tmp_path / "once" / "untitled_project" / "trial_0" / "execution_0.json"
    assert "RuntimeError: out of luck" in path.read_text()


def test_a_build_that_fails_has_a_row(tmp_path):
    def build(hp):
        if hp.Float("x", 0.0, 1.0, default=0.0) > 0.0:
            raise RuntimeError("out of luck")
        return classifier(hp)

    tuner = kt.RandomSearch(FracInitHyperModel(build), "val_loss", max_trials=2, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    assert frame.status.tolist() == ["failed", "failed"]
    assert frame.x.gt(0.0).all()
    assert frame.execution.isna().all()


def folds(hp, model):
    """A score for each fold, none of them a number above s = 1."""
    s = hp.values["s"]
    return [s, math.nan if s > 1.0 else s + 1.0]


@pytest.mark.parametrize("kind", quick("numbers", "dicts", "histories"))
def test_what_a_fit_returns_may_be_a_list(kind, tmp_path):
    """KerasTuner takes the mean over the list, and a nan in it for a score."""

    def history(score):
        made = keras.callbacks.History()
        made.history = {"score": [9.0, score], "extra": [1.0, 2.0]}
        return made

    class Folds(kt.HyperModel):
        def build(self, hp):
            return classifier(hp)

        def fit(self, hp, model, *args, **kwargs):
            make = {"dicts": lambda score: {"score": score, "extra": 3.0}, "histories": history}
            return [make.get(kind, float)(score) for score in folds(hp, model)]

    objective = None if kind == "numbers" else kt.Objective("score", "min")
    options = {"max_trials": 6, "seed": 5, "directory": tmp_path}
    tuner = kt.RandomSearch(FracInitHyperModel(Folds()), objective, **options)
    tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    lost = frame.s > 1.0
    assert 0 < lost.sum() < 6
    assert (frame.status == np.where(lost, "diverged", "completed")).all()
    np.testing.assert_allclose(frame.score[~lost], frame.s[~lost] + 0.5)
    for i in np.flatnonzero(lost):
        assert frame.score[i] > frame.score[:i][~lost[:i]].max()
    scores = {trial.trial_id: trial.score for trial in tuner.oracle.get_best_trials(6)}
    assert frame.set_index("trial").score.to_dict() == pytest.approx(scores)


def test_a_number_may_stand_for_several_objectives(tmp_path):
    objectives = [kt.Objective("a", "min"), kt.Objective("b", "max")]
    hypermodel = FracInitHyperModel(Scripted(lambda hp, _: {"multi_objective": 2.5}, classifier))
    tuner = kt.RandomSearch(hypermodel, objectives, max_trials=1, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    assert results(tuner)[["score", "status"]].values.tolist() == [[2.5, "completed"]]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"val_loss": 1.0}, "to be a single float when `objective` is left unspecified"),
        ([1.0, "two"], "to be a single float when `objective` is left unspecified"),
        (None, "is None"),
    ],
)
def test_without_an_objective_the_fit_must_return_a_number(result, message, tmp_path):
    """The message is that of KerasTuner."""
    for wrap in (lambda inner: inner, FracInitHyperModel):
        inner = Scripted(lambda hp, model: {}, classifier)
        inner.fit = lambda *args, **kwargs: result
        tuner = kt.RandomSearch(wrap(inner), max_trials=1, directory=tmp_path, overwrite=True)
        with pytest.raises(kt.errors.FatalTypeError, match=message):
            tuner.search(X[:32], Y[:32], **DATA)


def test_without_an_objective_plain_training_ends_in_its_first_epoch(tmp_path):
    tuner = kt.RandomSearch(FracInitHyperModel(classifier), max_trials=1, directory=tmp_path)
    with pytest.raises(kt.errors.FatalTypeError, match="`objective` of the tuner must be given"):
        tuner.search(X[:32], Y[:32], **DATA)


# Models that differ within a search.


def test_a_search_without_groups_takes_any_model(tmp_path):
    def build(hp):
        hp.Float("rate", 0.0, 1.0)
        model = Subclassed()  # not built
        model.compile("sgd", "mse", **FAST)
        return model

    hypermodel = FracInitHyperModel(build, groups={})
    tuner = kt.RandomSearch(hypermodel, "val_loss", max_trials=2, directory=tmp_path)
    y = np.repeat(Y, 2, axis=1)
    tuner.search(X[:32], y[:32], **{**DATA, "validation_data": (X[32:], y[32:])})
    frame = results(tuner)
    assert frame.status.tolist() == ["completed"] * 2
    assert frame.slope_initial.notna().all()
    assert frame.seed.isna().all()  # nothing was drawn


def of_two_kinds(hp):
    """The default has no kernel; the others have one, of two names."""
    kind = hp.Choice("kind", ["none", "first", "second"])
    kernels = [] if kind == "none" else [dense("he_normal", name=kind)]
    return keras.Sequential([keras.Input((6,)), *kernels, layers.Rescaling(2.0)])


@pytest.mark.parametrize("options", [{}, {"groups": {"a": "first", "b": "second"}}])
def test_a_trial_without_kernels_to_tune_is_trained_as_it_is(options, tmp_path):
    inner = Scripted(lambda *_: {"val_loss": 1.0}, of_two_kinds)
    hypermodel = FracInitHyperModel(inner, low=2.0, step=1.0, **options)
    tuner = kt.GridSearch(hypermodel, "val_loss", directory=tmp_path)
    with pytest.warns(UserWarning, match="has no kernel that can be tuned. It is trained as it is"):
        tuner.search(X[:32], Y[:32], **DATA)
    frame = results(tuner)
    assert set(frame.status) == {"completed"}
    assert set(frame.kind) == {"none", "first", "second"}
    assert (frame.seed.isna() == (frame.kind == "none")).all()
    owners = {"s": ["first", "second"]} if not options else {"s_a": ["first"], "s_b": ["second"]}
    for name, kinds in owners.items():
        assert (frame[name].notna() == frame.kind.isin(kinds)).all()


# Errors that only a search shows.


@pytest.mark.slow
@pytest.mark.parametrize("inner", [classifier, Inner()], ids=["function", "own fit"])
def test_an_objective_that_is_never_logged_ends_the_search(inner, tmp_path):
    objective = kt.Objective("val_acc", "max")
    tuner = TUNERS["random"](FracInitHyperModel(inner), objective, directory=tmp_path)
    with pytest.raises(kt.errors.FatalValueError, match=r"'val_accuracy'.*objective='val_acc'"):
        tuner.search(X[:32], Y[:32], **DATA)


def test_a_group_that_matches_no_layer_ends_the_search(tmp_path):
    hypermodel = FracInitHyperModel(classifier, groups={"all": "*dense*", "none": "nothing*"})
    tuner = TUNERS["random"](hypermodel, "val_loss", directory=tmp_path)
    with pytest.raises(kt.errors.FatalValueError, match="'s_none' for nothing"):
        tuner.search(X[:32], Y[:32], **DATA)
    with pytest.raises(kt.errors.FatalValueError, match="'s_none' for nothing"):
        FracInitHyperModel(classifier, groups={"none": "nothing*"}).build(kt.HyperParameters())


@pytest.mark.parametrize("tuner", ["results", Path("results"), None])
def test_a_folder_is_no_tuner(tuner):
    for function in (results, reference):
        with pytest.raises(TypeError, match="`tuner` must be a tuner of KerasTuner; one that is"):
            function(tuner)


# The reference.


def size_of_kernel(hp, model):
    """Tells from which seed the kernel was drawn."""
    return {"val_loss": float(np.abs(array(model.layers[0].kernel)).sum())}


@trained_and_scripted
@pytest.mark.parametrize("name", quick("random", "hyperband"))
def test_the_reference_is_the_best_trial_at_s_2(name, kind, tmp_path):
    inner = classifier if kind == "trained" else Scripted(size_of_kernel, classifier)
    hypermodel = FracInitHyperModel(inner, seed=0)
    options = {"objective": "val_loss", "executions_per_trial": 2, "seed": 1}
    tuner = TUNERS[name](hypermodel, directory=tmp_path, **options)
    tuner.search(X[:32], Y[:32], **DATA)
    before = results(tuner)
    rows = reference(tuner, X[:32], Y[:32], **DATA)
    best = tuner.oracle.get_best_trials(1)[0].hyperparameters.values
    assert rows.trial.tolist() == ["reference"] * 2
    assert rows.execution.tolist() == [0, 1]
    assert rows.s.tolist() == [2.0, 2.0]
    assert rows.width.tolist() == [best["width"]] * 2
    assert rows.learning_rate.tolist() == [best["learning_rate"]] * 2
    assert rows.seed.nunique() == 2
    frame = results(tuner)
    assert len(frame) == len(before) + 2
    assert tuner.oracle.get_best_trials(1)[0].hyperparameters.values == best  # as it was
    again = reference(tuner, X[:32], Y[:32], **DATA)
    assert len(results(tuner)) == len(frame)
    assert again.score.tolist() == pytest.approx(rows.score.tolist(), rel=1e-4)
    from keras_fracinit import plots

    legend = plots.score_by_order(frame).get_legend().get_texts()
    assert "reference: s = 2 (He)" in [text.get_text() for text in legend]


@pytest.mark.slow
def test_the_reference_of_a_plain_hypermodel(tmp_path):
    def build(hp):
        return exploding(hp, lambda s: False)

    tuner = kt.RandomSearch(build, "val_loss", max_trials=2, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    rows = reference(tuner, X[:32], Y[:32], **DATA)
    assert rows.s.tolist() == [2.0]
    assert np.isfinite(rows.score).all()
    with pytest.raises(ValueError, match="`orders` must name hyperparameters, which are s"):
        reference(tuner, X[:32], Y[:32], orders=["t"], **DATA)


def test_there_is_no_reference_before_a_search(tmp_path):
    tuner = TUNERS["random"](FracInitHyperModel(classifier), "val_loss", directory=tmp_path)
    with pytest.raises(ValueError, match="`tuner` must have completed a trial"):
        reference(tuner, X[:32], Y[:32], **DATA)


# The ready-made hypermodel.


def test_the_ready_made_hypermodel_has_the_space_it_was_given():
    mlp = FracMLP(3, "mse", depth=(2, 4), width=(4, 8), activation=("relu", "leaky_relu"))
    hp = kt.HyperParameters()
    mlp.build(hp)
    names = ["depth", "width", "activation", "learning_rate", "s"]
    assert [parameter.name for parameter in hp.space] == names
    hp = hyperparameters(depth=4, width=5, activation="leaky_relu", learning_rate=0.01, s=0.5)
    model = mlp.build(hp)
    model.build((None, 2, 3))
    assert float(array(model.optimizer.learning_rate)) == pytest.approx(0.01)
    kernels = [layer.kernel.shape for layer in model.layers[1:]]
    assert kernels == [(6, 5), (5, 5), (5, 5), (5, 5), (5, 3)]
    hidden = [layer.kernel_initializer for layer in model.layers[1:-1]]
    assert {type(initializer) for initializer in hidden} == {kf.FracLeakyReLU}
    assert {initializer.negative_slope for initializer in hidden} == {0.2}  # of the function
    assert type(model.layers[-1].kernel_initializer) is kf.FracLinear
    assert {layer.kernel_initializer.s for layer in model.layers[1:]} == {0.5}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"units": 0}, ValueError, "`units` must satisfy"),
        ({"depth": (5, 2)}, ValueError, "`depth` must be a range"),
        ({"depth": (1, 2, 3)}, ValueError, "`depth` must be a number or a pair"),
        ({"depth": 1.5}, TypeError, "`depth` must be an integer"),
        ({"width": 0}, ValueError, "`width` must satisfy"),
        ({"learning_rate": 0.0}, ValueError, "`learning_rate` must be positive"),
        ({"activation": "softmax"}, ValueError, "act on each number alone"),
        ({"activation": ()}, ValueError, "`activation` must not be empty"),
        ({"optimizer": "sgdd"}, ValueError, "sgdd"),
        ({"groups": 3}, TypeError, "`groups` must be"),
    ],
)
def test_a_space_that_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        FracMLP(**{"units": 1, "loss": "mse", **arguments})


@pytest.mark.slow
def test_the_winner_is_saved_and_reloads_in_a_fresh_process(tmp_path):
    mlp = FracMLP(1, "mse", depth=2, width=4, seed=0)
    tuner = kt.RandomSearch(mlp, "val_loss", max_trials=1, directory=tmp_path)
    tuner.search(X[:32], Y[:32], **DATA)
    model = tuner.get_best_models(1)[0]
    path, outputs = tmp_path / "best.keras", tmp_path / "outputs.npy"
    model.save(path)
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy, keras, keras_fracinit\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))"
    )
    arguments = [sys.executable, "-c", code, path, tmp_path / "x.npy", outputs]
    subprocess.run(arguments, check=True, capture_output=True, env=dict(os.environ))
    here = model.predict(X, verbose=0)
    np.testing.assert_allclose(np.load(outputs), here, rtol=1e-5, atol=1e-6)
