"""The order s as a hyperparameter of KerasTuner."""

from __future__ import annotations

import importlib.util
from typing import Any

import keras

from keras_fracinit._validation import check_order, check_real, check_type
from keras_fracinit.initializers import initializer_for


def order(
    hp: Any,
    name: str = "s",
    low: float = 0.0,
    high: float = 2.0,
    step: float | None = None,
    default: float = 2.0,
) -> float | None:
    """The order s of an initializer, as a hyperparameter.

    Args:
        hp: The `HyperParameters` of a build function.
        name: The name of the hyperparameter.
        low: The smallest order, in [0, 2].
        high: The largest order, in [low, 2].
        step: The distance of the values to choose from; any value by default.
        default: The order outside of a search. 2 (default) is He or LeCun initialization; it need
            not lie between `low` and `high`.

    Returns:
        The order as a float, or None in a `conditional_scope` that is not active, as everywhere in
        KerasTuner.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of range, or the name is taken by another hyperparameter.
        ImportError: If a search would fail for lack of a package.

    Example:

    >>> import keras, keras_tuner
    >>> from keras_fracinit import FracReLU
    >>> from keras_fracinit.tuner import order
    >>> def build(hp):
    ...     relu = FracReLU(s=order(hp, low=0.5))
    ...     layers = [keras.layers.Dense(8, "relu", kernel_initializer=relu) for _ in range(3)]
    ...     return keras.Sequential([keras.Input((8,)), *layers])
    >>> build(keras_tuner.HyperParameters()).layers[0].kernel_initializer.s
    2.0
    """
    check_type("name", name, str)
    low, high = check_order(low, "low"), check_order(high, "high")
    default = check_order(default, "default")
    if low > high:
        raise ValueError(f"`low` must not exceed `high`. Received: low={low}, high={high}")
    if step is not None and check_real("step", step) <= 0.0:
        raise ValueError(f"`step` must be positive. Received: step={step}")
    _require_tensorboard()
    value = hp.Float(name, low, high, step=step, default=default)
    if value is None:
        return None
    if isinstance(value, bool | str) or not 0.0 <= value <= 2.0 + 1e-9:
        raise ValueError(
            f"`name` must not be that of another hyperparameter. Received: name={name!r}, which "
            f"has the value {value!r}; an order lies in [0, 2]"
        )
    return min(float(value), 2.0)  # many steps may add up to a rounding error more


def frac_initializer(
    hp: Any,
    activation: Any,
    name: str = "s",
    low: float = 0.0,
    high: float = 2.0,
    step: float | None = None,
    default: float = 2.0,
    **options: Any,
) -> Any:
    """The initializer for an activation, with its order s as a hyperparameter.

    Args:
        hp: The `HyperParameters` of a build function.
        activation: As for `keras_fracinit.initializer_for`.
        name: As for `order`, like `low`, `high`, `step` and `default`.
        low: As for `order`.
        high: As for `order`.
        step: As for `order`.
        default: As for `order`.
        **options: Further arguments of the initializer, as for `FracReLU`.

    Returns:
        A `FracLinear`, `FracReLU`, `FracLeakyReLU` or `FracRandomizedLeakyReLU` that many layers
        may share, or None in a `conditional_scope` that is not active.

    Raises:
        TypeError: As `order` does.
        ValueError: As `order` and `initializer_for` do.

    Example:

    >>> import keras, keras_tuner
    >>> from keras_fracinit.tuner import frac_initializer
    >>> hp = keras_tuner.HyperParameters()
    >>> layer = keras.layers.Dense(8, "relu", kernel_initializer=frac_initializer(hp, "relu"))
    >>> hp.values
    {'s': 2.0}
    """
    s = order(hp, name, low, high, step, default)
    return None if s is None else initializer_for(activation, s, **options)


def _require_tensorboard() -> None:
    """On TensorFlow every trial of a search fails without it, in words that do not say why."""
    if keras.backend.backend() == "tensorflow" and not importlib.util.find_spec("tensorboard"):
        raise ImportError(
            "KerasTuner needs the package tensorboard on the TensorFlow backend: "
            "`pip install tensorboard`"
        )
