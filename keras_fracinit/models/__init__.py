"""Measures the outputs of the layers of a model, its weights and their gradients."""

from keras_fracinit.models.measurement import QUANTITIES, Measurement, Request, Row
from keras_fracinit.models.probe import Data

__all__ = [
    "QUANTITIES",
    "Data",
    "Measurement",
    "Request",
    "Row",
]
