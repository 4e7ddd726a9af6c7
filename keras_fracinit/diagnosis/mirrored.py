"""Recognises mirrored kernels by their values, and follows the pairs of units through a model.

The units of a mirrored model come in pairs (see `initializers.pairs`), and it is linear in their
differences. Initializers are not at hand in loaded models, so a kernel counts as mirrored if the
graph allows a form of pairs for it and its values have that form exactly. Every step of training
ends that, and the model is diagnosed as any other.

Before the activation the units are (h, -h), behind it their difference is c h. The difference is
counted as c h in both places, so that the activation changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.kernel_table import KernelSite
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.operations import Effect, action_of, effect_of
from keras_fracinit.graph.paired_signals import channel_axis
from keras_fracinit.graph.pairing import PLAIN, Form, forms_of
from keras_fracinit.initializers.fans import split_axes
from keras_fracinit.initializers.pairs import Runs
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Dropout, Linear
from keras_fracinit.models.forward_pass import Halves, HalvesOf
from keras_fracinit.models.recorder import LOOPS

_ROUNDING = 1e-3  # of one layer that keeps the norm surely, in nats: weights may be bfloat16


_ORTHOGONAL = 5e-3  # as bfloat16 rounds; the block of a Gaussian kernel is off by far more


class Mirrored(NamedTuple):
    """How a kernel takes part in a mirrored model.

    Attributes:
        form: Which of its axes are paired; `PLAIN` if none is.
        longer_side: The larger of inputs and units of an orthogonal block that acts at each
            position alone; 0 for other blocks.
    """

    form: Form = PLAIN
    longer_side: int = 0

    @property
    def takes_pairs(self) -> bool:
        return self.form.takes_pairs

    @property
    def sums_over_pairs(self) -> bool:
        """Whether a unit sums over both partners of a pair, as a depthwise one does not."""
        return self.form.takes_pairs and not self.form.repeated

    @property
    def has_paired_outputs(self) -> bool:
        return self.form.makes_pairs or self.form.repeated

    @property
    def rounding(self) -> float:
        """How far rounding may take the size of the signal where theory leaves no room, in nats."""
        return _ROUNDING if self.longer_side else 0.0

    def law(self, own: Law | None) -> Law | None:
        """The law of the output, given that of the activation: of differences where it has pairs.

        A depthwise kernel hands differences on, and the activation behind it changes nothing.
        """
        if own is None or not self.has_paired_outputs:
            return own
        if self.form.repeated:
            return Dropout(Linear(), own.rate) if isinstance(own, Dropout) else Linear()
        if own == Linear() and self.form.law is not None:  # a depthwise kernel follows
            return self.form.law.pair
        return own.pair


PLAIN_KERNEL = Mirrored()


def mirrored_of(graph: Graph, kernels: Sequence[Kernel], training: bool) -> list[Mirrored]:
    """How each kernel takes part in a mirrored model, by its values."""
    if not any(_may_be_mirrored(kernel.site) for kernel in kernels):
        return [PLAIN_KERNEL] * len(kernels)
    kept = [kernel.not_scalable for kernel in kernels]
    while True:
        forms, _ = forms_of(graph, kernels, kept, training)
        others = [
            i
            for i, (kernel, form) in enumerate(zip(kernels, forms, strict=True))
            if form.pairs is not None and not _has_form(kernel.site, form)
        ]
        if not others:
            break
        for i in others:
            kept[i] = "its values are not mirrored"
    return [
        PLAIN_KERNEL if form.pairs is None else Mirrored(form, _longer_side(kernel.site, form))
        for kernel, form in zip(kernels, forms, strict=True)
    ]


def halves_by_layer(kernels: Sequence[Kernel], mirrored: Sequence[Mirrored]) -> HalvesOf:
    """Tells for each output of a layer where its pairs lie, for `observe`."""
    # Of the kernels of a separable convolution the last makes the output.
    last = {id(k.site.layer): (k, m) for k, m in zip(kernels, mirrored, strict=True)}

    def halves_of(layer: Any, before: Halves | None) -> Halves | None:
        acting = layer if effect_of(layer) is Effect.ACTS else None
        if id(layer) in last:
            before = _made(*last[id(layer)], before)
            acting = getattr(layer, "activation", None)
        elif isinstance(layer, (keras.layers.Concatenate, *LOOPS)):
            return None
        if before is None or acting is None or action_of(acting).law == Linear():
            return before
        return before._replace(factor=1.0)

    return halves_of


def _made(kernel: Kernel, mirrored: Mirrored, before: Halves | None) -> Halves | None:
    """Where the pairs lie that a kernel makes or hands on; None if it does neither."""
    layer, law = kernel.site.layer, mirrored.form.law
    if mirrored.form.repeated:
        return before and before._replace(size=before.size * layer.depth_multiplier)
    if not mirrored.form.makes_pairs or law is None or law.pair is None:
        return None
    return Halves(kernel.site.width // 2, channel_axis(layer), math.sqrt(law.pair.mean) / 2.0)


# Values.


def _paired_axes(site: KernelSite) -> tuple[int, int]:
    inputs, outputs = split_axes(len(site.shape), *site.axes)
    return inputs[-1], outputs[-1]


def _may_be_mirrored(site: KernelSite) -> bool:
    """Whether the kernel makes pairs by its values; where it is zero everywhere that says nothing.

    Most kernels are told apart by a slice, and the values of no others are copied.
    """
    if len(site.shape) < 2 or site.spec.kind in ("depthwise", "embedding", "recurrent", "unknown"):
        return False
    _, axis = _paired_axes(site)
    size = site.shape[axis]
    if size % 2:
        return False
    runs = ((size // 2, 1),)
    piece = ops.take(ops.convert_to_tensor(site.variable), [0], axis=1 if axis == 0 else 0)
    if not _are_partners(np.asarray(ops.convert_to_numpy(piece)), axis, runs, -1):
        return False
    values = _values_of(site)
    return _are_partners(values, axis, runs, -1) and bool(np.any(values))


def _has_form(site: KernelSite, form: Form) -> bool:
    values, pairs = _values_of(site), form.pairs
    if pairs is None:
        return False
    if form.repeated:
        axis = values.ndim - 2
        return _are_partners(values, axis, pairs.runs_along(values.shape[axis]), 1)
    inputs, outputs = _paired_axes(site)
    found = True
    if pairs.on_inputs:
        runs = pairs.runs_along(values.shape[inputs])
        found = _are_partners(values, inputs, runs, -1)
    if pairs.on_outputs:
        runs = ((values.shape[outputs] // 2, 1),)
        found = found and _are_partners(values, outputs, runs, -1)
    return found


def _are_partners(values: npt.NDArray[Any], axis: int, runs: Runs, sign: int) -> bool:
    """Whether the second units of all pairs along an axis are the first ones times the sign."""
    values, start = np.moveaxis(values, axis, -1), 0
    for half, count in runs:
        part = values[..., start : start + 2 * half * count]
        part = part.reshape(*values.shape[:-1], count, 2, half)
        start += 2 * half * count
        partner = part[..., 1, :] if sign > 0 else -part[..., 1, :]
        if not np.array_equal(part[..., 0, :], partner):
            return False
    return True


def _values_of(site: KernelSite) -> npt.NDArray[Any]:
    return np.asarray(ops.convert_to_numpy(site.variable.value))


def _longer_side(site: KernelSite, form: Form) -> int:
    """The longer side of the block of a kernel if it is orthogonal, else 0.

    The kernel K is orthogonal up to a factor on the units that its pairs leave free if
    `K K^T u = c u` for all `u = K w`; one random w tells.
    """
    matrix = _matrix_of(site)
    if matrix is None or form.repeated:
        return 0
    inputs = matrix.shape[0] // (2 if form.takes_pairs else 1)
    units = matrix.shape[1] // (2 if form.makes_pairs else 1)
    if min(inputs, units) < 2:  # any single row is orthogonal
        return 0
    u = matrix @ np.random.default_rng(0).normal(size=(matrix.shape[1], 1)).astype(np.float32)
    with np.errstate(all="ignore"):
        again = matrix @ (matrix.T @ u)
        rest = again - np.vdot(again, u) / np.vdot(u, u) * u
        orthogonal = np.linalg.norm(rest) <= _ORTHOGONAL * np.linalg.norm(again)
    return max(inputs, units) if orthogonal else 0


def _matrix_of(site: KernelSite) -> npt.NDArray[np.float32] | None:
    """A kernel that acts at each position alone, inputs by units; None if it is none."""
    layer, kind, values = site.layer, site.spec.kind, _values_of(site)
    if kind == "convolution":
        if any(stride != 1 for stride in layer.strides):
            return None
        taps = values.reshape(-1, *values.shape[-2:])
        taps = taps if len(taps) == 1 else taps[np.any(taps != 0, axis=(1, 2))]
        if len(taps) != 1 or (layer.padding == "valid" and math.prod(values.shape[:-2]) > 1):
            return None
        values = taps[0]
    elif kind == "pointwise":
        values = values.reshape(values.shape[-2:])
    if kind not in ("dense", "einsum", "convolution", "pointwise") or values.ndim != 2:
        return None
    inputs, _ = _paired_axes(site) if kind == "einsum" else (0, 1)
    return (values.T if inputs == 1 else values).astype(np.float32)
