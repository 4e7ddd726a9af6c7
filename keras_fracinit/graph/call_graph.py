"""Records the call graph of any Keras model by running it once on KerasTensors.

`keras.layers.Layer.__call__` is intercepted while the model runs on KerasTensors ("symbols").
Layers of Keras answer with the shape of their output. A container (a model, or a user's layer made
of layers) runs its own `call`, so that the graph is flat however the network is nested. Operations
such as `x + y` are recorded too. Nothing is computed, and the layers keep no trace of the run: the
nodes that Keras stores in a layer for each symbolic call are not made.

Where the `call` of a subclassed layer cannot run on symbols (it uses its backend by name), Keras
traces it, and the layers in it are recorded by the identity of the backend's tensors. Then only
layers are recorded, and what follows an output that none of them takes is unknown.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_fracinit.graph.kernel_table import has_kernel
from keras_fracinit.graph.operations import ATTENTION, listed_row
from keras_fracinit.utils.layer_calls import arguments_of, inputs_of_call, intercepting

layers, tree = keras.layers, keras.tree


MIXED = "attention_output"  # the name of the kernel behind attention


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation, equal to no other call."""

    op: Any
    inputs: list[Any]
    outputs: list[Any]


class Mixing:
    """Stands for the step of attention that combines queries, keys and values.

    It is no layer of Keras, but a graph needs a call between the projections and the kernel behind.
    """

    name = "attention"


