"""Checks arguments; an error names the argument and tells what it must be and what it was."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

# Up to this width the moments are tested against 40-digit arithmetic.
MAX_WIDTH = 10**7


def check_real(name: str, value: object) -> float:
    """Returns `value` as a finite Python float; bools, strings and arrays are no numbers here."""
    # The exact type is tested first: the abstract Real costs a third of a cached call of `gain`.
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(
            f"`{name}` must be a real number. Received: {name}={value!r} (of type {type(value)})"
        )
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"`{name}` must be finite. Received: {name}={value}")
    return number


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """Returns `value` as a Python int in `[low, high]`; accepts NumPy integers, but no floats."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, Integral)):
        raise TypeError(
            f"`{name}` must be an integer. Received: {name}={value!r} (of type {type(value)})"
        )
    number = int(value)
    if not low <= number <= high:
        raise ValueError(
            f"`{name}` must satisfy {low} <= {name} <= {high}. Received: {name}={value}"
        )
    return number


def check_order(value: object, name: str = "s") -> float:
    """Returns the order of the moment to keep, in [0, 2]."""
    order = check_real(name, value)
    if not 0.0 <= order <= 2.0:
        raise ValueError(f"`{name}` must satisfy 0 <= {name} <= 2. Received: {name}={value}")
    return order


def check_width(width: object) -> int:
    """Returns the number of output units of a layer."""
    return check_integer("width", width, 1, MAX_WIDTH)


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Returns `value` if it is one of `choices`, spelled exactly so."""
    if not isinstance(value, str) or value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {options}. Received: {name}={value!r}")
    return value


def check_several(name: str, values: object) -> list[Any]:
    """Returns the items of a sequence that is not empty and no string."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(
            f"`{name}` must be a sequence. Received: {name}={values!r} (of type {type(values)})"
        )
    several = list(values)
    if not several:
        raise ValueError(f"`{name}` must not be empty. Received: {name}={values}")
    return several


def check_path(name: str, path: object) -> Path:
    """Returns a string or path object as a path."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"`{name}` must be a path. Received: {name}={path!r} (of type {type(path)})"
        )
    return Path(path)


def check_type(name: str, value: object, kind: type) -> Any:
    """Returns `value` if it is of this type."""
    if not isinstance(value, kind):
        raise TypeError(
            f"`{name}` must be a {kind.__name__}. "
            f"Received: {name}={value!r} (of type {type(value)})"
        )
    return value
