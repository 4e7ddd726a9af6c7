"""Tests kernels of one tap: they are those of a dense layer, and mix no positions."""

import keras
import numpy as np
import pytest
from cases import DTYPES, FORMS, TAPS, WEIGHTS, exact, numpy, quick

import keras_fracinit as kf

L = keras.layers

WINDOWS = [
    ((3, 4, 6), "center", (1,)),
    ((5, 3, 4, 6), "center", (2, 1)),
    ((4, 2, 4, 6), "center", (1, 0)),
    ((3, 3, 3, 4, 6), "center", (1, 1, 1)),
    ((1, 1, 4, 6), "center", (0, 0)),
    ((3, 3, 4, 6), 2, (2, 2)),
    ((3, 5, 4, 6), (0, 4), (0, 4)),
    ((3, 4, 6), [2], (2,)),
]


@pytest.mark.parametrize(("shape", "taps", "tap"), WINDOWS, ids=str)
@pytest.mark.parametrize("form", quick((None, "both"), "outputs", "inputs"))
def test_one_tap_holds_the_kernel_of_a_dense_layer(form, shape, taps, tap):
    for distribution in ("untruncated_normal", "orthogonal"):
        options = {"distribution": distribution, "seed": 4, "pairs": form}
        kernel = exact(kf.FracReLU(taps=taps, **options)(shape))
        expected = np.zeros(shape)
        expected[tap] = exact(kf.FracReLU(**options)(shape[-2:]))
        np.testing.assert_array_equal(kernel, expected)
    scale = kf.FracReLU(taps=taps, pairs=form).describe(shape)
    dense = kf.FracReLU(pairs=form).describe(shape[-2:])
    assert (scale.stddev, scale.gain) == (dense.stddev, dense.gain)
    assert scale.block == (dense.block or (4, 6))


@pytest.mark.parametrize("distribution", WEIGHTS)
def test_one_tap_of_a_transposed_kernel(distribution):
    axes = {"input_axes": [0, 1, 3], "output_axes": [2]}
    weights = {"distribution": distribution, **WEIGHTS[distribution], "seed": 4}
    for form in (None, *FORMS):
        kernel = kf.FracReLU(taps="center", pairs=form, **weights, **axes)((3, 3, 6, 4))
        turned = kf.FracReLU(pairs=form, **weights, input_axes=[1], output_axes=[0])((6, 4))
        expected = np.zeros((3, 3, 6, 4))
        expected[1, 1] = exact(turned)
        np.testing.assert_array_equal(exact(kernel), expected)


def test_one_tap_in_half_precision():
    for dtype in DTYPES:
        kernel = kf.FracReLU(**TAPS, seed=1)((3, 3, 4, 4), dtype)
        assert keras.backend.standardize_dtype(kernel.dtype) == dtype
        assert np.count_nonzero(exact(kernel)) == 16


CONVOLUTIONS = {
    "Conv1D": (L.Conv1D, (2, 7, 4)),
    "Conv2D": (L.Conv2D, (2, 7, 7, 4)),
    "Conv3D": (L.Conv3D, (2, 4, 4, 4, 4)),
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_center_tap_moves_no_position_into_another(name, policy):
    layer, shape = CONVOLUTIONS[name]
    pairs = kf.FracReLU(**TAPS, seed=2)
    conv = layer(6, 3, padding="same", kernel_initializer=pairs, dtype=policy)
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    kernel = exact(kf.FracReLU(pairs="both", seed=2)((4, 6), conv.variable_dtype))
    tolerance = 1e-5 if policy == "float32" else 5e-2
    np.testing.assert_allclose(numpy(conv(x)), x @ kernel, atol=tolerance * 4)
