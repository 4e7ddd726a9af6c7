"""Draw what 100 ReLU layers make of angles and sizes, from He, orthogonal and mirrored weights.

    python examples/mirrored_picture.py --output docs/mirrored.png    # some seconds

The demo draws it too. For each kind of weights 20 networks of 64 units are drawn by the package,
and NumPy sends 32 random inputs through each: above, the mean cosine of two inputs; below, the
s-scale at s = 1. Theory is drawn over the networks: the map of cosines, and the band that holds 95
of 100 networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _quiet  # noqa: F401
import keras
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from keras_fracinit import FracReLU
from keras_fracinit.propagation import correlation_map

Array = npt.NDArray[Any]
DEPTH, WIDTH, INPUTS = 100, 64, 32


class Kind(NamedTuple):
    """One kind of weights: the initializer of the first kernel, and that of all others."""

    title: str
    colour: str  # of Okabe and Ito
    first: FracReLU
    others: FracReLU


def mirrored(form: str) -> FracReLU:
    return FracReLU(distribution="orthogonal", pairs=form)


ORTHOGONAL = FracReLU(s=2.0, distribution="orthogonal")
KINDS = (
    Kind("HeNormal", "#D55E00", FracReLU(s=2.0), FracReLU(s=2.0)),
    Kind("orthogonal", "#E69F00", ORTHOGONAL, ORTHOGONAL),
    Kind("mirrored", "#0072B2", mirrored("outputs"), mirrored("both")),
)


def measure(kind: Kind, networks: int, step: Callable[[], None]) -> tuple[Array, Array]:
    """Measures mean cosines and s-scales: networks x (inputs and layers)."""
    cosines, scales = np.empty((2, networks, DEPTH + 1))
    for network in range(networks):
        signal = np.random.default_rng(network).normal(size=(INPUTS, WIDTH))
        for layer in range(DEPTH + 1):
            if layer:
                initializer = kind.first if layer == 1 else kind.others
                kernel = keras.ops.convert_to_numpy(initializer((WIDTH, WIDTH)))
                signal = np.maximum(signal @ kernel, 0.0)
            norms = np.linalg.norm(signal, axis=1)
            total = np.square((signal / norms[:, None]).sum(axis=0)).sum()
            cosines[network, layer] = (total - INPUTS) / (INPUTS * (INPUTS - 1))
            scales[network, layer] = norms.mean() / WIDTH**0.5
        step()
    return cosines, scales / scales[:, 1:2]


def cosines_in_theory(kind: Kind) -> list[float]:
    """Computes the cosines of wide layers: each acts on the angle once or, mirrored, the last."""
    found = [0.0, correlation_map("relu", 0.0)]
    while len(found) <= DEPTH:
        found.append(found[1] if kind.title == "mirrored" else correlation_map("relu", found[-1]))
    return found


def band_in_theory(kind: Kind) -> tuple[Array, Array, Array]:
    """Computes the typical scale behind each layer, relative to the first, and its band."""
    layer = kind.others.describe((WIDTH, WIDTH))
    after = np.arange(DEPTH)
    middle, spread = after * layer.log_norm_mean, 2.0 * np.sqrt(after) * layer.log_norm_std
    return np.exp(middle), np.exp(middle - spread), np.exp(middle + spread)


def draw(path: Path, networks: int = 20, step: Callable[[], None] = lambda: None) -> None:
    """Draws the picture; calls `step` after each network."""
    keras.utils.set_random_seed(0)
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    panels = figure.subplots(2, len(KINDS), sharex=True, sharey="row")
    for kind, (above, below) in zip(KINDS, panels.T, strict=True):
        cosines, scales = measure(kind, networks, step)
        look = {"color": kind.colour, "linewidth": 0.8, "alpha": 0.6}
        theory = {"color": "black", "linestyle": "--", "linewidth": 1.4}
        above.plot(cosines.T, **look)
        above.plot(cosines_in_theory(kind), **theory)
        above.set_title(kind.title)
        middle, low, high = band_in_theory(kind)
        layers = np.arange(1, DEPTH + 1)
        below.fill_between(layers, low, high, color="0.85", linewidth=0.0)
        below.plot(layers, scales[:, 1:].T, **look)
        below.plot(layers, middle, **theory)
        below.set(xlabel="layer", yscale="log", xlim=(0, DEPTH))
    left, lower = panels[:, 0]
    left.set(ylabel="mean cosine of two inputs", ylim=(-0.05, 1.05))
    lower.set(ylabel="s-scale, s = 1, layer 1 being 1", ylim=(0.003, 30.0))
    lower.set_yticks([0.01, 0.1, 1.0, 10.0], ["0.01", "0.1", "1", "10"])
    line = left.plot([], [], color="0.4", linewidth=0.8, label="one network")[0]
    dashes = left.plot([], [], color="black", linestyle="--", label="theory")[0]
    band = lower.fill_between([], [], color="0.85", label="95 of 100 networks, layer by layer")
    where = {"loc": "outside lower center", "ncols": 3, "frameon": False}
    figure.legend(handles=[line, dashes, band], **where)
    figure.suptitle(f"{DEPTH} ReLU layers of {WIDTH} units, {networks} networks each")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("output/mirrored.png"))
    path = parser.parse_args().output
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(path)


if __name__ == "__main__":
    main()
