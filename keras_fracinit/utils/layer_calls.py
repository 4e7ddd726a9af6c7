"""Intercepts the calls of Keras layers, so that a model shows its parts while it runs.

Every kind of model (nested, subclassed, quantized) calls its layers through
`keras.layers.Layer.__call__`, and on symbols its operations through
`keras.Operation.symbolic_call`. No public hook sees these calls, so the methods are replaced.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

# Takes the original method, the layer or operation, and the arguments of the call.
Handler = Callable[..., Any]


# The classes are shared by all threads, so one of them intercepts at a time. A thread may
# intercept within its own interception: the inner handler comes first.
_LOCK = threading.RLock()


@contextmanager
def intercepting(on_layer: Handler, on_operation: Handler | None = None) -> Iterator[None]:
    """Hands each call of a layer, or of an operation on symbols, in this thread to a handler."""
    with _LOCK, ExitStack() as replaced:
        replaced.enter_context(replacing(keras.layers.Layer, "__call__", on_layer))
        if on_operation is not None:
            replaced.enter_context(replacing(keras.Operation, "symbolic_call", on_operation))
        yield


@contextmanager
def replacing(kind: type, name: str, handler: Handler) -> Iterator[None]:
    """Hands each call of a method in this thread to a handler, with the original method first."""
    thread = threading.get_ident()
    original = getattr(kind, name)

    @functools.wraps(original)
    def method(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return original(operation, *args, **kwargs)
        return handler(original, operation, *args, **kwargs)

    setattr(kind, name, method)
    try:
        yield
    finally:
        setattr(kind, name, original)


def inputs_of_call(layer: Any) -> list[str]:
    """The arguments that the `call` of a layer must be given: of most layers one."""
    parameters = inspect.signature(layer.call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
    return [p.name for p in needed if p.name not in ("training", "mask")]


def arguments_of(layer: Any, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with which the `call` of a layer takes inputs.

    Several arguments are taken from a list, or by their names from a dictionary.
    """
    names = inputs_of_call(layer)
    if len(names) > 1 and isinstance(x, tuple | list) and len(x) == len(names):
        return tuple(x), {}
    if len(names) > 1 and isinstance(x, dict) and names == [*x]:
        return (), dict(x)
    return (x,), {}
