"""Records the outputs of layers while a model is called, however the model is built."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_fracinit.utils.layer_calls import arguments_of

# They run their inner layers in a loop of the backend, from which no tensor may escape, so their
# inner calls are not recorded. (What they do to a signal is in `graph.operations`.)
LOOPS = (keras.layers.RNN, keras.layers.Bidirectional, keras.layers.TimeDistributed)


class _Seen(NamedTuple):
    """An output that a layer returned, or the input of the model.

    Attributes:
        tensor: A weak reference: with a strong one, torch would keep all activations of a pass.
        number: The number of the output, from 1; 0 for the input of the model.
        record: The index of its record, -1 for the input of the model; None if none is wanted.
    """

    tensor: weakref.ref[Any]
    number: int
    record: int | None


class Recorder:
    """Records the outputs of layers; `utils.layer_calls.intercepting` hands it their calls.

    Args:
        wanted: Says whether a quantity ("activations", "preactivations") of a layer, which has
            this path, is wanted.
        reduce: Computes what is kept of an output, such as its norms.
        reduce_entry: The same for the input of a layer where no layer returned it.

    Attributes:
        rows: `(quantity, path, depth)` of each record, in the order of the calls.
        reduced: The result of `reduce` for each record.
        layers: The layer of each record.
        sources: For each record, the indices of the records whose outputs its layer took; empty if
            an operation stands between them, and if layers inside it computed the output.
        entries: For each record, what is kept of the input of its layer where an operation computed
            it; None if a layer returned it, or layers inside computed the output.
        counts: For each record, how many tensors its layer took.
        called: All layers that were called, and their paths.
        lost_shapes: Whether a signal that is wanted was left out because a compiler does not know
            its shape in advance.
    """

    def __init__(
        self,
        wanted: Callable[[str, Any, str], bool],
        reduce: Callable[[Any], Any],
        reduce_entry: Callable[[Any], Any] | None = None,
    ) -> None:
        self.wanted, self.reduce, self.reduce_entry = wanted, reduce, reduce_entry
        self.rows: list[tuple[str, str, int | None]] = []
        self.reduced: list[Any] = []
        self.layers: list[Any] = []
        self.sources: list[tuple[int, ...]] = []
        self.entries: list[Any] = []
        self.counts: list[int] = []
        self.called: list[tuple[Any, str]] = []
        self.lost_shapes = False
        self._outputs: dict[int, _Seen] = {}  # by the ids of the tensors
        self._inputs_are_recorded = True
        self._count = 0
        self._enclosing: list[str] = []
        self._closed = False  # inside a layer whose inner calls are not recorded
        self._depth = 0
        self._activation: tuple[Any, Callable[[Any], None]] | None = None

    def know_inputs(self, tensors: Any, are_recorded: bool) -> None:
        """Makes the inputs of the model sources, with the index -1.

        What a layer takes of them is kept as its entry, unless they have records elsewhere.
        """
        self._inputs_are_recorded = are_recorded
        for tensor in keras.tree.flatten(tensors):
            self._outputs[id(tensor)] = _Seen(weakref.ref(tensor), 0, -1)

    def place_of(self, tensor: Any) -> int | None:
        """The index of the record of an output; None if no layer returned it."""
        known = self._known(tensor)
        return None if known is None or known.record is None or known.record < 0 else known.record

    def __call__(self, call: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        if self._closed:
            if self._activation and layer is self._activation[0] and args:
                self._activation[1](args[0])
            return call(layer, *args, **kwargs)
        # Layers without variables may have no path.
        path = layer.path or "/".join([*self._enclosing[-1:], layer.name])
        self.called.append((layer, path))
        kernel = any(_is_kernel(layer, name) for name in ("kernel", "depthwise_kernel"))
        closed = kernel or isinstance(layer, LOOPS)
        self._depth += closed
        taken = keras.tree.flatten((args, kwargs))
        before, sources = self._count, self._sources_of(taken)
        self._enclosing.append(path)
        self._closed = closed
        try:
            watched = kernel and self.wanted("preactivations", layer, path)
            with self._watch(layer, path) if watched else nullcontext():
                outputs = self._outputs_of(call, layer, path, args, kwargs)
        finally:
            self._enclosing.pop()
            self._closed = False
        inside = self._count  # the calls of layers in this one
        for output in keras.tree.flatten(outputs):
            if self._is_new(layer, path, output, before):
                self._count += 1
                origin = (
                    ((), None) if inside > before else (sources, self._entry(layer, path, taken))
                )
                recorded = self._record("activations", layer, path, output, *origin)
                if recorded:
                    self.counts[-1] = sum(map(ops.is_tensor, taken))
                place = len(self.rows) - 1 if recorded else None
                self._outputs[id(output)] = _Seen(weakref.ref(output), self._count, place)
        return outputs

    def _outputs_of(
        self, call: Callable[..., Any], layer: Any, path: str, args: Any, kwargs: Any
    ) -> Any:
        return call(layer, *args, **kwargs)

    def _is_new(self, layer: Any, path: str, output: Any, before: int) -> bool:
        """Whether a layer made an output; if a layer inside it did, that is recorded already."""
        if not self._is_signal("activations", layer, path, output):
            return False
        known = self._known(output)
        return known is None or known.number <= before

    def _record(
        self,
        quantity: str,
        layer: Any,
        path: str,
        tensor: Any,
        sources: tuple[int, ...] = (),
        entry: Any = None,
    ) -> bool:
        if not self.wanted(quantity, layer, path):
            return False
        self.rows.append((quantity, path, self._depth))
        self.layers.append(layer)
        self.sources.append(sources)
        self.entries.append(entry)
        self.counts.append(1)
        self.reduced.append(self.reduce(tensor))
        return True

    def _is_signal(self, quantity: str, layer: Any, path: str, output: Any) -> bool:
        """Whether an output is an array of floating-point samples, of a shape known in advance."""
        if not (ops.is_tensor(output) and keras.backend.is_float_dtype(output.dtype)):
            return False
        shape = tuple(output.shape)
        if None in shape:
            self.lost_shapes |= self.wanted(quantity, layer, path)
        return len(shape) > 0 and None not in shape and 0 not in shape

    def _entry(self, layer: Any, path: str, taken: list[Any]) -> Any:
        """Reduces the first signal among the inputs of a layer, none of which a layer returned."""
        known = (output for output in map(self._known, taken) if output)
        recorded = any(self._inputs_are_recorded or output.record != -1 for output in known)
        if self.reduce_entry is None or recorded:
            return None
        first = next((t for t in taken if self._is_signal("activations", layer, path, t)), None)
        return None if first is None else self.reduce_entry(first)

    def _sources_of(self, taken: list[Any]) -> tuple[int, ...]:
        tensors = [tensor for tensor in taken if ops.is_tensor(tensor)]
        found = [output for output in map(self._known, tensors) if output]
        places = tuple(output.record for output in found if output.record is not None)
        # Of inputs without records nothing is known but that no other layer made them.
        partly = len(found) < len(tensors) and not self._inputs_are_recorded
        return () if partly and set(places) == {-1} else places

    def _known(self, tensor: Any) -> _Seen | None:
        output = self._outputs.get(id(tensor))
        # An id may be reused after its tensor has been freed.
        return output if output and output.tensor() is tensor else None

    @contextmanager
    def _watch(self, layer: Any, path: str) -> Iterator[None]:
        """Records the input of the activation inside a layer with a kernel."""
        activation = getattr(layer, "activation", None)
        if not callable(activation):
            yield
            return

        def record(inputs: Any) -> None:
            if self._is_signal("preactivations", layer, path, inputs):
                self._record("preactivations", layer, path, inputs)

        def watched(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            record(inputs)
            return activation(inputs, *args, **kwargs)

        if isinstance(activation, keras.layers.Layer):  # whose own call is intercepted
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


def wide(tensor: Any) -> Any:
    """Casts a tensor to float32, unless it is float64: the square of 300 overflows float16."""
    is_double = keras.backend.standardize_dtype(tensor.dtype) == "float64"
    return ops.cast(tensor, "float64" if is_double else "float32")


def call_model(model: Any, x: Any, training: bool, name: str = "probe") -> Any:
    """Calls a model; an error names the argument `name`, and both shapes."""
    args, kwargs = arguments_of(model, x)
    try:
        return model(*args, **kwargs, training=training)
    except Exception as error:
        shapes = keras.tree.map_structure(lambda array: tuple(array.shape), x)
        raise ValueError(
            f"`{name}` must fit the model, which takes {_inputs_of(model)}. "
            f"Received: {name} of shape {shapes}\n{error}"
        ) from error


def _inputs_of(model: Any) -> str:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return "what its `call` takes (of several inputs a list, with targets ([a, b], y))"
    return ", ".join(f"{tensor.name}: {tuple(tensor.shape)} {tensor.dtype}" for tensor in inputs)


def _is_kernel(layer: Any, name: str) -> bool:
    """Whether this attribute is a matrix or more; a user's layer may keep its kernel size there."""
    return len(getattr(getattr(layer, name, None), "shape", ())) > 1
