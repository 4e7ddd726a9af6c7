"""How the kernels of each kind of layer connect: a table from layers to readers of their kernels.

The shape of a kernel does not show which inputs one output sums over: `(3, 3, 8, 1)` may be a
convolution of 8 channels, a depthwise or a transposed one. The layer shows it. If one position of
the output has d units, each of them sums over n inputs, and all units share one patch x of inputs,
then a kernel with `W_ij ~ N(0, g/n)` keeps the moment. That holds exactly for dense layers,
attention and plain convolutions. The exceptions:

- Groups, and depthwise kernels, where each channel is a group. Group j takes its own patch x_j of n
  inputs, so `|y|^2 = sigma^2 sum_j |x_j|^2 Q_j`, each Q_j of the d/G units of the group. If all x_j
  have one norm, the sum is `|x_j|^2 Q`, with Q of all d units: the law of a plain layer of width d
  and fan-in n, exactly. If not, the sum has more spread, and a moment below the second is smaller.
- A transposed convolution. Each input reaches `receptive field` outputs, and there are `strides`
  times as many outputs as inputs, so one output sums over `n = receptive field / strides * inputs`
  on average, over the phases of the stride. Exact for every output if the strides divide the
  kernel; else for the mean square over positions.
- An EinsumDense that sums over an axis of its input without a weight, as "abc,cd->ad" does over b.
  One output sums over all of them, `n = b inputs`, which is exact for the second moment where the
  summands are uncorrelated, as they are behind independent weights.

A subclass that computes its output otherwise than the class in the table may do anything with its
kernel (scale it at run time, normalize it), so its kernels are listed, and not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import keras

from keras_fracinit.initializers.fans import Fans, fans_of

layers, initializers = keras.layers, keras.initializers


Axes = tuple[list[int] | None, list[int] | None]


class KernelSpec(NamedTuple):
    """Where a kind of layer holds a kernel, and how it connects inputs and outputs.

    Attributes:
        kind: The name of the kind.
        attribute: The name of the variable.
        initializer: The name of its initializer.
        axes: The input and the output axes, of a layer that may not be built yet; None where the
            last axis is the only output.
        strides: How many positions of the output there are for one of the input: below 1 where
            the layer sums over positions, 0 where their number is not known.
        last: Whether the output of the layer is that of this kernel.
        note: In which cases the theory is not exact.
        reason: Why such a kernel is never re-initialized; empty if it may be.
    """

    kind: str
    attribute: str = "kernel"
    initializer: str = "kernel_initializer"
    axes: Callable[[Any], Axes] = lambda layer: (None, None)
    strides: Callable[[Any], int | Fraction] = lambda layer: 1
    last: bool = True
    note: Callable[[Any], str] = lambda layer: ""
    reason: str = ""


@dataclass(frozen=True)
class KernelSite:
    """One kernel of one layer.

    Attributes:
        layer: The layer.
        spec: The table's entry for such a kernel.
        held: The variable, where no attribute of a known name holds it.
    """

    layer: Any
    spec: KernelSpec
    held: Any = None

    @property
    def variable(self) -> Any:
        """The variable; None before the layer is built."""
        if self.held is not None or not self.layer.built:
            return self.held
        value = getattr(self.layer, self.spec.attribute)
        if isinstance(value, keras.Variable):
            return value
        # With LoRA weights the attribute is the sum of the kernel and their product.
        named = (v for v in self.layer.weights if v.name == self.spec.attribute)
        return next(named, value)

    @property
    def path(self) -> str:
        """The path of the variable, which begins with the name of the layer until it is built."""
        if self.held is not None:
            return str(self.held.path)
        return f"{self.layer.path or self.layer.name}/{self.spec.attribute}"

    @property
    def initializer(self) -> Any:
        """The initializer that the layer was given; None if it has none of a known name."""
        return getattr(self.layer, self.spec.initializer, None)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    @property
    def axes(self) -> Axes:
        """The input and the output axes of the kernel; None where Keras' convention holds."""
        return self.spec.axes(self.layer)

    @property
    def strides(self) -> int | Fraction:
        return self.spec.strides(self.layer)

    @property
    def fan_in(self) -> float:
        """The number of inputs that one output sums over, on average over the outputs."""
        if self.spec.kind == "embedding":
            return 1.0
        fan_in = fans_of(self.shape, *self.axes).fan_in
        return float(fan_in / self.strides) if self.strides else math.nan

    @property
    def width(self) -> int:
        """The number of output units at one position; for a recurrent kernel, of one gate."""
        gate = units_of(self.layer) if self.spec.kind == "recurrent" else None
        return gate or fans_of(self.shape, *self.axes).width

    @property
    def frozen(self) -> bool:
        """Whether training leaves it alone."""
        return not (self.layer.trainable and getattr(self.variable, "trainable", True))


