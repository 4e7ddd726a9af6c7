"""Tests what a heat map shows: values, colours, marks, names of layers and labels."""

import math

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from pictures import NAN, VALUES, assert_apart, cells, drawn, frame, marked, names, steps_on

from keras_fracinit.plots import compare, heatmap


def test_heatmap_holds_the_values_of_the_frame(history):
    ax = heatmap(history)
    np.testing.assert_array_equal(cells(ax), VALUES)
    assert names(ax) == ["block/dense", "block/dense_1", "head"]
    assert steps_on(ax) == ["0", "10", "25"]
    assert list(ax.get_xticks()) == list(ax.get_yticks()) == [0, 1, 2]  # equally wide
    assert ax.get_ylim() == (2.5, -0.5)  # the first layer at the top
    assert ax.get_xlim() == (-0.5, 2.5)
    assert ax.get_xlabel() == "step"
    assert ax.get_title() == "activations"


def test_colours_of_the_s_scale_are_logarithmic(history):
    ax = heatmap(history)
    mesh, bar = ax.collections[0], ax.figure.axes[1]
    assert isinstance(mesh.norm, LogNorm)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0.5, 4.0)
    assert mesh.get_cmap().name in ("viridis", "cividis")
    assert bar.get_ylabel() == "s-scale (s = 1)"
    assert bar.get_ylim() == pytest.approx((0.5, 4.0))


def test_zero_and_nonfinite_cells_are_marked_and_explained():
    values = VALUES.copy()
    values[0, 0], values[2, 2] = 0.0, -1.0
    values[1], values[0, 2] = (NAN, math.inf, 0.9), -math.inf
    ax = heatmap(frame(values))
    found = marked(ax)
    assert set(found) == {"≤ 0", "nan or infinite"}
    np.testing.assert_array_equal(found["≤ 0"], [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(found["nan or infinite"], [[0, 0, 1], [1, 1, 0], [0, 0, 0]])
    # The colours know nothing of them.
    np.testing.assert_array_equal(np.ma.getmaskarray(cells(ax)), sum(found.values()))
    assert ax.collections[0].get_clim() == (0.5, 1.5)
    renderer = drawn(ax.figure)
    key = ax.get_legend().get_window_extent(renderer)
    assert not key.overlaps(ax.get_window_extent(renderer))
    assert not key.overlaps(ax.xaxis.label.get_window_extent(renderer))
    for label in ax.get_xticklabels():
        assert not key.overlaps(label.get_window_extent(renderer))


def test_only_what_is_there_is_explained():
    values = VALUES.copy()
    values[1, 1] = 0.0
    assert list(marked(heatmap(frame(values)))) == ["≤ 0"]
    values[1, 1] = NAN
    assert list(marked(heatmap(frame(values)))) == ["nan or infinite"]
    assert heatmap(frame(VALUES)).get_legend() is None


def test_nothing_to_draw_has_no_colorbar_and_one_value_has_one():
    ax = heatmap(frame(np.full((3, 3), NAN)))
    assert marked(ax)["nan or infinite"].all()
    assert ax.figure.axes == [ax]
    drawn(ax.figure)
    both = compare({"a": frame(np.full((3, 3), NAN)), "b": frame(np.zeros((3, 3)))})
    assert len(both.axes) == 4
    drawn(both)
    ax = heatmap(frame(np.full((3, 3), 0.7)))
    drawn(ax.figure)
    low, high = ax.figure.axes[1].get_ylim()
    assert low < 0.7 < high


def test_limits_fix_the_colours_and_show_what_is_beyond(history):
    ax = heatmap(history, limits=(0.1, 10.0))
    assert ax.collections[0].get_clim() == (0.1, 10.0)
    assert ax.collections[0].colorbar.extend == "neither"
    for limits, extend in [((0.6, 9.0), "min"), ((0.1, 3.5), "max"), ((0.6, 3.5), "both")]:
        assert heatmap(history, limits=limits).collections[0].colorbar.extend == extend
    values = frame(VALUES, statistic="log_norm_mean", order=NAN)
    assert heatmap(values, "log_norm_mean", limits=(-1.0, 0.0)).collections[0].get_clim() == (-1, 0)


ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["sequential/dense", "sequential/dense_3"], ["dense", "dense_3"]),
        (["dense", "dense_1"], ["dense", "dense_1"]),  # not "" and "_1"
        (["a/b", "a/bc/d"], ["b", "bc/d"]),
        (["a/b/c"], ["c"]),
        ([("a/b", 0), ("a/c", 0), ("a/b", 1)], ["b#0", "c", "b#1"]),
        ([("a/b", 0), ("a/b", 1)], ["b#0", "b#1"]),
        (["m/x", f"m/{ALPHABET}"], ["x", "abcdefghijkl…pqrstuvwxyz"]),
        ([(ALPHABET, 9), (ALPHABET, 10)], ["abcdefghijk…qrstuvwxyz#9", "abcdefghij…qrstuvwxyz#10"]),
        # The longest part gives way, and what tells the layers apart stays.
        (["q", f"m/{ALPHABET}_3/stage_12"], ["q", "m/abcdef…wxyz_3/stage_12"]),
        (["cost $x$", "$y$"], ["cost $x$", "$y$"]),
    ],
)
def test_layers_have_short_names(layers, expected):
    ax = heatmap(frame(np.ones((len(layers), 1)), layers, [0]))
    assert names(ax) == expected
    assert all(len(name) <= 24 for name in names(ax))
    assert not any(label.get_parse_math() for label in ax.get_yticklabels())


def test_a_figure_of_its_own_has_room_for_a_usual_network():
    paths = [f"net/dense_{i}" for i in range(30)]
    assert len(names(heatmap(frame(np.ones((30, 2)), paths, [0, 1])))) == 30
    many = heatmap(frame(np.ones((500, 2)), [f"net/{i}" for i in range(500)], [0, 1]))
    one = heatmap(frame(np.ones((1, 2)), paths[:1], [0, 1]))
    assert one.figure.get_figheight() < many.figure.get_figheight() <= 8.0


def test_calls_of_a_shared_layer_are_rows_of_their_own():
    layers = [("m/shared", 0), ("m/other", 0), ("m/shared", 1)]
    ax = heatmap(frame(VALUES, layers))
    np.testing.assert_array_equal(cells(ax), VALUES)


@pytest.mark.parametrize("layers", [20, 100])
@pytest.mark.parametrize("ax", [None, "narrow"])
def test_labels_are_thinned_until_none_overlap(layers, ax):
    paths = [f"net/block_{i // 4}/a_projection_with_a_name_{i % 4}" for i in range(layers)]
    steps = [1000 * j for j in range(300)]
    values = np.ones((layers, 300)) + np.arange(300.0)
    if ax == "narrow":
        ax = Figure(figsize=(9.0, 3.0), layout="constrained").subplots(1, 2)[0]
    ax = heatmap(frame(values, paths, steps), ax=ax)
    renderer = drawn(ax.figure)
    assert_apart(ax.get_xticklabels(), renderer)
    assert_apart(ax.get_yticklabels(), renderer)
    # A label stands where it belongs.
    for tick, label in zip(ax.get_xticks(), steps_on(ax), strict=True):
        assert steps[tick] == int(label)
    for tick, label in zip(ax.get_yticks(), names(ax), strict=True):
        assert label.startswith(f"block_{tick // 4}/")
        assert label.endswith(f"_{tick % 4}")
    assert cells(ax).shape == (layers, 300)
