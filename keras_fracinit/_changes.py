"""The old path of `Change` in pickles of a `Plan` by 0.1, which works for one release more."""

import warnings

from keras_fracinit.planning.report import *  # noqa: F403

warnings.warn(f"{__name__} is now keras_fracinit.planning.report", DeprecationWarning, 2)
