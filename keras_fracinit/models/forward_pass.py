"""Calls a model once and keeps statistics of the output of each layer.

An output `A` has the axes samples x positions x units. Kept are the scaled norms `r` at each
position (see `estimators`), and three statistics of whole samples, over all positions and units:
their size, which of them are zero, and the angles between them. A convolution brings the sizes of
neighbouring positions closer together, but except at its edges it keeps the mean square over all
positions; so the change of scale from layer to layer is read from whole samples.

Where the units of an output come in pairs (see `initializers.pairs`) the same statistics are also
kept of the differences of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from keras_fracinit.estimators import scaled_norms
from keras_fracinit.models.recorder import Recorder, call_model, wide
from keras_fracinit.utils.layer_calls import intercepting

# An output on the host, in float32, or in float64 where it has that type.
Signal = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class OutputStats(NamedTuple):
    """The statistics of one output.

    Attributes:
        norms: The scaled norms r, `(positions, samples)`.
        shape: The shape of the output.
        log_size: The mean, over the samples that are not zero, of the logarithm of their root mean
            square; nan if there are none.
        dead_units: The share of units that are zero at all positions of all samples.
        dead_inputs: The share of samples that are zero as a whole.
        cosine: The mean cosine between two different samples that are not zero; nan without two.
    """

    norms: npt.NDArray[np.float64]
    shape: tuple[int, ...]
    log_size: float
    dead_units: float
    dead_inputs: float
    cosine: float

    @property
    def nonfinite(self) -> int:
        """How many of the norms are nan or infinite."""
        return int(np.sum(~np.isfinite(self.norms)))


class Halves(NamedTuple):
    """Where the pairs of an output lie.

    Attributes:
        size: How many first units of pairs stand in a row, followed by their partners.
        axis: The axis of the pairs: 1 for channels first, else -1.
        factor: By which the differences are multiplied.
    """

    size: int
    axis: int
    factor: float


class Gradient(NamedTuple):
    """The size of a gradient at one layer: means over samples of logarithms of norms.

    Attributes:
        into: That of the input of a layer with a kernel, as far as it comes through this layer.
        behind: That of the output.
        alike: How alike the gradients of the output are, from 0 to 1: the mean squared cosine
            between any two of them, at all positions of all samples, a gradient with itself
            included.
    """

    into: float
    behind: float
    alike: float = 1.0


class Output(NamedTuple):
    """The output of one call of a layer.

    Attributes:
        layer: The layer; None for the input of the model.
        path: The path of the layer.
        depth: The number of layers with a kernel up to here.
        signal: The statistics of the output.
        parent: The index of the output that it was computed from: of several the latest; -1 where
            it was computed from inputs of the model that are no outputs here.
        difference: The statistics of the differences of its pairs; None if it has none.
        final: Whether the model returns it.
        linked: Whether the layer took the output of `parent` as it is; if not, operations stand
            between them, or inside the layer behind the layers in it.
        entry: The statistics of what the layer took where it is not linked; None if layers inside
            it computed its output.
        several: Whether the layer took several tensors.
        gradient: The sizes of a gradient that is sent back from the outputs of the model, if any.
    """

    layer: Any
    path: str
    depth: int
    signal: OutputStats
    parent: int
    difference: OutputStats | None = None
    final: bool = False
    linked: bool = True
    entry: OutputStats | None = None
    several: bool = False
    gradient: Gradient | None = None

    @property
    def kept(self) -> OutputStats:
        """The statistics of the signal that a network keeps: the differences where it has pairs."""
        return self.signal if self.difference is None else self.difference


# Where the pairs of a layer's output lie, given where those of its input did.
HalvesOf = Callable[[Any, Halves | None], Halves | None]


def observe(
    model: Any, x: Any, training: bool, halves_of: HalvesOf = lambda layer, before: None
) -> list[Output]:
    """Calls the model once and leaves its state, and that of its random layers, as they are.

    The outputs come in the order of the calls. The first is the input, if that is one signal.
    """
    found: list[tuple[Halves | None, OutputStats | None]] = []

    def reduce(tensor: Any) -> OutputStats:
        i = len(found)
        parent = max(recorder.sources[i], default=i - 1)
        halves = halves_of(recorder.layers[i], found[parent][0] if parent >= 0 else None)
        array = on_host(tensor)
        differences = None if halves is None else _differences(array, halves)
        if differences is None:
            found.append((None, None))
        else:
            found.append((halves, _statistics(differences)))
        return _statistics(array)

    recorder = Recorder(lambda quantity, *_: quantity == "activations", reduce, signal_of)
    tensors, outputs = keras.tree.map_structure(ops.convert_to_tensor, x), []
    is_signal = isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.ndim > 1
    recorder.know_inputs(tensors, is_signal)
    if is_signal:
        outputs.append(Output(None, "input", 0, signal_of(tensors), -1))
    with keras.StatelessScope(), _without_gradients(), intercepting(recorder):
        returned = call_model(model, tensors, training, "x")
    places = [recorder.place_of(tensor) for tensor in keras.tree.flatten(returned)]
    # What an operation returns, such as a sum, is taken to come from the call before it.
    ends = {len(recorder.rows) - 1 if place is None else place for place in places}
    before = len(outputs)
    for i, (_, path, depth) in enumerate(recorder.rows):
        parent = max(recorder.sources[i], default=i - 1) + before
        layer, signal, difference = recorder.layers[i], recorder.reduced[i], found[i][1]
        linked, count = bool(recorder.sources[i]) and parent >= 0, recorder.counts[i]
        link = (i in ends, linked, recorder.entries[i], count > 1)
        outputs.append(Output(layer, path, depth or 0, signal, parent, difference, *link))
    return outputs


def ways_to_ends(outputs: Sequence[Output]) -> list[list[Output]]:
    """The chains of outputs that lead to those of the model, each the parent of the next.

    What lies on the way to another output has no way of its own.
    """
    ways: list[list[Output]] = []
    passed: set[int] = set()
    for end in range(len(outputs) - 1, -1, -1):
        if outputs[end].final and end not in passed:
            places, i = [], end
            while i >= 0:
                places.append(i)
                i = outputs[i].parent
            passed.update(places)
            ways.append([outputs[i] for i in reversed(places)])
    return ways[::-1]


def signal_of(tensor: Any) -> OutputStats:
    """Reduces an output on the host: a backend would compile each step for each shape."""
    return _statistics(on_host(tensor))


def on_host(tensor: Any) -> Signal:
    """Converts a tensor to NumPy: in float64 if it has that type, else in float32."""
    return np.asarray(ops.convert_to_numpy(wide(tensor)))


def _differences(array: Signal, halves: Halves) -> Signal | None:
    """The differences of the pairs, with the units last; None if they lie in other places."""
    if array.ndim > 2:
        array = np.moveaxis(array, halves.axis, -1)
    elif halves.axis != -1 and array.shape[-1] != 2 * halves.size:
        return None  # flattened with the channels first
    if array.shape[-1] % (2 * halves.size):
        return None
    pairs = array.reshape(*array.shape[:-1], -1, 2, halves.size)
    differences = halves.factor * (pairs[..., 0, :] - pairs[..., 1, :])
    return differences.reshape(*array.shape[:-1], -1)


def _statistics(array: Signal) -> OutputStats:
    norms = np.asarray(scaled_norms(array, "norm", np), dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = np.sqrt(np.mean(norms * norms, axis=0))
        alive = sizes > 0.0
        units = np.abs(array).reshape(-1, array.shape[-1]).max(axis=0)
        cosine = _mean_cosine(array[alive])
    return OutputStats(
        norms=norms,
        shape=array.shape,
        log_size=float(np.mean(np.log(sizes[alive]))) if alive.any() else np.nan,
        dead_units=float(np.mean(units == 0.0)),
        dead_inputs=float(np.mean(sizes == 0.0)),
        cosine=cosine,
    )


def _mean_cosine(array: Signal) -> float:
    """Computes it from the squared sum of the unit vectors: each pair twice, plus `count`."""
    count = len(array)
    if count < 2:
        return np.nan
    # Divided by the largest entry first: the square of 1e20 is no float32, that of 1e-23 is zero.
    flat = array.reshape(count, -1)
    flat = flat / np.abs(flat).max(axis=1, keepdims=True)
    total = (flat / np.linalg.norm(flat, axis=1, keepdims=True)).sum(axis=0, dtype=np.float64)
    return float((np.dot(total, total) - count) / (count * (count - 1)))


@contextmanager
def _without_gradients() -> Iterator[None]:
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    # Random layers draw from torch's global generator, whose state must not change.
    with torch.no_grad(), torch.random.fork_rng():
        yield
