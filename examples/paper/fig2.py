"""Figure 2: the log-norm of the output of 100 ReLU layers of width 64, from He and from s = 1.

Density and distribution function of the logarithm of the root mean square of the output, that of
the input being 1 (of the norm itself: the same law, moved by log(64)/2). s = 1 lies to the right by
a constant: the same shape, and small outputs are rarer at every threshold.
"""

from __future__ import annotations

import sys

from _shared import Checks, Figure, check_laws, draw_law, log_scales, run


def draw(checks: Checks) -> Figure:
    samples = log_scales("ReLU")
    check_laws(checks, {"ReLU": samples})
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_law(left, right, "ReLU", samples)
    return figure


if __name__ == "__main__":
    sys.exit(run("fig2", draw))
