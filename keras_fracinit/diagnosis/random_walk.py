"""Computes how far the size of a signal may stray in one draw of a network: a random walk.

Through a layer of width d the logarithm of the size of a signal takes a step of mean mu and
variance nu^2 (see `propagation`), independent of the other layers. One network is one draw of this
walk, which is almost the same for all inputs. After k layers that keep the moment of some order
between 0 and 2 it lies between `k mu_2 - 2 nu sqrt(k)` and `2 nu sqrt(k)`, 95 times in 100 or more:
mu_2 is the mean at order 2, and the mean at order 0 is 0. This is the band of one draw.

A smooth activation does not multiply the size by a factor. The walk is then one around the
operating point, where the pre-activations have unit root mean square and the output has
`sqrt(E q)`. Each layer keeps the share b of a deviation in the logarithm, with b the slope of the
length map (see `laws.smooth`), and adds its own fluctuation, so that `V_k = b^2 V_(k-1) + nu^2`.
For b > 1 the point repels. With such a b the band would soon hold everything, runaway networks
included; so b is capped at 1, which gives the band of a homogeneous layer, and a healthy network
stays within that.

A walk extends from the input, or from a layer that theory does not follow (a normalization, an
activation without a law), to the next such layer. Two effects widen the band. With several
positions the size is that of a sample as a whole, and by Jensen the mean of a step lies between the
mean for one position and its negative. Zeros that pad a convolution replace inputs, at most in the
share that they have of all inputs if the signal is spread evenly. How much pooling changes the size
depends on the signal, so the steps of pooling are left out.

In a mirrored model (see `mirrored`) the network is linear in the differences of pairs of units: the
walk is that of their size, with the laws of pairs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras_fracinit.diagnosis.mirrored import PLAIN_KERNEL, Mirrored
from keras_fracinit.graph.call_graph import MIXED, is_container
from keras_fracinit.graph.downstream import Downstream
from keras_fracinit.graph.kernel_table import KernelSite
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.operations import ATTENTION, Effect, effect_of, row_of
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Linear
from keras_fracinit.laws.smooth import point_mass_of
from keras_fracinit.models.forward_pass import Output
from keras_fracinit.models.recorder import LOOPS
from keras_fracinit.models.weight_statistics import Values
from keras_fracinit.propagation import moments

_POOLS = (Effect.AVERAGES, Effect.PICKS)


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
    def gain(self) -> float:
        inputs = self.kernel.site.fan_in / (2 if self.mirrored.sums_over_pairs else 1)
        return inputs * self.values.rms**2

    @property
    def at_2(self) -> moments.LogNorm:
        """The log-norm that the layer adds at the scale of s = 2."""
        found = moments.log_norm(self.law, 2.0, self.width)
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
            finite, or the activation is smooth.
        variance: The variance of the step, in nats squared.
        low: The mean at s = 2, less the possible loss at padded edges, in nats.
        high: The mean at s = 0, in nats.
        share: The share of an earlier deviation that is left: 1 except for smooth activations.
        point: The sizes of input and output at the operating point of a smooth activation, in nats;
            None for others.
    """

    first: Output
    last: Output
    mean: float
    variance: float
    low: float
    high: float
    share: float = 1.0
    point: tuple[float, float] | None = None


@dataclass(frozen=True)
class Walk:
    """Steps in a row, and the size of the signal before and behind each, in nats.

    Attributes:
        start: The output that is the input of the first step.
        steps: The steps, at least one.
        sizes: The measured size at the start and behind each step, in nats, without the steps of
            pooling.
    """

    start: Output
    steps: tuple[LayerStep, ...]
    sizes: tuple[float, ...]

    @property
    def centres(self) -> list[float]:
        """The size around which the band lies behind each step: that of the start, as kept."""
        centre, found = self.sizes[0], []
        for step in self.steps:
            if step.point is not None:
                centre = step.point[1] + step.share * (centre - step.point[0])
            found.append(centre)
        return found

    @property
    def drift(self) -> float:
        """The deviation of the last size from the centre of the band, in nats."""
        return self.sizes[-1] - self.centres[-1]

    def band(self, sigmas: float) -> list[tuple[float, float]]:
        """Computes lowest and highest drift behind each step, at `sigmas` standard deviations."""
        low = high = variance = 0.0
        band = []
        for step in self.steps:
            low, high = step.share * low + step.low, step.share * high + step.high
            variance = step.share**2 * variance + step.variance
            reach = sigmas * math.sqrt(variance)
            band.append((low - reach, high + reach))
        return band

    def excess(self, sigmas: float) -> float:
        """Computes how far the drift is outside the band, in nats; negative below, 0 inside."""
        low, high = self.band(sigmas)[-1]
        return min(self.drift - low, 0.0) + max(self.drift - high, 0.0)


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
    """Finds the kernels of a layer and of the layers that it calls in a loop; none for None."""
    inner = layer._flatten_layers() if isinstance(layer, LOOPS) else [layer]
    return [item for part in inner for item in known.get(id(part), ())]


