"""Tests the options of mirrored models: biases, what is reset, frozen, left out, and bad input."""

import itertools
import re

import keras
import numpy as np
import pytest
from architectures import array, equal, mlp, normal, weights
from cases import WEIGHTS, quick
from mirrorable import UNPAIRED, behind, dense, stack
from mirroring import assert_keeps_sums, called, kernels, trained

from keras_fracinit import FracReLU
from keras_fracinit.planning import plan, reinitialize, steps

layers = keras.layers


@pytest.mark.parametrize("distribution", quick(*reversed(WEIGHTS)))
def test_every_distribution_makes_mirrored_models(distribution):
    options = {"distribution": distribution, **WEIGHTS[distribution]}
    model = trained(mlp(8))
    report = reinitialize(model, s=1.0, seed=1, mirrored=True, **options)
    assert {(c.distribution, c.alpha) for c in kernels(report)} == {
        (distribution, options.get("alpha"))
    }
    assert_keeps_sums(called(model), normal(4, 6))


@pytest.mark.parametrize("biases", [None, "zero", "keep"])
def test_biases_of_mirrored_kernels_are_zeroed_unless_they_are_to_stay(biases):
    model = trained(stack((6,), dense(8, "relu"), dense(8, "tanh"), dense(3))())
    options = {} if biases is None else {"biases": biases}
    report = reinitialize(model, seed=0, mirrored=True, **options)
    zero = [not array(layer.bias).any() for layer in model.layers]
    listed = [change.path.split("/")[-2] for change in report if change.kind == "bias"]
    # Behind tanh, the last kernel has no pairs: its bias stays unless asked for.
    expected = {None: [True, True, False], "zero": [True] * 3, "keep": [False] * 3}[biases]
    assert zero == expected
    assert listed == [x.name for x, z in zip(model.layers, expected, strict=True) if z]
    notes = ["its bias is kept, which breaks the pairs" in c.note for c in kernels(report)]
    assert notes == ([True, True, False] if biases == "keep" else [False] * 3)


def test_normalizations_and_slopes_are_reset_and_listed():
    model = trained(behind(layers.BatchNormalization, layers.PReLU)())
    report = reinitialize(model, seed=0, mirrored=True)
    reset = [c for c in report if c.kind in ("normalization", "slope")]
    assert len(reset) == 3 * 4 + 3
    names = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
    for change in reset:
        # The slopes become the one that stands for them: their root mean square.
        expected = names.get(change.path.split("/")[-1], change.stddev_before)
        assert abs(change.stddev) == pytest.approx(expected, rel=1e-6)
        assert 0.2 < change.stddev_before < 0.8
        assert change.path in str(report) or len(change.path) > 20
    again = plan(model, mirrored=True)  # nothing is left to reset
    assert not [c for c in again if c.kind in ("normalization", "slope")]


def test_frozen_parameters_that_tell_the_halves_apart_are_refused():
    model = trained(behind(layers.BatchNormalization, layers.ReLU)())
    model.layers[1].trainable = False
    before = weights(model)
    with pytest.raises(ValueError, match=r"treat both halves alike.*is frozen.*include_frozen"):
        reinitialize(model, mirrored=True)
    assert equal(weights(model), before)
    reinitialize(model, mirrored=True, include_frozen=True)
    assert_keeps_sums(called(model), normal(4, 6))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"only": ["hidden_0", "hidden_2", "last"]}, "it is not in `only`"),
        ({"skip": "hidden_1"}, "it is in `skip`"),
        ({"s": {"hidden_0": 1.0, "hidden_2": 1.0, "last": 0.5}}, "no pattern of `s` matches"),
        ({}, "it is frozen"),
    ],
)
def test_a_kernel_that_stays_ends_the_pairs_and_says_why(options, reason):
    model = mlp(8)
    model.get_layer("hidden_1").trainable = reason != "it is frozen"
    before = array(model.get_layer("hidden_1").kernel)
    changes = kernels(reinitialize(model, seed=0, mirrored=True, **options))
    assert [change.pairs for change in changes] == ["", "", "outputs", "inputs"]
    assert changes[1].skipped == reason
    assert f"hidden_1 takes no pairs: {reason}" in changes[0].note
    assert np.array_equal(array(model.get_layer("hidden_1").kernel), before)
    included = kernels(plan(model, mirrored=True, include_frozen=True))
    assert [change.pairs for change in included] == ["outputs", "both", "both", "inputs"]


