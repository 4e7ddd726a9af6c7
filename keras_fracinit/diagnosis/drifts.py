"""Compares a quantity that drifts from layer to layer with the band of healthy networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

_LEAST = 1e-9  # nats, in the place of a band that has no width


@dataclass(frozen=True)
class Drifts:
    """The drifts behind each step of a walk, in nats, and the band around them.

    Attributes:
        values: The drifts: logarithms of a size, less what a network that keeps it would have.
        lows: The lowest drift that the scale of the weights explains behind each step.
        highs: The highest.
        deviations: The standard deviation of the drift behind each step.
        reach: How many standard deviations the band extends beyond `lows` and `highs`.
        least: How many nats it extends at least.
        skewness: That of the drift behind each step, at most 0; none means 0.
    """

    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    deviations: tuple[float, ...]
    reach: float
    least: float = 0.0
    skewness: tuple[float, ...] = ()

    @property
    def band(self) -> list[tuple[float, float]]:
        """The lowest and the highest healthy drift behind each step."""
        rows = zip(self.lows, self.highs, self._margins, strict=True)
        return [(low - below, high + above) for low, high, (below, above) in rows]

    @property
    def excesses(self) -> list[float]:
        """How far each drift is beyond `lows` and `highs`, in margins of the band.

        It is negative below and positive above; beyond -1 and 1 the drift is outside the band.
        """
        rows = zip(self.values, self.lows, self.highs, self._margins, strict=True)
        return [
            min(value - low, 0.0) / max(below, _LEAST) + max(value - high, 0.0) / max(above, _LEAST)
            for value, low, high, (below, above) in rows
        ]

    @property
    def strongest(self) -> int:
        """The step where the evidence is strongest, that is, the excess largest; the last of them.

        It is the last step where there is no excess anywhere.
        """
        sizes = [abs(excess) if math.isfinite(excess) else 0.0 for excess in self.excesses]
        return max(range(len(sizes)), key=lambda place: (sizes[place], place))

    @property
    def excess(self) -> float:
        """The largest excess, with its sign."""
        largest = self.excesses[self.strongest]
        return largest if math.isfinite(largest) else 0.0

    @property
    def _margins(self) -> list[tuple[float, float]]:
        """How far the band extends below `lows` and above `highs`."""
        longer = (1.0 - self.reach**2) / 6.0
        skewness = self.skewness or (0.0,) * len(self.deviations)
        return [
            (max((self.reach + longer * skew) * d, self.least), max(self.reach * d, self.least))
            for d, skew in zip(self.deviations, skewness, strict=True)
        ]
