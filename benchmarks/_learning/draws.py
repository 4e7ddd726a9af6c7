"""Makes kernels of unit normals: what a method of initialization is, and the scales of kernels.

All methods get the same normals from the same seed, so that they differ in what they do with them
and in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from _lsuv import orthonormal
from scipy.special import ndtr, ndtri

from _learning.networks import Network, Site
from _learning.tasks import Array
from keras_fracinit import gain, laws

# Streams of random numbers of one seed; hidden kernel k has the stream KERNELS + k, at every depth.
ORDER, OUTPUTS, KERNELS = 0, 1, 2
TAILS = 1  # the second stream of a hidden kernel


class Draw(NamedTuple):
    """Unit normals, seeds x shape for every hidden kernel, and their purpose.

    Attributes:
        law: The law of the activation, with the slope that the method chose.
    """

    normals: list[Array]
    network: Network
    law: laws.Law
    inputs: Array  # for a method that looks at data
    seeds: tuple[int, ...] = ()  # for a method that needs more random numbers

    @property
    def sites(self) -> list[Site]:
        return [site for site in self.network.sites if not site.last]

    def own_law(self, site: Site) -> laws.Law:
        return self.law if site.active else laws.Linear()


class Method(NamedTuple):
    """A method of initialization.

    Attributes:
        kernels: The hidden kernels of a draw.
        knows: Whether it is defined for the law of an activation.
        slope: Chooses the negative slope of the activation, which is ReLU else.
        mirrored: Whether the network is made of mirrored pairs.
    """

    kernels: Callable[[Draw], list[Array]]
    knows: Callable[[laws.Law], bool] = lambda law: True
    slope: Callable[[Network], float] | None = None
    mirrored: bool = False

    def law(self, network: Network) -> laws.Law:
        return laws.LeakyReLU(self.slope(network)) if self.slope else network.law

    def slope_in(self, network: Network) -> float:
        """The slope that `networks.forward` takes, which only ReLU and leaky ReLU look at."""
        return float(getattr(self.law(network), "negative_slope", 0.0))


Scale = Callable[[laws.Law, int, int], float]  # law, fan-in, units -> standard deviation


def fan_in(shape: Sequence[int]) -> int:
    return math.prod(shape[:-1])


def of_order(s: float) -> Scale:
    return lambda law, n, d: math.sqrt(gain(law, s, d) / n)


he = of_order(2.0)


def glorot(shape: Sequence[int]) -> float:
    fan_out = math.prod(shape[:-2]) * shape[-1]
    return math.sqrt(2.0 / (fan_in(shape) + fan_out))


def uniform(normals: Array) -> Array:
    """Maps normals to uniform numbers of variance 1 at the same quantiles."""
    return (math.sqrt(12.0) * (ndtr(normals) - 0.5)).astype("float32")


def truncated(normals: Array) -> Array:
    """Maps normals to the quantiles of Keras' truncated normal: cut at 2, scaled to variance 1."""
    low, high = ndtr(-2.0), ndtr(2.0)
    quantiles = ndtri(low + (high - low) * ndtr(normals.astype("float64")))
    return (quantiles / 0.87962566103423978).astype("float32")


def each(kernel: Callable[[Draw, Site, Array], Array], **about: Any) -> Method:
    """Makes a method of a function of one site and its normals, seeds x shape."""

    def kernels(draw: Draw) -> list[Array]:
        return [
            np.asarray(kernel(draw, site, z), "float32")
            for site, z in zip(draw.sites, draw.normals, strict=True)
        ]

    return Method(kernels, **about)


def scaled(scale: Scale, **about: Any) -> Method:
    """Multiplies normals by the standard deviation for the activation that follows."""
    return each(
        lambda draw, site, z: z * scale(draw.own_law(site), fan_in(site.shape), site.shape[-1]),
        **about,
    )


def flat(z: Array) -> Array:
    """Reads the window and the inputs of kernels as one axis."""
    return z.reshape(len(z), -1, z.shape[-1])


def orthogonal(z: Array) -> Array:
    """Makes of normals what Keras' Orthogonal makes of them."""
    return orthonormal(flat(z)).reshape(z.shape)
