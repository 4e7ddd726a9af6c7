"""Tests `diagnose` from outside: models of every kind, table and picture, and what is refused."""

import math

import keras
import numpy as np
import pytest
from architectures import (
    array,
    autoencoder,
    mobilenet,
    normal,
    resnet,
    subclassed,
    transformer,
    vgg,
)
from diagnosable import X, fresh, mlp
from networks import NETWORK_IDS, NETWORKS

from keras_fracinit import plots
from keras_fracinit.diagnosis import Diagnosis, diagnose

layers = keras.layers


# Any model.


@pytest.mark.parametrize("network", NETWORKS, ids=NETWORK_IDS)
def test_every_way_to_build_a_model_is_diagnosed_and_left_alone(network):
    model = network.build()
    if not model.built:
        with pytest.raises(ValueError, match="`model` must be built"):
            diagnose(model, network.x)
        model(network.x)
    if network.name in ("quantized",):
        with pytest.raises(ValueError, match="`model` must not be quantized"):
            diagnose(model, network.x)
        return
    before = [array(variable) for variable in model.variables]
    diagnosis = diagnose(model, network.x, training=network.name == "mlp")
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(array(variable), value)
    assert len(diagnosis) > 2
    assert all(row.size > 0.0 and row.nonfinite == 0 for row in diagnosis)
    assert all(math.isnan(row.cosine) or -1.0 <= row.cosine <= 1.0001 for row in diagnosis)
    assert not any(verdict.startswith(("dead", "not finite")) for verdict in diagnosis.verdicts)


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (vgg, normal(8, 8, 8, 3)),
        (lambda: resnet(False), normal(8, 8, 8, 3)),
        (lambda: resnet(True), normal(8, 8, 8, 3)),
        (mobilenet, normal(8, 8, 8, 3)),
        (autoencoder, normal(8, 8, 8, 3)),
        (transformer, np.random.default_rng(0).integers(11, size=(8, 7))),
        (subclassed, normal(8, 6)),
    ],
)
def test_fresh_architectures_do_not_stray(build, x):
    model = build()
    model(x)
    # JAX compiles every step of every gradient, and test_gradients.py has those that matter.
    diagnosis = diagnose(fresh(model), x, gradients=keras.backend.backend() != "jax")
    words = ("vanishes", "explodes", "weights", "gradients")
    strays = [v for v in diagnosis.verdicts if v.startswith(words)]
    assert not strays
    assert any(row.walk for row in diagnosis)


def test_a_source_of_batches_is_read_once():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return X, X[:, :1]

    model = fresh(mlp(2, 8))
    assert str(diagnose(model, Batches())) == str(diagnose(model, X))


# What is shown.


def test_a_diagnosis_prints_and_is_a_frame():
    diagnosis = diagnose(mlp(3, 16), X, orders=(0.5, 1))
    text, wide = str(diagnosis), diagnosis.to_string(wide=True)
    for word in ("net/h2", "dead", "band of", "cosine", diagnosis.verdicts[0][:40]):
        assert word in text
        assert word in wide
    assert "m_0.5" in wide
    frame = diagnosis.to_pandas()
    assert list(frame["path"]) == ["input", "net/h0", "net/h1", "net/h2"]
    assert list(frame.columns[:4]) == ["path", "depth", "s_scale_0.5", "s_scale_1"]
    assert frame["s_scale_1"][3] == diagnosis["net/h2"].s_scales[1.0]
    assert len(frame.columns) == 2 + 2 + 22 + 1
    assert frame.columns[-1] == "log_norm_stddev"  # the name of log_norm_std up to 0.1
    assert frame["log_norm_stddev"].equals(frame["log_norm_std"])
    with pytest.raises(KeyError, match="nobody"):
        diagnosis["nobody"]


def test_the_picture_shows_what_the_table_says():
    diagnosis = diagnose(mlp(6, 16), X)
    upper, lower = plots.diagnosis(diagnosis).axes
    measured = next(line for line in upper.lines if line.get_label() == "measured")
    assert list(measured.get_ydata()) == [row.size for row in diagnosis]
    theory = next(line for line in upper.lines if line.get_label() == "theory of these weights")
    assert list(theory.get_ydata()) == [row.predicted for row in diagnosis]
    np.testing.assert_allclose(lower.lines[0].get_ydata(), [1 - row.cosine for row in diagnosis])
    assert diagnosis.verdicts[0].split(";")[0] in upper.get_title(loc="left").replace("\n", " ")
    healthy = plots.diagnosis(diagnose(fresh(mlp(6, 16)), X)).axes[0]
    assert healthy.lines[-1].get_color() != upper.lines[-1].get_color()
    dead = mlp(3, 8, bias_initializer=keras.initializers.Constant(-100.0))
    assert "zero, nan or infinite" in {
        text.get_text() for text in plots.diagnosis(diagnose(dead, X)).axes[0].get_legend().texts
    }


# What is refused.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: diagnose(7, X), TypeError, "`model` must be a keras.Model. Received: 7"),
        (lambda m: diagnose(m, normal(4, 31)), ValueError, "`x` must fit the model"),
        (lambda m: diagnose(m, normal(0, 32)), ValueError, "`x` must hold samples"),
        (lambda m: diagnose(m, 3.0), TypeError, "`x` must be an array"),
        (lambda m: diagnose(m, X, orders=()), ValueError, "`orders` must not be empty"),
        (lambda m: diagnose(m, X, orders=(1, 3)), ValueError, "`orders` must satisfy 0"),
        (lambda m: diagnose(m, X, orders=1.0), TypeError, "`orders` must be a sequence"),
        (lambda m: diagnose(m, X, training=1), TypeError, "`training` must be a bool"),
        (lambda m: plots.diagnosis(m), TypeError, "`diagnosis` must be a Diagnosis"),
        (
            lambda m: diagnose(keras.Sequential([keras.Input((3,)), layers.Flatten()]), X),
            ValueError,
            "`model` must have kernels",
        ),
        (
            lambda m: diagnose(keras.Sequential([layers.Dense(3)]), X),
            ValueError,
            "`model` must be built",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call(mlp(2, 8))


def test_the_class_of_layers_is_put_back_after_an_error():
    original = layers.Layer.__call__
    with pytest.raises(ValueError, match="Received: x of shape"):
        diagnose(mlp(2, 8), normal(4, 31))
    assert layers.Layer.__call__ is original
    assert isinstance(diagnose(mlp(2, 8), X), Diagnosis)
