"""Computes how far the size of a signal may stray in one draw of a network: a random walk.

Through a layer of width d the logarithm of the size of a signal takes a step of mean mu and
variance nu^2 (see `propagation`), independent of the other layers. One network is one draw of this
walk, which is almost the same for all inputs. After k layers that keep the moment of some order
between 0 and 2 it lies between `k mu_2 - c nu sqrt(k)` and `c nu sqrt(k)`, 98 times in 100 for all
k at once, with the c of `chance`: mu_2 is the mean at order 2, and the mean at order 0 is 0. This
is the band of one draw.

A smooth activation does not multiply the size by a factor: the length map (see `laws.smooth`) says
how large the output is for pre-activations of any size. It carries the centre of the band from
layer to layer. A tanh network of small inputs grows to its operating point, pre-activations of unit
root mean square, and is expected to. A map that leads away from that point (GELU, for one) would
take the band with it, to zero or infinity; so the distance of a size from the operating point is
never enlarged, and a network that runs away leaves its band. Around the centre, each layer
keeps the share b of an earlier deviation in the logarithm and adds its own fluctuation, that at
this size: `V_k = b^2 V_(k-1) + nu^2`. For b the slope of the map is taken there, or the steepest
chord from there to three standard deviations, at most 1. Where the sizes of positions differ, a
convolution mixes them: the map is taken of the sizes of positions and of those of whole samples,
and the band holds both.

A walk extends from the input, or from a place that theory does not follow, to the next such place:
a normalization, an activation without a law, a sum, signals side by side, and any operation that
is not known to pass a signal on, such as a product (see `stations`). Where a walk ends before the
activation that the scale of its last kernel is for, that kernel counts as a linear layer of this
scale.

Two effects widen the band. With several positions the size is that of a sample as a whole, and by
Jensen the mean of a step lies between the mean for one position and its negative. Zeros that pad a
convolution replace inputs, at most in the share that they have of all inputs if the signal is
spread evenly. How much pooling, padding or noise change the size depends on the signal, so these
steps are taken as they are measured.

In a mirrored model (see `mirrored`) the network is linear in the differences of pairs of units: the
walk is that of their size, with the laws of pairs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from keras_fracinit.diagnosis.chance import reach_of, third_cumulant
from keras_fracinit.diagnosis.drifts import Drifts
from keras_fracinit.diagnosis.lengths import behind_smooth, log_norm_at, log_norms, middle
from keras_fracinit.diagnosis.mirrored import PLAIN_KERNEL, Mirrored
from keras_fracinit.diagnosis.stations import HIDING, Station
from keras_fracinit.graph.downstream import Downstream
from keras_fracinit.graph.kernel_table import KernelSite
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.operations import action_of
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Linear
from keras_fracinit.laws.smooth import point_mass_of
from keras_fracinit.models.forward_pass import Output
from keras_fracinit.models.weight_statistics import Values
from keras_fracinit.propagation import moments


class KernelLaws(NamedTuple):
    """A kernel and its statistics, with its laws in training or at inference.

    Attributes:
        kernel: The kernel.
        activation: The law of the activation of its output; None if theory does not follow.
        law: The law of its output: that of the activation, or of the differences of pairs.
        scale: The law that its scale is chosen for.
        values: The statistics of its weights.
        mirrored: How it takes part in a mirrored model.
    """

    kernel: Kernel
    activation: Law | None
    law: Law | None
    scale: Law | None
    values: Values
    mirrored: Mirrored = PLAIN_KERNEL

    @property
    def width(self) -> int:
        """The number of output units, or of their pairs."""
        return self.kernel.site.width // (2 if self.mirrored.has_paired_outputs else 1)

    @property
    def fan_in(self) -> float:
        """The number of inputs that one output sums over, or of their pairs."""
        return self.kernel.site.fan_in / (2 if self.mirrored.sums_over_pairs else 1)

    @property
    def gain(self) -> float:
        return self.fan_in * self.values.rms**2

    @property
    def weights(self) -> int:
        """The number of weights that are independent of each other."""
        pairs = (self.mirrored.sums_over_pairs, self.mirrored.has_paired_outputs)
        return max(math.prod(self.kernel.site.shape) >> sum(pairs), 1)

    @property
    def acts(self) -> bool:
        """Whether the activation is inside the layer; differences of pairs need none."""
        own = action_of(getattr(self.kernel.site.layer, "activation", None))
        return self.mirrored.form.pairs is not None or own.law != Linear()

    @property
    def at_2(self) -> moments.LogNorm:
        """The log-norm that the layer adds at the scale of s = 2."""
        return self.log_norm(self.law)

    def log_norm(self, law: Law | None) -> moments.LogNorm:
        """The same for another law of the output."""
        found = moments.log_norm(law, 2.0, self.width)
        if not (longer := self.mirrored.longer_side):
            return found
        # An orthogonal block: a Gaussian one without the spread of the norm of its columns.
        norm = moments.log_norm(Linear(), 2.0, longer)
        return moments.LogNorm(found.mean - norm.mean, max(found.variance - norm.variance, 0.0))


class LayerStep(NamedTuple):
    """A step of a walk: one layer with a kernel, or several that are called as one.

    Attributes:
        first: The output of the layer.
        last: The last output before the next step, behind the activation.
        mean: The expected step for the weights as they are, in nats; nan if they are zero or not
            finite, or the activation is smooth. What is taken as measured is in it.
        variance: The variance of the step, in nats squared.
        low: The mean at s = 2, less the possible loss at padded edges, in nats.
        high: The mean at s = 0, in nats.
        share: The share of an earlier deviation that is left: 1 except for smooth activations.
        centre: The size behind the step around which the band lies, in nats.
        laws: The laws of the outputs of its kernels, as far as the walk goes.
    """

    first: Output
    last: Output
    mean: float
    variance: float
    low: float
    high: float
    share: float
    centre: float
    laws: tuple[Law | None, ...] = ()


@dataclass(frozen=True)
class Walk:
    """Steps in a row, and the size of the signal before and behind each, in nats.

    Attributes:
        start: The output that is the input of the first step.
        steps: The steps, at least one.
        sizes: The measured size at the start and behind each step, in nats.
        joined: Whether other signals come in where it ends.
    """

    start: Output
    steps: tuple[LayerStep, ...]
    sizes: tuple[float, ...]
    joined: bool = False

    @property
    def centres(self) -> list[float]:
        """The size around which the band lies behind each step: that of the start, as kept."""
        return [step.centre for step in self.steps]

    @property
    def drift(self) -> float:
        """The deviation of the last size from the centre of the band, in nats."""
        return self.sizes[-1] - self.centres[-1]

    def drifts(self, chance: float) -> Drifts:
        """The drift behind each step, with the band that a healthy walk leaves with that chance."""
        low = high = variance = third = 0.0
        rows = []
        for step in self.steps:
            low, high = step.share * low + step.low, step.share * high + step.high
            variance = step.share**2 * variance + step.variance
            third = step.share**3 * third + third_cumulant(step.variance)
            skewness = third / variance**1.5 if variance else 0.0
            rows.append((low, high, math.sqrt(variance), skewness))
        lows, highs, deviations, skew = zip(*rows, strict=True)
        values = (size - centre for size, centre in zip(self.sizes[1:], self.centres, strict=True))
        shares = [step.share for step in self.steps]
        reach = reach_of([step.variance for step in self.steps], shares, chance)
        return Drifts(tuple(values), lows, highs, deviations, reach, skewness=skew)


def laws_by_layer(
    kernels: Sequence[Kernel],
    values: Sequence[Values],
    mirrored: Sequence[Mirrored],
    training: bool,
) -> dict[int, list[KernelLaws]]:
    """Maps the id of each layer to its kernels with their laws, for `walks_of`."""
    known: dict[int, list[KernelLaws]] = {}
    for kernel, found, facts in zip(kernels, values, mirrored, strict=True):
        downstream = kernel.downstream if kernel.normal else Downstream()
        law = own = downstream.output_law(training)
        scale = downstream.scale_law(training)
        if facts.form.pairs is not None:
            law = scale = facts.law(own)
            if point_mass_of(law) is not None:  # differences have the size of data
                scale = Linear()
        items = known.setdefault(id(kernel.site.layer), [])
        items.append(KernelLaws(kernel, own, law, scale, found, facts))
    return known


def kernels_in(layer: Any, known: dict[int, list[KernelLaws]]) -> list[KernelLaws]:
    """Finds the kernels of a layer and of the layers that it hides; none for None."""
    inner = layer._flatten_layers() if isinstance(layer, HIDING) else [layer]
    return [item for part in inner for item in known.get(id(part), ())]


def walks_of(stations: Sequence[Station], known: dict[int, list[KernelLaws]]) -> list[Walk]:
    """Splits a way through the model into walks, in order."""
    walks: list[Walk] = []
    firsts: list[int] = []  # the places on the way where steps begin
    for place in range(len(stations) + 1):
        at_end = place == len(stations)
        kernels = [] if at_end else kernels_in(stations[place].output.layer, known)
        lost = any(item.law is None for item in kernels)
        if at_end or lost or stations[place].ends or _loses_pairs(stations, place, kernels):
            if firsts:
                walk = _walk(stations, known, firsts, place)
                walks.append(replace(walk, joined=not at_end and stations[place].joins))
            firsts = []
        elif kernels and place > 0:
            firsts.append(place)
    return walks


def _loses_pairs(stations: Sequence[Station], place: int, kernels: list[KernelLaws]) -> bool:
    """Whether pairs come to this place, or should, and it is not known where they lie."""
    before = place > 0 and stations[place - 1].output.difference is not None
    if kernels:
        return kernels[0].mirrored.takes_pairs and not before
    return before and stations[place].output.difference is None


def _walk(stations: Sequence[Station], known: Any, firsts: list[int], end: int) -> Walk:
    start, ends = stations[firsts[0] - 1], [*firsts[1:], end]
    sizes, steps, centre, variance = [start.size], [], start.size, 0.0
    for first, behind in zip(firsts, ends, strict=True):
        kernels = kernels_in(stations[first].output.layer, known)
        step = _step(kernels, stations[first - 1 : behind], centre, variance)
        centre, variance = step.centre, step.share**2 * variance + step.variance
        steps.append(step)
        sizes.append(stations[behind - 1].size)
    return Walk(start.output, tuple(steps), tuple(sizes))


def _step(
    kernels: list[KernelLaws], stations: Sequence[Station], centre: float, earlier: float
) -> LayerStep:
    """Follows a signal through a kernel and what is behind it, up to the next step.

    The signal is expected to have the size `centre`, with the variance `earlier`.
    """
    first = stations[1].output
    acting = next((i for i, s in enumerate(stations) if i > 1 and s.acts), 0)
    changes = [
        here.size - before.size if here.moves else 0.0
        for before, here in itertools.pairwise(stations[1:])
    ]
    # What moves before an activation of its own layer counts before it.
    early = math.fsum(changes[: acting - 2]) if acting else 0.0
    late = math.fsum(changes) - early
    norms = log_norms(stations[0], centre)
    positions = len(first.signal.shape) > 2
    laws: tuple[Law | None, ...] = ()
    mean, variance, low, high, share = early + late, 0.0, 0.0, 0.0, 1.0
    for item in kernels:
        law = item.law if item.acts or acting else Linear()
        laws += (law,)
        he = intended = item.at_2
        before, left, spread = centre - _level(item.scale), 1.0, (0.0, 0.0)
        if (smooth := point_mass_of(law)) is not None:
            before += early
            stddev = math.sqrt(share**2 * earlier + variance)
            behind = behind_smooth(smooth, norms + (before - centre), before, stddev)
            centre, left = behind.centre + _level(law) - _level(smooth), behind.share
            spread, he = behind.spread, log_norm_at(he, smooth, before)
            early = 0.0
        else:
            he = item.log_norm(law)
            centre = before + _level(law)
        variance = left**2 * variance + he.variance
        low = left * (low + edges(item.kernel.site, first.signal.shape)) + he.mean + spread[0]
        low -= item.mirrored.rounding
        high = left * high + max(he.mean - intended.mean, 0.0) + spread[1]
        high += item.mirrored.rounding - (he.mean if positions else 0.0)
        mean += _mean(item, law)
        share *= left
        norms = norms + (centre - middle(norms))
    last = next(s.output for s in reversed(stations) if s.output.layer is not None)
    return LayerStep(first, last, mean, variance, low, high, share, centre + early + late, laws)


def _level(law: Any) -> float:
    """Computes the size of the output at pre-activations of unit size, in nats."""
    return 0.5 * math.log(law.mean)


def _mean(item: KernelLaws, law: Law | None) -> float:
    """Computes the expected step for the weights as they are, in nats."""
    gain = item.gain
    if law is None or point_mass_of(law) or not (math.isfinite(gain) and gain > 0.0):
        return math.nan
    return item.log_norm(law).mean + 0.5 * math.log(gain * law.mean)


def edges(site: KernelSite, shape: tuple[int, ...]) -> float:
    """Computes the logarithm of the square root of the share of inputs that are not padding."""
    layer = site.layer
    if site.spec.kind not in ("convolution", "depthwise") or layer.padding != "same":
        return 0.0
    sizes = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
    share = 1.0
    for size, taps, dilation in zip(sizes, layer.kernel_size, layer.dilation_rate, strict=True):
        offsets = [(tap - (taps - 1) // 2) * dilation for tap in range(taps)]
        share *= sum(max(size - abs(offset), 0) for offset in offsets) / (taps * size)
    return 0.5 * math.log(share)
