"""Watching the calls of layers, the only place where every kind of model shows its outputs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import keras
from keras import ops

# They call their inner layers in a loop of the backend, from which no tensor may escape.
LOOPS = (keras.layers.RNN, keras.layers.Bidirectional, keras.layers.TimeDistributed)


class _Seen(NamedTuple):
    """An output: weak, or torch would keep all activations of a pass.

    Attributes:
        tensor: The output.
        number: Counts the outputs, from 1; 0 for the input of the model.
        record: The place of its record, -1 for the input of the model; None if it is not wanted.
    """

    tensor: weakref.ref[Any]
    number: int
    record: int | None


class Recorder:
    """Records what the layers put out while a model is called.

    Args:
        wanted: Whether a quantity ("activations", "preactivations") is wanted of a path.
        reduce: What is kept of each output, such as its norms.

    Attributes:
        rows: `(quantity, path, depth)` of each record, in the order of the calls.
        reduced: What is kept of each record.
        layers: The layer of each record.
        sources: Of each record, those whose outputs its layer was given, by their places; empty
            where an operation stands between them, and where layers inside have done the work.
        paths: Of all layers that were called.
    """

    def __init__(self, wanted: Callable[[str, str], bool], reduce: Callable[[Any], Any]) -> None:
        self.wanted, self.reduce = wanted, reduce
        self.rows: list[tuple[str, str, int | None]] = []
        self.reduced: list[Any] = []
        self.layers: list[Any] = []
        self.sources: list[tuple[int, ...]] = []
        self.paths: list[str] = []
        self._outputs: dict[int, _Seen] = {}  # of the calls so far, by their ids
        self._count = 0
        self._enclosing: list[str] = []
        self._closed = False  # inside a layer that is not looked into
        self._depth = 0
        self._activation: tuple[Any, Callable[[Any], None]] | None = None

    def know_input(self, tensor: Any) -> None:
        """Lets the input of the model be a source: the one before the first record."""
        self._outputs[id(tensor)] = _Seen(weakref.ref(tensor), 0, -1)

    def __call__(self, call: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        if self._closed:
            if self._activation and layer is self._activation[0] and args:
                self._activation[1](args[0])
            return call(layer, *args, **kwargs)
        # Layers without variables may have no path.
        path = layer.path or "/".join([*self._enclosing[-1:], layer.name])
        self.paths.append(path)
        kernel = any(_is_kernel(layer, name) for name in ("kernel", "depthwise_kernel"))
        closed = kernel or isinstance(layer, LOOPS)
        self._depth += closed
        before, sources = self._count, self._sources_of(args, kwargs)
        self._enclosing.append(path)
        self._closed = closed
        try:
            watched = kernel and self.wanted("preactivations", path)
            with self._watch(layer, path) if watched else nullcontext():
                outputs = call(layer, *args, **kwargs)
        finally:
            self._enclosing.pop()
            self._closed = False
        inside = self._count  # the calls of layers in this one
        for output in filter(_is_signal, keras.tree.flatten(outputs)):
            known = self._known(output)
            # What a layer inside has put out, and a container passes on, is recorded already.
            if known is None or not before < known.number <= inside:
                self._count += 1
                recorded = self._record(
                    "activations", layer, path, output, sources if inside == before else ()
                )
                place = len(self.rows) - 1 if recorded else None
                self._outputs[id(output)] = _Seen(weakref.ref(output), self._count, place)
        return outputs

    def _record(
        self, quantity: str, layer: Any, path: str, tensor: Any, sources: tuple[int, ...] = ()
    ) -> bool:
        if not self.wanted(quantity, path):
            return False
        self.rows.append((quantity, path, self._depth))
        self.layers.append(layer)
        self.sources.append(sources)
        self.reduced.append(self.reduce(tensor))
        return True

    def _sources_of(self, args: Any, kwargs: Any) -> tuple[int, ...]:
        found = map(self._known, keras.tree.flatten((args, kwargs)))
        return tuple(output.record for output in found if output and output.record is not None)

    def _known(self, tensor: Any) -> _Seen | None:
        output = self._outputs.get(id(tensor))
        # An id may belong to a tensor that has taken the place of another one.
        return output if output and output.tensor() is tensor else None

    @contextmanager
    def _watch(self, layer: Any, path: str) -> Iterator[None]:
        """Records what the activation of a kernel layer is given."""
        activation = getattr(layer, "activation", None)
        if not callable(activation):
            yield
            return

        def record(inputs: Any) -> None:
            if _is_signal(inputs):
                self._record("preactivations", layer, path, inputs)

        def watched(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            record(inputs)
            return activation(inputs, *args, **kwargs)

        if isinstance(activation, keras.layers.Layer):  # whose own call will be seen
            self._activation = (activation, record)
            try:
                yield
            finally:
                self._activation = None
            return
        layer.activation = watched
        try:
            yield
        finally:
            layer.activation = activation


def call_model(model: Any, x: Any, training: bool, name: str = "probe") -> Any:
    """The outputs, or an error that says what does not fit; `name` is that of the argument."""
    try:
        return model(x, training=training)
    except Exception as error:
        shapes = keras.tree.map_structure(lambda array: tuple(array.shape), x)
        raise ValueError(
            f"`{name}` must fit the model, which takes {_inputs_of(model)}. "
            f"Received: {name} of shape {shapes}\n{error}"
        ) from error


def _inputs_of(model: Any) -> str:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return "what its `call` takes"
    return ", ".join(f"{tensor.name}: {tuple(tensor.shape)} {tensor.dtype}" for tensor in inputs)


def _is_signal(output: Any) -> bool:
    """Whether an output is floating-point samples, as many as are known before the model runs."""
    if not (ops.is_tensor(output) and keras.backend.is_float_dtype(output.dtype)):
        return False
    shape = tuple(output.shape)
    return len(shape) > 0 and None not in shape and 0 not in shape


def _is_kernel(layer: Any, name: str) -> bool:
    """Whether this attribute is a matrix or more; it may also be somebody's kernel size."""
    return len(getattr(getattr(layer, name, None), "shape", ())) > 1
