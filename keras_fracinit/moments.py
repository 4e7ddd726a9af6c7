"""The old path of `keras_fracinit.propagation.moments`, which works for one release more."""

import warnings

from keras_fracinit.propagation.moments import *  # noqa: F403

warnings.warn(f"{__name__} is now keras_fracinit.propagation.moments", DeprecationWarning, 2)
