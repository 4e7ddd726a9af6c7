"""Lists the stations of a signal on its way through a model, and what happens to its size at each.

The outputs of layers are measured, and the inputs of layers where an operation computed them. What
stands between comes from the graph of the model: activations and operations that hand a signal on
are followed, and all others, such as a product with a gate or with a constant, end a walk. So does
whatever the graph does not show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras

from keras_fracinit.graph.call_graph import Graph, is_container
from keras_fracinit.graph.operations import Effect, action_of, effect_of, ends_signal, moves_size
from keras_fracinit.graph.passages import Passage, Passages
from keras_fracinit.laws.homogeneous import Linear
from keras_fracinit.models.forward_pass import Output
from keras_fracinit.models.recorder import LOOPS

# Their outputs are recorded, and not those of the layers in them.
HIDING = (*LOOPS, keras.layers.SpectralNormalization)


class Station(NamedTuple):
    """A place where the signal is measured.

    Attributes:
        output: The output of a layer, or what a layer took where no layer returned that.
        ends: Whether its size says nothing of the scale of the kernels before it.
        moves: Whether its size changes in a way that depends on the signal, as by pooling.
        acts: Whether an activation was applied.
        joins: Whether several signals come together.
    """

    output: Output
    ends: bool = False
    moves: bool = False
    acts: bool = False
    joins: bool = False

    @property
    def size(self) -> float:
        """The logarithm of the size of the signal, in nats."""
        return self.output.kept.log_size


class Tracing:
    """Finds what stands before outputs whose layers took no output of another layer.

    Attributes:
        outputs: The outputs, with the parents that the graph of the model shows.
    """

    def __init__(self, graph: Graph, outputs: Sequence[Output]) -> None:
        self.outputs = list(outputs)
        self._passages: dict[int, Passage | None] = {}  # by the ids of outputs
        self._entries: dict[int, Output] = {}
        if all(output.linked for output in outputs):
            return
        passages = Passages(graph)
        calls = Counter(id(_called(output.layer)) for output in outputs)
        numbers: Counter[int] = Counter()
        places: dict[Any, int] = {None: 0 if outputs[0].layer is None else -1}
        for i, output in enumerate(outputs):
            layer = _called(output.layer)
            key = id(layer)
            if not output.linked:
                passage = passages.before(layer, numbers[key], calls[key])
                sources = passage.sources if passage else ()
                parents = [places[source] for source in sources if source in places]
                self.outputs[i] = output._replace(parent=max(parents, default=output.parent))
                self._passages[id(self.outputs[i])] = passage
            places[key, numbers[key]] = i
            numbers[key] += 1

    def stations(self, way: Sequence[Output]) -> list[Station]:
        """The stations on a way, in order."""
        return list(self._stations(way))

    def _stations(self, way: Sequence[Output]) -> Iterator[Station]:
        for output in way:
            lost = False
            if not output.linked:
                passed = _through(self._passages[id(output)])
                if is_container(_called(output.layer)):
                    yield Station(output, *passed)
                    continue
                if output.entry is not None:
                    entry = output._replace(layer=None, signal=output.entry, difference=None)
                    # Ways that share it share one object, by which it is known.
                    yield Station(self._entries.setdefault(id(output), entry), *passed)
                lost = output.entry is None and passed[0]
            ends, moves, acts = _at(output.layer)
            yield Station(output, ends or lost, moves, acts, output.several)


def _called(layer: Any) -> Any:
    """The layer whose call the graph of the model shows."""
    while isinstance(layer, keras.layers.SpectralNormalization):
        layer = layer.layer
    return layer


def _through(passage: Passage | None) -> tuple[bool, bool, bool, bool]:
    """Whether a signal ends, moves, is acted on and meets others between the outputs of layers."""
    if passage is None:
        return True, False, False, False
    operations = passage.operations
    moves = any(moves_size(call.op) for call in operations)
    acts = any(_acts(call.op) for call in operations)
    joins = any(len(call.inputs) > 1 for call in operations)
    ends = joins or any(ends_signal(call.op) for call in operations)
    changes = any(effect_of(call.op) in (Effect.AVERAGES, Effect.PICKS) for call in operations)
    # How much of a change is that of the activation would not be known.
    return ends or (acts and changes), moves and not acts, acts, joins


def _at(layer: Any) -> tuple[bool, bool, bool]:
    """Whether a signal ends, moves and is acted on in a layer."""
    if layer is None:
        return False, False, False
    parts = [layer]
    while isinstance(parts[0], (keras.layers.TimeDistributed, keras.layers.SpectralNormalization)):
        parts = [parts[0].layer]
    if is_container(parts[0]):
        if not isinstance(parts[0], keras.Sequential):
            return True, False, False
        parts = [part for part in parts[0]._flatten_layers() if not is_container(part)]
    ends = any(map(ends_signal, parts))
    moves = any(map(moves_size, parts))
    if len(parts) > 1:
        return ends or moves, False, any(map(_acts, parts))
    return ends, moves, any(map(_acts, parts))


def _acts(op: Any) -> bool:
    return effect_of(op) is Effect.ACTS and action_of(op).law != Linear()
