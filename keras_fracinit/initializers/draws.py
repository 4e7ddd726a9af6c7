"""Drawing a kernel: what one of a given shape needs, worked out once, and Keras' own samplers."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from keras_fracinit import laws
from keras_fracinit.initializers.fans import Fans, split_axes
from keras_fracinit.initializers.pairs import Block, Pairs, block_of, filler_of
from keras_fracinit.initializers.stable_sampling import sample_stable
from keras_fracinit.propagation import moments

Axes = tuple[int, ...] | None


class Matrix(NamedTuple):
    """An orthogonal matrix, from inputs to outputs, and the block that it becomes.

    Attributes:
        shape: `(inputs, outputs)`.
        stddev: The standard deviation of an entry times the root of the longer side: the factor of
            a matrix with orthonormal rows or columns.
        split: The shape with one axis for each of the block, inputs first; None if it is `shape`.
        order: Where each axis of the block then is; None if it is in its place.
    """

    shape: tuple[int, int]
    stddev: float
    split: tuple[int, ...] | None
    order: tuple[int, ...] | None


class Draw(NamedTuple):
    """The numbers that a kernel of one shape is drawn with.

    Attributes:
        block: The block that is drawn, and how it fills the kernel.
        fans: The fans of the block.
        gain: `fan * stddev^alpha`, with the fan of the initializer's mode.
        variance: `gain / fan`, the variance of one weight; of stable ones, `stddev^alpha`.
        stddev: The standard deviation of one weight; of stable ones, the scale.
        alpha: The tail index of stable weights; 2 for all others.
        ratio: `stddev` over that at s = 2, of stable ones over that at s = 0; 1 where a layer
            cannot die.
        matrix: How the block is made of an orthogonal matrix; None for other distributions.
        fill: Makes the kernel of the values of the block; None if they are the kernel.
    """

    block: Block
    fans: Fans
    gain: float
    variance: float
    stddev: float
    alpha: float
    ratio: float
    matrix: Matrix | None
    fill: Callable[[Any], Any] | None


@functools.lru_cache(maxsize=1024)
def draw_of(
    law: laws.Law,
    s: float,
    method: str,
    mode: str,
    distribution: str,
    shape: tuple[int, ...],
    input_axes: Axes,
    output_axes: Axes,
    pairs: Pairs | None,
    taps: str | tuple[int, ...],
) -> Draw:
    """Computes the draw of a kernel. Cached: it takes as long as drawing some thousand numbers.

    Raises:
        ValueError: If the shape is unusable, or the gain not finite.
    """
    block = block_of(shape, input_axes, output_axes, pairs, taps)
    fans = block.fans
    gain = moments.gain(law, s, fans.width, method)
    if distribution == "orthogonal":
        # A Haar matrix is a Gaussian one without the spread of the norm of its m-vectors.
        gain /= moments.gain(laws.Linear(), s, fans.longer, method)
    variance = gain / getattr(fans, mode)
    stddev = float(variance ** (1.0 / law.exponent))
    matrix = _matrix_of(block, fans, stddev) if distribution == "orthogonal" else None
    ratio = _ratio(law, gain, fans.width)
    return Draw(block, fans, gain, variance, stddev, law.exponent, ratio, matrix, filler_of(block))


def _ratio(law: laws.Law, gain: float, width: int) -> float:
    if law.alive == 1.0:
        return 1.0
    if law.exponent == 2.0:
        return math.sqrt(gain * law.mean)
    return float((gain / moments.gain(law, 0.0, width)) ** (1.0 / law.exponent))


ENORMOUS = 3.0  # times the usual standard deviation


@functools.cache
def warn_of_enormous_weights(name: str, law: laws.Law, s: float, width: int, ratio: float) -> None:
    """Warns, once for each kind of layer, that its weights are far larger than usual ones."""
    usual = "at s=2" if law.exponent == 2.0 else "given survival"
    warnings.warn(
        f"{name}(s={s:g}) draws weights of {ratio:.3g} times their standard deviation {usual} for "
        f"a layer of width {width}: all of its units are zero together with probability P(Q = 0) "
        f"= {moments.death_probability(law, width):.3g}, and at so small an order the survivors "
        "have to make up for it. Use a larger s, a wider layer, less dropout, or s=0, which keeps "
        "the log-norm given survival.",
        stacklevel=4,  # of who calls the initializer
    )


def _matrix_of(block: Block, fans: Fans, stddev: float) -> Matrix:
    rank = len(block.shape)
    inputs, outputs = split_axes(rank, block.input_axes, block.output_axes)
    axes = inputs + outputs
    if rank < 2 or len(axes) < rank:
        raise ValueError(
            "`distribution='orthogonal'` needs a kernel of rank 2 or more in which every axis "
            f"is an input or an output axis. Received: a block of shape={block.shape}, with "
            f"input_axes={list(inputs)}, output_axes={list(outputs)}"
        )
    shape = fans.fan_in, fans.width
    split = tuple(block.shape[axis] for axis in axes)
    order = tuple(axes.index(axis) for axis in range(rank))
    return Matrix(
        shape,
        # An entry of a semi-orthogonal n x d matrix has variance 1/max(n, d).
        stddev * math.sqrt(fans.longer),
        None if split == shape else split,  # to the same shape it takes TensorFlow 0.2 ms
        None if order == tuple(range(rank)) else order,
    )


# As keras.initializers.VarianceScaling draws them, to the last bit.


def _normal(draw: Draw, dtype: str, seed: Any) -> Any:
    return keras.random.normal(draw.block.shape, 0.0, math.sqrt(draw.variance), dtype, seed)


# The standard deviation of a standard normal number between -2 and 2.
_TRUNCATED = 0.87962566103423978


def _truncated_normal(draw: Draw, dtype: str, seed: Any) -> Any:
    stddev = math.sqrt(draw.variance) / _TRUNCATED
    return keras.random.truncated_normal(draw.block.shape, 0.0, stddev, dtype, seed)


def _uniform(draw: Draw, dtype: str, seed: Any) -> Any:
    limit = math.sqrt(3.0 * draw.variance)
    return keras.random.uniform(draw.block.shape, -limit, limit, dtype, seed)


def _orthogonal(draw: Draw, dtype: str, seed: Any) -> Any:
    shape, stddev, split, order = draw.matrix  # type: ignore[misc]  # which orthogonal draws have
    # No backend has a QR in half precision.
    drawn = "float32" if dtype in ("float16", "bfloat16") else dtype
    kernel = keras.initializers.Orthogonal(stddev, seed)(shape, drawn)
    if split is not None:
        kernel = keras.ops.reshape(kernel, split)
    if order is not None:
        kernel = keras.ops.transpose(kernel, order)
    return kernel if drawn == dtype else keras.ops.cast(kernel, dtype)


def _stable(draw: Draw, dtype: str, seed: Any) -> Any:
    return sample_stable(draw.block.shape, dtype, draw.alpha, draw.stddev, seed)


SAMPLERS: dict[str, Callable[[Draw, str, Any], Any]] = {
    "untruncated_normal": _normal,
    "truncated_normal": _truncated_normal,
    "uniform": _uniform,
    "orthogonal": _orthogonal,
    "stable": _stable,
}
