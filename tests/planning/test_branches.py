"""Residual branches of a plan: blocks that start as their skip path, and isometric blocks."""

import keras
import numpy as np
import pytest
from architectures import array, equal, normal, transformer, weights

from keras_fracinit.planning import execute, plan, reinitialize
from keras_fracinit.planning.branches import ZEROED

layers, ops = keras.layers, keras.ops


def zeroed(changes):
    return [change.path for change in changes if change.stddev == 0 and change.kind != "bias"]


def gradients(model, x):
    """Of the mean of the squared output, by the names of the trainable variables."""
    before = weights(model)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", run_eagerly=True)
    model.train_on_batch(x, np.ones(model(x).shape, "float32"))
    return {v.path: old - array(v) for v, old in zip(model.weights, before, strict=True)}


# Blocks that start as their skip path: a model, and what it is without its branches.


def pre_activation(x):
    for i in range(2):
        y = layers.Dense(8, name=f"first_{i}")(ops.relu(x))
        x = x + layers.Dropout(0.5)(layers.Dense(6, name=f"last_{i}")(ops.relu(y)))
    return x, ["last_0/kernel", "last_1/kernel"], lambda x: x


def post_activation(x):
    for i in range(2):
        y = layers.Dense(8, "relu")(x)
        x = ops.relu(layers.Add()([layers.Dense(6, name=f"last_{i}")(y), x]))
    return x, ["last_0/kernel", "last_1/kernel"], lambda x: np.maximum(x, 0)


def normalized(x):
    y = layers.BatchNormalization()(layers.Dense(8, "relu")(x))
    y = layers.BatchNormalization(name="norm")(layers.Dense(6)(y))
    return ops.relu(x + y), ["norm/gamma"], lambda x: np.maximum(x, 0)


def projection(x):
    short = layers.Dense(4, name="short", kernel_initializer="ones")(x)
    y = layers.Dense(4, name="last")(layers.Dense(4, "gelu")(x))
    model = keras.Model(x, short)
    return ops.relu(y + short), ["last/kernel"], lambda x: np.maximum(array(model(x)), 0)


def three(x):
    one = layers.Dense(6, name="one")(layers.Dense(4, "relu")(x))
    two = layers.Dense(6, name="two")(layers.Dense(4, "tanh")(x))
    return x + one + two, ["one/kernel", "two/kernel"], lambda x: x


def pooled(x):
    x = layers.Reshape((6, 1))(x)
    y = layers.Conv1D(1, 3, padding="same", activation="relu")(x)
    y = layers.SeparableConv1D(1, 3, strides=2, padding="same", name="last")(y)
    out = layers.Flatten()(layers.AveragePooling1D(2)(x) - y)
    return out, ["last/pointwise_kernel"], lambda x: x.reshape(-1, 3, 2).mean(-1)


SUMS = [pre_activation, post_activation, normalized, projection, three, pooled]


@pytest.mark.parametrize("build", SUMS)
def test_a_block_starts_as_its_skip_path(build):
    inputs, x = keras.Input((6,)), normal(4, 6)
    outputs, ends, skip = build(inputs)
    model = keras.Model(inputs, outputs)
    for variable in model.trainable_weights:  # biases and offsets too
        variable.assign(variable + 0.5)
    short = ["short*"] if any(layer.name == "short" for layer in model.layers) else None
    report = reinitialize(model, seed=0, branches="zero", skip=short)
    assert [path.removeprefix(f"{model.name}/") for path in zeroed(report)[: len(ends)]] == ends
    assert array(model(x)) == pytest.approx(skip(x), abs=1e-6)
    found = gradients(model, x)
    for path in zeroed(report)[: len(ends)]:
        assert np.abs(found[path]).max() > 0


def test_the_plan_shows_it():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, pre_activation(inputs)[0])
    change = plan(model, branches="zero", biases="keep")["last_1/kernel"]
    assert (change.stddev, change.note[: len(ZEROED)]) == (0.0, ZEROED)
    assert "its bias is kept" in change.note
    assert plan(model, branches="zero")["last_1/bias"].stddev == 0.0
    assert zeroed(plan(model)) == []


