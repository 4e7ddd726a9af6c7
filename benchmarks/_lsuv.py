"""Implements LSUV for comparison (Mishkin and Matas, ICLR 2016, arXiv 1511.06422)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def orthonormal(normals: Array) -> Array:
    """Makes the Haar matrices that Keras' Orthogonal makes of the same normals, for a stack."""
    tall = normals.shape[-2] >= normals.shape[-1]
    q, r = np.linalg.qr(normals if tall else normals.swapaxes(-1, -2))
    q = q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    return q if tall else q.swapaxes(-1, -2)


def unit_output(signal: Array, normals: Array) -> tuple[Array, Array]:
    """Divides an orthonormal kernel so that its output has variance 1; gives kernel and output.

    The output is linear in the kernel while biases are zero, so one division is exact and the loop
    of the paper is not needed.
    """
    kernel = orthonormal(normals)
    output = signal @ kernel
    std = np.maximum(output.std(axis=(-2, -1), keepdims=True), np.float32(1e-12))
    return kernel / std, output / std


def lsuv(model: Any, x: Any, orthogonal: bool = True, tol: float = 0.1, most: int = 10) -> None:
    """Sets orthonormal kernels, each divided by the standard deviation of its output on `x`.

    It goes in the order of the layers and repeats until the variance is within `tol` of 1, `most`
    times at most. The output is that before the activation, as in the paper; biases may have any
    value.
    """
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        if orthogonal:
            layer.kernel.assign(keras.initializers.Orthogonal()(layer.kernel.shape))
        activation, layer.activation = layer.activation, keras.activations.linear
        try:
            until = keras.Model(model.inputs, layer.output)
            for _ in range(most):
                variance = float(np.var(keras.ops.convert_to_numpy(until([x], training=False))))
                if abs(variance - 1.0) < tol:
                    break
                layer.kernel.assign(layer.kernel / max(variance, 1e-30) ** 0.5)
        finally:
            layer.activation = activation
