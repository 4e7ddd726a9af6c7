"""Unsettles a model before it is mirrored, and checks what it keeps when it has been."""

import keras
import numpy as np
from cases import exact


def trained(model):
    """The model with every parameter somewhere else, as training would leave it."""
    rng = np.random.default_rng(3)
    for variable in model.weights:
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(rng.uniform(0.2, 0.8, variable.shape))
    return model


def kernels(changes):
    return [c for c in changes if c.kind not in ("bias", "normalization", "slope")]


def assert_keeps_sums(function, x, kept="sums"):
    """f(-x) = -f(x) and, where nothing divides by the size of a sample, f(x + y) = f(x) + f(y)."""
    y = function(x)
    size = np.abs(y).max()
    assert size > 1e-3
    np.testing.assert_allclose(function(-x), -y, atol=1e-5 * size)
    if kept == "sums":
        both = function(x + 0.5 * x[::-1])
        np.testing.assert_allclose(both, y + 0.5 * y[::-1], atol=2e-5 * np.abs(both).max())


def called(model):
    return lambda x: exact(model(x, training=False))
