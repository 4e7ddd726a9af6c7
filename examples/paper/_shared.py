"""Shared parts of the figures: fresh networks, the authors' own formulas, style, checks.

M. Gurbuzbalaban and Y. Hu, "Fractional moment-preserving initialization schemes for training deep
neural networks", AISTATS 2021, arXiv 2005.11878. No bias, square layers, `W_ij ~ N(0, g/d)`.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Formulas only: any backend would do, and this one is there without an import of seconds.
os.environ.setdefault("KERAS_BACKEND", "numpy")

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_fracinit import gain, laws
from keras_fracinit.propagation import Propagation, propagate

Array = npt.NDArray[Any]
PICTURES = Path(__file__).parents[2] / "docs" / "paper"
WIDTH, DEPTH, NETWORKS = 64, 100, 1000  # of figures 2, 5 and 6
CHUNK = 25  # networks at once, whose matrices of one layer stay in the cache
KOLMOGOROV = 1.63  # sqrt(n) times the distance of two distribution functions: 1 in 100 exceeds it

# The colours of the orders, of Okabe and Ito; theory is black.
COLOURS = {2.0: "#D55E00", 1.5: "#009E73", 1.0: "#0072B2", 0.5: "#CC79A7"}
NAMES = {2.0: "He (s = 2)", 1.5: "s = 1.5", 1.0: "s = 1", 0.5: "s = 0.5"}


class Activation(NamedTuple):
    law: laws.Law
    function: Callable[[Array], Array]


def leaky_relu(slope: float) -> Activation:
    return Activation(laws.LeakyReLU(slope), lambda x: np.where(x > 0.0, x, x * np.float32(slope)))


ACTIVATIONS = {
    "ReLU": Activation(laws.ReLU(), lambda x: np.maximum(x, 0.0)),
    "linear": Activation(laws.Linear(), lambda x: x),
    "leaky ReLU 0.01": leaky_relu(0.01),
}


def simulate(
    networks: int, depth: int, width: int, activation: str, s: float, seed: int | list[int] = 0
) -> Array:
    """Computes the outputs of fresh networks for an input of ones: networks x width.

    It multiplies real matrices; only the scale of the weights is taken from theory. float32
    suffices, since the log-norm stays within some tens.
    """
    law, function = ACTIVATIONS[activation]
    stddev = np.float32(math.sqrt(gain(law, s, width) / width))
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, networks, CHUNK):
        count = min(CHUNK, networks - first)
        weights = np.empty((count, width, width), "float32")
        signal = np.ones((count, width, 1), "float32")
        for _ in range(depth):
            rng.standard_normal(out=weights, dtype="float32")
            signal = function(stddev * (weights @ signal))
        parts.append(signal[..., 0])
    return np.concatenate(parts)


def log_scale(outputs: Array) -> Array:
    """Computes the log root mean square of the output of every network; the input has 0."""
    return 0.5 * np.log(np.mean(np.square(outputs, dtype="float64"), axis=-1))


def theory(activation: str, s: float, depth: int = DEPTH, width: int = WIDTH) -> Propagation:
    return propagate([width] * depth, ACTIVATIONS[activation].law, s)


def authors_gain(law: laws.Law, s: float, n: int) -> float:
    """`n sigma^2` as the authors print it: of order 1/n, n the fan-in (here also the width).

    The formula for leaky ReLU is also of first order in the squared slope, and wrong at slope 1.
    """
    if law == laws.ReLU():
        return 2.0 + 5.0 * (2.0 - s) / (2.0 * n)
    if law == laws.Linear():
        return 1.0 + (2.0 - s) / (2.0 * n)
    assert isinstance(law, laws.LeakyReLU)
    a2 = law.negative_slope**2
    second = (2.0 - s) * ((5.0 * s - 24.0) * a2 + 10.0) / (2.0 * (s + 2.0) * a2 + 4.0)
    return 2.0 / (1.0 + a2) + second / n


class Checks:
    """Prints measured numbers beside the expected ones, and records whether one is off."""

    def __init__(self, name: str) -> None:
        self.name, self.failed = name, False

    def near(self, what: str, measured: Any, expected: Any, tolerance: Any) -> None:
        """Numbers, or several of each."""
        passed = np.all(np.abs(np.subtract(measured, expected)) <= tolerance)  # nan is none
        text = f"{what}: {_join(measured)}; theory {_join(expected)} +- {_join(tolerance)}"
        self._print(text, bool(passed))

    def below(self, what: str, measured: Any, bound: float) -> None:
        passed = np.all(np.asarray(measured) <= bound)
        self._print(f"{what}: {_join(measured)}; at most {_join(bound)}", bool(passed))

    def say(self, text: str) -> None:
        print(f"{self.name}  {text}")

    def _print(self, text: str, passed: bool) -> None:
        self.failed |= not passed
        self.say(text if passed else f"{text}  FAILED")


def _join(values: Any) -> str:
    return ", ".join(f"{value:.4f}" for value in np.ravel(values))


def log_scales(activation: str) -> dict[float, Array]:
    """Draws the log-scales of He and of s = 1 independently; every call gives the same."""
    index = list(ACTIVATIONS).index(activation)
    return {
        s: log_scale(simulate(NETWORKS, DEPTH, WIDTH, activation, s, seed=[index, int(2 * s)]))
        for s in (2.0, 1.0)
    }


def check_laws(checks: Checks, samples: dict[str, dict[float, Array]]) -> None:
    """Checks how far s = 1 lies above He, and both from their laws, by activation."""
    activations, pairs = ", ".join(samples), list(samples.values())
    shifts = [pair[1.0].mean() - pair[2.0].mean() for pair in pairs]
    errors = [math.sqrt(sum(x.var(ddof=1) / x.size for x in pair.values())) for pair in pairs]
    expected = [theory(activation, 1.0).dominance for activation in samples]
    what = f"shift of s = 1 over He, {activations}"
    checks.near(what, shifts, expected, 3.0 * np.array(errors))
    distances = [
        kolmogorov(sample, theory(activation, s))
        for activation, pair in samples.items()
        for s, sample in pair.items()
    ]
    bound = KOLMOGOROV / math.sqrt(NETWORKS)
    checks.below("distance from the exact distribution function, He and s = 1", distances, bound)
    found = [ACTIVATIONS[activation].law for activation in samples]
    gains = np.array([authors_gain(law, 1.0, WIDTH) * law.mean for law in found])
    checks.say(f"the shift by the authors' formula: {_join(0.5 * DEPTH * np.log(gains))}")


def kolmogorov(sample: Array, law: Propagation) -> float:
    """Computes the largest distance of the empirical distribution function from the exact one."""
    exact = np.array([law.cdf(x) for x in np.sort(sample)])
    steps = np.arange(sample.size + 1) / sample.size
    return float(max((exact - steps[:-1]).max(), (steps[1:] - exact).max()))


def grid(*propagations: Propagation) -> Array:
    """Spans the range where the densities are not negligible, in nats."""
    ends = [p.quantile(q) for p in propagations for q in (3e-4, 1.0 - 3e-4)]
    return np.linspace(min(ends), max(ends), 241)


def density(law: Propagation, x: Array) -> Array:
    """Computes the density of the log-scale, by differentiating the exact distribution function."""
    h = 1e-3
    return np.array([(law.cdf(at + h) - law.cdf(at - h)) / (2.0 * h) for at in x.tolist()])


def normal_density(law: Propagation, x: Array) -> Array:
    scaled = (x - law.mean) ** 2 / law.variance
    result: Array = np.exp(-0.5 * scaled) / math.sqrt(2.0 * math.pi * law.variance)
    return result


def histogram(axes: Axes, sample: Array, s: float, edges: Array) -> None:
    heights, _ = np.histogram(sample, edges)
    # The share among all draws, those beyond the edges included, gives the right density.
    heights = heights / (sample.size * np.diff(edges))
    axes.stairs(heights, edges, fill=True, color=COLOURS[s], alpha=0.4, label=NAMES[s])


# Methods of a distribution function, their densities, their looks.
THEORIES: tuple[tuple[str, Callable[[Propagation, Array], Array], dict[str, Any]], ...] = (
    ("exact", density, {"color": "black", "linewidth": 1.0}),
    ("asymptotic", normal_density, {"color": "black", "linewidth": 1.3, "linestyle": ":"}),
)


def draw_law(left: Axes, right: Axes, activation: str, samples: dict[float, Array]) -> None:
    """Draws density and distribution function of the log-scale, measured and in theory."""
    x = grid(*(theory(activation, s) for s in samples))
    for s, sample in samples.items():
        law = theory(activation, s)
        histogram(left, sample, s, x[::8])
        right.ecdf(sample, color=COLOURS[s], linewidth=2.5, alpha=0.6, label=NAMES[s])
        for method, function, look in THEORIES:
            name = {"exact": "exact", "asymptotic": "normal limit"}[method]
            label = f"theory, {name}" if s == 1.0 else None
            left.plot(x, function(law, x), label=label, **look)
            right.plot(x, [law.cdf(at, method) for at in x.tolist()], **look)
    left.set(title=f"{activation}: density", ylim=0.0)
    right.set(title=f"{activation}: distribution function", ylim=(0.0, 1.0))
    for axes in (left, right):
        axes.set(xlabel="log of the root mean square of the output", xlim=x[[0, -1]])
    add_legend(left)


def add_legend(axes: Axes, **options: Any) -> None:
    axes.legend(frameon=False, fontsize="small", **options)


def run(name: str, draw: Callable[[Checks], Figure]) -> int:
    """Runs the command line of a figure: draw, save, exit non-zero if a check failed."""
    parser = argparse.ArgumentParser(description=f"Draws {name}.png.")
    parser.add_argument("--output", type=Path, default=PICTURES, help="directory, created")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    checks = Checks(name)
    figure = draw(checks)
    figure.savefig(output / f"{name}.png", dpi=110)
    return int(checks.failed)
