"""Resets the optimizer's state of variables that have new values.

An optimizer keeps the state of its i-th variable at the i-th place of lists, or in dictionaries
under the variable, and every optimizer gives its lists and their variables names of its own. So the
state is found by its place, and its first values are those at the same place of a new optimizer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

# Attribute of the moving average of the variables themselves, which starts from them.
_AVERAGE = "_model_variables_moving_average"


def reset_slots(model: Any, variables: Sequence[Any]) -> str:
    """Resets the slots (momenta and the like) that the optimizers of a model have for variables.

    The number of steps stays, and with it the learning rate. Slots get the values that they have in
    a new optimizer of the same configuration, which are not 0 everywhere (Adagrad's are 0.1); a
    moving average of the weights starts from the new weights. Besides `model.optimizer` these are
    the optimizers that the model, or one in it, holds as other attributes.

    Args:
        model: The model.
        variables: The variables whose values are new.

    Returns:
        A sentence that says what was done, and which state stays as it is.
    """
    optimizers = list(dict.fromkeys(_optimizers_of(model)))
    if not optimizers:
        return "the model is not compiled, so there is no optimizer to reset"
    if not any(optimizer.built for optimizer in optimizers):
        return "the optimizer has not begun, so there is nothing to reset"
    count, kept = 0, []
    for optimizer in optimizers:
        known = {id(variable) for variable in getattr(optimizer, "_trainable_variables", ())}
        touched = [variable for variable in variables if id(variable) in known]
        slots = _Slots(optimizer)
        try:
            starts = _starts(optimizer, touched) if touched else []
        except ValueError as error:
            kept.append(str(error))
            continue
        tracked = {id(slot) for slot in optimizer.variables}
        for variable, start in zip(touched, starts, strict=True):
            for (name, slot), (_, value) in zip(slots.of(variable), start, strict=True):
                slot.assign(variable if name == _AVERAGE else value)
                count += id(slot) in tracked
        if unknown := slots.unknown():
            name = _name(optimizer)
            kept.append(f"arrays of {name} that belong to no known variable stay: {unknown}")
    return "; ".join([f"{count} variables of the optimizer start anew", *kept])


def _name(optimizer: Any) -> str:
    return type(optimizer).__name__


def _optimizers_of(model: Any) -> Iterator[Any]:
    """The optimizers of a model and of those in it, without those that only wrap others."""
    parts = [part for part in model._flatten_layers() if isinstance(part, keras.Model)]
    waiting = [value for part in parts for value in vars(part).values()]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, keras.optimizers.LossScaleOptimizer):
            waiting.append(value.inner_optimizer)
        elif isinstance(value, keras.optimizers.MultiOptimizer):
            waiting += value.optimizers
        elif isinstance(value, keras.optimizers.Optimizer):
            yield value


class _Slots:
    """The variables that an optimizer holds for each of the variables that it trains."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.trained = list(getattr(optimizer, "_trainable_variables", ()))
        self._places = {id(variable): i for i, variable in enumerate(self.trained)}
        # Lists of all variables, and of those that are trained, hold no slots of any one of them.
        others = {*self._places, id(optimizer.iterations)}
        self._held = {
            name: value
            for name, value in vars(optimizer).items()
            if _is_nested(value) and not others & {id(leaf) for leaf in _leaves(value)}
        }

    def of(self, variable: Any) -> list[tuple[str, Any]]:
        """The slots of a variable, with the names of the attributes that hold them."""
        found = {
            id(slot): (name, slot)
            for name, value in self._held.items()
            for slot in self._at(value, variable)
        }
        return list(found.values())

    def _at(self, value: Any, variable: Any) -> Iterator[Any]:
        """What a list or dictionary, or those in it, hold for a variable."""
        parts: list[Any] = []
        if isinstance(value, Mapping):
            keys = [key for key in (self._key(variable), variable.path) if key in value]
            parts = [value[key] for key in keys]
            inner = [] if keys else value.values()
        elif len(value) == len(self.trained):
            parts, inner = [value[self._places[id(variable)]]], []
        else:
            inner = value
        for part in parts:
            yield from (slot for slot in _leaves(part) if isinstance(slot, keras.Variable))
        for item in inner:
            if _is_nested(item):
                yield from self._at(item, variable)

    def _key(self, variable: Any) -> Any:
        """The key that `Optimizer` gives a variable, which a backend may choose."""
        return self.optimizer._var_key(variable)

    def unknown(self) -> int:
        """How many arrays of the optimizer belong to none of its variables."""
        known = {id(slot) for variable in self.trained for _, slot in self.of(variable)}
        return sum(len(v.shape) > 0 and id(v) not in known for v in self.optimizer.variables)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Sequence | Mapping) and not isinstance(value, str | bytes)


def _leaves(value: Any) -> Iterator[Any]:
    """What lists and dictionaries hold; TensorFlow's own kinds of them are no trees to Keras."""
    if not _is_nested(value):
        yield value
        return
    for item in value.values() if isinstance(value, Mapping) else value:
        yield from _leaves(item)


def _starts(optimizer: Any, variables: Sequence[Any]) -> list[list[tuple[str, Any]]]:
    """The slots of each variable in a new optimizer of the same kind and configuration.

    Raises:
        ValueError: If there is none whose slots are like those of the optimizer.
    """
    expected = [_shapes(slots) for slots in map(_Slots(optimizer).of, variables)]
    for fresh in _anew(optimizer, variables):
        found = list(map(_Slots(fresh).of, variables))
        if [_shapes(slots) for slots in found] == expected:
            return found
    raise ValueError(f"{_name(optimizer)} keeps its state: no new one can be made of it")


def _shapes(slots: Sequence[tuple[str, Any]]) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(slot.shape)) for name, slot in slots]


def _anew(optimizer: Any, variables: Sequence[Any]) -> Iterator[Any]:
    """New optimizers for variables: of the same class, or of one that it derives from.

    The configuration is what the optimizer says or, where it says too little or has a learning rate
    that cannot be saved, its attributes with the names of the arguments.
    """
    kinds: list[Any] = [k for k in type(optimizer).__mro__ if issubclass(k, keras.Optimizer)]
    for kind in kinds:
        arguments = inspect.signature(kind.__init__).parameters
        held = {name: value for name, value in vars(optimizer).items() if name in arguments}
        for said in (True, False):
            try:
                fresh = kind.from_config(optimizer.get_config()) if said else kind(**held)
                fresh.build(list(variables))
            except Exception:  # whatever the class of a user may raise
                continue
            yield fresh
