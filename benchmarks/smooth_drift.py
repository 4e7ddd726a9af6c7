"""Measures over how many layers smooth activations keep the moment of `FracActivation`.

    python benchmarks/smooth_drift.py    # about a minute

Networks of equal layers start from pre-activations of unit root mean square, where s = 1 is kept
exactly by one layer. The table, in Markdown, has for each activation the slope of the length map,
the gradient factor (of a squared gradient, per layer), the root mean square behind 50 infinitely
wide layers that start at 1.25, and the s-scale and the median of the size of the signal after 20
and 50 layers, over that of the operating point: 1 means kept. ReLU, which keeps s = 1 everywhere,
is the control.

Given its input, the pre-activation of a layer of independent normal weights is exactly a normal
vector of the input's size. So one number per network is carried on, and no weights are drawn.
Where the standard error is not small against the mean, few networks make up the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_fracinit import gain, laws
from keras_fracinit.laws import Smooth
from keras_fracinit.laws.curves import CURVES

Array = npt.NDArray[Any]
WIDTHS, LAYERS = (16, 64, 256), (20, 50)
NORMALS = 512_000  # per layer, shared out among the networks
CHUNK = 128_000


def simulate(phi: Callable[[Array], Array], g: float, width: int, seed: int) -> list[Array]:
    """Simulates the size of the pre-activations that follow each of `LAYERS`, by network."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(NORMALS // CHUNK):
        size, kept = np.ones((CHUNK // width, 1)), []
        for layer in range(1, max(LAYERS) + 1):
            y = phi(size * rng.standard_normal((len(size), width)))
            size = np.sqrt(g * (y**2).mean(axis=1, keepdims=True))
            if layer in LAYERS:
                kept.append(size[:, 0])
        parts.append(kept)
    return [np.concatenate(sizes) for sizes in zip(*parts, strict=True)]


def wide(
    phi: Callable[[Array], Array], mean: float, start: float = 1.25, layers: int = 50
) -> float:
    """Iterates the length map."""
    z = np.linspace(-9.0, 9.0, 4001)
    weights = np.exp(-0.5 * z * z)
    r = start
    for _ in range(layers):
        r = math.sqrt(float(np.average(phi(r * z) ** 2, weights=weights)) / mean)
    return r


def row(name: str) -> str:
    if name == "relu":
        law: Any = laws.ReLU()
        phi: Callable[[Array], Array] = lambda z: np.maximum(z, 0.0)  # noqa: E731
        cells = [name, "1", "1"]
    else:
        law, phi = Smooth(name), CURVES[name].value
        cells = [name, f"{law.length_slope:.3f}", f"{law.gradient_factor:.3f}"]
    cells.append(f"{wide(phi, law.mean):.4g}")
    for width in WIDTHS:
        for size in simulate(phi, gain(law, 1.0, width), width, seed=width):
            error = size.std() / math.sqrt(size.size)
            cells.append(f"{size.mean():.3g} ± {error:.1g} ({np.median(size):.2g})")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    heads = ["activation", "slope", "gradient factor", "1.25, 50 wide layers"]
    heads += [f"width {width}, layer {layer}" for width in WIDTHS for layer in LAYERS]
    print("s-scale at s = 1 ± standard error (median), 1 is kept\n")
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for name in ("relu", *CURVES):
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
