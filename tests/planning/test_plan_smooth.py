"""Whole models with smooth activations: the gain by what an input came through, and the verdict."""

import math
import re

import keras
import numpy as np
import pytest
from architectures import array

import keras_fracinit as kf
from keras_fracinit import diagnose, gain, laws, plan, reinitialize
from keras_fracinit.graph.kernels import kernels_of
from keras_fracinit.laws import Smooth
from keras_fracinit.laws.smooth import NAMES

layers, ops = keras.layers, keras.ops
TANH, GELU, LINEAR, RELU = Smooth("tanh"), Smooth("gelu"), laws.Linear(), laws.ReLU()


def unit(samples, units, seed=0):
    """Inputs of unit root mean square each."""
    x = np.random.default_rng(seed).normal(size=(samples, units))
    return (x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))).astype("float32")


def stack(depth, activation, width=64, head=()):
    hidden = [layers.Dense(width, activation, name=f"h{i}") for i in range(depth)]
    return keras.Sequential([keras.Input((width,)), *hidden, *head], name="net")


def check(model, expected, s=0.7):
    """A law and a part of the note for each kernel."""
    changes = list(plan(model, s=s))
    assert [change.law for change in changes] == [str(law or "") for law, _ in expected]
    for change, (law, note) in zip(changes, expected, strict=True):
        assert note in (change.note or change.skipped), change
        if law is not None:
            assert change.gain == pytest.approx(gain(law, s, change.width), rel=1e-12)
            assert change.stddev == pytest.approx(math.sqrt(change.gain / change.fan_in), rel=1e-12)


# Which law.


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_is_linear_first_and_its_own_law_then(name):
    law = Smooth(name)
    fate = "attracts" if law.length_slope < 1 else "REPELS"
    note = f"before {name}, its input from {name}: exact at unit root mean square"
    model = stack(3, name, head=[layers.Dense(2)])
    check(
        model,
        [
            (LINEAR, f"its input (data) is taken to have the unit root mean square that {name}"),
            *[(law, note)] * 2,
            (LINEAR, ""),
        ],
    )
    change = plan(model)["net/h1/kernel"]
    assert fate in change.note
    assert f"slope of the length map {law.length_slope:.4f}" in change.note
    assert change.activation == name
    assert plan(model)["net/" + model.layers[-1].name + "/kernel"].note == ""


def test_the_input_decides_where_activations_are_mixed():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, "relu"),
            layers.Dense(6, "tanh"),
            layers.Dropout(0.2),
            layers.Dense(8, layers.ELU()),
            layers.Dense(8),
            layers.Activation("gelu"),
            layers.Dense(8, "relu"),
            layers.LayerNormalization(),
            layers.Dense(8, "gelu"),
            layers.Reshape((2, 4)),
            layers.Dense(5, "sigmoid"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4, "mish"),
            layers.Dense(1, "softmax"),
        ]
    )
    sigmoid = laws.law_of("sigmoid")
    check(
        model,
        [
            (RELU, ""),
            (LINEAR, "its input (relu) is taken"),
            (TANH, "before ELU, its input from tanh"),
            (Smooth("elu"), "before gelu, its input from ELU"),
            (None, "a normalization follows"),
            (LINEAR, "its input (a normalization)"),
            (GELU, "before sigmoid, its input from gelu"),
            (sigmoid, "before mish, its input from sigmoid"),
            (None, "softmax follows, which no scale keeps the moments of"),
        ],
    )
    drawn = plan(model, s=0.7, dropout=True).changes
    assert drawn[1].law == str(LINEAR)
    assert drawn[2].law == str(laws.Dropout(TANH, 0.2))
    assert drawn[2].gain == pytest.approx(gain(laws.Dropout(TANH, 0.2), 0.7, 8), rel=1e-12)


def test_dropout_behind_a_homogeneous_layer_is_made_up_for_by_that_layer():
    head = [layers.Dense(8, "relu"), layers.Dropout(0.3), layers.Dense(8, "tanh")]
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5), *head])
    changes = plan(model, dropout=True).changes
    assert [change.law for change in changes] == [str(laws.Dropout(RELU, 0.3)), str(LINEAR)]
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5), layers.Dense(8, "tanh")])
    assert plan(model, dropout=True).changes[0].law == str(laws.Dropout(LINEAR, 0.5))


OPERATIONS = {
    "tanh": ops.tanh,
    "silu": ops.silu,
    "selu": ops.selu,
    "softplus": ops.softplus,
    "elu": ops.elu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "sigmoid": ops.sigmoid,
    "hard_silu": ops.hard_silu,
    "relu6": ops.relu6,
}


