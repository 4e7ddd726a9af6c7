"""The initializer for activations that are not positively homogeneous."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import keras

from keras_fracinit.initializers.base import LayerScale, _FracInitializer
from keras_fracinit.laws import smooth
from keras_fracinit.laws.base import law_of
from keras_fracinit.laws.smooth import caveat_of

__all__ = ["FracActivation", "SmoothScale"]


@dataclass(frozen=True)
class SmoothScale(LayerScale):
    """The record of `FracActivation.describe`: a `LayerScale`, and how long it holds.

    Attributes:
        length_slope: `d log r_out / d log r_in` for the root mean square r of the pre-activations
            from one wide layer to the next, at r = 1. Below 1 in size deviations shrink with depth,
            above 1 they grow.
        gradient_factor: `E phi'(z)^2 / E phi(z)^2`: the factor of the mean square of a gradient in
            a wide, square layer, at r = 1 and s = 2.
    """

    length_slope: float
    gradient_factor: float

    def __str__(self) -> str:
        return (
            f"{super().__str__()}; {caveat_of(self.length_slope)}, "
            f"gradient factor {self.gradient_factor:.4f}"
        )


class _SmoothInitializer(_FracInitializer):
    """Keeps the s-th moment at the operating point of a law that is not homogeneous."""

    _law: smooth.PointMass

    def describe(self, shape: Iterable[int]) -> LayerScale:
        """The scale of a kernel of this shape, the log-norm that its layer adds, and how it lasts.

        See `FracReLU.describe`. The log-norm is that of a layer at the operating point. Where the
        kernel makes pairs, it is exact at every size, and there is no operating point.

        Args:
            shape: The shape of the kernel.

        Returns:
            An immutable record that prints as one line.

        Raises:
            ValueError: If the shape is unusable or the gain not finite, as when drawing.
        """
        known = asdict(super().describe(shape)) | {"reference": "s=2"}
        if self.pairs is not None and self.pairs.on_outputs:
            return LayerScale(**known)
        return SmoothScale(
            **known,
            length_slope=self._law.length_slope,
            gradient_factor=self._law.gradient_factor,
        )


@keras.saving.register_keras_serializable(package="keras_fracinit")
class FracActivation(_SmoothInitializer, for_laws=[smooth.Smooth, smooth.Sampled]):
    """Keeps the s-th moment through tanh, GELU, SiLU and other layers, at one size of the signal.

    For an activation that is not positively homogeneous no scale of the weights keeps a moment at
    every size. `W_ij ~ N(0, g/n)` with

        g(s, d) = d / E[Q^(s/2)]^(2/s),    Q = |phi(z)|^2,  z ~ N(0, I_d),

    does where the pre-activations have root mean square 1, that is for inputs of root mean square
    `1/sqrt(g)`: exactly so for one layer, at every width. Elsewhere it is an approximation, and
    over depth the slope of the length map decides how long it is one (`describe` prints it). Per
    wide layer a deviation of the root mean square from 1

    - shrinks by the factor 0.46 for tanh, 0.49 softplus, 0.78 SELU, 0.89 ELU: the point attracts;
    - grows by the factor 1.08 for Mish, 1.14 GELU, 1.17 SiLU: the point REPELS, and deep networks
      run away from it, up or down. From 1.12, 50 layers lead to 5 (Mish), 28 (GELU), 1000 (SiLU).

    The input of the first kernel is data, not activations: for data of root mean square 1
    give it `FracLinear`, whose pre-activations have root mean square 1. With `FracActivation` they
    would have `sqrt(g)`, 1.5 for GELU, on the way up.

    Args:
        activation: "tanh", "gelu", "silu" (or "swish"), "elu", "selu", "softplus" or "mish", such a
            function of `keras.activations`, or an Activation or ELU layer (alpha 1): computed in
            float64. Any other activation of Keras, or a function that is registered with
            `keras.saving.register_keras_serializable`: evaluated once per process, in float32, on
            tensors of shape (n, 1) and (n, 2), and integrated piece by piece between its jumps,
            kinks and zeros. It must act on each number alone; the relative accuracy of the gain is
            `law.error_at(s)`.
        s: As for `FracReLU`.
        **options: The other arguments of `FracReLU`, by name. Only the distribution
            "untruncated_normal" is exact; "orthogonal", too, is off by O(1/d).

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the activation is unknown, not registered, positively homogeneous (for which
            `initializer_for` has an initializer that is exact at every size), constant, not finite
            between -13 and 13, mixes several numbers (softmax), or returns another shape; or an
            option is out of range.

    Example:

    >>> from keras_fracinit import FracActivation
    >>> print(FracActivation("gelu", s=1.0).describe((64, 64)))  # doctest: +NORMALIZE_WHITESPACE
    fan_in 64, fan_out 64, width 64: gain 2.41005, stddev 0.194054 = 1.01233 x s=2; log-norm per
    layer -0.01275 +- 0.16134; exact at unit root mean square of the pre-activations only, which
    REPELS: deep networks run away from it (slope of the length map 1.1441), gradient factor 1.0720

    Source: `keras_fracinit.laws.Smooth`.
    """

    def __init__(self, activation: Any, s: float = 1.0, **options: Any) -> None:
        self._law = smooth_law_of(activation)
        self.activation = self._law.activation
        super().__init__(s, **options)


def smooth_law_of(activation: Any) -> smooth.PointMass:
    """The law of an activation that is not positively homogeneous, however it is named.

    Arguments and errors are those of `FracActivation`.
    """
    law = law_of(activation)
    if isinstance(law, smooth.PointMass):
        return law
    raise ValueError(
        "`activation` must not be positively homogeneous: `initializer_for` has the initializer "
        f"for this law, which is exact at every size of the signal. Received: {activation!r}, "
        f"which is {law}"
    )
