"""A pattern names the same layers wherever a user gives one: plans, loggers, searches."""

import keras
import numpy as np
import pytest

from keras_fracinit import MomentLogger, plan
from keras_fracinit.tuner import FracInitHyperModel

layers = keras.layers
X = np.ones((2, 4), "float32")
SIZES = np.array([2.0, 3.0, 5.0])


def nested():
    """`net` has `first`, and the models `a` and `b`, each with a layer `c0`."""

    def block(name):
        inner = layers.Dense(4, "relu", use_bias=False, name="c0")
        return keras.Sequential([keras.Input((4,)), inner], name=name)

    first = layers.Dense(4, "relu", use_bias=False, name="first")
    return keras.Sequential([keras.Input((4,)), first, block("a"), block("b")], name="net")


ORDER = ["first", "a", "b"]
TABLE = {
    "first": ["first"],
    "net": ORDER,
    "net/first": ["first"],
    "c0": ["a", "b"],
    "a": ["a"],
    "a/c0": ["a"],
    "net/a/c0": ["a"],
    "net/b": ["b"],
    "[ab]": ["a", "b"],
    "net/*/c*": ["a", "b"],
    "f*": ["first"],
}


def by_plan(model, pattern):
    changes = plan(model, skip=pattern)
    return [where for where, change in zip(ORDER, changes, strict=True) if change.skipped]


def by_logger(quantity):
    """Layers in different models may have one path, so they are known by their sizes."""

    def by(model, pattern):
        first, *blocks = model.layers
        for size, layer in zip(SIZES, [first, *(block.layers[0] for block in blocks)], strict=True):
            layer.kernel.assign(size * np.eye(4))
        model.compile(keras.optimizers.SGD(0.0), "mse")
        logger = MomentLogger(X, layers=[pattern], quantities=(quantity,), orders=(1.0,))
        model.fit(X, X, verbose=0, callbacks=[logger])
        rows = logger.history.query("statistic == 's_scale' and step == 0")
        # A row of the identity has one entry of four; an output has the sizes of all before it.
        sizes = SIZES / 4.0 if quantity == "weights" else np.cumprod(SIZES)
        found = {int(np.argmin(np.abs(sizes - value))) for value in rows.value}
        return [where for place, where in enumerate(ORDER) if place in found]

    return by


def by_search(model, pattern):
    hyper = FracInitHyperModel(lambda hp: model, groups={"chosen": [pattern]})
    orders = hyper.report().order
    return [where for where, order in zip(ORDER, orders, strict=True) if order == "s_chosen"]


WAYS = {
    "plan": by_plan,
    "activations": by_logger("activations"),
    "weights": by_logger("weights"),
    "search": by_search,
}


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_patterns_match_alike(way, loaded, tmp_path):
    """Also in a model that was loaded, in which Keras drops the names of outer models."""
    model = nested()
    if loaded:
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
    found = {pattern: WAYS[way](model, pattern) for pattern in TABLE}
    assert found == TABLE
