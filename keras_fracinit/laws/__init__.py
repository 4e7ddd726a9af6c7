"""Laws of one unit: the distribution of its squared output on a standard normal input."""

from keras_fracinit.laws.base import Laplace, Law, law_of
from keras_fracinit.laws.homogeneous import Dropout, LeakyReLU, Linear, RandomizedLeakyReLU, ReLU
from keras_fracinit.laws.slopes import Slopes
from keras_fracinit.laws.smooth import Sampled, Smooth
from keras_fracinit.laws.stable import Stable

__all__ = [
    "Dropout",
    "Laplace",
    "Law",
    "LeakyReLU",
    "Linear",
    "RandomizedLeakyReLU",
    "ReLU",
    "Sampled",
    "Slopes",
    "Smooth",
    "Stable",
    "law_of",
]
