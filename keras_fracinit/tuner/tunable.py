"""Finds what can be tuned in the models of a search, and refuses a search in which nothing can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import keras_tuner

from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.kernels import Kernel, kernels_in
from keras_fracinit.graph.pairing import Form
from keras_fracinit.planning.mirrored import check_some_mirrored
from keras_fracinit.tuner.mirroring import Mirroring
from keras_fracinit.tuner.search_space import Groups

_NUMBERS = (keras_tuner.engine.hyperparameters.Int, keras_tuner.engine.hyperparameters.Float)


class Found(NamedTuple):
    """The kernels of one model.

    Attributes:
        kernels: All of them, in the order of the model.
        names: For each the name of its order; None if it has none.
        forms: For each its form where the model is mirrored.
    """

    kernels: list[Kernel]
    names: list[str | None]
    forms: list[Form]

    @property
    def mirrorable(self) -> bool:
        return any(form.pairs is not None for form in self.forms)

    @property
    def tunable(self) -> bool:
        return self.mirrorable or any(self.names)

    @property
    def reasons(self) -> str:
        """Why nothing can be tuned."""
        reasons = [f"{kernel.path}: {kernel.reason or 'in no group'}" for kernel in self.kernels]
        return "; ".join(reasons) or "a model without kernels"


class Tunable:
    """What can be tuned in the models that a search has built so far.

    The models of one search may differ: some may have no kernel to tune, others may lack a group.
    So a search is refused only if no value of a single hyperparameter gives a model that has what
    is missing.

    Args:
        groups: The groups of kernels.
        mirroring: Whether kernels are mirrored.
        build: Builds the inner model from hyperparameters.
    """

    def __init__(self, groups: Groups, mirroring: Mirroring, build: Callable[[Any], Any]) -> None:
        self._groups, self._mirroring, self._build = groups, mirroring, build
        self._names: set[str] = set()  # of the hyperparameters that some model had a use for
        self._sought: set[str | None] = set()  # in other models

    def look(self, model: Any) -> Found:
        """Lists the kernels of a model."""
        graph = Graph(model)
        kernels = kernels_in(graph)
        groups = self._groups.names([kernel.paths for kernel in kernels])
        forms = self._mirroring.forms(graph, kernels, groups)
        pairs = zip(kernels, groups, strict=True)
        found = Found(kernels, [name if kernel.law else None for kernel, name in pairs], forms)
        self._names.update(name for name in found.names if name)
        if found.mirrorable:
            self._names.add(self._mirroring.name)
        return found

    def others(self, hp: Any, found: Found) -> list[str]:
        """The hyperparameters that other models have a use for, where `found` has nothing to tune.

        Raises:
            FatalValueError: If no model has.
        """
        expected = self._groups.expected()
        known = [self._find(hp, name) for name in expected or (None,)]
        if any(known):
            return sorted(filter(self.is_own, self._names))
        if any(kernel.law for kernel in found.kernels):
            self._refuse_group(found, next(iter(expected)))
        raise keras_tuner.errors.FatalValueError(
            "`inner` must build a model with a kernel whose scale can be tuned. "
            f"Received: {found.reasons}"
        )

    def check_mirrored(self, hp: Any, found: Found) -> None:
        """Refuses `mirrored=True` if no model of the search has a kernel that can be."""
        if self._mirroring.value is True and not self._find(hp, self._mirroring.name):
            try:
                check_some_mirrored(found.kernels, found.forms)
            except ValueError as error:
                raise keras_tuner.errors.FatalValueError(str(error)) from error

    def check_all(self, hp: Any) -> None:
        """Refuses a group that matches no kernel, and `mirrored="tune"` if nothing ever can be.

        Once training starts every conditional scope has been built, here or in an earlier process.
        """
        wanted = [self._mirroring.name] if self._mirroring.tuned else []
        for name in [*wanted, *self._groups.expected()]:
            if self._find(hp, name):
                continue
            if name == self._mirroring.name:
                raise keras_tuner.errors.FatalValueError(
                    "`mirrored='tune'` needs a model with kernels that can be mirrored. Received: "
                    "an `inner` none of whose models has any; `mirrored=True` says why"
                )
            self._refuse_group(self.look(self._build(hp.copy())), name)

    def is_own(self, name: str) -> bool:
        """Whether a hyperparameter of this name is declared by the search, not by `inner`."""
        mirroring = self._mirroring
        return self._groups.is_order(name) or (mirroring.tuned and name == mirroring.name)

    def _find(self, hp: Any, name: str | None = None) -> bool:
        """Whether a model of the search has a use for the hyperparameter; by default for any.

        If none of those so far has, those are built in which one hyperparameter has another value.
        """

        def known() -> bool:
            return name in self._names if name else bool(self._names)

        # Those that were declared, perhaps by an earlier process.
        self._names.update(p.name for p in hp.space if self.is_own(p.name))
        inner = [parameter for parameter in hp.space if not self.is_own(parameter.name)]
        tried = known() or name in self._sought
        self._sought.add(name)
        for other in () if tried else _variations(hp, inner):
            with suppress(Exception):  # values that do not go together
                self.look(self._build(other))
            if known():
                break
        return known()

    def _refuse_group(self, found: Found, name: str) -> NoReturn:
        patterns = ", ".join(self._groups.expected()[name])
        raise keras_tuner.errors.FatalValueError(
            f"`groups` must match layers that can be tuned. Received: {name!r} for {patterns}, "
            "which match none in any model that was built, or none that an earlier group leaves; "
            f"the last one has {', '.join(kernel.path for kernel in found.kernels)}"
        )


def _variations(hp: Any, parameters: Sequence[Any]) -> Iterator[Any]:
    """Copies of the hyperparameters with one of them at another value.

    All choices are tried, and the two smallest numbers of a range: large models are costly.
    """
    for parameter in parameters:
        number = isinstance(parameter, _NUMBERS)
        for value in list(parameter.values)[: 2 if number else None]:
            if value != hp.values.get(parameter.name):
                other = hp.copy()
                other.values[parameter.name] = value
                yield other
