"""Tests which rows of a history the pictures draw, and in which order."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
from pictures import (
    LAYERS,
    NAN,
    STEPS,
    VALUES,
    cells,
    frame,
    legend,
    lines,
    marked,
    names,
    steps_on,
)

from keras_fracinit.plots import heatmap, profile


@pytest.mark.parametrize(
    ("statistic", "label"),
    [
        ("log_norm_mean", "mean of the log-norm (nats)"),
        ("zeros", "share of samples that are zero"),
        ("its_own", "its_own"),
    ],
)
def test_other_statistics_are_linear_and_have_no_order(statistic, label):
    values = VALUES - 1.0  # also 0 and below
    ax = heatmap(frame(values, statistic=statistic, order=NAN), statistic, order="ignored")
    assert type(ax.collections[0].norm) is matplotlib.colors.Normalize
    np.testing.assert_array_equal(cells(ax), values)
    assert not marked(ax)
    assert ax.figure.axes[1].get_ylabel() == label
    low = profile(frame(values, statistic=statistic, order=NAN), statistic)
    assert low.get_yscale() == "linear"
    assert low.get_ylabel() == label
    np.testing.assert_array_equal(lines(low)["step 25"][1], values[:, 2])


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_the_order_chooses_the_rows(order):
    both = pd.concat([frame(VALUES * s, order=s) for s in (0.5, 1.0, 2.0)])
    ax = heatmap(both, order=order)
    np.testing.assert_array_equal(cells(ax), VALUES * order)
    assert ax.figure.axes[1].get_ylabel() == f"s-scale (s = {order:g})"
    np.testing.assert_array_equal(
        lines(profile(both, order=order))["step 0"][1], VALUES.T[0] * order
    )


def test_the_quantity_chooses_the_rows(history):
    both = pd.concat([history, frame(VALUES * 7.0).assign(quantity="weights")])
    np.testing.assert_array_equal(cells(heatmap(both)), VALUES)
    ax = heatmap(both, quantity="weights")
    np.testing.assert_array_equal(cells(ax), VALUES * 7.0)
    assert ax.get_title() == "weights"


def test_of_rows_that_say_the_same_the_last_counts(history):
    again = frame(VALUES[1:] * 3.0, LAYERS[1:], stderr=0.2).query("step == 10")
    ax = heatmap(pd.concat([history, again]))
    expected = VALUES.copy()
    expected[1:, 1] *= 3.0
    np.testing.assert_array_equal(cells(ax), expected)
    assert names(ax) == ["block/dense", "block/dense_1", "head"]  # the depth has not changed
    _, value, ends = lines(profile(pd.concat([history, again]), steps=[10]))["step 10"]
    np.testing.assert_array_equal(value, expected[:, 1])
    np.testing.assert_allclose(np.ptp(ends[1:], axis=1), 4.0 * 0.2 * value[1:], rtol=1e-12)


def test_depth_is_that_of_the_fullest_step_and_gaps_are_blank(history):
    lacking = history[~((history.step == 0) & (history.layer == LAYERS[1]))]
    ax = heatmap(lacking)
    assert names(ax) == ["block/dense", "block/dense_1", "head"]
    np.testing.assert_array_equal(np.ma.getmaskarray(cells(ax)), [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    assert not marked(ax)  # not recorded is not nan
    bare = profile(lacking, steps=[0])
    np.testing.assert_array_equal(lines(bare)["step 0"][1], [1.0, NAN, 0.5])
    assert legend(bare) == ["step 0"]


@pytest.mark.parametrize("shuffle", [False, True])
def test_steps_ascend(history, shuffle):
    pieces = [history[history.step == step] for step in STEPS]
    ax = heatmap(pd.concat(pieces[::-1]) if shuffle else history)
    assert steps_on(ax) == ["0", "10", "25"]
    np.testing.assert_array_equal(cells(ax), VALUES)


def test_a_history_may_come_from_a_file(history):
    # There rows without a layer have nan for it.
    read = pd.read_csv(io.StringIO(history.to_csv(index=False)))
    assert read["layer"].isna().any()
    np.testing.assert_array_equal(cells(heatmap(read)), VALUES)
    with pytest.raises(ValueError, match=r"must be one of 'activations'. Received: quantity"):
        heatmap(read, "seconds", quantity="logger")
