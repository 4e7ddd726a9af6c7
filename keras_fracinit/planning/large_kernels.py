"""Samples a large kernel in fewer copies than Keras does.

Keras computes `draw * stddev + mean` one operation at a time, and each allocates a full copy. For
the largest kernel of a model that decides whether it fits in memory.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import keras


def sample_with_less_memory(sample: Callable[[Any], Any], initializer: Any) -> Any:
    """The values of `sample(initializer)`, made with fewer full copies at a time.

    The target is a peak of about two kernels, the new one included, except for an orthogonal
    kernel, whose QR decomposition takes more. The peak of `sample(initializer)` alone and of this
    function, measured on a CPU in sizes of a float32 kernel of shape (4096, 8192), for an
    orthogonal one (2048, 4096):

    | distribution                         | TensorFlow | JAX        | torch      |
    |--------------------------------------|------------|------------|------------|
    | untruncated_normal                   | 3.1, 1.0   | 4.0, 2.1   | 1.0, 1.0   |
    | untruncated_normal, strides of 2     | 4.1, 1.0   | 4.0, 2.1   | 2.0, 1.0   |
    | uniform                              | 3.1, 1.0   | 4.0, 1.0   | 3.0, 1.0   |
    | orthogonal                           | 7.1, 4.1   | 4.3, 4.4   | 3.6, 2.7   |

    The values are the same to the last bit, except that TensorFlow merges the factor of the strides
    with that of the sampler.

    Args:
        sample: A function of an initializer that returns the values of a kernel. Each of its
            intermediate results must be used only once, because torch overwrites it.
        initializer: The initializer, which is not changed.
    """
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        return sample(initializer)
    return _BACKENDS[backend](sample, copy.copy(initializer))


def _with_tensorflow(sample: Callable[[Any], Any], initializer: Any) -> Any:
    """Runs it in a graph, which multiplies in place."""
    import tensorflow as tf

    # With a constant seed the graph would draw twice: TensorFlow folds constants, and computes the
    # kernel to see whether it is small enough to be one.
    initializer.seed = keras.random.SeedGenerator(initializer.seed)
    draw = tf.function(lambda: sample(initializer), autograph=False)
    return draw.get_concrete_function()()


def _with_torch(sample: Callable[[Any], Any], initializer: Any) -> Any:
    """Runs it with every multiplication by a number, and every addition of one, in place."""
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
        return sample(initializer)


def _with_jax(sample: Callable[[Any], Any], initializer: Any) -> Any:
    """Runs it with random bits that are computed where they are used."""
    import jax

    config = jax.config
    if config.jax_default_prng_impl == "threefry2x32" and config.jax_threefry_partitionable:
        initializer.seed = _FusedKeys(initializer.seed)
    return sample(initializer)


class _FusedKeys(keras.random.SeedGenerator):  # type: ignore[misc]  # Keras has no types
    def next(self, ordered: bool = True) -> Any:
        import jax

        return jax.random.wrap_key_data(super().next(ordered), impl=_fused_threefry())


@functools.cache
def _fused_threefry() -> Any:
    """JAX's generator with its rounds written out.

    On CPUs JAX runs the rounds in a loop, whose state takes three more kernels. Without the loop,
    XLA fuses them with the conversion of the bits to floats.

    Source: Salmon, Moraes, Dror and Shaw, SC 2011 (Threefry-2x32, 20 rounds).
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


_BACKENDS = {"tensorflow": _with_tensorflow, "jax": _with_jax, "torch": _with_torch}
