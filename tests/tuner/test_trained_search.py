"""Small searches with real training: what they keep of it, on every backend."""

import math

import keras_tuner as kt
import numpy as np
import pytest
from architectures import array
from hypermodels import DATA, FAST, TUNERS, Subclassed, X, Y, classifier

from keras_fracinit import estimators
from keras_fracinit.tuner import FracInitHyperModel, results

# Every tuner on one backend, and one on the others.
EVERY_TUNER = [
    name if name == "grid" else pytest.param(name, marks=pytest.mark.once) for name in TUNERS
]


@pytest.mark.parametrize("name", EVERY_TUNER)
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


@pytest.mark.slow
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


def test_a_search_without_groups_takes_any_model(tmp_path):
    def build(hp):
        hp.Float("rate", 0.0, 1.0)
        model = Subclassed()  # not built
        model.compile("sgd", "mse", **FAST)
        return model

    hypermodel = FracInitHyperModel(build, groups={})
    tuner = kt.RandomSearch(hypermodel, "val_loss", max_trials=1, directory=tmp_path)
    y = np.repeat(Y, 2, axis=1)
    tuner.search(X[:32], y[:32], **{**DATA, "validation_data": (X[32:], y[32:])})
    frame = results(tuner)
    assert frame.status.tolist() == ["completed"]
    assert frame.slope_initial.notna().all()
    assert frame.seed.isna().all()  # nothing was drawn
