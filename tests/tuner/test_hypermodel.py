"""What a wrapped hypermodel builds: which kernels it draws anew, and at which scale."""

import math

import keras
import keras_tuner as kt
import numpy as np
import pytest
from architectures import array
from hypermodels import (
    Subclassed,
    X,
    dense,
    hyperparameters,
    stack,
)

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.laws import Smooth
from keras_fracinit.tuner import (
    FracInitHyperModel,
    FracMLP,
    frac_initializer,
)

layers = keras.layers
FATAL = (kt.errors.FatalValueError, kt.errors.FatalTypeError)


def orders_of(report):
    """pandas has nan where there is no string."""
    return [None if order is np.nan else order for order in report.order]


initializers = keras.initializers
DISTRIBUTIONS = {
    "glorot_uniform": ("uniform", lambda n, d: math.sqrt(2 / (n + d))),
    "he_normal": ("truncated_normal", lambda n, d: math.sqrt(2 / n)),
    "lecun_uniform": ("uniform", lambda n, d: math.sqrt(1 / n)),
    "orthogonal": ("orthogonal", lambda n, d: 1 / math.sqrt(max(n, d))),
}
INSTANCES = [
    *((name, *row) for name, row in DISTRIBUTIONS.items()),
    (
        initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        "untruncated_normal",
        lambda n, d: math.sqrt(2 / d),
    ),
    (initializers.RandomNormal(stddev=0.1), "untruncated_normal", lambda n, d: 0.1),
    (initializers.RandomUniform(-0.3, 0.3), "uniform", lambda n, d: 0.6 / math.sqrt(12)),
    (
        kf.FracReLU(s=1.0),
        "untruncated_normal",
        lambda n, d: kf.FracReLU(s=1.0).describe((n, d)).stddev,
    ),
]


@pytest.mark.parametrize(("initializer", "distribution", "stddev"), INSTANCES)
def test_s_2_is_he_in_the_distribution_that_the_user_chose(initializer, distribution, stddev):
    hypermodel = FracInitHyperModel(lambda hp: stack(hp, initializer), seed=0)
    model = hypermodel.build(kt.HyperParameters())
    for layer in model.layers:
        scale = 1.0 if layer.name == "logits" else 2.0
        made = layer.kernel_initializer
        assert (made.s, made.distribution) == (2.0, distribution)
        assert made.law == (laws.Linear() if layer.name == "logits" else laws.ReLU())
        if distribution == "orthogonal":
            continue
        expected = initializers.VarianceScaling(scale, "fan_in", distribution, seed=made.seed)
        np.testing.assert_array_equal(array(layer.kernel), array(expected(layer.kernel.shape)))
    rows = hypermodel.report().itertuples()
    for row, layer in zip(rows, model.layers, strict=True):
        n, d = layer.kernel.shape
        scale = 1.0 if layer.name == "logits" else 2.0
        assert (row.order, row.distribution, row.note) == ("s", distribution, "")
        assert row.stddev == pytest.approx(stddev(n, d), rel=1e-12)
        if distribution != "orthogonal":
            assert row.stddev_at_2 == pytest.approx(math.sqrt(scale / n), rel=1e-12)
        assert row.ratio == row.stddev_at_2 / row.stddev
        assert row.changed == (abs(row.ratio - 1) > 1e-6)


def test_the_report_names_the_kernels_whose_scale_changed():
    report = FracInitHyperModel(lambda hp: stack(hp, "he_normal")).report()
    assert report[report.changed].layer.str.endswith("logits").tolist() == [True]  # to LeCun
    report = FracInitHyperModel(stack).report()
    assert report.changed.all()
    assert report.ratio.to_numpy() == pytest.approx(
        [math.sqrt(2 / 6 / (2 / 14)), *[math.sqrt(2)] * 2, math.sqrt(1 / 8 / (2 / 10))]
    )


def test_a_smaller_order_is_the_scale_of_its_initializer():
    model = FracInitHyperModel(stack, seed=0).build(hyperparameters(s=0.7))
    for layer in model.layers[:-1]:
        made = layer.kernel_initializer
        assert (type(made), made.s) == (kf.FracReLU, 0.7)
        kernel = kf.FracReLU(0.7, distribution="uniform", seed=made.seed)(layer.kernel.shape)
        np.testing.assert_array_equal(array(layer.kernel), array(kernel))


def test_every_kernel_and_every_execution_has_a_seed_of_its_own():
    def seeds(seed, executions=2, **values):
        hypermodel, hp = FracInitHyperModel(stack, seed=seed), hyperparameters(**values)
        models = [hypermodel.build(hp) for _ in range(executions)]  # as a tuner does in a trial
        return [[layer.kernel_initializer.seed for layer in model.layers] for model in models]

    fresh = seeds(None) + seeds(None)
    assert len({seed for model in fresh for seed in model}) == 16
    kept = seeds(5)
    assert len({seed for model in kept for seed in model}) == 8
    assert seeds(5) == kept
    for others in (seeds(6), seeds(5, s=1.0)):
        assert not {s for model in others for s in model} & {s for model in kept for s in model}
    keras.utils.set_random_seed(3)
    again = seeds(None)
    keras.utils.set_random_seed(3)
    assert seeds(None) == again


