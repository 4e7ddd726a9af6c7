"""Each initializer as an object: its numbers, its seeds, its configuration, its errors."""

import inspect
import itertools
import math
import warnings

import keras
import mpmath as mp
import numpy as np
import pytest
from cases import CASES, WEIGHTS, covering, drawn_from, draws, every_case, numpy

import keras_fracinit as kf
from keras_fracinit import gain, laws
from keras_fracinit.initializers.draws import warn_of_enormous_weights
from keras_fracinit.laws import Smooth

# shape, axes, (fan_in, fan_out, width): fans as in Keras, width the number of output units.
FANS = [
    ((5, 7), {}, (5, 7, 7)),
    ((7,), {}, (7, 7, 7)),
    ((3, 4, 8), {}, (12, 24, 8)),
    ((3, 3, 4, 8), {}, (36, 72, 8)),
    ((3, 3, 3, 4, 8), {}, (108, 216, 8)),
    ((8, 3, 5), {"input_axes": [0], "output_axes": [1, 2]}, (8, 15, 15)),
    ((3, 6, 8), {"input_axes": [0, 1], "output_axes": [2]}, (18, 8, 8)),
    ((5, 3, 6), {"input_axes": [-3], "output_axes": [-2, -1]}, (5, 18, 18)),
    ((4, 9), {"input_axes": [1], "output_axes": [0]}, (9, 4, 4)),
    ((6,), {"input_axes": [], "output_axes": [0]}, (1, 6, 6)),
]
MODES = ("mode", ["fan_in", "fan_out"])


@covering(draws(CASES, "untruncated_normal", "stable"), ("shape, axes, fans", FANS), MODES)
def test_stddev_is_the_gain_over_the_right_fan(case, weights, mode, shape, axes, fans):
    scale = case.make(s=0.8, mode=mode, **weights, **axes).describe(shape)
    assert (scale.fan_in, scale.fan_out, scale.width) == fans
    fan = fans[0] if mode == "fan_in" else fans[1]
    law = case.law_under(weights)
    expected = gain(law, 0.8, fans[2])  # itself proven in test_moments and test_stable
    assert scale.gain == expected
    assert scale.alpha == weights.get("alpha", 2.0)
    assert scale.stddev == pytest.approx((expected / fan) ** (1 / scale.alpha), rel=1e-11)


def test_stddev_is_the_papers_number():
    # theory: sigma^2 = g/n, g(s = 1, d = 64) of 40-digit arithmetic, and 1 % above He.
    scale = kf.FracReLU(s=1.0).describe((64, 64))
    assert scale.stddev**2 * 64 == pytest.approx(2.03982444920232, rel=1e-11)
    assert scale.ratio == pytest.approx(math.sqrt(2.03982444920232 / 2), rel=1e-11)


@covering(
    draws(CASES, "untruncated_normal", "truncated_normal", "uniform"),
    ("shape, axes", [row[:2] for row in FANS if row[0] != (6,)]),
    MODES,
)
def test_gain_reaches_the_sampler_to_the_last_bit(case, weights, shape, axes, mode):
    options = {"mode": mode, "seed": 7, **weights, **axes}
    initializer = case.make(s=0.7, **options)
    twin = keras.initializers.VarianceScaling(initializer.describe(shape).gain, **options)
    np.testing.assert_array_equal(numpy(initializer(shape)), numpy(twin(shape)))


@pytest.mark.parametrize("shape", [(64, 64), (3, 3, 16, 8), (300, 1)], ids=str)
def test_order_two_is_he_to_the_last_bit(shape):
    he = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=11)
    lecun = keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal", seed=11)
    pairs = [
        (kf.FracReLU(s=2, seed=11), he),
        (kf.FracLeakyReLU(0.0, s=2, seed=11), he),
        (kf.FracRandomizedLeakyReLU(0.0, 0.0, s=2, seed=11), he),
        (
            kf.FracReLU(s=2, seed=11, distribution="truncated_normal"),
            keras.initializers.HeNormal(11),
        ),
        (kf.FracReLU(s=2, seed=11, distribution="uniform"), keras.initializers.HeUniform(11)),
        (kf.FracLinear(s=2, seed=11), lecun),
        (kf.FracLeakyReLU(1.0, s=2, seed=11), lecun),
        (kf.FracLeakyReLU(-1.0, s=2, seed=11), lecun),
    ]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(numpy(ours(shape)), numpy(theirs(shape)))


