"""Checks the verdicts of `learning.py` with plain Keras: other code, other random numbers.

    python benchmarks/learning_by_fit.py               # some minutes, on TensorFlow
    python benchmarks/learning_by_fit.py --only "*conv*" --seeds 5

One deep cell for each family of networks is built of Keras' layers, initialized by Keras and by the
public functions of this package, and trained by `fit`, at the learning rates that `learning.py`
chose. Nothing is shared with it but the data. Two things are as a user would have them, and not as
they are there: epochs end with an incomplete batch, and `reinitialize` draws the last kernel too.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _learning.guide import markdown
from _learning.tasks import Task, linear_score, task
from keras import layers
from rich import box
from rich.console import Console
from rich.table import Table

import keras_fracinit
from keras_fracinit import FracLeakyReLU, reinitialize
from keras_fracinit.propagation import slope_for

RESULTS = Path(__file__).parent / "results"
STEPS = 10  # in one call of the compiled step
SEED = 100  # the first, of which there are none in the grid
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
Cell = dict[str, Any]  # as it is saved


class Method(NamedTuple):
    """How the weights of a network come about.

    Attributes:
        kernels: Makes the initializer of the hidden kernels from the slope of the activation.
        depth_slope: Whether the activation is a leaky ReLU with the slope for the depth.
        reinitialize: Arguments of `reinitialize`, None: it is not called.
    """

    kernels: Callable[[float], Any]
    depth_slope: bool = False
    reinitialize: dict[str, Any] | None = None


def _he(slope: float) -> Any:
    return keras.initializers.HeNormal()


def _orthogonal(slope: float) -> Any:
    return keras.initializers.Orthogonal(math.sqrt(2.0))


def _orthogonal_of_slope(slope: float) -> Any:
    return FracLeakyReLU(slope, s=2.0, distribution="orthogonal")


METHODS = {
    "He (Keras)": Method(_he),
    "orthogonal": Method(_orthogonal),
    "slope 0.9": Method(_orthogonal_of_slope, depth_slope=True),
    "mirrored": Method(_he, reinitialize={"mirrored": True}),
    "mirrored slope 0.9": Method(_he, depth_slope=True, reinitialize={"mirrored": True}),
    "mirrored center": Method(_he, reinitialize={"mirrored": True, "taps": "center"}),
    "zero": Method(_he, reinitialize={"branches": "zero"}),
    "isometry": Method(_he, reinitialize={"mirrored": True, "branches": "isometry"}),
}
_DENSE = ("He (Keras)", "orthogonal", "slope 0.9", "mirrored", "mirrored slope 0.9")
CELLS = {
    "digits-relu-d40-w64-sgd": _DENSE,
    "teacher-relu-d40-w64-adam": _DENSE,
    "digits-relu-d20-w16-adam-conv": ("He (Keras)", "orthogonal", "mirrored", "mirrored center"),
    "teacher-relu-d50-w32-adam-residual": ("He (Keras)", "orthogonal", "zero", "isometry"),
}


def network(cell: Cell, data: Task, method: Method) -> keras.Model:
    """Builds the network of a cell."""
    depth, width = cell["depth"], cell["width"]
    slope = slope_for(depth) if method.depth_slope else 0.0

    def act(x: Any) -> Any:
        return layers.LeakyReLU(negative_slope=slope)(x) if slope else layers.ReLU()(x)

    def linear(x: Any, units: int) -> Any:
        return layers.Dense(units, kernel_initializer=method.kernels(slope))(x)

    x = inputs = keras.Input((data.inputs,))
    if cell["family"] == "conv":
        side = math.isqrt(data.inputs)
        x = layers.Reshape((side, side, 1))(x)
        for _ in range(depth):
            kernels = method.kernels(slope)
            x = act(layers.Conv2D(width, 3, padding="same", kernel_initializer=kernels)(x))
        x = layers.GlobalAveragePooling2D()(x)
    elif cell["family"] == "residual":
        x = linear(x, width)
        for _ in range(depth):
            x = layers.Add()([x, linear(act(linear(x, 2 * width)), width)])
    else:
        for _ in range(depth):
            x = act(linear(x, width))
    return keras.Model(inputs, layers.Dense(data.outputs)(x))


def run(cell: Cell, settings: dict[str, int], method: Method, rate: float, seed: int) -> float:
    """Trains one network; returns the test accuracy."""
    keras.utils.set_random_seed(seed)  # initializers without a seed draw afresh
    data = task(cell["dataset"])
    model = network(cell, data, method)
    if method.reinitialize is not None:
        reinitialize(model, seed=seed, **method.reinitialize)
    optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    model.compile(
        optimizers[cell["optimizer"]](rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS,
    )
    epochs = round(settings["steps"] / math.ceil(len(data.train[0]) / settings["batch"]))
    model.fit(*data.train, batch_size=settings["batch"], epochs=epochs, verbose=0)
    return float(
        model.evaluate(*data.test, batch_size=500, verbose=0, return_dict=True)["accuracy"]
    )


class Row(NamedTuple):
    """A method in a cell: the grid's test scores, and those of `fit`."""

    method: str
    rate: float
    grid: list[float]
    fit: list[float]


