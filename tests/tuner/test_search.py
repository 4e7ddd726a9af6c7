"""Small searches: what `fit` may return, models that differ, and errors."""

import math
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest
from cases import quick
from hypermodels import (
    DATA,
    TUNERS,
    Scripted,
    X,
    Y,
    dense,
    shallow,
)

from keras_fracinit.tuner import (
    FracInitHyperModel,
    frac_initializer,
    reference,
    results,
)

layers = keras.layers


class Inner(kt.HyperModel):
    """In the style of KerasTuner's guides: it trains in its own way."""

    def build(self, hp):
        return shallow(hp)

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


# What `fit` returns.


@pytest.mark.parametrize("kind", quick(dict, float))
def test_what_a_fit_returns_may_be_a_number_or_a_dict(kind, tmp_path):
    class Returning(kt.HyperModel):
        def build(self, hp):
            return shallow(hp)

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
            return shallow(hp)

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
        return shallow(hp)

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
            return shallow(hp)

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
    hypermodel = FracInitHyperModel(Scripted(lambda hp, _: {"multi_objective": 2.5}, shallow))
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
        inner = Scripted(lambda hp, model: {}, shallow)
        inner.fit = lambda *args, **kwargs: result
        tuner = kt.RandomSearch(wrap(inner), max_trials=1, directory=tmp_path, overwrite=True)
        with pytest.raises(kt.errors.FatalTypeError, match=message):
            tuner.search(X[:32], Y[:32], **DATA)


def test_without_an_objective_plain_training_ends_in_its_first_epoch(tmp_path):
    tuner = kt.RandomSearch(FracInitHyperModel(shallow), max_trials=1, directory=tmp_path)
    with pytest.raises(kt.errors.FatalTypeError, match="`objective` of the tuner must be given"):
        tuner.search(X[:32], Y[:32], **DATA)


# Models that differ within a search.


def of_two_kinds(hp):
    """The default has no kernel; the others have one, of two names."""
    kind = hp.Choice("kind", ["none", "first", "second"])
    kernels = [] if kind == "none" else [dense("he_normal", name=kind)]
    return keras.Sequential([keras.Input((6,)), *kernels, layers.Rescaling(2.0)])


@pytest.mark.parametrize("options", quick({}, {"groups": {"a": "first", "b": "second"}}))
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
@pytest.mark.parametrize("inner", [shallow, Inner()], ids=["function", "own fit"])
def test_an_objective_that_is_never_logged_ends_the_search(inner, tmp_path):
    objective = kt.Objective("val_acc", "max")
    tuner = TUNERS["random"](FracInitHyperModel(inner), objective, directory=tmp_path)
    with pytest.raises(kt.errors.FatalValueError, match=r"'val_accuracy'.*objective='val_acc'"):
        tuner.search(X[:32], Y[:32], **DATA)


def test_a_group_that_matches_no_layer_ends_the_search(tmp_path):
    hypermodel = FracInitHyperModel(shallow, groups={"all": "*dense*", "none": "nothing*"})
    tuner = TUNERS["random"](hypermodel, "val_loss", directory=tmp_path)
    with pytest.raises(kt.errors.FatalValueError, match="'s_none' for nothing"):
        tuner.search(X[:32], Y[:32], **DATA)
    with pytest.raises(kt.errors.FatalValueError, match="'s_none' for nothing"):
        FracInitHyperModel(shallow, groups={"none": "nothing*"}).build(kt.HyperParameters())


@pytest.mark.parametrize("tuner", ["results", Path("results"), None])
def test_a_folder_is_no_tuner(tuner):
    for function in (results, reference):
        with pytest.raises(TypeError, match="`tuner` must be a tuner of KerasTuner; one that is"):
            function(tuner)
