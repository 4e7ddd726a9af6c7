"""Structures of weights: mirrored pairs, center taps, isometric and zero branches, ZerO."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from _lsuv import orthonormal

from _learning.draws import Draw, Method, each, fan_in, he, of_order, orthogonal
from _learning.networks import Site
from _learning.tasks import Array
from keras_fracinit import laws


def doubled(site: Site, block: Array) -> Array:
    """Mirrors blocks: `[V, -V]`, `[[V, -V], [-V, V]]` or `[V; -V]`."""
    if site.active:
        block = np.concatenate([block, -block], axis=-1)
    return np.concatenate([block, -block], axis=-2) if site.paired else block


def mirrored(make: Callable[[laws.Law, Array], Array], taps: str = "all", **about: Any) -> Method:
    """Mirrors the blocks that `make` makes of the law of a difference and of normals.

    Args:
        taps: "all", or "center": only the middle of a window is not zero, as soon as there are as
            many channels as a block has units.
    """

    def kernel(draw: Draw, site: Site, z: Array) -> Array:
        law = draw.law.pair if site.active else laws.Linear()
        n, d = site.shape[-2] // (1 + site.paired), site.shape[-1] // (1 + site.active)
        block = z[..., :n, :d]
        if taps == "all" or block.ndim == 3 or n < d:
            return doubled(site, make(law, block))
        return centered(doubled(site, make(law, block[:, 1, 1])))

    def knows(law: laws.Law) -> bool:
        return law.pair is not None and law != laws.Linear()

    return each(kernel, **{"knows": knows, "mirrored": True, **about})


def centered(matrices: Array) -> Array:
    """Puts matrices into the middle of windows of 3 x 3 zeros."""
    kernels = np.zeros((len(matrices), 3, 3, *matrices.shape[1:]), "float32")
    kernels[:, 1, 1] = matrices
    return kernels


def normal_block(s: float) -> Callable[[laws.Law, Array], Array]:
    return lambda law, z: z * of_order(s)(law, fan_in(z.shape[1:]), z.shape[-1])


def orthogonal_block(law: laws.Law, z: Array) -> Array:
    """Keeps the root mean square of a difference, surely so where no block contracts."""
    expands = max(1.0, z.shape[-1] / fan_in(z.shape[1:]))
    return orthogonal(z) * math.sqrt(expands / law.mean)


def delta_orthogonal(draw: Draw, site: Site, z: Array) -> Array:
    """Xiao et al., arXiv 1806.05393: an orthogonal matrix in the middle of the window."""
    size = math.sqrt(draw.own_law(site).mean)
    return (
        orthogonal(z) / size
        if z.shape[-2] < z.shape[-1]
        else centered(orthogonal(z[:, 1, 1])) / size
    )


def zero_one(draw: Draw, site: Site, z: Array) -> Array:
    """ZerO (Zhao et al., arXiv 2110.12661): identities, Hadamard matrices where units are added."""
    n, d = site.shape
    if n >= d:
        return np.broadcast_to(np.eye(n, d, dtype="float32"), z.shape)
    power = math.ceil(math.log2(d))
    hadamard = functools.reduce(np.kron, [np.array([[1.0, 1.0], [1.0, -1.0]])] * power)
    return np.broadcast_to(hadamard[:n, :d] * 2.0 ** (-power / 2), z.shape)


def isometric(draw: Draw) -> list[Array]:
    """Makes `x M` of a block `x + f(x)`: W1 = [U, -U], W2 = [V; -V], V = U' (M - I), M orthogonal.

    A linear embedding before them has orthogonal columns or rows.
    """
    result: list[Array] = []
    frame = None
    for site, z in zip(draw.sites, draw.normals, strict=True):
        units = min(site.shape[-2:])
        square = (z[:, 1, 1] if z.ndim == 5 else z)[..., :units, :units]
        if site.closes:
            turned = orthonormal(square) - np.eye(units, dtype="float32")
            block = frame.swapaxes(-1, -2) @ turned / math.sqrt(draw.law.pair.mean)
            matrix = np.concatenate([block, -block], axis=-2)
        elif site.active:
            frame = orthonormal(square)
            matrix = np.concatenate([frame, -frame], axis=-1)
        else:
            result.append(orthogonal_block(laws.Linear(), z))
            continue
        result.append((matrix if z.ndim == 3 else centered(matrix)).astype("float32"))
    return result


def zero_branches(draw: Draw, site: Site, z: Array) -> Array:
    law = draw.own_law(site)
    return np.zeros_like(z) if site.closes else z * he(law, fan_in(site.shape), site.shape[-1])
