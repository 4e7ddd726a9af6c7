"""The learning benchmark: its own training is Keras', its initial weights are the package's."""

import json
import math
import pathlib
import sys
from dataclasses import asdict

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("it trains on JAX alone", allow_module_level=True)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))

from _learning import methods, networks, report, training
from _learning.methods import METHODS, SMOOTH_METHODS, Draw
from _learning.networks import ACTIVATIONS, Cell, Network
from rich.console import Console

import keras_fracinit as kf
from keras_fracinit.laws import Stable

SHORT = training.Settings(steps=20, every=10, seeds=2, selection_seeds=2, stack=2)
SMALL = Cell("digits", "relu", 3, 16, "sgd")


@pytest.mark.parametrize("optimizer", list(training.OPTIMIZERS))
def test_training_is_that_of_keras(optimizer):
    # Two orders of summation of float32 differ by 1e-7; Adam divides small differences by small
    # numbers.
    cell = Cell("digits", "leaky", 3, 16, optimizer)
    differences = training.check(cell, "ours s=1", steps=20)
    assert differences["losses"] < 1e-6
    assert differences["weights, of what they moved"] < 1e-4


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_noise_has_the_moments_that_the_law_says(activation):
    entry = ACTIVATIONS[activation]
    rng = np.random.default_rng(0)
    z, uniform = rng.normal(size=400_000), rng.uniform(size=400_000)
    y = np.asarray(entry.inference(z) if entry.training is None else entry.training(z, uniform))
    squares = y.astype("float64") ** 2
    error = 5 * float(np.std(squares)) / math.sqrt(len(z))
    assert np.mean(squares) == pytest.approx(entry.law.mean, abs=error)


def normals_of_keras(shapes, seed):
    return [np.asarray(keras.random.normal(shape, seed=seed)) for shape in shapes]


REAL = {
    "He (Keras)": lambda seed: keras.initializers.HeNormal(seed),
    "He": lambda seed: keras.initializers.VarianceScaling(
        2.0, "fan_in", "untruncated_normal", seed
    ),
    "Xavier": lambda seed: keras.initializers.GlorotUniform(seed),
    "orthogonal": lambda seed: keras.initializers.Orthogonal(math.sqrt(2.0), seed),
    "ours s=0": lambda seed: kf.FracReLU(0.0, seed=seed),
    "ours s=1": lambda seed: kf.FracReLU(1.0, seed=seed),
}


