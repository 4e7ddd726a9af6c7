"""The slope of a leaky ReLU for which a network of a given depth keeps its inputs apart."""

from __future__ import annotations

from keras_fracinit.laws.homogeneous import LeakyReLU
from keras_fracinit.propagation.correlation import CosineMap, check_cosine
from keras_fracinit.utils.validation import check_integer, check_real


def slope_for(depth: int, cosine: float = 0.9, start: float = 0.0) -> float:
    """The negative slope for which `depth` leaky ReLU layers take one cosine to another.

    The cosine of two inputs rises from layer to layer by the c map (`correlation_map`), the slower
    the closer the slope is to 1. The slope returned is the root a in [0, 1] of

        C_a(C_a(... C_a(start))) = cosine,    C_a the c map of slope a, applied `depth` times,

    in the limit of wide layers. The moment of order s is then kept exactly at every width by
    `FracLeakyReLU(a, s)`, as for any slope.

    Args:
        depth: The number of layers, 1 to 100,000.
        cosine: The cosine of the outputs, above `start` and below 1.
        start: The cosine of the inputs, -1 <= start < 1. 0 (default): orthogonal inputs.

    Returns:
        The slope, in [0, 1]. It is 0 where plain ReLU layers already stay below `cosine`.

    Raises:
        TypeError: If an argument is not a number of its kind.
        ValueError: If an argument is outside its range.

    Example:

    >>> from keras_fracinit.propagation import slope_for
    >>> round(slope_for(40), 3), round(slope_for(100, cosine=0.7), 3)
    (0.378, 0.717)
    >>> slope_for(10)  # ten ReLU layers reach 0.87
    0.0

    Source: G. Zhang, A. Botev and J. Martens, "Deep learning without shortcuts: shaping the kernel
    with tailored rectifiers", ICLR 2022, arXiv 2203.08120.
    """
    depth = check_integer("depth", depth, 1, 100_000)
    first, last = check_cosine("start", start), check_real("cosine", cosine)
    if not first < last < 1.0:
        raise ValueError(
            f"`cosine` must satisfy start < cosine < 1. Received: cosine={cosine}, start={start}"
        )

    def excess(slope: float) -> float:
        """The distance 1 - c behind the last layer, less the one asked for."""
        c_map, distance = CosineMap.of(LeakyReLU(slope), shared=True), 1.0 - first
        for _ in range(depth):
            distance = c_map(distance)
        return distance - (1.0 - last)

    if excess(0.0) >= 0.0:
        return 0.0
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    return float(brentq(excess, 0.0, 1.0, xtol=1e-14))
