"""The reproduction of the paper: its simulation agrees with theory, its networks start right."""

import math
import pathlib
import sys

import keras
import numpy as np
import pytest
from scipy import stats

import keras_fracinit as kf

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "paper"))

import _networks
import _records
import _report
import _shared
import fig1
import fig4
from _networks import INPUTS, METHODS, NETWORKS, PAIRS, WIDTH
from _shared import ACTIVATIONS, Checks, authors_gain, log_scale, simulate

BACKEND = keras.backend.backend()
once = pytest.mark.skipif(BACKEND != "tensorflow", reason="needs no backend, so one is enough")


@once
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_simulation_follows_the_law(activation):
    he, ours = (
        log_scale(simulate(600, 10, 16, activation, s, seed=seed)) for seed, s in ((1, 2.0), (2, 1))
    )
    error = math.sqrt(he.var(ddof=1) / he.size + ours.var(ddof=1) / ours.size)
    law = _shared.theory(activation, 1.0, depth=10, width=16)
    assert ours.mean() - he.mean() == pytest.approx(law.dominance, abs=3 * error)
    assert ours.mean() == pytest.approx(law.mean, abs=3 * math.sqrt(law.variance / ours.size))
    assert _shared.kolmogorov(ours, law) < _shared.KOLMOGOROV / math.sqrt(ours.size)


@once
def test_the_checks_notice_what_is_off(capsys):
    checks = Checks("figure")
    checks.near("near", [1.0, 2.0], [1.1, 2.0], [0.2, 0.0])
    checks.below("below", [0.1, 0.3], 0.3)
    assert not checks.failed
    checks.near("off", [1.0, 2.0], [1.0, 2.1], 0.05)
    assert checks.failed
    for fail in (
        lambda c: c.near("nan", math.nan, 1.0, 1.0),
        lambda c: c.below("above", [0.1, 0.4], 0.3),
        lambda c: c.below("nan", [math.nan], 0.3),
    ):
        fail(checks := Checks("figure"))
        assert checks.failed
    assert "off: 1.0000, 2.0000; theory 1.0000, 2.1000 +- 0.0500  FAILED" in capsys.readouterr().out


@once
@pytest.mark.parametrize("s", [0.5, 1.0, 1.5])
def test_scale_against_width_has_slope_minus_two(s):
    widths = np.array([32, 64, 128, 256])
    exact = [(kf.gain("relu", s, d) - 2.0) / d for d in widths.tolist()]
    measured = [fig1.measured_excess(s, d) for d in widths.tolist()]
    # The relative noise of a measured excess is sqrt(2/signals).
    np.testing.assert_allclose(measured, exact, rtol=5 * math.sqrt(2 / fig1.SIGNALS))
    for values in (exact, measured):
        slope = np.polyfit(np.log(widths), np.log(values), 1)[0]
        assert slope == pytest.approx(-2.0, abs=0.05)


@pytest.mark.slow
@once
def test_moments_of_figure_1_are_heavier_at_smaller_order(monkeypatch):
    monkeypatch.setattr(fig1, "DEPTH", 30)
    monkeypatch.setattr(fig1, "REPEATS", 30)
    medians, population = [], []
    for s in fig1.ORDERS:  # falling
        outputs = simulate(fig1.DRAWS, 30, WIDTH, "ReLU", s, seed=int(2 * s))
        measured = fig1.log_moments(outputs.astype("float64"))
        expected = fig1.log_moments_in_theory(s, seed=7)
        ranks = np.mean(expected < measured[:, None], axis=1)
        assert 0.0 < ranks.min() <= ranks.max() < 1.0
        medians.append(np.median(expected, axis=1))
        population.append(fig1.log_moments_of_population(s))
    for curves in (medians, population):
        assert np.all(np.diff(curves, axis=0) > 0.0)
        assert np.all(np.diff(curves, axis=1) > 0.0)


@once
def test_moment_of_the_population_is_kept_where_alpha_is_the_order():
    # Of |x|/sqrt(64) the second moment, which is also that of a unit, stays 1 under He.
    at_2 = int(np.argmin(abs(fig1.ALPHAS - 2.0)))
    assert fig1.log_moments_of_population(2.0)[at_2] == pytest.approx(0.0, abs=1e-10)


@once
def test_scale_of_figure_4_is_measured_within_its_error():
    layer = fig4.Layer(ACTIVATIONS["ReLU"], 1.0, 8)
    sigma, error = layer.measure()
    assert sigma == pytest.approx(layer.exact, abs=4 * error)
    assert error < 0.003 * sigma


