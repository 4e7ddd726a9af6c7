"""Names what options may be, and checks those that depend on each other. Needs no Keras.

The command line reads these before it imports anything that takes seconds.
"""

from __future__ import annotations

from typing import Any

from keras_fracinit.utils.validation import check_choice, check_real

DISTRIBUTIONS = ("untruncated_normal", "truncated_normal", "uniform", "orthogonal", "stable")
TAPS = ("all", "center")
BRANCHES = ("keep", "zero", "isometry")
BIASES = ("keep", "zero")
LIMIT = 256  # samples of a probe


def check_alpha(value: object) -> float:
    """Checks the tail index of stable weights."""
    alpha = check_real("alpha", value)
    if not 1.0 < alpha < 2.0:
        raise ValueError(
            "`alpha` must lie between 1 and 2, both excluded: below 1 sums are ruled by one weight "
            "alone, and 2 is the normal distribution, which is the default. "
            f"Received: alpha={value}"
        )
    return alpha


def check_weights(distribution: Any, alpha: Any) -> None:
    """Checks the distribution of the weights, and its tail index."""
    check_choice("distribution", distribution, DISTRIBUTIONS)
    if (alpha is None) == (distribution == "stable"):
        raise ValueError(
            "`alpha` must be given with `distribution='stable'`, and with no other. "
            f"Received: alpha={alpha}, distribution={distribution!r}"
        )
    if alpha is not None:
        check_alpha(alpha)


def check_mirroring(mirrored: bool, taps: Any, branches: Any) -> None:
    """Checks the taps and branches of a plan, some of which only mirrored kernels have."""
    check_choice("taps", taps, TAPS)
    check_choice("branches", branches, BRANCHES)
    for name, value, needy in (("taps", taps, "center"), ("branches", branches, "isometry")):
        if not mirrored and value == needy:
            raise ValueError(
                f"`{name}={needy!r}` must go with `mirrored=True`. "
                f"Received: {name}={needy!r}, mirrored=False"
            )
