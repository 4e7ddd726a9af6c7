"""Tests which files commands take as models, and that code in a model runs only when told."""

import importlib
import pathlib
import sys

import keras
import numpy as np
import pytest
from command_line import archive, cli, refused, samples

from keras_fracinit.cli.main import main

layers = keras.layers


def flipped(data):
    """One byte of the weights is another."""
    position = data.index(b"\x89HDF") + 3000
    return data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :]


def built_layer():
    layer = layers.Dense(2)
    layer.build((None, 3))
    return layer


BAD_MODELS = {
    "missing": (lambda path: None, "`model` must be a file"),
    "folder": (lambda path: path.mkdir(), "which is a folder"),
    "text": (lambda path: path.write_text("hello"), "Keras has written whole"),
    "empty": (lambda path: path.touch(), "Keras has written whole"),
    "half": (
        lambda path: path.write_bytes(
            (d := path.with_name("model.keras").read_bytes())[: len(d) // 2]
        ),
        "Keras has written whole",
    ),
    "flipped": (
        lambda path: path.write_bytes(flipped(path.with_name("model.keras").read_bytes())),
        "Keras has written whole",
    ),
    "foreign": (archive(a_txt="hello"), "Keras has written whole"),
    "json": (archive(config_json="{", metadata_json="{}"), "Keras has written whole"),
    "config": (archive(config_json="{}", metadata_json="{}"), "Keras has written whole"),
    "layer": (lambda path: keras.saving.save_model(built_layer(), path), "keras.Model"),
}


@pytest.mark.parametrize("command", ["diagnose", "reinitialize"])
@pytest.mark.parametrize("kind", BAD_MODELS)
def test_what_is_no_model_is_refused(kind, command, folder, capsys):
    write, message = BAD_MODELS[kind]
    write(folder / "bad.keras")
    words = {"diagnose": "--data x.npy --csv t.csv", "reinitialize": "--out new.keras"}
    assert message in refused(capsys, command, "bad.keras", *words[command].split())


def test_a_model_by_another_name_is_refused(folder, capsys):
    pathlib.Path("model.keras").rename("model.zip")
    assert "a .keras file" in refused(capsys, "reinitialize", "model.zip", "--dry-run")


def test_code_in_a_model_runs_only_when_told(folder, capsys):
    double = layers.Lambda(lambda x: 2 * x)
    keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), double]).save("code.keras")
    words = ["reinitialize", "code.keras", "--out", "new.keras"]
    assert "`--unsafe` runs it" in refused(capsys, *words)
    assert "`--unsafe` runs it" in refused(capsys, "diagnose", "code.keras", "--data", "x.npy")
    assert main([*words, "--unsafe"]) == 0
    assert cli("diagnose code.keras --unsafe --data x.npy") in (0, 1)


MODULE = """
import keras

@keras.saving.register_keras_serializable(package="theirs")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs

@keras.saving.register_keras_serializable(package="theirs")
def loss(y_true, y_pred):
    return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)
"""


@pytest.mark.parametrize("which", ["Twice", "loss"])
def test_a_module_registers_what_the_model_is_made_of(which, folder, capsys, monkeypatch):
    pathlib.Path("their_layers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)  # as `python -m` does it
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    theirs = importlib.import_module("their_layers")
    other = theirs.Twice() if which == "Twice" else layers.ReLU()
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), other])
    model.compile("sgd", theirs.loss if which == "loss" else "mse")
    model.save("custom.keras")

    def forget():
        sys.modules.pop("their_layers", None)
        for name in ("Twice", "loss"):
            keras.saving.get_custom_objects().pop(f"theirs>{name}", None)

    forget()
    pathlib.Path("their_layers.py").rename("elsewhere.py")
    words = ["reinitialize", "custom.keras", "--out", "new.keras"]
    message = refused(capsys, *words)
    assert "`--import` a module" in message
    assert which in message
    pathlib.Path("elsewhere.py").rename("their_layers.py")
    importlib.invalidate_caches()
    assert main([*words, "--import", "math", "--import", "their_layers"]) == 0
    if which == "Twice":
        np.save("six.npy", samples(6))
        assert cli("diagnose new.keras --data six.npy --import their_layers") in (0, 1)
    forget()
