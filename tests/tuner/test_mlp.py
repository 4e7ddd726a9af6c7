"""The ready-made hypermodel of multilayer perceptrons."""

import os
import subprocess
import sys

import keras_tuner as kt
import numpy as np
import pytest
from architectures import array
from hypermodels import (
    DATA,
    X,
    Y,
    hyperparameters,
)

import keras_fracinit as kf
from keras_fracinit.tuner import (
    FracMLP,
)


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