def test_initializers_that_coincide_agree_to_the_last_bit():
    for s in (0, 0.6, 1.4):
        relu, linear = kf.FracReLU(s, seed=3), kf.FracLinear(s, seed=3)
        leaky, same = (
            kf.FracLeakyReLU(0.3, s, seed=3),
            kf.FracRandomizedLeakyReLU(0.3, 0.3, s, seed=3),
        )
        for one, other in [
            (relu, kf.FracLeakyReLU(0.0, s, seed=3)),
            (linear, kf.FracLeakyReLU(1.0, s, seed=3)),
            (leaky, same),
        ]:
            np.testing.assert_array_equal(numpy(one((9, 5))), numpy(other((9, 5))))


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((8, 8), {}),
        ((6, 20), {}),
        ((20, 6), {}),
        ((3, 3, 2, 5), {}),
        ((2, 9, 4), {"input_axes": [1], "output_axes": [0, 2]}),
    ],
    ids=str,
)
def test_orthogonal_is_orthogonal_times_the_exact_multiplier(shape, axes, s, mode):
    initializer = kf.FracReLU(s, mode, "orthogonal", seed=5, **axes)
    kernel = numpy(initializer(shape))
    if axes:
        kernel = np.moveaxis(kernel, 1, 0)
        n, d, fan_out = 9, 8, 8
    else:
        n, d = math.prod(shape[:-1]), shape[-1]
        fan_out = d * math.prod(shape[:-2])
    matrix = kernel.reshape(n, d)
    m = max(n, d)
    # eta = (E chi_m^s / E Q^(s/2))^(1/s) keeps |x|, eta sqrt(d/n) keeps |x|/sqrt(n), by Gamma
    # functions and the binomial law of the active units; per position, fan_out is larger than d.
    half = mp.mpf(s) / 2
    chi = [
        2**half * mp.gamma(mp.mpf(k) / 2 + half) / mp.gamma(mp.mpf(k) / 2) for k in range(1, m + 1)
    ]
    moment = sum(mp.binomial(d, k) * mp.mpf(0.5) ** d * chi[k - 1] for k in range(1, d + 1))
    eta = float((chi[m - 1] / moment) ** (1 / mp.mpf(s)))
    multiplier = eta * math.sqrt(d / (n if mode == "fan_in" else fan_out))
    assert initializer.describe(shape).stddev * math.sqrt(m) == pytest.approx(multiplier, rel=1e-11)
    gram = matrix.T @ matrix if n >= d else matrix @ matrix.T
    np.testing.assert_allclose(gram, multiplier**2 * np.eye(min(n, d)), atol=2e-6 * multiplier**2)


def test_orthogonal_linear_layers_are_isometries():
    scale = kf.FracLinear(0.5, distribution="orthogonal").describe((16, 16))
    assert scale.stddev == 0.25
    assert scale.log_norm_mean == scale.log_norm_std == 0.0


def test_describe_prints_one_readable_line():
    scale = kf.FracLeakyReLU(negative_slope=0.3, s=1.0, dropout=0.1).describe((3, 3, 8, 16))
    line = str(scale)
    assert "\n" not in line
    for part in ("fan_in 72", "fan_out 144", "width 16", f"{scale.stddev:.6g}", "x He"):
        assert part in line
    mean, variance = kf.log_norm(laws.Dropout(laws.LeakyReLU(0.3), 0.1), 1.0, 16)
    assert (scale.log_norm_mean, scale.log_norm_std) == (mean, math.sqrt(variance))
    assert "x LeCun" in str(kf.FracLinear().describe((4, 4)))
    with pytest.raises(AttributeError):
        scale.gain = 1.0


def test_describe_of_a_recurrent_kernel_sees_all_gates():
    units = 6
    layer = keras.layers.LSTM(units, kernel_initializer=kf.FracLinear())
    layer.build((None, 3, 5))
    assert kf.FracLinear().describe(layer.cell.kernel.shape).width == 4 * units


# Seeds.


@drawn_from(*WEIGHTS)
def test_without_a_seed_every_call_draws_afresh(case, weights):
    initializer = case.make(**weights)
    draws = [numpy(initializer((4, 4))) for _ in range(20)]
    assert all((a != b).any() for a, b in itertools.combinations(draws, 2))


