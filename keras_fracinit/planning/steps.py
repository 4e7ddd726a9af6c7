"""Decides for each kernel of a model the scale that it gets, or why it stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keras import ops

from keras_fracinit.graph.branches import gamma_of
from keras_fracinit.graph.kernel_table import KernelSite
from keras_fracinit.graph.kernels import Kernel, look_into
from keras_fracinit.graph.pairing import PLAIN, Form, forms_of
from keras_fracinit.laws.smooth import point_mass_of
from keras_fracinit.models.weight_statistics import root_mean_square
from keras_fracinit.planning.branches import (
    ZEROED,
    Branches,
    isometric_branches,
    zeroed_branches,
)
from keras_fracinit.planning.mirrored import (
    check_some_mirrored,
    distribution_of,
    law_in,
    neutral_values,
    note_of,
    taps_of,
)
from keras_fracinit.planning.options import Options
from keras_fracinit.planning.report import Change
from keras_fracinit.planning.sampling import block_shape, initializer_of, sample_kernel, stretch
from keras_fracinit.propagation.orders import effective_order_or_nan


@dataclass(frozen=True)
class PlannedChange:
    """A change, and what is needed to make it.

    Attributes:
        change: The change.
        variable: The variable.
        position: The place of its kernel in the order of the model.
        site: The kernel to draw; None if the variable is filled with one value.
        law: The law that the initializer is for.
        options: Further arguments of the initializer.
        value: The value of a variable that is filled.
        make: Makes the values from a seed, where no initializer does.
    """

    change: Change
    variable: Any
    position: int
    site: KernelSite | None = None
    law: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    value: float = 0.0
    make: Callable[[int], Any] | None = None

    def values(self, seed: int) -> Any:
        """The new values, not yet assigned."""
        if self.make is not None:
            return self.make(seed)
        if self.site is None:
            return ops.full(self.variable.shape, self.value, self.variable.dtype)
        try:
            initializer = initializer_of(
                self.site, self.law, self.change.s, seed=seed, **self.options
            )
            return sample_kernel(self.site, initializer, self.options["form"])
        except ValueError as error:
            raise ValueError(f"{self.change.path}: {error}") from error


def steps_of(model: Any, options: Options) -> list[PlannedChange]:
    """One step for each kernel, and one for each other variable that is set to a value."""
    graph, kernels = look_into(model)
    options.check_patterns([kernel.paths for kernel in kernels])
    count = max(len(kernels) - 1, 1)
    orders = [options.order(k.paths, place / count) for place, k in enumerate(kernels)]
    forms: list[Form] = [PLAIN] * len(kernels)
    between: list[Any] = []
    branches = Branches()
    kept = [_reason(k, options, s, paired=True) for k, s in zip(kernels, orders, strict=True)]
    if options.branches == "zero":
        branches = zeroed_branches(graph, kernels, kept, options)
    elif options.branches == "isometry":
        branches = isometric_branches(graph, kernels, kept, options)
    if options.mirrored:
        ends = branches.ends(kernels)
        forms, between = forms_of(graph, kernels, kept, options.dropout, ends)
        check_some_mirrored(kernels, forms)
    steps = []
    for position, (kernel, order, form) in enumerate(zip(kernels, orders, forms, strict=True)):
        step = _step(kernel, position, options, order, form)
        step = _in_branches(step, kernel, branches, options)
        steps.append(step)
        bias = getattr(kernel.site.layer, "bias", None)
        structured = form.pairs is not None or position in branches.zeroed
        zeroed = options.biases == "zero" or (options.biases is None and structured)
        if zeroed and bias is not None and kernel.site.spec.last and not step.change.skipped:
            steps.append(_filled(bias, "bias", 0.0, position))
    for layer, position in branches.scales:
        steps += _zeroed_scale(layer, position, options)
    last = len(kernels) - 1
    steps += [
        _filled(variable, kind, x, last)
        for variable, x, kind in neutral_values(between, options.include_frozen)
    ]
    return steps


def _filled(variable: Any, kind: str, value: float, position: int, note: str = "") -> PlannedChange:
    before = root_mean_square(variable)
    change = Change(variable.path, kind, stddev_before=before, stddev=value, note=note)
    return PlannedChange(change, variable, position, value=value)


def _in_branches(
    step: PlannedChange, kernel: Kernel, branches: Branches, options: Options
) -> PlannedChange:
    """A step as the branches have it: its kernel may start at zero, or stay for a reason."""
    change, position = step.change, step.position
    kept = options.biases == "keep" and getattr(kernel.site.layer, "bias", None) is not None
    beside = "; its bias is kept, and added unless it is 0" if kept else ""
    block = branches.blocks.get(position)
    if position in branches.zeroed:
        change = replace(change, s=math.nan, gain=math.nan, distribution="", alpha=None, skipped="")
        change = replace(change, stddev=0.0, note=ZEROED + beside)
        return PlannedChange(change, step.variable, position)
    if block is not None:
        place = int(kernel.site.variable is block.last.variable)
        inputs, stddev = block.scales[place]
        note = f"the {('first', 'last')[place]} kernel of an isometric block{beside}"
        change = replace(change, gain=inputs * stddev**2, stddev=stddev, note=note)
        make = (block.first_values, block.last_values)[place]
        return PlannedChange(change, step.variable, position, make=make)
    note = "; ".join(filter(None, (change.note, branches.notes.get(position, ""))))
    return replace(step, change=replace(change, note=note))


def _zeroed_scale(layer: Any, position: int, options: Options) -> Iterator[PlannedChange]:
    """The scale of a normalization that ends a branch, and its offset, start at zero."""
    offset = getattr(layer, "beta", None)
    kept = options.biases == "keep" and offset is not None
    note = "the normalization that ends a branch starts at zero"
    note += "; its beta is kept, and added unless it is 0" if kept else ""
    yield _filled(gamma_of(layer), "normalization", 0.0, position, note)
    if offset is not None and not kept:
        yield _filled(offset, "normalization", 0.0, position)


def _step(
    kernel: Kernel, position: int, options: Options, order: float | None, form: Form
) -> PlannedChange:
    site, downstream = kernel.site, kernel.downstream
    law = downstream.scale_law(options.dropout)
    before = root_mean_square(site.variable)
    own = kernel.distribution, kernel.alpha
    if form.pairs is not None:
        own = distribution_of(kernel, form), None
        law = law_in(form, kernel, options.dropout)
    distribution, alpha = (options.distribution, options.alpha) if options.distribution else own
    # Pairs have no operating point.
    beside = "" if form.pairs and downstream.upstream is not None else downstream.note
    notes = [site.spec.note(site.layer), beside]
    if options.mirrored:
        notes.append(note_of(form, kernel))
        if (
            form.pairs
            and options.biases == "keep"
            and getattr(site.layer, "bias", None) is not None
        ):
            notes.append("its bias is kept, which breaks the pairs unless it is 0")
    change = Change(
        path=site.path,
        kind=site.spec.kind,
        fan_in=site.fan_in,
        width=site.width,
        activation=downstream.activation,
        law=str(law or ""),
        distribution=distribution,
        alpha=alpha,
        stddev_before=before,
        note="; ".join(filter(None, notes)),
        pairs="repeated" if form.repeated else form.pairs.form if form.pairs is not None else "",
    )
    if downstream.law is not None and kernel.normal:
        present = downstream.scale_law(options.dropout)
        kept = effective_order_or_nan(present, site.width, site.fan_in * before**2)
        change = replace(change, order_before=kept.order, order_censored=kept.censored)
    reason = _reason(kernel, options, order, paired=form.pairs is not None)
    if reason or order is None:
        return PlannedChange(replace(change, skipped=reason), site.variable, position)
    taps, why = taps_of(site, form, options.taps)
    weights: dict[str, Any] = {"distribution": distribution, "alpha": alpha}
    weights |= {"form": form, "taps": taps}
    try:
        initializer = initializer_of(site, law, order, **weights)
        scale = initializer.describe(block_shape(site, form))
    except ValueError as error:
        raise ValueError(f"{site.path}: {error}") from error
    stddev = scale.stddev * stretch(site, initializer)
    note = "; ".join(filter(None, (change.note, why)))
    if alpha is not None and downstream.upstream is not None and point_mass_of(law) is None:
        # The largest number dominates a sum of stable numbers, so the linear gain falls as the
        # width grows, while a smooth activation is exact at Z/sqrt(2).
        size = math.sqrt(2.0) * scale.gain ** (1.0 / alpha)
        note += f", of stable weights at {size:.2g} of that size"
    change = replace(change, s=order, gain=scale.gain, stddev=stddev, note=note)
    return PlannedChange(change, site.variable, position, site, law, weights)


def _reason(kernel: Kernel, options: Options, order: float | None, paired: bool) -> str:
    """Why a kernel stays as it is; empty if it does not. What follows does not matter to pairs."""
    downstream = "" if paired else kernel.downstream.reason
    reason = kernel.not_scalable or downstream or options.reason(kernel.paths)
    if not reason and kernel.site.frozen and not options.include_frozen:
        return "it is frozen"
    if not reason and not (paired or kernel.distribution or options.distribution):
        name = type(kernel.site.initializer).__name__
        return f"its initializer {name} has no scale; `distribution` would give it one"
    return reason or ("" if order is not None else "no pattern of `s` matches")
