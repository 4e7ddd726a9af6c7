"""The kernels of a stack of Dense and Conv layers, and the activation that acts on each output.

A model is read as a graph of layers: of a functional model the graph that Keras keeps, of a
Sequential one the list, and a model inside a model is part of the graph around it. A subclassed
model shows its layers but not their order, so only activations inside a layer are seen there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_fracinit._fans import Fans, fans_of
from keras_fracinit.activations import law_of
from keras_fracinit.initializers import initializer_for
from keras_fracinit.laws import Law, Linear

layers, initializers = keras.layers, keras.initializers

_TUNABLE = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
# They pass a signal on, or, like dropout, keep its mean: what acts on the kernel stands behind.
_TRANSPARENT = (
    *(layers.InputLayer, layers.Identity, layers.Flatten, layers.Reshape, layers.Permute),
    *(layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
)
_NORMALIZATIONS = (
    *(layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization),
    *(layers.RMSNormalization, layers.UnitNormalization, layers.SpectralNormalization),
)
_INITIALIZERS = ("kernel_initializer", "depthwise_initializer", "embeddings_initializer")


def _scaling_stddev(initializer: Any, fans: Fans) -> float:
    if hasattr(initializer, "describe"):  # one of this package
        shape = (fans.fan_in, fans.width)
        return float(initializer.describe(shape).stddev)
    mean = (fans.fan_in + fans.fan_out) / 2.0
    fan = {"fan_in": fans.fan_in, "fan_out": fans.fan_out, "fan_avg": mean}[initializer.mode]
    return math.sqrt(initializer.scale / max(1.0, fan))


# How Keras' own initializers draw, and the standard deviation of one weight.
_DRAWS: dict[type, tuple[Callable[[Any], str], Callable[[Any, Fans], float]]] = {
    initializers.VarianceScaling: (lambda i: str(i.distribution), _scaling_stddev),
    initializers.RandomNormal: (lambda _: "untruncated_normal", lambda i, _: float(i.stddev)),
    # Cut off at two standard deviations.
    initializers.TruncatedNormal: (
        lambda _: "truncated_normal",
        lambda i, _: float(i.stddev) * 0.8796256610342398,
    ),
    initializers.RandomUniform: (
        lambda _: "uniform",
        lambda i, _: float(i.maxval - i.minval) / math.sqrt(12.0),
    ),
    initializers.Orthogonal: (
        lambda _: "orthogonal",
        lambda i, fans: float(i.gain) / math.sqrt(fans.longer),
    ),
}


@dataclass(frozen=True)
class Kernel:
    """The kernel of a layer, and what is known of it.

    Attributes:
        layer: The layer.
        law: The law of the activation that its output meets; None if it cannot be scaled.
        distribution: How its weights are drawn, as the user's initializer has it.
        reason: Why it cannot be scaled; empty if it can.
    """

    layer: Any
    law: Law | None = None
    distribution: str = ""
    reason: str = ""

    @property
    def path(self) -> str:
        """The name of the layer until it is built, its path from then on."""
        return str(self.layer.path or self.layer.name)

    def initializer(self, s: float, seed: int | None = None) -> Any:
        """What keeps the s-th moment through this layer, drawn as before."""
        return initializer_for(self.law, s, distribution=self.distribution, seed=seed)

    def stddevs(self) -> tuple[float, float]:
        """Of a weight under the user's initializer and at s = 2; nan before the layer is built."""
        if not self.layer.built or self.law is None:
            return math.nan, math.nan
        shape = tuple(self.layer.kernel.shape)
        initializer = self.layer.kernel_initializer
        _, stddev = _draw_of(initializer)
        return stddev(initializer, fans_of(shape)), self.initializer(2.0).describe(shape).stddev

    def initialize(self, s: float, seed: int) -> None:
        """Replaces the initializer of the layer and, if it is built, its weights."""
        initializer = self.initializer(s, seed)
        if self.layer.built:
            kernel = self.layer.kernel
            kernel.assign(initializer(kernel.shape, kernel.dtype))
        self.layer.kernel_initializer = initializer


def kernels_of(model: Any) -> list[Kernel]:
    """Every layer of the model that has a kernel, once each, in the order of the model."""
    graph = _Graph(model)
    return [_kernel(layer, graph) for layer in graph.layers if _initializer_of(layer) is not None]


