"""The initializer of a kernel that is planned, and the values it gives."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_fracinit.graph.kernel_table import KernelSite, sampling_of
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.pairing import PLAIN, Form
from keras_fracinit.initializers.fans import fans_of
from keras_fracinit.initializers.lookup import initializer_for
from keras_fracinit.planning.large_kernels import sample_with_less_memory
from keras_fracinit.planning.mirrored import distribution_of, law_in

_LARGE = 2**20  # values


def sample_kernel(site: KernelSite, initializer: Any, form: Form = PLAIN) -> Any:
    """New values of a kernel, as the initializer and the strides of the layer have them."""

    def sample(initializer: Any) -> Any:
        values = initializer(block_shape(site, form), site.variable.dtype)
        if form.repeated and form.pairs is not None:
            values = form.pairs.repeat(values, len(site.shape) - 2, 1.0)
        return values if site.strides == 1 else values * stretch(site, initializer)

    # Stable numbers use their intermediate results more than once.
    if math.prod(site.shape) < _LARGE or initializer.distribution == "stable":
        return sample(initializer)
    return sample_with_less_memory(sample, initializer)


def block_shape(site: KernelSite, form: Form) -> tuple[int, ...]:
    """The shape that an initializer is called with: of repeated values, that of one half."""
    shape = site.shape
    return (*shape[:-2], shape[-2] // 2, shape[-1]) if form.repeated else shape


def stretch(site: KernelSite, initializer: Any) -> float:
    """The factor by which strides raise the scale of a transposed kernel.

    One output sums over so many times fewer inputs, which an initializer cannot know.
    """
    return float(site.strides ** (1.0 / initializer.law.exponent))


def stddevs_of(kernel: Kernel, form: Form = PLAIN) -> tuple[float, float]:
    """Standard deviations of a weight: under the user's initializer, and at s = 2.

    They are nan before the layer is built, and where an initializer has no scale.
    """
    site = kernel.site
    if not site.layer.built or (kernel.law is None and form.pairs is None):
        return math.nan, math.nan
    shape, initializer = site.shape, site.initializer
    last = initializer_like(kernel, 2.0, form)
    after = last.describe(block_shape(site, form)).stddev * stretch(site, last)
    if (draw := sampling_of(initializer)) is None:
        return math.nan, after
    # Keras knows the axes of an EinsumDense, and reads all other shapes as those of dense kernels.
    axes = site.axes if isinstance(site.layer, keras.layers.EinsumDense) else ()
    _, stddev = draw
    return stddev(initializer, shape, fans_of(shape, *axes)), after


def initialize(kernel: Kernel, s: float, seed: int, form: Form = PLAIN) -> None:
    """Replaces the initializer of the layer and, if it is built, its weights."""
    initializer, site = initializer_like(kernel, s, form, seed), kernel.site
    if site.layer.built:
        site.variable.assign(sample_kernel(site, initializer, form))
    # An initializer knows neither strides nor values that partners share.
    if site.strides == 1 and not form.repeated:
        setattr(site.layer, site.spec.initializer, initializer)


def initializer_like(kernel: Kernel, s: float, form: Form = PLAIN, seed: int | None = None) -> Any:
    """The initializer that keeps the s-th moment, with the distribution of the present one.

    A mirrored kernel is orthogonal, unless the present initializer has pairs too.
    """
    weights: dict[str, Any] = {"distribution": kernel.distribution, "alpha": kernel.alpha}
    law = kernel.law
    if form.pairs is not None:
        law = law_in(form, kernel, training=False)
        if getattr(kernel.site.initializer, "pairs", None) is None:
            weights = {"distribution": distribution_of(kernel, form)}
    return initializer_of(kernel.site, law, s, form, seed=seed, **weights)


def initializer_of(site: KernelSite, law: Any, s: float, form: Form = PLAIN, **options: Any) -> Any:
    """The initializer of a kernel, with its axes where the shape does not show them."""
    inputs, outputs = site.axes
    if inputs is not None:
        options |= {"input_axes": inputs, "output_axes": outputs}
    if form.pairs is not None and not form.repeated:
        options["pairs"] = form.pairs.config
    return initializer_for(law, s, **options)
