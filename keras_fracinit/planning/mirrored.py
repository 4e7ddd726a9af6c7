"""Mirrored plans: the form of each kernel, its taps, and what must treat both halves alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_fracinit.graph.kernel_table import KernelSite
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.pairing import Form
from keras_fracinit.laws.base import Law, law_of
from keras_fracinit.laws.homogeneous import Dropout, LeakyReLU, Linear
from keras_fracinit.laws.smooth import point_mass_of

layers = keras.layers

# The parameters of a normalization, and the value of each at which it treats all channels alike.
_NEUTRAL = {"gamma": 1.0, "beta": 0.0, "scale": 1.0, "moving_mean": 0.0, "moving_variance": 1.0}


_LARGE = 2**19  # values of a block


def distribution_of(kernel: Kernel, form: Form) -> str:
    """The default distribution of a mirrored kernel: orthogonal blocks, but for large ones.

    The decomposition of a large block takes longer than all other draws of a model together. At
    such widths d the norm strays under independent weights by `1/sqrt(2 d)` per layer, a few per
    cent, so that exactness is worth little there, and the distribution is that of the kernel's own
    initializer.
    """
    site = kernel.site
    if site.variable is None or form.pairs is None:
        return "orthogonal"
    doubled = (2 if form.takes_pairs else 1) * (2 if form.makes_pairs else 1)
    if math.prod(site.shape) < _LARGE * doubled:
        return "orthogonal"
    own = None if kernel.alpha is not None else kernel.distribution
    return own or "untruncated_normal"


def law_in(form: Form, kernel: Kernel, training: bool) -> Law:
    """The law that the scale of a mirrored kernel is for.

    A kernel that makes pairs has the law of the activation behind it. One that only takes pairs has
    its own, as an unpaired kernel has; where theory does not follow, its output is kept as it is.
    """
    downstream = kernel.downstream
    if form.repeated:
        return Linear()
    law = form.law if form.law is not None else downstream.law
    if law is None:
        return Linear()
    if form.law is None and point_mass_of(law) is not None:
        return Linear()  # the difference of pairs has the size of data
    dropped = training and downstream.dropout
    return Dropout(law, downstream.dropout) if dropped else law


def note_of(form: Form, kernel: Kernel) -> str:
    """What a plan says about the pairs of a kernel."""
    if form.pairs is None:
        return f"no pairs: {form.reason}"
    parts = []
    if not form.pairs.on_outputs and not form.repeated:
        parts.append(f"makes no pairs: {form.reason}")
    if form.law is None and not form.repeated and kernel.downstream.law is None:
        parts.append(f"{kernel.downstream.reason}; its own output is kept")
    return "; ".join(parts)


def taps_of(site: KernelSite, form: Form, taps: str) -> tuple[str | tuple[int, ...], str]:
    """The taps of a mirrored kernel, and why they are not the ones that were asked for."""
    if taps == "all" or form.pairs is None or form.repeated or len(site.shape) < 3:
        return "all", ""
    if site.spec.kind == "einsum" or math.prod(site.shape[:-2]) == 1:
        return "all", ""
    tap = own_tap(site)
    if tap is None:
        return "all", "full taps: no tap of this layer has the place of its output"
    block = form.pairs.block_of(site.shape, len(site.shape) - 2, len(site.shape) - 1)
    if block[-2] < block[-1]:
        return "all", "full taps: one tap of so few channels would make all positions alike"
    return tap, ""


def own_tap(site: KernelSite) -> tuple[int, ...] | None:
    """The tap that reads the position that is written; None if there is none."""
    layer, window = site.layer, site.shape[:-2]
    if site.spec.kind != "convolution" or any(stride != 1 for stride in layer.strides):
        return None
    if layer.padding == "causal":
        return tuple(size - 1 for size in window)
    if layer.padding == "same" and all(size % 2 for size in window):
        return tuple((size - 1) // 2 for size in window)
    return None


def neutral_values(
    between: Sequence[Any], include_frozen: bool
) -> Iterator[tuple[Any, float, str]]:
    """Parameters between mirrored kernels that break the halves: variable, new value and kind."""
    for layer in between:
        if isinstance(layer, layers.PReLU):
            law = law_of(layer)
            value = law.negative_slope if isinstance(law, LeakyReLU) else 0.0
            found = [(layer.alpha, value, "slope")]
        else:
            found = [
                (variable, _NEUTRAL[variable.name], "normalization")
                for variable in layer.weights
                if variable.name in _NEUTRAL
            ]
        for variable, value, kind in found:
            if _is_constant(variable, value):
                continue
            if not (layer.trainable or include_frozen):
                raise ValueError(
                    "`mirrored=True` needs normalizations and slopes that treat both halves alike. "
                    f"Received: {variable.path}, which does not and is frozen; "
                    "`include_frozen=True` resets it"
                )
            yield variable, value, kind


def _is_constant(variable: Any, value: float) -> bool:
    values = np.asarray(ops.convert_to_numpy(ops.cast(variable.value, "float32")))
    return bool((values == np.float32(value)).all())


def check_some_mirrored(kernels: Sequence[Kernel], forms: Sequence[Form]) -> None:
    """Refuses a model in which nothing can be mirrored, with the reason of every kernel."""
    if not any(form.pairs is not None for form in forms):
        reasons = "; ".join(
            f"{kernel.site.path}: {form.reason}"
            for kernel, form in zip(kernels, forms, strict=True)
        )
        raise ValueError(
            "`mirrored=True` needs a model with kernels that can be mirrored. "
            f"Received: a model without any. {reasons}"
        )
