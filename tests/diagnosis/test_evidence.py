"""Evidence of a sick network: narrow outputs, strongest places, weights, several outputs."""

import math

import keras
import numpy as np
import pytest
from architectures import normal
from diagnosable import fresh, mlp

import keras_fracinit as kf
from keras_fracinit.diagnosis import diagnose
from keras_fracinit.diagnosis.chance import ALLOWED, PARALLEL, angles_at, reach_of, third_cumulant

layers = keras.layers
X = normal(48, 32)


# Chances.


def test_all_verdicts_share_five_percent():
    assert sum(ALLOWED.values()) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("variances", "shares"),
    [
        ([1.0] * 20, [1.0] * 20),
        ([1.0] * 8, [0.46] * 8),
        ([0.1, 3.0, 0.1, 1.0], [1.0, 0.5, 1.0, 0.9]),
    ],
)
def test_a_walk_reaches_as_far_as_simulated(variances, shares):
    draws, chance = 60_000, 0.02
    random, walk, total = np.random.default_rng(0), np.zeros(draws), 0.0
    reach, outside = reach_of(variances, shares, chance), np.zeros(draws, bool)
    for variance, share in zip(variances, shares, strict=True):
        walk = share * walk + math.sqrt(variance) * random.normal(size=draws)
        total = share**2 * total + variance
        outside |= np.abs(walk) > reach * math.sqrt(total)
    assert outside.mean() == pytest.approx(chance, abs=4.0 * math.sqrt(chance / draws))


def test_one_step_reaches_as_far_as_the_normal_law_and_none_nowhere():
    assert reach_of([3.0], [1.0], 0.02) == pytest.approx(2.326348, abs=1e-5)  # its 99 % quantile
    assert reach_of([], [], 0.02) == reach_of([0.0], [1.0], 0.02) == 0.0
    tiny = reach_of([1.0, 1e-17, 1e-17], [1.0] * 3, 0.02)
    assert tiny == pytest.approx(2.326348, abs=1e-3)


@pytest.mark.parametrize("width", [1, 8])
def test_the_third_cumulant_is_that_of_log_chi_squared(width):
    logs = 0.5 * np.log(np.random.default_rng(0).chisquare(width, size=500_000))
    expected = np.mean((logs - logs.mean()) ** 3)
    found = third_cumulant(kf.log_norm("linear", 2, width).variance)
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("width", "samples"), [(2, 8), (3, 64), (10, 64)])
def test_a_cosine_at_the_limit_speaks_against_a_network_as_rarely_as_allowed(width, samples):
    """Of inputs whose true cosine is 0.99, seen by random units: chance 0.5 % on each side."""
    random, draws = np.random.default_rng(0), 4000
    common = random.normal(size=(draws, 1, width)) * math.sqrt(PARALLEL)
    own = random.normal(size=(draws, samples, width)) * math.sqrt(1.0 - PARALLEL)
    outputs = common + own
    unit = outputs / np.linalg.norm(outputs, axis=2, keepdims=True)
    totals = np.sum(np.square(unit.sum(axis=1)), axis=1)
    cosines = (totals - samples) / (samples * (samples - 1))
    apart, parallel = angles_at(width, samples)
    assert np.mean(cosines > parallel) < ALLOWED["angles"] + 4.0 * math.sqrt(0.005 / draws)
    assert np.mean(cosines < apart) < 3.0 * ALLOWED["angles"]


def test_the_angle_of_one_unit_says_nothing():
    assert angles_at(1, 64) == (-math.inf, math.inf)
    assert angles_at(2, 64).parallel > angles_at(64, 64).parallel > PARALLEL


# Narrow heads.


@pytest.mark.parametrize(("activation", "depth"), [("sigmoid", 0), ("linear", 3)])
def test_a_model_of_one_output_is_healthy(activation, depth):
    head = layers.Dense(1, activation, name="out")
    for seed in range(3):
        diagnosis = diagnose(fresh(mlp(depth, 64, head=[head]), seed), X, gradients=False)
        assert diagnosis.healthy, diagnosis.verdicts


def test_one_unit_that_is_zero_for_half_of_the_inputs_is_not_dying():
    model = mlp(1, 32, head=[layers.Dense(1, "relu")])
    for seed in range(3):
        verdicts = diagnose(fresh(model, seed), X, gradients=False).verdicts
        assert not any(verdict.startswith("dying") for verdict in verdicts)


def test_a_collapse_is_told_from_the_layers_before_one_unit():
    model = fresh(mlp(4, 64, head=[layers.Dense(1)]))
    for layer in model.layers[:4]:
        layer.bias.assign(layer.bias + 20.0)  # the same for all inputs
    diagnosis = diagnose(model, X, gradients=False)
    (verdict,) = [v for v in diagnosis.verdicts if v.startswith("inputs collapse")]
    assert "net/dense" not in verdict  # that is the head


