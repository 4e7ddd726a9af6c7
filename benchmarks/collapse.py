"""Measures how size, angles and dimension of inputs change in a fresh ReLU network.

    python benchmarks/collapse.py    # some seconds

scikit-learn's digits pass fresh networks without biases. For the output it prints the root mean
square (decimal logarithm, mean and standard deviation over networks), 1 - the mean cosine of two
different images, and the number of directions in which the images still differ (the participation
ratio of the centred outputs); both are medians over networks. All methods get the same normals from
a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from _lsuv import orthonormal, unit_output
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from keras_fracinit import gain

Array = npt.NDArray[Any]
IMAGES, NETWORKS = 500, 40
SIZES = ((10, 16), (20, 16), (40, 16), (20, 64), (40, 64))


def of_order(s: float) -> Callable[[Array, Array], Array]:
    def layer(signal: Array, normals: Array) -> Array:
        n, d = normals.shape
        return signal @ normals * math.sqrt(gain("relu", s, d) / n)

    return layer


def orthogonal(signal: Array, normals: Array) -> Array:
    return signal @ orthonormal(normals) * math.sqrt(2.0)


def lsuv(signal: Array, normals: Array) -> Array:
    return unit_output(signal, normals)[1]


METHODS = {"He": of_order(2.0), "s = 0": of_order(0.0), "orthogonal": orthogonal, "LSUV": lsuv}


def statistics(signal: Array) -> tuple[float, float, float]:
    norms = np.linalg.norm(signal, axis=1)
    alive = signal[norms > 0.0] / norms[norms > 0.0, None]
    pairs = max(len(alive) * (len(alive) - 1), 1)
    cosine = (float(np.square(alive.sum(axis=0)).sum()) - len(alive)) / pairs
    squares = np.square(np.linalg.svd(signal - signal.mean(axis=0), compute_uv=False))
    directions = squares.sum() ** 2 / max(float(np.square(squares).sum()), 1e-300)
    rms = math.sqrt(float(np.square(norms).mean()) / signal.shape[1])
    return math.log10(max(rms, 1e-30)), 1.0 - cosine, directions


def main() -> None:
    images = load_digits(return_X_y=True)[0][:IMAGES] / 8.0 - 1.0
    table = Table(title=f"{NETWORKS} fresh ReLU networks, {IMAGES} images")
    for column in ("depth x width", "method", "log10 RMS", "1 - cosine", "directions"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for depth, width in SIZES:
        for name, layer in METHODS.items():
            rows = []
            for seed in range(NETWORKS):
                rng, signal = np.random.default_rng(seed), images
                for _ in range(depth):
                    normals = rng.normal(size=(signal.shape[1], width))
                    signal = np.maximum(layer(signal, normals), 0.0)
                rows.append(statistics(signal))
            scale, distance, directions = np.array(rows).T
            cells = (f"{scale.mean():+.2f} ± {scale.std():.2f}", f"{np.median(distance):.4f}")
            table.add_row(f"{depth} x {width}", name, *cells, f"{np.median(directions):.2f}")
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
