"""Sends a random gradient back from the outputs of a model, and measures it at each layer.

A tap, a tensor of zeros, is added to the output of each layer and to the input of each layer with a
kernel; the gradient of the outputs with respect to the tap is that of the signal at this place. The
taps are added inside `layer.call`, so that Keras treats what leaves the layer as ever (masks).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_fracinit.models.forward_pass import Gradient, Signal, on_host
from keras_fracinit.models.recorder import Recorder, call_model
from keras_fracinit.utils.layer_calls import intercepting

_COMPARED = 64  # samples


Key = tuple[str, int]  # "into" or "behind", and the index of the record; -1 for the input
Tap = Callable[[Key, Any], Any]
Ends = list[Any]  # the outputs of the model
Pass = Callable[[Tap], Ends]
Gradients = dict[Key, Any]


class NotMeasuredError(Exception):
    """Says why no gradient comes back through a model."""


def send_back(model: Any, x: Any, training: bool) -> list[Gradient]:
    """Measures a random gradient at the input of the model, and at each record of `observe`.

    The gradient of each output is standard normal; sizes are relative to the norm of all of them.

    Raises:
        NotMeasuredError: If the model cannot be differentiated.
    """
    tensors, count = keras.tree.map_structure(ops.convert_to_tensor, x), 0

    def call(tap: Tap) -> Ends:
        nonlocal count
        recorder, inputs = _Tapped(tap), tensors
        if ops.is_tensor(tensors) and keras.backend.is_float_dtype(tensors.dtype):
            inputs = tap(("behind", -1), tensors)
        with keras.StatelessScope(), intercepting(recorder):
            returned = keras.tree.flatten(call_model(model, inputs, training, "x"))
        count = len(recorder.rows)
        return [ops.cast(t, "float32") for t in returned if keras.backend.is_float_dtype(t.dtype)]

    random, units = np.random.default_rng(0), 0

    def cotangent(end: Any) -> Any:
        nonlocal units
        units += int(np.prod(end.shape[1:]))
        return ops.convert_to_tensor(random.normal(size=tuple(end.shape)).astype("float32"))

    try:
        found = _BACKENDS[keras.backend.backend()](call, cotangent)
    except Exception as error:  # of an operation without a gradient, wherever it is
        cause = error.__cause__ or error
        text = str(cause).strip().partition("\n")[0]
        raise NotMeasuredError(f"{type(cause).__name__}: {text}") from error
    arrays = {key: on_host(gradient) for key, gradient in found.items()}
    sizes = {key: _size(array) - 0.5 * np.log(max(units, 1)) for key, array in arrays.items()}
    return [
        Gradient(
            sizes.get(("into", place), np.nan),
            sizes.get(("behind", place), np.nan),
            _alike(arrays["behind", place]) if ("behind", place) in arrays else 1.0,
        )
        for place in range(-1, count)
    ]


def _size(array: Signal) -> float:
    """The mean logarithm, over the samples where it is not zero, of the norm of a gradient."""
    with np.errstate(all="ignore"):
        norms = np.linalg.norm(array.reshape(len(array), -1).astype(np.float64), axis=1)
        norms = norms[norms > 0.0]
        return float(np.mean(np.log(norms))) if norms.size else np.nan


def _alike(array: Signal) -> float:
    """`tr S^2 / (tr S)^2`, S the second moment of the units of normalized samples."""
    samples = array[:_COMPARED].reshape(min(len(array), _COMPARED), -1, array.shape[-1])
    with np.errstate(all="ignore"):
        samples = samples / np.abs(samples).max(axis=(1, 2), keepdims=True)
        norms = np.linalg.norm(samples, axis=(1, 2), keepdims=True)
        rows = (samples / norms)[norms[:, 0, 0] > 0.0].reshape(-1, array.shape[-1])
        product = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
        alike = float(np.sum(np.square(product)) / np.trace(product) ** 2) if rows.size else 1.0
    return alike if np.isfinite(alike) else 1.0


class _Tapped(Recorder):
    """A recorder that adds a tap to each output that it records, and to what kernels take."""

    def __init__(self, tap: Tap) -> None:
        super().__init__(lambda quantity, *_: quantity == "activations", lambda tensor: None)
        self.tap = tap

    def _outputs_of(
        self, call: Callable[..., Any], layer: Any, path: str, args: Any, kwargs: Any
    ) -> Any:
        before, closed, original = self._count, self._closed, layer.call

        def tapped(*args: Any, **kwargs: Any) -> Any:
            place = len(self.rows)
            if closed and args:
                args = (self._tapped_input(args[0], layer, path, place), *args[1:])
            outputs = original(*args, **kwargs)
            places = itertools.count(len(self.rows))

            def behind(output: Any) -> Any:
                if self._is_new(layer, path, output, before):
                    return self.tap(("behind", next(places)), output)
                return output

            return keras.tree.map_structure(behind, outputs)

        with _replaced(layer, tapped):
            return call(layer, *args, **kwargs)

    def _tapped_input(self, inputs: Any, layer: Any, path: str, place: int) -> Any:
        first = True

        def into(tensor: Any) -> Any:
            nonlocal first
            if first and self._is_signal("activations", layer, path, tensor):
                first = False
                return self.tap(("into", place), tensor)
            return tensor

        return keras.tree.map_structure(into, inputs)


@contextmanager
def _replaced(layer: Any, call: Callable[..., Any]) -> Iterator[None]:
    """Replaces the `call` of one layer, past the attributes that Keras and torch keep track of."""
    own = vars(layer).get("call")
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        if own is None:
            object.__delattr__(layer, "call")
        else:
            object.__setattr__(layer, "call", own)


# Each calls the model with taps and gives the gradient with respect to each.
def _tensorflow(call: Pass, cotangent: Callable[[Any], Any]) -> Gradients:
    import tensorflow as tf

    taps: Gradients = {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def tap(key: Key, tensor: Any) -> Any:
            taps[key] = tf.zeros_like(tensor)
            tape.watch(taps[key])
            return tensor + taps[key]

        ends = call(tap)
    above = [cotangent(end) for end in ends]
    found = tape.gradient(ends, list(taps.values()), above, unconnected_gradients="zero")
    return dict(zip(taps, found, strict=True))


def _jax(call: Pass, cotangent: Callable[[Any], Any]) -> Gradients:
    import jax

    shapes: Gradients = {}

    def note(key: Key, tensor: Any) -> Any:
        shapes[key] = jax.ShapeDtypeStruct(tensor.shape, tensor.dtype)
        return tensor

    jax.eval_shape(lambda: call(note))
    taps = {key: jax.numpy.zeros(shape.shape, shape.dtype) for key, shape in shapes.items()}
    ends, pull = jax.vjp(lambda taps: call(lambda key, tensor: tensor + taps[key]), taps)
    (found,) = pull([cotangent(end) for end in ends])
    return dict(found)


def _torch(call: Pass, cotangent: Callable[[Any], Any]) -> Gradients:
    import torch

    taps: Gradients = {}

    def tap(key: Key, tensor: Any) -> Any:
        taps[key] = torch.zeros_like(tensor, requires_grad=True)
        return tensor + taps[key]

    # Random layers draw from torch's global generator, whose state must not change.
    with torch.enable_grad(), torch.random.fork_rng():
        ends = [end for end in call(tap) if end.requires_grad]
    above = [cotangent(end) for end in ends]
    found = torch.autograd.grad(
        ends, list(taps.values()), above, allow_unused=True, materialize_grads=True
    )
    return dict(zip(taps, found, strict=True))


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
