"""Diagnosis: every number against its own formula, and words that speak only when they are true."""

import dataclasses
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
from bands import reaches
from networks import NETWORK_IDS, NETWORKS

import keras_fracinit as kf
from keras_fracinit import estimators, plots
from keras_fracinit.diagnosis import Diagnosis, diagnose
from keras_fracinit.planning import reinitialize

layers, ops = keras.layers, keras.ops


def mlp(depth=20, width=64, activation="relu", head=(), **options):
    hidden = [layers.Dense(width, activation, name=f"h{i}", **options) for i in range(depth)]
    return keras.Sequential([keras.Input((32,)), *hidden, *head], name="net")


def fresh(model, s=1.0, seed=0):
    reinitialize(model, s=s, seed=seed)
    return model


X = normal(64, 32)


# The numbers.


def test_each_number_is_what_it_says():
    model = fresh(mlp(3, 16))
    rows = {row.path: row for row in diagnose(model, X, orders=(0, 0.5, 2))}
    assert list(rows) == ["input", "net/h0", "net/h1", "net/h2"]
    value = X.astype("float64")
    for depth, layer in enumerate([None, *model.layers]):
        row = rows[f"net/{layer.name}" if layer else "input"]
        value = np.maximum(value @ array(layer.kernel), 0.0) if layer else value
        sizes = np.sqrt(np.mean(value**2, axis=1))
        unit = value / np.linalg.norm(value, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[~np.eye(len(unit), dtype=bool)]
        assert row.depth == depth
        for s in (0.5, 2.0):
            assert row.s_scales[s] == pytest.approx(np.mean(sizes**s) ** (1 / s), rel=1e-5)
        assert row.s_scales[0.0] == pytest.approx(row.size, rel=1e-5)
        assert row.size == pytest.approx(math.exp(np.mean(np.log(sizes))), rel=1e-5)
        assert row.log_norm_mean == pytest.approx(np.mean(np.log(sizes)), abs=1e-5)
        assert row.log_norm_std == pytest.approx(np.std(np.log(sizes), ddof=1), rel=1e-4)
        assert row.cosine == pytest.approx(np.mean(cosines), abs=1e-5)
        assert row.dead_units == np.mean(np.all(value == 0.0, axis=0))
        assert row.dead_inputs == 0.0
        assert row.nonfinite == 0


def test_the_facts_of_a_kernel_are_those_of_its_values():
    model = mlp(2, 16)
    for name, layer in zip(("net/h0", "net/h1"), model.layers, strict=True):
        row, kernel = diagnose(model, X)[name], array(layer.kernel).astype("float64")
        rms = math.sqrt(np.mean(kernel**2))
        order = kf.effective_order("relu", 16, stddev=rms, fan_in=kernel.shape[0])
        assert row.effective_order == pytest.approx(order, rel=1e-9)
        expected = estimators.tail_index(kernel.ravel()).value
        assert row.tail_index == pytest.approx(expected, rel=1e-6)
        assert (row.kind, row.law) == ("dense", "ReLU()")


def test_a_large_kernel_is_read_by_pieces(monkeypatch):
    model = mlp(1, 40)
    whole = dataclasses.asdict(diagnose(model, X)["net/h0"])
    monkeypatch.setattr("keras_fracinit.models.weight_statistics._PIECE", 100)
    pieces = dataclasses.asdict(diagnose(model, X)["net/h0"])
    assert pieces.keys() == whole.keys()
    for name, value in whole.items():  # the sums of pieces are rounded in another order
        if isinstance(value, float):
            assert pieces[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
        else:
            assert pieces[name] == value, name


def test_theory_and_band_are_those_of_the_stack():
    depth, width = 5, 16
    model = fresh(mlp(depth, width), s=1.0)
    diagnosis = diagnose(model, X)
    start = diagnosis["input"].size
    gains = [array(layer.kernel).astype("float64") for layer in model.layers]
    gains = [kernel.shape[0] * np.mean(kernel**2) for kernel in gains]
    he = kf.log_norm("relu", 2, width)
    below, above = reaches([he.variance] * depth)
    for k in range(1, depth + 1):
        row = diagnosis[f"net/h{k - 1}"]
        expected = kf.propagation.propagate([width] * k, "relu", gain=gains[:k]).mean
        assert math.log(row.predicted / start) == pytest.approx(expected, abs=1e-9)
        assert math.log(row.low / start) == pytest.approx(k * he.mean - below[k - 1], abs=1e-9)
        assert math.log(row.high / start) == pytest.approx(above[k - 1], abs=1e-9)


def test_the_cosine_of_images_is_that_of_whole_samples():
    model = keras.Sequential([keras.Input((6, 5, 2)), layers.Conv2D(3, 3, padding="same")])
    x = normal(8, 6, 5, 2)
    flat = array(model(x)).reshape(8, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    expected = np.mean((unit @ unit.T)[~np.eye(8, dtype=bool)])
    row = diagnose(model, x).layers[-1]
    assert row.cosine == pytest.approx(expected, abs=1e-5)
    sizes = np.sqrt(np.mean(flat.astype("float64") ** 2, axis=1))
    assert row.size == pytest.approx(math.exp(np.mean(np.log(sizes))), rel=1e-5)


def test_what_no_float32_can_square_is_still_measured():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, use_bias=False)])
    base = diagnose(model, normal(16, 8))
    for factor in (1e-25, 1e25):
        row = diagnose(model, factor * normal(16, 8)).layers[-1]
        assert row.size == pytest.approx(factor * base.layers[-1].size, rel=1e-4)
        assert row.cosine == pytest.approx(base.layers[-1].cosine, abs=1e-4)