@drawn_from("untruncated_normal", "stable")
def test_twenty_layers_may_share_one_instance(case, weights):
    initializer = case.make(**weights)
    dense = [keras.layers.Dense(4, kernel_initializer=initializer) for _ in range(20)]
    einsum = [
        keras.layers.EinsumDense("ab,bc->ac", 4, kernel_initializer=initializer) for _ in range(20)
    ]
    for layers in (dense, einsum):
        for layer in layers:
            layer.build((None, 4))
        kernels = [numpy(layer.kernel) for layer in layers]
        assert all((a != b).any() for a, b in itertools.combinations(kernels, 2))


def test_set_random_seed_makes_unseeded_draws_repeatable():
    def draw():
        keras.utils.set_random_seed(42)
        initializer = kf.FracReLU()
        return np.stack([numpy(initializer((3, 3))) for _ in range(3)])

    np.testing.assert_array_equal(draw(), draw())


@pytest.mark.parametrize("seed", [0, 5, np.int64(5), np.uint8(5), 2**32 - 1], ids=repr)
def test_an_integer_seed_repeats_the_values(seed):
    initializer = kf.FracReLU(seed=seed)
    np.testing.assert_array_equal(numpy(initializer((4, 4))), numpy(initializer((4, 4))))
    assert type(initializer.get_config()["seed"]) is int


def test_a_seed_generator_works_as_in_keras():
    ours, theirs = (keras.random.SeedGenerator(3) for _ in range(2))
    one, two = (
        kf.FracReLU(2, seed=ours),
        keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=theirs),
    )
    for _ in range(2):
        np.testing.assert_array_equal(numpy(one((4, 4))), numpy(two((4, 4))))
    clone = kf.FracReLU.from_config(one.get_config())
    assert isinstance(clone.seed, keras.random.SeedGenerator)


def test_query_and_key_of_attention_differ():
    layer = keras.layers.MultiHeadAttention(2, 4, kernel_initializer=kf.FracLinear())
    layer.build((None, 3, 8), (None, 3, 8))
    query, key = numpy(layer.query_dense.kernel), numpy(layer.key_dense.kernel)
    assert query.shape == key.shape
    assert (query != key).any()


# Configuration.


@drawn_from("uniform", "stable")
def test_config_is_the_constructor(case, weights):
    options = {
        "s": 0.25,
        "mode": "fan_out",
        "dropout": 0.1,
        "method": "exact" if "alpha" in weights else "asymptotic",
        "seed": 9,
        "input_axes": [0],
        "output_axes": [1],
        "alpha": None,
        "pairs": None,
        "taps": "all",
        **weights,
    }
    slopes = {name: value for name, value in case.options.items() if name != "dropout"}
    initializer = case.initializer(**slopes, **options)
    assert initializer.get_config() == {**slopes, **options}
    clone = case.initializer.from_config(initializer.get_config())
    assert clone.get_config() == initializer.get_config()
    np.testing.assert_array_equal(numpy(clone((5, 3))), numpy(initializer((5, 3))))


def test_defaults_are_those_documented():
    signature = inspect.signature(kf.FracReLU)
    assert {name: p.default for name, p in signature.parameters.items()} == {
        "s": 1.0,
        "mode": "fan_in",
        "distribution": "untruncated_normal",
        "dropout": 0.0,
        "method": "exact",
        "seed": None,
        "input_axes": None,
        "output_axes": None,
        "alpha": None,
        "pairs": None,
        "taps": "all",
    }
    config = kf.FracRandomizedLeakyReLU().get_config()
    assert (config["lower"], config["upper"], config["s"]) == (1 / 8, 1 / 3, 1.0)