def _initializer_of(layer: Any) -> Any:
    found = (getattr(layer, name, None) for name in _INITIALIZERS)
    return next((initializer for initializer in found if initializer is not None), None)


def _kernel(layer: Any, graph: _Graph) -> Kernel:
    kernel = Kernel(layer)
    if not isinstance(layer, _TUNABLE):
        return replace(kernel, reason=f"{type(layer).__name__} is not a Dense or Conv layer")
    if not layer.trainable:
        return replace(kernel, reason="frozen")
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return replace(kernel, reason="quantized or with LoRA weights")
    draw = _draw_of(layer.kernel_initializer)
    if draw is None:
        name = type(layer.kernel_initializer).__name__
        return replace(kernel, reason=f"its initializer {name} has no scale to tune")
    try:
        law = graph.law_after(layer)
    except ValueError as error:
        return replace(kernel, reason=str(error))
    return replace(kernel, law=law, distribution=draw[0](layer.kernel_initializer))


def _draw_of(initializer: Any) -> Any:
    rows = (row for kind, row in _DRAWS.items() if isinstance(initializer, kind))
    return next(rows, None)


class _Graph:
    """The layers of a model and which follow which."""

    def __init__(self, model: Any) -> None:
        self.layers: list[Any] = []
        self._followers: dict[int, list[Any]] = {}
        self._hidden: set[int] = set()  # layers whose followers cannot be seen
        self._add(model)

    def law_after(self, layer: Any) -> Law:
        """The law of what acts on the output of a layer; ValueError says why there is none."""
        law = _law(layer.activation)
        if law != Linear():
            return law
        laws = set(self._laws_behind(layer))
        if len(laws) > 1:
            raise ValueError("its output meets different activations")
        return laws.pop()

    def _laws_behind(self, layer: Any) -> Iterator[Law]:
        if id(layer) in self._hidden:
            raise ValueError("a subclassed model does not show what follows")
        followers = self._followers.get(id(layer), [])
        if not followers:
            yield Linear()
        for follower in followers:
            if isinstance(follower, _TRANSPARENT):
                yield from self._laws_behind(follower)
            elif isinstance(follower, _NORMALIZATIONS):
                raise ValueError("a normalization follows, so its scale does not matter")
            elif _initializer_of(follower) is not None:
                yield Linear()
            else:
                yield _law(follower)

    def _add(self, unit: Any) -> tuple[list[Any], list[Any]]:
        """Adds a layer, or the layers of a model; returns where a signal enters and leaves it."""
        if isinstance(unit, keras.Sequential):
            return self._add_chain(unit.layers)
        if isinstance(unit, keras.Model) and hasattr(unit, "operations"):
            return self._add_functional(unit)
        if isinstance(unit, keras.Model):
            for layer in unit.layers:
                self._hidden.update(id(last) for last in self._add(layer)[1])
            return [unit], [unit]
        if all(unit is not layer for layer in self.layers):
            self.layers.append(unit)
        return [unit], [unit]

    def _add_chain(self, units: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        ends = [self._add(unit) for unit in units]
        for (_, before), (after, _) in itertools.pairwise(ends):
            self._connect(before, after)
        return (ends[0][0], ends[-1][1]) if ends else ([], [])

    def _add_functional(self, model: Any) -> tuple[list[Any], list[Any]]:
        ends = {id(operation): self._add(operation) for operation in model.operations}
        for operation in model.operations:
            for node in operation._inbound_nodes:
                for parent in node.parent_nodes:
                    # A shared layer also has nodes in other models.
                    if id(parent.operation) in ends:
                        self._connect(ends[id(parent.operation)][1], ends[id(operation)][0])
        tensors = [keras.tree.flatten(side) for side in (model.inputs, model.outputs)]
        first, last = ([t._keras_history.operation for t in side] for side in tensors)
        return first, [layer for operation in last for layer in ends[id(operation)][1]]

    def _connect(self, before: list[Any], after: list[Any]) -> None:
        for layer in before:
            self._followers.setdefault(id(layer), []).extend(after)


def _law(activation: Any) -> Law:
    try:
        return law_of(activation)
    except ValueError:
        inner = getattr(activation, "activation", activation)
        name = getattr(inner, "__name__", type(inner).__name__)
        raise ValueError(f"{name} follows, which no scale keeps the moments of") from None
