"""The options of a plan: their names, defaults and checks, and the order each kernel gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypedDict

from keras_fracinit.utils.choices import BIASES, check_mirroring, check_weights
from keras_fracinit.utils.patterns import check_patterns, matches
from keras_fracinit.utils.validation import check_choice, check_order, check_several, check_type

Orders = float | Mapping[str, float] | Callable[[float], float]


@dataclass(frozen=True)
class Options:
    """The order and the options of a plan, checked as far as that goes without a model.

    `plan` and `reinitialize` pass their keyword arguments on to these fields, and the command line
    has a flag of the name of each. What they mean stands in the docstring of `plan`.
    """

    s: Any
    only: Any = None
    skip: Any = None
    include_frozen: bool = False
    distribution: str | None = None
    alpha: float | None = None
    biases: str | None = None
    dropout: bool = False
    mirrored: bool = False
    taps: str = "all"
    branches: str = "keep"

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
        if self.biases is not None:
            check_choice("biases", self.biases, BIASES)
        check_type("mirrored", self.mirrored, bool)
        check_mirroring(self.mirrored, self.taps, self.branches)

    def order(self, paths: Sequence[str], depth: float) -> float | None:
        """The order of the kernel of these paths and relative depth; None if it has none."""
        if isinstance(self.s, Mapping):
            orders = self.s.items()
            return next(
                (check_order(s) for pattern, s in orders if matches((pattern,), *paths)), None
            )
        return check_order(self.s(depth) if callable(self.s) else self.s)

    def reason(self, paths: Sequence[str]) -> str:
        """Why the kernel of these paths is not to be drawn; empty if it is."""
        if self.only is not None and not matches(self.only, *paths):
            return "it is not in `only`"
        if matches(self.skip or (), *paths):
            return "it is in `skip`"
        return ""

    def check_patterns(self, paths: Sequence[Sequence[str]]) -> None:
        """Refuses a pattern that matches no kernel: its kernels would silently stay as they are."""
        for argument in ("s", "only", "skip"):
            patterns = getattr(self, argument)
            several = patterns if isinstance(patterns, list | Mapping) else ()
            check_patterns(argument, several, paths, "variables with kernels")


class PlanOptions(TypedDict, total=False):
    """The fields of `Options` but `s`, with the types that a caller may give."""

    only: str | Sequence[str] | None
    skip: str | Sequence[str] | None
    include_frozen: bool
    distribution: str | None
    alpha: float | None
    biases: str | None
    dropout: bool
    mirrored: bool
    taps: str
    branches: str


def check_options(s: Orders, options: PlanOptions, others: Sequence[str] = ()) -> Options:
    """The checked options of a call.

    Args:
        s: The order.
        options: The keyword arguments that the caller gave.
        others: Names of further arguments of the function that is called, to suggest.

    Raises:
        TypeError: If a name is unknown or a value of the wrong kind.
        ValueError: If a value is out of range.
    """
    names = list(PlanOptions.__annotations__)
    for name, value in options.items():
        if name not in names:
            close = get_close_matches(name, [*names, *others], n=1)
            raise TypeError(
                f"`options` must be among {', '.join(map(repr, names))}. Received: {name}={value!r}"
                + "".join(f". Did you mean {meant!r}?" for meant in close)
            )
    return Options(s, **options)
