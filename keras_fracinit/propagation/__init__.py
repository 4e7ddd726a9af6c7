"""Theory of layers and stacks: gains, log-norms, orders of moments, angles between inputs."""

from keras_fracinit.propagation.correlation import Collapse, correlation_map
from keras_fracinit.propagation.moments import LogNorm, death_probability, gain, log_norm
from keras_fracinit.propagation.orders import Layer, LayerLaw, effective_order, log_moment
from keras_fracinit.propagation.slope import slope_for
from keras_fracinit.propagation.stack import Propagation, propagate

__all__ = [
    "Collapse",
    "Layer",
    "LayerLaw",
    "LogNorm",
    "Propagation",
    "correlation_map",
    "death_probability",
    "effective_order",
    "gain",
    "log_moment",
    "log_norm",
    "propagate",
    "slope_for",
]
