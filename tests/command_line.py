"""Runs commands of the command line on small files, and compares what they leave behind."""

import pathlib
import zipfile

import keras
import numpy as np
from architectures import array

from keras_fracinit.cli.main import main

layers = keras.layers
HIDDEN, WIDTH, INPUTS, SAMPLES = 12, 16, 6, 20


def mlp(**options):
    """Named, so that a reloaded model has the paths of the first."""
    hidden = [layers.Dense(WIDTH, "relu", name=f"hidden_{i}", **options) for i in range(HIDDEN)]
    return keras.Sequential(
        [keras.Input((INPUTS,)), *hidden, layers.Dropout(0.1), layers.Dense(2, name="last")],
        name="mlp",
    )


def samples(*shape):
    return np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype("float32")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def cli(line):
    return main(line.split())


def refused(capsys, *argv):
    """The message of a command that must fail without a trace."""
    before = contents(pathlib.Path())
    assert main([str(argument) for argument in argv]) == 2
    assert contents(pathlib.Path()) == before
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "\x1b" not in error
    assert error.count("\n") == 1
    return error


def loaded(path):
    return keras.saving.load_model(path)


def weights(model):
    return {variable.path: array(variable) for variable in model.weights}


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[path], second[path]) for path in first
    )


def archive(**members):
    def write(path):
        with zipfile.ZipFile(path, "w") as file:
            for name, text in members.items():
                file.writestr(name.replace("_", "."), text)

    return write
