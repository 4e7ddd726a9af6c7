"""New values of a kernel, in as little memory as the backend allows.

Keras' samplers make a kernel of a draw by a factor and a summand. Carried out one after the other,
each takes a copy, which of the largest kernel of a large model is what decides whether it fits.
The values are those of the initializer, to the last bit but where TensorFlow merges the factor of
the strides with that of the sampler.
"""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import keras

from keras_fracinit.graph.kernel_table import KernelSite, sampling_of
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.initializers.fans import fans_of
from keras_fracinit.initializers.lookup import initializer_for

_LARGE = 2**20  # values


def sample_kernel(site: KernelSite, initializer: Any) -> Any:
    """New values of a kernel; of a large one as few copies at a time as the backend allows."""
    backend = keras.backend.backend()
    small = math.prod(site.shape) < _LARGE or backend not in _FRUGAL
    # Stable numbers use what they are made of more than once.
    if small or initializer.distribution == "stable":
        return _sample(site, initializer)
    return _FRUGAL[backend](site, copy.copy(initializer))


def stretch(site: KernelSite, initializer: Any) -> float:
    """What the strides of a transposed kernel, which an initializer cannot know, make of a scale:
    one output sums over so many times fewer inputs."""
    return float(site.strides ** (1.0 / initializer.law.exponent))


def _sample(site: KernelSite, initializer: Any) -> Any:
    values = initializer(site.shape, site.variable.dtype)
    return values if site.strides == 1 else values * stretch(site, initializer)


def _sample_with_tensorflow(site: KernelSite, initializer: Any) -> Any:
    """In a graph, which multiplies in place: op by op each factor takes a copy."""
    import tensorflow as tf

    # Of a seed that is a constant a graph draws twice, to see whether the kernel is small enough
    # for a constant too.
    initializer.seed = keras.random.SeedGenerator(initializer.seed)
    draw = tf.function(lambda: _sample(site, initializer), autograph=False)
    return draw.get_concrete_function()()


def _sample_with_torch(site: KernelSite, initializer: Any) -> Any:
    """With every factor and summand that is a number taken in place."""
    import torch
    from torch.overrides import TorchFunctionMode

    inplace = {torch.Tensor.mul: torch.Tensor.mul_, torch.Tensor.add: torch.Tensor.add_}

    class InPlace(TorchFunctionMode):  # type: ignore[misc]  # as if torch had no types
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in inplace and len(args) == 2 and isinstance(args[1], float) and not kwargs:
                func = inplace[func]
            return func(*args, **(kwargs or {}))

    with InPlace():
        return _sample(site, initializer)


def _sample_with_jax(site: KernelSite, initializer: Any) -> Any:
    """From bits that are computed where they are used."""
    import jax

    config = jax.config
    if config.jax_default_prng_impl == "threefry2x32" and config.jax_threefry_partitionable:
        initializer.seed = _FusedKeys(initializer.seed)
    return _sample(site, initializer)


class _FusedKeys(keras.random.SeedGenerator):  # type: ignore[misc]  # Keras has no types
    def next(self, ordered: bool = True) -> Any:
        import jax

        return jax.random.wrap_key_data(super().next(ordered), impl=_fused_threefry())


@functools.cache
def _fused_threefry() -> Any:
    """JAX's generator, bit by bit. On CPUs its own is a loop, whose state is three more kernels;
    written out, XLA fuses it with what makes floats of the bits.

    Source: Salmon, Moraes, Dror and Shaw, SC 2011 (Threefry-2x32, of 20 rounds).
    """
    from jax import lax
    from jax import numpy as jnp
    from jax.extend import random

    usual = random.threefry_prng_impl

    def bits(key: Any, bit_width: int, shape: tuple[int, ...]) -> Any:
        size = math.prod(shape)
        if bit_width != 32 or size >= 2**32:
            return usual.random_bits(key, bit_width, shape)
        keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
        y = lax.iota(jnp.uint32, size).reshape(shape) + keys[1]
        x = jnp.full(shape, keys[0])
        for block in range(5):
            for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[block % 2]:
                x = x + y
                y = x ^ ((y << rotation) | (y >> (32 - rotation)))
            x = x + keys[(block + 1) % 3]
            y = y + keys[(block + 2) % 3] + jnp.uint32(block + 1)
        return x ^ y

    parts = {name: getattr(usual, name) for name in ("key_shape", "seed", "split", "fold_in")}
    return random.define_prng_impl(random_bits=bits, name="fused threefry2x32", **parts)


_FRUGAL = {
    "tensorflow": _sample_with_tensorflow,
    "jax": _sample_with_jax,
    "torch": _sample_with_torch,
}


def stddevs_of(kernel: Kernel) -> tuple[float, float]:
    """Of a weight under the user's initializer and at s = 2; nan before the layer is built."""
    site = kernel.site
    if not site.layer.built or kernel.law is None:
        return math.nan, math.nan
    shape, initializer = site.shape, site.initializer
    # Keras has the axes of an EinsumDense; the other shapes it reads as those of dense kernels.
    axes = site.axes if isinstance(site.layer, keras.layers.EinsumDense) else ()
    _, stddev = sampling_of(initializer)
    last = _like_before(kernel, 2.0)
    after = last.describe(shape).stddev * stretch(site, last)
    return stddev(initializer, shape, fans_of(shape, *axes)), after


def initialize(kernel: Kernel, s: float, seed: int) -> None:
    """Replaces the initializer of the layer and, if it is built, its weights."""
    initializer, site = _like_before(kernel, s, seed), kernel.site
    if site.layer.built:
        site.variable.assign(sample_kernel(site, initializer))
    if site.strides == 1:  # which an initializer cannot know
        setattr(site.layer, site.spec.initializer, initializer)


def _like_before(kernel: Kernel, s: float, seed: int | None = None) -> Any:
    """What keeps the s-th moment through this layer, drawn as before."""
    return initializer_of(kernel.site, kernel.law, s, kernel.distribution, kernel.alpha, seed)


def initializer_of(
    site: KernelSite, law: Any, s: float, distribution: str, alpha: float | None, seed: int | None
) -> Any:
    """The initializer of a kernel, with its axes where the shape does not show them."""
    inputs, outputs = site.axes
    options = {"input_axes": inputs, "output_axes": outputs} if inputs is not None else {}
    return initializer_for(law, s, distribution=distribution, alpha=alpha, seed=seed, **options)
