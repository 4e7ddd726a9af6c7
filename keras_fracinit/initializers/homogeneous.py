"""The initializers of positively homogeneous activations: linear, ReLU, leaky, randomized leaky."""

from __future__ import annotations

from typing import Any

import keras

from keras_fracinit import laws
from keras_fracinit.initializers.base import _FracInitializer

__all__ = ["FracLeakyReLU", "FracLinear", "FracRandomizedLeakyReLU", "FracReLU"]


@keras.saving.register_keras_serializable(package="keras_fracinit")
class FracLinear(_FracInitializer, for_laws=[laws.Linear()]):
    """Keeps the s-th moment of the signal through layers without activation.

    `W_ij ~ N(0, g/n)` with `g = d/E[chi2_d^(s/2)]^(2/s)`, n the fan-in and d the width; g = 1
    (LeCun) at s = 2. All arguments are those of `FracReLU`.

    Example:

    >>> from keras_fracinit import FracLinear
    >>> kernel = FracLinear(s=1.0)(shape=(16, 64))
    >>> round(FracLinear(s=1.0).describe((16, 64)).gain, 6)
    1.007843

    Source: Gurbuzbalaban and Hu, AISTATS 2021, arXiv 2005.11878.
    """


@keras.saving.register_keras_serializable(package="keras_fracinit")
class FracReLU(_FracInitializer, for_laws=[laws.ReLU()]):
    """Keeps the s-th moment of the signal through ReLU layers.

    Draws a kernel with fan-in n and d output units from `N(0, g/n)`, where g depends on s and d
    (see `gain`), so that for `y = relu(W x)`, exactly and at every width,

        E (|y|/sqrt(d))^s = E (|x|/sqrt(n))^s.

    s = 2 is He initialization, to the last bit that of `VarianceScaling(2.0, "fan_in",
    "untruncated_normal")` with the same seed. A smaller s gives larger weights, fewer vanishing
    outputs and heavier tails; s = 0 keeps the mean of the log-norm, given survival. Where a layer
    is so narrow that all of its units often die, a small s > 0 needs enormous weights; a warning
    says so where they are more than 3 times those at s = 2 (ReLU of width 4: below s = 0.084).

    For a convolution n is the receptive field times the input channels, d the number of filters,
    and the identity holds for each output position against its own input patch; over many
    convolutional layers the moment drifts for s < 2, because patches mix positions. The kernel of a
    recurrent layer is read as one layer of `gates * units` outputs.

    Args:
        s: The order of the moment to keep, a number in [0, 2]. Defaults to 1.
        mode: "fan_in" (default) keeps the moment of `|x|/sqrt(n)`, the root mean square of a unit,
            with variance `g/n`. "fan_out" keeps that of the norm `|x|`, with variance `g/fan_out`.
            They differ where n is not d.
        distribution: What the weights are drawn from.
            "untruncated_normal" (default): exact.
            "orthogonal": a random (semi-)orthogonal matrix, per patch for a convolution, times the
            exact multiplier of such matrices. Rank 2 or more.
            "truncated_normal", "uniform": the variance is exactly that of the normal; the s-moment
            up to O(1/(n d)) for dense inputs and O(1/d) for one-hot ones, and exactly at s = 2.
            "stable": heavy-tailed, symmetric alpha-stable weights of infinite variance, exact for
            s < alpha in the l_alpha norm, `E (|y|_alpha/d^(1/alpha))^s` (see `stable.Stable`).
        dropout: The rate of the (inverted) dropout that follows the activation, in [0, 1). The
            moment is then kept in TRAINING mode. At inference the masks are gone and the signal
            shrinks by about `sqrt(1 - dropout)` per layer: to a third over 20 layers at rate 0.1.
        method: "exact" (default), or "asymptotic" for the expansion of the gain in 1/d.
        seed: None (default) draws afresh on every call, so that one instance may be shared by many
            layers, and follows `keras.utils.set_random_seed`. An integer in [0, 2^32) repeats the
            same values on every call, as everywhere in Keras. A `keras.random.SeedGenerator` works
            as elsewhere in Keras.
        input_axes: The axes of the kernel that are summed over, a list of integers, where the shape
            does not show it. `EinsumDense` and attention layers set this by themselves.
        output_axes: The axes of the kernel that remain; d is the product of their sizes. To be
            given together with `input_axes`.
        alpha: The tail index of "stable" weights, between 1 and 2; required there, and only there.
        pairs: Whether the layer is part of a mirrored network, whose units come in pairs, the first
            and the second half of the channels. The kernel is then made of a free block V, and the
            moment kept is that of the difference of the halves, as in a linear network.
            "outputs": `[V, -V]`, from data to pairs.
            "both": `[[V, -V], [-V, V]]`, from pairs to pairs.
            "inputs": `[[V], [-V]]`, from pairs to plain units.
            A mapping `{"form": "both", "runs": [[size, count], ...]}` says where the pairs of the
            inputs lie: `count` times `size` units followed by their partners, for each run in turn.
            Behind a Flatten of c channels at k positions that is `[[c/2, k]]`. None (default):
            no pairs.
        taps: "all" (default) draws the whole window of a convolution kernel; "center" draws its
            middle, index `(k - 1) // 2`, and leaves zeros around it, which moves no position into
            another; an index, or one for each axis of the window, names another tap.

    Call arguments:
        shape: The shape of the kernel, of rank 1 (n = d = its size) or more.
        dtype: A floating-point dtype; `keras.config.floatx()` by default.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument or the shape is out of range, an axis of pairs is odd, pairs are
            to be made before a linear activation, or the standard deviation is not finite in the
            dtype: s so small, for such a narrow layer, that the layers that die outright
            (probability 2^-d) dominate the moment.

    Example:

    >>> import keras
    >>> from keras_fracinit import FracReLU
    >>> layer = keras.layers.Dense(64, activation="relu", kernel_initializer=FracReLU(s=0.8))
    >>> round(FracReLU(s=1.0).describe((784, 64)).ratio, 5)  # against He
    1.00991

    Source: Gurbuzbalaban and Hu, AISTATS 2021, arXiv 2005.11878.
    """


