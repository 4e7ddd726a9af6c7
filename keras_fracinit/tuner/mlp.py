"""Provides a hypermodel of multilayer perceptrons that can be searched as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
from keras import optimizers

from keras_fracinit.laws.base import law_of
from keras_fracinit.tuner.hypermodel import FracInitHyperModel
from keras_fracinit.utils.validation import check_integer, check_real, check_several, check_type

_LARGEST = 2**31 - 1


class FracMLP(FracInitHyperModel):
    """Searches multilayer perceptrons for tabular and flattened data, as they are.

    A model has `depth` hidden layers of `width` units with the same activation, and a dense output
    layer. Depth, width, activation, the order s of all layers ("s") and the learning rate are
    hyperparameters of these names. The kernels are drawn from normal distributions. Inputs of any
    shape are flattened.

    Args:
        units: The number of outputs, at least 1.
        loss: A loss, as for `keras.Model.compile`.
        metrics: Names of metrics, as for `keras.Model.compile`.
        depth: The number of hidden layers, or its range `(low, high)`. Defaults to (2, 20).
        width: The number of units of each, or its range, sampled by its logarithm. Defaults to
            (16, 256).
        activation: A name that `keras_fracinit.initializer_for` accepts, or several to choose from.
            Defaults to ("relu", "leaky_relu").
        learning_rate: A positive number, or its range, sampled by its logarithm. Defaults to
            (1e-4, 1e-1).
        optimizer: The name of an optimizer. Defaults to "adam".
        output_activation: The name of the activation after the last layer. None (default) gives
            logits, so the loss must expect logits.
        **options: Further arguments of `FracInitHyperModel`, by name. With `mirrored`, a width from
            a range is rounded up to an even number.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of range.

    Example:

    >>> import keras_tuner
    >>> from keras_fracinit.tuner import FracMLP
    >>> hypermodel = FracMLP(1, "mse", depth=(2, 8), width=16)
    >>> hp = keras_tuner.HyperParameters()
    >>> model = hypermodel.build(hp)
    >>> hp.values
    {'depth': 2, 'activation': 'relu', 'learning_rate': 0.0001, 's': 2.0}
    """

    def __init__(
        self,
        units: int,
        loss: Any,
        metrics: Sequence[str] = (),
        *,
        depth: int | Sequence[int] = (2, 20),
        width: int | Sequence[int] = (16, 256),
        activation: str | Sequence[str] = ("relu", "leaky_relu"),
        learning_rate: float | Sequence[float] = (1e-4, 1e-1),
        optimizer: str = "adam",
        output_activation: str | None = None,
        **options: Any,
    ) -> None:
        units = check_integer("units", units, 1, _LARGEST)
        depths = _range("depth", depth, partial(check_integer, low=1, high=_LARGEST))
        widths = _range("width", width, partial(check_integer, low=1, high=_LARGEST))
        rates = _range("learning_rate", learning_rate, _check_positive)
        several = [activation] if isinstance(activation, str) else activation
        names = [check_type("activation", a, str) for a in check_several("activation", several)]
        for name in names:
            law_of(name)  # raises for a name without a law
        optimizers.get(check_type("optimizer", optimizer, str))

        def build(hp: Any) -> keras.Model:
            depth = _choose(hp.Int, "depth", depths)
            width = _choose(hp.Int, "width", widths, sampling="log")
            if options.get("mirrored") and widths[0] < widths[1]:
                width += width % 2
            activation = hp.Choice("activation", names) if len(names) > 1 else names[0]
            hidden = [_dense(width, activation) for _ in range(depth)]
            output = _dense(units, output_activation)
            model = keras.Sequential([keras.layers.Flatten(), *hidden, output])
            chosen = optimizers.get(optimizer)
            chosen.learning_rate = _choose(hp.Float, "learning_rate", rates, sampling="log")
            model.compile(chosen, loss, metrics=list(metrics))
            return model

        super().__init__(build, **options)


def _check_positive(name: str, value: Any) -> float:
    number = check_real(name, value)
    if number <= 0.0:
        raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
    return number


def _range(name: str, value: Any, check: Callable[..., Any]) -> tuple[Any, Any]:
    """Checks a number or a pair, and gives both ends of the range."""
    ends = list(value) if isinstance(value, Sequence) else [value, value]
    if len(ends) != 2:
        raise ValueError(f"`{name}` must be a number or a pair. Received: {name}={value}")
    low, high = (check(name, end) for end in ends)
    if low > high:
        raise ValueError(f"`{name}` must be a range (low, high). Received: {name}={value}")
    return low, high


def _choose(parameter: Callable[..., Any], name: str, ends: tuple[Any, Any], **options: Any) -> Any:
    low, high = ends
    return low if low == high else parameter(name, low, high, **options)


def _dense(units: int, activation: str | None) -> keras.layers.Layer:
    """Makes a layer with LeCun's scale, which stays only where no law is known for `activation`."""
    lecun = keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal")
    return keras.layers.Dense(units, activation, kernel_initializer=lecun)
