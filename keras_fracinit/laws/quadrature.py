"""Nodes and weights of expectations over a standard normal number: in one piece or in several.

In one piece. With `z = log(1 + exp(x))/3` on either half-line the trapezoidal rule in x has nodes
that are evenly spaced for large z and geometric near 0, where `phi(z)^2` vanishes for most
activations and a narrow layer looks at scales down to exp(-50). The integrands of smooth
activations are analytic for `|Im x| < pi`, and with a step of 1/8 the error is exp(-4 pi^2)
= 7e-18.

In several. A jump, a kink or a zero of phi ends that, and the rule is off by up to the distance of
two nodes. There each half-line is cut at such places, and each piece further into pieces of length
2 in x, on which Gauss' rule with 16 nodes has an error of about 1e-17.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_fracinit.laws.base import Array

# z from exp(-61) to 13: beyond lie 1e-27 and 1e-38 of a standard normal.
_FIRST, _LAST = -60.0, 39.0
_PIECE = 2.0
_GAUSS, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(16)
# The central difference of sixth order.
_DIFFERENCE = np.array([-1.0, 9.0, -45.0, 0.0, 45.0, -9.0, 1.0]) / 60.0

Borders = tuple[float, ...]


class Rule(NamedTuple):
    """A rule of integration: nodes, `-z` in row 0 and `z` in row 1, ascending, and weights.

    Attributes:
        nodes: `(2, n)`.
        weights: `(2, n)`, of sum 1.
        slopes_of: Gives the slopes of a function at the nodes from its values there.
    """

    nodes: Array
    weights: Array
    slopes_of: Callable[[Array], Array]


@functools.lru_cache(maxsize=64)
def rule_of(borders: Borders = (), doubled: bool = False) -> Rule:
    """The rule with pieces that end at these distances from 0; in one piece if there are none.

    With `doubled` it has twice as many nodes.
    """
    return _in_pieces(borders, doubled) if borders else _in_one(doubled)


def nodes(doubled: bool = False, borders: Borders = ()) -> Array:
    """Gives the points at which an activation is evaluated: `-z` in row 0, `z` in row 1, ascending.

    With `doubled` also those of the rule with twice as many nodes, see `split`.
    """
    if doubled and borders:
        both = rule_of(borders).nodes, rule_of(borders, True).nodes
        return np.concatenate(both, axis=1)
    return rule_of(borders, doubled).nodes


def split(values: Array, borders: Borders) -> tuple[Array, Array]:
    """Splits values at `nodes(True, borders)`: those of the plain rule, and of the doubled one."""
    if not borders:
        return values[:, ::2], values
    size = rule_of(borders).nodes.shape[1]
    return values[:, :size], values[:, size:]


def _in_one(doubled: bool) -> Rule:
    step = 0.5 if doubled else 1.0
    x = np.arange(8.0 * _FIRST, 8.0 * _LAST + step, step) / 8.0
    z, speed = np.logaddexp(0.0, x) / 3.0, 1.0 / (24.0 * (1.0 + np.exp(-x)))

    def slopes_of(values: Array) -> Array:
        slopes = np.zeros_like(values)
        for row, sign in ((0, -1.0), (1, 1.0)):
            difference = np.correlate(values[row], _DIFFERENCE, "valid")
            slopes[row, 3:-3] = sign * difference / (step * speed[3:-3])
        return slopes

    return _rule(z, np.exp(-0.5 * z * z) * speed, slopes_of)


def _in_pieces(borders: Borders, doubled: bool) -> Rule:
    cuts = np.log(np.expm1(3.0 * np.array(borders)))
    ends = np.union1d(np.arange(_FIRST, _LAST + 1.0, _PIECE), cuts)
    if doubled:
        ends = np.union1d(ends, 0.5 * (ends[1:] + ends[:-1]))
    half = 0.5 * np.diff(ends)[:, None]
    x = (ends[:-1, None] + half * (1.0 + _GAUSS)).ravel()
    z, speed = np.logaddexp(0.0, x) / 3.0, 1.0 / (3.0 * (1.0 + np.exp(-x)))

    def slopes_of(values: Array) -> Array:
        pieces = values.reshape(2, -1, _GAUSS.size) @ _differentiation().T / half
        slopes: Array = pieces.reshape(2, -1) / speed * [[-1.0], [1.0]]
        return slopes

    return _rule(z, np.exp(-0.5 * z * z) * speed * (half * _GAUSS_WEIGHTS).ravel(), slopes_of)


def _rule(z: Array, weights: Array, slopes_of: Callable[[Array], Array]) -> Rule:
    return Rule(np.stack([-z, z]), np.tile(0.5 * weights / weights.sum(), (2, 1)), slopes_of)


@functools.cache
def _differentiation() -> Array:
    """The matrix from values at Gauss' nodes to the slopes of their polynomial there."""
    distance = _GAUSS[:, None] - _GAUSS + np.eye(_GAUSS.size)
    products = distance.prod(axis=1)
    matrix: Array = products[:, None] / products / distance
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix
