"""Finds the residual sums of a model: which summand is the skip path, and what ends each branch.

A residual sum adds a branch to the signal that the branch starts from. Its summands have a common
ancestor, and the skip path is the summand with the fewest kernels between that ancestor and the
sum: none where the signal itself is added, one where a projection fits its shape. The others are
branches. A sum whose summands have nothing in common, such as that of two embeddings, has no skip
path, nor has one in which several summands have the same, smallest number of kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_fracinit.graph.call_graph import Call, Graph
from keras_fracinit.graph.kernel_table import has_kernel
from keras_fracinit.graph.operations import Effect, action_of, effect_of
from keras_fracinit.laws.homogeneous import Linear

# A signal of zeros stays one in them.
_HAND_ON = (Effect.PASSES, Effect.DROPS, Effect.AVERAGES, Effect.PICKS)


@dataclass(frozen=True, eq=False)
class Branch:
    """A summand that is no skip path.

    Attributes:
        skip: The summand that is the skip path; None if there are several, or none.
        tensor: The summand.
        sum: The call that adds it.
        end: The call of the kernel or normalization that ends it; None if something else does.
        kernels: The calls of the last kernels in it.
        reason: Why it cannot start at zero; empty if it can.
    """

    skip: Any
    tensor: Any
    sum: Call
    end: Call | None
    kernels: tuple[Call, ...]
    reason: str = ""


def branches_of(graph: Graph) -> list[Branch]:
    """All branches of all sums of a model."""
    finder = _Finder(graph)
    sums = [call for call in graph.calls if _is_sum(call)]
    inner = {id(call) for total in sums for call in finder.inner_sums(total)}
    return [b for call in sums if id(call) not in inner for b in finder.branches(call)]


def gamma_of(op: Any) -> Any:
    """The variable that scales the output of a normalization; None if it has none."""
    if effect_of(op) is not Effect.NORMALIZES:
        return None
    weights = getattr(op, "weights", ())
    return next((v for v in weights if v.name in ("gamma", "scale")), None)


def is_linear(op: Any) -> bool:
    """Whether the activation of a kernel, or an activation by itself, hands its input on."""
    return action_of(getattr(op, "activation", None) if has_kernel(op) else op).law == Linear()


class _Finder:
    """The ancestors of each tensor, as the bits of an integer: one bit for each call."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._ancestors: dict[int, int] = {}
        self._kernels, bit = 0, 1
        for call in graph.calls:
            above = 0
            for tensor in call.inputs:
                if id(tensor) not in self._ancestors:
                    self._ancestors[id(tensor)], bit = bit, bit << 1
                above |= self._ancestors[id(tensor)]
            self._kernels |= bit if has_kernel(call.op) else 0
            for tensor in call.outputs:
                self._ancestors[id(tensor)] = above | bit
            bit <<= 1

    def inner_sums(self, call: Call) -> Iterator[Call]:
        """The sums of which nothing but another sum takes the result: `(x + a) + b`."""
        for tensor in call.inputs:
            producer = self.graph.producer(tensor)
            if producer is not None and _is_sum(producer) and self._is_only_used_here(tensor):
                yield producer

    def branches(self, call: Call) -> list[Branch]:
        summands = list(self._summands(call))
        ancestors = [self._ancestors[id(tensor)] for tensor in summands]
        common = -1
        for above in ancestors:
            common &= above
        counts = [(above & ~common & self._kernels).bit_count() for above in ancestors]
        fewest = min(counts)
        skips = [t for t, count in zip(summands, counts, strict=True) if count == fewest]
        reason = ""
        if not common:
            reason = "the summands have no common source, so none is a skip path"
        elif len(skips) > 1 and fewest:
            reason = f"{len(skips)} summands have equally few kernels, so none is the skip path"
        found = []
        for tensor, count in zip(summands, counts, strict=True):
            if reason or count > fewest:
                end, why = self._end(tensor)
                kernels = (end,) if end and has_kernel(end.op) else self._last(tensor, common)
                skip = skips[0] if len(skips) == 1 else None
                found.append(Branch(skip, tensor, call, end, tuple(kernels), reason or why))
        return found

    def _summands(self, call: Call) -> Iterator[Any]:
        inner, waiting = set(self.inner_sums(call)), list(reversed(call.inputs))
        while waiting:
            tensor = waiting.pop()
            producer = self.graph.producer(tensor)
            if producer is not None and producer in inner:
                inner |= set(self.inner_sums(producer))
                waiting += reversed(producer.inputs)
            else:
                yield tensor

    def _is_only_used_here(self, tensor: Any) -> bool:
        return len(self.graph.consumers(tensor)) == 1 and id(tensor) not in self.graph.outputs

    def _end(self, tensor: Any) -> tuple[Call | None, str]:
        """The call that ends a branch, and why it cannot be set to zero."""
        while self._is_only_used_here(tensor):
            call = self.graph.producer(tensor)
            if call is None:
                return None, "nothing is known of its source"
            op, effect, name = call.op, effect_of(call.op), type(call.op).__name__
            if has_kernel(op):
                if is_linear(op):
                    return call, ""
                return call, f"{action_of(op.activation).name} stands between it and the sum"
            if effect is Effect.NORMALIZES:
                return call, "" if gamma_of(op) is not None else f"{name} without a scale ends it"
            hands_on = effect in _HAND_ON or (effect is Effect.ACTS and is_linear(op))
            if not hands_on or len(call.inputs) != 1 or len(call.outputs) != 1:
                return None, f"{name} stands between it and the sum"
            tensor = call.inputs[0]
        return None, "it does not only go to the sum"

    def _last(self, tensor: Any, common: int) -> Iterator[Call]:
        """The nearest kernels upstream of a tensor, as far as they belong to the branch."""
        above, known = [tensor], set()
        while above:
            tensor = above.pop()
            call = self.graph.producer(tensor)
            if call is None or id(call) in known or not self._ancestors[id(tensor)] & ~common:
                continue
            known.add(id(call))
            if has_kernel(call.op):
                yield call
            else:
                above += call.inputs


def _is_sum(call: Call) -> bool:
    return effect_of(call.op) is Effect.SUMS and len(call.inputs) > 1
