"""Tests how an initializer is written down: its configuration, its defaults, its repr, its name."""

import inspect

import keras
import numpy as np
import pytest
from cases import drawn_from, numpy

import keras_fracinit as kf
from keras_fracinit import laws


@drawn_from("uniform", "stable")
def test_config_is_the_constructor(case, weights):
    options = {
        "s": 0.25,
        "mode": "fan_out",
        "dropout": 0.1,
        "method": "exact" if "alpha" in weights else "asymptotic",
        "seed": 9,
        "input_axes": [0],
        "output_axes": [1],
        "alpha": None,
        "pairs": None,
        "taps": "all",
        **weights,
    }
    slopes = {name: value for name, value in case.options.items() if name != "dropout"}
    initializer = case.initializer(**slopes, **options)
    assert initializer.get_config() == {**slopes, **options}
    clone = case.initializer.from_config(initializer.get_config())
    assert clone.get_config() == initializer.get_config()
    np.testing.assert_array_equal(numpy(clone((5, 3))), numpy(initializer((5, 3))))


def test_defaults_are_those_documented():
    signature = inspect.signature(kf.FracReLU)
    assert {name: p.default for name, p in signature.parameters.items()} == {
        "s": 1.0,
        "mode": "fan_in",
        "distribution": "untruncated_normal",
        "dropout": 0.0,
        "method": "exact",
        "seed": None,
        "input_axes": None,
        "output_axes": None,
        "alpha": None,
        "pairs": None,
        "taps": "all",
    }
    config = kf.FracRandomizedLeakyReLU().get_config()
    assert (config["lower"], config["upper"], config["s"]) == (1 / 8, 1 / 3, 1.0)


@pytest.mark.parametrize(
    ("initializer", "shown"),
    [
        (kf.FracReLU(), "FracReLU(s=1.0, seed=None)"),
        (kf.FracReLU(2, "fan_out", seed=3), "FracReLU(s=2.0, mode='fan_out', seed=3)"),
        (kf.FracLeakyReLU(0.3), "FracLeakyReLU(negative_slope=0.3, s=1.0, seed=None)"),
        (
            kf.FracLinear(distribution="stable", alpha=1.5),
            "FracLinear(s=1.0, distribution='stable', seed=None, alpha=1.5)",
        ),
        (
            kf.FracActivation("gelu", pairs={"form": "both", "runs": [(2, 3)]}, taps=(1, 1)),
            "FracActivation(activation='gelu', s=1.0, seed=None, "
            "pairs={'form': 'both', 'runs': [[2, 3]]}, taps=[1, 1])",
        ),
    ],
)
def test_repr_is_the_call_that_makes_it(initializer, shown):
    assert repr(initializer) == shown
    twin = eval(shown, vars(kf))
    assert (type(twin), twin.get_config()) == (type(initializer), initializer.get_config())
    law = laws.law_of("softsign")
    assert repr(laws.Dropout(law, 0.5)) == "Dropout(law=Sampled(activation='softsign'), rate=0.5)"


@pytest.mark.parametrize("name", ["FracLinear", "FracReLU", "FracRandomizedLeakyReLU"])
def test_string_identifiers(name):
    initializer = keras.initializers.get(f"keras_fracinit>{name}")
    assert type(initializer) is getattr(kf, name)
    layer = keras.layers.Dense(3, kernel_initializer=f"keras_fracinit>{name}")
    layer.build((None, 4))
    assert type(layer.kernel_initializer) is getattr(kf, name)
