"""Searches in which training diverges: they learn to avoid it, and do not end."""

import math

import keras
import keras_tuner as kt
import numpy as np
import pytest
from cases import quick
from hypermodels import (
    DATA,
    FAST,
    TUNERS,
    Scripted,
    X,
    Y,
    exploding,
    hyperparameters,
    trained_and_scripted,
)

from keras_fracinit.tuner import (
    FracInitHyperModel,
    order,
    results,
)

layers = keras.layers
initializers = keras.initializers


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