def test_a_model_not_yet_built_gets_its_initializers_before_it_is():
    def build(hp):
        return keras.Sequential([layers.Conv2D(3, 2, activation="relu"), dense("he_normal")])

    model = FracInitHyperModel(build).build(hyperparameters(s=1.0))
    assert not model.built
    model.build((None, 4, 4, 2))
    for layer in model.layers:
        made = layer.kernel_initializer
        assert made.s == 1.0
        np.testing.assert_array_equal(array(layer.kernel), array(made(layer.kernel.shape)))
    assert FracInitHyperModel(build).report().changed.tolist() == [None, None]


# A functional model of everything that may stand around a kernel, and what is said of each layer.
EXPECTED = {
    "inside": (laws.ReLU(), ""),
    "leaky_behind": (laws.LeakyReLU(0.1), ""),
    "prelu_behind": (laws.LeakyReLU(0.25), ""),
    "randomized_behind": (laws.RandomizedLeakyReLU(0.1, 0.6), ""),
    "far_behind": (laws.ReLU(), ""),
    "before_a_kernel": (laws.Linear(), ""),
    "before_a_softmax": (None, "softmax follows"),
    "before_a_norm": (None, "a normalization follows"),
    "tanh": (Smooth("tanh"), ""),
    "forked": (None, "its output meets different activations"),
    "frozen": (None, "frozen"),
    "zeros": (None, "its initializer Zeros has no scale to tune"),
    "depthwise": (laws.Linear(), ""),
    "in_a_model": (laws.ReLU(), ""),
    "before_a_model": (laws.ReLU(), ""),
    "shared": (laws.ReLU(), ""),
    "last": (laws.Linear(), ""),
}


def everything(hp=None):
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="inside")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(4, 3, padding="same", name="far_behind")(x)
    x = layers.ReLU()(layers.Dropout(0.1)(layers.Flatten()(layers.MaxPooling2D()(x))))
    for name, following in [
        ("leaky_behind", [layers.LeakyReLU(negative_slope=0.1)]),
        ("prelu_behind", [layers.PReLU(alpha_initializer=initializers.Constant(0.25))]),
        ("randomized_behind", [kf.RandomizedLeakyReLU(0.1, 0.6)]),
        ("before_a_kernel", [layers.Dense(4, "relu", trainable=False, name="frozen")]),
        ("before_a_softmax", [layers.Activation("softmax")]),
        ("before_a_norm", [layers.BatchNormalization()]),
        ("tanh", [layers.Activation("tanh")]),
    ]:
        for layer in [layers.Dense(4, name=name), *following]:
            x = layer(x)
    x = layers.Dense(4, kernel_initializer="zeros", name="zeros")(x)
    fork = layers.Dense(4, name="forked")(x)
    x = layers.add([layers.ReLU()(fork), layers.Activation("linear")(fork)])
    inner = [keras.Input((4,)), layers.ReLU(), layers.Dense(4, "relu", name="in_a_model")]
    x = keras.Sequential(inner)(layers.Dense(4, name="before_a_model")(x))
    shared = layers.Dense(4, "relu", name="shared")
    x = shared(shared(x))
    return keras.Model(inputs, layers.Dense(3, name="last")(x))


def test_what_follows_each_kernel_decides():
    report = FracInitHyperModel(everything).report().set_index("layer")
    report.index = [path.split("/")[-1] for path in report.index]
    assert set(report.index) == set(EXPECTED)
    assert not report.index.duplicated().any()
    for name, (law, note) in EXPECTED.items():
        row = report.loc[name]
        assert row.activation == str(law or ""), name
        assert (row.order == "s") == (law is not None), name
        assert row.note.startswith(note), (name, row.note)
        assert bool(row.note) == bool(note), (name, row.note)


def test_the_search_space_takes_smooth_activations():
    hp = hyperparameters(s=0.5)
    initializer = frac_initializer(hp, "tanh", dropout=0.1)
    assert (initializer.activation, initializer.s) == ("tanh", 0.5)
    model = FracMLP(1, "mse", depth=3, width=8, activation=("gelu", "relu")).build(hp)
    model(X[:1])
    laws_found = [type(layer.kernel_initializer) for layer in model.layers if layer.weights]
    assert laws_found == [kf.FracLinear, kf.FracActivation, kf.FracActivation, kf.FracLinear]


