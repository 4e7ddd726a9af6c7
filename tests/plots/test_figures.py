"""Tests what all pictures of a history share: labels, given axes, and nothing global touched."""

import importlib
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from pictures import THEORY, assert_apart, drawn, frame

from keras_fracinit.plots import compare, heatmap, profile


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, 0.31), (0.9, 1.1), (0.3, 1.2), (0.3, 9.0), (0.3, 3e4), (1e-40, 1e20)]
)
def test_every_range_has_labels(low, high):
    values = np.geomspace(low, high, 9).reshape(3, 3)
    upper, lower = heatmap(frame(values)), profile(frame(values))
    for axes, figure in ((upper.figure.axes[1], upper.figure), (lower, lower.figure)):
        renderer = drawn(figure)
        low, high = axes.get_ylim()
        shown = [t for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high]
        assert 2 <= len(shown) <= 12
        for label in shown:
            text = label.get_text().replace("\N{MINUS SIGN}", "-")
            assert float(text) == pytest.approx(label.get_position()[1], rel=1e-5)
        assert_apart(shown, renderer)


def test_given_axes_are_used_and_returned(history):
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    assert heatmap(history, ax=left) is left
    assert profile(history, ax=right) is right
    assert figure.axes[:2] == [left, right]
    assert len(figure.axes) == 3  # and the colorbar
    inner = Figure(layout="constrained").subfigures(1, 2)[1].subplots()
    assert heatmap(history, ax=inner).figure is inner.figure


def test_nothing_global_is_touched(history, monkeypatch, tmp_path):
    before, frames = dict(matplotlib.rcParams), history.copy()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it is an error
    heatmap(history).figure.savefig(tmp_path / "heatmap.png")
    profile(history, theory=THEORY, start=1.0).figure.savefig(tmp_path / "profile.svg")
    compare({"a": history, "b": history}).savefig(tmp_path / "compare.pdf")
    assert dict(matplotlib.rcParams) == before
    assert not Gcf.figs
    pd.testing.assert_frame_equal(history, frames)


# In a notebook, and without matplotlib.


def test_a_notebook_shows_the_figure(history):
    assert heatmap(history).figure._repr_png_().startswith(b"\x89PNG")
    for figure in (profile(history).figure, compare({"a": history, "b": history})):
        assert hasattr(figure, "_repr_png_")


def test_the_package_says_which_extra_brings_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("keras_fracinit.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=r"needs matplotlib: pip install 'keras-fracinit\[plots\]'"
    ):
        importlib.import_module("keras_fracinit.plots")