def compare(saved: dict[str, Any], names: tuple[str, ...], seeds: int) -> list[Row]:
    rows = []
    for name in names:
        began, runs = time.perf_counter(), saved["methods"][name]
        scores = [
            run(saved["cell"], saved["settings"], METHODS[name], runs["rate"], SEED + i)
            for i in range(seeds)
        ]
        rows.append(Row(name, runs["rate"], runs["test"], scores))
        listed = ", ".join(f"{score:.3f}" for score in scores)
        console.print(f"  {name}: {listed} ({time.perf_counter() - began:.0f} s)")
    return rows


def verdict(row: Row, origin: Row) -> str:
    """Says whether `fit` puts a method on the side of the reference where the grid has it.

    It is open where a mean difference is less than two of its standard errors; the grid's runs are
    paired, those of `fit` are not.
    """
    if row is origin:
        return "the reference"
    grid = np.array(row.grid) - np.array(origin.grid)
    fit = np.mean(row.fit) - np.mean(origin.fit)
    count = len(row.fit)
    spread = np.var(row.fit, ddof=1) + np.var(origin.fit, ddof=1) if count > 1 else 0.0
    if abs(grid.mean()) < 2.0 * grid.std(ddof=1) / math.sqrt(len(grid)):
        return "open in the grid"
    if abs(fit) < 2.0 * math.sqrt(spread / count):
        return "open by fit"
    return "the same" if (fit > 0.0) == (grid.mean() > 0.0) else "OTHERWISE"


def table_of(rows: list[Row], line: float) -> list[dict[str, str]]:
    """Formats the rows of a cell, and that of a linear model."""
    cells = [
        {
            "method": row.method,
            "rate": f"{row.rate:g}",
            "grid: mean": f"{np.mean(row.grid):.3f}",
            "worst": f"{min(row.grid):.3f}",
            "runs": str(len(row.grid)),
            "fit: mean": f"{np.mean(row.fit):.3f}",
            "worst ": f"{min(row.fit):.3f}",
            "runs ": str(len(row.fit)),
            f"side of {rows[0].method}": verdict(row, rows[0]),
        }
        for row in rows
    ]
    means = {"method": "linear model", "grid: mean": f"{line:.3f}", "fit: mean": f"{line:.3f}"}
    return [*cells, dict.fromkeys(cells[0], "") | means]


def show(title: str, rows: list[dict[str, str]]) -> str:
    """Prints a table, and returns it as Markdown."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    lines = [[cell.strip() for cell in line] for line in (rows[0], *(r.values() for r in rows))]
    return f"## {title}\n\n{markdown(lines)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="cells whose name fits this pattern")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method")
    parser.add_argument("--results", type=Path, default=RESULTS / "learning", help="of the grid")
    parser.add_argument("--output", type=Path, default=RESULTS / "learning_by_fit.md")
    arguments = parser.parse_args()
    names = [name for name in CELLS if fnmatch.fnmatch(name, arguments.only)]
    if not names:
        parser.error(f"no cell fits {arguments.only}; there are {', '.join(CELLS)}")
    paths = {name: arguments.results / f"{name}.json" for name in names}
    if missing := [str(path) for path in paths.values() if not path.exists()]:
        parser.error(f"learning.py has not written {', '.join(missing)}")
    began = time.perf_counter()
    versions = f"keras {keras.__version__}, {keras.backend.backend()}"
    parts = [
        "# The verdicts of the learning benchmark, by plain Keras\n",
        f"Test accuracies. `python benchmarks/learning_by_fit.py`, {versions}, keras-fracinit "
        f"{keras_fracinit.__version__}; the rates are those of the grid, the seeds and the code "
        "are not.\n",
    ]
    for name in names:
        saved = json.loads(paths[name].read_text())
        console.print(f"[bold]{name}[/bold]")
        rows = compare(saved, CELLS[name], arguments.seeds)
        parts.append(show(name, table_of(rows, linear_score(saved["cell"]["dataset"]))))
    arguments.output.write_text("\n".join(parts))
    console.print(f"{time.perf_counter() - began:.0f} s. Written: {arguments.output}")


if __name__ == "__main__":
    main()
