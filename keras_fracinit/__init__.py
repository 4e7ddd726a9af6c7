"""Initializers that keep any fractional moment of the signal in deep networks, for Keras 3.

Importing the package registers its initializers, layers and callbacks with Keras, so that saved
models that use them load. `plots` and `tuner` are imported at their first use; where the command
line is starting, all names are.
"""

import importlib
from typing import TYPE_CHECKING

from keras_fracinit.utils.starting import is_starting

_PUT_OFF = is_starting()

if TYPE_CHECKING or not _PUT_OFF:
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
    from keras_fracinit.propagation import (
        LogNorm,
        death_probability,
        effective_order,
        gain,
        log_norm,
    )

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

_LAZY = ("plots", "tuner")  # they load Matplotlib and KerasTuner

if TYPE_CHECKING:
    from keras_fracinit import plots as plots
    from keras_fracinit import tuner as tuner

    __version__: str
else:

    def __getattr__(name):
        if name == "__version__":
            from importlib import metadata

            return metadata.version("keras-fracinit")
        if name in _LAZY:
            return importlib.import_module(f"{__name__}.{name}")
        if _PUT_OFF and name in __all__:
            importlib.import_module("keras")  # ends the start, for `is_starting`
            importlib.reload(importlib.import_module(__name__))
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "__version__", *_LAZY})
