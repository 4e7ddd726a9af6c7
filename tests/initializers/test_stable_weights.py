"""Heavy-tailed weights: what is drawn, saved and refused."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from scipy import stats

from keras_fracinit import (
    FracActivation,
    FracLinear,
    FracReLU,
    MomentLogger,
    diagnose,
    gain,
    initializer_for,
)
from keras_fracinit.laws import Dropout, Linear, ReLU, Stable, law_of
from keras_fracinit.planning import plan, reinitialize


@pytest.mark.parametrize("alpha", [1.05, 1.5, 1.95])
def test_what_is_drawn_is_stable(alpha):
    """Kolmogorov and Smirnov against scipy, by its own other formula."""
    initializer = FracLinear(s=0.5, distribution="stable", alpha=alpha, seed=3)
    values = keras.ops.convert_to_numpy(initializer((100, 200))).astype(float).ravel()
    values /= initializer.describe((100, 200)).stddev
    knots = np.concatenate([-np.geomspace(1e4, 1e-3, 120), np.geomspace(1e-3, 1e4, 120)])
    cdf = stats.levy_stable.cdf(knots, alpha, 0.0)
    test = stats.kstest(values, lambda x: np.interp(x, knots, cdf))
    assert test.pvalue > 1e-3
    wrong = stats.levy_stable.cdf(knots, alpha - 0.2 if alpha > 1.5 else alpha + 0.2, 0.0)
    assert stats.kstest(values, lambda x: np.interp(x, knots, wrong)).pvalue < 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("extreme", [0.0, 0.5, 1.0 - 2.0**-24, 1.0])
def test_no_uniform_number_makes_nan(monkeypatch, dtype, extreme):
    def uniform(shape, dtype, seed):
        return keras.ops.full(shape, extreme, dtype=dtype)

    monkeypatch.setattr(keras.random, "uniform", uniform)
    kernel = FracReLU(s=0.5, distribution="stable", alpha=1.2)((4, 4), dtype=dtype)
    assert not np.isnan(keras.ops.convert_to_numpy(keras.ops.cast(kernel, "float32"))).any()


def test_what_is_not_known_far_out_is_refused():
    with pytest.raises(ValueError, match="far out"):
        FracActivation("sigmoid", distribution="stable", alpha=1.5)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="minutes elsewhere")
def test_two_hundred_million_draws_are_numbers():
    """Without the clip, cos U at float32(pi/2) is negative and some ten of these are nan."""
    initializer = FracLinear(s=0.5, distribution="stable", alpha=1.5)
    for _ in range(25):
        kernel = initializer((8000, 1000))
        assert bool(keras.ops.all(keras.ops.isfinite(kernel)))


def test_dropout_and_mode_enter_the_scale():
    initializer = FracReLU(s=0.5, distribution="stable", alpha=1.5, mode="fan_out", dropout=0.1)
    scale = initializer.describe((3, 3, 4, 16))
    law = Stable(Dropout(ReLU(), 0.1), 1.5)
    assert scale.stddev == pytest.approx((gain(law, 0.5, 16) / 144) ** (1.0 / 1.5), rel=1e-14)
    assert scale.alpha == 1.5
    assert "alpha 1.5, scale" in str(scale)
    assert math.isnan(scale.ratio)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.0}, "`alpha`"),
        ({"alpha": 2.0}, "`alpha`"),
        ({"alpha": math.nan}, "`alpha`"),
        ({"alpha": None}, "`alpha`"),
        ({"alpha": 1.5, "distribution": "orthogonal"}, "`alpha`"),
        ({"alpha": 1.5, "s": 1.5}, "`s` must be below `alpha`"),
        ({"alpha": 1.5, "s": 2.0}, "`s` must be below `alpha`"),
        ({"alpha": 1.5, "method": "asymptotic"}, "`method`"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        FracReLU(**{"s": 1.0, "distribution": "stable"} | arguments)
    assert "Received: " in str(caught.value)


def test_a_model_of_stable_weights_is_drawn_anew_as_such():
    """Transposed kernels too, where one output sums over a quarter of the receptive field."""
    options = {"s": 0.5, "distribution": "stable", "alpha": 1.5}
    stack = [
        keras.layers.Conv2DTranspose(6, 4, 2, kernel_initializer=FracLinear(**options)),
        keras.layers.Dense(5, "relu", kernel_initializer=FracReLU(**options)),
    ]
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack])
    transposed, dense = reinitialize(model, s=1.0, seed=0).changes
    assert dense.distribution == transposed.distribution == "stable"
    assert dense.stddev == pytest.approx((gain(Stable(ReLU(), 1.5), 1.0, 5) / 6) ** (1 / 1.5))
    scale = (gain(Stable(Linear(), 1.5), 1.0, 6) / (3 * 16 / 4)) ** (1 / 1.5)
    assert transposed.stddev == pytest.approx(scale, rel=1e-12)
    assert math.isnan(dense.order_before)
    values = [keras.ops.convert_to_numpy(layer.kernel).ravel() for layer in model.layers]
    for change, drawn in zip((transposed, dense), values, strict=True):
        middle = stats.levy_stable.ppf(0.75, 1.5, 0.0)
        share = float((np.abs(drawn) / change.stddev < middle).mean())
        assert share == pytest.approx(0.5, abs=4.0 * 0.5 / math.sqrt(drawn.size))
    with pytest.raises(ValueError, match="`s` must be below `alpha`"):
        plan(model, s=1.5)


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh"])
def test_a_model_of_other_weights_is_drawn_from_stable_ones(activation):
    hidden = [keras.layers.Dense(16, activation) for _ in range(3)]
    model = keras.Sequential([keras.Input((16,)), *hidden])
    changes = reinitialize(model, s=1.0, seed=0, distribution="stable", alpha=1.5).changes
    law = law_of(activation)
    smooth = activation == "tanh"
    for place, (layer, change) in enumerate(zip(hidden, changes, strict=True)):
        assert (change.distribution, change.alpha) == ("stable", 1.5)
        met = Stable(Linear() if smooth and place == 0 else law, 1.5)
        assert change.gain == pytest.approx(gain(met, 1.0, 16), rel=1e-12)
        assert change.stddev == pytest.approx((change.gain / 16) ** (1 / 1.5), rel=1e-12)
        values = keras.ops.convert_to_numpy(layer.kernel).ravel()
        share = (np.abs(values) / change.stddev < stats.levy_stable.ppf(0.75, 1.5, 0.0)).mean()
        assert share == pytest.approx(0.5, abs=4.0 * 0.5 / 16)
    # Where nothing smooth comes before, the linear gain leads to less than the operating point.
    size = math.sqrt(2.0) * gain(Stable(Linear(), 1.5), 1.0, 16) ** (1 / 1.5)
    assert (f"of stable weights at {size:.2g} of that size" in changes[0].note) == smooth
    assert not any("of that size" in change.note for change in changes[1:])
    with pytest.raises(ValueError, match=r"dense.*`s` must be below `alpha`"):
        plan(model, s=1.5, distribution="stable", alpha=1.5)


def test_the_callback_and_the_diagnosis_know_stable_weights():
    alpha, width, depth = 1.5, 64, 5
    options = {"s": 1.0, "distribution": "stable", "alpha": alpha}
    hidden = [
        keras.layers.Dense(
            width, "leaky_relu", kernel_initializer=initializer_for("leaky_relu", seed=i, **options)
        )
        for i in range(depth)
    ]
    model = keras.Sequential([keras.Input((width,)), *hidden])
    x = np.random.default_rng(0).normal(size=(64, width)).astype("float32")
    layers = [layer for layer in diagnose(model, x) if layer.kind]
    assert [layer.alpha for layer in layers] == [alpha] * depth
    assert all(1.2 < layer.tail_index < 1.9 for layer in layers)
    assert "(1.5)" in diagnose(model, x).to_string(wide=True)
    # The root mean square of stable weights says nothing, and no normal theory is read out of it.
    assert all(math.isnan(layer.effective_order) and layer.walk == 0 for layer in layers)
    logger = MomentLogger(x, orders=(1.0,), kind=alpha)
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(x, x, epochs=1, verbose=0, batch_size=64, callbacks=[logger])
    signal = keras.ops.convert_to_numpy(x)
    for layer in hidden:
        signal = keras.ops.convert_to_numpy(layer(signal))
    norms = (np.abs(signal) ** alpha).mean(axis=1) ** (1.0 / alpha)
    frame = logger.history.query("statistic == 's_scale'")
    last = frame[frame.layer.str.contains(hidden[-1].name)].iloc[-1]
    assert last.value == pytest.approx(norms.mean(), rel=1e-4)


def test_the_nan_in_a_scale_does_not_make_it_unequal():
    # Python 3.13 compares dataclasses field by field, so that even the same nan is unequal.
    scale = FracReLU(distribution="stable", alpha=1.5).describe((8, 8))
    assert math.isnan(scale.ratio)
    assert dataclasses.replace(scale, ratio=float("nan")) == scale
    assert dataclasses.replace(scale, gain=1.0) != scale
