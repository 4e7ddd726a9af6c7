"""Finds the jumps, kinks and zeros of a function that can only be evaluated, in float32.

A place that is not smooth stands out in the fourth differences between evenly spaced points, and
in the second differences wherever one looks closer: those of a smooth function become equal to
each other. A zero matters because small orders look at `|phi|^s`, which is not smooth there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_fracinit.laws.base import Array
from keras_fracinit.laws.quadrature import Borders, nodes

Evaluate = Callable[[Array], Array]  # values at points, both of any one shape

_NOISE = 2.0**-20  # of a float32 function, relatively, with room for inexact ones
_MOST = 40  # of more places than these the rule of integration would be slow
_PARTS = 16  # into which an interval is divided when looking closer
_LEVELS = 8  # from the distance of two nodes to that of two numbers
_AROUND = 24  # nodes, half a unit at most


def find_borders(evaluate: Evaluate, values: Array) -> Borders:
    """Finds the distances from 0 at which a rule of integration must have the end of a piece.

    Args:
        evaluate: The function, for any points.
        values: Its values at `nodes(doubled=True)`.

    Returns:
        Them, ascending, with more of them around zeros; none for a smooth function, and none for
        one of more than 40 such places.
    """
    z = nodes(doubled=True)
    scale = float(np.sqrt(np.mean(values[np.abs(z) < 2.0] ** 2)))
    rough, zeros = [], []
    for row in range(2):
        i = _candidates(values[row], scale)
        rough.append(np.stack([z[row, i - 2], z[row, i + 2]], axis=-1))
        i = _changes_of_sign(values[row], scale)
        zeros.append(np.stack([z[row, i], z[row, i + 1]], axis=-1))
    broken = _distinct(_locate_breaks(evaluate, np.concatenate(rough), scale))
    crossed = _distinct(_locate_zeros(evaluate, np.concatenate(zeros)))
    if broken.size + crossed.size > _MOST:
        return ()
    # Towards a zero |phi|^s falls like a power, and pieces that shrink by a factor follow it.
    reach = np.minimum(crossed, 1.0)[:, None] * 8.0 ** -np.arange(1.0, 6.0)
    around = (crossed[:, None] + np.concatenate([-reach, reach], axis=1)).ravel()
    every = np.concatenate([broken, crossed, around])
    return tuple(np.unique(every[(every > 0.0) & (every < z[1, -1])]).tolist())


def _distinct(places: Array) -> Array:
    """The distances from 0: once where both signs have the same, or two intervals one place."""
    distances = np.sort(np.abs(places))
    return distances[np.diff(distances, prepend=0.0) > _NOISE * distances]


def _candidates(values: Array, scale: float) -> Array:
    """The nodes whose fourth difference stands out: of those next to each other, the largest."""
    size = np.zeros_like(values)
    size[2:-2] = np.abs(np.convolve(values, [1.0, -4.0, 6.0, -4.0, 1.0], "valid"))
    near = np.lib.stride_tricks.sliding_window_view(np.pad(size, _AROUND), 2 * _AROUND + 1)
    usual = np.median(near, axis=1)
    largest = near[:, _AROUND - 3 : _AROUND + 4].max(axis=1)
    level = np.maximum(20.0 * usual, 16.0 * _NOISE * np.maximum(np.abs(values), scale))
    return np.flatnonzero((size > level) & (size == largest))


def _changes_of_sign(values: Array, scale: float) -> Array:
    """The nodes behind which the sign changes, also to 0, and the function is of some size."""
    size = np.pad(np.abs(values), _AROUND)
    near = np.lib.stride_tricks.sliding_window_view(size, 2 * _AROUND + 1).max(axis=1)
    change = np.sign(values[:-1]) != np.sign(values[1:])
    return np.flatnonzero(change & (near[:-1] > 1e-4 * scale))


def _divide(intervals: Array) -> Array:
    low, high = intervals[:, :1], intervals[:, 1:]
    points = low + (high - low) * np.linspace(0.0, 1.0, _PARTS + 1)
    return points.astype("float32").astype("float64")  # as they are evaluated


def _locate_breaks(evaluate: Evaluate, intervals: Array, scale: float) -> Array:
    """The place in each interval where the function is not smooth, if there is one."""
    found = np.full(len(intervals), np.nan)
    active = np.arange(len(intervals))
    for _ in range(_LEVELS):
        if not active.size:
            break
        points = _divide(intervals[active])
        values = evaluate(points)
        bend = np.abs(np.diff(values, 2, axis=1))
        middle = 1 + bend.argmax(axis=1)
        noise = _NOISE * np.maximum(np.abs(values).max(axis=1), scale)
        seen = bend.max(axis=1) > 8.0 * noise
        sharp = bend.max(axis=1) > 8.0 * np.maximum(np.median(bend, axis=1), noise)
        rows = np.arange(len(active))
        ends = points[rows, middle - 1], points[rows, middle + 1]
        # The last level at which anything is seen decides.
        found[active[seen]] = np.where(sharp, 0.5 * (ends[0] + ends[1]), np.nan)[seen]
        intervals[active] = np.stack(ends, axis=-1)
        active = active[seen]
    breaks: Array = found[~np.isnan(found)]
    return breaks


def _locate_zeros(evaluate: Evaluate, intervals: Array) -> Array:
    for _ in range(_LEVELS if len(intervals) else 0):
        points = _divide(intervals)
        sign = np.sign(evaluate(points))
        first = (sign != sign[:, :1]).argmax(axis=1)  # 0 if none differs: the ends are neighbours
        rows = np.arange(len(points))
        closer = np.stack([points[rows, first - 1], points[rows, first]], axis=-1)
        intervals = np.where(first[:, None] > 0, closer, intervals)
    middle: Array = intervals.mean(axis=1)
    return middle
