"""The forms of the kernels of a mirrored model, and what ends the pairs."""

import keras
import pytest
from mirrorable import NETWORKS, call, conv, dense, image_mean, stack

from keras_fracinit import laws
from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.kernels import kernels_in
from keras_fracinit.graph.pairing import forms_of

layers, ops = keras.layers, keras.ops


def forms(model, training=False):
    graph = Graph(model)
    kernels = kernels_in(graph)
    return forms_of(graph, kernels, [kernel.not_scalable for kernel in kernels], training)


def written(form):
    name = ""
    if form.pairs is not None:
        name = "repeated" if form.repeated else form.pairs.form
        name = " ".join([name, *map(str, form.pairs.runs or ())])
    return name


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_each_kernel_has_its_form_or_the_reason_for_none(network):
    found, _ = forms(network.build())
    expected = [(*form.split(":", 1), "")[:2] for form in network.forms]
    assert [written(form) for form in found] == [form.strip() for form, _ in expected]
    for form, (_, reason) in zip(found, expected, strict=True):
        assert reason.strip() in form.reason, form
        assert form.makes_pairs == (not form.reason)
        assert form.makes_pairs == (form.law is not None)


def test_the_law_is_that_of_the_activation_behind_the_pairs():
    model = stack((6,), dense(8, "gelu"), layers.Identity, dense(8), layers.PReLU, dense(3))()
    found, between = forms(model)
    assert [form.law for form in found] == [laws.Smooth("gelu"), laws.ReLU(), None]
    assert between == [model.layers[-2]]  # its slopes must treat both halves alike


def test_normalizations_between_pairs_are_listed_and_others_are_not():
    model = stack(
        (6,),
        layers.BatchNormalization,
        dense(8),
        layers.BatchNormalization,
        layers.ReLU,
        layers.LayerNormalization,
        dense(3),
        layers.BatchNormalization,
    )()
    _, between = forms(model)
    assert between == [model.layers[2], model.layers[4]]


def test_dropout_before_the_activation_ends_pairs_in_training_alone():
    model = stack((6,), dense(8), lambda: layers.Dropout(0.2), layers.ReLU, dense(2))()
    assert written(forms(model)[0][0]) == "outputs"
    with_masks, _ = forms(model, training=True)
    assert [written(form) for form in with_masks] == ["", ""]
    assert "dropout before the activation ends the pairs" in with_masks[0].reason
    behind = stack((6,), dense(8, "relu"), lambda: layers.Dropout(0.2), dense(2))()
    assert written(forms(behind, training=True)[0][0]) == "outputs"


def two_heads(x):
    y = layers.Dense(8)(layers.Dense(8, "relu")(x))
    return [layers.Dense(3)(ops.relu(y)), layers.Dense(3)(ops.silu(y))]


def part_of_the_output(x):
    y = layers.Dense(8, "relu")(x)
    return [layers.Dense(3)(y), y]


def multiplied(x):
    y = layers.Dense(8, "relu")(x)
    return layers.Dense(3)(layers.Multiply()([y, layers.Dense(8, "relu")(x)]))


def half_paired(x):
    return layers.Dense(3)(layers.Concatenate()([layers.Dense(8, "relu")(x), x]))


def in_other_places(x):
    parts = [
        layers.Concatenate()([layers.Dense(units, "relu")(x) for units in sizes])
        for sizes in ((4, 2), (2, 4))
    ]
    return layers.Dense(3)(layers.add(parts))


def channel_mean(x):
    return layers.Dense(3)(ops.mean(layers.Conv2D(4, 3, activation="relu")(x), axis=-1))


def turned(x):
    return layers.Dense(3)(layers.Permute((3, 1, 2))(layers.Conv2D(4, 3, activation="relu")(x)))


def along_positions(x):
    parts = [layers.Conv2D(4, 3, activation=name)(x) for name in ("relu", "silu")]
    return layers.Dense(3)(layers.Flatten()(layers.Concatenate(axis=1)(parts)))


ENDS = [
    (two_heads, (6,), "its output meets different activations"),
    (part_of_the_output, (6,), "its output is that of the model"),
    (multiplied, (6,), "Multiply"),
    (half_paired, (6,), "Concatenate joins pairs with something without pairs"),
    (in_other_places, (6,), "Add of pairs that lie in different places"),
    (channel_mean, (8, 8, 3), "a mean over the channels ends the pairs"),
    (turned, (8, 8, 3), "Permute ends the pairs"),
    (
        lambda x: layers.Dense(3)(ops.abs(layers.Dense(4)(x))),
        (6,),
        "Absolute has no linear odd part",
    ),
    (lambda x: layers.Dense(3)(layers.Dense(4, "mish")(x)), (6,), "mish has no linear odd part"),
    (lambda x: layers.Dense(3)(layers.Dense(4, "softmax")(x)), (6,), "softmax follows"),
    (
        lambda x: layers.Dense(3)(layers.Dense(4, lambda y: ops.relu(y))(x)),
        (6,),
        "`activation` must be a function that Keras can save by name",
    ),
    (
        lambda x: layers.Dense(3)(layers.Softmax()(layers.Dense(4)(x))),
        (6,),
        "Softmax ends the pairs",
    ),
    (
        lambda x: layers.Dense(3)(ops.silu(layers.Dense(4, "gelu")(x))),
        (6,),
        "Silu acts where only the difference of a pair is linear",
    ),
    (
        lambda x: layers.Dense(3)(layers.LSTM(4)(layers.Dense(4, "relu")(x))),
        (5, 6),
        "takes no pairs|LSTM ends the pairs",
    ),
]


@pytest.mark.parametrize(("function", "shape", "reason"), ENDS)
def test_what_ends_pairs_is_the_reason(function, shape, reason):
    found, _ = forms(call(function, shape)())
    (first,) = [form for form in found if form.reason and "odd width" not in form.reason][:1]
    assert not first.makes_pairs
    assert any(part in first.reason for part in reason.split("|")), first.reason


def test_pairs_of_two_kernels_join_along_positions():
    found, _ = forms(call(along_positions, (8, 8, 3))())
    assert [written(form) for form in found] == ["outputs", "outputs", "inputs (2, 72)"]


def test_a_kernel_that_stays_ends_the_pairs_with_its_reason():
    model = stack((8, 8, 3), conv(4), conv(4), conv(4), image_mean, dense(3))()
    graph = Graph(model)
    kernels = kernels_in(graph)
    found, _ = forms_of(graph, kernels, ["", "it is frozen", "", ""])
    assert [written(form) for form in found] == ["", "", "outputs", "inputs"]
    assert "takes no pairs: it is frozen" in found[0].reason
    assert found[1].reason == "it is frozen"
