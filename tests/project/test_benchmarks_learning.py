"""The learning benchmark: its own training is Keras', its tasks are hard, its report is right."""

import json
import math
import pathlib
import sys
from dataclasses import asdict

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import PolynomialFeatures

if keras.backend.backend() != "jax":
    pytest.skip("it trains on JAX alone", allow_module_level=True)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))

from _learning import cells, check, figures, methods, report, tasks, training
from _learning.cells import Block, Cell, Settings
from _learning.networks import ACTIVATIONS
from _learning.tasks import linear_score, task
from rich.console import Console

SHORT = Settings(steps=20, every=10, seeds=3, selection_seeds=2)


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        Cell("digits", "leaky", 3, 16, "sgd"),
        Cell("digits", "leaky", 3, 16, "adam"),
        Cell("digits", "gelu", 3, 16, "sgd"),
        Cell("digits", "relu", 2, 8, "adam", "conv"),
        Cell("digits", "relu", 2, 8, "sgd", "residual"),
        Cell("digits", "relu", 1, 8, "adam", "convresidual"),
        Cell("images", "relu", 4, 16, "adam", "autoencoder", 3),
    ],
    ids=lambda cell: cell.name,
)
def test_training_is_that_of_keras(cell):
    # Two orders of summation of float32 differ by 1e-7; Adam divides small differences by small
    # numbers.
    differences = check.check(cell, "He", steps=20)
    assert differences["losses"] < 2e-6
    assert differences["weights, of what they moved"] < 1e-4


def test_half_precision_is_that_of_the_signal_alone():
    one, half = (Cell("digits", "relu", 3, 16, "sgd", precision=p) for p in ("float32", "float16"))
    kernels = methods.initial_kernels("He", one.network, (0,), task("digits").train[0])
    kernels = [np.concatenate([k, 1e3 * k]) for k in kernels]  # the second net overflows
    full, less = (
        training.train(cell, kernels, [0.0] * 2, [0.03] * 2, [0, 0], SHORT) for cell in (one, half)
    )
    losses = [np.asarray(outcome.losses)[:, 0] for outcome in (full, less)]
    assert 1e-7 < np.abs(losses[0] - losses[1]).max() < 1e-2
    trained = [[k[0] for stage in o.parameters for k, _ in stage] for o in (full, less)]
    for first, one, other in zip((kernels[0], kernels[1], kernels[3]), *trained, strict=False):
        assert other.dtype == np.float32
        moved = np.abs(one[0] - first[0]).max()
        assert np.abs(one[0] - other[0]).max() < 0.05 * moved
        # Steps whose gradients are not finite are left out.
        np.testing.assert_array_equal(other[1], first[1])


def test_nets_of_a_stack_do_not_touch_each_other():
    cell, rates = Cell("digits", "dropout", 3, 16, "adam"), [0.01, math.nan]
    kernels = methods.initial_kernels("He", cell.network, (0, 1), task("digits").train[0])
    both = training.train(cell, kernels, [0.0, 0.0], rates, [0, 1], SHORT)
    alone = training.train(cell, [k[:1] for k in kernels], [0.0], rates[:1], [0], SHORT)
    np.testing.assert_allclose(both.losses[:, 0], alone.losses[:, 0], rtol=1e-4)
    first, second = training._records(cell, both, SHORT.every)
    assert not first["diverged"]
    assert second["diverged"]
    assert second["dead"]
    assert second["test"] == task("digits").chance


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_noise_has_the_moments_that_the_law_says(activation):
    entry = ACTIVATIONS[activation]
    rng = np.random.default_rng(0)
    z, uniform = rng.normal(size=400_000), rng.uniform(size=400_000)
    slope = getattr(entry.law, "negative_slope", 0.0)
    y = entry.inference(z, slope) if entry.training is None else entry.training(z, uniform)
    squares = np.asarray(y).astype("float64") ** 2
    error = 5 * float(np.std(squares)) / math.sqrt(len(z))
    assert np.mean(squares) == pytest.approx(entry.law.mean, abs=error)


# --- rates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("best", "tried"),
    [(3, [2, 3, 4]), (0, [2, 3, 4, 1, 0]), (6, [2, 3, 4, 5, 6]), (2, [2, 3, 4, 1])],
)
def test_rates_are_searched_until_the_best_is_inside(best, tried):
    scores = {}
    while rates := training.following_rates(tuple(range(7)), 3, scores):
        scores |= {rate: -abs(rate - best) for rate in rates}
    assert training.best_rate(scores) == best
    assert list(scores) == tried


def test_where_all_rates_fail_the_search_goes_down():
    scores = {}
    while rates := training.following_rates(tuple(range(7)), 3, scores):
        scores |= dict.fromkeys(rates, 0.1)
    assert sorted(scores) == [0, 1, 2, 3, 4]


