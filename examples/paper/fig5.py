"""Figure 5: figure 2 for linear layers and for leaky ReLU of slope 0.01."""

from __future__ import annotations

import sys

from _shared import Checks, Figure, check_laws, draw_law, log_scales, run


def draw(checks: Checks) -> Figure:
    samples = {activation: log_scales(activation) for activation in ("linear", "leaky ReLU 0.01")}
    check_laws(checks, samples)
    figure = Figure(figsize=(10.0, 7.5), layout="constrained")
    for (left, right), activation in zip(figure.subplots(2, 2), samples, strict=True):
        draw_law(left, right, activation, samples[activation])
    return figure


if __name__ == "__main__":
    sys.exit(run("fig5", draw))
