"""Residual branches in a plan: which of them start at zero, and which are isometric blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_fracinit.graph.branches import Branch, branches_of, gamma_of
from keras_fracinit.graph.call_graph import Call, Graph
from keras_fracinit.graph.kernel_table import KernelSite, has_kernel, sites_of
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.operations import Effect, effect_of
from keras_fracinit.graph.pairing import forms_of
from keras_fracinit.planning.isometry import Block, Unmet, block_in
from keras_fracinit.planning.options import Options

ZEROED = "the last kernel of a branch starts at zero"
_ELSEWHERE = "it is used where no branch ends, too"


@dataclass(frozen=True)
class Branches:
    """What a plan does to the branches of a model.

    Attributes:
        zeroed: The positions of the kernels that start at zero.
        scales: Normalizations that start at zero, with the position of the kernel before each.
        blocks: The isometric block of each kernel that opens or closes one.
        notes: What else the plan says about a kernel, by its position.
    """

    zeroed: frozenset[int] = frozenset()
    scales: Sequence[tuple[Any, int]] = ()
    blocks: Mapping[int, Block] = field(default_factory=dict)
    notes: Mapping[int, str] = field(default_factory=dict)

    def ends(self, kernels: Sequence[Kernel]) -> dict[int, str]:
        """The variables that end branches otherwise than others, as `forms_of` takes them."""
        variables = [kernels[i].site.variable for i in self.zeroed]
        variables += [gamma_of(op) for op, _ in self.scales]
        closing = [block.last.variable for block in self.blocks.values() if block.closes]
        return {id(v): "zero" for v in variables} | {id(v): "closes" for v in closing}


class Places:
    """The calls of a model, and the positions of their kernels."""

    def __init__(self, graph: Graph, kernels: Sequence[Kernel]) -> None:
        self.graph = graph
        self._positions = {id(kernel.site.variable): i for i, kernel in enumerate(kernels)}
        self._calls: dict[int, list[Call]] = {}
        for call in self.graph.calls:
            for variable in _variables(call.op):
                self._calls.setdefault(id(variable), []).append(call)

    def position(self, call: Call) -> int | None:
        """The position of the last kernel of the layer that is called; None if it has none."""
        return self._positions.get(id(sites_of(call.op)[-1].variable))

    def at(self, site: KernelSite) -> int:
        """The position of a kernel."""
        return self._positions[id(site.variable)]

    def calls_of(self, variable: Any) -> list[Call]:
        """The calls of all layers that hold a variable."""
        return self._calls.get(id(variable), [])


def zeroed_branches(
    graph: Graph, kernels: Sequence[Kernel], kept: Sequence[str], options: Options
) -> Branches:
    """The ends of branches that start at zero, and why others do not.

    Args:
        graph: The calls of the model.
        kernels: Its kernels, as `kernels_in` lists them.
        kept: For each of them why it stays as it is; empty if it can be drawn.
        options: The options of the plan.
    """
    places = Places(graph, kernels)
    branches = branches_of(graph)
    ends = {id(branch.end) for branch in branches if not branch.reason}
    zeroed, scales, notes = set[int](), dict[int, tuple[Any, int]](), dict[int, str]()
    for branch in branches:
        positions = [i for i in map(places.position, branch.kernels) if i is not None]
        reason = branch.reason or _kept(branch, positions, kept, options)
        if not reason and branch.end is not None:
            calls = places.calls_of(_variables(branch.end.op)[-1])
            reason = "" if all(id(call) in ends for call in calls) else _ELSEWHERE
        if reason or branch.end is None:
            notes.update((i, f"its branch does not start at zero: {reason}") for i in positions)
        elif has_kernel(branch.end.op):
            zeroed.add(positions[0])
        else:
            scales[id(branch.end.op)] = branch.end.op, max(positions)
    return Branches(frozenset(zeroed), tuple(scales.values()), notes=notes)


def isometric_branches(
    graph: Graph, kernels: Sequence[Kernel], kept: Sequence[str], options: Options
) -> Branches:
    """The isometric blocks of a mirrored model, and why other branches are none.

    The arguments are those of `zeroed_branches`. A block with a ReLU behind its sum lets pairs
    through where others do not, so the forms of all kernels are found again without those that
    turn out to be none.
    """
    places = Places(graph, kernels)
    found: dict[Branch, Block] = {}
    notes = dict[int, str]()

    def leave(branch: Branch, reason: object) -> None:
        found.pop(branch, None)
        positions = [i for i in map(places.position, branch.kernels) if i is not None]
        notes.update((i, f"no isometric block: {reason}") for i in positions)

    for branch in branches_of(graph):
        try:
            block = block_in(graph, branch, options)
            if any(len(places.calls_of(s.variable)) > 1 for s in (block.first, block.last)):
                raise Unmet("its kernels are used in several places")
            found[branch] = block
        except Unmet as reason:
            leave(branch, reason)
    while True:
        blocks = {places.at(s): b for b in found.values() for s in (b.first, b.last)}
        branches = Branches(blocks=blocks, notes=notes)
        forms, _ = forms_of(graph, kernels, kept, options.dropout, branches.ends(kernels))
        before = len(found)
        for branch, block in list(found.items()):
            try:
                block.check((forms[places.at(block.first)], forms[places.at(block.last)]))
            except Unmet as reason:
                leave(branch, reason)
        if len(found) == before:
            return branches


def _variables(op: Any) -> list[Any]:
    """The kernels of a layer, or the scale of a normalization: its output is 0 with the last."""
    if effect_of(op) is Effect.NORMALIZES:
        return [gamma_of(op)]
    return [site.variable for site in sites_of(op)] if isinstance(op, keras.layers.Layer) else []


def _kept(branch: Branch, positions: Sequence[int], kept: Sequence[str], options: Options) -> str:
    """Why the end of a branch stays as it is. A normalization goes with the kernels before it."""
    reason = next((kept[i] for i in positions if kept[i]), "")
    if reason or not positions:
        return reason or "no kernel of it is known"
    op = branch.end.op if branch.end is not None else None
    gamma = gamma_of(op) if op is not None else None
    if gamma is None or op is None or options.include_frozen:
        return ""
    return "" if op.trainable and gamma.trainable else "its normalization is frozen"
