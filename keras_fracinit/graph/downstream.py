"""Walks the graph downstream of a kernel to the activation that acts on its output.

The activation may be inside the layer itself, or behind layers that pass the signal on. A kernel
whose output is normalized has no scale of its own; a normalization that is frozen multiplies by
constants, so the scale before it counts. Sums need a choice.

Let x be the residual stream and W h the output of the last kernel of a branch, with input h. Given
x and h, the sum `x + W h` is normal around x, with variance sigma^2 |h|^2 in every direction. Its
second moment is `|x|^2 + sigma^2 d |h|^2`: a branch that keeps its size doubles the second moment
of the stream, and for `d >= 2 - s` every s-moment grows with sigma, since |x|^s is subharmonic. So
no scale of the branch but 0 keeps the moment of the sum, and the share a branch should have is a
choice of the network's design, not a theorem. Kernels before a sum therefore keep the moment of
their own output, and the note says that it is added. (So does a kernel whose output is the stream
itself, from which branches start in other ways.)

Only if all k summands come straight from kernels is the sum, given the inputs, like the output of
one layer with `sum sigma_i^2 |h_i|^2` in the place of `sigma^2 |x|^2`: its law is that of the
activation behind the sum, and its second moment k times that of one summand. With an activation
right behind the sum, the kernels take its law, which is exact there and an approximation where one
of the summands is x.

A smooth activation needs pre-activations of unit root mean square (see `laws.smooth`). These are
the product of a kernel and its input, so the gain of the kernel follows from what its INPUT came
through (see `upstream`). If that is a smooth activation at its own operating point, with mean
square E q (q = phi^2), the gain is that of its law (1/E q at s = 2). If it is data, a homogeneous
layer, a normalization or a sum, the root mean square is taken as 1, and the gain is linear. In a
stack of equal layers that is `FracLinear` for the first kernel and `FracActivation` for the others.
The width in the gain is that of the kernel, as everywhere; for the s-moment this is exact where the
width before it is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from keras_fracinit.graph.call_graph import Call, Graph
from keras_fracinit.graph.kernel_table import KernelSite, sites_of
from keras_fracinit.graph.operations import (
    ATTENTION,
    Effect,
    action_of,
    joint,
    row_of,
    scaling_note,
)
from keras_fracinit.graph.upstream import Upstream, UpstreamFinder
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Dropout, Linear
from keras_fracinit.laws.smooth import point_mass_of

_DIFFERENT = "its output meets different activations"


NORMALIZED = "a normalization follows, so its scale does not matter"


class Downstream(NamedTuple):
    """What happens to the output of a kernel before the next kernel.

    Attributes:
        law: The law of the activation that acts on it; None if there is none.
        reason: Why there is no law.
        activation: The name of that activation.
        dropout: The rate of the dropout on the way to the next kernel.
        note: Anything else that happens on the way, in words.
        scaled: By what a frozen normalization multiplies it, in words.
        added: Whether it is added to something.
        upstream: What the input of the kernel came through, if the activation is smooth.
    """

    law: Law | None = None
    reason: str = ""
    activation: str = ""
    dropout: float = 0.0
    note: str = ""
    scaled: str = ""
    added: bool = False
    upstream: Upstream | None = None

    def output_law(self, training: bool) -> Law | None:
        """The law of the activation on the output; in training mode, with the dropout behind it."""
        return _in_mode(self.law, self.dropout, training)

    def scale_law(self, training: bool) -> Law | None:
        """The law that fixes the scale: before a smooth activation, that of the input."""
        if self.upstream is None:
            return self.output_law(training)
        return _in_mode(self.upstream.law, self.upstream.dropout, training)


class DownstreamFinder:
    """Finds what follows the kernels of a model."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self._upstreams = graph, UpstreamFinder(graph)
        self._calls: dict[int, list[Call]] = {}
        for call in graph.calls:
            self._calls.setdefault(id(call.op), []).append(call)
        self._behind = functools.cache(self._find_behind)
        for call in reversed(graph.calls):  # the last first: depth costs no recursion
            self._behind(call)

    def of(self, site: KernelSite) -> Downstream:
        """Finds what follows the output of a kernel, over all calls of its layer."""
        downstream = self._find(site)
        notes = dict.fromkeys(filter(None, (downstream.scaled, downstream.note)))
        downstream = downstream._replace(note="; ".join(notes))
        if point_mass_of(downstream.law) is None:
            return downstream
        if sites_of(site.layer)[0].spec is site.spec:
            upstream = self._upstreams.of(self._calls.get(id(site.layer), []))
        else:
            upstream = Upstream("the kernel before it in its layer")
        note = upstream.note(downstream.activation)
        return downstream._replace(
            upstream=upstream, note="; ".join(filter(None, (downstream.note, note)))
        )

    def _find(self, site: KernelSite) -> Downstream:
        if not site.spec.last:
            return Downstream(Linear(), activation="linear")
        own = _downstream_of(getattr(site.layer, "activation", None))
        calls = self._calls.get(id(site.layer), [])
        found = {downstream for call in calls for downstream in self._behind(call)}
        if own.law != Linear():
            return _within(own, found)
        if not calls:
            why = self.graph.error and f" ({self.graph.error})"
            return Downstream(reason=f"the model does not show what follows{why}")
        return _common(found)

    def _find_behind(self, call: Call) -> frozenset[Downstream]:
        return frozenset(self._downstreams(call))

    def _downstreams(self, call: Call) -> Iterator[Downstream]:
        for tensor in call.outputs:
            consumers = self.graph.consumers(tensor)
            if not consumers and id(tensor) in self.graph.outputs:
                yield Downstream(Linear(), activation="linear")
            elif not consumers and len(call.outputs) == 1:
                yield Downstream(reason="what follows is no layer of Keras")
            for consumer in consumers:
                yield from self._at(consumer)

    def _at(self, call: Call) -> Iterable[Downstream]:
        op, row = call.op, row_of(call.op)
        if row.effect is Effect.NORMALIZES:
            return [Downstream(reason=NORMALIZED)]
        if row.effect is Effect.MIXES:
            note = "attention mixes positions: kept at each of them" if row is ATTENTION else ""
            return [Downstream(Linear(), activation="linear", note=note)]
        if row.effect is Effect.SUMS:
            constant = Downstream(reason="a constant is added, which no scale keeps the moments of")
            return [self._summed(call) if len(call.inputs) > 1 else constant]
        behind = self._behind(call)
        if row.effect is Effect.DROPS:
            return [m._replace(dropout=joint(op.rate, m.dropout)) for m in behind]
        if row.effect is Effect.AVERAGES:
            note = f"{type(op).__name__} averages, which makes the signal smaller"
            return [m._replace(note=m.note or note) for m in behind]
        if row.effect is Effect.SCALES:
            note = scaling_note(op)
            return [m._replace(scaled="; ".join(filter(None, (note, m.scaled)))) for m in behind]
        if row.effect in (Effect.PASSES, Effect.PICKS):
            return behind
        return [_within(_downstream_of(op), behind)]

    def _summed(self, call: Call) -> Downstream:
        """Only an activation right behind a sum acts on the summands as on one layer."""
        note = f"added to {len(call.inputs) - 1} other(s): the moment of the sum is not kept"
        downstream = _common(self._behind(call))
        if downstream.reason in (NORMALIZED, _DIFFERENT):
            downstream = Downstream(Linear(), activation="linear")
        return downstream._replace(note=note, added=True)


