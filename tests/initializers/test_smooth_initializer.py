"""FracActivation: the scale it draws with, what it says of it, what it takes and refuses."""

import math

import keras
import numpy as np
import pytest
from cases import bent, numpy

import keras_fracinit as kf
from keras_fracinit import gain, laws
from keras_fracinit.initializers.smooth import smooth_law_of
from keras_fracinit.laws import Smooth
from keras_fracinit.laws.smooth import CURVES, NAMES

every_activation = pytest.mark.parametrize("name", NAMES)


@keras.saving.register_keras_serializable(package="tests")
def own_gelu(x):
    return keras.activations.gelu(x)


@keras.saving.register_keras_serializable(package="tests")
def halved(x):
    return x[: x.shape[0] // 2]


@keras.saving.register_keras_serializable(package="tests")
def hole(x):
    return keras.ops.sqrt(x)


@keras.saving.register_keras_serializable(package="tests")
def normed(x):  # not a constant on an axis of size 1
    return x / (1.0 + keras.ops.mean(keras.ops.abs(x), axis=-1, keepdims=True))


@keras.saving.register_keras_serializable(package="tests")
def flat(x):
    return keras.ops.ones_like(x)


@keras.saving.register_keras_serializable(package="tests")
def broken(x):
    raise RuntimeError("no such thing")


EVERY = [*NAMES, "softsign", bent]


@every_activation
def test_names_functions_and_layers_lead_to_the_same_law(name):
    function = getattr(keras.activations, name)
    for activation in (name, function, keras.layers.Activation(name), Smooth(name)):
        initializer = kf.FracActivation(activation)
        assert initializer.law == smooth_law_of(activation) == Smooth(name)
        assert initializer.activation == initializer.get_config()["activation"] == name
    assert kf.FracActivation("swish").get_config() == kf.FracActivation("silu").get_config()
    assert kf.FracActivation(keras.layers.ELU()).activation == "elu"


@every_activation
def test_values_are_those_of_keras(name):
    z = np.linspace(-6, 6, 25)
    keras_values = numpy(keras.activations.get(name)(keras.ops.convert_to_tensor(z, "float32")))
    np.testing.assert_allclose(CURVES[name].value(z), keras_values, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("activation", EVERY)
def test_one_layer_keeps_the_moment_at_the_operating_point(activation, s):
    networks, fan_in, width = 8000, 12, 8
    initializer = kf.FracActivation(activation, s, input_axes=[1], output_axes=[2])
    record = initializer.describe((networks, fan_in, width))
    x = np.random.default_rng(0).normal(size=(networks, 1, fan_in))
    x /= np.sqrt(record.gain * (x**2).mean(axis=-1, keepdims=True))
    kernel = initializer((networks, fan_in, width))
    function = bent if activation is bent else getattr(keras.activations, activation)
    y = numpy(function(keras.ops.matmul(x.astype("float32"), kernel)))
    kept = (np.sqrt(record.gain) * np.sqrt((y**2).mean(axis=-1))) ** s
    assert abs(kept.mean() - 1) < 4 * kept.std() / math.sqrt(networks)


def test_order_two_is_variance_scaling():
    ours = kf.FracActivation("gelu", 2.0, seed=3)((20, 30))
    scale = 1 / Smooth("gelu").mean
    theirs = keras.initializers.VarianceScaling(scale, "fan_in", "untruncated_normal", 3)((20, 30))
    np.testing.assert_array_equal(numpy(ours), numpy(theirs))


def test_options_are_those_of_the_other_initializers():
    initializer = kf.FracActivation("tanh", 0.5, mode="fan_out", dropout=0.2, method="asymptotic")
    assert initializer.law == laws.Dropout(Smooth("tanh"), 0.2)
    record = initializer.describe((3, 3, 8, 16))
    assert record.gain == gain(laws.Dropout(Smooth("tanh"), 0.2), 0.5, 16, "asymptotic")
    assert record.stddev == pytest.approx(math.sqrt(record.gain / (9 * 16)))
    kernel = kf.FracActivation("tanh", distribution="orthogonal")((6, 6))
    product = numpy(kernel) @ numpy(kernel).T
    np.testing.assert_allclose(product, product[0, 0] * np.eye(6), atol=1e-5)
    for dtype in ("float16", "bfloat16"):
        drawn = kf.FracActivation("mish")((4, 4), dtype)
        assert keras.backend.standardize_dtype(drawn.dtype) == dtype


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        *((name, "which attracts") for name in ("tanh", "elu", "selu", "softplus")),
        *((name, "which REPELS: deep networks run away") for name in ("gelu", "silu", "mish")),
    ],
)
def test_describe_says_how_long_it_holds(activation, words):
    record = kf.FracActivation(activation).describe((64, 64))
    assert "exact at unit root mean square of the pre-activations only, " + words in str(record)
    assert f"{record.length_slope:.4f}" in str(record)
    assert record.length_slope == Smooth(activation).length_slope
    assert record.gradient_factor == Smooth(activation).gradient_factor
    assert record.ratio == pytest.approx(
        math.sqrt(gain(Smooth(activation), 1, 64) * Smooth(activation).mean)
    )


def test_a_callable_is_as_good_as_float32():
    law = kf.FracActivation(own_gelu).law
    assert law.error < 1e-6
    for s, width in ((0.1, 1), (0, 64), (1, 64), (2, 1024)):
        assert gain(law, s, width) == pytest.approx(gain(Smooth("gelu"), s, width), rel=1e-6)
    # bent, E (z/(1 + |z|))^2 by an independent rule.
    z = (np.arange(400_000) + 0.5) * 2e-5
    density = np.exp(-(z**2) / 2) * math.sqrt(2 / math.pi) * 2e-5
    truth = ((z / (1 + z)) ** 2 * density).sum()
    assert kf.FracActivation(bent).law.mean == pytest.approx(truth, rel=1e-6)