@pytest.mark.parametrize("built", [True, False])
def test_smooth_activations_have_an_order_too(built):
    def build(hp=None):
        stack = [keras.Input((6,))] if built else []
        stack += [dense(activation=a, name=f"d{i}") for i, a in enumerate(["tanh", "tanh", "gelu"])]
        return keras.Sequential([*stack, layers.Dense(3, name="last")])

    hypermodel = FracInitHyperModel(build)
    assert (hypermodel.report().order == "s").all()
    hp = hyperparameters(s=0.5)
    model = hypermodel.build(hp)
    made = [layer.kernel_initializer for layer in model.layers]
    assert [type(m) for m in made] == [
        *(kf.FracLinear, kf.FracActivation, kf.FracActivation, kf.FracLinear)
    ]
    assert [m.activation for m in made[1:3]] == ["tanh", "tanh"]
    assert {m.s for m in made} == {0.5}


def test_what_cannot_be_scaled_stays_as_it_is():
    keras.utils.set_random_seed(1)
    plain = everything()
    keras.utils.set_random_seed(1)
    model = FracInitHyperModel(everything).build(kt.HyperParameters())
    for mine, theirs in zip(model.weights, plain.weights, strict=True):
        assert mine.shape == theirs.shape
        name = mine.path.split("/")[-2]
        tuned = mine.name == "kernel" and EXPECTED[name][0] is not None
        assert np.array_equal(array(mine), array(theirs)) == (not tuned), mine.path


def test_a_subclassed_model_shows_what_follows():
    def build(hp):
        model = Subclassed()
        model(np.zeros((1, 3), "float32"))
        return model

    report = FracInitHyperModel(build).report()
    assert orders_of(report) == ["s", "s"]
    assert report.activation.tolist() == [str(laws.ReLU()), str(laws.Linear())]


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (None, ["s", "s", "s", "s"]),
        ("layer", ["s_1", "s_2", "s_3", "s_4"]),
        ({"first": "a*", "rest": ["*"]}, ["s_first", "s_rest", "s_rest", "s_rest"]),
        ({"ends": ["a", "logits"]}, ["s_ends", None, None, "s_ends"]),
        ({}, [None] * 4),
    ],
)
def test_one_order_for_all_for_a_group_or_for_each_layer(groups, names):
    def build(hp):
        stacked = [*(dense(name=name) for name in "abc"), dense("he_normal", None, name="logits")]
        return keras.Sequential([keras.Input((6,)), *stacked])

    hypermodel = FracInitHyperModel(build, groups=groups)
    assert orders_of(hypermodel.report()) == names
    values = {name: 0.1 * i for i, name in enumerate(dict.fromkeys(filter(None, names)), start=1)}
    hp = hyperparameters(**values)
    model = hypermodel.build(hp)
    assert hypermodel.orders(hp) == list(values)
    for layer, name in zip(model.layers, names, strict=True):
        assert getattr(layer.kernel_initializer, "s", None) == values.get(name)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inner": 3}, TypeError, "`inner` must be a keras_tuner.HyperModel or a function"),
        ({"groups": "layers"}, TypeError, "`groups` must be None, 'layer' or a mapping"),
        ({"groups": {"a": []}}, ValueError, "`groups` must not be empty"),
        ({"groups": {"a": [3]}}, TypeError, "`groups` must be a str"),
        ({"groups": {1: "a"}}, TypeError, "`groups` must be a str"),
        ({"seed": -1}, ValueError, "`seed` must satisfy"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer"),
        ({"collapsed": 1}, TypeError, "`collapsed` must be a bool"),
        ({"probe": 1.0}, TypeError, "`probe` must be an array"),
    ],
)
def test_bad_arguments_of_the_wrapper_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        FracInitHyperModel(**{"inner": stack, **arguments})


def untunable(hp):
    soft = dense(activation="softmax", name="soft")
    return keras.Sequential(
        [keras.Input((3,)), layers.Dense(2, name="normed"), layers.LayerNormalization(), soft]
    )


@pytest.mark.parametrize(
    ("inner", "parts"),
    [
        (lambda hp: None, ["`inner` must build a keras.Model", "Received: None"]),
        (lambda hp: Subclassed(), ["`build(input_shape)`", "call it once"]),
        (untunable, ["normed: a normalization follows", "soft: softmax follows"]),
        (lambda hp: keras.Sequential([keras.Input((3,)), layers.ReLU()]), ["without kernels"]),
        (lambda hp: [hp.Float("s", 0.0, 1.0), stack()][1], ["`name` must be none of", "'s'"]),
    ],
)
def test_a_model_that_cannot_be_tuned_ends_the_search_with_the_reason(inner, parts, tmp_path):
    with pytest.raises(FATAL) as raised:
        kt.RandomSearch(FracInitHyperModel(inner), "loss", max_trials=1, directory=tmp_path)
    assert all(part in str(raised.value) for part in parts), raised.value
