"""Tests networks of pairs, taps and runs: linear in their input, and saved, copied and reloaded."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from cases import TAPS, exact, numpy, quick

import keras_fracinit as kf

L = keras.layers

# The three forms are rows of `cases`; here are taps and runs, which fit only some layers.


def convolutional():
    first = kf.FracActivation("gelu", pairs="outputs", distribution="orthogonal")
    center = kf.FracActivation("gelu", **TAPS, distribution="orthogonal")
    corner = kf.FracReLU(pairs="both", taps=[0, 2])
    head = kf.FracLinear(pairs={"form": "inputs", "runs": [[3, 20]]}, distribution="orthogonal")
    model = keras.Sequential(
        [
            keras.Input((6, 7, 2)),
            L.Conv2D(8, 3, activation="gelu", kernel_initializer=first),
            L.Conv2D(6, 3, padding="same", activation="gelu", kernel_initializer=center),
            L.Conv2D(6, 3, padding="same", activation="relu", kernel_initializer=corner),
            L.Flatten(),
            L.Dense(4, kernel_initializer=head),
        ]
    )
    return model, np.random.default_rng(0).standard_normal((3, 6, 7, 2)).astype("float32")


def joined():
    inputs = keras.Input((5,))
    parts = [
        L.Dense(2 * half, "relu", kernel_initializer=kf.FracReLU(pairs="outputs"))(inputs)
        for half in (1, 4)
    ]
    both = kf.FracReLU(pairs={"form": "both", "runs": [[1, 1], [4, 1]]})
    hidden = L.Dense(6, "relu", kernel_initializer=both)(L.Concatenate()(parts))
    head = kf.FracLinear(pairs="inputs")
    model = keras.Model(inputs, L.Dense(3, kernel_initializer=head)(hidden))
    return model, np.random.default_rng(0).standard_normal((3, 5)).astype("float32")


MODELS = {"convolutional": convolutional, "joined": joined}


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_linear_in_its_input(name):
    model, x = MODELS[name]()
    y, size = exact(model(x)), np.abs(exact(model(x))).max()
    np.testing.assert_allclose(exact(model(-x)), -y, atol=1e-5 * size)
    whole = exact(model(x[:1] + 2 * x[1:2]))
    np.testing.assert_allclose(whole, y[:1] + 2 * y[1:2], atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("suffix", quick(".keras", ".h5"))
@pytest.mark.parametrize("name", MODELS)
def test_taps_and_runs_are_saved(name, suffix, tmp_path):
    model, x = MODELS[name]()
    model.save(tmp_path / f"model{suffix}")
    loaded = keras.saving.load_model(tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    for one, other in zip(model.layers, loaded.layers, strict=True):
        if hasattr(one, "kernel"):
            same = other.kernel_initializer.get_config() == one.kernel_initializer.get_config()
            assert same
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(numpy(twin(x)), numpy(model(x)))


FRESH = """
import sys, numpy as np, keras, keras_fracinit
for name in sys.argv[2:]:
    path = f"{sys.argv[1]}/{name}"
    y = keras.saving.load_model(path + ".keras")(np.load(path + ".x.npy"))
    np.save(path + ".y.npy", keras.ops.convert_to_numpy(y))
"""


@pytest.mark.slow
def test_taps_and_runs_reload_in_a_fresh_process(tmp_path):
    models = {name: make() for name, make in MODELS.items()}
    for name, (model, x) in models.items():
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.x.npy", x)
    folder = Path(__file__).parents[2]
    command = [sys.executable, "-c", FRESH, str(tmp_path), *models]
    subprocess.run(command, check=True, cwd=folder)
    for name, (model, x) in models.items():
        y = np.load(tmp_path / f"{name}.y.npy")
        np.testing.assert_allclose(y, numpy(model(x)), rtol=1e-5, atol=1e-6)
