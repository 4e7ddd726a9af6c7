"""LSUV for a Keras model, as a reference to compare with (Mishkin and Matas, ICLR 2016)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def lsuv(model: Any, x: Any, orthogonal: bool = True, tol: float = 0.1, most: int = 10) -> None:
    """Orthonormal kernels, each divided by the standard deviation of what it puts out on `x`.

    In the order of the layers, until the variance is within `tol` of 1, `most` times at most. The
    output is that before the activation, as the paper has it.
    """
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        if orthogonal:
            layer.kernel.assign(keras.initializers.Orthogonal()(layer.kernel.shape))
        activation, layer.activation = layer.activation, keras.activations.linear
        try:
            until = keras.Model(model.input, layer.output)
            for _ in range(most):
                variance = float(np.var(keras.ops.convert_to_numpy(until(x, training=False))))
                if abs(variance - 1.0) < tol:
                    break
                layer.kernel.assign(layer.kernel / max(variance, 1e-30) ** 0.5)
        finally:
            layer.activation = activation
