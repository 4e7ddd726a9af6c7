"""What the input of a kernel came through: the graph of a model, walked against the signal.

The scale of a kernel before a smooth activation depends on that and not on the activation, see
`_stacks`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras

from keras_fracinit.graph.call_graph import Call, Graph, Mixing
from keras_fracinit.graph.kernel_table import has_kernel
from keras_fracinit.graph.operations import (
    DROPOUTS,
    NORMALIZATIONS,
    SUMS,
    action_of,
    averages,
    joint,
    passes,
)
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Linear
from keras_fracinit.laws.smooth import caveat_of, point_mass_of

layers = keras.layers


class Source(NamedTuple):
    """Where the input of a kernel comes from.

    Attributes:
        what: In words.
        law: That of the smooth activation it came through; linear if it came through none.
        dropout: The rate of the dropout on the way from there.
        settled: Whether the scale of a kernel there makes up for such a dropout.
    """

    what: str
    law: Law = Linear()
    dropout: float = 0.0
    settled: bool = False

    def note(self, activation: str) -> str:
        """What there is to say of a kernel before a smooth activation of this name."""
        if (law := point_mass_of(self.law)) is not None:
            return f"before {activation}, its input from {self.what}: {caveat_of(law.length_slope)}"
        return (
            f"its input ({self.what}) is taken to have the unit root mean square that {activation} "
            "is to meet: the linear gain hands it on"
        )


class Sources:
    """What the inputs of the calls of a model came through."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._cached = functools.cache(self._through)  # of the id of a call, which the graph keeps
        self._calls = {id(call): call for call in graph.calls}

    def of(self, calls: Iterable[Call]) -> Source:
        """The one source of all inputs of these calls; where they differ, a linear one."""
        found = {source for call in calls for source in self._inputs(call)}
        if len(found) < 2:
            return next(iter(found), Source("unknown"))
        what = ", ".join(sorted({source.what for source in found}))
        rates = {source.dropout for source in found}
        dropout = rates.pop() if len(rates) == 1 else 0.0
        if len(laws := {source.law for source in found}) > 1:
            return Source(f"of several kinds: {what}", dropout=dropout)
        return Source(what, laws.pop(), dropout)

    def _inputs(self, call: Call) -> Iterator[Source]:
        for tensor in call.inputs:
            producer = self.graph.producer(tensor)
            if producer is not None:
                yield from self._cached(id(producer))
            else:
                yield Source("data" if id(tensor) in self.graph.inputs else "unknown")

    def _through(self, identity: int) -> frozenset[Source]:
        call = self._calls[identity]
        op = call.op
        if isinstance(op, DROPOUTS):
            inputs = set(self._inputs(call))
            return frozenset(s if s.settled else _dropped(s, op.rate) for s in inputs)
        if passes(op) or averages(op):
            return frozenset(self._inputs(call))
        if (what := _fresh(op)) is not None:
            return frozenset({Source(what)})
        action = action_of(getattr(op, "activation", None) if has_kernel(op) else op)
        if action.law == Linear() and not has_kernel(op):
            return frozenset(self._inputs(call))
        if action.law is not None and point_mass_of(action.law) is not None:
            return frozenset({Source(action.name, action.law)})
        name = type(op).__name__ if action.name == "linear" else action.name
        return frozenset({Source(name, settled=action.law is not None)})


def _fresh(op: Any) -> str | None:
    """What makes a signal of another kind, in words; None if it is none of that."""
    if isinstance(op, NORMALIZATIONS):
        return "a normalization"
    if type(op).__name__ in SUMS:
        return "a sum"
    if isinstance(op, layers.RNN | layers.Bidirectional):
        return "a recurrent layer"
    return "attention" if isinstance(op, Mixing) else None


def _dropped(source: Source, rate: float) -> Source:
    return source._replace(dropout=joint(source.dropout, rate))
