"""The old path of `keras_fracinit.initializers.smooth`, which works for one release more."""

import warnings

from keras_fracinit.initializers.smooth import (  # noqa: F401
    FracActivation,
    SmoothScale,
    smooth_law_of,
)

warnings.warn(f"{__name__} is now keras_fracinit.initializers.smooth", DeprecationWarning, 2)