class Unknown(layers.Layer):
    """A user's own."""

    def call(self, inputs):
        return ops.relu(inputs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_known(name):
    inputs = keras.Input((8,))
    x = OPERATIONS[name](layers.Dense(8)(inputs))
    x = OPERATIONS[name](layers.Dense(6)(x))
    law = laws.law_of(name)
    check(keras.Model(inputs, x), [(LINEAR, "(data)"), (law, "exact at unit root mean square")])


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (ops.gelu, "the approximate gelu follows, and the law is that of the exact one"),
        (lambda x: ops.elu(x, alpha=0.5), "elu with alpha 0.5 follows"),
        (ops.softmax, "Softmax follows, which no scale keeps the moments of"),
        (layers.Activation(lambda x: x * x), "lambda> follows: .*register_keras_serializable"),
        (layers.ELU(alpha=0.5), "ELU follows, which has a law for other arguments only; a regist"),
        (layers.ReLU(max_value=3.0), "ReLU follows, which has a law for other arguments only"),
        (ops.sin, "Sin follows, which is unknown; a registered function that computes it"),
        (layers.Activation(ops.sin), "sin follows, which is unknown; a registered function"),
        (Unknown(), "Unknown follows, which is unknown; a .* `law_of.register`, may give it one"),
        (ops.log_softmax, "LogSoftmax follows, which no scale keeps the moments of"),
    ],
)
def test_what_has_no_law_says_why(operation, reason):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(2)(operation(layers.Dense(8)(inputs))))
    first, last = plan(model)
    assert re.search(reason, first.skipped), first
    assert last.law == str(LINEAR)


@pytest.mark.parametrize("relu6", [layers.ReLU(6), layers.ReLU(max_value=6.0)])
def test_a_relu_that_ends_at_six_is_relu6(relu6):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), relu6, layers.Dense(8), relu6])
    law = laws.law_of("relu6")
    check(model, [(LINEAR, "(data)"), (law, "before ReLU, its input from ReLU")])


def test_inputs_that_differ_or_are_unknown_take_the_linear_gain_and_say_so():
    inputs = keras.Input((8,))
    shared = layers.Dense(8, "tanh")
    x = shared(shared(inputs))
    x = layers.Dense(8, "gelu")(ops.sort(x))
    x = layers.Dense(8, "tanh")(layers.add([x, inputs]))
    branches = [layers.Dense(4, "tanh")(x), layers.Dense(4, "gelu")(x)]
    x = layers.Dense(4, "gelu")(layers.concatenate(branches))
    x = layers.SeparableConv1D(4, 2, activation="gelu")(layers.Reshape((4, 1))(x))
    check(
        keras.Model(inputs, layers.LSTM(3)(x)),
        [
            (LINEAR, "its input (of several kinds: data, tanh)"),
            (LINEAR, "its input (Sort)"),
            (LINEAR, "its input (a sum)"),
            (TANH, "before tanh"),
            (TANH, "before gelu"),
            (LINEAR, "its input (of several kinds: gelu, tanh)"),
            (LINEAR, ""),
            (LINEAR, "its input (the kernel before it in its layer)"),
            *[(None, "a recurrent kernel")] * 2,
        ],
    )


def test_an_unbuilt_stack_knows_its_inputs():
    hidden = [layers.Dense(4, "tanh"), layers.Dropout(0.1), layers.Dense(4, "selu")]
    model = keras.Sequential([*hidden, keras.Sequential([layers.Dense(2, "gelu")])])
    assert [kernel.law for kernel in kernels_of(model)] == [LINEAR, TANH, Smooth("selu")]


# The order before.


def test_of_orders_above_two_it_is_only_known_that_they_are():
    model = stack(4, "tanh", 16)
    kernels = [layer.kernel for layer in model.layers]
    kernels[2].assign(30.0 * kernels[2])  # all moments grow
    kernels[3].assign(0.0 * kernels[3])
    found = [(change.order_before, change.order_censored) for change in plan(model)]
    assert not found[0][1]
    assert found[1] == (2.0, True)  # Glorot's
    assert math.isnan(found[2][0])
    assert found[2][1] is False
    assert found[3] == (math.inf, False)
    text = plan(model).to_string(wide=True)
    rows = [line for line in text.splitlines() if "net/h" in line]
    assert [word in row for row, word in zip(rows[1:], (">2", "none", "inf"), strict=True)]
    row = diagnose(stack(2, "tanh", 16), unit(8, 16))["net/h1"]
    assert (row.effective_order, row.order_censored) == (2.0, True)
    assert ">2" in diagnose(stack(2, "tanh", 16), unit(8, 16)).to_string(wide=True)


