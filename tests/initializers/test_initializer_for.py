"""Tests which initializer belongs to an activation or a layer, and which have none."""

import keras
import pytest

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.laws import Smooth


def test_initializer_for_reads_the_slope_from_the_object():
    layers = keras.layers
    table = [
        ("relu", kf.FracReLU, {}),
        ("linear", kf.FracLinear, {}),
        (None, kf.FracLinear, {}),
        ("leaky_relu", kf.FracLeakyReLU, {"negative_slope": 0.2}),
        (keras.activations.relu, kf.FracReLU, {}),
        (keras.activations.leaky_relu, kf.FracLeakyReLU, {"negative_slope": 0.2}),
        (layers.ReLU(), kf.FracReLU, {}),
        (layers.ReLU(negative_slope=0.4), kf.FracLeakyReLU, {"negative_slope": 0.4}),
        (layers.LeakyReLU(), kf.FracLeakyReLU, {"negative_slope": 0.3}),
        (layers.LeakyReLU(negative_slope=0.01), kf.FracLeakyReLU, {"negative_slope": 0.01}),
        (layers.PReLU(), kf.FracReLU, {}),
        (layers.PReLU("ones"), kf.FracLeakyReLU, {"negative_slope": 1.0}),
        (
            layers.PReLU(keras.initializers.Constant(0.25)),
            kf.FracLeakyReLU,
            {"negative_slope": 0.25},
        ),
        (layers.Activation("relu"), kf.FracReLU, {}),
        (
            kf.RandomizedLeakyReLU(0.2, 0.4),
            kf.FracRandomizedLeakyReLU,
            {"lower": 0.2, "upper": 0.4},
        ),
        (keras.activations.tanh, kf.FracActivation, {"activation": "tanh"}),
        ("swish", kf.FracActivation, {"activation": "silu"}),
        (layers.ELU(), kf.FracActivation, {"activation": "elu"}),
        (layers.Activation("sigmoid"), kf.FracActivation, {"activation": "sigmoid"}),
        (laws.Dropout(Smooth("gelu"), 0.1), kf.FracActivation, {"activation": "gelu"}),
        (laws.LeakyReLU(-0.5), kf.FracLeakyReLU, {"negative_slope": -0.5}),
        (laws.Dropout(laws.ReLU(), 0.3), kf.FracReLU, {"dropout": 0.3}),
    ]
    for activation, expected, parts in table:
        initializer = kf.initializer_for(activation, s=0.5, seed=1)
        config = initializer.get_config()
        assert type(initializer) is expected, activation
        assert (config["s"], config["seed"]) == (0.5, 1)
        assert {name: config[name] for name in parts} == parts


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("softmax", "act on each number alone, which softmax does not"),
        ("log_softmax", "act on each number alone"),
        ("glu", "'glu'"),
        ("no_such_thing", "Received: activation='no_such_thing'"),
        ({"class_name": "nothing"}, "Received: activation={'class_name'"),
        (lambda x: x, "register_keras_serializable.*Received: activation=<function <lambda>"),
        (3, "Received: activation=3"),
        (keras.layers.ReLU, "Received: activation=<class"),
    ],
)
def test_initializer_for_names_what_it_does_not_support(activation, message):
    with pytest.raises(ValueError, match=message):
        kf.initializer_for(activation)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.layers.ReLU(max_value=5), r"ReLU\(max_value=5, threshold=0.0\)"),
        (lambda: keras.layers.ReLU(threshold=1), r"ReLU\(max_value=None, threshold=1\)"),
        (lambda: keras.layers.ELU(alpha=0.5), "Received: activation=<ELU"),
        (lambda: keras.layers.Softmax(), "Received: activation=<Softmax"),
        (lambda: keras.layers.Activation("softmax"), "which softmax does not"),
        (lambda: keras.layers.Activation(lambda x: x), "register_keras_serializable"),
        (lambda: keras.layers.PReLU("glorot_uniform"), "one constant"),
        (lambda: keras.layers.PReLU(keras.initializers.Constant([0.1, 0.2])), "one constant"),
    ],
)
def test_initializer_for_names_layers_it_does_not_support(make, message):
    with pytest.raises(ValueError, match=message):
        kf.initializer_for(make())