def _common(found: Iterable[Downstream]) -> Downstream:
    """Merges all that follows an output; where one route is normalized, the others decide."""
    found = list(found)
    others = [downstream for downstream in found if downstream.reason != NORMALIZED] or found
    if not others:
        return Downstream(reason="what follows is no layer of Keras")
    if len({(downstream.law, downstream.reason) for downstream in others}) > 1:
        added = next((downstream for downstream in others if downstream.added), None)
        if added is None:
            return Downstream(reason=_DIFFERENT)
        return Downstream(Linear(), activation="linear", note=added.note, added=True)
    dropouts = {downstream.dropout for downstream in others}
    dropout = dropouts.pop() if len(dropouts) == 1 else 0.0
    note = next((downstream.note for downstream in others if downstream.note), "")
    scaled = next((downstream.scaled for downstream in others if downstream.scaled), "")
    return others[0]._replace(dropout=dropout, note=note, scaled=scaled)


def _within(own: Downstream, behind: Iterable[Downstream]) -> Downstream:
    """Adds what is behind an activation: a normalization takes the scale away through it."""
    if own.law is None:
        return own
    downstream = _common(behind)
    if downstream.reason == NORMALIZED:
        return downstream
    return own._replace(dropout=downstream.dropout, scaled=downstream.scaled)


def _downstream_of(activation: Any) -> Downstream:
    name, law, reason = action_of(activation)
    return Downstream(law, reason, name)


def _in_mode(law: Law | None, dropout: float, training: bool) -> Law | None:
    return Dropout(law, dropout) if law is not None and training and dropout else law