def test_a_rate_with_one_bad_run_is_a_bad_rate():
    steady, risky = [0.90, 0.91, 0.89], [0.96, 0.97, 0.82]
    assert np.mean(risky) > np.mean(steady)
    assert training.cautious(risky) < training.cautious(steady)
    assert training.cautious(risky) == pytest.approx(np.mean(risky) - pd.Series(risky).std())


def test_runs_have_the_rate_that_their_selection_prefers():
    cell = Cell("digits", "relu", 3, 16, "sgd")
    (runs,) = training.run_methods(cell, ["orthogonal"], SHORT).values()
    scores = {float(rate): training.cautious(s) for rate, s in runs["selection"].items()}
    assert scores[runs["rate"]] == max(scores.values())
    assert {len(s) for s in runs["selection"].values()} == {SHORT.selection_seeds}
    assert len(runs["test"]) == SHORT.seeds
    cell = Cell("digits", "relu", 3, 16, "sgd", rate=0.1)
    (given,) = training.run_methods(cell, ["He"], SHORT).values()
    assert given["rate"] == 0.1
    assert given["selection"] == {}


# --- tasks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tasks.TASKS)
def test_no_sample_is_in_two_parts(name):
    data = task(name)
    parts = [
        {row.tobytes() for row in part[0]} for part in (data.train, data.validation, data.test)
    ]
    assert len(set.union(*parts)) == sum(len(part) for part in parts)
    assert min(len(part[0]) for part in (data.validation, data.test)) >= 100
    assert data.alive > data.chance


def test_no_linear_model_solves_what_is_beyond_a_line():
    for name, most in (("product", 0.55), ("spirals", 0.7), ("teacher", 0.7), ("quintic", 0.1)):
        assert linear_score(name) < most
    assert linear_score("digits") == pytest.approx(0.965, abs=0.01)
    # Others do: the tasks are not noise.
    spirals, product = task("spirals"), task("product")
    assert KNeighborsClassifier(3).fit(*spirals.train).score(*spirals.test) > 0.95
    squares = PolynomialFeatures(2)
    x, z = squares.fit_transform(product.train[0]), squares.transform(product.test[0])
    quadratic = LogisticRegression(C=100.0, max_iter=2000).fit(x, product.train[1])
    assert quadratic.score(z, product.test[1]) > 0.9
    x, y = task("quintic").test
    polynomial = np.polynomial.Polynomial.fit(x[:, 0], y[:, 0], 5)
    assert tasks.explained(polynomial(x), y) == pytest.approx(1.0, abs=1e-6)


def test_the_bar_of_an_autoencoder_is_that_of_principal_components():
    images = task("images")
    mean = images.train[0].mean(axis=0)
    axes = np.linalg.svd(images.train[0] - mean, full_matrices=False)[2][:3]
    rebuilt = (images.test[0] - mean) @ axes.T @ axes + mean
    error = np.square(rebuilt - images.test[0]).sum()
    total = np.square(images.test[0] - images.test[0].mean(axis=0)).sum()
    assert linear_score("images", 3) == pytest.approx(1.0 - error / total, abs=1e-4)


def test_cells_have_names_and_blocks_of_their_own():
    every = [cell for block in cells.BLOCKS for cell in block.cells]
    assert len({cell.name for cell in every}) == len(every)
    assert len({block.name for block in cells.BLOCKS}) == len(cells.BLOCKS)
    assert [b.cells for b in cells.blocks("conv")] == [
        block.cells for block in cells.BLOCKS if block.name == "conv"
    ]


# --- report --------------------------------------------------------------------------------------


CELLS = tuple(Cell("digits", "relu", depth, 64, "adam") for depth in (10, 20))
NAMES = ("He (Keras)", *methods.ORDERS.values(), "mirrored s=2", "mirrored s=0", "mirrored")
BLOCK = Block("small", "Small networks", CELLS, NAMES, SHORT)


def made(cell, method, seeds=20):
    """Results as they are saved, of a normal score that differs between methods and seeds."""
    rng = np.random.default_rng([NAMES.index(method), cell.depth])
    base = 0.98 if method == "mirrored" else 0.5
    test = np.round(base + 0.01 * rng.normal(size=seeds), 4).tolist()
    return {
        "rate": 0.003,
        "selection": {"0.001": [0.1, 0.1], "0.003": rng.uniform(size=2).tolist()},
        "validation": test,
        "test": test,
        "dead": [seed < 3 and method == "He" for seed in range(seeds)],
        "diverged": [False] * seeds,
        "steps_to_half": [None, *[100] * (seeds - 1)],
        "seconds": 1.0,
        "device": "cpu",
    }


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "BLOCKS", (BLOCK,))
    for cell in CELLS:
        content = {"cell": asdict(cell), "settings": asdict(SHORT), "command": "", "versions": {}}
        content |= {"cpus": 1, "methods": {name: made(cell, name) for name in NAMES}}
        (tmp_path / f"{cell.name}.json").write_text(json.dumps(content))
    (tmp_path / "other.json").write_text("{}")  # not of the grid
    return report.load(tmp_path)


