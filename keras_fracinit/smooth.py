"""The old path of `keras_fracinit.laws.smooth`, which works for one release more."""

import warnings

from keras_fracinit.laws.smooth import *  # noqa: F403

warnings.warn(f"{__name__} is now keras_fracinit.laws.smooth", DeprecationWarning, 2)