def test_a_callable_is_evaluated_once():
    calls = []

    @keras.saving.register_keras_serializable(package="tests")
    def counted(x):
        calls.append(x)
        return keras.ops.tanh(x)

    first, used = kf.FracActivation(counted), len(calls)
    for _ in range(2):
        first((4, 4))
        first.describe((4, 4))
    assert type(first).from_config(first.get_config()).law == first.law
    assert len(calls) == used


@pytest.mark.parametrize("activation", EVERY)
def test_whoever_knows_an_activation_knows_its_law(activation):
    law = smooth_law_of(activation)
    initializer = kf.initializer_for(activation, s=0.6)
    assert type(initializer) is kf.FracActivation
    assert initializer.law == law == laws.law_of(keras.activations.get(activation))
    assert initializer.get_config() == kf.FracActivation(activation, 0.6).get_config()
    assert kf.initializer_for(law, s=0.6).get_config() == initializer.get_config()
    assert gain(activation, 0.6, 8) == initializer.describe((8, 8)).gain
    assert kf.log_norm(activation, 0.6, 8) == kf.log_norm(law, 0.6, 8)
    assert kf.effective_order(activation, 8, gain=1 / law.mean) == 2.0
    twin = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert (type(twin), twin.law) == (kf.FracActivation, law)
    dropped = kf.initializer_for(laws.Dropout(law, 0.1), s=0.6)
    assert (dropped.dropout, dropped.activation) == (0.1, law.activation)


@pytest.mark.parametrize("name", sorted(set(vars(keras.activations)) - {"linear", "relu"}))
def test_every_activation_of_keras_has_a_law_or_a_reason(name):
    function = getattr(keras.activations, name)
    if name.startswith("_") or name in ("get", "serialize", "deserialize", "leaky_relu"):
        pytest.skip("no activation")
    mixes = ("softmax", "log_softmax", "sparsemax", "glu", "threshold")  # or lacks its arguments
    if name in mixes:
        with pytest.raises(ValueError, match="`activation` must"):
            kf.initializer_for(function)
    else:
        assert kf.initializer_for(function).get_config() == kf.initializer_for(name).get_config()


X = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")


@pytest.mark.parametrize("seed", [None, 8])
@pytest.mark.parametrize("activation", EVERY)
def test_saved_models_reload(activation, seed, tmp_path):
    options = {"s": 0.6, "seed": seed, "dropout": 0.1}
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(
                5,
                activation=activation,
                kernel_initializer=kf.initializer_for(activation, **options),
            ),
            keras.layers.EinsumDense(
                "ab,bc->ac", 3, kernel_initializer=kf.FracActivation(activation, **options)
            ),
        ]
    )
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"model{suffix}")
        loaded = keras.saving.load_model(tmp_path / f"model{suffix}")
        np.testing.assert_array_equal(numpy(loaded(X)), numpy(model(X)))
        for old, new in zip(model.layers, loaded.layers, strict=True):
            assert type(new.kernel_initializer) is kf.FracActivation
            assert new.kernel_initializer.get_config() == old.kernel_initializer.get_config()
            assert new.kernel_initializer.law == old.kernel_initializer.law
    keras.models.model_from_json(model.to_json())


def test_attention_takes_it_where_keras_traces_the_model():
    inputs = keras.Input((3, 6))
    attention = keras.layers.MultiHeadAttention(2, 3, kernel_initializer=kf.FracActivation(bent))
    dense = keras.layers.Dense(1, kernel_initializer=kf.FracActivation("gelu"))
    model = keras.Model(inputs, dense(attention(inputs, inputs)))
    model.compile("sgd", "mse")
    history = model.fit(np.stack([X] * 3, axis=1), np.ones((4, 3, 1)), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.filterwarnings("ignore:You are using a softmax")
@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (lambda x: x * x, r"Keras can save by name.*register_keras_serializable.*<lambda>"),
        (np.tanh, "Keras can save by name.*register_keras_serializable"),
        ("nonsense", "`activation` must be .*'tanh', 'gelu'.*activation='nonsense'"),
        (3, "`activation` must be .*'tanh'.*activation=3"),
        (keras.layers.ELU(alpha=0.5), r"ELU \(alpha 1\) or Activation layer"),
        (keras.layers.Dense, "`activation` must be .*'tanh'"),
        (halved, r"must return the shape.*'tests>halved', which made \(\d+, 1\) of \(\d+, 1\)"),
        (hole, "must be finite between -13 and 13.*'tests>hole'"),
        (flat, "must not be a constant.*'tests>flat', which is 1 everywhere"),
        ("softmax", "must act on each number alone.*'softmax', whose values depend on"),
        (normed, "must act on each number alone.*'tests>normed'"),
        (broken, "must take a float32 tensor.*'tests>broken', which raised RuntimeError"),
        ("relu", r"must not be positively homogeneous: `initializer_for`.*'relu', which is ReLU"),
        (None, "must not be positively homogeneous.*None, which is Linear"),
        (keras.layers.Activation("leaky_relu"), "must not be positively homogeneous"),
    ],
)
def test_bad_activations_are_named(activation, message):
    with pytest.raises(ValueError, match=message):
        kf.FracActivation(activation)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="`s` must satisfy 0 <= s <= 2"):
        kf.FracActivation("tanh", s=3)
    with pytest.raises(TypeError, match=r"FracActivation: .*unexpected .*'negative_slope'"):
        kf.FracActivation("tanh", negative_slope=0.1)
