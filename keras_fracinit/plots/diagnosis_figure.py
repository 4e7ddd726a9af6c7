"""Draws a diagnosis: sizes of the signal, bands of one draw, angles between inputs."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_fracinit.diagnosis.report import Diagnosis, LayerDiagnosis
from keras_fracinit.diagnosis.verdicts import COLLAPSED
from keras_fracinit.plots.style import LEGEND, THEIRS, Figure, log_ticks, thin
from keras_fracinit.utils.validation import check_type

_RIGHT = "#009E73"  # the green of Okabe and Ito


_LEAST = 1e-4  # the smallest 1 - cosine that is drawn


_HOLLOW: dict[str, Any] = {"markersize": 5.0, "markerfacecolor": "white"}


_LETTERS = 110  # the length of a line of the title


def draw_diagnosis(diagnosis: Diagnosis) -> Figure:
    """Draws sizes above cosines, with the verdicts as title."""
    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    colour = _RIGHT if diagnosis.healthy else THEIRS
    lines = [textwrap.fill(verdict, _LETTERS) for verdict in diagnosis.verdicts]
    upper.set_title("\n".join(lines), fontsize="small", color=colour, loc="left", parse_math=False)
    layers = diagnosis.layers
    # Theory does not follow there: a softmax, for one, makes all inputs alike.
    beyond = [i for i, layer in enumerate(layers) if layer.kind and not layer.law]
    _draw_sizes(upper, layers, beyond, colour)
    _draw_cosines(lower, layers, beyond, colour)
    starts = [i for i, o in enumerate(layers) if i == 0 or o.depth != layers[i - 1].depth]
    ticks, labels = thin([str(layers[i].depth) for i in starts], 25.0)
    lower.set_xticks([starts[tick] for tick in ticks], labels, fontsize="small")
    lower.set_xlabel("layers with a kernel, in the order of the calls")
    return figure


def _draw_sizes(
    axes: Axes, layers: tuple[LayerDiagnosis, ...], beyond: list[int], colour: str
) -> None:
    """Draws the size of each output, and for each walk the band and the prediction of theory.

    A walk is a stretch of layers over which theory follows the size of the signal.
    """
    axes.set_yscale("log")
    for walk in sorted({layer.walk for layer in layers} - {0}):
        places = [i for i, layer in enumerate(layers) if layer.walk == walk]
        low, high, predicted = (
            np.array([getattr(layers[i], name) for i in places])
            for name in ("low", "high", "predicted")
        )
        first = walk == 1
        axes.fill_between(
            places, low, high, color="0.88", label="band of one draw" if first else None, zorder=0
        )
        label = "theory of these weights" if first else None
        axes.plot(places, predicted, ":", color="0.2", linewidth=1.4, label=label)
    gradient = np.array([layer.gradient for layer in layers])
    if np.isfinite(gradient).any():
        gradient[~(np.isfinite(gradient) & (gradient > 0.0))] = np.nan
        axes.plot(gradient, "--", color="0.5", linewidth=1.2, label="gradient, sent back")
    size = np.array([layer.size for layer in layers])
    size[~(np.isfinite(size) & (size > 0.0))] = np.nan
    axes.plot(size, "o-", color=colour, markersize=3.0, linewidth=1.2, label="measured")
    label = "theory does not follow" if beyond else None
    axes.plot(beyond, size[beyond], "o", color=colour, **_HOLLOW, label=label)
    lost = np.flatnonzero(np.isnan(size))
    if lost.size:
        edge = np.full(lost.size, 0.03)
        across = axes.get_xaxis_transform()
        axes.plot(lost, edge, "x", color=THEIRS, transform=across, label="zero, nan or infinite")
    axes.set_ylabel("size of the signal")
    locator = log_ticks(*axes.get_ylim())
    axes.yaxis.set(major_locator=locator, major_formatter="{x:g}", minor_formatter="")
    axes.legend(loc="best", **LEGEND)


def _draw_cosines(
    axes: Axes, layers: tuple[LayerDiagnosis, ...], beyond: list[int], colour: str
) -> None:
    """Draws one minus the mean cosine between inputs, with the region of collapse shaded."""
    axes.set_yscale("log")
    distance = 1.0 - np.array([layer.cosine for layer in layers])
    distance = np.maximum(distance, _LEAST)
    axes.plot(distance, "o-", color=colour, markersize=3.0, linewidth=1.2)
    axes.plot(beyond, distance[beyond], "o", color=colour, **_HOLLOW)
    axes.axhspan(_LEAST, 1.0 - COLLAPSED, color="#F5D9C6", zorder=0)
    here: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": "small"}
    axes.text(0.01, 1.2 * _LEAST, "inputs are parallel", va="bottom", color="0.3", **here)
    axes.set_ylim(_LEAST, 2.0)
    axes.set_ylabel("1 - mean cosine\nbetween inputs")


def diagnosis(diagnosis: Diagnosis) -> Figure:
    """Draws the size of the signal through a network, and how similar its inputs become.

    The upper part has the size of each output, on a logarithmic scale. Where theory follows, the
    band of one draw of the weights is grey and the size expected for these weights is dotted. The
    norm of the gradient, relative to that at the outputs, is dashed. The
    lower part has one minus the mean cosine between inputs; in the shaded region they are parallel,
    and later layers cannot tell them apart. The verdicts are the title: green if the network is
    healthy, else vermilion.

    Args:
        diagnosis: The record that `keras_fracinit.diagnose` returns.

    Returns:
        A figure of its own; `figure.savefig("diagnosis.png")` keeps it.

    Raises:
        TypeError: If `diagnosis` is not a `Diagnosis`.

    Example:

    >>> import keras
    >>> from keras_fracinit import diagnose, plots
    >>> hidden = [keras.layers.Dense(32, "relu") for _ in range(10)]
    >>> model = keras.Sequential([keras.Input((8,)), *hidden])
    >>> figure = plots.diagnosis(diagnose(model, keras.random.normal((32, 8))))
    >>> [axes.get_ylabel() for axes in figure.axes][0]
    'size of the signal'
    """
    return draw_diagnosis(check_type("diagnosis", diagnosis, Diagnosis))
