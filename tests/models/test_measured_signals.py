"""Tests which signals of a model are measured, and that the numbers are those of its layers."""

import functools
import re

import keras
import numpy as np
import pytest
from cases import numpy
from measurements import ORDERS, by_hand, cells, measure, tensors
from networks import NETWORK_IDS, NETWORKS, layer_activation, mlp

from keras_fracinit.models import QUANTITIES


def log_norm_by_hand(array):
    """Mean and variance of the log-norm over the survivors, the share of zeros."""
    array = np.asarray(array, "float64")
    norms = np.sqrt(np.mean(array.reshape(-1, array.shape[-1]) ** 2, axis=-1))
    logs = np.log(norms[norms > 0])
    return {
        "log_norm_mean": np.mean(logs),
        "log_norm_variance": np.var(logs, ddof=1),
        "zeros": np.mean(norms == 0),
        "nonfinite": 0.0,
    }


@functools.cache
def seen(name):
    """Measures a network, once for all tests that change nothing of it."""
    network = NETWORKS[NETWORK_IDS.index(name)]
    quantities = QUANTITIES if network.trains else QUANTITIES[:3]
    model = network.build()
    return model, *measure(model, network.x, network.y, quantities=quantities)


@pytest.mark.parametrize("network", NETWORKS, ids=NETWORK_IDS)
def test_every_kind_of_model_is_seen(network):
    model, measurement, table = seen(network.name)
    quantities = QUANTITIES if network.trains else QUANTITIES[:3]
    assert {row.quantity for row in measurement.rows} == set(quantities)
    head = [row for row in measurement.rows if row.quantity == "activations"][-1]
    prediction = numpy(model(tensors(network.x)))
    tolerance = 2e-3 if network.name == "mixed-precision" else 2e-5
    for s in ORDERS:
        value = cells(measurement, table)[head[:3]]["s_scale", s]
        np.testing.assert_allclose(value, by_hand(prediction, s), rtol=tolerance)
    assert np.isfinite(table[[row.quantity == "activations" for row in measurement.rows], 0]).all()


# Path without automatic numbers, call, depth.
SEEN = {
    "convolutional": [
        ("sequential/conv2d", 0, 1),
        ("sequential/batch_normalization", 0, 1),
        ("sequential/re_lu", 0, 1),
        ("sequential/separable_conv2d", 0, 2),
        ("sequential/global_average_pooling2d", 0, 2),
        ("sequential/dense", 0, 3),
    ],
    "recurrent": [
        ("sequential/bidirectional", 0, 1),
        ("sequential/time_distributed", 0, 2),
        ("sequential/gru", 0, 3),
        ("sequential/dense", 0, 4),
    ],
    "nested": [
        ("sequential/dense", 0, 1),
        ("sequential/dropout", 0, 1),
        ("sequential/dense", 1, 2),
        ("sequential/dropout", 1, 2),
        ("dense", 0, 3),
        ("dense", 1, 4),
        ("dense", 2, 5),
        ("add", 0, 5),
        ("dense", 0, 6),
    ],
    "subclassed": [
        ("subclassed/block/dense", 0, 1),
        ("subclassed/block/dense", 0, 2),
        ("subclassed/block", 0, 2),  # adds its input: no layer in it has put that out
        ("subclassed/dropout", 0, 2),
        ("subclassed/dense", 0, 3),
    ],
    "attention": [
        ("embedding", 0, 0),
        ("multi_head_attention/query", 0, 1),
        ("multi_head_attention/key", 0, 2),
        ("multi_head_attention/value", 0, 3),
        ("multi_head_attention/attention_output", 0, 4),
        ("layer_normalization", 0, 4),
        ("functional/global_average_pooling1d", 0, 4),
        ("dense", 0, 5),
    ],
    "layer-activation": [
        ("sequential/dense", 0, 1),
        ("sequential/dense", 0, 2),
        ("sequential/p_re_lu", 0, 2),
        ("sequential/randomized_leaky_re_lu", 0, 2),
        ("sequential/dense", 0, 3),
    ],
}


@pytest.mark.parametrize("name", SEEN)
def test_each_call_of_a_layer_is_one_row(name):
    _, measurement, _ = seen(name)
    rows = [
        (re.sub(r"_\d+", "", layer), *rest)
        for quantity, layer, *rest in measurement.rows
        if quantity == "activations"
    ]
    assert rows == SEEN[name]


