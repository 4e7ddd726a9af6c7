"""A Keras callback that records the moments of a model while it trains."""

from keras_fracinit.callbacks.moment_logger import MomentLogger
from keras_fracinit.callbacks.records import COLUMNS

__all__ = [
    "COLUMNS",
    "MomentLogger",
]
