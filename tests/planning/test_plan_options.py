"""Tests the options of a plan: seeds, orders, patterns, distributions, what is frozen, biases."""

import keras
import numpy as np
import pytest
from architectures import array, equal, mlp, weights

import keras_fracinit as kf
from keras_fracinit.planning import plan, reinitialize

layers = keras.layers


# Seeds.


def test_one_seed_gives_one_model_whatever_its_layers_are_called():
    models = [keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.Dense(8)]) for _ in "ab"]
    assert models[0].layers[0].name != models[1].layers[0].name
    for model in models:
        assert reinitialize(model, seed=7).seed == 7
    assert equal(weights(models[0]), weights(models[1]))
    first = weights(models[0])
    reinitialize(models[0], seed=8)
    assert not equal(weights(models[0]), first)


def test_equal_layers_are_drawn_apart_and_alone_as_together():
    model = mlp()
    reinitialize(model, seed=7)
    together = weights(model)
    assert not np.array_equal(together[2], together[4])
    for patterns in ({"only": "hidden_1"}, {"skip": ["hidden_0", "hidden_2", "last"]}):
        reinitialize(model, seed=1)
        other = weights(model)
        report = reinitialize(model, seed=7, **patterns)
        assert [not change.skipped for change in report] == [False, True, False, False]
        now = weights(model)
        assert np.array_equal(now[2], together[2])
        assert equal(now[:2] + now[3:], other[:2] + other[3:])


def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="a[0]")], name="inner")
    return keras.Sequential([keras.Input((6,)), inner, layers.Dense(2, name="b")], name="net")


@pytest.mark.parametrize(
    "pattern", ["net/inner/a*", "inner", "inner/a[0]/kernel", "a[0]", "net/i*"]
)
def test_patterns_match_with_and_without_the_names_of_outer_models(pattern, tmp_path):
    """Keras drops these from the paths of a model that is loaded."""
    model = nested()
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    paths = [[change.path for change in plan(m)] for m in (model, loaded)]
    assert paths[0] != paths[1]
    for each in (model, loaded):
        assert [bool(c.skipped) for c in plan(each, only=pattern)] == [False, True]
        assert [bool(c.skipped) for c in plan(each, skip=pattern)] == [True, False]
        assert [c.s for c in plan(each, s={pattern: 0.5, "*": 1.5})] == [0.5, 1.5]


def test_without_a_seed_the_global_one_governs():
    model = mlp()
    draws = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        reinitialize(model)
        draws.append(weights(model))
    assert equal(draws[0], draws[1])
    assert not equal(draws[0], draws[2])
    report = reinitialize(model)
    now = weights(model)
    reinitialize(model, seed=report.seed)
    assert equal(weights(model), now)


# Orders.


@pytest.mark.parametrize(
    ("s", "orders"),
    [
        (0.5, [0.5] * 4),
        ({"hidden_1": 0.5, "*": 2}, [2.0, 0.5, 2.0, 2.0]),
        ({"hidden_*": 1.5}, [1.5, 1.5, 1.5, None]),
        ({"*/last/kernel": 0.5}, [None, None, None, 0.5]),
        (lambda depth: 2.0 - depth, [2.0, 2 - 1 / 3, 2 - 2 / 3, 1.0]),
    ],
)
def test_an_order_for_all_for_some_or_by_depth(s, orders):
    changes = plan(mlp(), s=s)
    assert [None if change.skipped else change.s for change in changes] == pytest.approx(orders)
    for change in changes:
        if change.skipped:
            assert change.skipped == "no pattern of `s` matches"
        else:
            assert change.gain == kf.gain(
                "linear" if "last" in change.path else "relu", change.s, change.width
            )


def test_the_distribution_is_that_of_the_model_or_the_one_asked_for():
    model = mlp(kernel_initializer="he_normal")
    model.layers[0].kernel_initializer = keras.initializers.Zeros()
    changes = plan(model).changes
    assert changes[0].skipped.startswith("its initializer Zeros has no scale")
    assert {change.distribution for change in changes[1:]} == {"truncated_normal"}
    reinitialize(model, s=2.0, seed=0, distribution="orthogonal")
    kernel = array(model.layers[1].kernel)
    np.testing.assert_allclose(kernel.T @ kernel, 2.0 * np.eye(8), atol=1e-5)


def test_frozen_layers_stay_unless_included():
    model = mlp()
    model.layers[1].trainable = False
    assert [change.skipped for change in plan(model)] == ["", "it is frozen", "", ""]
    assert [change.skipped for change in plan(model, include_frozen=True)] == [""] * 4


def test_biases_are_kept_or_set_to_zero():
    model = mlp(bias_initializer="ones")
    reinitialize(model)
    assert all((array(layer.bias) == 1.0).all() for layer in model.layers)
    report = reinitialize(model, biases="zero", skip="last")
    assert [change.kind for change in report] == ["dense", "bias"] * 3 + ["dense"]
    assert [array(layer.bias).max() for layer in model.layers] == [0.0, 0.0, 0.0, 1.0]
