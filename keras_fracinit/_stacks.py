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
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from keras_fracinit._fans import fans_of
from keras_fracinit._graph import Call, Graph, Mixing
from keras_fracinit._kernels import Site, draw_of, has_kernel, sites_of
from keras_fracinit.activations import law_of
from keras_fracinit.initializers import initializer_for
from keras_fracinit.laws import Dropout, Law, LeakyReLU, Linear, ReLU

layers = keras.layers

# Layers and operations (which have no public classes) by the names of their classes.
_PASSING = {
    *("InputLayer", "Identity", "Flatten", "Reshape", "Permute", "RepeatVector", "TimeDistributed"),
    *("Transpose", "ExpandDims", "Squeeze", "Cast", "ConvertToTensor", "GetItem", "StopGradient"),
    *("Moveaxis", "Swapaxes", "Ravel", "Split", "Unstack", "Masking", "ActivityRegularization"),
    *("Concatenate", "Stack", "GaussianNoise", "GaussianDropout", "Pad", "BroadcastTo", "Negative"),
}
_PASSING_PREFIXES = ("MaxPool", "GlobalMaxPool", "ZeroPadding", "Cropping", "UpSampling")
AVERAGES = ("AveragePool", "GlobalAveragePool", "AdaptiveAverage", "Mean")
_SUMS = ("Add", "Subtract")
_DROPOUTS = (layers.Dropout,)  # and the spatial ones, which derive from it
NORMALIZATIONS = (
    *(layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization),
    *(layers.RMSNormalization, layers.UnitNormalization, layers.SpectralNormalization),
)
_OPERATIONS: dict[str, Callable[[Any], Law]] = {
    "Relu": lambda operation: ReLU(),
    "LeakyRelu": lambda operation: LeakyReLU(operation.negative_slope),
    "Absolute": lambda operation: LeakyReLU(-1.0),
}
_LARGE = 2**20  # values
_DIFFERENT = "its output meets different activations"
NORMALIZED = "a normalization follows, so its scale does not matter"


class Meeting(NamedTuple):
    """What the output of a kernel meets.

    Attributes:
        law: Of what acts on it; None if there is none.
        reason: Why there is none.
        activation: The name of what acts.
        dropout: The rate of the dropout on the way to the next kernel.
        note: What else happens on the way.
        added: Whether it is added to something.
    """

    law: Law | None = None
    reason: str = ""
    activation: str = ""
    dropout: float = 0.0
    note: str = ""
    added: bool = False


@dataclass(frozen=True)
class Kernel:
    """A kernel of a model, and what is known of it.

    Attributes:
        site: Where it is.
        meeting: What its output meets.
        distribution: How its weights are drawn, as the user's initializer has it; empty if that
            has no scale.
        kept: Why it cannot be scaled whatever its output meets; empty if it can.
        alone: Whether it is the only kernel of its layer.
    """

    site: Site
    meeting: Meeting
    distribution: str = ""
    kept: str = ""
    alone: bool = True

    @property
    def law(self) -> Law | None:
        """The law of the activation that its output meets; None if it cannot be scaled."""
        return None if self.reason else self.meeting.law

    @property
    def reason(self) -> str:
        """Why it cannot be scaled; empty if it can."""
        if self.kept or self.site.frozen:
            return self.kept or "frozen"
        if self.meeting.law is not None and not self.distribution:
            name = type(self.site.initializer).__name__
            return f"its initializer {name} has no scale to tune"
        return self.meeting.reason

    @property
    def path(self) -> str:
        """The name of the layer until it is built, its path from then on; of one kernel of several
        that of the variable."""
        layer = self.site.layer
        return str(layer.path or layer.name) if self.alone else self.site.path

    def initializer(self, s: float, seed: int | None = None) -> Any:
        """What keeps the s-th moment through this layer, drawn as before."""
        return initializer_of(self.site, self.law, s, self.distribution, seed)

    def stddevs(self) -> tuple[float, float]:
        """Of a weight under the user's initializer and at s = 2; nan before the layer is built."""
        if not self.site.layer.built or self.law is None:
            return math.nan, math.nan
        shape, initializer = self.site.shape, self.site.initializer
        # Keras has the axes of an EinsumDense; the other shapes it reads as those of dense kernels.
        axes = self.site.axes if isinstance(self.site.layer, layers.EinsumDense) else ()
        _, stddev = draw_of(initializer)
        after = self.initializer(2.0).describe(shape).stddev * math.sqrt(self.site.strides)
        return stddev(initializer, shape, fans_of(shape, *axes)), after

    def initialize(self, s: float, seed: int) -> None:
        """Replaces the initializer of the layer and, if it is built, its weights."""
        initializer = self.initializer(s, seed)
        if self.site.layer.built:
            self.site.variable.assign(drawn(self.site, initializer))
        if self.site.strides == 1:  # which an initializer cannot know
            setattr(self.site.layer, self.site.reader.initializer, initializer)


