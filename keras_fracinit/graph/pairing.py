"""Finds which kernels of a model can be mirrored, and in which form.

The units of a mirrored network come in pairs, the first and the second half (p, q) of the channels
(see `initializers.pairs`). On its way from kernel to kernel a signal of pairs is in one of two
states:

- A, antisymmetric: q = -p. A kernel that makes pairs puts out such a signal.
- D: only the difference p - q is linear in the input. An activation with a linear odd part,
  `phi(u) - phi(-u) = c u`, turns A into D; on D any activation ends the pairs, but a ReLU that
  finds the output of another ReLU.

A residual branch that starts at zero leaves the signal that it is added to in its state.

The calls of the model are gone through in their order, and the state of every tensor follows. Each
kernel first tries to make pairs. Where a signal of pairs comes to something that ends them, such as
max pooling, the kernels that made it put out plain units instead, for that reason, and the walk is
repeated, until nothing ends any pairs. Every round takes pairs from at least one kernel, so the
rounds are at most as many as the kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_fracinit.graph.branches import gamma_of
from keras_fracinit.graph.call_graph import Call, Graph
from keras_fracinit.graph.kernel_table import KernelSite, sites_of, units_of
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.operations import Effect, action_of, effect_of
from keras_fracinit.graph.paired_signals import (
    RULES,
    ZERO,
    End,
    Signal,
    channel_axis,
    ended,
)
from keras_fracinit.initializers.pairs import Pairs, Runs
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Linear, ReLU
from keras_fracinit.laws.smooth import point_mass_of

layers = keras.layers


@dataclass(frozen=True)
class Form:
    """How one kernel takes part in a mirrored model.

    Attributes:
        pairs: Which of its axes are paired; None if none is.
        repeated: Whether the partners share their values and no sign is turned: a depthwise kernel
            that hands pairs on.
        law: The law of the activation behind a kernel that makes pairs.
        reason: Why it makes no pairs; empty if it does.
    """

    pairs: Pairs | None = None
    repeated: bool = False
    law: Law | None = None
    reason: str = ""

    @property
    def makes_pairs(self) -> bool:
        return self.pairs is not None and self.pairs.on_outputs

    @property
    def takes_pairs(self) -> bool:
        return self.pairs is not None and self.pairs.on_inputs


PLAIN = Form()


def forms_of(
    graph: Graph,
    kernels: Sequence[Kernel],
    kept: Sequence[str],
    training: bool = False,
    ends: Mapping[int, str] | None = None,
) -> tuple[list[Form], list[Any]]:
    """The form of each kernel in a mirrored model.

    Args:
        graph: The calls of the model.
        kernels: Its kernels, as `kernels_in` lists them.
        kept: For each of them why it stays as it is; empty if it can be drawn.
        training: Whether dropout acts.
        ends: What becomes of the ends of residual branches, by the ids of their kernels or scales:
            "zero", so that the branch adds nothing, or "closes" (see `Signal`).

    Returns:
        A form for each kernel; a kernel that stays as it is has none, for that reason. And the
        layers between the kernels whose parameters must treat both halves alike: normalizations
        and activations with slopes.
    """
    return _Finder(graph, kernels, kept, training, ends or {}).find()


@dataclass
class _Use:
    """What one pass through the calls finds of a kernel.

    Attributes:
        inputs: The runs of its inputs in each call; None for plain inputs.
        laws: The laws of the activations behind it.
    """

    inputs: set[Runs | None] = field(default_factory=set)
    laws: set[Law] = field(default_factory=set)


class _Finder:
    def __init__(
        self,
        graph: Graph,
        kernels: Sequence[Kernel],
        kept: Sequence[str],
        training: bool,
        ends: Mapping[int, str],
    ) -> None:
        self.graph, self.kernels, self.training = graph, kernels, training
        self.ends = ends
        self.places = {_key(kernel.site): i for i, kernel in enumerate(kernels)}
        # Why a kernel makes no pairs, and why it takes none.
        self.makes_none: dict[int, str] = {}
        self.takes_none: dict[int, str] = {}
        for i, (kernel, reason) in enumerate(zip(kernels, kept, strict=True)):
            if ends.get(id(kernel.site.variable)) == "zero":
                reason = "it starts at zero"
            if reason := reason or _unpaired_kind(kernel.site):
                self.makes_none[i] = self.takes_none[i] = reason
            elif kernel.site.spec.kind == "depthwise":
                self.makes_none[i] = "a depthwise kernel makes no pairs, it hands them on"
            elif (width := _width(kernel.site)) is None or width % 2:
                self.makes_none[i] = f"{width} units: an odd width has no pairs"
        self.uses: dict[int, _Use] = {}
        self._rules = {
            **RULES,
            Effect.SUMS: self.add,
            Effect.DROPS: self.drop,
            Effect.NORMALIZES: self.normalize,
            Effect.SCALES: self.normalize,
            Effect.ACTS: self.act,
        }
        self.between: list[Any] = []

    def find(self) -> tuple[list[Form], list[Any]]:
        while True:
            self.uses = {i: _Use() for i in range(len(self.kernels))}
            self.between = []
            if not self._pass():
                break
        forms = [self._form(i) for i in range(len(self.kernels))]
        return forms, list(dict.fromkeys(self.between))

    def _form(self, i: int) -> Form:
        use, reason = self.uses[i], self.makes_none.get(i, "")
        takes = bool(use.inputs) and None not in use.inputs
        makes = bool(use.inputs) and not reason
        if not (takes or makes):
            return Form(reason=reason or "the model does not show its calls")
        runs = next(iter(use.inputs)) if takes else None
        plain = runs is None or (len(runs) == 1 and runs[0][1] == 1)
        form = "both" if takes and makes else "inputs" if takes else "outputs"
        repeated = self.kernels[i].site.spec.kind == "depthwise"
        law = next(iter(use.laws)) if makes else None
        return Form(Pairs(form, None if plain else runs), repeated, law, reason)

    # One pass.

    def _pass(self) -> bool:
        """Goes through all calls; whether some kernel has to make plain units in the next pass."""
        states: dict[int, Signal | None] = {}
        changed = False
        for call in self.graph.calls:
            signals = [states.get(id(tensor)) for tensor in call.inputs]
            try:
                found = self._through(call, signals)
            except End as end:
                changed |= self._withdraw(end)
                found = None
            for tensor in call.outputs:
                states[id(tensor)] = found
        for tensor, signal in states.items():
            if tensor in self.graph.outputs and signal is not None:
                changed |= self._withdraw(End("its output is that of the model", [signal]))
        # A signal that has ended above hides what its kernels would have come to.
        return changed or self._withdraw_unused()

    def _withdraw(self, end: End) -> bool:
        new = [i for i in end.makers if i not in self.makes_none]
        self.makes_none.update((i, str(end)) for i in new)
        return bool(new)

    def _withdraw_unused(self) -> bool:
        """Kernels whose calls do not agree, or whose pairs meet different activations or none."""
        changed = False
        for i, use in self.uses.items():
            if len(use.inputs) > 1 and i not in self.takes_none:
                self.takes_none[i] = "its calls do not all have pairs of one kind as inputs"
                changed = True
            if use.inputs and i not in self.makes_none and len(use.laws) != 1:
                different = "its output meets different activations"
                self.makes_none[i] = different if use.laws else "no activation follows"
                changed = True
        return changed

    def _through(self, call: Call, signals: list[Signal | None]) -> Signal | None:
        op = call.op
        # The slopes of a PReLU are a matrix too, but no kernel.
        known = [] if effect_of(op) is Effect.ACTS else _sites_of(op)
        sites = [site for site in known if _key(site) in self.places]
        if sites:
            signal = signals[0] if signals else None
            for site in sites:
                signal = self._through_kernel(site, signal, call)
            own = getattr(op, "activation", None)
            return signal if own is None else self._activate(own, signal)
        if self.ends.get(id(gamma_of(op))) == "zero":
            return ZERO
        if ZERO in signals:
            return self._with_zeros(call, signals)
        if not any(signals):
            return None
        return self._rules.get(effect_of(op), ended)(call, signals)

    def _through_kernel(self, site: KernelSite, signal: Signal | None, call: Call) -> Signal | None:
        i, kind = self.places[_key(site)], site.spec.kind
        end = self.ends.get(id(site.variable))
        if end == "zero":
            return ZERO
        use, axis = self.uses[i], channel_axis(site.layer)
        use.inputs.add(signal.runs if signal is not None else None)
        if signal is not None:
            self._check_taken(i, site, signal, axis)
        if kind == "depthwise":
            if signal is None:
                return None
            multiplier = site.layer.depth_multiplier
            runs = tuple((size * multiplier, count) for size, count in signal.runs)
            return signal._replace(runs=runs, nonnegative=False)
        if i in self.makes_none:
            return None
        runs = (((_width(site) or 0) // 2, 1),)
        return Signal(True, axis, runs, frozenset({i}), closes=end == "closes")

    def _with_zeros(self, call: Call, signals: list[Signal | None]) -> Signal | None:
        """The end of a branch that is zero reaches a sum, through layers that hand zeros on."""
        others = [signal for signal in signals if signal != ZERO]
        if len(others) > 1:
            return self.add(call, others)
        if not others or others[0] is None:
            return None if others else ZERO
        added = type(call.op).__name__ == "Add"
        return others[0] if added else others[0]._replace(nonnegative=False)

    def _check_taken(self, i: int, site: KernelSite, signal: Signal, axis: int) -> None:
        name = site.layer.name
        if i in self.takes_none:
            raise End(f"{name} takes no pairs: {self.takes_none[i]}", [signal])
        if signal.antisymmetric and site.spec.kind != "depthwise":
            raise End("no activation follows, and a linear layer must not become pairs", [signal])
        covered = sum(2 * size * count for size, count in signal.runs)
        built = site.variable is not None
        if signal.axis != axis or (built and covered != site.shape[_input_axis(site)]):
            raise End(f"{name} sums over something else than the channels", [signal])

    # Rules for what stands between kernels.

    def _activate(self, activation: Any, signal: Signal | None) -> Signal | None:
        if signal is None:
            return None
        action = action_of(activation)
        if action.law == Linear() or (action.law == ReLU() and signal.nonnegative):
            return signal
        if not signal.antisymmetric:
            raise End(f"{action.name} acts where only the difference of a pair is linear", [signal])
        if action.law is None:
            raise End(action.reason, [signal])
        if action.law.pair is None:
            raise End(f"{action.name} has no linear odd part", [signal])
        if isinstance(activation, layers.PReLU):
            self.between.append(activation)
        for i in signal.makers:
            self.uses[i].laws.add(action.law)
        return signal._replace(antisymmetric=False, nonnegative=action.law == ReLU())

    def act(self, call: Call, signals: list[Signal | None]) -> Signal | None:
        return self._activate(call.op, signals[0])

    def drop(self, call: Call, signals: list[Signal | None]) -> Signal | None:
        (signal,) = signals
        if signal is None or not (self.training and call.op.rate):
            return signal
        if signal.antisymmetric:
            raise End("dropout before the activation ends the pairs in training mode", signals)
        if any(point_mass_of(law) for i in signal.makers for law in self.uses[i].laws):
            # The mask takes the even part out of balance, too.
            raise End("dropout behind a smooth activation ends the pairs in training mode", signals)
        return signal

    def add(self, call: Call, signals: list[Signal | None]) -> Signal | None:
        name = type(call.op).__name__
        if len(signals) < 2 or None in signals:
            raise End(f"{name} of pairs and of something without pairs", signals)
        found = [signal for signal in signals if signal is not None]
        if len({(s.axis, s.runs) for s in found}) > 1:
            raise End(f"{name} of pairs that lie in different places", signals)
        makers = frozenset[int]().union(*(s.makers for s in found))
        antisymmetric = all(s.antisymmetric for s in found)
        nonnegative = all(s.nonnegative for s in found) and name == "Add"
        if [s.closes for s in found].count(True) == 1 and len(found) == 2 and name == "Add":
            antisymmetric |= all(s.closes or s.nonnegative for s in found)
        return Signal(antisymmetric, found[0].axis, found[0].runs, makers, nonnegative)

    def normalize(self, call: Call, signals: list[Signal | None]) -> Signal | None:
        op, signal = call.op, signals[0]
        if signal is None:
            return None
        name = type(op).__name__
        if isinstance(op, layers.Wrapper):
            return ended(call, signals)
        if isinstance(op, layers.BatchNormalization) and not signal.antisymmetric:
            raise End(
                f"{name} behind an activation ends the pairs: before it, it would keep them",
                signals,
            )
        if isinstance(op, layers.GroupNormalization):
            groups = op.groups if op.groups > 0 else signal.runs[0][0] * 2
            if groups != 1 and (groups % 2 or not signal.antisymmetric):
                raise End(f"{name} of {groups} groups ends the pairs", signals)
        self.between.append(op)
        return signal._replace(nonnegative=False)


# Kernels.


def _sites_of(op: Any) -> list[KernelSite]:
    return sites_of(op) if isinstance(op, layers.Layer) else []


def _unpaired_kind(site: KernelSite) -> str:
    """Why a kernel of this kind neither takes nor makes pairs; empty if it may."""
    kind, layer = site.spec.kind, site.layer
    if kind == "convolution" and layer.groups > 1:
        return "a grouped convolution ends the pairs"
    if kind in ("embedding", "recurrent", "unknown"):
        return site.spec.reason
    if kind == "einsum":
        inputs, outputs = site.axes
        if inputs is None or outputs is None or len(inputs) != 1 or len(outputs) != 1:
            return "the kernel of an EinsumDense with several input or output axes has no pairs"
    return ""


def _key(site: KernelSite) -> Any:
    """Tells kernels apart: by their variables or, before the layer is built, by their names."""
    variable = site.variable
    return (id(site.layer), site.spec.attribute) if variable is None else id(variable)


def _width(site: KernelSite) -> int | None:
    """The output channels of a kernel, of a layer that may not be built yet."""
    if site.variable is not None:
        return site.width
    return units_of(site.layer)


def _input_axis(site: KernelSite) -> int:
    if site.spec.kind == "depthwise":
        return len(site.shape) - 2
    inputs, _ = site.axes
    return inputs[-1] if inputs else len(site.shape) - 2
