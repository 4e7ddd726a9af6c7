"""Tests what initializers refuse, and that they warn of enormous weights."""

import math
import warnings

import numpy as np
import pytest
from cases import every_case, numpy

import keras_fracinit as kf
from keras_fracinit.initializers.draws import warn_of_enormous_weights


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
