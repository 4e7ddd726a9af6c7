"""The table of what layers and operations do: complete, inherited, and asked by everyone."""

import inspect

import keras
import numpy as np
import pytest
from architectures import normal

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.graph import kernel_table
from keras_fracinit.graph.downstream import NORMALIZED
from keras_fracinit.graph.kernels import kernels_of
from keras_fracinit.graph.operations import (
    ATTENTION,
    Effect,
    Row,
    effect_of,
    ends_signal,
    listed_row,
    resets_scale,
    row_of,
)

layers, ops = keras.layers, keras.ops
X = normal(16, 8, 8, 3)

# The layers that Keras exports and the table leaves out, and why.
WITHOUT_A_ROW = {"Layer": "the base of all layers says nothing of any of them"}
EXPORTED = {
    name: kind
    for name, kind in vars(layers).items()
    if inspect.isclass(kind) and issubclass(kind, layers.Layer)
}
# What may stand between two kernels of an image, by its arguments.
BETWEEN = {
    Effect.PASSES: {
        "Identity": (),
        "Flatten": (),
        "Reshape": ((16, 16),),
        "Permute": ((2, 1, 3),),
        "Masking": (),
        "ActivityRegularization": (),
        "GaussianNoise": (0.1,),
        "GaussianDropout": (0.1,),
        "AlphaDropout": (0.1,),
        "ZeroPadding2D": (),
        "Cropping2D": (),
        "UpSampling2D": (),
    },
    Effect.PICKS: {
        "MaxPooling2D": (),
        "GlobalMaxPooling2D": (),
        "AdaptiveMaxPooling2D": (4,),
    },
    Effect.AVERAGES: {
        "AveragePooling2D": (2,),
        "GlobalAveragePooling2D": (),
        "AdaptiveAveragePooling2D": (4,),
    },
    Effect.DROPS: {"Dropout": (0.2,), "SpatialDropout2D": (0.2,)},
}
# Those need another input: a sequence, a volume, a vector, or several of them.
ELSEWHERE = ("1D", "3D", "InputLayer", "RepeatVector", "TimeDistributed", "Concatenate")
CASES = [(effect, name) for effect, names in BETWEEN.items() for name in names]


def between(*middle, activation=None):
    """A network with layers between its two kernels."""
    first = layers.Conv2D(4, 3, padding="same", activation=activation, name="first")
    head = [layers.Flatten(), layers.Dense(5, name="last")]
    return keras.Sequential([keras.Input(X.shape[1:]), first, *middle, *head], name="net")


def image_layer(name):
    return next(getattr(layers, name)(*names[name]) for names in BETWEEN.values() if name in names)


@pytest.mark.parametrize("name", EXPORTED)
def test_every_layer_of_keras_has_a_row_or_a_reason(name):
    assert (listed_row(EXPORTED[name]) is None) == (name in WITHOUT_A_ROW)


def test_layers_with_kernels_and_no_others_mix_without_a_name_of_their_own():
    mixing = {kind for kind in EXPORTED.values() if listed_row(kind) == Row(Effect.MIXES)}
    assert mixing == {
        kind for kind in EXPORTED.values() if issubclass(kind, tuple(kernel_table._TABLE))
    }


@pytest.mark.parametrize(("effect", "name"), CASES)
def test_a_subclass_has_the_row_of_its_base(effect, name):
    mine = type("Mine", (getattr(layers, name),), {})
    arguments = BETWEEN[effect][name]
    assert effect_of(mine(*arguments)) is effect_of(image_layer(name)) is effect
    (first, _) = kf.plan(between(mine(*arguments), layers.ReLU()))
    assert (first.law, first.skipped) == ("ReLU()", "")


def test_a_layer_of_the_users_acts_if_it_has_a_law():
    class Halved(layers.Layer):
        pass

    assert effect_of(Halved()) is Effect.ENDS
    laws.law_of.register(Halved, lambda layer: laws.LeakyReLU(0.5))
    assert effect_of(Halved()) is Effect.ACTS


def test_somebody_elses_class_of_the_same_name_is_unknown():
    class Flatten(layers.Layer):
        pass

    class Attention(layers.Layer):
        pass

    assert effect_of(layers.Flatten()) is Effect.PASSES
    assert effect_of(Flatten()) is effect_of(Attention()) is Effect.ENDS


def test_every_layer_that_may_stand_between_kernels_is_tried():
    tried = {name for _, name in CASES}
    for name, kind in EXPORTED.items():
        row = listed_row(kind)
        if row and row.effect in BETWEEN and kind.__name__ == name:
            assert name in tried or name.endswith(ELSEWHERE), name


@pytest.mark.parametrize(("effect", "name"), CASES)
def test_plan_and_diagnosis_agree_on_what_stands_between_kernels(effect, name):
    """The law of the activation reaches the kernel through it, and the walk goes on behind it."""
    model = between(image_layer(name), layers.ReLU())
    first, _ = kf.plan(model)
    assert (first.law, first.skipped) == ("ReLU()", "")
    assert bool(first.note) == (effect is Effect.AVERAGES)
    smooth = between(layers.Activation("gelu"), image_layer(name))
    smooth.layers[-1].activation = keras.activations.gelu
    assert "its input from gelu" in kf.plan(smooth)["net/last/kernel"].note
    rows = {row.path: row for row in kf.diagnose(model, X)}
    assert rows["input"].walk == rows["net/last"].walk == 1


