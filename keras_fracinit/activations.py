"""Which law a Keras activation follows: one entry for each kind of object a user may hold.

Importing this module teaches `laws.law_of` the names, functions and layers of Keras. Slopes are
read from the object, never from a constant here: Keras' own defaults differ (0.2 in the function
`leaky_relu`, 0.3 in the layer `LeakyReLU`).
"""

from __future__ import annotations

import inspect
from numbers import Real
from types import FunctionType
from typing import Any

import keras

from keras_fracinit.laws import Law, LeakyReLU, Linear, RandomizedLeakyReLU, ReLU, law_of
from keras_fracinit.layers import RandomizedLeakyReLU as RandomizedLeakyReLULayer

__all__ = ["law_of"]


def _leaky(slope: float) -> Law:
    return LeakyReLU(slope) if slope else ReLU()


def _default_slope(function: FunctionType) -> float:
    return float(inspect.signature(function).parameters["negative_slope"].default)


_FUNCTIONS: dict[object, Law] = {
    keras.activations.linear: Linear(),
    keras.activations.relu: ReLU(),
    keras.activations.leaky_relu: LeakyReLU(_default_slope(keras.activations.leaky_relu)),
}
_unknown = law_of.dispatch(object)


@law_of.register
def _(activation: None) -> Law:
    return Linear()


@law_of.register
def _(activation: str) -> Law:
    try:
        function = keras.activations.get(activation)
    except ValueError:
        return _unknown(activation)
    return _FUNCTIONS.get(function) or _unknown(activation)


@law_of.register
def _(activation: FunctionType) -> Law:
    return _FUNCTIONS.get(activation) or _unknown(activation)


@law_of.register
def _(layer: keras.layers.Activation) -> Law:
    return law_of(layer.activation)


@law_of.register
def _(layer: keras.layers.ReLU) -> Law:
    if layer.max_value is not None or layer.threshold != 0:
        raise ValueError(
            "A ReLU with `max_value` or `threshold` is not positively homogeneous, "
            "phi(c u) = c phi(u) for c > 0, so no scale keeps its moments. Received: "
            f"ReLU(max_value={layer.max_value}, threshold={layer.threshold})"
        )
    return _leaky(layer.negative_slope)


@law_of.register
def _(layer: keras.layers.LeakyReLU) -> Law:
    return _leaky(layer.negative_slope)


@law_of.register
def _(layer: keras.layers.PReLU) -> Law:
    return _leaky(_constant(layer.alpha_initializer))


@law_of.register
def _(layer: RandomizedLeakyReLULayer) -> Law:
    return RandomizedLeakyReLU(layer.lower, layer.upper)


def _constant(initializer: Any) -> float:
    """The one value that an initializer fills a tensor with."""
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
