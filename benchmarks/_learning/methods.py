"""Lists the methods of initialization that are compared, as tables.

A method turns unit normals into kernels. All methods get the same normals from the same seed, so
that they differ in what they do with them and in nothing else. Stable weights need a second random
number for each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from _lsuv import orthonormal, unit_output
from scipy.special import ndtr, ndtri

from _learning.networks import ACTIVATIONS, CLASSES, Array, Cell, Network, is_smooth
from keras_fracinit import FracActivation, FracLinear, gain, initializer_for, laws
from keras_fracinit.initializers.stable_sampling import stable_of
from keras_fracinit.laws import Stable


class Draw(NamedTuple):
    """Unit normals, seeds x fan-in x fan-out for every hidden layer, and their purpose."""

    normals: list[Array]
    network: Network
    images: Array  # for a method that looks at data
    seeds: tuple[int, ...] = ()  # for a method that needs more random numbers


class Method(NamedTuple):
    kernels: Callable[[Draw], list[Array]]
    knows: Callable[[laws.Law], bool] = lambda law: True  # whether it is defined for the law


Scale = Callable[[laws.Law, int, int], float]  # law, fan-in, fan-out -> standard deviation


def _bare(law: laws.Law) -> laws.Law:
    """Removes the dropout, which the formulas of others leave out."""
    return law.law if isinstance(law, laws.Dropout) else law


def of_order(s: float) -> Scale:
    return lambda law, n, d: initializer_for(law, s).describe((n, d)).stddev


he = of_order(2.0)


def random_walk(law: laws.Law, n: int, d: int) -> float:
    """The scale of Sussillo and Abbott, arXiv 1412.6558, as the authors compare with it."""
    growth = 1.0 / (2.0 * n) if law == laws.Linear() else 1.2 / (n - 2.4)
    return math.exp(growth) / math.sqrt(_bare(law).mean * n)


def _leaky_variance(n: int, s: float, slope: float) -> float:
    a2 = slope**2
    second = (2.0 - s) * ((5.0 * s - 24.0) * a2 + 10.0) / (2.0 * (s + 2.0) * a2 + 4.0)
    return 2.0 / ((1.0 + a2) * n) + second / n**2


# The variances as the authors print them, with the fan-in in the place of the width and to first
# order in the squared slope, at the orders of their own experiments.
AUTHORS: dict[type[laws.Law], Callable[[Any, int], float]] = {
    laws.ReLU: lambda law, n: 2.0 / n + 5.0 * (2.0 - 0.8) / (2.0 * n**2),
    laws.Linear: lambda law, n: 1.0 / n + (2.0 - 1.0) / (2.0 * n**2),
    laws.LeakyReLU: lambda law, n: _leaky_variance(n, 1.0, law.negative_slope),
}


def authors(law: laws.Law, n: int, d: int) -> float:
    """The scale of Gurbuzbalaban and Hu, arXiv 2005.11878."""
    return math.sqrt(AUTHORS[type(_bare(law))](_bare(law), n))


def glorot(law: laws.Law, n: int, d: int) -> float:
    return math.sqrt(2.0 / (n + d))


def identity(normals: Array) -> Array:
    return normals


def uniform(normals: Array) -> Array:
    """Maps normals to uniform numbers of variance 1 at the same quantiles."""
    return (math.sqrt(12.0) * (ndtr(normals) - 0.5)).astype("float32")


def truncated(normals: Array) -> Array:
    """Maps normals to the quantiles of Keras' truncated normal: cut at 2, scaled to variance 1."""
    low, high = ndtr(-2.0), ndtr(2.0)
    quantiles = ndtri(low + (high - low) * ndtr(normals.astype("float64")))
    return (quantiles / 0.87962566103423978).astype("float32")


def scaled(scale: Scale, shape: Callable[[Array], Array] = identity) -> Method:
    """Makes a method of numbers of variance 1, made of the normals, times a standard deviation."""

    def kernels(draw: Draw) -> list[Array]:
        law = draw.network.law
        scales = [np.float32(scale(law, *normals.shape[1:])) for normals in draw.normals]
        return [std * shape(normals) for std, normals in zip(scales, draw.normals, strict=True)]

    return Method(kernels)


def _orthogonal(draw: Draw) -> list[Array]:
    return [np.float32(draw.network.law.mean**-0.5) * orthonormal(z) for z in draw.normals]


def _lsuv(draw: Draw) -> list[Array]:
    """Gives every layer's output variance 1 on one batch, in inference mode."""
    activation = jax.jit(ACTIVATIONS[draw.network.activation].inference)
    signal, result = draw.images[None], []
    for normals in draw.normals:
        kernel, output = unit_output(signal, normals)
        result.append(kernel)
        signal = np.asarray(activation(output))
    return result


METHODS: dict[str, Method] = {
    "He (Keras)": scaled(he, truncated),
    "He": scaled(he),
    "Xavier": scaled(glorot, uniform),
    "random walk": scaled(random_walk),
    "authors": scaled(authors)._replace(knows=lambda law: type(_bare(law)) in AUTHORS),
    "orthogonal": Method(_orthogonal),
    "LSUV": Method(_lsuv),
    "ours s=0": scaled(of_order(0.0)),
    "ours s=0.5": scaled(of_order(0.5)),
    "ours s=1": scaled(of_order(1.0)),
    "ours s=1.5": scaled(of_order(1.5)),
}
# What "s tuned" chooses from. He is ours at s = 2, to the last bit.
ORDERS = {0.0: "ours s=0", 0.5: "ours s=0.5", 1.0: "ours s=1", 1.5: "ours s=1.5", 2.0: "He"}
TUNED = "s tuned"