def sites_of(layer: Any, recurrent: bool = False) -> list[KernelSite]:
    """Lists the kernels that a layer itself holds, without those of the layers in it."""
    if recurrent or isinstance(layer, _CELLS):
        return _matrices(layer, _RECURRENT)
    if isinstance(layer, layers.SpectralNormalization):
        return []  # its vector is a state, of the iteration that finds the norm
    name, kind = type(layer).__name__, kind_of(layer)
    if kind is None:
        listed = _listed(layer)
        reason = f"{name} has no kernel of a known kind"
        if listed is not None:
            reason = f"{name} computes its output otherwise than {listed.__name__} does"
        elif isinstance(layer, layers.PReLU):
            reason = "the slopes of an activation are no kernel, and count as they are"
        return _matrices(layer, KernelSpec("unknown", reason=reason))
    known = [KernelSite(layer, spec) for spec in _TABLE[kind]]
    if not layer.built:
        return known
    # What a subclass, or LoRA, adds to the kernels of its base.
    kernels = {id(site.variable) for site in known}
    reason = f"{name} has it beside its kernel, for a use that is not known"
    others = _matrices(layer, KernelSpec("unknown", reason=reason))
    return known + [site for site in others if id(site.variable) not in kernels]


def has_kernel(layer: Any) -> bool:
    """Whether the layer holds a kernel of a known kind."""
    return kind_of(layer) is not None


def _listed(layer: Any) -> type | None:
    """The class in the table that a layer is an instance of; None if there is none."""
    return next((kind for kind in _TABLE if isinstance(layer, kind)), None)


def kind_of(layer: Any) -> type | None:
    """The class in the table whose output a layer computes; None if there is none."""
    kind = _listed(layer)
    if kind is None:
        return None
    names = (*COMPUTED_BY, *(spec.attribute for spec in _TABLE[kind]))
    own = [n for n in names if getattr(type(layer), n, None) is not getattr(kind, n, None)]
    return None if own or any(name in vars(layer) for name in COMPUTED_BY) else kind


# The methods that make the output of a layer of its input.
COMPUTED_BY = ("call", "__call__", "convolution_op")


def _matrices(layer: Any, spec: KernelSpec) -> list[KernelSite]:
    inner = {id(v) for child in layer._flatten_layers(include_self=False) for v in child.weights}
    own = [v for v in layer.weights if len(v.shape) > 1 and id(v) not in inner]
    # The bias of a GRU is a matrix, one row for each of its kernels.
    return [KernelSite(layer, spec, variable) for variable in own if variable.name != "bias"]


def units_of(layer: Any) -> int | None:
    """The output channels that a layer was given, built or not; None if it has none."""
    return getattr(layer, "units", None) or getattr(layer, "filters", None)


def _einsum_sides(layer: Any) -> tuple[str, str, str]:
    """The labels of the input, the kernel and the output."""
    sides, output = layer.equation.replace(" ", "").replace("...", "").split("->")
    inputs, kernel = sides.split(",")
    return inputs, kernel, output


def _einsum_axes(layer: Any) -> Axes:
    """The axes that are summed over, and the new ones; an axis that both sides share is a group."""
    inputs, kernel, output = _einsum_sides(layer)
    summed = [axis for axis, label in enumerate(kernel) if label not in output]
    new = [axis for axis, label in enumerate(kernel) if label in output and label not in inputs]
    return summed, new


def _unweighted(layer: Any) -> list[str]:
    """The labels of the axes of an input that are summed over without a weight."""
    inputs, kernel, output = _einsum_sides(layer)
    return [label for label in inputs if label not in kernel + output]


def _einsum_strides(layer: Any) -> int | Fraction:
    """One over the number of positions that are summed over; 0 where that is not known."""
    if not (labels := _unweighted(layer)):
        return 1
    config = layer.get_build_config() if layer.built else None
    shape: Sequence[int | None] = (config or {}).get("input_shape") or ()
    front, _, back = layer.equation.replace(" ", "").partition(",")[0].partition("...")
    places = {label: place for place, label in enumerate(front)}
    places |= {label: place - len(back) for place, label in enumerate(back)}
    counts = [shape[places[label]] for label in labels] if shape else [None]
    return Fraction(1, math.prod(counts)) if None not in counts else 0  # type: ignore[arg-type]


def _summed(layer: Any) -> str:
    return "sums over positions: kept where these are uncorrelated" if _unweighted(layer) else ""


