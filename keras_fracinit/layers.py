"""Layers that the theory covers and Keras lacks."""

from __future__ import annotations

from typing import Any

import keras

from keras_fracinit import laws


@keras.saving.register_keras_serializable(package="keras_fracinit")
class RandomizedLeakyReLU(keras.layers.Layer):  # type: ignore[misc]
    """Leaky ReLU with a random slope: `x` for `x >= 0`, `u x` below.

    In training `u` is drawn uniformly from `[lower, upper]`, afresh for every unit of every sample
    on every call; at inference it is their mean. This is the layer known elsewhere as RReLU.

    `FracRandomizedLeakyReLU(lower, upper)` keeps the moment in training mode. At inference the
    layer is a leaky ReLU of slope `(lower + upper) / 2`, whose gain is slightly larger, because the
    mean of the squared slope exceeds the square of the mean slope.

    Args:
        lower: The smallest slope, a float, at least 0. Defaults to 1/8.
        upper: The largest slope, a float, at least `lower`. Defaults to 1/3.
        seed: An integer for the layer's own stream of slopes, or None (default) for a fresh one.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: A tensor of any shape. Integers are cast to the compute dtype of the layer.
        training: Whether slopes are drawn (True) or averaged (False, the default).

    Returns:
        A tensor of the shape of the inputs, in the compute dtype of the layer.

    Raises:
        TypeError: If `lower` or `upper` is not a real number.
        ValueError: If they do not satisfy `0 <= lower <= upper`.

    Example:

    >>> import numpy as np
    >>> from keras_fracinit import RandomizedLeakyReLU
    >>> layer = RandomizedLeakyReLU(lower=0.25, upper=0.75)
    >>> x = np.array([[-2.0, 4.0]], dtype="float32")
    >>> print(np.asarray(layer(x)))
    [[-1.  4.]]
    >>> y = np.asarray(layer(x, training=True))
    >>> bool(-1.5 <= y[0, 0] <= -0.5), float(y[0, 1])
    (True, 4.0)

    Source: Xu, Wang, Chen and Li, arXiv 1505.00853.
    """

    def __init__(
        self, lower: float = 1 / 8, upper: float = 1 / 3, seed: int | None = None, **kwargs: Any
    ) -> None:
        law = laws.RandomizedLeakyReLU(lower, upper)  # which checks both ends
        super().__init__(**kwargs)
        self.lower, self.upper = law.lower, law.upper
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(inputs.dtype)):
            inputs = keras.ops.cast(inputs, self.compute_dtype)
        slope: Any = 0.5 * (self.lower + self.upper)
        if training:
            slope = keras.random.uniform(
                keras.ops.shape(inputs),
                self.lower,
                self.upper,
                dtype=self.compute_dtype,
                seed=self.seed_generator,
            )
        return keras.ops.where(inputs >= 0, inputs, slope * inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"lower": self.lower, "upper": self.upper, "seed": self.seed}
        return {**super().get_config(), **config}
