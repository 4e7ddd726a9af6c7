"""Declares the order s as a hyperparameter of KerasTuner: one, or one for each group of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_fracinit.initializers.lookup import initializer_for
from keras_fracinit.utils.patterns import matches
from keras_fracinit.utils.validation import check_order, check_real, check_several, check_type

# Below, narrow layers (of one unit, or of three under dropout of one half) need weights of more
# than three times He's: a moment of small order counts little but whether they die.
_LOW = 0.5


def order(
    hp: Any,
    name: str = "s",
    low: float | None = None,
    high: float = 2.0,
    step: float | None = None,
    default: float = 2.0,
) -> float | None:
    """Declares the order s of an initializer as a hyperparameter.

    Args:
        hp: The `HyperParameters` of a build function.
        name: The name of the hyperparameter. Defaults to "s".
        low: The smallest order, in [0, 2]. None (default) is 0.5, or `high` if that is less. Where
            ReLU or dropout may silence a whole layer, a smaller order needs enormous weights: those
            of a layer of 2 units and s = 0.05 are 460 times He's. Where no layer is narrower than
            16 units (32 under dropout), 0 is low enough.
        high: The largest order, in [low, 2]. Defaults to 2.
        step: The distance between the values to choose from, positive. None (default) allows any
            value.
        default: The order outside of a search, in [0, 2]. 2 (default) is He or LeCun
            initialization; it need not lie between `low` and `high`.

    Returns:
        The order as a float, or None in a `conditional_scope` that is not active, as for every
        hyperparameter of KerasTuner.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of range, or the name is taken by another hyperparameter.

    Example:

    >>> import keras, keras_tuner
    >>> from keras_fracinit import FracReLU
    >>> from keras_fracinit.tuner import order
    >>> def build(hp):
    ...     relu = FracReLU(s=order(hp))
    ...     layers = [keras.layers.Dense(8, "relu", kernel_initializer=relu) for _ in range(3)]
    ...     return keras.Sequential([keras.Input((8,)), *layers])
    >>> build(keras_tuner.HyperParameters()).layers[0].kernel_initializer.s
    2.0
    """
    check_type("name", name, str)
    high = check_order(high, "high")
    low = min(_LOW, high) if low is None else check_order(low, "low")
    default = check_order(default, "default")
    if low > high:
        raise ValueError(f"`low` must not exceed `high`. Received: low={low}, high={high}")
    if step is not None and check_real("step", step) <= 0.0:
        raise ValueError(f"`step` must be positive. Received: step={step}")
    value = hp.Float(name, low, high, step=step, default=default)
    if value is None:
        return None
    if isinstance(value, bool | str) or not 0.0 <= value <= 2.0 + 1e-9:
        raise ValueError(
            f"`name` must not be that of another hyperparameter. Received: name={name!r}, which "
            f"has the value {value!r}; an order lies in [0, 2]"
        )
    return min(float(value), 2.0)  # a sum of many steps may exceed 2 by rounding


def frac_initializer(
    hp: Any,
    activation: Any,
    name: str = "s",
    low: float | None = None,
    high: float = 2.0,
    step: float | None = None,
    default: float = 2.0,
    **options: Any,
) -> Any:
    """Makes the initializer for an activation, with its order s as a hyperparameter.

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
        The initializer that `initializer_for` returns, which many layers may share, or None in a
        `conditional_scope` that is not active.

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


class Groups:
    """Assigns to each kernel the hyperparameter that is its order.

    Args:
        name: The name of the order, or the prefix of the names of all orders.
        groups: As for `FracInitHyperModel`.

    Raises:
        TypeError: If `groups` is of the wrong kind.
        ValueError: If a group has no patterns.
    """

    def __init__(self, name: str, groups: Any) -> None:
        self.name = name
        self.groups: dict[str, tuple[str, ...]] | str | None = _check_groups(groups)

    def names(self, paths: Sequence[Sequence[str]]) -> list[str | None]:
        """Names the order of each kernel, which has these paths; None if it is in no group."""
        if self.groups is None:
            return [self.name for _ in paths]
        if isinstance(self.groups, str):
            return [f"{self.name}_{position}" for position, _ in enumerate(paths, start=1)]
        return [self._of_group(several) for several in paths]

    def is_order(self, name: str) -> bool:
        """Whether a hyperparameter of this name is an order."""
        if isinstance(self.groups, str):
            start, _, position = name.rpartition("_")
            return start == self.name and position.isdecimal()
        return name in (self.expected() if self.groups is not None else {self.name})

    def expected(self) -> dict[str, tuple[str, ...]]:
        """Maps the order of each group to the patterns of its layers."""
        named = self.groups if isinstance(self.groups, dict) else {}
        return {f"{self.name}_{group}": patterns for group, patterns in named.items()}

    def _of_group(self, paths: Sequence[str]) -> str | None:
        groups = self.expected().items()
        return next((n for n, patterns in groups if matches(patterns, *paths)), None)


def _check_groups(groups: Any) -> dict[str, tuple[str, ...]] | str | None:
    if groups is None or groups == "layer":
        return groups  # type: ignore[no-any-return]
    if not isinstance(groups, Mapping):
        raise TypeError(
            "`groups` must be None, 'layer' or a mapping from names to patterns of layers. "
            f"Received: groups={groups!r} (of type {type(groups)})"
        )
    checked = {}
    for group, patterns in groups.items():
        several = [patterns] if isinstance(patterns, str) else check_several("groups", patterns)
        checked[check_type("groups", group, str)] = tuple(
            check_type("groups", pattern, str) for pattern in several
        )
    return checked
