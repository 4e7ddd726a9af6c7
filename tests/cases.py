"""The tables of cases: an initializer, the law it must follow, the layers it is meant for; and what
its weights may be drawn from.

A new law or initializer is covered by a new row of one, a new distribution by one of the other.
"""

import itertools
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
# The forms of a mirrored kernel, for tests of what a kernel is and where it goes, in layers whose
# paired axes are even. The law is that of the block.
MIRRORED = [
    Case("relu-outputs", kf.FracReLU, laws.Linear(), keras.layers.ReLU, {"pairs": "outputs"}),
    Case(
        "leaky-both",
        kf.FracLeakyReLU,
        laws.LeakyReLU(0.1).pair,
        _leaky(0.1),
        {"negative_slope": 0.1, "pairs": "both"},
    ),
    Case(
        "gelu-both",
        kf.FracActivation,
        laws.Linear(),
        lambda: keras.layers.Activation("gelu"),
        {"activation": "gelu", "pairs": "both"},
    ),
    Case(
        "linear-inputs",
        kf.FracLinear,
        laws.Linear(),
        lambda: keras.layers.Activation("linear"),
        {"pairs": "inputs"},
    ),
]
FORMS = ("outputs", "both", "inputs")
# Mirrored, at one position of its window alone.
TAPS = {"pairs": "both", "taps": "center"}
EVERY = [*CASES, *MIRRORED]
HOMOGENEOUS = [case for case in CASES if point_mass_of(case.law) is None]
WEIGHTS = {
    "untruncated_normal": {},
    "truncated_normal": {},
    "uniform": {},
    "orthogonal": {},
    "stable": {"alpha": 1.5},
}
DTYPES = ["float32", "bfloat16", "float16"]
if keras.backend.backend() != "jax":  # which has no float64 unless asked for
    DTYPES.append("float64")


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


def drawn_from(*distributions, once=(), cases=CASES):
    """A test of every case with each of these distributions, and of one case with each of `once`,
    for costly tests: a sampler sees of a case its scale alone."""
    rows = [*draws(cases, *distributions), *draws(cases[:1], *once)]
    return pytest.mark.parametrize(("case", "weights"), rows)


def covering(rows, *axes, once=(), others=True):
    """A test of all combinations of the rows of `draws` with the values of further axes.

    Each axis is a pair of its argument names and its values. Only a covering set of combinations is
    quick; the others are marked as slow and run once, or are left out. The quick ones hold every
    row (except that one case is enough for the distributions in `once`), every distribution with
    every value of the first axis, and every pair of values of neighboring axes, so axes that
    interact are given as neighbors.
    """
    columns = [rows, *(_parameters(*axis) for axis in axes)]
    needs = {}
    for indices in itertools.product(*(range(len(column)) for column in columns)):
        _, weights = rows[indices[0]].values
        links = itertools.pairwise([weights["distribution"], *indices[1:]])
        needs[indices] = {(place, *link) for place, link in enumerate(links)}
        if weights["distribution"] not in once:
            needs[indices].add(("row", indices[0]))
    parameters = []
    small = _small_cover(needs)
    for indices in needs:
        if not (others or indices in small):
            continue
        chosen = [column[index] for column, index in zip(columns, indices, strict=True)]
        values = itertools.chain.from_iterable(parameter.values for parameter in chosen)
        marks = () if indices in small else (pytest.mark.slow, pytest.mark.once)
        name = "-".join(parameter.id for parameter in chosen)
        parameters.append(pytest.param(*values, id=name, marks=marks))
    names = ["case", "weights", *(name.strip() for axis in axes for name in axis[0].split(","))]
    return pytest.mark.parametrize(names, parameters)


def quick(first, *others):
    """Values of a parameter of which only the first is quick: a tuple of them, if several are."""
    several = first if isinstance(first, tuple) else (first,)
    return [*several, *(_slow(value) for value in others)]


def _slow(value):
    """A parameter of a slow test; a tuple is the values of several parameters."""
    return pytest.param(*value if isinstance(value, tuple) else (value,), marks=pytest.mark.slow)


def _small_cover(needs):
    """Keys whose sets together hold every element, chosen greedily: few, if not the fewest."""
    chosen, missing = set(), set().union(*needs.values())
    while missing:
        best = max(needs, key=lambda key: len(needs[key] & missing))
        chosen.add(best)
        missing -= needs[best]
    return chosen


def _parameters(names, values):
    several = "," in names
    return [pytest.param(*(value if several else [value]), id=_name(value)) for value in values]


def _name(value):
    return getattr(value, "__name__", str(value).replace(" ", ""))


def assert_drawn_at(scale, kernel):
    """The values of a kernel have the scale of its `LayerScale`, to five standard errors.

    By their root mean square, with a kurtosis of at most 3, or for stable weights, which have none,
    by the share that lies below the median of their size.
    """
    size = kernel.size if scale.block is None else np.prod(scale.block)  # values that are drawn
    if scale.alpha == 2.0:
        ratio = np.sqrt((kernel**2).mean()) / scale.stddev
        assert abs(ratio - 1) < 5 / np.sqrt(2 * size)
    else:
        middle = stats.levy_stable.ppf(0.75, scale.alpha, 0.0) * scale.stddev
        assert abs((np.abs(kernel) < middle).mean() - 0.5) < 5 * 0.5 / np.sqrt(size)


def numpy(tensor):
    """A float64 array of any backend's tensor or variable."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), "float64")


def exact(tensor):
    """The values of a tensor of any dtype, as float64."""
    values = np.asarray(keras.ops.convert_to_numpy(tensor))
    return values.astype("float64")


def on_axis(block, axis, runs=None):
    """Doubles an axis of a block by the definition: the partner of each unit, one by one."""
    block = np.moveaxis(block, axis, 0)
    kernel, row, position = np.empty((2 * len(block), *block.shape[1:])), 0, 0
    for size, count in runs or [(len(block), 1)]:
        for _ in range(count):
            for i in range(size):
                kernel[position + i] = block[row + i]
                kernel[position + size + i] = -block[row + i]
            row, position = row + size, position + 2 * size
    assert row == len(block)
    return np.moveaxis(kernel, 0, axis)


def mirrored(block, form, input_axis, output_axis, runs=None):
    """The kernel that a block makes, as float64."""
    if form != "inputs":
        block = on_axis(block, output_axis)
    return block if form == "outputs" else on_axis(block, input_axis, runs)
