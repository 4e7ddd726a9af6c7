"""A gradient sent back from the outputs, against the chain rule by hand, on every backend."""

import keras
import numpy as np
import pytest
from architectures import array, normal

from keras_fracinit.models.backward_pass import NotMeasuredError, send_back
from keras_fracinit.models.forward_pass import observe

layers = keras.layers
X = normal(16, 6)


def cotangents(*shapes):
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype("float32").astype("float64") for shape in shapes]


def size(gradient, units):
    """The mean logarithm of the norms of samples, over the norm of all outputs together."""
    norms = np.linalg.norm(gradient, axis=1)
    return np.mean(np.log(norms[norms > 0.0] / units**0.5))


def alike(gradient):
    gradient = gradient[np.any(gradient != 0.0, axis=1)]
    unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    return np.mean(np.square(unit @ unit.T))


def test_gradients_are_those_of_the_chain_rule():
    stack = [layers.Dense(8, "tanh"), layers.Dense(5), layers.ReLU(), layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *stack])
    kernels = [array(layer.kernel).astype("float64") for layer in stack if layer.weights]
    first = np.tanh(X @ kernels[0])
    second = first @ kernels[1]
    (above,) = cotangents((16, 3))
    relu = above @ kernels[2].T
    linear = relu * (second > 0.0)
    tanh = linear @ kernels[1].T
    inputs = (tanh * (1.0 - first**2)) @ kernels[0].T
    found = send_back(model, X, False)
    expected = [inputs, tanh, linear, relu, above]
    assert len(found) == len(observe(model, X, False)) == 5
    for sizes, gradient in zip(found, expected, strict=True):
        assert sizes.behind == pytest.approx(size(gradient, 3), abs=1e-5)
        assert sizes.alike == pytest.approx(alike(gradient), abs=1e-5)
    for place, gradient in ((1, inputs), (2, tanh), (4, relu)):  # layers with a kernel
        assert found[place].into == pytest.approx(size(gradient, 3), abs=1e-5)
    assert np.isnan(found[3].into)


def test_what_comes_back_through_a_layer_is_told_from_what_comes_from_others():
    inputs = keras.Input((6,))
    stem = layers.Dense(7, name="stem")(inputs)
    ends = [layers.Dense(4, name="a")(stem), layers.Dense(2, name="b")(stem)]
    model = keras.Model(inputs, ends)
    above = cotangents((16, 4), (16, 2))
    kernels = [array(model.get_layer(name).kernel).astype("float64") for name in ("a", "b")]
    into = [gradient @ kernel.T for gradient, kernel in zip(above, kernels, strict=True)]
    names = ["input", *(output.path for output in observe(model, X, False)[1:])]
    found = dict(zip(names, send_back(model, X, False), strict=True))
    assert found["stem"].behind == pytest.approx(size(sum(into), 6), abs=1e-5)
    for name, gradient in zip(("a", "b"), into, strict=True):
        assert found[name].into == pytest.approx(size(gradient, 6), abs=1e-5)


def test_masks_states_and_random_layers_are_left_as_they_are():
    stack = [layers.Embedding(9, 4, mask_zero=True), layers.Dense(5, "tanh")]
    head = [layers.Dropout(0.5, seed=3), layers.GlobalAveragePooling1D(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *stack, *head])
    x = np.random.default_rng(0).integers(9, size=(4, 6))
    before = [array(variable) for variable in model.variables]
    calls = [vars(layer).get("call") for layer in model.layers]
    found = send_back(model, x, True)
    assert len(found) == 1 + len(observe(model, x, True))  # the first is of the input
    dense, dropout = found[2], found[3]
    assert np.isfinite([dense.into, dense.behind, dropout.behind]).all()
    # The average leaves out what the mask hides, so the gradient there is zero.
    unmasked = keras.Sequential([layers.Embedding(9, 4), *stack[1:], *head])
    unmasked.build((None, 6))
    unmasked.layers[0].set_weights(stack[0].get_weights())
    assert send_back(unmasked, x, True)[2].behind < dense.behind - 0.01
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(array(variable), value)
    assert [vars(layer).get("call") for layer in model.layers] == calls


def test_a_model_of_no_gradient_says_so():
    class Refuses(layers.Layer):
        def call(self, inputs):
            raise NotImplementedError("no gradient here")

    model = keras.Sequential([Refuses(), layers.Dense(3)])
    with pytest.raises(NotMeasuredError, match="NotImplementedError"):
        send_back(model, X, False)