@keras.saving.register_keras_serializable(package="keras_fracinit")
class FracLeakyReLU(_FracInitializer, for_laws=[laws.LeakyReLU]):
    """Keeps the s-th moment of the signal through leaky ReLU layers (and PReLU at its start).

    The gain is `2/(1 + a^2)` at s = 2 (He for leaky ReLU of slope a), larger below. Slope 0 is
    `FracReLU`, slope 1 `FracLinear`.

    Args:
        negative_slope: The slope a of the activation below zero, any real number. It has no
            default: `activation="leaky_relu"` means 0.2 in Keras, `keras.layers.LeakyReLU()` 0.3,
            and other frameworks 0.01. `initializer_for` reads it from the activation.
        s: As for `FracReLU`.
        **options: The other arguments of `FracReLU`, by name.

    Example:

    >>> from keras_fracinit import FracLeakyReLU
    >>> round(FracLeakyReLU(negative_slope=0.3, s=1.0).describe((64, 64)).gain, 6)
    1.864429

    Source: Gurbuzbalaban and Hu, AISTATS 2021, arXiv 2005.11878.
    """

    def __init__(self, negative_slope: float, s: float = 1.0, **options: Any) -> None:
        self._law = laws.LeakyReLU(negative_slope)
        self.negative_slope = self._law.negative_slope
        super().__init__(s, **options)


@keras.saving.register_keras_serializable(package="keras_fracinit")
class FracRandomizedLeakyReLU(_FracInitializer, for_laws=[laws.RandomizedLeakyReLU]):
    """Keeps the s-th moment of the signal through `RandomizedLeakyReLU` layers in training mode.

    Args:
        lower: The smallest slope, at least 0. Defaults to 1/8.
        upper: The largest slope, at least `lower`. Defaults to 1/3.
        s: As for `FracReLU`.
        **options: The other arguments of `FracReLU`, by name.

    Example:

    >>> from keras_fracinit import FracRandomizedLeakyReLU
    >>> round(FracRandomizedLeakyReLU(s=2.0).describe((64, 64)).gain, 6)
    1.893699

    Source: Gurbuzbalaban and Hu, AISTATS 2021, arXiv 2005.11878.
    """

    def __init__(
        self, lower: float = 1 / 8, upper: float = 1 / 3, s: float = 1.0, **options: Any
    ) -> None:
        self._law = laws.RandomizedLeakyReLU(lower, upper)
        self.lower, self.upper = self._law.lower, self._law.upper
        super().__init__(s, **options)