def test_figures_are_those_of_the_runs(saved):
    assert list(saved) == [cell.name for cell in CELLS]
    frame = report.frame(saved)
    assert len(frame) == 2 * (len(NAMES) + 1)  # and the tuned one
    rows = frame[frame.name == CELLS[0].name].set_index("method")
    runs = saved[CELLS[0].name]["methods"]
    line = linear_score("digits")
    for name in NAMES:
        row, test = rows.loc[name], np.array(runs[name]["test"])
        assert row["mean"] == pytest.approx(test.mean())
        assert row.worst == test.min()
        error = test.std() / math.sqrt(len(test))
        assert row.mean_high - row.mean_low == pytest.approx(2 * 1.96 * error, rel=0.1)
        gap = test - np.array(runs["He (Keras)"]["test"])
        assert row.difference == pytest.approx(gap.mean())
        width = 2 * 1.96 * gap.std() / math.sqrt(len(gap))
        assert row.difference_high - row.difference_low == pytest.approx(width, rel=0.1, abs=1e-12)
        assert row.linear == line
        assert row.passes == (name == "mirrored")
    assert rows.loc["He", "dead"] == 3 / 20
    assert rows.loc["He", "dead_low"] == pytest.approx(0.0524, abs=1e-4)  # Wilson, 3 of 20
    tuned = rows.loc[methods.TUNED]
    best = max(methods.ORDERS.values(), key=lambda name: rows.loc[name, "selected"])
    assert methods.ORDERS[tuned.s] == best
    assert tuned["mean"] == rows.loc[best, "mean"]


def test_orders_are_compared_with_two_by_seed(saved):
    table = report.orders(saved)
    assert set(table.weights) == {"Gaussian", "mirrored Gaussian"}
    assert len(table) == 2 * (len(methods.ORDERS) + 2)
    row = table[(table.name == CELLS[1].name) & (table.s == 0.0)].set_index("weights")
    runs = saved[CELLS[1].name]["methods"]
    for weights, zero, two in (
        ("Gaussian", "ours s=0", "He"),
        ("mirrored Gaussian", "mirrored s=0", "mirrored s=2"),
    ):
        gap = np.array(runs[zero]["test"]) - np.array(runs[two]["test"])
        assert row.loc[weights, "mean_difference"] == pytest.approx(gap.mean())
    assert row.loc["Gaussian", "dead_difference"] == pytest.approx(-3 / 20)
    assert row.loc["Gaussian", "dead_difference_high"] <= 0.0
    assert (table[table.s == 2.0].mean_difference == 0.0).all()


def test_everything_is_written_and_printed(saved, tmp_path):
    frame = report.frame(saved)
    report.write_tables(frame, saved, tmp_path)
    csv = pd.read_csv(tmp_path / "learning.csv")
    assert csv["mean"].to_numpy() == pytest.approx(frame["mean"].to_numpy(), rel=1e-4)
    assert len(pd.read_csv(tmp_path / "orders.csv")) == len(report.orders(saved))
    text = (tmp_path / "learning.md").read_text()
    assert text.count("| mirrored s=2 |") == 4  # in the summary, the means, and two cells
    assert text.count(f"| {report.LINE} |") == 4
    assert f"| **{frame['mean'].max():.3f}*** |" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.count("|") > 3
    assert set(report.draw(frame, tmp_path)) == {"depths.png", "depths-adam.png", "map-small.png"}
    assert (tmp_path / "depths.png").stat().st_size > 10_000
    console = Console(record=True, width=150)
    report.print_tables(console, frame, full=True, compared=report.orders(saved))
    printed = console.export_text()
    assert all(name in printed for name in (*NAMES, methods.TUNED, report.LINE, CELLS[0].name))
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 150


def test_cells_without_their_reference_are_compared_with_he(saved):
    name, content = next(iter(saved.items()))
    content["cell"]["activation"] = "gelu"  # whose reference is Xavier
    (origin,) = set(report.frame({name: content}).reference)
    assert origin == "He (Keras)"
    assert figures.difference(content["methods"]["He"], None) == pytest.approx(
        (math.nan,) * 3, nan_ok=True
    )