def initializer_of(site: Site, law: Any, s: float, distribution: str, seed: int | None) -> Any:
    """The initializer of a kernel, with its axes where the shape does not show them."""
    inputs, outputs = site.axes
    options = {"input_axes": inputs, "output_axes": outputs} if inputs is not None else {}
    return initializer_for(law, s, distribution=distribution, seed=seed, **options)


def drawn(site: Site, initializer: Any) -> Any:
    """New values of a kernel."""
    if keras.backend.backend() == "tensorflow" and math.prod(site.shape) >= _LARGE:
        import tensorflow as tf

        # Op by op each factor takes a copy, and a graph multiplies in place; but of a seed that is
        # a constant it draws twice, to see whether the kernel is small enough for a constant too.
        initializer = copy.copy(initializer)
        initializer.seed = keras.random.SeedGenerator(initializer.seed)
        draw = tf.function(lambda: _drawn(site, initializer), autograph=False)
        return draw.get_concrete_function()()
    return _drawn(site, initializer)


def _drawn(site: Site, initializer: Any) -> Any:
    values = initializer(site.shape, site.variable.dtype)
    return values if site.strides == 1 else values * math.sqrt(site.strides)


def kernels_of(model: Any) -> list[Kernel]:
    """Every kernel of the model, once each, in the order of the first calls of their layers."""
    graph, kernels, known = Graph(model), [], set()
    meetings = _Meetings(graph)
    for layer in graph.layers:
        hidden = graph.hidden.get(id(layer))
        sites = sites_of(layer, recurrent=isinstance(hidden, layers.RNN))
        for site in sites:
            # Layers may share a variable, and an embedding be a layer's output kernel too.
            if id(site.variable) in known and site.variable is not None:
                continue
            known.add(id(site.variable))
            kernels.append(_kernel(site, meetings, hidden, len(sites) == 1))
    return kernels


def _kernel(site: Site, meetings: _Meetings, hidden: Any, alone: bool) -> Kernel:
    layer, reason = site.layer, site.reader.reason
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        reason = "quantized or with LoRA weights"
    elif not layer.built and site.strides > 1:
        reason = "not built yet, and no initializer knows its strides"
    elif hidden is not None and not reason:
        reason = f"it belongs to a {type(hidden).__name__}, which is not looked into"
        if isinstance(hidden, layers.SpectralNormalization):
            reason = NORMALIZED
    draw = draw_of(site.initializer)
    distribution = draw[0](site.initializer) if draw else ""
    meeting = Meeting() if reason else meetings.of(site)
    return Kernel(site, meeting, distribution, reason, alone)


