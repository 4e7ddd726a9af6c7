"""The best trial once more at s = 2."""

import keras_tuner as kt
import numpy as np
import pytest
from architectures import array
from cases import quick
from hypermodels import (
    DATA,
    TUNERS,
    Scripted,
    X,
    Y,
    classifier,
    exploding,
    trained_and_scripted,
)

from keras_fracinit.tuner import (
    FracInitHyperModel,
    reference,
    results,
)


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
