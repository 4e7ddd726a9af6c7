"""Tests that an error leaves a model as it was, and that bad input of a plan is refused by name."""

import math

import keras
import numpy as np
import pytest
from architectures import array, equal, mlp, normal, weights
from networks import NETWORKS, Subclassed

from keras_fracinit.planning import execute, plan, reinitialize, steps

layers, ops = keras.layers, keras.ops


# Nothing half done.


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("in_memory", [1, 2**24])
def test_an_error_leaves_the_model_as_it_was(monkeypatch, error, dtype, in_memory):
    model, calls = mlp(dtype=dtype), []
    before = weights(model)
    monkeypatch.setattr(execute, "_IN_MEMORY", in_memory)

    def failing(site, initializer, form):
        calls.append(site)
        if len(calls) == last:
            raise error("out of memory")
        return ops.ones(site.shape, dtype)

    monkeypatch.setattr(steps, "sample_kernel", failing)
    for last in range(1, 5):
        calls.clear()
        with pytest.raises(error, match="out of memory"):
            reinitialize(model)
        assert len(calls) == last
        assert equal(weights(model), before)
    last = 0
    reinitialize(model)
    assert not equal(weights(model), before)


@pytest.mark.parametrize("step", ["pieces", "reset_slots"])
def test_an_error_beside_the_draws_leaves_the_kernels_as_they_were(monkeypatch, step):
    model = mlp()
    before = weights(model)

    def failing(*args):
        yield np.ones(1, "float32")
        raise OSError("no space left")

    patched = failing if step == "pieces" else lambda *args: list(failing())
    monkeypatch.setattr(execute, step, patched)
    with pytest.raises(OSError, match="no space left"):
        reinitialize(model, biases="zero")
    assert equal(weights(model), before)


def test_a_scale_beyond_all_floats_is_an_error_that_names_the_kernel():
    model = mlp(width=1)
    before = weights(model)
    with pytest.raises(ValueError, match=r"hidden_0/kernel: .*finite"):
        reinitialize(model, s=0.001)
    assert equal(weights(model), before)


# Bad input.


def poisoned(kind):
    model = mlp()
    variable = getattr(model.layers[1], kind)
    variable.assign(np.full(variable.shape, np.nan))
    return model


def test_nan_that_would_stay_is_refused_and_nan_that_would_not_is_cured():
    model = poisoned("bias")
    before = weights(model)
    with pytest.raises(ValueError, match=r"`model` must have finite values.*hidden_1/bias"):
        reinitialize(model)
    np.testing.assert_equal(weights(model), before)
    reinitialize(model, biases="zero")
    assert np.isfinite(array(model(normal(16, 6)))).all()
    model = poisoned("kernel")
    assert math.isnan(plan(model).changes[1].stddev_before)
    reinitialize(model)
    assert np.isfinite(array(model(normal(16, 6)))).all()
    model = poisoned("kernel")
    with pytest.raises(ValueError, match="hidden_1/kernel"):
        reinitialize(model, skip="hidden_1")


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (lambda: "model", {}, TypeError, "`model` must be a keras.Model"),
        (lambda: keras.Sequential([layers.Dense(3)]), {}, ValueError, r"built.*`build"),
        (lambda: Subclassed(), {}, ValueError, "`model` must be built: call it once"),
        (
            lambda: keras.Sequential([keras.Input((3,)), layers.ReLU()]),
            {},
            ValueError,
            "`model` must have kernels",
        ),
        (
            next(network.build for network in NETWORKS if network.name == "quantized"),
            {},
            ValueError,
            "`model` must not be quantized.* in int8",
        ),
        (mlp, {"s": 2.5}, ValueError, "`s` must satisfy 0 <= s <= 2. Received: s=2.5"),
        (mlp, {"s": "1"}, TypeError, "`s` must be a real number"),
        (mlp, {"s": {"hidden*": -1}}, ValueError, "`s` must satisfy"),
        (mlp, {"s": {3: 1.0}}, TypeError, "`s` must be a str"),
        (mlp, {"s": lambda depth: 3.0}, ValueError, "`s` must satisfy"),
        (mlp, {"s": {"hiden_1": 1}}, ValueError, "`s` must hold .*'hiden_1'.*mean 'hidden_"),
        (mlp, {"only": "conv*"}, ValueError, "`only` must hold .*'conv\\*'"),
        (mlp, {"skip": ["last", "x"]}, ValueError, "`skip` must hold .*'x'"),
        (mlp, {"only": []}, ValueError, "`only` must not be empty"),
        (mlp, {"only": 3}, TypeError, "`only` must be a sequence"),
        (mlp, {"include_frozen": 1}, TypeError, "`include_frozen` must be a bool"),
        (mlp, {"distribution": "cauchy"}, ValueError, "`distribution` must be one of"),
        (mlp, {"distribution": "stable"}, ValueError, "`alpha` must be given with"),
        (mlp, {"alpha": 1.5}, ValueError, "`distribution` must be one of .*distribution=None"),
        (mlp, {"distribution": "uniform", "alpha": 1.5}, ValueError, "`alpha` must be given with"),
        (mlp, {"distribution": "stable", "alpha": 2.0}, ValueError, "`alpha` must lie between"),
        (mlp, {"biases": "one"}, ValueError, "`biases` must be one of 'keep', 'zero'"),
        (mlp, {"dropout": 0.5}, TypeError, "`dropout` must be a bool"),
        (
            mlp,
            {"onyl": "last"},
            TypeError,
            "`options` must be among 'only', 'skip', .*Received: onyl='last'. Did you mean 'only'",
        ),
        (mlp, {"order": 1.0}, TypeError, "`options` must be among .*Received: order=1.0$"),
        (mlp, {"seed": -1}, ValueError, "`seed` must satisfy"),
        (mlp, {"dry_run": 1}, TypeError, "`dry_run` must be a bool"),
    ],
)
def test_bad_input_is_refused_by_name(build, options, error, message):
    with pytest.raises(error, match=message):
        reinitialize(build(), **options)
    if not {"seed", "dry_run"} & set(options):
        with pytest.raises(error, match=message):
            plan(build(), **options)


def test_options_go_by_name_and_their_own_arguments_are_suggested_too():
    with pytest.raises(TypeError, match="Did you mean 'dry_run'"):
        reinitialize(mlp(), dryrun=True)
    with pytest.raises(TypeError, match="positional"):
        plan(mlp(), 1.0, "last")
