"""Builds models that Keras builds only when they are first called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_fracinit.models.recorder import call_model
from keras_fracinit.utils.layer_calls import replacing


def build_model(model: Any, x: Any) -> None:
    """Builds a model by calling it on the first sample, and undoes what the call assigns.

    So seeds, counters and statistics of its layers stay where they were, also those of variables
    that the call makes. A `StatelessScope` would do the same, but in it new variables are
    initialized later, so that initializers without a seed would draw in another order.
    """
    assigned: dict[int, tuple[Any, Any]] = {}

    def assign(original: Callable[..., Any], variable: Any, value: Any) -> Any:
        if id(variable) not in assigned:
            # On symbols, where a layer without `build` is run first, nothing is assigned for good.
            with suppress(Exception):
                value_before = np.array(ops.convert_to_numpy(variable.value))
                assigned[id(variable)] = (variable, value_before)
        return original(variable, value)

    try:
        with replacing(keras.Variable, "assign", assign):
            call_model(model, keras.tree.map_structure(lambda array: array[:1], x), False)
    finally:
        for variable, value in assigned.values():
            variable.assign(value)
