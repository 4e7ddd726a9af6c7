"""Tests the words of a diagnosis: each is spoken where it is true, and nowhere else."""

import math

import keras
import numpy as np
import pytest
from architectures import normal
from diagnosable import X, fresh, mlp

from keras_fracinit.diagnosis import diagnose

layers, ops = keras.layers, keras.ops


def test_a_fresh_stack_is_healthy_where_the_default_of_keras_vanishes():
    model = mlp(head=[layers.Dense(10, "softmax")])
    glorot = diagnose(model, X)
    assert not glorot.healthy
    assert glorot.verdicts[0].startswith("vanishes: x0.")
    assert "outside the band of one draw" in glorot.verdicts[0]
    assert "net/h0 to net/h19" in glorot.verdicts[0]
    for s in (0.0, 0.5, 1.0, 2.0):
        ours = diagnose(fresh(model, s=s), X)
        assert ours.healthy, ours.verdicts
        assert ours.verdicts[0].startswith("healthy: ")
        for row in ours.layers[1:21]:
            assert row.low < row.size < row.high


def convolutional(depth):
    block = [layers.Conv2D(32, 3, padding="same", activation="relu") for _ in range(depth)]
    return keras.Sequential([keras.Input((8, 8, 3)), *block])


@pytest.mark.slow
def test_a_convolutional_stack_drifts_by_its_edges_where_the_default_vanishes():
    """Theory: zeros at the edges leave 0.59 after 20 layers; the band allows for them."""
    x = normal(16, 8, 8, 3)
    model = convolutional(20)
    glorot = diagnose(model, x)
    assert glorot.verdicts[0].startswith("vanishes")
    drifts = []
    for seed in range(5):
        ours = diagnose(fresh(model, seed=seed), x)
        assert ours.healthy, ours.verdicts
        drifts.append(ours.layers[-1].s_scales[1.0] / ours.layers[0].s_scales[1.0])
    assert glorot.layers[-1].s_scales[1.0] / glorot.layers[0].s_scales[1.0] < 0.01
    assert 0.1 < np.exp(np.mean(np.log(drifts))) < 2.0


@pytest.mark.parametrize(("factor", "word"), [(0.5, "vanishes"), (2.0, "explodes")])
@pytest.mark.parametrize("activation", ["linear", "relu", "leaky_relu"])
def test_a_wrong_scale_is_named(activation, factor, word):
    model = fresh(mlp(10, 32, activation))
    for layer in model.layers:
        layer.kernel.assign(factor * layer.kernel)
    diagnosis = diagnose(model, X)
    assert not diagnosis.healthy
    assert diagnosis.verdicts[0].startswith(f"{word}: x")


@pytest.mark.slow
def test_inputs_that_collapse_are_named_and_blamed_on_no_scale():
    diagnosis = diagnose(fresh(mlp(150, 32)), X)
    (verdict,) = [v for v in diagnosis.verdicts if v.startswith("inputs collapse")]
    assert verdict.endswith("which no scale cures")
    cosines = [row.cosine for row in diagnosis]
    first = next(i for i in range(len(cosines)) if min(cosines[i:]) >= 0.99)
    assert f"from layer {first} (net/h{first - 1}) on" in verdict
    assert cosines[first - 1] < 0.99


def test_inputs_that_are_parallel_are_not_blamed_on_the_network():
    x = 1.0 + 0.01 * X
    verdicts = diagnose(fresh(mlp(3, 64)), x).verdicts
    assert verdicts[0] == "inputs are parallel: cosine 1 before any kernel"
    assert not any("collapse" in verdict for verdict in verdicts)


def test_inputs_of_the_wrong_range_are_not_blamed_on_the_network():
    """What a model rescales from [0, 255] itself is in [-1, 1] already."""
    rescaling = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")
    model = fresh(keras.Sequential([keras.Input((32,)), rescaling, layers.Dense(64, "relu")]))
    assert "inputs are parallel: cosine 1 before any kernel" in diagnose(model, X).verdicts


def test_what_is_normalized_throughout_is_healthy():
    block = [layers.Dense(16), layers.BatchNormalization(), layers.ReLU()]
    model = keras.Sequential([keras.Input((32,)), *block, layers.Dense(3, "softmax")])
    assert diagnose(model, X, training=True).verdicts == (
        "healthy: nothing is left to the scale of the weights",
        "norm layer resets the scale: 1 time",
    )
    verdicts = diagnose(model, X).verdicts
    assert verdicts[0].startswith("healthy: no kernel is judged")
    assert "norm layer divides by its moving averages" in verdicts[1]


def test_a_final_softmax_is_not_taken_for_a_collapse():
    assert diagnose(fresh(mlp(3, head=[layers.Dense(10, "softmax")])), X).healthy


