"""Gives each test of a command a working folder: a model, a healthy one and inputs."""

import keras
import numpy as np
import pytest
from command_line import INPUTS, mlp, samples

import keras_fracinit as kf


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    keras.utils.set_random_seed(0)  # of one draw in four the inputs collapse, as they may
    mlp().save(folder / "model.keras")
    mlp(kernel_initializer=kf.FracReLU(s=1.0, seed=None)).save(folder / "healthy.keras")
    np.save(folder / "x.npy", samples(INPUTS))
    return folder


@pytest.fixture
def folder(originals, tmp_path, monkeypatch):
    """A working folder with a model, a healthy one and inputs, from which nothing may vanish."""
    for path in originals.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path