@pytest.mark.parametrize("method", list(REAL))
def test_kernels_are_those_of_the_initializer(method):
    # Bit for bit the same normals where Keras makes the kernel of normals; else the same law.
    shapes, initializer = [(64, 16), (16, 16)], REAL[method](7)
    network = Network(64, 2, 16, "relu")
    normals = [z[None] for z in normals_of_keras(shapes, 7)]
    for shape, kernel in zip(
        shapes, METHODS[method].kernels(Draw(normals, network, None)), strict=True
    ):
        real = np.asarray(initializer(shape))
        if method in ("He (Keras)", "Xavier"):
            big = (300, 300)
            z = np.random.default_rng(0).normal(size=(1, *big)).astype("float32")
            ours = METHODS[method].kernels(Draw([z], network, None))[0]
            theirs = np.asarray(initializer(big))
            levels = np.linspace(0.0, 1.0, 21)
            quantiles = [np.quantile(values, levels) for values in (ours, theirs)]
            np.testing.assert_allclose(*quantiles, atol=0.03 * theirs.std())
        else:
            np.testing.assert_allclose(kernel[0], real, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("s", [0, 1, 2])
def test_smooth_kernels_are_those_of_the_initializers(s):
    # The first kernel meets data, the others the activation.
    shapes = [(64, 16), (16, 16)]
    reals = [kf.FracLinear(s, seed=7), kf.FracActivation("gelu", s, seed=7)]
    normals = [z[None] for z in normals_of_keras(shapes, 7)]
    draw = Draw(normals, Network(64, 2, 16, "gelu"), None)
    kernels = SMOOTH_METHODS[f"ours s={s}"].kernels(draw)
    for shape, real, kernel in zip(shapes, reals, kernels, strict=True):
        np.testing.assert_allclose(kernel[0], np.asarray(real(shape)), rtol=2e-5, atol=1e-6)
    he = SMOOTH_METHODS["He"].kernels(draw)
    np.testing.assert_allclose(he[1], normals[1] * math.sqrt(2 / 16), rtol=1e-6)


@pytest.mark.parametrize("alpha", [1.2, 1.8])
def test_stable_numbers_have_their_characteristic_function(alpha):
    rng = np.random.default_rng(0)
    normals = rng.standard_normal(200_000, dtype="float32")
    numbers = methods.stable_numbers(normals, rng.standard_exponential(len(normals)), alpha)
    assert np.isfinite(numbers).all()
    for t in (0.3, 1.0, 2.0):
        assert np.cos(t * numbers).mean() == pytest.approx(math.exp(-(t**alpha)), abs=0.01)
    np.testing.assert_array_equal(np.sign(numbers), np.sign(normals))


def test_stable_kernels_have_the_scale_of_their_gain():
    # A sum of n numbers of scale sigma has the scale sigma n^(1/alpha), the root of the gain.
    alpha, width, seeds = 1.5, 16, tuple(range(500))
    network = Network(64, 2, width, "tanh")
    kernels = methods.initial_kernels("stable 1.5", network, seeds, np.ones((1, 64)))
    # Of the first one, which meets data, 1/sqrt(2): where a smooth activation is exact.
    later = kf.gain(Stable(network.law, alpha), 1.0, width) ** (1 / alpha)
    for scale, kernel in zip((math.sqrt(0.5), later), kernels[:-1], strict=True):
        sums = kernel.sum(axis=1, dtype="float64") / scale
        assert np.cos(sums).mean() == pytest.approx(math.exp(-1.0), abs=0.03)


def test_smooth_cells_have_methods_of_their_own_and_the_others_theirs():
    for cell in networks.cells():
        names = methods.methods_for(cell)
        smooth = cell.activation in ("tanh", "gelu", "selu")
        assert ("stable 1.5" in names) == smooth
        assert ("LSUV" in names) == (not smooth)
        assert methods.reference(cell.activation) in names
    assert len(networks.cells()) == 40 + 24


def test_the_authors_formulas():
    # Their ReLU formula is their leaky one at slope 0; 2/64 + 3/64^2 at their s = 0.8.
    relu = methods.authors(kf.laws.ReLU(), 64, 10) ** 2
    assert relu == pytest.approx(methods._leaky_variance(64, 0.8, 0.0), rel=1e-12)
    assert relu == pytest.approx(0.031982421875, rel=1e-12)
    assert methods.authors(kf.laws.Linear(), 8, 10) ** 2 == pytest.approx(0.1328125, rel=1e-12)


def test_lsuv_gives_every_layer_unit_variance_on_its_batch():
    images = networks.DATASETS["digits"]().train[0]
    kernels = methods.initial_kernels("LSUV", Network(64, 6, 16, "relu"), (0, 1), images)
    signal = images[None, :256]
    for kernel in kernels[:-1]:
        output = signal @ kernel
        np.testing.assert_allclose(output.std(axis=(1, 2)), 1.0, rtol=1e-4)
        signal = np.maximum(output, 0.0)


def test_all_methods_draw_finite_kernels_for_every_law():
    for activation in ACTIVATIONS:
        cell = Cell("digits", activation, 2, 16, "sgd")
        images = networks.DATASETS["digits"]().train[0]
        for method in methods.methods_for(cell):
            kernels = methods.initial_kernels(method, cell.network, (0,), images)
            assert [k.shape for k in kernels] == [(1, 64, 16), (1, 16, 16), (1, 16, 10)]
            assert all(np.isfinite(k).all() and k.dtype == np.float32 for k in kernels)


def test_nets_of_a_stack_do_not_touch_each_other():
    cell, rates = Cell("digits", "dropout", 3, 16, "adam"), [0.01, math.nan]
    images = networks.DATASETS["digits"]().train[0]
    kernels = methods.initial_kernels("He", cell.network, (0, 1), images)
    both = training.train(cell, kernels, rates, (0, 1), SHORT)
    alone = training.train(cell, [k[:1] for k in kernels], rates[:1], (0,), SHORT)
    np.testing.assert_allclose(both.losses[:, 0], alone.losses[:, 0], rtol=1e-4)
    first, second = training._records(cell, both, SHORT.every)
    assert not first["diverged"]
    assert second["diverged"]
    assert second["dead"]
    assert second["test"] == 0.1


@pytest.mark.parametrize(
    ("best", "tried"), [(3, [2, 3, 4]), (0, [2, 3, 4, 1, 0]), (6, [2, 3, 4, 5, 6])]
)
def test_rates_are_searched_until_the_best_is_inside(best, tried):
    calls = []

    def score(rate):
        calls.append(rate)
        return -abs(rate - best)

    assert training.choose_rate(tuple(range(7)), score) == best
    assert calls == tried


def write(folder, cell, runs):
    head = {"cell": asdict(cell), "settings": asdict(SHORT), "versions": {}, "cpus": 1}
    content = {**head, "command": "", "methods": runs}
    (folder / f"{cell.name}.json").write_text(json.dumps(content))


def test_results_are_reported(tmp_path):
    for optimizer in ("sgd", "adam"):
        cell = Cell("digits", "relu", 3, 16, optimizer)
        runs = {m: training.run_method(cell, m, SHORT) for m in methods.ORDERS.values()}
        runs["He (Keras)"] = runs["He"]
        write(tmp_path, cell, runs)
    saved = report.load(tmp_path)
    figures = report.frame(saved)
    assert len(figures) == 2 * 7  # five orders, He of Keras, the tuned one
    tuned = figures[figures.method == methods.TUNED]
    for _, row in tuned.iterrows():
        runs = saved[row["name"]]["methods"][methods.ORDERS[row.s]]
        assert row["mean"] == np.mean(runs["test"])
    report.write_tables(figures, saved, tmp_path)
    assert report.draw(figures, tmp_path) == ["learning.png"]
    console = Console(record=True, width=200)
    report.print_tables(console, figures, full=True)
    assert "s tuned" in console.export_text()
    assert (tmp_path / "learning.md").read_text().count("| ours s=1 |") == 3


def test_smooth_activations_are_reported_apart(tmp_path):
    cell = Cell("digits", "selu", 3, 16, "sgd")
    runs = {m: training.run_method(cell, m, SHORT) for m in ("LeCun", "ours s=1", "stable 1.5")}
    write(tmp_path, cell, runs)
    saved = report.load(tmp_path)
    figures = report.frame(saved)
    assert set(figures.reference) == {"LeCun"}
    assert list(figures.method) == list(runs)
    assert report.draw(figures, tmp_path) == ["smooth.png"]
    report.write_tables(figures, saved, tmp_path)
    text = (tmp_path / "learning.md").read_text()
    assert "## Over cells of selu" in text
    assert "minus LeCun" in text
    report.print_tables(Console(record=True, width=200), figures, full=False)