def walks_of(path: Sequence[Output], known: dict[int, list[KernelLaws]]) -> list[Walk]:
    """Splits a path through the model into walks, in order."""
    walks: list[Walk] = []
    firsts: list[int] = []  # the places on the path where steps begin
    for place, output in enumerate([*path, None]):
        kernels = kernels_in(output.layer, known) if output else []
        if output is None or _is_end(output.layer, kernels) or _loses_pairs(path, place, kernels):
            if firsts:
                walks.append(_walk(path, known, firsts, place))
            firsts = []
        elif kernels and place > 0:
            firsts.append(place)
    return walks


def _loses_pairs(path: Sequence[Output], place: int, kernels: list[KernelLaws]) -> bool:
    """Whether pairs come to this place, or should, and it is not known where they lie."""
    before = place > 0 and path[place - 1].difference is not None
    if kernels:
        return kernels[0].mirrored.takes_pairs and not before
    return before and path[place].difference is None


def _is_end(layer: Any, kernels: list[KernelLaws]) -> bool:
    """Whether theory does not follow through this layer."""
    if any(item.law is None for item in kernels) or getattr(layer, "name", "") == MIXED:
        return True  # the output of attention is not recorded, only that of the kernel behind it
    if layer is None or is_container(layer):
        return False  # the input; or the layers in it are asked one by one
    ends = effect_of(layer) in (Effect.NORMALIZES, Effect.ENDS)
    return ends or row_of(layer) is ATTENTION


def _walk(path: Sequence[Output], known: Any, firsts: list[int], end: int) -> Walk:
    start, lasts = firsts[0] - 1, [*(first - 1 for first in firsts[1:]), end - 1]
    sizes, pooled = [path[start].kept.log_size], 0.0
    steps = []
    for first, last in zip(firsts, lasts, strict=True):
        steps.append(_step(kernels_in(path[first].layer, known), path[first], path[last]))
        pooled *= steps[-1].share
        for before, output in itertools.pairwise(path[first - 1 : last + 1]):
            if effect_of(output.layer) in _POOLS:
                pooled += output.kept.log_size - before.kept.log_size
        sizes.append(path[last].kept.log_size - pooled)
    return Walk(path[start], tuple(steps), tuple(sizes))


def _step(kernels: list[KernelLaws], first: Output, last: Output) -> LayerStep:
    mean = variance = low = high = 0.0
    share, point = 1.0, None
    for item in kernels:
        site, law, he = item.kernel.site, item.law, item.at_2
        left = 1.0
        if (smooth := point_mass_of(law)) is not None:
            left, point = min(abs(smooth.length_slope), 1.0), (_level(item.scale), _level(law))
        variance = left**2 * variance + he.variance
        low = left * (low + _edges(site, first.signal.shape)) + he.mean - item.mirrored.rounding
        high = left * high - (he.mean if len(first.signal.shape) > 2 else 0.0)
        high += item.mirrored.rounding
        mean += math.nan if smooth else _mean(item)
        share *= left
    return LayerStep(first, last, mean, variance, low, high, share, point)


def _level(law: Any) -> float:
    """Computes the size of the output at pre-activations of unit size, in nats."""
    return 0.5 * math.log(law.mean)


def _mean(item: KernelLaws) -> float:
    """Computes the expected step for the weights as they are, in nats."""
    gain = item.gain
    if item.law is None or not (math.isfinite(gain) and gain > 0.0):
        return math.nan
    return item.at_2.mean + 0.5 * math.log(gain * item.law.mean)


def _edges(site: KernelSite, shape: tuple[int, ...]) -> float:
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
