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
    """

    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    deviations: tuple[float, ...]
    reach: float
    least: float = 0.0

    @property
    def band(self) -> list[tuple[float, float]]:
        """The lowest and the highest healthy drift behind each step."""
        margins = self._margins
        return [
            (low - margin, high + margin)
            for low, high, margin in zip(self.lows, self.highs, margins, strict=True)
        ]

    @property
    def excesses(self) -> list[float]:
        """How far each drift is beyond `lows` and `highs`, in margins of the band.

        It is negative below and positive above; beyond -1 and 1 the drift is outside the band.
        """
        return [
            (min(value - low, 0.0) + max(value - high, 0.0)) / max(margin, _LEAST)
            for value, low, high, margin in zip(
                self.values, self.lows, self.highs, self._margins, strict=True
            )
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
    def _margins(self) -> list[float]:
        return [max(self.reach * deviation, self.least) for deviation in self.deviations]