def test_zeros_at_the_edges_and_positions_widen_the_band():
    """By the share of inputs that are no padding: 22 of 24 in each direction."""
    x = normal(4, 8, 8, 3)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(16, 3, padding="same")])
    first, row = diagnose(model, x).layers
    mean, variance = kf.log_norm("linear", 2, 16)
    (below,), (above,) = reaches([variance])
    assert math.log(row.low / first.size) == pytest.approx(mean - below + math.log(22 / 24))
    assert math.log(row.high / first.size) == pytest.approx(above - mean)


def test_a_separable_convolution_has_its_edges_once():
    stack = [keras.Input((8, 8, 4)), layers.SeparableConv2D(16, 3, padding="same")]
    first, row = diagnose(keras.Sequential(stack), normal(4, 8, 8, 4)).layers
    depthwise, pointwise = (kf.log_norm("linear", 2, width) for width in (4, 16))
    (below,), _ = reaches([depthwise.variance + pointwise.variance])
    low = depthwise.mean + pointwise.mean + math.log(22 / 24) - below
    assert math.log(row.low / first.size) == pytest.approx(low)


# The words.


def test_a_fresh_stack_is_healthy_where_the_default_of_keras_vanishes():
    model = mlp(head=[layers.Dense(10, "softmax")])
    glorot = diagnose(model, X)
    assert not glorot.healthy
    assert glorot.verdicts[0].startswith("vanishes: x0.")
    assert "outside the band of one draw" in glorot.verdicts[0]
    assert "net/h0 to net/h19" in glorot.verdicts[0]
    for s in (0.0, 0.5, 1.0, 2.0):
        ours = diagnose(fresh(model, s), X)
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


@pytest.mark.parametrize("s", [0.0, 1.0, 2.0])
def test_a_band_is_left_as_seldom_as_it_says(s):
    """Anywhere, of 4,000 networks of one input, simulated: at most 2 in 100, and not none."""
    depth, width, draws, random = 12, 32, 4000, np.random.default_rng(0)
    size, outside = np.zeros(draws), np.zeros(draws, bool)
    start, *rows = diagnose(mlp(depth, width), X, gradients=False).layers
    for row in rows:
        z = np.maximum(random.normal(size=(draws, width)), 0.0)
        size += 0.5 * np.log(kf.gain("relu", s, width) / width * np.sum(z * z, axis=1))
        low, high = (math.log(edge / start.size) for edge in (row.low, row.high))
        outside |= (size < low) | (size > high)
    assert 0.002 < outside.mean() < 0.02 + 3.0 * math.sqrt(0.02 / draws)


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
