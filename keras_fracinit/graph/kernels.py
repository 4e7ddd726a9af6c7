"""Lists the kernels of a model, each with what precedes and follows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.downstream import Downstream, DownstreamFinder
from keras_fracinit.graph.kernel_table import KernelSite, sampling_of, sites_of
from keras_fracinit.laws.base import Law
from keras_fracinit.utils.patterns import Names

layers = keras.layers


_DIVIDED = "SpectralNormalization divides it by its norm, so its scale does not matter"


@dataclass(frozen=True)
class Kernel:
    """A kernel of a model, with what its scale depends on. It describes, and changes nothing.

    Attributes:
        site: The layer that holds it, and how it connects inputs and outputs.
        downstream: What follows its output.
        distribution: The distribution of the user's initializer; empty if that has no scale.
        not_scalable: Why it cannot be scaled whatever follows it; empty if it can.
        alone: Whether it is the only kernel of its layer.
        paths: The path of its variable, and others by which patterns may name it.
    """

    site: KernelSite
    downstream: Downstream
    distribution: str = ""
    not_scalable: str = ""
    alone: bool = True
    paths: tuple[str, ...] = ()

    @property
    def alpha(self) -> float | None:
        """The tail index of its weights, if they are stable."""
        return self.site.initializer.alpha if self.distribution == "stable" else None

    @property
    def normal(self) -> bool:
        """Whether the root mean square of its values tells their scale; stable ones have none."""
        return self.alpha is None

    @property
    def law(self) -> Law | None:
        """The law that its scale is for; None if it cannot be scaled."""
        return None if self.reason else self.downstream.scale_law(training=False)

    @property
    def reason(self) -> str:
        """Why it cannot be scaled; empty if it can."""
        if self.not_scalable or self.site.frozen:
            return self.not_scalable or "frozen"
        if self.downstream.law is not None and not self.distribution:
            name = type(self.site.initializer).__name__
            return f"its initializer {name} has no scale to tune"
        return self.downstream.reason

    @property
    def path(self) -> str:
        """The path of the layer, or its name until it is built; where the layer has several
        kernels, the path of the variable."""
        layer = self.site.layer
        return str(layer.path or layer.name) if self.alone else self.site.path


def kernels_of(model: Any) -> list[Kernel]:
    """Lists each kernel of a model once, in the order of the first calls of their layers."""
    return kernels_in(Graph(model))


def kernels_in(graph: Graph) -> list[Kernel]:
    """Lists each kernel of a model whose calls are recorded."""
    kernels, seen = [], set[int]()
    downstreams, names = DownstreamFinder(graph), Names(graph.model)
    divided = {id(x.layer) for x in graph.layers if isinstance(x, layers.SpectralNormalization)}
    for layer in graph.layers:
        hidden = graph.hidden.get(id(layer))
        sites = sites_of(layer, recurrent=isinstance(hidden, layers.RNN))
        for site in sites:
            # Layers may share a variable, and an embedding be a layer's output kernel too.
            if id(site.variable) in seen and site.variable is not None:
                continue
            seen.add(id(site.variable))
            known = [other for other in sites if other.spec.kind != "unknown"]
            alone = len(sites) == 1 or known == [site]
            kernel = _kernel(site, downstreams, hidden, alone)
            reason = kernel.not_scalable or (_DIVIDED if id(layer) in divided else "")
            kernels.append(
                replace(kernel, not_scalable=reason, paths=names.of_part(site.layer, site.path))
            )
    return kernels


def _kernel(site: KernelSite, downstreams: DownstreamFinder, hidden: Any, alone: bool) -> Kernel:
    layer, reason = site.layer, site.spec.reason
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        reason = "quantized or with LoRA weights"
    elif not layer.built and site.strides != 1:
        reason = "not built yet, and no initializer knows its strides"
    elif not site.strides:
        reason = "it sums over positions, and their number is not known"
    elif hidden is not None and not reason:
        reason = f"it belongs to a {type(hidden).__name__}, which is not looked into"
    draw = sampling_of(site.initializer)
    distribution = draw[0](site.initializer) if draw else ""
    downstream = Downstream() if reason else downstreams.of(site)
    return Kernel(site, downstream, distribution, reason, alone)


def look_into(model: Any, x: Any = None) -> tuple[Graph, list[Kernel]]:
    """Records the calls of a model, on inputs like x, and lists its kernels."""
    check_model(model)
    graph = Graph(model, x)
    kernels = [kernel for kernel in kernels_in(graph) if kernel.site.variable is not None]
    if not kernels:
        raise ValueError(f"`model` must have kernels. Received: model {model.name!r} without any")
    return graph, kernels


def check_model(model: Any) -> None:
    """Refuses a model that cannot be changed."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {model!r} (of {type(model)})")
    unbuilt = [layer.name for layer in model._flatten_layers() if not layer.built]
    if not model.built or (unbuilt and not model.weights):
        raise ValueError(
            "`model` must be built: call it once on an array of the shape of one batch, or call "
            "its `build(input_shape)`, or begin it with a keras.Input. "
            f"Received: model {model.name!r}, of which {', '.join(unbuilt[:3])} is not built"
        )
    for layer in model._flatten_layers():
        if getattr(layer, "quantization_mode", None):
            raise ValueError(
                "`model` must not be quantized: its kernels are integers. Re-initialize it, then "
                f"quantize it. Received: layer {layer.name!r} in {layer.quantization_mode}"
            )
