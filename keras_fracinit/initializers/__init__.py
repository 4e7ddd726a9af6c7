"""Keras initializers that keep a moment of the signal, one for each activation."""

from keras_fracinit.initializers.base import DISTRIBUTIONS, MODES, LayerScale
from keras_fracinit.initializers.homogeneous import (
    FracLeakyReLU,
    FracLinear,
    FracRandomizedLeakyReLU,
    FracReLU,
)
from keras_fracinit.initializers.lookup import initializer_for
from keras_fracinit.initializers.smooth import FracActivation, SmoothScale

__all__ = [
    "DISTRIBUTIONS",
    "MODES",
    "FracActivation",
    "FracLeakyReLU",
    "FracLinear",
    "FracRandomizedLeakyReLU",
    "FracReLU",
    "LayerScale",
    "SmoothScale",
    "initializer_for",
]