@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_pooling_is_pooling_whatever_it_is_called(kind):
    """Adaptive pooling of 8 positions to 4 is pooling by 2."""
    plain = between(getattr(layers, f"{kind}Pooling2D")(2), layers.ReLU())
    adaptive = between(getattr(layers, f"Adaptive{kind}Pooling2D")(4), layers.ReLU())
    adaptive.set_weights(plain.get_weights())
    one, other = kf.plan(plain), kf.plan(adaptive)
    for report in (one, other):
        assert [change.law for change in report] == ["ReLU()", "Linear()"]
    facts = [
        [(row.walk, row.predicted, row.low, row.high) for row in kf.diagnose(model, X)]
        for model in (plain, adaptive)
    ]
    np.testing.assert_allclose(*facts, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "effect"),
    [
        (lambda: layers.BatchNormalization(), Effect.NORMALIZES),
        (lambda: layers.Softmax(), Effect.ENDS),
        (lambda: layers.Activation("softmax"), Effect.ENDS),
        (lambda: layers.ReLU(max_value=3.0), Effect.ENDS),
        (lambda: layers.Rescaling(2.0), Effect.ENDS),
        (lambda: layers.Lambda(lambda x: 2.0 * x), Effect.ENDS),
    ],
)
def test_plan_and_diagnosis_agree_on_what_theory_does_not_follow(build, effect):
    assert effect_of(build()) is effect
    first, last = kf.plan(between(build()))
    assert first.skipped
    assert (first.skipped == NORMALIZED) == (effect is Effect.NORMALIZES)
    assert not last.skipped
    rows = {row.path: row for row in kf.diagnose(between(build(), activation="relu"), X)}
    walks = rows["input"].walk, rows["net/last"].walk
    assert walks == ((0, 1) if effect is Effect.NORMALIZES else (1, 2))


@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention", "MultiHeadAttention"])
def test_attention_is_attention_whatever_it_is_called(name):
    """Kernels before it keep their own outputs, and its output is taken to have unit size."""
    inputs = keras.Input((5, 8))
    x = layers.Dense(8, name="before")(inputs)
    if name == "MultiHeadAttention":
        before, x = "query", layers.MultiHeadAttention(2, 4)(x, x)
    else:
        before, x = "before", getattr(layers, name)()([x, x])
        assert listed_row(getattr(layers, name)) is ATTENTION
    model = keras.Model(inputs, layers.Dense(3, "gelu", name="last")(x))
    kernels = {kernel.site.layer.name: kernel for kernel in kernels_of(model)}
    assert kernels[before].law == laws.Linear()
    assert kernels[before].downstream.note == "attention mixes positions: kept at each of them"
    walk = {row.path: row.walk for row in kf.diagnose(model, normal(16, 5, 8))}
    assert walk["last"] > walk["before"] > 0
    if before == "before":
        assert "its input (attention)" in kernels["last"].downstream.note


def test_operations_are_known_as_the_layers_that_call_them():
    image, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    effects = {
        ops.max_pool(image, 2): Effect.PICKS,
        ops.adaptive_max_pool(image, (4, 4)): Effect.PICKS,
        ops.average_pool(image, 2): Effect.AVERAGES,
        ops.mean(image, (1, 2)): Effect.AVERAGES,
        ops.add(image, other): Effect.SUMS,
        image - other: Effect.SUMS,
        ops.relu(image): Effect.ACTS,
        keras.activations.relu(image, negative_slope=0.1): Effect.ACTS,
        keras.activations.relu(image, max_value=3.0): Effect.ENDS,
        ops.softmax(image): Effect.ENDS,
        image * other: Effect.ENDS,
        ops.max(image, (1, 2)): Effect.ENDS,
        ops.layer_normalization(image): Effect.NORMALIZES,
        ops.rms_normalization(image): Effect.NORMALIZES,
        ops.concatenate([image, other]): Effect.PASSES,
        ops.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0))): Effect.PASSES,
        image[:, 0]: Effect.PASSES,
    }
    for output, effect in effects.items():
        operation = output._keras_history.operation
        assert effect_of(operation) is effect, operation


def test_a_signal_ends_where_others_come_in_or_its_scale_is_lost():
    image, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    ends = [
        *(ops.add(image, other), image + 1.0, image * other, image * 8.0, image / 255.0),
        *(
            ops.concatenate([image, other]),
            ops.stack([image, other]),
            ops.where(image > 0, 1.0, 2.0),
        ),
        *(ops.maximum(image, other), ops.softmax(image), ops.layer_normalization(image)),
        *(layers.Average()([image, other]), layers.Concatenate()([image, other])),
        *(layers.Rescaling(2.0)(image), layers.BatchNormalization()(image)),
        *(layers.Attention()([other, image]), layers.Lambda(lambda x: 2.0 * x)(image)),
    ]
    passing = [
        *(ops.relu(image), ops.tanh(image), ops.reshape(image, (-1, 192)), -image, image[:, 0]),
        *(ops.mean(image, (1, 2)), layers.Dropout(0.5)(image), layers.ZeroPadding2D()(image)),
    ]
    for output in ends:
        assert ends_signal(output._keras_history.operation)
    for output in passing:
        assert not ends_signal(output._keras_history.operation)


def test_a_batch_is_normalized_in_training_only():
    norm, frozen = layers.BatchNormalization(), layers.BatchNormalization(trainable=False)
    assert row_of(norm) == Row(Effect.NORMALIZES, "a normalization", by_batch=True)
    assert [resets_scale(norm, mode) for mode in (True, False)] == [True, False]
    assert not resets_scale(frozen, True)
    assert row_of(frozen) == Row(Effect.SCALES)
    assert not ends_signal(frozen)
    assert resets_scale(layers.LayerNormalization(), False)
    assert not resets_scale(layers.SpectralNormalization(layers.Dense(2)), True)
