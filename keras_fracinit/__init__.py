"""Initializers that keep any fractional moment of the signal in deep networks, for Keras 3.

Importing the package registers its initializers, layers and callbacks with Keras, so that saved
models that use them load.
"""

from keras_fracinit import estimators, laws, propagation
from keras_fracinit.callbacks import MomentLogger
from keras_fracinit.diagnosis import diagnose
from keras_fracinit.initializers import (
    FracActivation,
    FracLeakyReLU,
    FracLinear,
    FracRandomizedLeakyReLU,
    FracReLU,
    LayerScale,
    initializer_for,
)
from keras_fracinit.layers import RandomizedLeakyReLU
from keras_fracinit.planning import plan, reinitialize
from keras_fracinit.propagation import LogNorm, death_probability, effective_order, gain, log_norm

__all__ = [
    "FracActivation",
    "FracLeakyReLU",
    "FracLinear",
    "FracRandomizedLeakyReLU",
    "FracReLU",
    "LayerScale",
    "LogNorm",
    "MomentLogger",
    "RandomizedLeakyReLU",
    "death_probability",
    "diagnose",
    "effective_order",
    "estimators",
    "gain",
    "initializer_for",
    "laws",
    "log_norm",
    "plan",
    "propagation",
    "reinitialize",
]
