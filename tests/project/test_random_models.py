"""Random models: each is planned, re-initialized, diagnosed, watched in training, saved and loaded.

`make test-random` does so with 1,000 of them.
"""

import math
import os

import keras
import numpy as np
import pytest
from architectures import array
from random_models import SAMPLES, build, troubles_of
from scipy import stats

from keras_fracinit import MomentLogger, diagnose, plan, reinitialize

AT_ONCE = 5
MODELS = int(os.environ.get("RANDOM_MODELS", "30"))
QUICK = 2  # groups of models
ALARMS = 3  # of a group; with a probability of 1e-3 if 5 of 100 healthy models alarm
RARE = 2.0 * stats.norm.sf(5.0)  # the probability of five standard errors
FOUND = (22, 75, 226, 458)  # inputs of their own, and images smaller than a window or all pooled
GROUPS = [
    pytest.param(range(first, first + AT_ONCE), marks=() if i < QUICK else pytest.mark.slow)
    for i, first in enumerate(range(0, MODELS, AT_ONCE))
] + [pytest.param(FOUND, marks=pytest.mark.slow)]


@pytest.mark.parametrize("seeds", GROUPS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_random_models(seeds, tmp_path):
    faults, alarms = [], []
    for seed in seeds:
        try:
            alarms += _alarms(seed, tmp_path)
        except Exception as error:
            faults.append(f"seed {seed}, {build(seed).steps}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)
    assert len(alarms) < ALARMS, "\n".join(alarms)


def _alarms(seed, folder):
    """Checks the model of a seed; returns what is said against it without reason, as a list."""
    case = check_training_is_the_same(seed)
    check_saved_models_are_the_same(case, folder / f"{seed}.keras")
    check_every_matrix_is_planned(case.model)
    changes = reinitialize(case.model, s=2.0, seed=seed, distribution="untruncated_normal")
    drawn = {change.path: change for change in changes if not change.skipped}
    for variable in case.model.weights:
        if variable.path in drawn:
            check_variance(variable, drawn[variable.path])
    found = diagnose(case.model, case.x)
    finite = all(np.isfinite(array(out)).all() for out in outputs(case.model, case.x))
    assert finite == (not any(v.startswith("not finite") for v in found.verdicts))
    for layer in _linear_layers(case.model):
        if layer.kernel.path in drawn:
            check_outputs(layer, drawn[layer.kernel.path])
    if found.healthy or troubles_of(case.model):
        return []
    return [f"seed {seed}, {case.steps}: {found.verdicts}"]


def check_every_matrix_is_planned(model):
    """All trainable matrices but the parameters of activations and normalizations, exactly once."""
    no_kernels = (keras.layers.PReLU, keras.layers.LayerNormalization)
    others = {
        variable.path
        for layer in model._flatten_layers()
        if isinstance(layer, no_kernels)
        for variable in layer.weights
    }
    expected = {v.path for v in model.trainable_weights if len(v.shape) > 1} - others
    expected = {path for path in expected if not path.endswith("bias")}
    changes = list(plan(model, s=1.0))
    planned = {change.path for change in changes}
    assert len(planned) == len(changes)
    assert planned >= expected, expected - planned
    assert all(change.skipped for change in changes if change.path not in expected)


def check_variance(variable, change):
    """The values are a sample of the planned standard deviation."""
    values = array(variable).astype("float64")
    low, high = (stats.chi2.ppf(p, values.size) for p in (RARE / 2, 1 - RARE / 2))
    precision = 1.01 if "16" in variable.dtype else 1.0001  # rounding of the values
    total = (values**2).sum() / change.stddev**2
    assert low / precision < total < high * precision, (change, total / values.size)


def check_outputs(layer, change):
    """The layer sums over as many inputs as the plan says, and its outputs have that variance.

    A linear layer with a kernel of ones counts, on inputs of ones, what an output sums over. On
    squares x^2 it gives the sums S of them, and `stddev^2 S` is the expected square of an output.
    With the kernel as drawn the squares of the outputs have this mean, to the fluctuation of that
    many weights and samples.
    """
    kernel = array(layer.kernel)
    layer.activation = keras.activations.linear
    shape = (SAMPLES * 8, *layer.input.shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    if layer.use_bias if hasattr(layer, "use_bias") else layer.bias is not None:
        layer.bias.assign(np.zeros(layer.bias.shape))
    squares = np.mean(array(layer(x)).astype("float64") ** 2)
    layer.kernel.assign(np.ones(kernel.shape))
    inside = array(layer(np.ones(shape, "float32"))).astype("float64").max()
    assert inside == pytest.approx(change.fan_in * _filled(layer), rel=1e-2), change
    expected = change.stddev**2 * np.mean(array(layer(x**2)).astype("float64"))
    layer.kernel.assign(kernel)
    freedom = change.width / (1.0 / change.fan_in + 1.0 / len(x))  # at least
    low, high = (stats.chi2.ppf(p, freedom) / freedom for p in (RARE / 2, 1 - RARE / 2))
    precision = 1.05 if "16" in layer.compute_dtype else 1.0001
    assert low / precision < squares / expected < high * precision, (change, squares / expected)


def _filled(layer):
    """The share of the window of a convolution that an image can fill."""
    window = () if "Transpose" in type(layer).__name__ else getattr(layer, "kernel_size", ())
    image = layer.input.shape[1:-1]
    return math.prod(min(taps, size) / taps for taps, size in zip(window, image, strict=False))


def _linear_layers(model):
    """Layers of which the output is that of one kernel that was drawn, called once."""
    kinds = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv1D)
    kinds += (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose)
    return [
        layer
        for layer in model.layers
        if isinstance(layer, kinds) and len(layer._inbound_nodes) == 1
    ]


def check_training_is_the_same(seed):
    results = []
    for watched in (False, True):
        case = build(seed)
        logger = [MomentLogger(case.x, every=1)] * watched
        case.model.fit(case.x, case.y, batch_size=SAMPLES // 2, verbose=0, callbacks=logger)
        results.append([array(variable) for variable in case.model.weights])
    for plain, watched in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, watched)
    return case


def check_saved_models_are_the_same(case, path):
    case.model.save(path)
    loaded = keras.saving.load_model(path)
    path.unlink()
    pairs = zip(outputs(case.model, case.x), outputs(loaded, case.x), strict=True)
    for before, after in pairs:
        np.testing.assert_array_equal(array(before), array(after))


def outputs(model, x):
    found = model(x, training=False)
    return found if isinstance(found, list) else [found]