class Graph:
    """The calls of a model, and which call consumes and which produces a tensor.

    Args:
        model: The model.
        x: What it is called with, if that is known: arrays, or a structure of them.

    Attributes:
        model: The model.
        calls: All calls, in the order in which they happened.
        layers: Each layer once, in that order; then those that were not called.
        hidden: For a layer inside one whose calls are not recorded, by its id: that outer layer.
        inputs: The ids of the tensors that the model takes.
        outputs: The ids of the tensors that it returns.
        returned: Each container that was called, and the tensors that the call returned, in order.
        error: Why the model could not be called to the end; empty if it could.
    """

    def __init__(self, model: Any, x: Any = None) -> None:
        self.model = model
        self._guesses: dict[int, int] = {}  # the places of arguments of unknown shapes, by ids
        self._shapes: dict[int, Any] = {}  # those that were found, by places
        self._forget()
        with intercepting(self._layer, self._operation), keras.StatelessScope():
            try:
                outputs = self._run(model, x)
            except Exception as error:  # whatever the `call` of a user may raise
                self.error, outputs = f"{type(error).__name__}: {error}", []
        self.outputs = {id(tensor) for tensor in tree.flatten(outputs)}
        for layer in model._flatten_layers():
            self._see(layer)
        for call in self.calls:
            for tensor in call.inputs:
                self._consumers.setdefault(id(tensor), []).append(call)
            for tensor in call.outputs:
                self._producers[id(tensor)] = call

    def _forget(self) -> None:
        self.calls: list[Call] = []
        self.layers: list[Any] = []
        self.hidden: dict[int, Any] = {}
        self.inputs: set[int] = set()
        self.outputs = set()
        self.returned: list[tuple[Any, list[Any]]] = []
        self._known: set[int] = set()
        self._consumers: dict[int, list[Call]] = {}
        self._producers: dict[int, Call] = {}
        self._tracing = False  # the backend runs a layer that does not run on symbols
        self.error = ""
        self._contradicted = False  # a layer was built for another shape than a guess leads to

    def consumers(self, tensor: Any) -> list[Call]:
        """The calls that take a tensor."""
        return self._consumers.get(id(tensor), [])

    def producer(self, tensor: Any) -> Call | None:
        """The call that returned a tensor; None for an input of the model, or if unknown."""
        return self._producers.get(id(tensor))

    # The model as a whole.

    def _run(self, model: Any, x: Any) -> Any:
        if isinstance(model, keras.Sequential) and not model.built:
            start = object()
            self.inputs = {id(start)}
            return self._chain(model, start)
        symbols = _symbols(model)
        if symbols is None:
            raise ValueError("it does not tell what it was built for")
        args, kwargs = symbols
        if len(args) > 1 and x is not None:
            args, kwargs = tree.map_structure(_symbol_of, arguments_of(model, x))
        elif len(args) > 1:
            return self._run_on_guesses(model, args)
        self.inputs = {id(tensor) for tensor in tree.flatten((args, kwargs))}
        return self._call(model, *args, **kwargs)

    def _run_on_guesses(self, model: Any, args: tuple[Any, ...]) -> Any:
        """Runs a model of several arguments, of whose shapes Keras keeps the first alone.

        The layers that take the others were built for their shapes.
        """
        while True:
            known = len(self._shapes)
            self._forget()
            args = tuple(
                keras.KerasTensor(self._shapes[place], arg.dtype) if place in self._shapes else arg
                for place, arg in enumerate(args)
            )
            self._guesses = {
                id(arg): i for i, arg in enumerate(args) if i not in (0, *self._shapes)
            }
            self.inputs = {id(tensor) for tensor in tree.flatten(args)}
            error: Exception | None = None
            try:
                outputs = self._call(model, *args)
            except Exception as raised:
                error = raised
            if len(self._shapes) > known:
                continue
            if error is None and not self._contradicted:
                return outputs
            self._forget()
            names = ", ".join(inputs_of_call(model)[1:])
            raise ValueError(
                "Keras keeps the shape of the first argument of `call` alone, and no layer tells "
                f"that of {names}; inputs in a list would be kept"
            ) from error

    def _compare(self, layer: Any, args: Any) -> None:
        """Compares the input of a layer with what it was built for, where a shape is a guess."""
        if not (self._guesses and args and keras.backend.is_keras_tensor(args[0])):
            return
        built = (layer.get_build_config() or {}).get("input_shape") if layer.built else None
        if not isinstance(built, tuple | list) or not all(
            n is None or type(n) is int for n in built
        ):
            return
        same = len(built) == len(args[0].shape) and all(
            a == b or None in (a, b) for a, b in zip(built[1:], args[0].shape[1:], strict=True)
        )
        place = self._guesses.get(id(args[0]))
        if place is not None:
            self._shapes[place] = tuple(built)
        elif not same:
            self._contradicted = True

    def _chain(self, model: Any, tensor: Any) -> Any:
        """Records a Sequential model that is not built yet: it has an order, but no shapes."""
        for layer in model.layers:
            if isinstance(layer, keras.Sequential) and not layer.built:
                tensor = self._chain(layer, tensor)
                continue
            before, after = object(), object()
            if isinstance(layer, keras.Model) and (symbols := _symbols(layer)):
                self._record(layers.Identity(), [tensor], tree.flatten(symbols))
                outputs = tree.flatten(self._call(layer, *symbols[0], **symbols[1]))
                self._record(layers.Identity(), outputs, [after])
            else:
                self._record(layers.Identity(), [tensor], [before])
                self._see(layer)
                self._record(layer, [before], [after])
            tensor = after
        return tensor

    # One call.

    def _layer(self, original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not _symbolic(args, kwargs):
            return self._traced(original, layer, args, kwargs)
        self._compare(layer, args)
        return self._call(layer, *args, **kwargs)

    def _operation(self, _: Callable[..., Any], operation: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = operation.compute_output_spec(*args, **kwargs)
        return self._answer(operation, args, kwargs, outputs)

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, layers.TimeDistributed):
            return self._every_step(layer, args[0])
        if is_container(layer):
            outputs = self._open(layer, args, kwargs)
            self.returned.append((layer, tree.flatten(outputs)))
            return outputs
        self._see(layer)
        outputs = layer.compute_output_spec(*args, **kwargs)
        if _has_projections(layer):
            self._attend(layer, _symbolic(args, kwargs), tree.flatten(outputs))
            return outputs
        return self._answer(layer, args, kwargs, outputs)

    def _answer(self, op: Any, args: Any, kwargs: Any, outputs: Any) -> Any:
        inputs = _symbolic(args, kwargs)
        taken = {id(tensor) for tensor in inputs}
        # A layer may return its own input, which as its output is another node of the graph.
        outputs = tree.map_structure(lambda t: _like(t) if id(t) in taken else t, outputs)
        self._record(op, inputs, tree.flatten(outputs))
        return outputs

    def _open(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """Runs the `call` of a container; the backend traces one that does not run on symbols."""
        calls, known = len(self.calls), (len(self.layers), set(self._known))
        parameter = inspect.signature(layer.call).parameters.get("training")
        if parameter is not None and parameter.default is inspect.Parameter.empty:
            kwargs.setdefault("training", False)
        try:
            outputs = layer.call(*args, **kwargs)
            if not any(keras.backend.is_keras_tensor(t) for t in tree.flatten(outputs)):
                raise TypeError("no symbol comes out")
            return outputs
        except Exception:
            # There is no end to what the `call` of a user may try with symbols.
            del self.calls[calls:], self.layers[known[0] :]
            self._known = known[1]
        self._tracing, outside = True, self._tracing
        try:
            outputs = layer.compute_output_spec(*args, **kwargs)
        finally:
            self._tracing = outside
        return self._answer(layer, args, kwargs, outputs)

    def _every_step(self, layer: Any, inputs: Any) -> Any:
        step = keras.KerasTensor((inputs.shape[0], *inputs.shape[2:]), inputs.dtype)
        self._record(layer, [inputs], [step])
        inner = tree.flatten(self._call(layer.layer, step))
        outputs = layer.compute_output_spec(inputs)
        self._record(layer, inner, tree.flatten(outputs))
        return outputs

    def _attend(self, layer: Any, inputs: list[Any], outputs: list[Any]) -> None:
        kernels = [child for child in _children(layer) if has_kernel(child)]
        mixed, projected = object(), []
        for kernel in kernels:
            self._see(kernel)
            if kernel.name != MIXED:
                projected.append(object())
                self._record(kernel, inputs, projected[-1:])
        self._record(Mixing(), projected, [mixed])
        for kernel in kernels:
            if kernel.name == MIXED:
                self._record(kernel, [mixed], outputs)

    # The records.

    def _record(self, op: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        # Tensors are told apart by their ids, so the list keeps them alive.
        self.calls.append(Call(op, list(inputs), list(outputs)))

    def _see(self, layer: Any) -> None:
        if id(layer) in self._known:
            return
        self._known.add(id(layer))
        self.layers.append(layer)
        if not is_container(layer) and not _has_projections(layer):
            for child in _children(layer):
                if id(child) not in self._known:
                    self.hidden[id(child)] = layer
                    self._see(child)

    def _traced(self, original: Callable[..., Any], layer: Any, args: Any, kwargs: Any) -> Any:
        """Records a call inside a layer that the backend traces."""
        if not self._tracing or is_container(layer):
            return original(layer, *args, **kwargs)
        self._see(layer)
        self._tracing = False  # the layers inside a layer of Keras are not recorded
        try:
            outputs = original(layer, *args, **kwargs)
        finally:
            self._tracing = True
        tensors = [t for t in tree.flatten((args, kwargs)) if keras.ops.is_tensor(t)]
        if _has_projections(layer):
            self._attend(layer, tensors, tree.flatten(outputs))
        elif all(output is not tensor for output in tree.flatten(outputs) for tensor in tensors):
            self._record(layer, tensors, tree.flatten(outputs))
        return outputs


def is_container(layer: Any) -> bool:
    """Whether a layer is a model, or a layer of the user's that is made of layers.

    So is SpectralNormalization, which divides the kernel of the layer in it and calls that.
    """
    if isinstance(layer, (keras.Model, layers.SpectralNormalization)):
        return True
    foreign = type(layer).__module__.partition(".")[0] != "keras"
    return foreign and not has_kernel(layer) and bool(_children(layer))


def _has_projections(layer: Any) -> bool:
    """Whether a layer of Keras is attention with kernels in it, which are recorded one by one."""
    return listed_row(type(layer)) is ATTENTION and any(map(has_kernel, _children(layer)))


def _children(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(include_self=False, recursive=False))


def _symbolic(args: Any, kwargs: Any) -> list[Any]:
    return [t for t in tree.flatten((args, kwargs)) if keras.backend.is_keras_tensor(t)]


def _like(tensor: Any) -> Any:
    return keras.KerasTensor(tensor.shape, tensor.dtype)


def _symbol_of(array: Any) -> Any:
    return keras.KerasTensor(array.shape, str(array.dtype))


def _symbols(model: Any) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Symbols of the inputs that the model was built for; None if it does not tell."""
    if getattr(model, "inputs", None):
        inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        return (tree.map_structure(_like, inputs),), {}
    config = model.get_build_config() or {}
    dtype = getattr(model, "input_dtype", None) or keras.config.floatx()

    def symbols(shapes: Any) -> Any:
        return tree.map_shape_structure(lambda shape: keras.KerasTensor(shape, dtype), shapes)

    if config.get("input_shape"):
        # Of a `call` of several arguments Keras keeps the first shape alone.
        count = max(len(inputs_of_call(model)), 1)
        return tuple(symbols(config["input_shape"]) for _ in range(count)), {}
    if config.get("shapes_dict"):
        named = config["shapes_dict"].items()
        return (), {name.removesuffix("_shape"): symbols(shapes) for name, shapes in named}
    return None