@pytest.mark.parametrize(
    ("initializer", "shown"),
    [
        (kf.FracReLU(), "FracReLU(s=1.0, seed=None)"),
        (kf.FracReLU(2, "fan_out", seed=3), "FracReLU(s=2.0, mode='fan_out', seed=3)"),
        (kf.FracLeakyReLU(0.3), "FracLeakyReLU(negative_slope=0.3, s=1.0, seed=None)"),
        (
            kf.FracLinear(distribution="stable", alpha=1.5),
            "FracLinear(s=1.0, distribution='stable', seed=None, alpha=1.5)",
        ),
        (
            kf.FracActivation("gelu", pairs={"form": "both", "runs": [(2, 3)]}, taps=(1, 1)),
            "FracActivation(activation='gelu', s=1.0, seed=None, "
            "pairs={'form': 'both', 'runs': [[2, 3]]}, taps=[1, 1])",
        ),
    ],
)
def test_repr_is_the_call_that_makes_it(initializer, shown):
    assert repr(initializer) == shown
    twin = eval(shown, vars(kf))
    assert (type(twin), twin.get_config()) == (type(initializer), initializer.get_config())
    law = laws.law_of("softsign")
    assert repr(laws.Dropout(law, 0.5)) == "Dropout(law=Sampled(activation='softsign'), rate=0.5)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: kf.FracReLU(negative_slope=0.2),
            "^FracReLU: got an unexpected keyword argument 'negative_slope'.*`s`, `mode`.*"
            "FracLeakyReLU has `negative_slope`$",
        ),
        (
            lambda: kf.FracLeakyReLU(0.1, sigma=2),
            "^FracLeakyReLU: .*'sigma'.*`negative_slope`, `s`",
        ),
        (lambda: kf.FracLinear(*range(12)), "^FracLinear: too many positional arguments"),
    ],
)
def test_wrong_arguments_are_told_by_the_public_class(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("name", ["FracLinear", "FracReLU", "FracRandomizedLeakyReLU"])
def test_string_identifiers(name):
    initializer = keras.initializers.get(f"keras_fracinit>{name}")
    assert type(initializer) is getattr(kf, name)
    layer = keras.layers.Dense(3, kernel_initializer=f"keras_fracinit>{name}")
    layer.build((None, 4))
    assert type(layer.kernel_initializer) is getattr(kf, name)


# From activations to initializers.


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


# Bad input.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"s": -1}, ValueError, "`s` must satisfy 0 <= s <= 2. Received: s=-1"),
        ({"s": 2.1}, ValueError, "`s` must satisfy 0 <= s <= 2. Received: s=2.1"),
        ({"s": math.nan}, ValueError, "`s` must be finite. Received: s=nan"),
        ({"s": math.inf}, ValueError, "`s` must be finite. Received: s=inf"),
        ({"s": "1"}, TypeError, "`s` must be a real number. Received: s='1'"),
        ({"s": True}, TypeError, "`s` must be a real number. Received: s=True"),
        ({"s": np.zeros(3)}, TypeError, "`s` must be a real number"),
        ({"s": None}, TypeError, "`s` must be a real number. Received: s=None"),
        ({"dropout": 1}, ValueError, "0 <= dropout < 1. Received: dropout=1"),
        ({"dropout": -0.1}, ValueError, "0 <= dropout < 1. Received: dropout=-0.1"),
        ({"dropout": "x"}, TypeError, "`dropout` must be a real number"),
        ({"mode": "fan_avg"}, ValueError, "`mode` must be one of 'fan_in', 'fan_out'"),
        ({"mode": ["fan_in"]}, ValueError, "`mode` must be one of"),
        ({"distribution": "normal"}, ValueError, "`distribution` must be one of.*'normal'"),
        ({"method": "paper"}, ValueError, "`method` must be one of.*Received: method='paper'"),
        ({"input_axes": [0]}, ValueError, "`input_axes` and `output_axes` must be given together"),
        ({"output_axes": [0]}, ValueError, "`input_axes` and `output_axes` must be given together"),
        ({"input_axes": [0, 1], "output_axes": [1]}, ValueError, "distinct and not overlap"),
        ({"input_axes": [0, 0], "output_axes": [1]}, ValueError, "distinct and not overlap"),
        ({"input_axes": [0.5], "output_axes": [1]}, TypeError, "`input_axes` must be an integer"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer. Received: seed=1.5"),
        ({"seed": True}, TypeError, "`seed` must be an integer. Received: seed=True"),
        ({"seed": -1}, ValueError, "`seed` must satisfy 0 <= seed"),
        ({"seed": 2**32}, ValueError, "`seed` must satisfy 0 <= seed"),
    ],
    ids=str,
)
@every_case
def test_bad_arguments_are_named(case, options, error, message):
    with pytest.raises(error, match=message):
        case.make(**options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: kf.FracLeakyReLU(math.nan), ValueError, "`negative_slope` must be finite"),
        (lambda: kf.FracLeakyReLU("a"), TypeError, "`negative_slope` must be a real number"),
        (lambda: kf.FracLeakyReLU(), TypeError, "negative_slope"),
        (lambda: kf.FracRandomizedLeakyReLU(-0.1), ValueError, "0 <= lower <= upper"),
        (lambda: kf.FracRandomizedLeakyReLU(0.5, 0.4), ValueError, "0 <= lower <= upper"),
        (lambda: kf.FracRandomizedLeakyReLU(0.5, math.nan), ValueError, "`upper` must be finite"),
        (lambda: kf.RandomizedLeakyReLU(-0.1), ValueError, "0 <= lower <= upper"),
        (lambda: kf.RandomizedLeakyReLU(0.5, 0.4), ValueError, "0 <= lower <= upper"),
    ],
)
def test_bad_slopes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ((), ValueError, "`shape` must have at least one dimension"),
        ((0, 5), ValueError, r"positive integer dimensions, all known. Received: shape=\(0, 5\)"),
        ((None, 5), ValueError, "positive integer dimensions"),
        ((4, -1), ValueError, "positive integer dimensions"),
        ((4, 2.0), ValueError, "positive integer dimensions"),
        ((4, True), ValueError, "positive integer dimensions"),
        (5, TypeError, "`shape` must be a sequence of integers"),
        ((4, 10**7 + 1), ValueError, "`width` must satisfy"),
    ],
    ids=str,
)
def test_bad_shapes_are_named(shape, error, message):
    for call in (kf.FracReLU(), kf.FracReLU().describe):
        with pytest.raises(error, match=message):
            call(shape)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_bad_dtypes_are_named(dtype):
    with pytest.raises(ValueError, match="`dtype` must be a floating-point type"):
        kf.FracReLU()((4, 4), dtype=dtype)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"input_axes": [0], "output_axes": [2]}, "`output_axes` is out of range for rank 2"),
        ({"input_axes": [-3], "output_axes": [1]}, "`input_axes` is out of range for rank 2"),
        ({"input_axes": [1], "output_axes": [-1]}, "distinct and not overlap"),
    ],
)
def test_axes_are_checked_against_the_shape(axes, message):
    with pytest.raises(ValueError, match=message):
        kf.FracReLU(**axes)((4, 4))


