"""Tests that a `MomentLogger` is saved, copied and pickled whole, also by KerasTuner."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
from networks import NETWORK_IDS, NETWORKS
from trainings import X, Y, compiled, fit

from keras_fracinit import MomentLogger


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
