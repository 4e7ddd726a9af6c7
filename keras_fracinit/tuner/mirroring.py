"""Mirrored kernels in a search: always, never, or as a hyperparameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.pairing import PLAIN, Form, forms_of
from keras_fracinit.planning.sampling import block_shape, initializer_like

TUNE = "tune"


class Mirroring:
    """Whether the kernels of a search are mirrored.

    Args:
        value: False, True, or "tune" for a hyperparameter.
        order_name: The name of the order, from which that of this hyperparameter follows.

    Raises:
        ValueError: If the value is another.
    """

    def __init__(self, value: Any, order_name: str) -> None:
        if not (isinstance(value, bool) or value == TUNE):
            raise ValueError(
                f"`mirrored` must be False, True or 'tune'. Received: mirrored={value!r}"
            )
        self.value: bool | str = value
        self.name = "mirrored" if order_name == "s" else f"mirrored_{order_name}"

    @property
    def tuned(self) -> bool:
        return self.value == TUNE

    def forms(
        self, graph: Graph, kernels: Sequence[Kernel], groups: Sequence[str | None]
    ) -> list[Form]:
        """The form of each kernel where the model is mirrored; a kernel in no group has none."""
        if not self.value:
            return [PLAIN] * len(kernels)
        pairs = zip(kernels, groups, strict=True)
        kept = [_kept(kernel) or ("" if group else "in no group") for kernel, group in pairs]
        forms, _ = forms_of(graph, kernels, kept)
        return forms

    def declare(self, hp: Any, mirrorable: bool) -> bool:
        """Whether this model is mirrored, which is a hyperparameter where it is tuned."""
        return mirrorable and (self.value is True or bool(hp.Boolean(self.name)))

    def orders(
        self,
        hp: Any,
        kernels: Sequence[Kernel],
        names: Sequence[str | None],
        forms: Sequence[Form],
        declare: Callable[[Any, str], float | None],
    ) -> list[float | None]:
        """Declares the order of each kernel; None where it has none, or no effect."""
        # Those that change a mirrored model. Without mirrored kernels these are all.
        rows = zip(kernels, names, forms, strict=True)
        active = {name for kernel, name, form in rows if name and s_is_active(kernel, form)}
        found: list[float | None] = []
        for name in names:
            if name is None or (name not in active and not self.tuned):
                found.append(None)
            elif name in active:
                found.append(declare(hp, name))
            else:
                with hp.conditional_scope(self.name, [False]):
                    found.append(declare(hp, name))
        return found


def _kept(kernel: Kernel) -> str:
    """Why a kernel of a fresh model stays as it is; empty if it does not."""
    if kernel.not_scalable or kernel.site.frozen:
        return kernel.not_scalable or "frozen"
    depthwise = kernel.site.spec.kind == "depthwise"
    return "not built yet" if depthwise and not kernel.site.layer.built else ""


def s_is_active(kernel: Kernel, form: Form) -> bool:
    """Whether the order changes the scale of this kernel; before it is built, as far as known."""
    if form.pairs is None or not kernel.site.layer.built:
        return True
    shape = block_shape(kernel.site, form)
    return bool(initializer_like(kernel, 2.0, form).describe(shape).s_is_active)