def _depthwise_axes(layer: Any) -> Axes:
    return list(range(layer.rank)), [layer.rank, layer.rank + 1]


def _transposed_axes(layer: Any) -> Axes:
    return [*range(layer.rank), layer.rank + 1], [layer.rank]


def _strides(layer: Any) -> int:
    return math.prod(layer.strides)


def _uneven(layer: Any) -> str:
    even = all(k % s == 0 for k, s in zip(layer.kernel_size, layer.strides, strict=True))
    return "" if even else "strides do not divide the kernel: kept on average over positions"


def _grouped(layer: Any) -> str:
    return _GROUPED if layer.groups > 1 else ""


_GROUPED = "groups: exact for patches of equal norm"


_DEPTHWISE = KernelSpec(
    "depthwise",
    initializer="depthwise_initializer",
    axes=_depthwise_axes,
    note=lambda layer: _GROUPED,
)


_SEPARABLE = (
    _DEPTHWISE._replace(attribute="depthwise_kernel", last=False),
    KernelSpec("pointwise", "pointwise_kernel", "pointwise_initializer"),
)


_TRANSPOSED = KernelSpec("transposed", axes=_transposed_axes, strides=_strides, note=_uneven)


_CONVOLUTION = KernelSpec("convolution", note=_grouped)


_RECURRENT = KernelSpec(
    "recurrent", reason="a recurrent kernel is applied again and again, by gates"
)


_EMBEDDING = KernelSpec(
    "embedding",
    "embeddings",
    "embeddings_initializer",
    reason="an embedding is looked up, not multiplied",
)


_TABLE: dict[type, tuple[KernelSpec, ...]] = {
    layers.Dense: (KernelSpec("dense"),),
    layers.EinsumDense: (
        KernelSpec("einsum", axes=_einsum_axes, strides=_einsum_strides, note=_summed),
    ),
    # The depthwise classes are no subclasses of the plain ones, nor are the transposed ones.
    layers.Conv1D: (_CONVOLUTION,),
    layers.Conv2D: (_CONVOLUTION,),
    layers.Conv3D: (_CONVOLUTION,),
    layers.DepthwiseConv1D: (_DEPTHWISE,),
    layers.DepthwiseConv2D: (_DEPTHWISE,),
    layers.SeparableConv1D: _SEPARABLE,
    layers.SeparableConv2D: _SEPARABLE,
    layers.Conv1DTranspose: (_TRANSPOSED,),
    layers.Conv2DTranspose: (_TRANSPOSED,),
    layers.Conv3DTranspose: (_TRANSPOSED,),
    layers.ReversibleEmbedding: (
        _EMBEDDING._replace(reason="an embedding is looked up; its scale serves that"),
    ),
    layers.Embedding: (_EMBEDDING,),
}


# They stand in an RNN, in StackedRNNCells, or in the `call` of a user.
_CELLS = (layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell)


def _scaling_stddev(initializer: Any, shape: tuple[int, ...], fans: Fans) -> float:
    if hasattr(initializer, "describe"):  # one of this package
        return float(initializer.describe(shape).stddev)
    mean = (fans.fan_in + fans.fan_out) / 2.0
    fan = {"fan_in": fans.fan_in, "fan_out": fans.fan_out, "fan_avg": mean}[initializer.mode]
    return math.sqrt(initializer.scale / max(1.0, fan))


# How Keras' own initializers draw, and the standard deviation of one weight.
_SAMPLINGS: dict[
    type, tuple[Callable[[Any], str], Callable[[Any, tuple[int, ...], Fans], float]]
] = {
    initializers.VarianceScaling: (lambda i: str(i.distribution), _scaling_stddev),
    initializers.RandomNormal: (lambda _: "untruncated_normal", lambda i, *_: float(i.stddev)),
    # Cut off at two standard deviations.
    initializers.TruncatedNormal: (
        lambda _: "truncated_normal",
        lambda i, *_: float(i.stddev) * 0.8796256610342398,
    ),
    initializers.RandomUniform: (
        lambda _: "uniform",
        lambda i, *_: float(i.maxval - i.minval) / math.sqrt(12.0),
    ),
    initializers.Orthogonal: (
        lambda _: "orthogonal",
        lambda i, _, fans: float(i.gain) / math.sqrt(fans.longer),
    ),
}


def sampling_of(initializer: Any) -> Any:
    """The functions for its distribution and standard deviation; None if it has no scale."""
    rows = (row for kind, row in _SAMPLINGS.items() if isinstance(initializer, kind))
    return next(rows, None)
