"""Says what would keep the inputs of a model apart, where they become parallel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_fracinit.diagnosis.random_walk import KernelLaws, kernels_in
from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.pairing import forms_of
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Dropout, LeakyReLU, Linear, ReLU
from keras_fracinit.models.forward_pass import Output
from keras_fracinit.propagation.slope import slope_for

_COSINE = 0.9  # that a slope is recommended for


@dataclass(frozen=True)
class Cure:
    """The cures for one model.

    Attributes:
        graph: The calls of the model.
        kernels: Its kernels.
        known: The kernels of each layer, by its id.
    """

    graph: Graph
    kernels: Sequence[Kernel]
    known: dict[int, list[KernelLaws]]

    def text(self, signals: Sequence[Output]) -> str:
        """What would help, given the outputs from the input of the model on."""
        items = [item for output in signals for item in kernels_in(output.layer, self.known)]
        mirrored = self._mirrored(items)
        slope = _slope([item.activation for item in items], signals[0].kept.cosine)
        other = slope or "a normalization behind every activation"
        return f"what would keep them apart: {mirrored}; or {other}"

    def _mirrored(self, items: Sequence[KernelLaws]) -> str:
        """Mirrored weights, if at least half of the kernels can have pairs; else what ends them."""
        kept = [k.not_scalable or ("it is frozen" if k.site.frozen else "") for k in self.kernels]
        forms, _ = forms_of(self.graph, self.kernels, kept)
        places = {id(kernel): place for place, kernel in enumerate(self.kernels)}
        found = [(item, forms[places[id(item.kernel)]]) for item in items]
        count = sum(form.pairs is not None for _, form in found)
        if 2 * count >= len(found):
            return f"reinitialize(model, mirrored=True), for {count} of {len(found)} kernels"
        # No last kernel makes pairs, which says nothing of the model.
        ends = [(item, form) for item, form in found[:-1] or found if not form.makes_pairs]
        even = [(item, form) for item, form in ends if item.kernel.site.width % 2 == 0]
        item, form = (even or ends)[0]
        return f"mirrored weights, but {form.reason} ({item.kernel.path})"


def _slope(laws: Sequence[Law | None], start: float) -> str:
    """A leaky ReLU for this depth; empty if the activations are others, or leaky enough."""
    acting = [law.law if isinstance(law, Dropout) else law for law in laws]
    acting = [law for law in acting if law != Linear()]
    slopes = [
        0.0 if law == ReLU() else law.negative_slope
        for law in acting
        if law == ReLU() or isinstance(law, LeakyReLU)
    ]
    start = start if start > 0.0 else 0.0  # nan where the model has several inputs
    if not slopes or len(slopes) < len(acting) or start >= _COSINE:
        return ""
    slope = slope_for(len(slopes), _COSINE, start)
    if max(slopes) >= slope or min(slopes) < 0.0:
        return ""
    return (
        f"LeakyReLU(negative_slope={slope:.2f}), which would keep the cosine at {_COSINE:g} over "
        f"{len(slopes)} layers"
    )
