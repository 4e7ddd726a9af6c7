"""The pictures, by what is in them: values, colours, labels, and what is refused."""

import importlib
import io
import itertools
import math
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure

from keras_fracinit import FracReLU, LayerScale
from keras_fracinit.callbacks import COLUMNS
from keras_fracinit.plots import compare, heatmap, profile

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


@pytest.fixture
def history():
    return frame(VALUES)


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


def assert_apart(labels, renderer):
    boxes = [label.get_window_extent(renderer) for label in labels if label.get_text()]
    assert len(boxes) > 1
    for one, other in itertools.pairwise(boxes):
        assert not one.overlaps(other)


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


@pytest.mark.parametrize("draw", [heatmap, profile, lambda bad, **_: compare({"a": bad, "b": bad})])
@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        ({"step": [0]}, TypeError, "`history` must be a DataFrame.* Received: history=<class"),
        (
            frame(VALUES).drop(columns=["call", "stderr"]),
            ValueError,
            r"must have the columns step, .*Received: history.columns=\['step', 'epoch', ",
        ),
        (frame(VALUES)[:0], ValueError, r"rows about layers. Received: len\(history\)=0"),
        (
            frame(VALUES).query("layer == ''"),
            ValueError,
            r"rows about layers. Received: len\(history\)=6",
        ),
    ],
)
def test_a_bad_history_is_refused(draw, history, error, message):
    with pytest.raises(error, match=message):
        draw(history)


BAD = [
    (
        "quantity",
        "weights",
        ValueError,
        "must be one of 'activations'. Received: quantity='weights'",
    ),
    ("quantity", "logger", ValueError, "'activations'. Received: quantity='logger'"),
    ("statistic", "zeros", ValueError, "must be one of 's_scale'. Received: statistic='zeros'"),
    ("statistic", "slope", ValueError, "must be one of 's_scale'. Received: statistic='slope'"),
    ("order", 0.75, ValueError, "must be one of 0.5, 1. Received: order=0.75"),
    ("order", "1", TypeError, "`order` must be a real number. Received: order='1'"),
]
BAD_STEPS = [
    (12, ValueError, r"the nearest to 12 is 10. Received: steps=\[12\]"),
    ([0, 24], ValueError, r"the nearest to 24 is 25. Received: steps=\[0, 24\]"),
    ([-1], ValueError, r"the nearest to -1 is 0. Received: steps=\[-1\]"),
    ([], ValueError, r"`steps` must hold a step or more. Received: steps=\[\]"),
    ([0.0], TypeError, "`steps` must be an integer. Received: steps="),
    ("0", TypeError, "`steps` must be an integer. Received: steps="),
]
BAD_THEORY = [
    (THEORY[:2], 1.0, ValueError, r"`theory` must have 3 records.* Received: len\(theory\)=2"),
    (THEORY[0], 1.0, TypeError, "`theory` must be a list of records. Received: theory=<class"),
    ([*THEORY[:2], 3.0], 1.0, TypeError, r"Received: theory\[2\].log_norm_mean=None"),
    (THEORY, None, ValueError, "`start` must be positive.* Received: start=None"),
    (THEORY, 0.0, ValueError, "`start` must be positive.* Received: start=0.0"),
    (THEORY, NAN, ValueError, "`start` must be finite. Received: start=nan"),
    (THEORY, "1", TypeError, "`start` must be a real number. Received: start='1'"),
]


@pytest.fixture
def two_orders(history):
    return pd.concat([frame(VALUES, order=0.5), history])


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD)
def test_what_the_frame_does_not_hold_is_refused(two_orders, name, value, error, message):
    for draw in (heatmap, profile):
        with pytest.raises(error, match=message):
            draw(two_orders, **{name: value})
    with pytest.raises(error, match=message) as caught:
        compare({"a": two_orders, "b": two_orders}, **{name: value})
    assert caught.value.__notes__ == ["In the run 'a'."]


@pytest.mark.parametrize(("steps", "error", "message"), BAD_STEPS)
def test_bad_steps_are_refused(history, steps, error, message):
    with pytest.raises(error, match=message):
        profile(history, steps=steps)
    only = history[history.step == 0]
    with pytest.raises(ValueError, match="nearest to 10 is 0") as caught:
        compare({"a": history, "b": only}, steps=[10])
    assert caught.value.__notes__ == ["In the run 'b'."]


@pytest.mark.parametrize(("theory", "start", "error", "message"), BAD_THEORY)
def test_a_bad_theory_is_refused(history, theory, start, error, message):
    with pytest.raises(error, match=message):
        profile(history, theory=theory, start=start)
    with pytest.raises(error, match=message) as caught:
        compare({"a": history, "b": history}, theory={"b": theory}, start=start)
    assert caught.value.__notes__ == ["In the run 'b'."]


def test_a_theory_of_another_statistic_is_refused():
    history = frame(VALUES, statistic="log_norm_mean", order=NAN)
    with pytest.raises(ValueError, match=r"`theory` goes with .* Received: statistic='log_norm_m"):
        profile(history, "log_norm_mean", theory=THEORY, start=1.0)


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        ((1.0, 1.0), ValueError, r"must satisfy 0 < low < high. Received: limits=\(1.0, 1.0\)"),
        ((2.0, 1.0), ValueError, r"must satisfy 0 < low < high. Received: limits=\(2.0, 1.0\)"),
        ((0.0, 1.0), ValueError, r"must satisfy 0 < low < high. Received: limits=\(0.0, 1.0\)"),
        ((0.5, math.inf), ValueError, "`limits` must be finite. Received: limits=inf"),
        ((None, 1.0), TypeError, "`limits` must be a real number. Received: limits=None"),
        ((1.0, 2.0, 3.0), TypeError, "`limits` must be a pair of numbers. Received: limits="),
        (1.0, TypeError, "`limits` must be a pair of numbers. Received: limits=1.0"),
    ],
)
def test_bad_limits_are_refused(history, limits, error, message):
    with pytest.raises(error, match=message):
        heatmap(history, limits=limits)


def test_linear_limits_must_ascend():
    history = frame(VALUES, statistic="log_norm_mean", order=NAN)
    with pytest.raises(ValueError, match=r"must satisfy low < high. Received: limits=\(0, -1\)"):
        heatmap(history, "log_norm_mean", limits=(0, -1))


def test_bad_runs_are_refused(history):
    with pytest.raises(TypeError, match=r"`runs` must be a dict .*Received: runs=<class"):
        compare([history, history])
    with pytest.raises(ValueError, match=r"`runs` must hold two or more. Received: runs=\['a'\]"):
        compare({"a": history})
    runs = {"a": history, "b": history}
    for theory in ({"c": THEORY}, THEORY):
        with pytest.raises(
            ValueError, match=r"`theory` must be a dict by names.* Received: theory="
        ):
            compare(runs, theory=theory, start=1.0)


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
