"""Tests what a profile draws over the depth: values, error bars, marks, and the theory."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from pictures import LAYERS, NAN, STEPS, THEORY, VALUES, drawn, frame, legend, line, lines, steps_on

from keras_fracinit import FracReLU, LayerScale
from keras_fracinit.plots import profile


def test_profile_holds_the_values_and_two_standard_errors(history):
    history.loc[history.layer == LAYERS[1], "stderr"] = NAN
    history.loc[history.layer == LAYERS[2], "stderr"] = math.inf
    ax = profile(history)
    assert list(lines(ax)) == ["step 0", "step 25"]
    for column, (x, value, ends) in zip((0, 2), lines(ax).values(), strict=True):
        np.testing.assert_array_equal(x, [1, 2, 3])
        np.testing.assert_array_equal(value, VALUES[:, column])
        np.testing.assert_allclose(ends[0], value[0] * np.array([0.8, 1.2]), rtol=1e-12)
        assert np.isnan(ends[1:]).all()
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "s-scale (s = 1)"
    assert ax.get_xlabel() == "depth"
    assert ax.get_title() == "activations"
    drawn(ax.figure)
    assert all(float(text).is_integer() for text in steps_on(ax))


@pytest.mark.parametrize("steps", [[10], (25, 0), np.array([0, 10, 25]), [10, 10]])
def test_profile_draws_the_chosen_steps(history, steps):
    ax = profile(history, steps=steps)
    found = lines(ax)
    assert list(found) == list(dict.fromkeys(f"step {step}" for step in steps))
    assert len(ax.containers) == len(found)
    for step in steps:
        np.testing.assert_array_equal(found[f"step {step}"][1], VALUES[:, STEPS.index(step)])


def test_a_history_of_one_step_has_one_line(history):
    assert list(lines(profile(history[history.step == 10]))) == ["step 10"]


def test_profile_marks_what_it_cannot_draw():
    values = VALUES.copy()
    values[1, 0], values[:2, 2] = 0.0, (NAN, math.inf)
    ax = profile(frame(values))
    np.testing.assert_array_equal(lines(ax)["step 0"][1], [1.0, NAN, 0.5])
    np.testing.assert_array_equal(lines(ax)["step 25"][1], [NAN, NAN, 4.0])
    crosses = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[2], [1, 2]]
    for cross, container in zip(crosses, ax.containers, strict=True):
        np.testing.assert_array_equal(to_rgba(cross.get_color()), to_rgba(container[0].get_color()))
    heights = [cross.get_transform().transform((1, cross.get_ydata()[0]))[1] for cross in crosses]
    low, high = ax.get_window_extent().intervaly
    assert low < heights[0] < heights[1] < low + 0.1 * (high - low)
    assert legend(ax) == ["step 0", "step 25", "≤ 0, nan or infinite"]
    # A step that is not drawn needs no explanation.
    assert legend(profile(frame(values), steps=[0])) == ["step 0", "≤ 0"]
    assert legend(profile(frame(values), steps=[10])) == ["step 10"]


def test_the_theory_is_the_formula(history):
    ax = profile(history, theory=THEORY, start=0.7)
    means, stds = (np.array([getattr(t, f"log_norm_{m}") for t in THEORY]) for m in ("mean", "std"))
    typical = [0.7 * math.exp(sum(means[:k])) for k in range(4)]
    spread = [math.exp(2.0 * math.sqrt(sum(stds[:k] ** 2))) for k in range(4)]
    dotted = line(ax, "theory: typical network")
    np.testing.assert_array_equal(dotted.get_xdata(), [0, 1, 2, 3])
    np.testing.assert_allclose(dotted.get_ydata(), typical, rtol=1e-12)
    assert (dotted.get_linestyle(), dotted.get_color()) == (":", "k")
    (band,) = (c for c in ax.collections if c.get_label() == "theory: 95% of networks")
    x, y = band.get_paths()[0].vertices.T
    for k in range(4):
        ends = min(y[x == k]), max(y[x == k])
        np.testing.assert_allclose(
            ends, (typical[k] / spread[k], typical[k] * spread[k]), rtol=1e-12
        )
    assert ax.get_xlabel() == "depth (0: the input)"
    theory = ["theory: typical network", "theory: 95% of networks"]
    assert legend(ax) == ["step 0", "step 25", *theory]


def test_the_theory_takes_what_describe_returns(history):
    initializer = FracReLU(s=1.0)
    theory = tuple(initializer.describe((64, 64)) for _ in LAYERS)
    typical = line(profile(history, theory=theory, start=1), "theory: typical network")
    assert typical.get_ydata()[-1] == pytest.approx(
        math.exp(3 * theory[0].log_norm_mean), rel=1e-12
    )


def test_a_theory_beyond_all_numbers_draws_what_it_can(history):
    theory = [LayerScale(1, 1, 1, 1.0, 1.0, 1.0, "He", 500.0, 1.0)] * 3
    typical = line(profile(history, theory=theory, start=1.0), "theory: typical network")
    np.testing.assert_array_equal(np.isfinite(typical.get_ydata()), [True, True, False, False])


def test_the_legend_is_below_the_data(history):
    ax = profile(history, theory=THEORY, start=1.0)
    renderer = drawn(ax.figure)
    box = ax.get_legend().get_window_extent(renderer)
    assert not box.overlaps(ax.get_window_extent(renderer))
    assert not box.overlaps(ax.xaxis.label.get_window_extent(renderer))
    assert box.ymin >= 0.0
    # A figure without a layout engine would not make room for it.
    ax = profile(history, ax=Figure().subplots())
    renderer = drawn(ax.figure)
    inside, box = ax.get_window_extent(renderer), ax.get_legend().get_window_extent(renderer)
    assert inside.ymin < box.ymin < box.ymax < inside.ymax
