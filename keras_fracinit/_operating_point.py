"""The one size of a signal at which the law of a smooth activation holds, and what becomes of it.

Laws may lie in a `Dropout`, which changes the size behind the activation and not that before it.
"""

from __future__ import annotations

from keras_fracinit.laws import Dropout, Law
from keras_fracinit.smooth import PointMass

_NEITHER = 1e-4  # of a slope


def point_mass_of(law: Law | None) -> PointMass | None:
    """The law of a smooth activation; None if it is that of another one."""
    while isinstance(law, Dropout):
        law = law.law
    return law if isinstance(law, PointMass) else None


def check_every_size(law: Law, what: str) -> Law:
    """Refuses the law of a smooth activation for what needs one that holds at every size."""
    if (found := point_mass_of(law)) is not None:
        raise ValueError(
            "`activation` must be positively homogeneous, phi(c u) = c phi(u) for c > 0: the law "
            f"of a smooth one holds at one size of the signal only, and {what}. "
            f"Received: {found.activation!r}"
        )
    return law


def fate_of(length_slope: float) -> str:
    """What the operating point does to a signal that is off it, in words."""
    size = abs(length_slope)
    if abs(size - 1.0) < _NEITHER:
        return "neither attracts nor repels"
    return "attracts" if size < 1.0 else "REPELS: deep networks run away from it"


def caveat_of(length_slope: float) -> str:
    """How long a scale holds that is exact at the operating point, in words."""
    return (
        "exact at unit root mean square of the pre-activations only, which "
        f"{fate_of(length_slope)} (slope of the length map {length_slope:.4f})"
    )
