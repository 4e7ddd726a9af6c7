"""Maps a law to its initializer."""

from __future__ import annotations

from typing import Any

from keras_fracinit import laws
from keras_fracinit.initializers.base import INITIALIZERS, _FracInitializer
from keras_fracinit.laws.base import law_of


def initializer_for(activation: Any, s: float = 1.0, **options: Any) -> _FracInitializer:
    """The initializer that keeps the s-th moment through layers with a given activation.

    At every size of the signal for a positively homogeneous activation, at one for any other: see
    `FracActivation`.

    Args:
        activation: A name, such as "relu", "leaky_relu", "tanh" or "gelu", or None (linear); such a
            function of `keras.activations`; a function that is registered with
            `keras.saving.register_keras_serializable`; a ReLU, LeakyReLU, PReLU,
            RandomizedLeakyReLU, ELU or Activation layer; or a law of `keras_fracinit.laws`. Slopes
            are read from it. A PReLU must start from one constant, and an ELU have alpha 1.
        s: The order of the moment, 0 <= s <= 2.
        **options: Further arguments of the initializer, as for `FracReLU`.

    Returns:
        A `FracLinear`, `FracReLU`, `FracLeakyReLU`, `FracRandomizedLeakyReLU` or `FracActivation`.

    Raises:
        ValueError: If the activation is unknown, a function that is not registered, does not act on
            each number alone (softmax), or is a layer without a law (`ReLU(max_value=5)`,
            `ELU(alpha=0.5)`); or an option is out of range.

    Example:

    >>> import keras
    >>> from keras_fracinit import initializer_for
    >>> initializer_for(keras.layers.LeakyReLU(negative_slope=0.1), s=0.5).negative_slope
    0.1
    >>> initializer_for("tanh", s=0.5).activation
    'tanh'
    """
    law = law_of(activation)
    if isinstance(law, laws.Dropout):
        return initializer_for(law.law, s, dropout=law.rate, **options)
    found = INITIALIZERS.get(law) or INITIALIZERS.get(type(law))
    if found is None:
        raise ValueError(f"There is no initializer for this law. Received: activation={law}")
    return found(**found._parameters_of(law), s=s, **options)