# --- for smooth activations ----------------------------------------------------------------------

# Streams of random numbers of one seed; hidden layer k has the stream LAYERS + k, at every depth.
_ORDER, _LOGITS, _LAYERS = 0, 1, 2
_TAILS = 1  # the second stream of a hidden layer


def met(network: Network) -> list[laws.Law]:
    """Lists the law that the input of each hidden kernel has passed; the first input is data."""
    return [laws.Linear()] + [network.law] * (network.depth - 1)


def smooth_of_order(s: float) -> Method:
    def kernels(draw: Draw) -> list[Array]:
        result = []
        for law, z in zip(met(draw.network), draw.normals, strict=True):
            ours = FracActivation(law, s) if is_smooth(law) else FracLinear(s)
            result.append(np.float32(ours.describe(z.shape[1:]).stddev) * z)
        return result

    return Method(kernels)


def stable_numbers(normals: Array, exponentials: Array, alpha: float) -> Array:
    """Draws standard symmetric alpha-stable numbers, `E exp(itZ) = exp(-|t|^alpha)`."""
    half = 0.5 * math.pi
    u = np.clip(math.pi * (ndtr(normals.astype("float64")) - 0.5), -half + 1e-12, half - 1e-12)
    return np.asarray(stable_of(u, exponentials, alpha, np))


def stable(alpha: float, s: float = 1.0) -> Method:
    def kernels(draw: Draw) -> list[Array]:
        result = []
        for layer, (law, z) in enumerate(zip(met(draw.network), draw.normals, strict=True)):
            streams = [
                np.random.default_rng([seed, _LAYERS + layer, _TAILS]) for seed in draw.seeds
            ]
            exponentials = np.stack([rng.standard_exponential(z.shape[1:]) for rng in streams])
            _, n, d = z.shape
            # For data the kernel has the size at which a smooth activation is exact, Z/sqrt(2).
            g = gain(Stable(law, alpha), s, d) if is_smooth(law) else 2.0 ** (-0.5 * alpha)
            scale = (g / n) ** (1.0 / alpha)
            result.append((scale * stable_numbers(z, exponentials, alpha)).astype("float32"))
        return result

    return Method(kernels)


SMOOTH_METHODS: dict[str, Method] = {
    "Xavier": METHODS["Xavier"],
    "He": scaled(lambda law, n, d: math.sqrt(2.0 / n)),
    "LeCun": scaled(lambda law, n, d: math.sqrt(1.0 / n)),
    "ours s=0": smooth_of_order(0.0),
    "ours s=1": smooth_of_order(1.0),
    "ours s=2": smooth_of_order(2.0),
    "stable 1.8": stable(1.8),
    "stable 1.5": stable(1.5),
    "stable 1.2": stable(1.2),
}


def methods_of(network: Network) -> dict[str, Method]:
    if is_smooth(network.law):
        return SMOOTH_METHODS
    return {name: method for name, method in METHODS.items() if method.knows(network.law)}


def methods_for(cell: Cell) -> list[str]:
    return list(methods_of(cell.network))


def reference(activation: str) -> str:
    """Names the method that differences are taken from: Keras' default, or its advice for SELU."""
    if not is_smooth(ACTIVATIONS[activation].law):
        return "He (Keras)"
    return "LeCun" if activation == "selu" else "Xavier"


# --- kernels and batches from a seed -------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _normals(network: Network, seeds: tuple[int, ...]) -> tuple[list[Array], Array]:
    def draw(stream: int, shape: tuple[int, int]) -> Array:
        draws = [np.random.default_rng([seed, stream]) for seed in seeds]
        return np.stack([rng.standard_normal(shape, dtype="float32") for rng in draws])

    hidden = [draw(_LAYERS + layer, shape) for layer, shape in enumerate(network.shapes)]
    last = (network.width, CLASSES)
    return hidden, np.float32(glorot(network.law, *last)) * uniform(draw(_LOGITS, last))


def initial_kernels(
    method: str, network: Network, seeds: tuple[int, ...], images: Array
) -> list[Array]:
    """Draws the kernels of all layers, seeds x fan-in x fan-out.

    The logits start from Keras' default whatever the method, since hidden layers are compared.
    """
    hidden, logits = _normals(network, seeds)
    draw = Draw(hidden, network, images[:256], seeds)
    return [*methods_of(network)[method].kernels(draw), logits]


def batches(seed: int, images: int, steps: int, batch: int) -> Array:
    """Orders the images: whole epochs, each in a new order, without the incomplete batch."""
    rng, per_epoch = np.random.default_rng([seed, _ORDER]), images // batch
    epochs = [rng.permutation(images)[: per_epoch * batch] for _ in range(-(-steps // per_epoch))]
    return np.concatenate(epochs).reshape(-1, batch)[:steps].astype("int32")
