"""Measures the cost of drawing a kernel, importing the package and computing a gain.

    KERAS_BACKEND=tensorflow python benchmarks/initialization.py
    KERAS_BACKEND=tensorflow python benchmarks/initialization.py mirrored    # only mirrored kernels

Every figure stands beside its rival, measured in turn in the same run; only ratios mean anything on
a shared machine. Nothing here is asserted.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import mpmath as mp
from _models import small_vgg
from _timing import in_turn, seconds
from rich.console import Console
from rich.table import Table

from keras_fracinit import FracReLU, gain, laws, reinitialize
from keras_fracinit.propagation import moments

console = Console(highlight=False)


def draw_kernels() -> None:
    table = Table(
        title=f"Drawing a kernel on {keras.backend.backend()}: FracReLU against Keras",
        caption="milliseconds, medians; ratio: median over pairs of calls",
    )
    for name in ("distribution", "shape", "ours", "Keras", "ratio"):
        table.add_column(name, justify="left" if name == "distribution" else "right")
    for distribution in ("untruncated_normal", "truncated_normal", "uniform", "orthogonal"):
        # From one seed on both sides: new numbers take longer than the same ones again.
        ours = FracReLU(distribution=distribution, seed=0)
        if distribution == "orthogonal":
            theirs = keras.initializers.Orthogonal(seed=0)
        else:
            theirs = keras.initializers.VarianceScaling(2.0, distribution=distribution, seed=0)
        for side, rounds in ((64, 1000), (1024, 40), (4096, 12)):
            if distribution == "orthogonal" and side > 1024:
                continue  # minutes of QR, the same on both sides
            shape = (side, side)
            pair = in_turn(partial(ours, shape), partial(theirs, shape), rounds)
            cells = [f"{1e3 * value:.3f}" for value in pair.medians]
            table.add_row(distribution, f"{side} x {side}", *cells, f"{pair.ratio:.3f}")
    console.print(table)


def draw_mirrored_kernels() -> None:
    table = Table(
        title=f"Drawing a mirrored kernel on {keras.backend.backend()}, against an unmirrored one",
        caption="milliseconds, medians; ratio: median over pairs of calls",
    )
    for name in ("distribution", "pairs", "shape", "mirrored", "unmirrored", "ratio"):
        left = name in ("distribution", "pairs")
        table.add_column(name, justify="left" if left else "right")
    for distribution in ("untruncated_normal", "uniform", "orthogonal"):
        for pairs in ("outputs", "both", "inputs"):
            ours = FracReLU(distribution=distribution, pairs=pairs)
            theirs = FracReLU(distribution=distribution)
            for side, rounds in ((64, 600), (1024, 9 if distribution == "orthogonal" else 40)):
                shape = (side, side)
                pair = in_turn(partial(ours, shape), partial(theirs, shape), rounds)
                cells = [f"{1e3 * value:.3f}" for value in pair.medians]
                table.add_row(distribution, pairs, f"{side} x {side}", *cells, f"{pair.ratio:.3f}")
    console.print(table)


def reinitialize_models() -> None:
    """Re-initializes whole models, mirrored and unmirrored, from the same distribution.

    The QR decompositions of orthogonal kernels of VGG16 take minutes, on both sides. None stands
    for the defaults: mirrored orthogonal, but for large blocks, and the distribution of Keras.
    """
    for name, build, distribution in (
        ("VGG16", partial(keras.applications.VGG16, weights=None), None),
        ("VGG16", partial(keras.applications.VGG16, weights=None), "untruncated_normal"),
        ("small VGG", small_vgg, "untruncated_normal"),
        ("small VGG", small_vgg, "orthogonal"),
    ):
        call = partial(reinitialize, build(), seed=0, distribution=distribution)
        (ours, theirs), ratio = in_turn(partial(call, mirrored=True), call, 3)[1:]
        console.print(
            f"{name}, {distribution or 'defaults'}: reinitialize(mirrored=True) {ours:.2f} s, "
            f"reinitialize() {theirs:.2f} s (medians of 3), ratio {ratio:.3f}."
        )


def import_package() -> None:
    def run(statement: str) -> Callable[[], object]:
        command = [sys.executable, "-c", statement]
        return lambda: subprocess.run(command, check=True, capture_output=True)

    commands = run("import keras, keras_fracinit"), run("import keras")
    ours, theirs = in_turn(*commands, 7).medians
    console.print(
        f"Import: keras {theirs:.2f} s, keras and keras_fracinit {ours:.2f} s (medians of 7 whole "
        f"processes), ratio {ours / theirs:.3f}."
    )


def authors_gain(s: float, width: int) -> float:
    """Computes the exact sum for ReLU as the paper's scripts do, in float64."""
    p = s / 2
    terms = (
        math.comb(width, k) / 2**width * 2**p * math.gamma(k / 2 + p) / math.gamma(k / 2)
        for k in range(1, width + 1)
    )
    return float(width / sum(terms) ** (1 / p))


def true_gain(s: float, width: int) -> mp.mpf:
    """Computes the same sum in 40 digits, where nothing overflows."""
    with mp.workdps(40):
        p = mp.mpf(s) / 2
        terms = (
            mp.binomial(width, k) * mp.gammaprod([mp.mpf(k) / 2 + p], [mp.mpf(k) / 2])
            for k in range(1, width + 1)
        )
        return width / (mp.mpf(2) ** (p - width) * sum(terms)) ** (1 / p)


def cold_gain(s: float, width: int) -> float:
    moments.race_of.cache_clear()
    moments._gain.cache_clear()
    return gain("relu", s, width)


def compute_gains() -> None:
    s, law = 1.0, laws.ReLU()
    table = Table(
        title="The gain for ReLU, s = 1: ours against the exact sum of the authors' scripts",
        caption="times in microseconds; errors relative to 40-digit arithmetic",
    )
    for name in ("width", "ours cold", "ours cached", "sum", "error of ours", "error of the sum"):
        table.add_column(name, justify="right")
    for width in (2, 16, 64, 256, 341, 342, 1024, 4096):
        truth = true_gain(s, width)
        cold = statistics.median(seconds(partial(cold_gain, s, width)) for _ in range(50))
        cached = min(timeit.repeat(partial(gain, law, s, width), number=2000, repeat=5)) / 2000
        error = float(abs(gain("relu", s, width) / truth - 1))
        try:
            theirs = float(abs(authors_gain(s, width) / truth - 1))
            times = [seconds(partial(authors_gain, s, width)) for _ in range(5)]
            cells = f"{1e6 * statistics.median(times):.0f}", f"{theirs:.1e}"
        except OverflowError:
            cells = "-", "overflows"
        row = (f"{1e6 * cold:.0f}", f"{1e6 * cached:.2f}", cells[0], f"{error:.1e}", cells[1])
        table.add_row(str(width), *row)
    console.print(table)


if __name__ == "__main__":
    if "mirrored" not in sys.argv:
        compute_gains()
        draw_kernels()
        import_package()
    draw_mirrored_kernels()
    reinitialize_models()
