"""What layers and operations between the kernels of a model do to a signal: tables of them.

Operations have no public classes, so they are known by the names of these.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import keras

from keras_fracinit.laws.base import Law, law_of
from keras_fracinit.laws.homogeneous import LeakyReLU, ReLU

layers = keras.layers


_PASSING = {
    *("InputLayer", "Identity", "Flatten", "Reshape", "Permute", "RepeatVector", "TimeDistributed"),
    *("Transpose", "ExpandDims", "Squeeze", "Cast", "ConvertToTensor", "GetItem", "StopGradient"),
    *("Moveaxis", "Swapaxes", "Ravel", "Split", "Unstack", "Masking", "ActivityRegularization"),
    *("Concatenate", "Stack", "GaussianNoise", "GaussianDropout", "Pad", "BroadcastTo", "Negative"),
    "AlphaDropout",  # which keeps mean and variance
}


_PASSING_PREFIXES = ("MaxPool", "GlobalMaxPool", "ZeroPadding", "Cropping", "UpSampling")


AVERAGES = ("AveragePool", "GlobalAveragePool", "AdaptiveAverage", "Mean")


SUMS = ("Add", "Subtract")


DROPOUTS = (layers.Dropout,)  # and the spatial ones, which derive from it


NORMALIZATIONS = (
    *(layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization),
    *(layers.RMSNormalization, layers.UnitNormalization, layers.SpectralNormalization),
)


class _NoLaw(ValueError):
    """Says all of why nothing is known."""


def _gelu(operation: Any) -> Law:
    if operation.approximate:
        raise _NoLaw("the approximate gelu follows, and the law is that of the exact one")
    return law_of("gelu")


def _elu(operation: Any) -> Law:
    if operation.alpha != 1.0:
        raise _NoLaw(f"elu with alpha {operation.alpha:g} follows, and the law is that of alpha 1")
    return law_of("elu")


_OPERATIONS: dict[str, Callable[[Any], Law]] = {
    "Relu": lambda operation: ReLU(),
    "LeakyRelu": lambda operation: LeakyReLU(operation.negative_slope),
    "Absolute": lambda operation: LeakyReLU(-1.0),
    "Gelu": _gelu,
    "Elu": _elu,
    "Tanh": lambda operation: law_of("tanh"),
    "Silu": lambda operation: law_of("silu"),
    "Selu": lambda operation: law_of("selu"),
    "Softplus": lambda operation: law_of("softplus"),
    "Sigmoid": lambda operation: law_of("sigmoid"),
    "HardSigmoid": lambda operation: law_of("hard_sigmoid"),
    "HardSilu": lambda operation: law_of("hard_silu"),
    "HardTanh": lambda operation: law_of("hard_tanh"),
    "Relu6": lambda operation: law_of("relu6"),
    "Softsign": lambda operation: law_of("softsign"),
    "LogSigmoid": lambda operation: law_of("log_sigmoid"),
}


class Action(NamedTuple):
    """What something does to each number.

    Attributes:
        name: What it is called.
        law: Its law; None if it has none.
        reason: Why it has none.
    """

    name: str
    law: Law | None = None
    reason: str = ""


def action_of(op: Any) -> Action:
    """That of an activation, of a layer that holds one and no kernel, or of an operation."""
    inner = getattr(op, "activation", op)
    name = "linear" if inner is None else getattr(inner, "__name__", type(inner).__name__)
    try:
        known = {} if isinstance(op, layers.Layer) else _OPERATIONS
        return Action(name, known.get(type(op).__name__, law_of)(op))
    except _NoLaw as error:
        return Action(name, reason=str(error))
    except ValueError as error:
        why = ", which no scale keeps the moments of"
        if isinstance(inner, FunctionType) and inner.__module__.partition(".")[0] != "keras":
            why = f": {error}"  # how to make it known
        return Action(name, reason=f"{name} follows{why}")


def passes(op: Any) -> bool:
    """Whether the signal behind it is that before it, as far as its size goes."""
    name = type(op).__name__
    return name in _PASSING or name.startswith(_PASSING_PREFIXES)


def averages(op: Any) -> bool:
    """Whether it makes the signal smaller by averaging."""
    return type(op).__name__.startswith(AVERAGES)


def joint(first: float, second: float) -> float:
    """The rate of two dropouts in a row."""
    return first + second - first * second