@once
def test_formulas_of_the_authors():
    # To first order in 1/d they are the asymptotic method, in the squared slope as far as it goes.
    for activation in ("ReLU", "linear"):
        law = ACTIVATIONS[activation].law
        for s in (0.5, 1.0, 2.0):
            expected = kf.gain(law, s, 64, method="asymptotic")
            assert authors_gain(law, s, 64) == pytest.approx(expected, rel=1e-15)
    small = kf.laws.LeakyReLU(0.01)
    assert authors_gain(small, 1.0, 64) == pytest.approx(kf.gain(small, 1.0, 64), rel=1e-3)
    # At slope 1 their correction has the other sign: -9/10 against +1/2 over d, by hand.
    assert authors_gain(kf.laws.LeakyReLU(1.0), 1.0, 10) == pytest.approx(1.0 - 0.09)


# By hand, from the formulas of the paper: n sigma^2 for 64 units, but of the first layer 784.
FORMULAS = {
    "Kaiming": {"relu": 2.0, "leaky": 2.0 / 1.0001, "linear": 1.0},
    "Xavier": dict.fromkeys(NETWORKS, 1.0),
    "random walk": {
        "relu": 2.0 * math.exp(2.4 / 61.6),
        "leaky": 2.0 / 1.0001 * math.exp(2.4 / 61.6),
        "linear": math.exp(1.0 / 64.0),
    },
    "authors": {
        "relu": 2.0 + 5.0 * 1.2 / 128.0,
        "leaky": 2.0 / 1.0001 + (10.0 - 19.0e-4) / (6.0e-4 + 4.0) / 64.0,
        "linear": 1.0 + 1.0 / 128.0,
    },
    "ours": {
        "relu": kf.gain("relu", 0.8, 64),
        "leaky": kf.gain(kf.laws.LeakyReLU(0.01), 1.0, 64),
        "linear": kf.gain("linear", 1.0, 64),
    },
}


for formula in FORMULAS.values():
    formula["relu with biases"] = formula["relu"]


@once
@pytest.mark.parametrize(("network", "method"), PAIRS)
def test_hidden_layers_have_the_scale_of_the_formula(network, method):
    stddev = METHODS[method](NETWORKS[network], 64, 64)
    assert 64.0 * stddev**2 == pytest.approx(FORMULAS[method][network], rel=1e-14)


@once
@pytest.mark.parametrize("network", list(NETWORKS))
def test_kernels_are_the_same_normals_times_the_scale(network):
    net = NETWORKS[network]
    assert net.shapes[0] == (INPUTS, WIDTH)
    assert net.shapes[-1] == (WIDTH, 10)
    assert len(net.shapes) == net.depth + 1
    for method, stddev in METHODS.items():
        kernels = _networks.initial_kernels(net, method, [3, 4])
        for layer, (kernel, shape) in enumerate(zip(kernels, net.shapes, strict=True)):
            normals = np.random.default_rng([4, 1 + layer]).standard_normal(shape, "float32")
            np.testing.assert_array_equal(kernel[1], np.float32(stddev(net, *shape)) * normals)


@once
def test_ours_knows_the_units_of_a_layer_that_is_not_square():
    relu = NETWORKS["relu"]
    for n, d in ((INPUTS, WIDTH), (WIDTH, 10)):
        expected = math.sqrt(kf.gain("relu", 0.8, d) / n)
        assert METHODS["ours"](relu, n, d) == pytest.approx(expected, rel=1e-15)


@once
@pytest.mark.parametrize("network", list(NETWORKS))
def test_biases_are_zero_or_those_of_torch(network):
    net, seeds = NETWORKS[network], range(100)
    biases = _networks.initial_biases(net, list(seeds))
    assert [bias.shape for bias in biases] == [(100, d) for _, d in net.shapes]
    assert net.torch_biases == (network == "relu with biases")
    if not net.torch_biases:
        assert not any(bias.any() for bias in biases)
        return
    within = [math.sqrt(n) * bias.ravel() for (n, _), bias in zip(net.shapes, biases, strict=True)]
    for scaled in within:
        assert stats.kstest(scaled, stats.uniform(-1.0, 2.0).cdf).pvalue > 1e-3
    # Apart they may look uniform and still be copies of each other.
    hidden = np.stack([bias.reshape(100, WIDTH) for bias in within[1:-1]])
    assert np.unique(hidden).size > 0.99 * hidden.size


