"""The kernels of a model, and the activation that acts on the output of each.

An activation may stand behind layers that pass a signal on, and inside the layer itself. A kernel
whose output is normalized has no scale of its own. What is added up is another matter.

With x the stream and W h the last kernel of a branch, given x and h, `x + W h` is normal around x
with variance sigma^2 |h|^2 in every direction. Its second moment is `|x|^2 + sigma^2 d |h|^2`: a
branch that keeps its size doubles that of the stream, and for d >= 2 - s every s-moment grows with
sigma, since |x|^s is subharmonic. So no scale of the branch but 0 keeps the moment of the sum, and
which share a branch should have is a choice of the network's design, no theorem. Kernels before a
sum therefore keep the moment of their own output, and the note says that it is added. (So does a
kernel whose output is the stream, which the branches take in other ways.)

Only if all k summands come straight from kernels is the sum, given the inputs, as one layer with
`sum sigma_i^2 |h_i|^2` in the place of `sigma^2 |x|^2`: its law is that of the activation behind
the sum, and its second moment k times that of one. With an activation right behind the sum, the
kernels take its law, which is exact there and an approximation where one of the summands is x.

A smooth activation wants pre-activations of unit root mean square (see `smooth`). These are the
product of a kernel and its input, so the gain of a kernel before one is fixed by what its INPUT
came through: where that is a smooth activation at its own operating point, of mean square E q, by
the law of that one (1/E q at s = 2); else, for data, a homogeneous layer, a normalization or a sum,
whose root mean square is taken as 1, by the linear law. In a stack of equal layers that is
`FracLinear` for the first kernel and `FracActivation` for the others. The width in the gain is that
of the kernel, as everywhere; of the s-moment that is exact where it is also the width before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from keras_fracinit.graph.call_graph import Call, Graph
from keras_fracinit.graph.kernel_table import KernelSite, sites_of
from keras_fracinit.graph.operations import ATTENTION, Effect, action_of, joint, row_of
from keras_fracinit.graph.upstream import Upstream, UpstreamFinder
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Dropout, Linear
from keras_fracinit.laws.smooth import point_mass_of

_DIFFERENT = "its output meets different activations"


NORMALIZED = "a normalization follows, so its scale does not matter"


class Downstream(NamedTuple):
    """What the output of a kernel meets.

    Attributes:
        law: Of what acts on it; None if there is none.
        reason: Why there is none.
        activation: The name of what acts.
        dropout: The rate of the dropout on the way to the next kernel.
        note: What else happens on the way.
        added: Whether it is added to something.
        upstream: What its input came through, if the activation is smooth.
    """

    law: Law | None = None
    reason: str = ""
    activation: str = ""
    dropout: float = 0.0
    note: str = ""
    added: bool = False
    upstream: Upstream | None = None

    def output_law(self, training: bool) -> Law | None:
        """The law of what acts on the output, in training mode with the dropout behind it."""
        return _in_mode(self.law, self.dropout, training)

    def scale_law(self, training: bool) -> Law | None:
        """The law that the scale of the kernel is for: the same, but for a smooth activation."""
        if self.upstream is None:
            return self.output_law(training)
        return _in_mode(self.upstream.law, self.upstream.dropout, training)


class DownstreamFinder:
    """What the outputs of the layers of a model meet."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self._upstreams = graph, UpstreamFinder(graph)
        self._calls: dict[int, list[Call]] = {}
        for call in graph.calls:
            self._calls.setdefault(id(call.op), []).append(call)
        self._behind = functools.cache(self._find_behind)

    def of(self, site: KernelSite) -> Downstream:
        """What the output of a kernel meets, in all calls of its layer."""
        downstream = self._met(site)
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

    def _met(self, site: KernelSite) -> Downstream:
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
        if row.effect in (Effect.PASSES, Effect.PICKS):
            return behind
        return [_within(_downstream_of(op), behind)]

    def _summed(self, call: Call) -> Downstream:
        """Right behind a sum an activation acts on all summands; anything else is far away."""
        note = f"added to {len(call.inputs) - 1} other(s): the moment of the sum is not kept"
        downstream = _common(self._behind(call))
        if downstream.reason in (NORMALIZED, _DIFFERENT):
            downstream = Downstream(Linear(), activation="linear")
        return downstream._replace(note=note, added=True)


def _common(found: Iterable[Downstream]) -> Downstream:
    """Of all that an output meets; where one route is normalized, the others decide."""
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
    return others[0]._replace(dropout=dropout, note=note)


def _within(own: Downstream, behind: Iterable[Downstream]) -> Downstream:
    """An activation, and what is behind it: a normalization takes a scale away through it."""
    if own.law is None:
        return own
    downstream = _common(behind)
    if downstream.reason == NORMALIZED:
        return downstream
    return own._replace(dropout=downstream.dropout)


def _downstream_of(activation: Any) -> Downstream:
    name, law, reason = action_of(activation)
    return Downstream(law, reason, name)


def _in_mode(law: Law | None, dropout: float, training: bool) -> Law | None:
    return Dropout(law, dropout) if law is not None and training and dropout else law
