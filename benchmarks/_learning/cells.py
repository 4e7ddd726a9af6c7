"""Lists the cells of the grid: a task, a network, an optimizer, and the methods compared there."""

from __future__ import annotations

import fnmatch
import functools
from dataclasses import dataclass, replace
from typing import Any

from _learning.methods import METHODS
from _learning.networks import ACTIVATIONS, FAMILIES, Network
from _learning.tasks import task


@dataclass(frozen=True)
class Cell:
    """One place of the grid, in which all methods are compared.

    Attributes:
        family: A key of `FAMILIES`.
        bottleneck: The units in the middle of an autoencoder.
        precision: The type of the signal.
        rate: A learning rate given to all methods; 0: each has its own.
    """

    dataset: str
    activation: str
    depth: int
    width: int
    optimizer: str
    family: str = "dense"
    bottleneck: int = 0
    precision: str = "float32"
    rate: float = 0.0

    @property
    def name(self) -> str:
        parts = [self.dataset, self.activation, f"d{self.depth}", f"w{self.width}", self.optimizer]
        parts += [self.family] * (self.family != "dense")
        parts += [f"b{self.bottleneck}"] * (self.bottleneck > 0)
        parts += [self.precision] * (self.precision != "float32")
        parts += [f"rate{self.rate:g}"] * (self.rate > 0.0)
        return "-".join(parts)

    @functools.cached_property
    def network(self) -> Network:
        data = task(self.dataset)
        options = {"bottleneck": self.bottleneck} if self.bottleneck else {}
        if self.precision != "float32":
            options["precision"] = self.precision  # type: ignore[assignment]
        make, sizes = FAMILIES[self.family], (self.depth, self.width)
        return make(data.inputs, data.outputs, *sizes, self.activation, **options)


@dataclass(frozen=True)
class Settings:
    """The settings that the runs of a cell share, and the numbers of runs."""

    steps: int = 1000
    batch: int = 32  # 64 costs 1.7 times as much per step
    every: int = 50  # steps between two looks at the training score
    seeds: int = 20
    selection_seeds: int = 5


