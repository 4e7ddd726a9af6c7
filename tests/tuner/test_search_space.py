"""The order as a hyperparameter: its range, its default, and what cannot be one."""

import math

import keras
import keras_tuner as kt
import pytest
from hypermodels import (
    hyperparameters,
    stack,
)

import keras_fracinit as kf
from keras_fracinit.tuner import (
    FracInitHyperModel,
    frac_initializer,
    order,
)

layers = keras.layers


def test_the_default_is_he_and_the_range_is_the_one_asked_for():
    hp = kt.HyperParameters()
    assert order(hp) == 2.0
    assert order(hp, "s_late", low=0.5, high=1.5, step=0.25, default=0.5) == 0.5
    first, second = hp.space
    assert (first.name, first.min_value, first.max_value, first.step) == ("s", 0.5, 2.0, None)
    assert tuple(second.values) == (0.5, 0.75, 1.0, 1.25, 1.5)
    assert order(hyperparameters(s=0.3)) == 0.3


def test_steps_that_add_up_to_a_little_more_than_two_stay_two():
    hp = hyperparameters(s=2.0000000000000004)
    assert order(hp, step=0.1) == 2.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"low": 1.0, "high": 0.5}, ValueError, "`low` must not exceed `high`"),
        ({"low": -0.1}, ValueError, "`low` must satisfy 0 <= low <= 2. Received: low=-0.1"),
        ({"high": 2.5}, ValueError, "`high` must satisfy 0 <= high <= 2. Received: high=2.5"),
        ({"default": math.nan}, ValueError, "`default` must be finite"),
        ({"default": "1"}, TypeError, "`default` must be a real number"),
        ({"step": 0}, ValueError, "`step` must be positive. Received: step=0"),
        ({"name": 3}, TypeError, "`name` must be a str"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        order,
        lambda hp, **options: frac_initializer(hp, "relu", **options),
        lambda hp, **options: (
            FracInitHyperModel(stack, **{k: v for k, v in options.items() if k != "default"})
            if "default" not in options
            else order(hp, **options)
        ),
    ],
    ids=["order", "frac_initializer", "FracInitHyperModel"],
)
def test_an_impossible_range_is_refused_at_once(ask, options, error, message):
    with pytest.raises(error, match=message):
        ask(kt.HyperParameters(), **options)


@pytest.mark.parametrize("value", ["wide", 64])
def test_a_name_that_another_hyperparameter_has_is_refused(value):
    hp = kt.HyperParameters()
    hp.Choice("s", [value])
    with pytest.raises(ValueError, match="`name` must not be that of another hyperparameter"):
        order(hp)


def test_one_line_gives_the_initializer_of_the_activation():
    leaky = layers.LeakyReLU(negative_slope=0.2)
    initializer = frac_initializer(hyperparameters(s=0.5), leaky, distribution="uniform", seed=1)
    expected = kf.FracLeakyReLU(0.2, s=0.5, distribution="uniform", seed=1)
    assert initializer.get_config() == expected.get_config()


def test_a_scope_that_is_not_active_has_no_order():
    hp = kt.HyperParameters()
    hp.Choice("kind", ["he", "ours"])
    with hp.conditional_scope("kind", ["ours"]):
        assert order(hp) is None
        assert frac_initializer(hp, "relu", name="t") is None
    assert set(hp.values) == {"kind"}