def test_one_seed_gives_one_model():
    models = [trained(mlp(8)) for _ in range(4)]
    for model, seed in zip(models, (0, 0, 1, None), strict=True):
        reinitialize(model, seed=seed, mirrored=True)
    values = [weights(model) for model in models]
    assert equal(values[0], values[1])
    for one, other in itertools.combinations(values[1:], 2):
        assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if a.ndim > 1)
    keras.utils.set_random_seed(5)
    first = reinitialize(models[0], mirrored=True)
    keras.utils.set_random_seed(5)
    second = reinitialize(models[1], mirrored=True)
    assert first.seed == second.seed
    assert equal(weights(models[0]), weights(models[1]))


def test_a_plan_prints_the_forms():
    text = str(plan(mlp(8), mirrored=True))
    assert "pairs" in text
    assert all(form in text for form in ("outputs", "both", "inputs"))
    assert "pairs" not in str(plan(mlp(8)))


# Errors and bad input.


def test_an_error_leaves_the_model_as_it_was(monkeypatch):
    model = trained(behind(layers.BatchNormalization, layers.PReLU)())
    before, calls, draw = weights(model), [], steps.sample_kernel

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return draw(*arguments)

    monkeypatch.setattr(steps, "sample_kernel", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        reinitialize(model, seed=0, mirrored=True)
    assert equal(weights(model), before)


def test_a_model_in_which_nothing_can_be_mirrored_is_refused_with_every_reason():
    model = stack((6,), dense(8, "tanh"), dense(7, "relu"), lambda: layers.Dense(3, name="out"))()
    before = weights(model)
    names = [layer.name for layer in model.layers]
    message = (
        rf"`mirrored=True` needs a model with kernels that can be mirrored.*{names[0]}/kernel: "
        rf"tanh has no linear odd part.*{names[1]}/kernel: 7 units: an odd width has no pairs.*"
        r"out/kernel: 3 units"
    )
    for act in (plan, reinitialize):
        with pytest.raises(ValueError, match=message):
            act(model, mirrored=True)
    assert equal(weights(model), before)


@pytest.mark.parametrize("network", UNPAIRED, ids=lambda network: network.name)
def test_networks_without_any_pairs_are_refused(network):
    reasons = ".*".join(re.escape(form.removeprefix(": ")) for form in network.forms)
    with pytest.raises(ValueError, match=reasons):
        plan(network.build(), mirrored=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mirrored": 1}, TypeError, "`mirrored`.*1"),
        ({"mirrored": "both"}, TypeError, "`mirrored`.*'both'"),
        ({"mirrored": True, "taps": "middle"}, ValueError, "`taps` must be.*'middle'"),
        ({"mirrored": True, "taps": 1}, (TypeError, ValueError), "`taps`.*1"),
        ({"taps": "center"}, ValueError, "`taps='center'` must go with `mirrored=True`"),
        ({"branches": "isometry"}, ValueError, "`branches='isometry'` must go with `mirrored"),
        ({"mirrored": True, "branches": "none"}, ValueError, "`branches` must be.*'none'"),
        ({"mirrored": True, "biases": "reset"}, ValueError, "`biases`.*'reset'"),
        ({"mirrored": True, "distribution": "stable"}, ValueError, "`alpha`"),
        ({"mirrord": True}, TypeError, "Did you mean 'mirrored'"),
    ],
)
def test_bad_input_is_named(options, error, message):
    model = mlp(8)
    before = weights(model)
    with pytest.raises(error, match=message):
        reinitialize(model, **options)
    assert equal(weights(model), before)


@pytest.mark.parametrize(
    ("initializer", "expected"),
    [
        ("he_normal", "truncated_normal"),
        ("glorot_uniform", "uniform"),
        ("zeros", "untruncated_normal"),
        (FracReLU(s=1.0, distribution="stable", alpha=1.5), "untruncated_normal"),
    ],
    ids=str,
)
def test_blocks_too_large_to_decompose_keep_their_own_distribution(initializer, expected):
    """A block of 750 x 750 values; that of 16 x 750 is orthogonal."""
    stack = [layers.Dense(1500, "relu", kernel_initializer=initializer) for _ in range(2)]
    model = keras.Sequential([keras.Input((16,)), *stack, layers.Dense(4)])
    distributions = [change.distribution for change in kernels(plan(model, mirrored=True))]
    assert distributions == ["orthogonal", expected, "orthogonal"]