def test_orthogonal_says_what_it_needs():
    for shape, axes in [((4,), {}), ((2, 3, 4), {"input_axes": [0], "output_axes": [2]})]:
        with pytest.raises(ValueError, match="needs a kernel of rank 2 or more"):
            kf.FracReLU(distribution="orthogonal", **axes)(shape)


def test_a_scale_beyond_the_dtype_says_why():
    # d = 1: g = (1/2 E chi_1^s)^(-2/s) is 2^40 or so at s = 0.05, its root beyond float16's 65504.
    assert np.isfinite(numpy(kf.FracReLU(s=0.05)((4, 1), "float32"))).all()
    with pytest.raises(ValueError, match=r"stddev.*float16.*P\(Q = 0\) = 0.5.*s=0"):
        kf.FracReLU(s=0.05)((4, 1), "float16")
    with pytest.raises(ValueError, match=r"gain.*float64.*P\(Q = 0\) = 0.5"):
        kf.FracReLU(s=0.001)((4, 1))
    assert np.isfinite(numpy(kf.FracReLU(s=0)((4, 1), "float16"))).all()


# Enormous weights.


@pytest.mark.parametrize(
    ("initializer", "width", "words"),
    [
        # E |y|^s of one alive unit of two: 4.65e12 and 460 times He's, see the theory page.
        (kf.FracReLU(0.01), 2, r"FracReLU\(s=0.01\).*4.65e\+12 times.*at s=2 .* width 2.*= 0.25,"),
        (kf.FracReLU(0.05, pairs="inputs"), 2, r"FracReLU\(s=0.05\).* 460 times"),
        (kf.FracLinear(0.1, dropout=0.5), 1, r"FracLinear.*P\(Q = 0\) = 0.5"),
        (kf.FracReLU(0.05, distribution="orthogonal"), 2, "FracReLU.*width 2"),
        (kf.FracReLU(0.05, distribution="stable", alpha=1.5), 2, "given survival for a layer of"),
    ],
)
def test_enormous_weights_are_told_once(initializer, width, words):
    warn_of_enormous_weights.cache_clear()
    with pytest.warns(UserWarning, match=words):
        initializer((4, width))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initializer((4, width))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("make", "width"),
    [
        (kf.FracReLU, 2),
        (lambda s: kf.FracReLU(s, dropout=0.5), 4),
        (lambda s: kf.FracReLU(s, pairs="both"), 2),
        (lambda s: kf.FracLeakyReLU(0.1, s), 1),
        (lambda s: kf.FracLinear(s, distribution="stable", alpha=1.5), 1),
    ],
)
def test_usual_orders_need_no_enormous_weights(make, width):
    warn_of_enormous_weights.cache_clear()
    for s in (0.0, 0.5, 1.0):
        make(s)((4, width))