@pytest.mark.parametrize("name", ["mlp", "convolutional", "dictionary", "attention"])
def test_activations_are_those_of_layer_output(name):
    model, measurement, table = seen(name)
    x = tensors(NETWORKS[NETWORK_IDS.index(name)].x)
    measured = cells(measurement, table)
    found = {key[1].split("/")[-1]: key for key in measured if key[0] == "activations"}
    checked = 0
    for layer in model.layers:
        path = found.get(layer.name)
        if path is None:
            continue  # an input, or attention, whose output is that of a layer in it
        checked += 1
        output = numpy(keras.Model(model.inputs, layer.output)(x))
        for s in ORDERS:
            expected = by_hand(output, s)
            np.testing.assert_allclose(measured[path]["s_scale", s], expected, rtol=2e-5)
        for name, expected in log_norm_by_hand(output).items():
            value = measured[path][name, None][0]
            np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-6)
    assert checked >= 4


def test_units_are_samples_of_their_own_where_asked():
    network = NETWORKS[0]
    model = network.build()
    measurement, table = measure(model, network.x, kind="unit", tail_index=True)
    output = numpy(model(tensors(network.x)))
    measured = cells(measurement, table)["activations", model.layers[-1].path, 0]
    for s in ORDERS:
        expected = by_hand(output[..., None], s)  # each unit a position of one unit
        np.testing.assert_allclose(measured["s_scale", s], expected, rtol=2e-5)
    ordered = np.sort(np.abs(output).ravel())[::-1]
    k = int(np.sqrt(ordered.size))
    alpha = 1 / np.mean(np.log(ordered[:k] / ordered[k]))
    expected = (alpha, alpha / np.sqrt(k))
    np.testing.assert_allclose(measured["tail_index", None], expected, rtol=2e-5)


@pytest.mark.parametrize("build", [mlp, layer_activation])
def test_preactivations_are_what_the_activation_is_given(build):
    model = build()
    x = NETWORKS[0].x
    measurement, table = measure(model, x, quantities=("preactivations",))
    first = model.layers[0]
    output = np.asarray(x, "float64") @ numpy(first.kernel) + numpy(first.bias)
    measured = cells(measurement, table)["preactivations", first.path, 0]
    for s in ORDERS:
        np.testing.assert_allclose(measured["s_scale", s], by_hand(output, s), rtol=2e-5)
    assert [row.depth for row in measurement.rows] == [1, 2, 3]


def test_training_mode_sees_dropout():
    model = keras.Sequential([keras.Input((400,)), keras.layers.Dropout(0.75)])
    x = np.ones((50, 400), "float32")
    for training, expected in ((False, 1.0), (True, 2.0)):  # E y^2 = 0.25 * 4^2
        measurement, table = measure(model, x, training=training)
        value = cells(measurement, table)["activations", measurement.rows[0].layer, 0]
        assert value["s_scale", 2.0][0] == pytest.approx(expected, rel=0.02)


class Odd(keras.layers.Layer):
    """Puts out samples, and what has no statistics: integers, a number, no units."""

    def call(self, inputs):
        return inputs, keras.ops.cast(inputs, "int32"), keras.ops.sum(inputs), inputs[:, :0]


def test_outputs_that_are_no_samples_are_left_out():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Odd()(inputs)[0])
    measurement, _ = measure(model, np.ones((4, 3), "float32"))
    assert len(measurement.rows) == 1


def test_layers_are_selected_by_name_path_and_pattern():
    network = NETWORKS[NETWORK_IDS.index("subclassed")]
    model = network.build()
    measurement, _ = measure(model, network.x, layers=("block*",), quantities=QUANTITIES[:3])
    assert all("/block" in row.layer for row in measurement.rows)
    assert len(measurement.rows) == 3 + 2 + 4
    head = measurement.model.layers[-1].path
    for pattern in (head, head.split("/")[-1], head[:-1] + "*", head.replace("dense", "d?nse")):
        measurement, _ = measure(model, network.x, layers=(pattern,))
        assert {row.layer for row in measurement.rows} == {head}
        assert [row.depth for row in measurement.rows] == [3]  # counted whether shown or not


def test_what_cannot_be_measured_is_an_error():
    model, x = mlp(), NETWORKS[0].x
    names = [layer.name for layer in model.layers]
    with pytest.raises(ValueError, match=rf"'{names[0]}x', which matches none.*'{names[0]}'"):
        measure(model, x, layers=(names[0] + "x",))
    with pytest.raises(ValueError, match=r"which takes .*\(None, 8\).*Received: .*\(40, 5\)"):
        measure(model, x[:, :5])
    weightless = keras.Sequential([keras.Input((8,)), keras.layers.Dropout(0.1)])
    with pytest.raises(ValueError, match="`quantities` must name something"):
        measure(weightless, x, quantities=("weights",))
