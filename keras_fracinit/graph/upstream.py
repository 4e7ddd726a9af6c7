"""Walks the graph upstream of a kernel to the last activation its input passed.

The gain of a kernel before a smooth activation depends on the activation its input passed, not on
the one it feeds: see `graph.downstream`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from keras_fracinit.graph.call_graph import Call, Graph
from keras_fracinit.graph.kernel_table import has_kernel
from keras_fracinit.graph.operations import Effect, action_of, joint, row_of
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Linear
from keras_fracinit.laws.smooth import caveat_of, point_mass_of


class Upstream(NamedTuple):
    """Where the input of a kernel comes from: the last activation, kernel, sum or normalization.

    Attributes:
        what: Its name, for notes.
        law: The law of the smooth activation that the input passed; linear if it passed none.
        dropout: The rate of the dropout between there and the kernel.
        dropout_compensated: Whether the scale of a kernel there makes up for such a dropout.
    """

    what: str
    law: Law = Linear()
    dropout: float = 0.0
    dropout_compensated: bool = False

    def note(self, activation: str) -> str:
        """The note on a kernel that feeds a smooth activation of this name."""
        if (law := point_mass_of(self.law)) is not None:
            return f"before {activation}, its input from {self.what}: {caveat_of(law.length_slope)}"
        return (
            f"its input ({self.what}) is taken to have the unit root mean square that {activation} "
            "is to meet: the linear gain hands it on"
        )


class UpstreamFinder:
    """Finds the upstream of the calls of a model."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._cached = functools.cache(self._through)
        for call in graph.calls:  # in their order: depth costs no recursion
            self._cached(call)

    def of(self, calls: Iterable[Call]) -> Upstream:
        """Merges the upstreams of all inputs of these calls; laws that differ make it linear."""
        found = {upstream for call in calls for upstream in self._inputs(call)}
        if len(found) < 2:
            return next(iter(found), Upstream("unknown"))
        what = ", ".join(sorted({upstream.what for upstream in found}))
        rates = {upstream.dropout for upstream in found}
        dropout = rates.pop() if len(rates) == 1 else 0.0
        if len(laws := {upstream.law for upstream in found}) > 1:
            return Upstream(f"of several kinds: {what}", dropout=dropout)
        return Upstream(what, laws.pop(), dropout)

    def _inputs(self, call: Call) -> Iterator[Upstream]:
        for tensor in call.inputs:
            producer = self.graph.producer(tensor)
            if producer is not None:
                yield from self._cached(producer)
            else:
                yield Upstream("data" if id(tensor) in self.graph.inputs else "unknown")

    def _through(self, call: Call) -> frozenset[Upstream]:
        op, row = call.op, row_of(call.op)
        if row.effect is Effect.DROPS:
            inputs = set(self._inputs(call))
            return frozenset(s if s.dropout_compensated else _dropped(s, op.rate) for s in inputs)
        if row.effect in (Effect.PASSES, Effect.PICKS, Effect.AVERAGES, Effect.SCALES):
            return frozenset(self._inputs(call))
        if row.source:
            return frozenset({Upstream(row.source)})
        action = action_of(getattr(op, "activation", None) if has_kernel(op) else op)
        if action.law == Linear() and not has_kernel(op):
            return frozenset(self._inputs(call))
        if action.law is not None and point_mass_of(action.law) is not None:
            return frozenset({Upstream(action.name, action.law)})
        name = type(op).__name__ if action.name == "linear" else action.name
        return frozenset({Upstream(name, dropout_compensated=action.law is not None)})


def _dropped(upstream: Upstream, rate: float) -> Upstream:
    return upstream._replace(dropout=joint(upstream.dropout, rate))
