"""Provides what all pictures share: figures, colours, legends, ticks, thinned labels."""

from __future__ import annotations

import io
import itertools
from typing import Any

from matplotlib import figure
from matplotlib.axes import Axes
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

LEGEND: dict[str, Any] = {"frameon": False, "fontsize": "small"}


_OURS, THEIRS = "#0072B2", "#D55E00"  # blue and vermilion, of Okabe and Ito


class Figure(figure.Figure):
    """A figure that a notebook shows, with `%matplotlib inline` or without."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def thin(labels: list[str], room: float) -> tuple[range, list[str]]:
    """Keeps every n-th label, n = 1, 2, 5, 10, ..., so that they fit into the room."""
    strides = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    every = next(stride for stride in strides if len(labels) <= stride * max(room, 1.0))
    return range(0, len(labels), every), labels[::every]


def log_ticks(low: float, high: float) -> Locator:
    """Chooses ticks for a logarithmic axis.

    At 1, 2 and 5 times powers of ten, a narrow range would have almost none and a wide one too
    many.
    """
    if high < 5.0 * low:
        return MaxNLocator(6)
    return LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,))


def _add_legend(axes: Axes, handles: list[Any], labels: list[str]) -> None:
    place: dict[str, Any] = {"loc": "best", **LEGEND, "frameon": True, "edgecolor": "none"}
    if axes.figure.get_layout_engine() is not None:  # the engine makes room below the axes
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "borderaxespad": 4.5}
        place |= {"ncols": 2, **LEGEND}
    axes.legend(handles, labels, **place)