def test_sums_without_a_skip_path_are_left_with_a_reason():
    tokens, x = keras.Input((5,), dtype="int32"), keras.Input((6,))
    both = layers.Embedding(7, 4, name="token")(tokens) + layers.Embedding(5, 4)(tokens)
    same = layers.Dense(4, name="left")(x) + layers.Dense(4)(x)
    apart = layers.Dense(4, name="apart")(x) + layers.Dense(4)(layers.Flatten()(tokens))
    y = layers.Dense(6, name="scaled")(layers.Dense(6, "relu", name="twice")(x))
    scaled = x + y * 0.1 + layers.Dense(6, "relu", name="acts")(layers.Dense(6, "relu")(x))
    tied = layers.Dense(6, name="tied")
    shared = tied(x + tied(layers.Dense(6, "relu")(x)))
    used = layers.Dense(6, name="used")(layers.Dense(6, "relu")(x))
    model = keras.Model([tokens, x], [both, same, apart, scaled, shared, x + used, used])
    changes = plan(model, branches="zero")
    assert zeroed(changes) == []
    for name, reason in {
        "token/embeddings": "equally few kernels",
        "left/kernel": "equally few kernels",
        "apart/kernel": "no common source",
        "scaled/kernel": "Multiply stands between",
        "acts/kernel": "relu stands between",
        "tied/kernel": "used where no branch ends",
        "used/kernel": "does not only go to the sum",
    }.items():
        assert reason in changes[name].note, name


def test_kernels_that_are_frozen_or_not_selected_are_left():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, pre_activation(inputs)[0])
    assert zeroed(plan(model, branches="zero", skip="last_0*")) == ["last_1/kernel"]
    assert zeroed(plan(model, branches="zero", only="last_0*")) == ["last_0/kernel"]
    model.get_layer("last_0").trainable = False
    changes = plan(model, branches="zero")
    assert zeroed(changes) == ["last_1/kernel"]
    assert "it is frozen" in changes["last_0/kernel"].note
    assert len(zeroed(plan(model, branches="zero", include_frozen=True))) == 2
    model = keras.Model(inputs, normalized(inputs)[0])  # its scale goes with the kernel before it
    first, last = [change.path for change in plan(model)]
    assert zeroed(plan(model, branches="zero", only=last)) == ["norm/gamma", "norm/beta"]
    assert zeroed(plan(model, branches="zero", only=first)) == []


def test_both_branches_of_a_transformer_start_at_zero():
    model = transformer()
    found = zeroed(plan(model, branches="zero"))
    assert len(found) == 2
    assert "attention_output" in found[0]


def test_a_failure_restores_the_zeroed_kernels(monkeypatch):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, normalized(inputs)[0])
    before = weights(model)

    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(execute, "reset_slots", fail)
    with pytest.raises(MemoryError):
        reinitialize(model, branches="zero")
    assert equal(weights(model), before)


# Zeroed branches of mirrored models.


def residual(block, blocks=3, channels=8, **options):
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(channels, 3, padding="same", activation="relu", **options)(inputs)
    for i in range(blocks):
        x = block(x, channels if i < 2 else 2 * channels)
    return keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))


def basic(x, channels):
    """relu(x + branch), with a projection where the channels change."""
    y = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(channels, 3, padding="same")(y)
    return ops.relu(y + (x if x.shape[-1] == channels else layers.Conv2D(channels, 1)(x)))


def test_a_mirrored_resnet_of_zeroed_branches_is_linear():
    model, x, y = residual(basic), normal(4, 4, 4, 3), normal(4, 4, 4, 3, seed=1)
    report = reinitialize(model, seed=0, mirrored=True, branches="zero")
    kernels = [change for change in report if change.kind == "convolution"]
    assert [c.pairs for c in kernels if c.stddev] == ["outputs", *["both"] * 4]
    assert len(zeroed(report)) == 3
    out = array(model(x))
    assert np.abs(out).max() > 0.05
    assert array(model(-x)) == pytest.approx(-out, abs=1e-6)
    assert array(model(x + y)) == pytest.approx(out + array(model(y)), abs=1e-6)


