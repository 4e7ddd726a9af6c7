"""Two inputs at once: how a wide layer changes the angle between them.

The pre-activations of a unit for two inputs of cosine c are jointly normal with correlation c, and
a sum over many units is its mean. So the cosine of the outputs is a function of c alone, whatever
the scale of the weights, and depth iterates it.

Source: Y. Cho and L. K. Saul, "Kernel methods for deep learning", NIPS 2009.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

from keras_fracinit.laws.base import Law, law_of
from keras_fracinit.utils.printing import record_html
from keras_fracinit.utils.validation import check_real

_MOST_LAYERS = 100_000


@dataclass(frozen=True)
class Collapse:
    """How the inputs of a stack become parallel, as its layers grow wide.

    Attributes:
        cosines: The cosine of two signals: at the input, then after each layer.
        rate: K of `1 - c_k ~ 4/(K k)^2`, the mean over the layers; 0 where all are linear.
        limit: The cosine after infinitely many such stacks: below 1 where each input has random
            slopes or masks of its own.
        layers: The number of layers, the stack repeated, until `1 - c < 0.01`; infinite if more
            than 100,000.
    """

    cosines: tuple[float, ...]
    rate: float
    limit: float
    layers: float

    _repr_html_ = record_html

    def __str__(self) -> str:
        return (
            f"cosine {self.cosines[0]:.4g} -> {self.cosines[-1]:.4g} in {len(self.cosines) - 1} "
            f"layers, limit {self.limit:.4g}; K = {self.rate:.4g}, "
            f"1 - c < 0.01 from layer {self.layers:g}"
        )


def correlation_map(activation: object, c: float, shared: bool = False) -> float:
    """The cosine of the outputs of a wide layer, for two inputs of cosine c: the c map.

    For `u`, `v` standard normal of correlation c, `E phi(u) phi(v) / E phi(u)^2`. With t = acos c
    and the numbers of `Law.overlap`,

        (odd + even) c / E q + (2 even/(pi E q)) (sin t - t cos t);

    ReLU: the arc-cosine kernel of first order. A layer of finite width d is off by O(1/d).

    Args:
        activation: A law of `keras_fracinit.laws`, or anything that `initializer_for` accepts, if
            it is positively homogeneous.
        c: The cosine of the two inputs, -1 to 1.
        shared: As for `Propagation.collapse`.

    Returns:
        A cosine.

    Raises:
        TypeError: If `c` is not a real number.
        ValueError: If an argument is outside its range, or the activation smooth.

    Example:

    >>> from keras_fracinit.propagation import correlation_map
    >>> round(correlation_map("relu", 0.0), 6)  # 1/pi
    0.31831

    Source: Cho and Saul, "Kernel methods for deep learning", NIPS 2009.
    """
    return 1.0 - CosineMap.of(law_of(activation), shared)(1.0 - check_cosine("c", c))


class CosineMap(NamedTuple):
    """`correlation_map` as a map of the distance 1 - c, which keeps its digits near c = 1."""

    total: float
    even: float

    @classmethod
    def of(cls, law: Law, shared: bool) -> CosineMap:
        total, even = law.overlap(shared)
        return cls(total / law.mean, even / law.mean)

    @property
    def rate(self) -> float:
        return 4.0 * math.sqrt(2.0) / (3.0 * math.pi) * self.even

    def __call__(self, distance: float) -> float:
        angle = 2.0 * math.asin(math.sqrt(0.5 * distance))
        gained = (2.0 / math.pi) * self.even * (math.sin(angle) - angle * math.cos(angle))
        # Rounding may leave the interval where the two inputs are opposite or the same.
        return min(max(1.0 - self.total + self.total * distance - gained, 0.0), 2.0)


def limit_of(stack: tuple[CosineMap, ...], start: float) -> float:
    """Finds the cosine to which the repeated stack leads: the only fixed point, or `start`."""
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    def change(distance: float) -> float:
        return functools.reduce(lambda x, layer: layer(x), stack, distance) - distance

    moved = change(start)
    if moved == 0.0:
        return 1.0 - start
    end = 0.0 if moved < 0.0 else 2.0
    return 1.0 - float(brentq(change, start, end, xtol=1e-15))


def layers_until(stack: tuple[CosineMap, ...], distance: float, level: float) -> float:
    """Counts the layers of the repeated stack until the distance is under a level."""
    for count in range(_MOST_LAYERS):
        if distance < level:
            return count
        distance = stack[count % len(stack)](distance)
    return math.inf


def check_cosine(name: str, value: object) -> float:
    """Checks a cosine: a number in [-1, 1]."""
    cosine = check_real(name, value)
    if not -1.0 <= cosine <= 1.0:
        raise ValueError(f"`{name}` must satisfy -1 <= {name} <= 1. Received: {name}={value}")
    return cosine
