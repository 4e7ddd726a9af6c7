"""Checks the options of a plan and answers what they say of each kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_fracinit.initializers.base import check_weights
from keras_fracinit.utils.patterns import check_patterns, matches
from keras_fracinit.utils.validation import check_choice, check_order, check_several, check_type

Orders = float | Mapping[str, float] | Callable[[float], float]


@dataclass(frozen=True)
class Options:
    """The arguments of `plan`, checked as far as that goes without a model."""

    s: Any
    only: Any
    skip: Any
    include_frozen: bool
    distribution: str | None
    alpha: float | None
    biases: str
    dropout: bool

    def __post_init__(self) -> None:
        if isinstance(self.s, Mapping):
            for pattern, order in self.s.items():
                check_type("s", pattern, str)
                check_order(order)
        elif not callable(self.s):
            object.__setattr__(self, "s", check_order(self.s))
        for name in ("only", "skip"):
            patterns = getattr(self, name)
            if patterns is not None:
                several = [patterns] if isinstance(patterns, str) else check_several(name, patterns)
                object.__setattr__(self, name, [check_type(name, p, str) for p in several])
        check_type("include_frozen", self.include_frozen, bool)
        check_type("dropout", self.dropout, bool)
        if self.distribution is not None or self.alpha is not None:
            check_weights(self.distribution, self.alpha)
        check_choice("biases", self.biases, ("keep", "zero"))

    def order(self, path: str, depth: float) -> float | None:
        """The order of the kernel of this path and relative depth; None if it has none."""
        if isinstance(self.s, Mapping):
            orders = self.s.items()
            return next(
                (check_order(s) for pattern, s in orders if matches((pattern,), path)), None
            )
        return check_order(self.s(depth) if callable(self.s) else self.s)

    def reason(self, path: str) -> str:
        """Why the kernel of this path is not among those to be drawn; empty if it is."""
        if self.only is not None and not matches(self.only, path):
            return "it is not in `only`"
        if matches(self.skip or (), path):
            return "it is in `skip`"
        return ""

    def check_patterns(self, paths: Sequence[str]) -> None:
        """Every pattern must match a kernel, or what was to change would silently stay."""
        for argument in ("s", "only", "skip"):
            patterns = getattr(self, argument)
            several = patterns if isinstance(patterns, list | Mapping) else ()
            check_patterns(argument, several, paths, "variables with kernels")
