"""Keras initializers that keep a moment of the signal, one for each activation."""

from keras_fracinit.initializers import homogeneous, smooth
from keras_fracinit.initializers.base import MODES, LayerScale
from keras_fracinit.initializers.homogeneous import *  # noqa: F403
from keras_fracinit.initializers.lookup import initializer_for
from keras_fracinit.initializers.smooth import *  # noqa: F403
from keras_fracinit.utils.choices import DISTRIBUTIONS

# The classes of `homogeneous` and `smooth` stand in the `__all__` of their file.
__all__ = ["DISTRIBUTIONS", "MODES", "LayerScale", "initializer_for"]
__all__ += homogeneous.__all__
__all__ += smooth.__all__