def test_zeroed_scales_keep_the_pairs_of_the_stream():
    def block(x, channels):
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
        y = layers.Conv2D(8, 3, padding="same")(ops.relu(y))
        return ops.relu(layers.Dropout(0.5)(layers.BatchNormalization()(y)) + x)

    model, x = residual(block), normal(4, 4, 4, 3)
    reinitialize(model, seed=0, mirrored=True, branches="zero")
    out = array(model(x))
    assert np.abs(out).max() > 0.05
    assert array(model(-x)) == pytest.approx(-out, abs=1e-6)


def test_a_gelu_behind_the_sum_ends_the_pairs():
    def block(x, channels):
        y = layers.Conv2D(8, 3, padding="same", activation="gelu")(x)
        return ops.gelu(layers.Conv2D(8, 3, padding="same")(y) + x, approximate=False)

    changes = list(plan(residual(block, 1), mirrored=True, branches="zero"))
    assert changes[0].pairs == ""
    assert "only the difference of a pair is linear" in changes[0].note


# Isometric blocks.


def cosines(x):
    return (x @ x.T) / np.linalg.norm(x, axis=1) / np.linalg.norm(x, axis=1)[:, None]


def assert_isometric(before, after):
    """The rows of both have the same norms and angles."""
    norms = np.linalg.norm(before, axis=1)
    assert np.linalg.norm(after, axis=1) / norms == pytest.approx(1.0, abs=1e-5)
    assert cosines(after) == pytest.approx(cosines(before), abs=1e-5)
    assert np.abs(after - before).max() > 0.1


def plain(x, activation="relu", hidden=12):
    y = layers.Dense(hidden, activation)(x)
    return x + layers.Dense(x.shape[-1])(y)


def double(x, activation="relu", hidden=8):
    y = layers.Dense(hidden, activation)(layers.Activation(activation)(x))
    return layers.Add()([layers.Dense(x.shape[-1])(layers.Dropout(0.5)(y)), x])


def closed(x, activation="relu"):
    return layers.Activation(activation)(plain(x, activation, x.shape[-1]))


LEAKY = layers.LeakyReLU(0.3)
ISOMETRIC = {
    "plain": (plain, None),
    "plain-gelu": (lambda x: plain(x, "gelu", 16), None),
    "plain-leaky": (lambda x: plain(x, LEAKY), None),
    "double": (double, "relu"),
    "double-leaky": (lambda x: double(x, LEAKY, 12), LEAKY),
    "closed": (closed, "relu"),
}
SLOW = ["plain-gelu", "plain-leaky", "double"]
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in ISOMETRIC]


@pytest.mark.parametrize("name", NAMES)
def test_dense_blocks_keep_norms_and_angles(name):
    """Of x in plain blocks; else of the differences of pairs."""
    build, activation = ISOMETRIC[name]
    inputs = keras.Input((4,))
    x = first = layers.Dense(6, name="stem")(inputs)
    if name == "closed":
        x = first = layers.Activation("relu")(x)
    for _ in range(10):
        x = build(x)
    last = x
    if name.startswith("double"):
        x = layers.Activation(activation)(x)
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    report = reinitialize(model, seed=0, mirrored=True, branches="isometry")
    kernels = [c for c in report if c.kind == "dense"][1:-1]
    assert [c.note for c in kernels] == [
        "the first kernel of an isometric block",
        "the last kernel of an isometric block",
    ] * 10
    for place in (0, 1):  # E |M - I|^2 = 2 size: the mean square of the ten
        sizes = [np.mean(array(v) ** 2) for v in model.weights[2 + 2 * place : -2 : 4]]
        assert kernels[place].stddev == pytest.approx(np.mean(sizes) ** 0.5, rel=0.2)
    before, after = map(array, keras.Model(inputs, [first, last])(normal(8, 4)))
    if activation is not None:
        p, q = np.split(after, 2, axis=1)
        assert (np.minimum(p, q) if name == "closed" else p + q) == pytest.approx(0.0, abs=1e-5)
        before, after = before[:, :3] - before[:, 3:], p - q
    assert_isometric(before, after)


