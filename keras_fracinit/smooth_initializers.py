"""The initializer for activations that are not positively homogeneous, and how they are named."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from keras_fracinit import smooth
from keras_fracinit.activations import law_of
from keras_fracinit.initializers import LayerScale, _FracInitializer

_NAMED = {getattr(keras.activations, name): smooth.Smooth(name) for name in smooth.NAMES}


@dataclass(frozen=True)
class SmoothScale(LayerScale):
    """The record of `FracActivation.describe`: a `LayerScale`, and how long it holds.

    Attributes:
        length_slope: `d log r_out / d log r_in` for the root mean square r of the pre-activations
            from one wide layer to the next, at r = 1. Below 1 in size deviations shrink with depth,
            above 1 they grow.
        gradient_factor: `E phi'(z)^2 / E phi(z)^2`: what a wide, square layer makes of the mean
            square of a gradient, at r = 1 and s = 2.
    """

    length_slope: float
    gradient_factor: float

    def __str__(self) -> str:
        size = abs(self.length_slope)
        if abs(size - 1.0) < 1e-4:
            fate = "neither attracts nor repels"
        elif size < 1.0:
            fate = "attracts"
        else:
            fate = "REPELS: deep networks run away from it"
        return (
            f"{super().__str__()}; exact at unit root mean square of the pre-activations only, "
            f"which {fate} (slope of the length map {self.length_slope:.4f}), "
            f"gradient factor {self.gradient_factor:.4f}"
        )


@keras.saving.register_keras_serializable(package="keras_fracinit")
class FracActivation(_FracInitializer):
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

    The first kernel of a network is met by data, not by activations: for data of root mean square 1
    give it `FracLinear`, whose pre-activations have root mean square 1. With `FracActivation` they
    would have `sqrt(g)`, 1.5 for GELU, on the way up.

    Args:
        activation: "tanh", "gelu", "silu" (or "swish"), "elu", "selu", "softplus" or "mish", such a
            function of `keras.activations`, or an Activation or ELU layer (alpha 1): computed in
            float64. Any other activation of Keras, or a function that is registered with
            `keras.saving.register_keras_serializable`: evaluated once per process, in float32, on a
            tensor of shape (n, 1). It must act on each number alone; the accuracy is `law.error`.
        s: As for `FracReLU`.
        **options: The other arguments of `FracReLU`, by name. Of the distributions only
            "untruncated_normal" is exact; "orthogonal", too, is off by O(1/d).

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the activation is unknown, not registered, positively homogeneous (for which
            `initializer_for` has an initializer that is exact at every size), constant, not finite
            between -13 and 13, or returns another shape; or an option is out of range.

    Example:

    >>> from keras_fracinit import FracActivation
    >>> print(FracActivation("gelu", s=1.0).describe((64, 64)))  # doctest: +NORMALIZE_WHITESPACE
    fan_in 64, fan_out 64, width 64: gain 2.41005, stddev 0.194054 = 1.01233 x s=2; log-norm per
    layer -0.01275 +- 0.16134; exact at unit root mean square of the pre-activations only, which
    REPELS: deep networks run away from it (slope of the length map 1.1441), gradient factor 1.0720

    Source: `keras_fracinit.smooth`.
    """

    def __init__(self, activation: Any, s: float = 1.0, **options: Any) -> None:
        self._law: smooth.PointMass = smooth_law_of(activation)
        self.activation = self._law.activation
        super().__init__(s, **options)

    def describe(self, shape: Iterable[int]) -> SmoothScale:
        """The scale of a kernel of this shape, the log-norm that its layer adds, and how it lasts.

        See `FracReLU.describe`. The log-norm is that of a layer at the operating point.

        Args:
            shape: The shape of the kernel.

        Returns:
            An immutable record that prints as one line.

        Raises:
            ValueError: If the shape is unusable or the gain not finite, as when drawing.
        """
        known = asdict(super().describe(shape)) | {"reference": "s=2"}
        return SmoothScale(
            **known,
            length_slope=self._law.length_slope,
            gradient_factor=self._law.gradient_factor,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        # The law of a function holds its values besides, which its name is enough to find again.
        return {key: config[key] for key in config if key not in ("values", "error")}


def smooth_law_of(activation: Any) -> smooth.PointMass:
    """The law of an activation that is not positively homogeneous, however it is named.

    Arguments and errors are those of `FracActivation`.
    """
    if isinstance(activation, smooth.PointMass):
        return activation
    function = _function(activation)
    if function in _NAMED:
        return _NAMED[function]
    try:
        law = law_of(function)
    except ValueError:
        return _sample(function, _name(function))
    raise ValueError(
        "`activation` must not be positively homogeneous: `initializer_for` has the initializer "
        f"for this law, which is exact at every size of the signal. Received: {activation!r}, "
        f"which is {law}"
    )


def _function(activation: Any) -> Any:
    """The function behind a name, a configuration or a layer."""
    if isinstance(activation, keras.layers.Activation):
        return activation.activation
    if isinstance(activation, keras.layers.ELU) and activation.alpha == 1.0:
        return keras.activations.elu
    found = activation
    if isinstance(activation, str):
        found = keras.saving.get_registered_object(activation)
    if found is None or isinstance(found, str | dict):
        try:
            found = keras.activations.get(activation)
        except (ValueError, TypeError):
            found = None
    if not callable(found) or isinstance(found, keras.layers.Layer | type):
        raise ValueError(
            f"`activation` must be one of {', '.join(map(repr, smooth.NAMES))}, another activation "
            "of Keras, a function registered by @keras.saving.register_keras_serializable(), or an "
            f"Activation or ELU layer (alpha 1). Received: activation={activation!r}"
        )
    return found


def _name(function: Any) -> str:
    """What a function is saved as, if that finds it again."""
    name = str(keras.saving.get_registered_name(function)) if hasattr(function, "__name__") else ""
    found = keras.saving.get_registered_object(name) or getattr(keras.activations, name, None)
    if found is not function:
        raise ValueError(
            "`activation` must be a function that Keras can save by name. Define it by `def`, "
            'under @keras.saving.register_keras_serializable(package="my_package"). '
            f"Received: activation={function!r}"
        )
    return name


# Cached, because Keras rebuilds initializers from their configuration while it traces a model,
# where no value can be read.
@functools.lru_cache(maxsize=64)
def _sample(function: Any, name: str) -> smooth.Sampled:
    z = smooth.nodes(doubled=True)
    shape = (z.size, 1)
    try:
        answer = function(keras.ops.convert_to_tensor(z.reshape(shape).astype("float32")))
        values = np.asarray(keras.ops.convert_to_numpy(answer), "float64")
    except Exception as error:
        raise ValueError(
            f"`activation` must take a float32 tensor of shape {shape} and return one. "
            f"Received: {name!r}, which raised {type(error).__name__}: {error}"
        ) from error
    if values.shape != shape:
        raise ValueError(
            "`activation` must return the shape that it is given. "
            f"Received: {name!r}, which made {values.shape} of {shape}"
        )
    return smooth.Sampled.of(name, values.reshape(z.shape))
