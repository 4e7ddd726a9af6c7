"""Makes histories for tests of pictures, and reads back what is drawn of them."""

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from keras_fracinit import LayerScale
from keras_fracinit.callbacks import COLUMNS

NAN = math.nan
STEPS = (0, 10, 25)
LAYERS = ("net/block/dense", "net/block/dense_1", "net/head")
VALUES = np.array([[1.0, 1.5, 2.0], [0.8, 0.9, 3.0], [0.5, 0.7, 4.0]])
# Unlike one another, so that a mistaken order or a mistaken sum shows.
THEORY = [
    LayerScale(64, 64, 64, 2.0, 0.1, 1.0, "He", mean, std)
    for mean, std in [(-0.02, 0.1), (0.01, 0.2), (-0.3, 0.05)]
]


def frame(values, layers=LAYERS, steps=STEPS, statistic="s_scale", order=1.0, stderr=0.1):
    """A history: layers x steps; among the rows some that are about no layer."""
    rows = []
    for j, step in enumerate(steps):
        for layer, value in zip(layers, np.asarray(values)[:, j], strict=True):
            path, call = layer if isinstance(layer, tuple) else (layer, 0)
            error = stderr * abs(value)
            rows.append((step, j, path, call, "activations", statistic, order, value, error))
        rows.append((step, j, "", 0, "activations", "slope", order, -0.1, 0.01))
        rows.append((step, j, "", 0, "logger", "seconds", NAN, 0.2, NAN))
    return pd.DataFrame(rows, columns=COLUMNS)


def cells(ax):
    return ax.collections[0].get_array()


def marked(ax):
    """The hatched cells, by the label that explains them."""
    keys = [] if ax.get_legend() is None else ax.get_legend().get_patches()
    texts = [] if ax.get_legend() is None else ax.get_legend().get_texts()
    found = {}
    for key, text, mesh in zip(keys, texts, ax.collections[1:], strict=True):
        assert mesh.get_hatch() == key.get_hatch()
        # The colour that is drawn, not only the one that is meant.
        face = mesh.cmap(mesh.norm(np.ma.array([1.0])))[0]
        np.testing.assert_allclose(face, to_rgba(key.get_facecolor()))
        found[text.get_text()] = ~np.ma.getmaskarray(mesh.get_array())
    return found


def names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def steps_on(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def lines(ax):
    """The lines of a profile by label: x, y, half the error bars."""
    found = {}
    for container in ax.containers:
        line, _, (bars,) = container
        ends = np.array([bar[:, 1] if len(bar) else (NAN, NAN) for bar in bars.get_segments()])
        found[container.get_label()] = (*line.get_data(), ends)
    return found


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax, label):
    (found,) = (line for line in ax.lines if line.get_label() == label)
    return found


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def assert_apart(labels, renderer):
    boxes = [label.get_window_extent(renderer) for label in labels if label.get_text()]
    assert len(boxes) > 1
    for one, other in itertools.pairwise(boxes):
        assert not one.overlaps(other)
