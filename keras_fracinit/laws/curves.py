"""The smooth activations of Keras in NumPy, value and slope: a row for each.

A row is all that the package needs to compute the law of a smooth activation in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_fracinit.laws.base import Array


def _sigmoid(z: Array) -> Array:
    small = np.exp(-np.abs(z))
    return np.where(z > 0.0, 1.0, small) / (1.0 + small)


def _softplus(z: Array) -> Array:
    return np.logaddexp(0.0, z)


_erfc: Callable[[Array], Array] = np.vectorize(math.erfc, otypes=[np.float64])


def _normal_cdf(z: Array) -> Array:
    # By erfc, which keeps its digits far below 0; NumPy has neither.
    return 0.5 * _erfc(-math.sqrt(0.5) * z)


def _gelu_slope(z: Array) -> Array:
    return _normal_cdf(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _elu(z: Array) -> Array:
    return np.where(z > 0.0, z, np.expm1(np.minimum(z, 0.0)))


def _elu_slope(z: Array) -> Array:
    return np.exp(np.minimum(z, 0.0))


# Klambauer et al., "Self-normalizing neural networks", 2017; as in Keras.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _selu(z: Array) -> Array:
    return _SELU_SCALE * np.where(z > 0.0, z, _SELU_ALPHA * np.expm1(np.minimum(z, 0.0)))


def _selu_slope(z: Array) -> Array:
    return _SELU_SCALE * np.where(z > 0.0, 1.0, _SELU_ALPHA * np.exp(np.minimum(z, 0.0)))


def _mish_slope(z: Array) -> Array:
    bent = np.tanh(_softplus(z))
    return bent + z * _sigmoid(z) * (1.0 - bent * bent)


class Curve(NamedTuple):
    """An activation and its derivative.

    Attributes:
        value: phi.
        slope: phi'.
        pair_slope: c, where `phi(u) - phi(-u) = c u` for all u; None where it does not hold.
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    pair_slope: float | None = None


# With the names and the defaults of keras.activations: GELU is the exact one, alpha of ELU is 1.
CURVES = {
    "tanh": Curve(np.tanh, lambda z: np.cosh(z) ** -2),
    "gelu": Curve(lambda z: z * _normal_cdf(z), _gelu_slope, pair_slope=1.0),
    "silu": Curve(
        lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1.0 + z * _sigmoid(-z)), pair_slope=1.0
    ),
    "elu": Curve(_elu, _elu_slope),
    "selu": Curve(_selu, _selu_slope),
    "softplus": Curve(_softplus, _sigmoid, pair_slope=1.0),
    "mish": Curve(lambda z: z * np.tanh(_softplus(z)), _mish_slope),
}


NAMES = tuple(CURVES)
