"""Models with these objects are saved, copied and reloaded, here and in a fresh process."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from cases import EVERY, covering, draws, each, numpy

import keras_fracinit as kf

DRAWS = draws(EVERY, "untruncated_normal", "stable")
TESTS = Path(__file__).parents[1]
SEEDS = ("seed", [None, 8])


def model_of(case, weights, seed=None):
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(6, kernel_initializer=case.make(s=0.6, seed=seed, **weights)),
            case.activation(),
            keras.layers.EinsumDense(
                "ab,bc->ac", 4, kernel_initializer=case.make(distribution="orthogonal", seed=seed)
            ),
            kf.RandomizedLeakyReLU(0.1, 0.4),
        ]
    )


X = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")


def configs(model):
    return [layer.kernel_initializer.get_config() for layer in (model.layers[0], model.layers[2])]


@covering(DRAWS, ("suffix", [".keras", ".h5"]), SEEDS)
def test_saved_models_reload(case, weights, suffix, seed, tmp_path):
    model = model_of(case, weights, seed)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(numpy(loaded(X)), numpy(model(X)))
    assert configs(loaded) == configs(model)
    assert type(loaded.layers[0].kernel_initializer) is case.initializer


@covering(DRAWS, SEEDS)
def test_json_and_clones(case, weights, seed):
    model = model_of(case, weights, seed)
    for copied in (keras.models.model_from_json(model.to_json()), keras.models.clone_model(model)):
        assert configs(copied) == configs(model)
        same = (numpy(copied.layers[0].kernel) == numpy(model.layers[0].kernel)).all()
        assert same == (seed is not None)  # Keras' rule: an integer repeats, None is new


@covering(DRAWS, SEEDS)
def test_initializers_pickle_and_copy(case, weights, seed):
    initializer = case.make(s=0.3, seed=seed, **weights)
    for twin in (
        pickle.loads(pickle.dumps(initializer)),
        copy.deepcopy(initializer),
        initializer.clone(),
        keras.initializers.deserialize(keras.initializers.serialize(initializer)),
    ):
        assert type(twin) is type(initializer)
        assert twin.get_config() == initializer.get_config()
        assert twin.law == initializer.law
        same = (numpy(twin((4, 4))) == numpy(initializer((4, 4)))).all()
        assert same == (seed is not None)


@covering(DRAWS, SEEDS)
def test_models_pickle_and_copy(case, weights, seed):
    model = model_of(case, weights, seed)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(numpy(twin(X)), numpy(model(X)))


@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras cannot export a SavedModel of any model from torch.",
)
@pytest.mark.slow
@each(EVERY)
def test_export_as_saved_model(case, tmp_path):
    """Whatever the weights were drawn from: an exported model holds them, and no initializer."""
    import tensorflow as tf

    model = model_of(case, {})
    model.export(str(tmp_path / "exported"), format="tf_saved_model", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    served = exported.serve(X)
    np.testing.assert_allclose(np.asarray(served), numpy(model(X)), atol=1e-5)


FRESH = """
import sys, numpy as np, keras, keras_fracinit
import cases  # registers a function
folder = sys.argv[1]
x = np.load(folder + "/x.npy")
for name in sys.argv[2:]:
    for suffix in (".keras", ".h5"):
        y = keras.saving.load_model(f"{folder}/{name}{suffix}")(x)
        np.save(f"{folder}/{name}{suffix}.npy", keras.ops.convert_to_numpy(y))
"""


@pytest.mark.slow
def test_saved_models_reload_in_a_fresh_process(tmp_path):
    np.save(tmp_path / "x.npy", X)
    models = {row.id: model_of(*row.values) for row in DRAWS}
    for name, model in models.items():
        for suffix in (".keras", ".h5"):
            model.save(tmp_path / f"{name}{suffix}")
    subprocess.run([sys.executable, "-c", FRESH, str(tmp_path), *models], check=True, cwd=TESTS)
    for name, model in models.items():
        for suffix in (".keras", ".h5"):
            loaded = np.load(tmp_path / f"{name}{suffix}.npy")
            np.testing.assert_allclose(loaded, numpy(model(X)), rtol=1e-6, atol=1e-6)
