"""The table of cases: an initializer, the law it must follow, the layers it is meant for.

A new law or initializer is covered by a new row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np

import keras_fracinit as kf
from keras_fracinit import laws


@dataclass(frozen=True)
class Case:
    name: str
    initializer: type
    law: laws.Law
    activation: Callable
    options: dict = field(default_factory=dict)

    def make(self, **options):
        return self.initializer(**{**self.options, **options})


def _dropped(activation, rate):
    return lambda: keras.Sequential([activation(), keras.layers.Dropout(rate)])


def _leaky(slope):
    return lambda: keras.layers.LeakyReLU(negative_slope=slope)


CASES = [
    Case("linear", kf.FracLinear, laws.Linear(), lambda: keras.layers.Activation("linear")),
    Case("relu", kf.FracReLU, laws.ReLU(), keras.layers.ReLU),
    Case(
        "leaky",
        kf.FracLeakyReLU,
        laws.LeakyReLU(0.1),
        _leaky(0.1),
        {"negative_slope": 0.1},
    ),
    Case(
        "randomized",
        kf.FracRandomizedLeakyReLU,
        laws.RandomizedLeakyReLU(0.1, 0.6),
        lambda: kf.RandomizedLeakyReLU(0.1, 0.6),
        {"lower": 0.1, "upper": 0.6},
    ),
    Case(
        "relu-dropout",
        kf.FracReLU,
        laws.Dropout(laws.ReLU(), 0.2),
        _dropped(keras.layers.ReLU, 0.2),
        {"dropout": 0.2},
    ),
    Case(
        "linear-dropout",
        kf.FracLinear,
        laws.Dropout(laws.Linear(), 0.4),
        _dropped(lambda: keras.layers.Activation("linear"), 0.4),
        {"dropout": 0.4},
    ),
]
CASE_IDS = [case.name for case in CASES]


def numpy(tensor):
    """A float64 array of any backend's tensor or variable."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), "float64")
