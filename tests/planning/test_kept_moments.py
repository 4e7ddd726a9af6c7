"""Tests, by measuring, that layers drawn by a plan keep the variance or the moment of a signal."""

import math

import keras
import numpy as np
import pytest
from architectures import array, normal

import keras_fracinit as kf
from keras_fracinit.planning import reinitialize

layers = keras.layers


# The fans, measured: at s = 2 the variance of the output is that of the input.

ATTENTION = {"MultiHeadAttention": (8, 16), "GroupQueryAttention": (16, 8, 4)}
KINDS = {
    "Dense": (lambda: layers.Dense(40), (30,)),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cde->abde", (None, 6, 7)), (4, 20)),
    "EinsumDense two in": (lambda: layers.EinsumDense("abde,dec->abc", (None, 30)), (3, 6, 7)),
    "EinsumDense groups": (lambda: layers.EinsumDense("abc,bcd->abd", (5, 20)), (5, 12)),
    "Conv1D": (lambda: layers.Conv1D(20, 3), (12, 10)),
    "Conv2D": (lambda: layers.Conv2D(20, 3, strides=2), (7, 7, 10)),
    "Conv2D dilation": (lambda: layers.Conv2D(20, 3, dilation_rate=2), (7, 7, 10)),
    "Conv2D groups": (lambda: layers.Conv2D(24, 3, groups=4), (5, 5, 16)),
    "Conv3D": (lambda: layers.Conv3D(8, 2), (3, 3, 3, 8)),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(5, depth_multiplier=3), (9, 40)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 30)),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(30, 5), (9, 60)),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(30, 3), (5, 5, 60)),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(20, 4, strides=2), (16, 10)),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(16, 3), (9, 9, 8)),
    "Conv2DTranspose strides": (lambda: layers.Conv2DTranspose(16, 4, strides=2), (8, 8, 8)),
    "Conv2DTranspose uneven": (lambda: layers.Conv2DTranspose(16, 3, strides=2), (8, 8, 8)),
    "Conv2DTranspose gaps": (lambda: layers.Conv2DTranspose(16, 2, strides=(3, 2)), (8, 8, 8)),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(6, 2, strides=2), (4, 4, 4, 6)),
}


def interior(layer, outputs):
    """Whole periods of the stride, of outputs that as many inputs reach as can."""
    if "Transpose" in type(layer).__name__:
        for axis, (kernel, stride) in enumerate(
            zip(layer.kernel_size, layer.strides, strict=True), start=1
        ):
            length = (outputs.shape[axis] - 2 * kernel) // stride * stride
            outputs = np.take(outputs, range(kernel, kernel + length), axis=axis)
    return outputs


def check_mean(samples, expected, precision):
    error = np.std(samples, ddof=1) / math.sqrt(len(samples))
    assert abs(np.mean(samples) - expected) < 4.5 * error, (np.mean(samples), error)
    assert error < precision


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_variance_is_kept_by_the_layer_itself(name):
    build, shape = KINDS[name]
    model = keras.Sequential([keras.Input(shape), build()])
    x = normal(64, *shape)
    variances = []
    for seed in range(12):
        report = reinitialize(model, s=2.0, seed=seed, distribution="untruncated_normal")
        assert all(change.gain == 1.0 for change in report)
        outputs = interior(model.layers[-1], array(model(x)))
        variances.append(np.mean(outputs.astype(float) ** 2) / np.mean(x.astype(float) ** 2))
    check_mean(variances, 1.0, 0.04)


@pytest.mark.parametrize("name", ATTENTION)
def test_the_variance_is_kept_by_each_kernel_of_attention(name):
    inputs = keras.Input((5, 24))
    layer = getattr(layers, name)(*ATTENTION[name])
    model = keras.Model(inputs, layer(inputs, inputs))
    kernels = [inner for inner in layer._flatten_layers() if hasattr(inner, "equation")]
    variances = {kernel.name: [] for kernel in kernels}
    for seed in range(12):
        reinitialize(model, s=2.0, seed=seed, distribution="untruncated_normal")
        assert not np.array_equal(array(kernels[1].kernel), array(kernels[2].kernel))
        for kernel in kernels:
            last = kernel.name == "attention_output"
            x = normal(16, 5, *(kernel.kernel.shape[:2] if last else (24,)))
            variances[kernel.name].append(np.mean(array(kernel(x)) ** 2) / np.mean(x**2))
    assert len(variances) == 4
    for samples in variances.values():
        check_mean(samples, 1.0, 0.03)


# Below the second moment, where theory has it: many independent layers on one input.


def parallel(build, shape, copies):
    inputs = keras.Input(shape)
    return keras.Model(inputs, [build()(inputs) for _ in range(copies)])


def equal_patches(*shape):
    """Each channel, or group of them, sees a patch of the same norm."""
    x = normal(*shape).astype(float)
    return x / np.sqrt(np.mean(x**2, axis=(0, 1), keepdims=True))


# A layer, its input, the order, and how many layers are drawn how many times.
MOMENTS = {
    "EinsumDense": (
        lambda: layers.EinsumDense("bgi,gio->bgo", (2000, 4), activation="relu"),
        np.tile(normal(5), (2000, 1)),
        1.0,
        (1, 1),
    ),
    "Dense": (lambda: layers.Dense(6, "relu"), normal(5), 1.0, (40, 10)),
    "Conv2D": (
        lambda: layers.Conv2D(4, 3, activation=layers.LeakyReLU(negative_slope=0.2)),
        normal(3, 3, 2),
        0.5,
        (40, 10),
    ),
    "Conv2D groups": (lambda: layers.Conv2D(4, 3, groups=2), equal_patches(3, 3, 2), 0.5, (10, 20)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3), equal_patches(3, 3, 4), 0.5, (20, 10)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_the_moment_is_kept_by_the_layer_itself(name):
    build, x, s, (copies, draws) = MOMENTS[name]
    model = parallel(build, x.shape, copies)
    samples = []
    for seed in range(draws):
        reinitialize(model, s=s, seed=seed, distribution="untruncated_normal")
        for outputs in keras.tree.flatten(model(x[None].astype("float32"))):
            squares = np.mean(array(outputs).astype(float) ** 2, axis=-1)
            samples += (squares / np.mean(x**2)).ravel().tolist()
    check_mean(np.array(samples) ** (s / 2), 1.0, 0.03)


def test_a_deep_network_keeps_its_scale_where_the_default_does_not():
    """Inside the band of theory section 6: depth times the mean, two deviations around it."""
    hidden = [layers.Dense(64, "relu") for _ in range(20)]
    model = keras.Sequential([keras.Input((64,)), *hidden])
    x = normal(128, 64)

    def log_scale():
        return 0.5 * math.log(np.mean(array(model(x)) ** 2.0) / np.mean(x**2.0))

    assert log_scale() < -5.0  # Glorot: a factor of 1/sqrt(2) for each layer
    reinitialize(model, s=1.0, seed=1)
    mean, variance = kf.log_norm("relu", 1.0, 64)
    assert abs(log_scale() - 20 * mean) < 2.5 * math.sqrt(20 * variance)