@once
def test_an_epoch_shows_every_image_once():
    order = _networks.batches(seed=5, images=4000, steps=62)  # two epochs of 31 batches
    assert order.shape == (62, 128)
    for epoch in np.split(order, 2):
        assert np.unique(epoch).size == 31 * 128


@pytest.mark.skipif(BACKEND != "jax", reason="it trains on JAX alone")
@pytest.mark.parametrize("name", list(NETWORKS))
def test_training_is_that_of_keras(name):
    import _trainer

    net = NETWORKS[name]._replace(depth=3)
    seeds, steps = [3, 4], 70
    kernels = _networks.initial_kernels(net, "ours", seeds)
    outcome = _trainer.train(net, kernels, seeds, steps)

    layers = [keras.Input((INPUTS,))]
    for _, width in net.shapes:
        layers += [keras.layers.Dense(width), keras.layers.LeakyReLU(negative_slope=net.slope)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(net.rate), loss)
    biases = _networks.initial_biases(net, seeds)
    start = [part[1] for pair in zip(kernels, biases, strict=True) for part in pair]
    model.set_weights(start)
    order = _networks.batches(seeds[1], 4000, steps)
    for some in (order[:-1].reshape(-1), order[-1]):
        x, y = (part[some] for part in _networks.load_digits()[0])
        history = model.fit(x, y, batch_size=_networks.BATCH, shuffle=False, verbose=0)
    # Of the second fit, which is a single step.
    assert float(outcome.loss[1]) == pytest.approx(history.history["loss"][0], rel=1e-4)

    trained = [np.asarray(part[1]) for pair in outcome.parameters for part in pair]
    for ours, theirs, first in zip(trained, model.get_weights(), start, strict=True):
        moved = np.abs(theirs - first).max()
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * max(moved, 1e-3))


@pytest.mark.skipif(BACKEND != "jax", reason="it trains on JAX alone")
def test_a_network_that_diverged_counts_as_chance():
    import _trainer

    net = NETWORKS["linear"]._replace(depth=3, rate=1e3)
    rows = _trainer.records(net, "ours", [3], 70)
    assert rows[0]["diverged"]
    assert rows[0]["accuracy"] == 0.1
    assert rows[0]["loss"] == pytest.approx(math.log(10.0), abs=1e-4)


@once
def test_training_goes_on_where_it_was_stopped(tmp_path):
    first, second = [pair for pair in PAIRS if pair[0] == "relu with biases"]
    settings = _records.Settings(steps=70, networks=12)
    runs = {pair: _records.begun(tmp_path, pair, settings) for pair in (first, second)}
    assert _records.remaining(runs) == [
        (pair, seeds, 70)
        for seeds in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11])
        for pair in (first, second)
    ]
    runs[first]["networks"] += [{"accuracy": 0.5}] * 10
    _records.save(_records.path_of(tmp_path, first), runs[first])
    again = {pair: _records.begun(tmp_path, pair, settings) for pair in (first, second)}
    assert again == runs
    assert _records.remaining(again) == [
        (second, [0, 1, 2, 3, 4], 70),
        (second, [5, 6, 7, 8, 9], 70),
        (first, [10, 11], 70),
        (second, [10, 11], 70),
    ]
    with pytest.raises(SystemExit, match="other settings"):
        _records.begun(tmp_path, first, _records.Settings(steps=140, networks=12))


@once
def test_tables_show_the_paired_difference_of_the_loss():
    one, other = [0.5, 0.7, 0.9, 2.3], [0.4, 0.8, 0.5, 0.3]
    rest = {"accuracy": 0.8, "left_chance": True, "diverged": False, "steps_to_half": 70}
    pair = [[rest | {"loss": loss} for loss in losses] for losses in (one, other)]
    row = _report._row_of_losses("ours", pair[1], pair[0])
    exact = stats.ttest_rel(other, one).confidence_interval(0.95)
    half = (exact.high - exact.low) / 2.0
    assert row == {
        "method": "ours",
        "mean": "0.500",
        "minus Kaiming": f"-0.600 ± {half:.3f}",
        "median": "0.450",
        "worst": "0.800",
        "best": "0.300",
    }
    saved = {
        ("relu", "Kaiming"): {"networks": [rest, rest]},  # of the time before losses were kept
        ("relu with biases", "Kaiming"): {"networks": pair[0]},
        ("relu with biases", "ours"): {"networks": pair[1]},
    }
    titles = [title.split(":")[0].split(",")[0] for title in _report._tables(saved)]
    assert titles == ["relu", "relu with biases", "relu with biases"]