def test_an_average_over_positions_is_not_taken_for_a_collapse():
    stack = [layers.Conv2D(16, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    model = fresh(keras.Sequential([keras.Input((32, 32, 3)), *stack, layers.Dense(3)]))
    diagnosis = diagnose(model, normal(8, 32, 32, 3))
    assert diagnosis.healthy
    assert any("averages, and makes the inputs alike" in v for v in diagnosis.verdicts)


def test_a_maximum_over_positions_is_not_taken_for_a_collapse():
    """It is near 4 standard deviations in all channels, whatever the noise in the image is."""
    stack = [layers.Conv2D(64, 1, name="conv"), layers.GlobalMaxPooling2D(name="pool")]
    model = fresh(
        keras.Sequential([keras.Input((128, 128, 3)), *stack, layers.Dense(3)], name="net")
    )
    diagnosis = diagnose(model, normal(8, 128, 128, 3))
    assert diagnosis.healthy, diagnosis.verdicts
    (remark,) = [v for v in diagnosis.verdicts if "makes the inputs alike" in v]
    assert remark.startswith("layer 1 (net/pool) pools, and makes the inputs alike: cosine 0.99")


@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_an_offset_that_outweighs_a_small_signal_is_named_with_what_helps(activation):
    """As behind an embedding, of which Keras draws entries of size 0.03."""
    stack = [layers.Dense(16, activation, name="squash"), layers.Dense(16, "relu")]
    model = fresh(keras.Sequential([keras.Input((32,)), *stack, layers.Dense(3)], name="net"))
    assert diagnose(model, X).healthy
    against = [v for v in diagnose(model, 0.03 * X).verdicts if "collapse" in v or "apart" in v]
    value = {"sigmoid": "0.5", "softplus": "0.693"}[activation]
    assert against[0].endswith(
        f"layer 1 (net/squash) on, where {activation}(0) = {value} outweighs the signal"
    )
    assert against[1] == (
        "what would keep them apart: a larger signal into net/squash, or an activation that is 0 "
        "at 0"
    )


def test_of_an_activation_without_a_law_it_is_not_said_that_no_scale_helps():
    stack = [layers.Dense(16, "log_softmax", name="last"), layers.Dense(16, "relu")]
    model = fresh(keras.Sequential([keras.Input((32,)), *stack, layers.Dense(3)], name="net"))
    verdicts = diagnose(model, 0.03 * X).verdicts
    (collapse,) = [v for v in verdicts if v.startswith("inputs collapse")]
    assert collapse.endswith("from layer 1 (net/last) on")


def test_death_is_named():
    model = fresh(mlp(6, 16))
    model.layers[3].kernel.assign(ops.zeros((16, 16)))
    assert diagnose(model, X).verdicts[0] == "dead: every output is zero from layer 4 (net/h3) on"
    half = keras.Sequential([keras.Input((1,)), layers.Dense(16, "relu", name="d")], name="net")
    half.layers[0].kernel.assign(ops.ones((1, 16)))
    signs = np.array([[-1.0], [1.0]] * 8, dtype="float32")
    assert "dying: layer 1 (net/d) is zero for 50% of the inputs" in diagnose(half, signs).verdicts


def test_nan_is_named_where_it_is():
    model = fresh(mlp(4, 16))
    model.layers[2].kernel.assign(ops.full((16, 16), math.nan))
    verdict = diagnose(model, X).verdicts[0]
    assert verdict == "not finite: nan or infinite weights in net/h2/kernel"
    model = fresh(mlp(4, 16))
    model.layers[1].bias.assign(ops.full((16,), math.inf))
    diagnosis = diagnose(model, X)
    assert diagnosis.verdicts[0] == "not finite: nan or infinite outputs from layer 2 (net/h1) on"
    assert not diagnosis.healthy


def test_a_normalization_is_where_a_walk_ends():
    block = [layers.Dense(32, "relu"), layers.LayerNormalization()]
    model = mlp(5, 16, head=[*block, layers.Dense(8, name="last")])
    diagnosis = diagnose(model, X)
    assert "norm layer resets the scale: 1 time" in diagnosis.verdicts
    walks = [row.walk for row in diagnosis]
    assert walks == [1, 1, 1, 1, 1, 1, 0, 2, 2]  # what is normalized has no scale of its own
    assert diagnosis.layers[6].law == ""


def test_an_unknown_activation_is_not_judged():
    softmax = mlp(4, 16, "softmax", head=[layers.Dense(2)])
    words = [v for v in diagnose(softmax, X).verdicts if v.startswith("not judged: 4 kernel(s)")]
    assert len(words) == 1
    assert "softmax" in words[0]


def test_branches_do_not_lie_on_the_way_of_each_other():
    """Attention: the queries are normalized, and the values are not; only these go through."""
    inputs = keras.Input((7, 8))
    queries = layers.LayerNormalization()(inputs)
    attended = layers.MultiHeadAttention(2, 5, name="attention")(queries, inputs)
    model = fresh(keras.Model(inputs, layers.Dense(3)(attended)))
    diagnosis = diagnose(model, 100.0 * normal(16, 7, 8))
    assert diagnosis["attention/query"].walk == 0
    assert diagnosis["attention/value"].walk == 1
    assert diagnosis["attention/value"].predicted > 10.0
    assert diagnosis["attention/attention_output"].walk == 2  # from which the next one starts
    assert diagnosis.healthy, diagnosis.verdicts


def test_pooling_moves_the_band_and_is_not_judged():
    body = [layers.Dense(16, "relu"), layers.MaxPooling1D(8, 8)]
    stack = [layer for _ in range(2) for layer in (layers.Dense(16, "relu"), *body[1:])]
    model = fresh(keras.Sequential([keras.Input((64, 4)), *stack]))
    diagnosis = diagnose(model, normal(16, 64, 4))
    raised = diagnosis.layers[2].size / diagnosis.layers[1].size
    assert raised > 1.3
    assert diagnosis.healthy, diagnosis.verdicts
    assert diagnosis.layers[2].low < diagnosis.layers[2].size < diagnosis.layers[2].high


def test_dropout_counts_in_training_mode_only():
    model = keras.Sequential([keras.Input((32,)), layers.Dense(64, "relu"), layers.Dropout(0.5)])
    assert diagnose(model, X).layers[1].law == "ReLU()"
    assert "Dropout" in diagnose(model, X, training=True).layers[1].law
