"""Symmetric alpha-stable numbers from the random numbers of the backend."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
from keras import backend, ops, random


def sample_stable(shape: tuple[int, ...], dtype: str, alpha: float, scale: float, seed: Any) -> Any:
    """Draws `scale * Z` with `E exp(i t Z) = exp(-|t|^alpha)`, 1 < alpha < 2.

    By the formula of Chambers, Mallows and Stuck (JASA 71, 1976), with U uniform on (-pi/2, pi/2)
    and E exponential:

        Z = sin(alpha U) cos(U)^(-1/alpha) (E / cos((alpha - 1) U))^(1 - 1/alpha).

    Both come from one draw, so that a seed is used once. Half precisions are drawn in float32.
    """
    drawn = "float32" if dtype in ("float16", "bfloat16") else dtype
    uniform = random.uniform((2, *shape), dtype=drawn, seed=seed)
    # The ends are clipped: rounded to float32, pi/2 lies above pi/2, where the cosine is negative.
    end = _end(backend.standardize_dtype(uniform.dtype))  # JAX may have no float64
    u = ops.clip(math.pi * (uniform[0] - 0.5), -end, end)
    e = -ops.log1p(-uniform[1])
    return ops.cast(scale * stable_of(u, e, alpha, ops), dtype)


def stable_of(u: Any, e: Any, alpha: float, xp: Any) -> Any:
    """Computes Z from U and E, by NumPy or the operations of Keras."""
    turned = xp.power(e / xp.cos((alpha - 1.0) * u), 1.0 - 1.0 / alpha)
    return xp.sin(alpha * u) * xp.power(xp.cos(u), -1.0 / alpha) * turned


def _end(dtype: str) -> float:
    """Finds a number of this type safely below pi/2, where the cosine is a few units in size."""
    return 0.5 * math.pi - 2.0 * float(ml_dtypes.finfo(np.dtype(dtype)).eps)
