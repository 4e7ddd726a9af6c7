"""Models as deep as Keras builds them: no walk through them recurses."""

import sys

import keras
import pytest

from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.kernels import kernels_in
from keras_fracinit.graph.pairing import forms_of
from keras_fracinit.planning import plan

layers = keras.layers
DEEP = 250  # each layer has cost at least four frames


def residual(x):
    dense, norm = layers.Dense(2), layers.UnitNormalization()
    for _ in range(DEEP):
        x = layers.Add()([x, dense(norm(x))])
    return x


def passing(x):
    x = layers.Dense(2)(x)
    for _ in range(3 * DEEP):
        x = layers.Identity()(x)
    return layers.Dense(2, "tanh")(x)


def summed(x):
    total = x
    dense = layers.Dense(2)
    for _ in range(3 * DEEP):
        total = total + dense(x)
    return total


def nested(x):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, "relu")])
    for _ in range(10):
        model = keras.Sequential([keras.Input((2,)), model, layers.Dense(2, "relu")])
    return model(x)


SLOW = [pytest.param(build, marks=pytest.mark.slow) for build in (passing, summed, nested)]


@pytest.mark.parametrize("build", [residual, *SLOW])
def test_depth_costs_no_recursion(build):
    inputs, limit = keras.Input((2,)), sys.getrecursionlimit()
    sys.setrecursionlimit(10**5)  # Keras itself needs two frames a layer to find the calls
    try:
        model = keras.Model(inputs, build(inputs))
    finally:
        sys.setrecursionlimit(limit)
    graph = Graph(model)
    kernels = kernels_in(graph)
    assert len({kernel.downstream for kernel in kernels}) <= 2
    for branches in ("keep", "zero"):
        changes = [c for c in plan(model, branches=branches) if c.kind == "dense"]
        assert len(changes) == len(kernels)
    forms, _ = forms_of(graph, kernels, [""] * len(kernels))
    assert any(form.pairs for form in forms) == (build is nested)