class _Meetings:
    """What the outputs of the layers of a model meet."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._calls: dict[int, list[Call]] = {}
        for call in graph.calls:
            self._calls.setdefault(id(call.unit), []).append(call)
        self._behind = functools.cache(self._find_behind)  # of the id of a call

    def of(self, site: Site) -> Meeting:
        """What the output of a kernel meets, in all calls of its layer."""
        if not site.reader.last:
            return Meeting(Linear(), activation="linear")
        own = _meeting_of(getattr(site.layer, "activation", None))
        calls = self._calls.get(id(site.layer), [])
        found = {meeting for call in calls for meeting in self._behind(_Key(call))}
        if own.law != Linear():
            return _within(own, found)
        if not calls:
            why = self.graph.error and f" ({self.graph.error})"
            return Meeting(reason=f"the model does not show what follows{why}")
        return _common(found)

    def _find_behind(self, key: _Key) -> frozenset[Meeting]:
        return frozenset(self._meetings(key.call))

    def _meetings(self, call: Call) -> Iterator[Meeting]:
        for tensor in call.outputs:
            consumers = self.graph.consumers(tensor)
            if not consumers and id(tensor) in self.graph.outputs:
                yield Meeting(Linear(), activation="linear")
            elif not consumers and len(call.outputs) == 1:
                yield Meeting(reason="what follows is no layer of Keras")
            for consumer in consumers:
                yield from self._at(consumer)

    def _at(self, call: Call) -> Iterable[Meeting]:
        unit, name = call.unit, type(call.unit).__name__
        if isinstance(unit, NORMALIZATIONS):
            return [Meeting(reason=NORMALIZED)]
        if isinstance(unit, Mixing):
            note = "attention mixes positions: kept at each of them"
            return [Meeting(Linear(), activation="linear", note=note)]
        if has_kernel(unit) or isinstance(unit, layers.RNN | layers.Bidirectional):
            return [Meeting(Linear(), activation="linear")]
        if name in _SUMS:
            constant = Meeting(reason="a constant is added, which no scale keeps the moments of")
            return [self._summed(call) if len(call.inputs) > 1 else constant]
        behind = self._behind(_Key(call))
        if isinstance(unit, _DROPOUTS):
            return [m._replace(dropout=_joint(unit.rate, m.dropout)) for m in behind]
        if name.startswith(AVERAGES):
            note = f"{name} averages, which makes the signal smaller"
            return [m._replace(note=m.note or note) for m in behind]
        if name in _PASSING or name.startswith(_PASSING_PREFIXES):
            return behind
        return [_within(_meeting_of(unit), behind)]

    def _summed(self, call: Call) -> Meeting:
        """Right behind a sum an activation acts on all summands; anything else is far away."""
        note = f"added to {len(call.inputs) - 1} other(s): the moment of the sum is not kept"
        meeting = _common(self._behind(_Key(call)))
        if meeting.reason in (NORMALIZED, _DIFFERENT):
            meeting = Meeting(Linear(), activation="linear")
        return meeting._replace(note=note, added=True)


class _Key:
    """A call, compared by identity."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.call is other.call

    def __hash__(self) -> int:
        return id(self.call)


def _common(found: Iterable[Meeting]) -> Meeting:
    """Of all that an output meets; where one route is normalized, the others decide."""
    found = list(found)
    others = [meeting for meeting in found if meeting.reason != NORMALIZED] or found
    if not others:
        return Meeting(reason="what follows is no layer of Keras")
    if len({(meeting.law, meeting.reason) for meeting in others}) > 1:
        added = next((meeting for meeting in others if meeting.added), None)
        if added is None:
            return Meeting(reason=_DIFFERENT)
        return Meeting(Linear(), activation="linear", note=added.note, added=True)
    dropouts = {meeting.dropout for meeting in others}
    dropout = dropouts.pop() if len(dropouts) == 1 else 0.0
    note = next((meeting.note for meeting in others if meeting.note), "")
    return others[0]._replace(dropout=dropout, note=note)


def _within(own: Meeting, behind: Iterable[Meeting]) -> Meeting:
    """An activation, and what is behind it: a normalization takes a scale away through it."""
    if own.law is None:
        return own
    meeting = _common(behind)
    if meeting.reason == NORMALIZED:
        return meeting
    return own._replace(dropout=meeting.dropout)


def _joint(first: float, second: float) -> float:
    return 1.0 - (1.0 - first) * (1.0 - second)


def _meeting_of(activation: Any) -> Meeting:
    inner = getattr(activation, "activation", activation)
    name = "linear" if inner is None else getattr(inner, "__name__", type(inner).__name__)
    try:
        find = _OPERATIONS.get(type(activation).__name__, law_of)
        return Meeting(find(activation), activation=name)
    except ValueError:
        reason = f"{name} follows, which no scale keeps the moments of"
        return Meeting(reason=reason, activation=name)


def with_dropout(meeting: Meeting) -> Law | None:
    """The law in training mode."""
    if meeting.law is None or not meeting.dropout:
        return meeting.law
    return Dropout(meeting.law, meeting.dropout)
