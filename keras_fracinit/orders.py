"""The old path of `keras_fracinit.propagation.orders`, which works for one release more."""

import warnings

from keras_fracinit.propagation.orders import *  # noqa: F403

warnings.warn(f"{__name__} is now keras_fracinit.propagation.orders", DeprecationWarning, 2)
