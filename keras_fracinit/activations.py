"""Maps a Keras activation to its law: one entry for each kind of object that may name it.

Importing this module registers the names, functions and layers of Keras with `laws.law_of`. Slopes
are read from the object, never from a constant here: Keras' own defaults differ (0.2 in the
function `leaky_relu`, 0.3 in the layer `LeakyReLU`). A function that is in no table is evaluated.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from dataclasses import asdict
from numbers import Real
from types import FunctionType
from typing import Any

import keras
import numpy as np

from keras_fracinit.laws import smooth
from keras_fracinit.laws.base import Law, law_of
from keras_fracinit.laws.breaks import find_borders
from keras_fracinit.laws.homogeneous import LeakyReLU, Linear, RandomizedLeakyReLU, ReLU
from keras_fracinit.layers import RandomizedLeakyReLU as RandomizedLeakyReLULayer


def _leaky(slope: float) -> Law:
    return LeakyReLU(slope) if slope else ReLU()


def _default_slope(function: FunctionType) -> float:
    return float(inspect.signature(function).parameters["negative_slope"].default)


_FUNCTIONS: dict[object, Law] = {
    keras.activations.linear: Linear(),
    keras.activations.relu: ReLU(),
    keras.activations.leaky_relu: LeakyReLU(_default_slope(keras.activations.leaky_relu)),
    **{getattr(keras.activations, name): smooth.Smooth(name) for name in smooth.NAMES},
}


_FLAT = 1e-6  # relatively, in float32
_GRID = np.logspace(-6.0, 3.0, 91)  # where a function is looked at for its linear odd part


def parameters_of(law: Law) -> dict[str, Any]:
    """The arguments of the initializer for a law: its fields, or the name that leads to it."""
    if isinstance(law, smooth.PointMass):
        return {"activation": law.activation}
    fields: dict[str, Any] = asdict(law)  # type: ignore[call-overload]  # each is a dataclass
    return fields


@law_of.register
def _(activation: object) -> Law:
    """The law of a function; for any other object an error that lists the alternatives."""
    if not callable(activation) or isinstance(activation, keras.layers.Layer | type):
        raise ValueError(
            "`activation` must be None or 'linear', 'relu', 'leaky_relu', "
            f"{', '.join(map(repr, smooth.NAMES))}, another activation of Keras that acts on each "
            "number alone, a function registered by "
            "@keras.saving.register_keras_serializable(), a ReLU (without max_value and "
            "threshold), LeakyReLU, PReLU (with one constant to start from), RandomizedLeakyReLU, "
            "ELU (alpha 1) or Activation layer, or a law of keras_fracinit.laws. "
            f"Received: activation={activation!r}"
        )
    return _FUNCTIONS.get(activation) or _sample(activation, _name(activation))


@law_of.register
def _(activation: None) -> Law:
    return Linear()


@law_of.register
def _(activation: str | dict) -> Law:  # type: ignore[type-arg]  # Keras' configuration
    found = keras.saving.get_registered_object(activation) if isinstance(activation, str) else None
    try:
        found = found or keras.activations.get(activation)
    except (ValueError, TypeError):
        found = None
    return _of_object(activation if found is None else found)


@law_of.register
def _(layer: keras.layers.Activation) -> Law:
    return law_of(layer.activation)


@law_of.register
def _(layer: keras.layers.ELU) -> Law:
    return law_of(keras.activations.elu) if layer.alpha == 1.0 else _of_object(layer)


@law_of.register
def _(layer: keras.layers.ReLU) -> Law:
    if (layer.max_value, layer.negative_slope, layer.threshold) == (6, 0, 0):
        return law_of("relu6")
    if layer.max_value is not None or layer.threshold != 0:
        raise ValueError(
            "A ReLU with `max_value` or `threshold` is not positively homogeneous, "
            "phi(c u) = c phi(u) for c > 0, so no scale keeps its moments at every size. At unit "
            "size one does: take the name 'relu6', or a registered function of your own. Received: "
            f"ReLU(max_value={layer.max_value}, threshold={layer.threshold})"
        )
    return _leaky(layer.negative_slope)


@law_of.register
def _(layer: keras.layers.LeakyReLU) -> Law:
    return _leaky(layer.negative_slope)


@law_of.register
def _(layer: keras.layers.PReLU) -> Law:
    return _leaky(_slope_of(layer.alpha) if layer.built else _constant(layer.alpha_initializer))


@law_of.register
def _(layer: RandomizedLeakyReLULayer) -> Law:
    return RandomizedLeakyReLU(layer.lower, layer.upper)


_of_object = law_of.dispatch(object)


def _slope_of(variable: Any) -> float:
    """The slope that stands for all of a PReLU: their root mean square, with the sign of the mean.

    That keeps `E q`, and so the second moment, of slopes that differ from unit to unit.
    """
    slopes = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")))
    if (slopes == slopes.flat[0]).all():
        return float(str(slopes.flat[0]))  # 0.3 and not 0.30000001192092896
    slopes = slopes.astype("float64")
    return float(np.copysign(np.sqrt(np.mean(slopes**2)), slopes.mean()))


def _constant(initializer: Any) -> float:
    """Finds the one value that an initializer fills a tensor with."""
    if isinstance(initializer, keras.initializers.Zeros):
        return 0.0
    if isinstance(initializer, keras.initializers.Ones):
        return 1.0
    value = getattr(initializer, "value", None)
    if isinstance(initializer, keras.initializers.Constant) and isinstance(value, Real):
        return float(value)
    raise ValueError(
        "A PReLU has a law at its start only if all its slopes start from one constant: "
        "`alpha_initializer` must be Zeros, Ones or Constant of a number. Received: "
        f"alpha_initializer={initializer!r}"
    )


def _name(function: Any) -> str:
    """Finds the name under which Keras saves a function, and checks that it leads back to it."""
    name = str(keras.saving.get_registered_name(function)) if hasattr(function, "__name__") else ""
    found = keras.saving.get_registered_object(name) or getattr(keras.activations, name, None)
    if found is not function:
        raise ValueError(
            "`activation` must be a function that Keras can save by name. Define it by `def`, "
            'under @keras.saving.register_keras_serializable(package="my_package"). '
            f"Received: activation={function!r}"
        )
    return name


# Cached, because Keras rebuilds initializers from their configuration while it traces a model,
# where no value can be read.
@functools.lru_cache(maxsize=64)
def _sample(function: Any, name: str) -> smooth.Sampled:
    z = smooth.nodes(doubled=True)
    values = _evaluate(function, name, np.concatenate([z.ravel(), _GRID, -_GRID])[:, None])[:, 0]
    _check_alone(function, name)
    if np.ptp(values) < _FLAT * np.abs(values).max():
        # As sparsemax is, but for rounding; the law refuses it.
        return smooth.Sampled.of(name, np.full_like(z, values[0]))
    slope, values = _pair_slope(values[z.size :]), values[: z.size].reshape(z.shape)
    borders: tuple[float, ...] = ()
    if np.isfinite(values).all():
        borders = find_borders(lambda points: _at(function, name, points), values)
    if borders:
        values = _at(function, name, smooth.nodes(True, borders))
    return smooth.Sampled.of(name, values, slope, borders)


def _check_alone(function: Any, name: str) -> None:
    """Checks that a number gets the same value whatever stands beside it."""
    points = np.linspace(-2.0, 2.0, 17)
    values = _evaluate(function, name, np.stack([points, np.roll(points, 3)], axis=-1))
    if np.abs(values[:, 1] - np.roll(values[:, 0], 3)).max() > 1e-4 * np.abs(values).max():
        raise ValueError(
            "`activation` must act on each number alone, which softmax does not: one that mixes "
            "the numbers of the last axis has no law of one unit. "
            f"Received: {name!r}, whose values depend on the numbers beside them"
        )


def _at(function: Any, name: str, points: Any) -> Any:
    """The values of a function at points of any shape, which it is given as a column."""
    return _evaluate(function, name, points.reshape(-1, 1)).reshape(points.shape)


def _evaluate(function: Any, name: str, points: Any) -> Any:
    """The values of a function at a tensor of float32, and that they have its shape."""
    shape = points.shape
    try:
        with warnings.catch_warnings():
            # That it answers 1 to one number alone; it is refused for mixing several.
            warnings.filterwarnings("ignore", "You are using a softmax")
            answer = function(keras.ops.convert_to_tensor(points.astype("float32")))
        values = np.asarray(keras.ops.convert_to_numpy(answer), "float64")
    except Exception as error:
        raise ValueError(
            f"`activation` must take a float32 tensor of shape {shape} and return one. "
            f"Received: {name!r}, which raised {type(error).__name__}: {error}"
        ) from error
    if values.shape != shape:
        raise ValueError(
            "`activation` must return the shape that it is given. "
            f"Received: {name!r}, which made {values.shape} of {shape}"
        )
    return values


def _pair_slope(values: Any) -> float | None:
    """c of `phi(u) - phi(-u) = c u`, from the values on the grid and on its negative."""
    above, below = np.split(values, 2)
    size = np.maximum(np.maximum(np.abs(above), np.abs(below)), _GRID)
    if not np.isfinite(values).all() or (np.abs(above + below) <= _FLAT * size).all():
        return None  # an odd function; a linear one would gain nothing
    slope = float(f"{(above - below)[_GRID == 1.0][0]:.6g}")
    linear = (np.abs(above - below - slope * _GRID) <= _FLAT * size).all()
    return slope if linear and slope else None
