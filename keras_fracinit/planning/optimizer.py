"""Resets the optimizer's state of variables that have new values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

_AVERAGE = "_average"  # the moving average of the variable itself


def reset_slots(model: Any, variables: Sequence[Any]) -> str:
    """Resets the slots (momenta and the like) that the optimizer of a model has for variables.

    The number of steps stays, and with it the learning rate. Slots get the values that they have in
    a new optimizer of the same configuration, which are not 0 everywhere (Adagrad's are 0.1); a
    moving average of the weights starts from the new weights.

    Args:
        model: The model.
        variables: The variables whose values are new.

    Returns:
        A sentence that says what was done.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return "the model is not compiled, so there is no optimizer to reset"
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if not optimizer.built:
        return "the optimizer has not begun, so there is nothing to reset"
    trained = {id(variable): variable for variable in model.trainable_variables}
    touched = [variable for variable in variables if id(variable) in trained]
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build(touched)
    starts = _slots(fresh, touched)
    slots = _slots(optimizer, list(trained.values()))
    count = 0
    for variable in touched:
        for slot, start in zip(slots[id(variable)], starts[id(variable)], strict=True):
            slot.assign(variable if slot.name.endswith(_AVERAGE) else start)
            count += 1
    return f"{count} variables of the optimizer start anew"


def _slots(optimizer: Any, variables: Sequence[Any]) -> dict[int, list[Any]]:
    """The slots of each variable, by its id.

    Keras names a slot after the path of its variable. Where several variables have the same path,
    their slots come in the order of the variables.
    """
    named: dict[str, list[Any]] = {}
    for variable in variables:
        named.setdefault(variable.path.replace("/", "_"), []).append(variable)
    slots: dict[int, list[Any]] = {id(variable): [] for variable in variables}
    seen: Counter[str] = Counter()
    for slot in optimizer.variables:
        owners = [name for name in named if slot.name.startswith(f"{name}_")]
        if owners:
            alike = named[max(owners, key=len)]
            slots[id(alike[seen[slot.name] % len(alike)])].append(slot)
            seen[slot.name] += 1
    return slots
