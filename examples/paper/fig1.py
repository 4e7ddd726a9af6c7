"""Figure 1: moments of the output of 500 ReLU layers; the scale of the weights against the width.

Left: the alpha-th moment of a unit, over 500 draws of the network. 500 draws never reach the moment
of the population, to which very rare large outputs contribute most; so the figure has the
simulation, the band in which 500 draws lie, and the population. Right: `log(sigma^2 - 2/d)` against
`log d`.
"""

from __future__ import annotations

import math
import sys

import numpy as np
from _shared import (
    ACTIVATIONS,
    COLOURS,
    NAMES,
    WIDTH,
    Array,
    Axes,
    Checks,
    Figure,
    add_legend,
    authors_gain,
    log_scale,
    run,
    simulate,
    theory,
)

from keras_fracinit import gain

DEPTH, DRAWS, REPEATS = 500, 500, 300
ORDERS = (2.0, 1.5, 1.0)
ALPHAS = np.linspace(1.0, 3.0, 11)
WIDTHS = np.array([16, 32, 64, 128, 256, 512, 1024])
SIGNALS = 20_000  # the number of signals on which a scale is measured
LAW, FUNCTION = ACTIVATIONS["ReLU"]


def log_moments(outputs: Array) -> Array:
    """Computes `log (mean |x|^alpha)^(1/alpha)` over the last two axes, draws and units."""
    count = outputs.shape[-1] * outputs.shape[-2]
    return np.array(
        [np.log(np.sum(outputs**alpha, axis=(-2, -1)) / count) / alpha for alpha in ALPHAS]
    )


def log_moments_in_theory(s: float, seed: int) -> Array:
    """Repeats the moments of 500 draws according to theory: alphas x repeats.

    Given the root mean square r of layer 499, the units of the last one are independent and
    `sqrt(g) r relu(z)`, z standard normal, so that the mean of `x^alpha` over units is
    `(sqrt(g) r)^alpha` times that of `relu(z)^alpha`. And log r has the exact law of the log-norm,
    drawn by its quantiles.
    """
    rng, before = np.random.default_rng(seed), theory("ReLU", s, DEPTH - 1)
    sd = math.sqrt(before.variance)
    x = before.mean + sd * np.linspace(-7.0, 7.0, 561)
    cdf = np.array([before.cdf(at) for at in x.tolist()])
    log_r = np.interp(rng.uniform(size=(REPEATS, DRAWS, 1)), cdf, x)
    units = np.maximum(rng.standard_normal((REPEATS, DRAWS, WIDTH), "float32"), 0.0)
    return log_moments((math.sqrt(gain(LAW, s, WIDTH)) * np.exp(log_r)).astype("float32") * units)


def log_moments_of_population(s: float) -> Array:
    before, g = theory("ReLU", s, DEPTH - 1), gain(LAW, s, WIDTH)
    # E relu(z)^alpha, half the absolute moment of a standard normal.
    units = [
        math.log(0.5 / math.sqrt(math.pi)) + 0.5 * a * math.log(2.0) + math.lgamma(0.5 * (a + 1.0))
        for a in ALPHAS.tolist()
    ]
    growth = [before.log_moment(a) + 0.5 * a * math.log(g) for a in ALPHAS.tolist()]
    return (np.array(units) + np.array(growth)) / ALPHAS


