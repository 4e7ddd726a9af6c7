"""Tests what a diagnosis says of normalizations in the mode that was run: training or not."""

import keras
import pytest
from diagnosable import X64, dense, functional, strays

from keras_fracinit import diagnose, plan

layers = keras.layers


def spectral(depth):
    hidden = [layers.SpectralNormalization(layers.Dense(64, "relu")) for _ in range(depth)]
    model = keras.Sequential([keras.Input((64,)), *hidden])
    for _ in range(3):
        model(X64, training=True)  # which divides the kernels
    return model


def test_spectral_normalization_is_the_layer_in_it():
    inner = layers.SpectralNormalization(layers.Dense(64, name="inner"))
    model = functional(X64, lambda x: dense(1)(inner(layers.Dense(64, name="before")(x))))
    before, inside, after, _ = plan(model)
    assert (before.law, before.skipped) == ("Linear()", "")
    assert inside.path.endswith("inner/kernel")  # its vector is no kernel
    assert inside.skipped.startswith("SpectralNormalization divides it by its norm")
    assert (after.law, after.skipped) == ("ReLU()", "")
    found = diagnose(spectral(10), X64)
    (verdict,) = strays(found)
    assert verdict.startswith("vanishes")
    assert "over 10 layers" in verdict
    assert not any("norm layer" in verdict for verdict in found.verdicts)


def test_a_normalization_resets_the_scale_in_the_mode_in_which_it_does():
    block = [layers.Dense(64), layers.BatchNormalization(), layers.ReLU()]
    norms = [layers.BatchNormalization(trainable=False), layers.LayerNormalization()]
    model = keras.Sequential([keras.Input((64,)), *block, layers.Dense(64), *norms])
    trained, fresh = (diagnose(model, X64, training=mode).verdicts for mode in (True, False))
    assert "norm layer resets the scale: 2 times" in trained
    assert "norm layer resets the scale: 1 time" in fresh
    words = "norm layer divides by its moving averages in this mode, and does not reset the scale"
    assert f"{words}: 1 time" in trained  # the frozen one
    assert f"{words}: 2 times; `training=True` shows what training sees" in fresh
    assert fresh[0].startswith("healthy: no kernel is judged")


@pytest.mark.parametrize(("factor", "word"), [(0.3, "vanishes"), (1.0, ""), (3.0, "explodes")])
@pytest.mark.parametrize("inside", ["kernel", "normalization"])
def test_a_frozen_normalization_hands_the_signal_on(inside, factor, word):
    """It is no reason to begin anew: what it multiplies by is part of what the network does."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,))])
    for _ in range(10):
        he = keras.initializers.VarianceScaling(
            2.0 * (factor**2 if inside == "kernel" else 1.0), distribution="untruncated_normal"
        )
        model.add(layers.Dense(64, kernel_initializer=he))
        gamma = factor if inside == "normalization" else 1.0
        model.add(
            layers.BatchNormalization(
                trainable=False, gamma_initializer=keras.initializers.Constant(gamma)
            )
        )
        model.add(layers.ReLU())
    for mode in (True, False):
        found = diagnose(model, X64, training=mode)
        assert found.healthy == (not word)
        if word:
            assert found.verdicts[0].startswith(word)
        words = "norm layer divides by its moving averages in this mode"
        (remark,) = [verdict for verdict in found.verdicts if verdict.startswith(words)]
        assert remark.endswith("10 times")  # in training it does so too
