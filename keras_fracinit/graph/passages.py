"""Finds the operations that stand between the outputs of layers, call by call.

Operations such as `x / 255.0` or `x * gate` are no layers. Where a network computes, they cannot be
seen; in the graph of its symbols they can. Both runs call the layers in the same order, so the k-th
call of a layer in one is its k-th call in the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from keras_fracinit.graph.call_graph import Call, Graph, is_container

Place = tuple[int, int]  # the id of a layer, and the number of its call


class Passage(NamedTuple):
    """What stands between an output and those of the layers before it.

    Attributes:
        operations: The calls of the operations.
        sources: The calls of the layers before them; None stands for an input of the model.
    """

    operations: list[Call]
    sources: list[Place | None]


class Passages:
    """Tells for each call of a layer which operations precede it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._taken: dict[int, list[list[Any]]] = {}  # by the id of a layer, for each call
        self._made: dict[int, Place] = {}  # by the id of a tensor
        self._given: dict[int, list[list[Any]]] = {}  # the same of a container, which returned them
        self._bounds: dict[int, Place] = {}
        halves: dict[int, int] = {}
        for call in graph.calls:
            layer = call.op
            if not isinstance(layer, keras.layers.Layer):
                continue
            if isinstance(layer, keras.layers.TimeDistributed):  # recorded before and behind
                half = halves[id(layer)] = halves.get(id(layer), -1) + 1
                if half % 2:
                    self._enter(self._made, layer, half // 2, call.outputs)
                    continue
            taken = self._taken.setdefault(id(layer), [])
            self._enter(self._made, layer, len(taken), call.outputs)
            taken.append(call.inputs)
        for container, tensors in graph.returned:
            given = self._given.setdefault(id(container), [])
            self._enter(self._bounds, container, len(given), tensors)
            given.append(tensors)

    @staticmethod
    def _enter(places: dict[int, Place], layer: Any, number: int, tensors: list[Any]) -> None:
        for tensor in tensors:
            places.setdefault(id(tensor), (id(layer), number))

    def before(self, layer: Any, number: int, calls: int) -> Passage | None:
        """What precedes the output of a container, or the input of any other layer.

        Args:
            layer: The layer.
            number: The number of its call, from 0.
            calls: How many calls of it the network made.

        Returns:
            The passage; None if the graph does not show it.
        """
        contains = id(layer) in self._given
        known = (self._given if contains else self._taken).get(id(layer), [])
        if len(known) != calls:
            return None
        ends = list(known[number])
        own = {id(tensor) for tensor in ends} if contains else set()
        operations: list[Call] = []
        sources: list[Place | None] = []
        seen: set[int] = set()
        while ends:
            tensor = ends.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            call = self.graph.producer(tensor)
            if call is None:
                if id(tensor) not in self.graph.inputs:
                    return None
                sources.append(None)
            elif not _is_layer(call.op) and (id(tensor) in own or id(tensor) not in self._bounds):
                operations.append(call)
                ends += call.inputs
            elif not _is_layer(call.op):
                sources.append(self._bounds[id(tensor)])
            elif is_container(call.op):
                return None  # it ran where nothing is recorded
            else:
                sources.append(self._made[id(tensor)])
        return Passage(operations, sources)


def _is_layer(op: Any) -> bool:
    return isinstance(op, keras.layers.Layer)
