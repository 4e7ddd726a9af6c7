"""The tables of cases: an initializer, the law it must follow, the layers it is meant for; and what
its weights may be drawn from.

A new law or initializer is covered by a new row of one, a new distribution by one of the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import pytest
from scipy import stats

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.laws import Sampled, Smooth, Stable
from keras_fracinit.laws.smooth import point_mass_of


@dataclass(frozen=True)
class Case:
    name: str
    initializer: type
    law: laws.Law
    activation: Callable
    options: dict = field(default_factory=dict)

    def make(self, **options):
        return self.initializer(**{**self.options, **options})

    def law_under(self, weights):
        return Stable(self.law, weights["alpha"]) if "alpha" in weights else self.law


@keras.saving.register_keras_serializable(package="tests")
def bent(x):
    return x / (1.0 + keras.ops.abs(x))


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
    *(
        Case(
            name,
            kf.FracActivation,
            Smooth(name),
            lambda name=name: keras.layers.Activation(name),
            {"activation": name},
        )
        for name in ("tanh", "gelu")
    ),
    Case(
        "callable",
        kf.FracActivation,
        laws.law_of(bent),
        lambda: keras.layers.Activation(bent),
        {"activation": "tests>bent"},
    ),
]
HOMOGENEOUS = [case for case in CASES if point_mass_of(case.law) is None]
WEIGHTS = {
    "untruncated_normal": {},
    "truncated_normal": {},
    "uniform": {},
    "orthogonal": {},
    "stable": {"alpha": 1.5},
}


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


every_case = each(CASES)


def draws(cases, *distributions):
    """Each case, with weights of each of these distributions: as options of its initializer."""
    return [
        pytest.param(case, {"distribution": name, **WEIGHTS[name]}, id=f"{case.name}-{name}")
        for case in cases
        for name in distributions
        if not (name == "stable" and isinstance(case.law, Sampled))  # refused: unknown far out
    ]


def drawn_from(*distributions, once=()):
    """A test of every case with each of these distributions, and of one case with each of `once`,
    for costly tests: a sampler sees of a case its scale alone."""
    rows = [*draws(CASES, *distributions), *draws(CASES[:1], *once)]
    return pytest.mark.parametrize(("case", "weights"), rows)


def assert_drawn_at(scale, kernel):
    """The values of a kernel have the scale of its `LayerScale`, to five standard errors.

    By their root mean square, with a kurtosis of at most 3, or for stable weights, which have none,
    by the share that lies below the median of their size.
    """
    if scale.alpha == 2.0:
        ratio = np.sqrt((kernel**2).mean()) / scale.stddev
        assert abs(ratio - 1) < 5 / np.sqrt(2 * kernel.size)
    else:
        middle = stats.levy_stable.ppf(0.75, scale.alpha, 0.0) * scale.stddev
        assert abs((np.abs(kernel) < middle).mean() - 0.5) < 5 * 0.5 / np.sqrt(kernel.size)


def numpy(tensor):
    """A float64 array of any backend's tensor or variable."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), "float64")