def draw_moments(axes: Axes, checks: Checks) -> None:
    ranks, means, laws = [], [], []
    for seed, s in enumerate(ORDERS):
        outputs = simulate(DRAWS, DEPTH, WIDTH, "ReLU", s, seed)
        measured = log_moments(outputs.astype("float64"))
        expected = log_moments_in_theory(s, seed=100 + seed)
        low, middle, high = np.quantile(expected, [0.05, 0.5, 0.95], axis=1)
        look = {"color": COLOURS[s]}
        axes.fill_between(ALPHAS, np.exp(low), np.exp(high), alpha=0.15, linewidth=0.0, **look)
        axes.plot(ALPHAS, np.exp(middle), "--", linewidth=1.2, **look)
        axes.plot(ALPHAS, np.exp(measured), "o", label=NAMES[s], markersize=5.0, **look)
        population = np.exp(log_moments_of_population(s))
        axes.plot(ALPHAS, population, ":", linewidth=1.2, **look)
        ranks += np.mean(expected < measured[:, None], axis=1).tolist()
        means.append(log_scale(outputs).mean())
        laws.append(theory("ReLU", s, DEPTH))
    errors = [math.sqrt(law.variance / DRAWS) for law in laws]
    what = "mean log of the output of 500 layers, s = 2, 1.5, 1"
    checks.near(what, means, [law.mean for law in laws], 3.0 * np.array(errors))
    axes.plot([], [], "k--", linewidth=1.2, label="theory: median of 500 draws, 5-95 %")
    axes.plot([], [], "k:", linewidth=1.2, label="theory: population")
    axes.set(yscale="log", xlabel=r"$\alpha$", title="500 ReLU layers of width 64")
    axes.set_ylabel(r"$(\mathrm{mean}\ x^\alpha)^{1/\alpha}$")
    add_legend(axes)
    what = "smallest and largest quantile of the moments among what 500 draws give"
    checks.near(what, [min(ranks), max(ranks)], [0.5, 0.5], 0.495)


def measured_excess(s: float, d: int) -> float:
    """Measures `sigma^2 - 2/d` on random signals.

    It depends on the norm of `relu(z)` alone, so that no matrix is needed: with X the squared norm
    over its mean, sigma^2 is `(2/d) (E X^p)^(-1/p)`, p = s/2. Averaged is `X^p - 1 - p (X - 1)`,
    which has the mean of `X^p - 1`, because E X = 1, and 1/d of its noise.
    """
    z = np.random.default_rng([d, int(2 * s)]).standard_normal((SIGNALS, d), "float32")
    x = np.square(FUNCTION(z)).sum(axis=1, dtype="float64") / (LAW.mean * d)
    p = 0.5 * s
    excess = float(np.mean(x**p - 1.0 - p * (x - 1.0)))
    return 2.0 / d * math.expm1(-math.log1p(excess) / p)


def draw_scale(axes: Axes, checks: Checks) -> None:
    log_d, slopes = np.log(WIDTHS), []
    for s in (0.5, 1.0, 1.5):
        exact = np.log([(gain(LAW, s, d) - 2.0) / d for d in WIDTHS.tolist()])
        authors = np.log([(authors_gain(LAW, s, d) - 2.0) / d for d in WIDTHS.tolist()])
        measured = np.log([measured_excess(s, d) for d in WIDTHS.tolist()])
        axes.plot(log_d, exact, color=COLOURS[s], linewidth=1.2)
        axes.plot(log_d, authors, "k:", linewidth=1.0)
        axes.plot(log_d, measured, "o", color=COLOURS[s], markersize=5.0, label=NAMES[s])
        slopes += [np.polyfit(log_d, values, 1)[0] for values in (exact, measured)]
    what = "slope of sigma^2 - 2/d, exact and measured, s = 0.5, 1, 1.5"
    checks.near(what, slopes, -2.0, 0.05)
    axes.plot([], [], "k-", linewidth=1.2, label="theory, exact")
    axes.plot([], [], "k:", linewidth=1.0, label="the authors' formula, slope -2")
    axes.set(xlabel="log d", ylabel=r"log($\sigma^2$ - 2/d)", title="ReLU: scale of the weights")
    add_legend(axes)


def draw(checks: Checks) -> Figure:
    figure = Figure(figsize=(11.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_moments(left, checks)
    draw_scale(right, checks)
    return figure


if __name__ == "__main__":
    sys.exit(run("fig1", draw))
