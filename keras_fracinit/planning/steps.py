"""Decides for each kernel of a model the scale that it gets, or why it stays as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from keras import ops

from keras_fracinit.graph.kernels import Kernel, check_model
from keras_fracinit.laws.smooth import point_mass_of
from keras_fracinit.models.weight_statistics import root_mean_square
from keras_fracinit.planning.options import Options
from keras_fracinit.planning.report import Change
from keras_fracinit.planning.sampling import initializer_of, sample_kernel, stretch
from keras_fracinit.propagation.orders import effective_order_or_nan


@dataclass(frozen=True)
class PlannedChange:
    """A change, and what is needed to make it.

    Attributes:
        change: The change.
        variable: The variable.
        position: The place of its kernel in the order of the model.
        kernel: The kernel to draw; None if the variable is set to zero.
        law: The law that the initializer is for.
    """

    change: Change
    variable: Any
    position: int
    kernel: Kernel | None = None
    law: Any = None

    def values(self, seed: int) -> Any:
        """The new values, not yet assigned."""
        if self.kernel is None:
            return ops.zeros(self.variable.shape, self.variable.dtype)
        change, site = self.change, self.kernel.site
        weights = change.distribution, change.alpha
        try:
            return sample_kernel(site, initializer_of(site, self.law, change.s, *weights, seed))
        except ValueError as error:
            raise ValueError(f"{change.path}: {error}") from error


def steps_of(model: Any, options: Options) -> list[PlannedChange]:
    """One step for each kernel, and one for each bias that is set to zero."""
    kernels = check_model(model)
    options.check_patterns([kernel.site.path for kernel in kernels])
    steps = []
    for position, kernel in enumerate(kernels):
        depth = position / max(len(kernels) - 1, 1)
        step = _step(kernel, position, options, depth)
        steps.append(step)
        bias = getattr(kernel.site.layer, "bias", None)
        zeroed = options.biases == "zero" and not step.change.skipped and kernel.site.spec.last
        if zeroed and bias is not None:
            change = Change(bias.path, "bias", stddev_before=root_mean_square(bias), stddev=0.0)
            steps.append(PlannedChange(change, bias, position))
    return steps


def _step(kernel: Kernel, position: int, options: Options, depth: float) -> PlannedChange:
    site, downstream = kernel.site, kernel.downstream
    law = downstream.scale_law(options.dropout)
    before = root_mean_square(site.variable)
    own = kernel.distribution, kernel.alpha
    distribution, alpha = (options.distribution, options.alpha) if options.distribution else own
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
        note="; ".join(filter(None, (site.spec.note(site.layer), downstream.note))),
    )
    if law is not None and kernel.normal:
        kept = effective_order_or_nan(law, site.width, site.fan_in * before**2)
        change = replace(change, order_before=kept.order, order_censored=kept.censored)
    order = options.order(site.path, depth)
    reason = _reason(kernel, options) or ("" if order is not None else "no pattern of `s` matches")
    if reason or order is None:
        return PlannedChange(replace(change, skipped=reason), site.variable, position)
    try:
        initializer = initializer_of(site, law, order, distribution, alpha, None)
        scale = initializer.describe(site.shape)
    except ValueError as error:
        raise ValueError(f"{site.path}: {error}") from error
    stddev = scale.stddev * stretch(site, initializer)
    note = change.note
    if alpha is not None and downstream.upstream is not None and point_mass_of(law) is None:
        # The largest number dominates a sum of stable numbers, so the linear gain falls as the
        # width grows, while a smooth activation is exact at Z/sqrt(2).
        size = math.sqrt(2.0) * scale.gain ** (1.0 / alpha)
        note += f", of stable weights at {size:.2g} of that size"
    change = replace(change, s=order, gain=scale.gain, stddev=stddev, note=note)
    return PlannedChange(change, site.variable, position, kernel, law)


def _reason(kernel: Kernel, options: Options) -> str:
    """Why a kernel stays as it is; empty if it does not."""
    reason = kernel.not_scalable or kernel.downstream.reason or options.reason(kernel.site.path)
    if not reason and kernel.site.frozen and not options.include_frozen:
        return "it is frozen"
    if not reason and not (kernel.distribution or options.distribution):
        name = type(kernel.site.initializer).__name__
        return f"its initializer {name} has no scale; `distribution` would give it one"
    return reason
