"""Drawing a kernel: what one of a given shape needs, worked out once, and Keras' own samplers."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_fracinit import laws
from keras_fracinit.initializers.fans import Fans, split_axes
from keras_fracinit.initializers.pairs import Block, Pairs, block_of, filler_of
from keras_fracinit.initializers.stable_sampling import sample_stable
from keras_fracinit.propagation import moments

Axes = tuple[int, ...] | None


class Draw(NamedTuple):
    """The numbers that a kernel of one shape is drawn with.

    Attributes:
        block: The block that is drawn, and how it fills the kernel.
        fans: The fans of the block.
        gain: `fan * stddev^alpha`, with the fan of the initializer's mode.
        stddev: The standard deviation of one weight; of stable ones, the scale.
        ratio: `stddev` over that at s = 2, of stable ones over that at s = 0; 1 where a layer
            cannot die.
        sample: Draws the kernel, as a function of its type and the seed.
    """

    block: Block
    fans: Fans
    gain: float
    stddev: float
    ratio: float
    sample: Callable[[str, Any], Any]


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
    sample = _sample_of(SAMPLERS[distribution](block, variance, law.exponent), block)
    return Draw(block, fans, gain, stddev, _ratio(law, gain, fans.width), sample)


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


class Sampler(NamedTuple):
    """Draws the values of one block.

    Attributes:
        scale: The number that all values are multiplied by, and what else they depend on.
        values: Draws them, as a function of the scale, the type and the seed.
        compiled: The same for a function that JAX compiles, with the same bits; None if they
            would be others.
    """

    scale: float | tuple[float, ...]
    values: Callable[[Any, str, Any], Any]
    compiled: Callable[[Any, str, Any], Any] | None = None


def _sample_of(sampler: Sampler, block: Block) -> Callable[[str, Any], Any]:
    """The function of type and seed that draws a kernel."""
    scale, values, compiled = sampler
    if block.is_kernel:
        return functools.partial(values, scale)
    fill, backend = filler_of(block), keras.backend.backend()
    if backend in ("tensorflow", "torch"):
        return lambda dtype, seed: fill(values(scale, dtype, _key_of(seed)))
    if compiled is None or backend != "jax":
        return lambda dtype, seed: fill(values(scale, dtype, seed))
    import jax

    # Two functions, because in one XLA may compute each number once for each of its places, and
    # round it in more than one way.
    draw = jax.jit(compiled, static_argnums=1)

    def sample(dtype: str, seed: Any) -> Any:
        # As Keras makes keys of integers.
        key = np.array([seed, 0], "uint32") if isinstance(seed, int) else seed.next()
        return fill(draw(scale, dtype, key))

    return sample


class _Key(keras.random.SeedGenerator):  # type: ignore[misc]  # Keras has no types
    """A seed as the samplers of TensorFlow or torch take it, which Keras makes in far more time.

    It is for one draw: its state does not move, and there is no variable in it.
    """

    def __init__(self, seed: int) -> None:
        self._key: Any = (seed, 0)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self._key = tf.constant(self._key, "int32")

    def next(self, ordered: bool = True) -> Any:
        return self._key


def _key_of(seed: Any) -> Any:
    """The key of an integer that Keras would take as it is; any other seed is left to Keras."""
    return _Key(seed) if isinstance(seed, int) and 0 <= seed < 2**31 - 2 else seed


# As keras.initializers.VarianceScaling draws them, to the last bit.


def _normal(block: Block, variance: float, _: float) -> Sampler:
    def values(stddev: float, dtype: str, seed: Any) -> Any:
        return keras.random.normal(block.shape, 0.0, stddev, dtype, seed)

    def compiled(stddev: Any, dtype: str, key: Any) -> Any:
        from jax import lax

        # XLA would first multiply the factor of the generator, the root of 2, with that behind it.
        return lax.optimization_barrier(values(1.0, dtype, key)) * stddev

    return Sampler(math.sqrt(variance), values, compiled)


# The standard deviation of a standard normal number between -2 and 2.
_TRUNCATED = 0.87962566103423978


def _truncated_normal(block: Block, variance: float, _: float) -> Sampler:
    def values(scale: Any, dtype: str, seed: Any) -> Any:
        return keras.random.truncated_normal(block.shape, 0.0, scale[0], dtype, seed)

    def compiled(scale: Any, dtype: str, key: Any) -> Any:
        from jax import random

        # As arguments, because XLA would work out functions of constants, to other bits.
        stddev, low, high = scale
        return random.truncated_normal(key, low, high, block.shape, dtype) * stddev

    return Sampler((math.sqrt(variance) / _TRUNCATED, -2.0, 2.0), values, compiled)


def _uniform(block: Block, variance: float, _: float) -> Sampler:
    def values(limit: float, dtype: str, seed: Any) -> Any:
        return keras.random.uniform(block.shape, -limit, limit, dtype, seed)

    return Sampler(math.sqrt(3.0 * variance), values, values)


def _stable(block: Block, variance: float, alpha: float) -> Sampler:
    def values(scale: float, dtype: str, seed: Any) -> Any:
        return sample_stable(block.shape, dtype, alpha, scale, seed)

    return Sampler(float(variance ** (1.0 / alpha)), values)


def _orthogonal(block: Block, variance: float, _: float) -> Sampler:
    """A block that is made of an orthogonal matrix from its inputs to its outputs."""
    shape, fans, rank = block.shape, block.fans, len(block.shape)
    inputs, outputs = split_axes(rank, block.input_axes, block.output_axes)
    axes = inputs + outputs
    if rank < 2 or len(axes) < rank:
        raise ValueError(
            "`distribution='orthogonal'` needs a kernel of rank 2 or more in which every axis "
            f"is an input or an output axis. Received: a block of shape={shape}, with "
            f"input_axes={list(inputs)}, output_axes={list(outputs)}"
        )
    matrix = fans.fan_in, fans.width
    split = tuple(shape[axis] for axis in axes)
    order = tuple(axes.index(axis) for axis in range(rank))

    def values(gain: float, dtype: str, seed: Any) -> Any:
        # No backend has a QR in half precision.
        drawn = "float32" if dtype in ("float16", "bfloat16") else dtype
        initializer = keras.initializers.Orthogonal(gain, 0)
        initializer.seed = seed  # JAX's keys too, which its constructor refuses
        kernel = initializer(matrix, drawn)
        if split != matrix:  # to the same shape it takes TensorFlow 0.2 ms
            kernel = keras.ops.reshape(kernel, split)
        if order != tuple(range(rank)):
            kernel = keras.ops.transpose(kernel, order)
        return kernel if drawn == dtype else keras.ops.cast(kernel, dtype)

    # An entry of a semi-orthogonal n x d matrix has variance 1/max(n, d).
    return Sampler(variance**0.5 * math.sqrt(fans.longer), values, values)


SAMPLERS: dict[str, Callable[[Block, float, float], Sampler]] = {
    "untruncated_normal": _normal,
    "truncated_normal": _truncated_normal,
    "uniform": _uniform,
    "orthogonal": _orthogonal,
    "stable": _stable,
}
