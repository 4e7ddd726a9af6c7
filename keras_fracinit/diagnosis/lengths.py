"""Carries the sizes of a signal through a smooth activation by the length map itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from keras_fracinit.diagnosis.stations import Station
from keras_fracinit.laws.base import Array
from keras_fracinit.laws.smooth import PointMass
from keras_fracinit.propagation import moments

_silent = np.errstate(all="ignore")  # signals that are not finite have a verdict of their own


_FAR = 6.0  # nats from the operating point: beyond, an activation is a power, or constant


class Behind(NamedTuple):
    """The size behind a smooth activation, in nats.

    Attributes:
        centre: The size.
        share: The share of a deviation that is left, at most 1.
        spread: How far below and above the sizes of whole samples would lead.
    """

    centre: float
    share: float
    spread: tuple[float, float]


@_silent
def behind_smooth(law: PointMass, norms: Array, size: float, stddev: float) -> Behind:
    """Maps the sizes of pre-activations, positions x samples, each no farther from unit size.

    The mean over samples is `size`, and the standard deviation of that is `stddev`.
    """
    if not math.isfinite(size):
        return Behind(math.nan, 1.0, (0.0, 0.0))
    point = float(law.length_map(np.zeros(1))[0])

    def mapped(shift: float, norms: Array = norms) -> float:
        before = norms + shift
        behind = law.length_map(before) - point
        return middle(point + np.copysign(np.minimum(np.abs(behind), np.abs(before)), behind))

    centre = mapped(0.0)
    ends = (0.1, -0.1, 3.0 * stddev, -3.0 * stddev)
    share = min(max(abs((mapped(end) - centre) / end) for end in ends if end), 1.0)
    other = mapped(0.0, _of_samples(norms)[None]) - centre
    return Behind(centre, share, (min(other, 0.0), max(other, 0.0)))


@_silent
def log_norms(station: Station, centre: float) -> Array:
    """The logarithms of the norms at a station, positions x samples, shifted to a mean size."""
    norms = station.output.kept.norms
    return np.maximum(np.log(np.maximum(norms, 1e-300)) + (centre - station.size), -700.0)


def _of_samples(norms: Array) -> Array:
    """The logarithms of the sizes of whole samples."""
    largest = norms.max(axis=0)
    found: Array = largest + 0.5 * np.log(np.mean(np.exp(2.0 * (norms - largest)), axis=0))
    return found


@_silent
def middle(norms: Array) -> float:
    """The mean over the samples that are not zero."""
    samples = _of_samples(norms)
    alive = samples > -350.0
    return float(samples[alive].mean()) if alive.any() else math.nan


def log_norm_at(he: moments.LogNorm, law: PointMass, size: float) -> moments.LogNorm:
    """The log-norm at pre-activations of another size, to first order in 1/width."""
    here = law.at(math.exp(min(max(size, -_FAR), _FAR))) if math.isfinite(size) else law
    there, point = (x.mean_square / x.mean**2 - 1.0 for x in (here, law))
    ratio = there / point if point > 0.0 else 1.0
    return moments.LogNorm(ratio * he.mean, ratio * he.variance)