# What it does.


def test_pre_activations_keep_unit_size_where_the_default_shrinks():
    """Behind 20 layers in the band of one draw: the fluctuation of each, carried by the slope."""
    model, x = stack(20, "tanh"), unit(64, 64)
    probe = keras.Model(model.inputs, model.layers[-2].output)

    def size():
        values = array(probe(x)) @ array(model.layers[-1].kernel)
        return 0.5 * math.log(np.mean(values**2.0))

    assert size() < -1.5  # Glorot
    _, variance = kf.log_norm(TANH, 1.0, 64)
    stddev = math.sqrt(variance / (1 - TANH.length_slope**2))
    found = []
    for seed in range(5):
        report = reinitialize(model, s=1.0, seed=seed, distribution="untruncated_normal")
        assert not any(change.skipped for change in report)
        found.append(size())
    assert max(map(abs, found)) < 3 * stddev < 0.5
    assert np.std(found) < 2 * stddev


@pytest.mark.parametrize("activation", ["tanh", "selu", "elu", "softplus", "hard_tanh"])
def test_an_activation_that_attracts_is_healthy_and_its_theory_is_told_as_far_as_known(activation):
    model = stack(20, activation, head=[layers.Dense(10, name="last")])
    for seed in range(3):
        reinitialize(model, s=1.0, seed=seed)
        diagnosis = diagnose(model, unit(64, 64))
        strays = [v for v in diagnosis.verdicts if v.startswith(("vanishes", "explodes", "not "))]
        assert not strays, diagnosis.verdicts
    rows = list(diagnosis)[1:]
    assert {row.walk for row in rows} == {1}
    assert all(row.low < row.size < row.high for row in rows)
    assert all(math.isnan(row.predicted) for row in rows)
    assert rows[0].law.startswith("S")
    law = laws.law_of(activation)
    widths = [math.log(row.high / row.low) for row in rows[:-1]]
    assert widths[-1] == pytest.approx(widths[-2], rel=0.05)  # it does not widen without end
    assert rows[5].low < math.sqrt(law.mean) < rows[5].high


@pytest.mark.slow
def test_a_network_that_runs_away_leaves_its_band():
    model, x = stack(50, "gelu", 32), unit(64, 32)
    fates = set()
    for seed in range(12):
        reinitialize(model, s=1.0, seed=seed)
        fates |= {diagnose(model, x).verdicts[0].partition(":")[0]}
    assert "vanishes" in fates
    reinitialize(model, s=1.0, seed=0)
    model.layers[0].kernel.assign(4.0 * model.layers[0].kernel)
    assert diagnose(model, x).verdicts[0].startswith("explodes")


def test_the_size_of_the_data_is_forgotten_where_the_point_attracts():
    model = stack(20, "tanh")
    reinitialize(model, s=1.0, seed=0)
    for size in (0.3, 3.0):
        diagnosis = diagnose(model, size * unit(64, 64), gradients=False)
        assert diagnosis.healthy, diagnosis.verdicts
    model = stack(20, "tanh")  # Glorot's
    assert diagnose(model, unit(64, 64)).verdicts[0].startswith("vanishes")


def test_mixed_networks_are_followed_through():
    hidden = [
        layers.Dense(64, a) for a in ["relu"] * 4 + ["tanh"] * 4 + ["gelu"] * 4 + ["relu"] * 4
    ]
    pooled = [layers.Reshape((8, 8)), layers.AveragePooling1D(2), layers.Flatten()]
    more = [layers.Dense(64, "tanh") for _ in range(3)]
    model = keras.Sequential([keras.Input((64,)), *hidden, *pooled, *more, layers.Dropout(0.2)])
    reinitialize(model, s=1.0, seed=0)
    diagnosis = diagnose(model, unit(64, 64))
    assert diagnosis.healthy, diagnosis.verdicts
    rows = [row for row in diagnosis if row.walk]
    assert {row.walk for row in rows} == {1}
    known = [not math.isnan(row.predicted) for row in rows]
    assert known == [True] * 5 + [False] * (len(known) - 5)
    reinitialize(model, s=1.0, seed=0, dropout=True)
    assert diagnose(model, unit(64, 64), training=True).healthy