@pytest.mark.parametrize(
    ("activation", "depth", "width"),
    [
        pytest.param("tanh", 8, 64, marks=pytest.mark.slow),
        ("relu", 4, 64),
        ("tanh", 8, 20),  # as a PINN
    ],
)
def test_a_narrow_head_hides_no_sick_body(activation, depth, width):
    inputs = 2 if width == 20 else 32
    x = np.random.default_rng(0).uniform(-1.0, 1.0, size=(64, inputs)).astype("float32")
    model = mlp(depth, width, activation, [layers.Dense(1)], inputs)  # Glorot's scale
    verdict = diagnose(model, x, gradients=False).verdicts[0]
    assert verdict.startswith("vanishes")
    assert "net/dense" not in verdict  # that is the head
    ours = diagnose(fresh(model), x, gradients=False)
    assert ours.healthy, ours.verdicts


def test_a_verdict_names_the_place_where_the_evidence_is_strongest():
    model = fresh(mlp(8, 64))
    model.layers[3].kernel.assign(0.05 * model.layers[3].kernel)
    model.layers[6].kernel.assign(20.0 * model.layers[6].kernel)  # and back
    verdict = diagnose(model, X, gradients=False).verdicts[0]
    assert verdict.startswith("vanishes")
    assert "over 4 layers" in verdict


# Weights.


@pytest.mark.slow
def test_weights_of_a_narrow_network_are_evidence_where_its_signal_is_not():
    found = {"size": 0, "weights": 0}
    for seed in range(6):
        model = fresh(mlp(10, 8), seed)
        for layer in model.layers:
            layer.kernel.assign(0.8 * layer.kernel)
        verdicts = diagnose(model, X, gradients=False).verdicts
        found["size"] += any(v.startswith("vanishes") for v in verdicts)
        found["weights"] += any(v.startswith("weights too small: x0.8") for v in verdicts)
    assert found["weights"] > 0
    assert sum(found.values()) >= 4


def test_weights_say_nothing_where_the_signal_does_not_do_what_they_say():
    """As in a trained network, where weights depend on each other."""
    model = mlp(4, 64)
    for layer in model.layers[1:]:
        layer.kernel.assign(np.eye(64, dtype="float32"))  # a third of He's scale in all
    verdicts = diagnose(model, np.abs(X), gradients=False).verdicts
    assert not any(v.startswith("weights") for v in verdicts)


# Several outputs.


def test_each_way_to_an_output_is_judged():
    inputs = keras.Input((32,))
    x = layers.Dense(64, "relu")(inputs)
    first = second = x
    for place in range(3):
        first = layers.Dense(64, "relu", name=f"a{place}")(first)
        second = layers.Dense(64, "relu", name=f"b{place}")(second)
    model = fresh(keras.Model(inputs, [layers.Dense(1)(first), layers.Dense(10)(second)]))
    healthy = diagnose(model, X, gradients=False)
    assert healthy.healthy, healthy.verdicts
    assert len({row.walk for row in healthy} - {0}) == 2
    for name, other in (("a", "b"), ("b", "a")):
        sick = keras.models.clone_model(model)
        sick.set_weights(model.get_weights())
        for place in range(3):
            kernel = sick.get_layer(f"{name}{place}").kernel
            kernel.assign(0.3 * kernel)
        verdict = diagnose(sick, X, gradients=False).verdicts[0]
        assert verdict.startswith("vanishes")
        assert f"{name}2" in verdict
        assert f"{other}2" not in verdict


def test_a_way_from_an_input_of_its_own_begins_there():
    """Also where the layers of another way were called before it."""
    first, second = keras.Input((32,)), keras.Input((32,))
    wide = layers.Dense(64, "relu", name="wide")(first)
    narrow = layers.Dense(8, "relu", name="narrow")(second)
    outputs = [layers.Dense(6, name="end")(wide), layers.Dense(4, name="other")(narrow)]
    model = fresh(keras.Model([first, second], outputs))
    found = diagnose(model, [X, 1e-6 * X], gradients=False)
    assert found.healthy, found.verdicts  # no layer makes the second input small
    rows = {row.path: row for row in found}
    assert rows["narrow"].walk == rows["other"].walk != rows["wide"].walk == rows["end"].walk
    assert rows["narrow"].low < rows["narrow"].size < rows["narrow"].high < 1e-5
    parallel = diagnose(model, [X, 1.0 + 1e-3 * X], gradients=False).verdicts
    assert "inputs are parallel: cosine 1 before any kernel" in parallel
    assert not any("collapse" in verdict for verdict in parallel)


# Orders.


def test_orders_have_the_interval_that_all_equal_layers_share():
    model = fresh(mlp(12, 32))
    rows = diagnose(model, X, gradients=False).layers[2:]
    assert {(row.order_low, row.order_high) for row in rows} == {
        (rows[0].order_low, rows[0].order_high)
    }
    assert rows[0].order_low < 1.0 < rows[0].order_high < 2.0
    model.layers[9].kernel.assign(0.5 * model.layers[9].kernel)  # not equal any more
    rows = diagnose(model, X, gradients=False).layers
    assert rows[10].order_low > 10.0
    assert rows[9].order_low < rows[9].effective_order < rows[9].order_high


@pytest.mark.slow
def test_the_interval_of_an_order_holds_the_true_one_as_often_as_it_says():
    inside = 0
    for seed in range(40):
        rows = diagnose(fresh(mlp(1, 32), seed), X[:8], gradients=False).layers
        inside += rows[1].order_low <= 1.0 <= rows[1].order_high
    assert inside >= 34  # of 40 at 95 %: the chance of fewer is 0.3 %
