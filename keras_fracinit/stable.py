"""The old path of `keras_fracinit.laws.stable`, which works for one release more."""

import warnings

from keras_fracinit.laws.stable import *  # noqa: F403

warnings.warn(f"{__name__} is now keras_fracinit.laws.stable", DeprecationWarning, 2)
