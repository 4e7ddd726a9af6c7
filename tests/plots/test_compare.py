"""Tests that runs are compared side by side, in the same colours and on the same scales."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pictures import (
    NAN,
    THEORY,
    VALUES,
    assert_apart,
    cells,
    drawn,
    frame,
    legend,
    line,
    lines,
    names,
)

from keras_fracinit.plots import compare


def parts(figure):
    """Heat maps, profiles and the colorbar of a comparison."""
    count = len(figure.axes) // 2
    return figure.axes[:count], figure.axes[count:-1], figure.axes[-1]


def test_compare_shares_colours_and_scales(history):
    other = frame(VALUES[:2] * 10.0, [("m/x", 0), ("m/y", 0)])
    runs = {"He": history, "s $= 1$": other, "again": history}
    figure = compare(runs, theory={"He": THEORY}, start=0.7)
    assert isinstance(figure, Figure)
    upper, lower, bar = parts(figure)
    assert [ax.get_title() for ax in upper] == list(runs)
    assert not upper[1].title.get_parse_math()
    assert [ax.collections[0].get_clim() for ax in upper] == [(0.5, 30.0)] * 3
    for ax, values in zip(upper, (VALUES, VALUES[:2] * 10.0, VALUES), strict=True):
        np.testing.assert_array_equal(cells(ax), values)
    assert bar.get_ylabel() == lower[0].get_ylabel() == "s-scale (s = 1)"
    assert bar.get_ylim() == pytest.approx((0.5, 30.0))
    assert figure.get_suptitle() == "activations"
    assert len({ax.get_ylim() for ax in lower}) == 1
    assert lower[0].get_ylim()[1] > 36.0  # 30 and two standard errors
    np.testing.assert_array_equal(lines(lower[1])["step 25"][1], VALUES[:2, 2] * 10.0)
    assert "theory: typical network" in legend(lower[0])
    assert line(lower[0], "theory: typical network").get_ydata()[0] == 0.7
    assert legend(lower[1]) == legend(lower[2]) == ["step 0", "step 25"]


def test_compare_passes_everything_on(history):
    options = {"statistic": "s_scale", "order": 0.5, "quantity": "weights", "steps": [10]}
    run = frame(VALUES, order=0.5).assign(quantity="weights")
    figure = compare({"a": pd.concat([history, run]), "b": run}, **options)
    upper, lower, bar = parts(figure)
    assert bar.get_ylabel() == "s-scale (s = 0.5)"
    assert figure.get_suptitle() == "weights"
    for ax in lower:
        assert legend(ax) == ["step 10"]
    np.testing.assert_array_equal(cells(upper[0]), VALUES)


def test_compare_names_equal_layers_once(history):
    def labelled(axes):
        return [ax.yaxis.get_tick_params()["labelleft"] for ax in axes]

    upper, lower, _ = parts(compare({"a": history, "b": history}))
    assert labelled(lower) == labelled(upper) == [True, False]
    other = frame(VALUES, ["m/x", "m/y", "m/z"])
    upper, lower, _ = parts(compare({"a": history, "b": other}))
    assert [names(ax) for ax in upper] == [["block/dense", "block/dense_1", "head"], [*"xyz"]]
    assert labelled(upper) == [True, True]


def test_nothing_overlaps_in_a_comparison():
    values = np.geomspace(1.0, 3.0, 20 * 11).reshape(20, 11)
    values[3, 3], values[4, 4] = 0.0, NAN
    paths = [f"net/dense_{i}" for i in range(20)]
    run = frame(values, paths, [500 * j for j in range(11)])
    theory = {"HeNormal": THEORY[:1] * 20, "FracReLU(s=1)": THEORY[:1] * 20}
    figure = compare({"HeNormal": run, "FracReLU(s=1)": run}, theory=theory, start=1.0)
    renderer = drawn(figure)
    upper, lower, _ = parts(figure)
    assert_apart(upper[0].get_yticklabels(), renderer)
    boxes = [ax.get_window_extent(renderer) for ax in figure.axes]
    boxes += [ax.get_legend().get_window_extent(renderer) for ax in upper + lower]
    boxes += [ax.title.get_window_extent(renderer) for ax in upper]
    boxes += [ax.xaxis.label.get_window_extent(renderer) for ax in upper + lower]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for ax in upper + lower:
        assert_apart(ax.get_xticklabels(), renderer)