@pytest.mark.parametrize("build", [plain, closed])
@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_convolutional_blocks_keep_every_position(build, size):
    """The closed one on a stream whose units are relu(p, -p), so that |p - q| = |x|."""
    inputs = keras.Input((5, 5, 6))

    def conv(filters, activation=None):
        return layers.Conv2D(filters, size, padding="same", activation=activation)

    x = first = conv(6, "relu" if build is closed else None)(inputs)
    for _ in range(4):
        y = x + conv(6)(conv(6 if build is closed else 12, "relu")(x))
        x = ops.relu(y) if build is closed else y
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    report = reinitialize(model, seed=0, mirrored=True, branches="isometry", taps="center")
    assert sum("of an isometric block" in change.note for change in report) == 8
    before, after = map(array, keras.Model(inputs, [first, x])(normal(1, 5, 5, 6)))
    before, after = before.reshape(-1, 6), after.reshape(-1, 6)
    if build is closed:
        before, after = before[:, :3] - before[:, 3:], after[:, :3] - after[:, 3:]
    assert_isometric(before, after)


def no_skip(x):
    return layers.Dense(6)(x) + layers.Dense(6)(layers.Dense(12, "relu")(x))


def normed(x):
    y = layers.BatchNormalization()(layers.Dense(12, "relu")(x))
    return x + layers.Dense(6)(y)


def linear(x):
    return x + layers.Dense(6)(layers.Dense(12)(x))


def tanh(x):
    return x + layers.Dense(6)(layers.Activation("tanh")(layers.Dense(12)(x)))


def dropped(x):
    return x + layers.Dense(6)(layers.Dropout(0.5)(layers.Dense(12, "relu")(x)))


def twice(x):
    first, last = layers.Dense(12, "relu"), layers.Dense(6)
    x = x + last(first(x))
    return x + last(first(x))


def two(x):
    return plain(x) + layers.Dense(6)(layers.Dense(12, "relu")(x))


def gelu_behind(x):
    return closed(layers.Activation("gelu")(x), "gelu")


def narrow_closed(x):
    return ops.relu(plain(ops.relu(x), hidden=12))


UNMET = [
    (no_skip, {}, "not what the branch starts from"),
    (normed, {}, "BatchNormalization stands in the branch"),
    (linear, {}, "no activation stands between"),
    (tanh, {}, "tanh has no linear odd part"),
    (dropped, {"dropout": True}, "Dropout stands in the branch"),
    (twice, {}, "used in several places"),
    (two, {}, "it takes a sum of two"),
    (gelu_behind, {}, "gelu acts on the sum"),
    (narrow_closed, {}, "12 hidden units, where it takes 6"),
    (lambda x: plain(x, hidden=10), {}, "10 hidden units, where it takes at least 12"),
    (lambda x: plain(x, hidden=13), {}, "13 units: an odd width has no pairs"),
    (plain, {"skip": "last"}, "it is in `skip`"),
    (plain, {"distribution": "uniform"}, "orthogonal weights"),
]


@pytest.mark.parametrize(("build", "options", "reason"), UNMET)
def test_the_plan_says_where_a_block_cannot_be_isometric(build, options, reason):
    inputs = keras.Input((4,))
    x = build(layers.Dense(6)(inputs))
    outputs = [layers.Dense(2)(x), layers.Dense(2)(layers.Dense(4, "relu")(x))]
    model = keras.Model(inputs, outputs)  # something can be mirrored in any case
    if "skip" in options:
        options = {"skip": model.layers[2].name}
    report = plan(model, mirrored=True, branches="isometry", **options)
    reasons = [change.note.rpartition("no isometric block: ")[2] for change in report]
    assert any(reason in found for found in reasons), reasons
    assert not any("of an isometric block" in change.note for change in report)


def test_full_taps_are_no_isometric_blocks():
    inputs = keras.Input((5, 5, 6))
    y = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    y = inputs + layers.Conv2D(6, 3, padding="same")(y)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    for taps, note in {
        "all": '`taps="center"` would not',
        "center": "the last kernel of an",
    }.items():
        assert (
            note
            in plan(model, mirrored=True, branches="isometry", taps=taps)[
                model.layers[2].kernel.path
            ].note
        )