@dataclass(frozen=True)
class Block:
    """Cells that have the same methods and settings; a section of the report.

    Attributes:
        name: That of the section.
        title: Its heading.
        cells: The cells.
        methods: Names of the methods; a cell leaves out those that its activation does not know.
        settings: The settings of all cells.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    methods: tuple[str, ...]
    settings: Settings = Settings()

    def methods_of(self, cell: Cell) -> list[str]:
        law = ACTIVATIONS[cell.activation].law
        return [name for name in self.methods if METHODS[name].knows(law)]


# Methods for positively homogeneous activations.
_ALL = (
    *("He (Keras)", "Xavier", "orthogonal", "LSUV", "ZerO", "ours s=0", "ours s=1"),
    *("mirrored", "mirrored s=2", "mirrored s=1", "mirrored s=0"),
    *("slope 0.9", "slope 0.7", "slope 0.9 s=2", "slope 0.7 s=2", "mirrored slope 0.9"),
)
_MORE = ("He", "random walk", "authors", "ours s=0.5", "ours s=1.5")
_MAIN = (
    *("He (Keras)", "orthogonal", "LSUV", "ours s=1", "mirrored", "mirrored s=2"),
    *("slope 0.9", "slope 0.7", "mirrored slope 0.9"),
)
_FEW = ("He (Keras)", "orthogonal", "mirrored", "slope 0.9")
_SMOOTH = (
    *("Xavier", "He sqrt2", "LeCun", "orthogonal 1", "smooth s=0", "smooth s=1", "smooth s=2"),
    *("gradient s=1", "geometric s=1", "mirrored", "mirrored s=2", "mirrored s=0"),
)
_STABLE = ("stable 1.8", "stable 1.5", "stable 1.2")
_CONVOLUTIONAL = (
    *("He (Keras)", "orthogonal", "delta-orthogonal", "mirrored", "mirrored s=2"),
    *("mirrored center", "mirrored center s=2"),
)
_RESIDUAL = ("He (Keras)", "Xavier", "orthogonal", "zero", "isometry")
_BY_ORDER = (
    *("He (Keras)", "He", "ours s=1", "ours s=0.5", "ours s=0"),
    *("mirrored s=2", "mirrored s=1", "mirrored s=0.5", "mirrored s=0"),
)


def _cells(
    datasets: str,
    activations: str,
    depths: tuple[int, ...],
    *widths: int,
    optimizers: str = "sgd adam",
    **more: Any,
) -> tuple[Cell, ...]:
    return tuple(
        Cell(dataset, activation, depth, width, optimizer, **more)
        for activation in activations.split()
        for width in widths
        for depth in depths
        for dataset in datasets.split()
        for optimizer in optimizers.split()
    )


_FORTY = Settings(seeds=40)
_TEN = Settings(seeds=10)
_EIGHT = Settings(seeds=8, selection_seeds=4)
_WINDOWS = Settings(steps=200, seeds=4, selection_seeds=2)
BLOCKS: tuple[Block, ...] = (
    Block(
        "beyond40",
        "ReLU, 40 layers, beyond what a line can separate",
        _cells("cancer product spirals teacher", "relu", (40,), 64),
        _ALL,
        _TEN,
    ),
    Block(
        "relu40", "ReLU, 40 layers, digits", _cells("mnist digits", "relu", (40,), 64), _ALL + _MORE
    ),
    Block(
        "relu",
        "ReLU, 10 and 20 layers",
        _cells("mnist digits cancer product spirals teacher", "relu", (10, 20), 64),
        _MAIN,
        _TEN,
    ),
    Block("deep", "ReLU, 100 layers", _cells("digits product", "relu", (100,), 64), _ALL, _TEN),
    Block(
        "deepest",
        "ReLU, 200 and 1,000 layers",
        _cells("digits teacher", "relu", (200, 1000), 64, optimizers="adam"),
        _FEW,
        Settings(steps=500, seeds=3, selection_seeds=3),
    ),
    Block(
        "smooth",
        "Smooth activations and heavy-tailed weights, 20 layers",
        _cells("digits", "tanh gelu silu selu", (20,), 64),
        (*_SMOOTH, *_STABLE),
        _EIGHT,
    ),
    Block(
        "smooth40",
        "Smooth activations, 40 layers",
        _cells("digits", "tanh gelu", (40,), 64)
        + _cells("teacher", "tanh gelu", (40,), 64, optimizers="adam"),
        _SMOOTH,
        _EIGHT,
    ),
    Block(
        "conv",
        "Convolutional networks",
        _cells("digits", "relu", (10, 20, 40), 16, family="conv", optimizers="adam")
        + _cells("digits", "gelu", (20,), 16, family="conv", optimizers="adam")
        + _cells("mnist7", "relu", (20,), 16, family="conv", optimizers="adam"),
        _CONVOLUTIONAL,
        _WINDOWS,
    ),
    Block(
        "residual",
        "Residual networks without normalization",
        _cells(
            "digits product teacher", "relu", (10, 50), 32, family="residual", optimizers="adam"
        ),
        _RESIDUAL,
        _EIGHT,
    ),
    Block(
        "convresidual",
        "Convolutional residual networks",
        _cells("digits", "relu", (10,), 16, family="convresidual", optimizers="adam"),
        _RESIDUAL,
        Settings(steps=300, seeds=6, selection_seeds=3),
    ),
    Block(
        "narrow",
        "Where s could matter: narrow networks and squared loss",
        _cells("quintic", "leaky0.01", (40,), 2, 4, 8, optimizers="adam", rate=0.003)
        + _cells("quintic", "leaky0.01", (40,), 8, optimizers="sgd", rate=0.003)
        + _cells("digits", "relu", (40,), 8, optimizers="sgd", rate=0.01)
        + _cells("digits", "relu", (40,), 8, optimizers="adam", rate=0.001),
        _BY_ORDER,
        _FORTY,
    ),
    Block(
        "half",
        "Where s could matter: float16 at 100 layers",
        _cells(
            *("digits", "relu", (100,), 8, 16),
            optimizers="adam",
            precision="float16",
            rate=0.001,
        ),
        _BY_ORDER,
        _FORTY,
    ),
    Block(
        "autoencoder",
        "Where s could matter: autoencoders",
        _cells("images", "relu", (20,), 32, family="autoencoder", bottleneck=2)
        + _cells("images", "relu", (20,), 32, family="autoencoder", bottleneck=4),
        _BY_ORDER,
        _FORTY,
    ),
    Block(
        "others",
        "Leaky, linear and random activations",
        _cells("digits", "leaky linear rrelu dropout", (20,), 64),
        _MAIN,
        _EIGHT,
    ),
    Block(
        "narrow16",
        "ReLU, 16 units",
        _cells("mnist digits", "relu", (10, 20, 40), 16),
        _MAIN,
        _TEN,
    ),
)


def blocks(*patterns: str) -> list[Block]:
    """Selects the cells whose name, or whose block's, fits a pattern, pattern by pattern."""
    found: list[Block] = []
    taken: set[Cell] = set()
    for pattern in patterns or ("*",):
        for block in BLOCKS:
            whole = fnmatch.fnmatch(block.name, pattern)
            fitting = [c for c in block.cells if whole or fnmatch.fnmatch(c.name, pattern)]
            cells = tuple(cell for cell in fitting if cell not in taken)
            taken |= set(cells)
            if cells:
                found.append(replace(block, cells=cells))
    return found
