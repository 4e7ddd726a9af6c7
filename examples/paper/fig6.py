"""Figure 6: the density of the output of figures 2 and 5, on its own scale.

It is the density of the root mean square r of the output, for an input of 1; the networks are the
same. In the limit it is log-normal: s = 1 has the heavier tail, and fewer outputs near zero.
"""

from __future__ import annotations

import sys

import numpy as np
from _shared import (
    ACTIVATIONS,
    NETWORKS,
    Array,
    Axes,
    Checks,
    Figure,
    add_legend,
    density,
    histogram,
    log_scales,
    run,
    theory,
)

SMALL, LARGEST = 0.1, 2.5


def draw_panel(axes: Axes, activation: str, samples: dict[float, Array]) -> None:
    x = np.geomspace(1e-3, LARGEST, 300)
    for s, sample in samples.items():
        histogram(axes, np.exp(sample), s, np.linspace(0.0, LARGEST, 26))
        label = "theory, exact" if s == 1.0 else None
        axes.plot(x, density(theory(activation, s), np.log(x)) / x, "k-", lw=1.0, label=label)
    axes.set(title=activation, xlabel="root mean square of the output", xlim=(0.0, LARGEST))
    axes.set(yscale="log", ylim=(1e-2, 10.0))


def check_small_outputs(checks: Checks, samples: dict[str, dict[float, Array]]) -> None:
    for s in (2.0, 1.0):
        measured = [np.mean(pair[s] <= np.log(SMALL)) for pair in samples.values()]
        expected = np.array([theory(name, s).probability_below(SMALL) for name in samples])
        tolerance = 3.0 * np.sqrt(expected * (1.0 - expected) / NETWORKS)
        what = f"share of outputs below {SMALL}, s = {s:g}, {', '.join(samples)}"
        checks.near(what, measured, expected, tolerance)


def draw(checks: Checks) -> Figure:
    samples = {activation: log_scales(activation) for activation in ACTIVATIONS}
    check_small_outputs(checks, samples)
    figure = Figure(figsize=(12.0, 3.8), layout="constrained")
    panels = figure.subplots(1, len(samples), sharey=True)
    for axes, (activation, pair) in zip(panels, samples.items(), strict=True):
        draw_panel(axes, activation, pair)
    panels[0].set_ylabel("density")
    add_legend(panels[0])
    return figure


if __name__ == "__main__":
    sys.exit(run("fig6", draw))
