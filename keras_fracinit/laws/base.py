"""The law of one unit: the distribution of the squared output of an activation.

A layer `y = phi(W x)` with independent `W_ij ~ N(0, sigma^2)` and a positively homogeneous `phi`
has, given `x`, exactly

    |y| = sigma |x| sqrt(Q),    Q = sum over the d output units of q,    q = phi(z)^2,

where `z ~ N(0, 1)` is drawn afresh for each unit. All that the moments of a layer need to know of
its activation is therefore the law of the one number `q = C z^2`, with `C` the squared slope of
`phi` at `z`. A `Law` gives its first two moments, how often it is zero and its Laplace transform,
for two inputs at once also how much their outputs have in common, and nothing above this package
depends on which activation it is: a new activation is a new class here.

The members of each law, with a the negative slope, U the random one and u its upper end, B the
slope of `Slopes`, `k = 1 - rate`, L the same member of the law within, and "nodes" for a sum over
point masses. A member that refuses raises ValueError; so does L where the law within refuses.

| | Linear | ReLU, LeakyReLU | RandomizedLeakyReLU | Slopes | Dropout | Smooth | Sampled | Stable |
|---|---|---|---|---|---|---|---|---|
| mean | 1 | (1 + a^2)/2 | (1 + E U^2)/2 | E B^2 | L/k | nodes | nodes | inf; nodes if bounded |
| mean_square | 3 | 3 (1 + a^4)/2 | 3 (1 + E U^4)/2 | 3 E B^4 | L/k^3 | nodes | nodes | inf |
| alive | 1 | 1; 1/2 for a = 0 | 1; 1/2 for u = 0 | P(B > 0) | k L | nodes | nodes | nodes |
| floor | 1 | min(1, a^2) | min(1, u^2) | min u^2 | L/k^2 | nodes | nodes | nodes |
| ceiling | 1 | max(1, a^2) | max(1, u^2) | max u^2 | L/k^2 | refuses | refuses | inf |
| exponent | 2 | 2 | 2 | 2 | 2 | 2 | 2 | alpha |
| size | mean | mean | mean | mean | mean | mean | mean | a quantile; mean if finite |
| laplace | closed | closed | closed | closed | from L | nodes | nodes | nodes |
| magnitudes | z | z, abs(a) z | z, U z | B z | L/k, 0 | abs phi(+-z) | refuses | L |
| overlap | closed | closed | closed | closed | L/k; L | refuses | refuses | refuses |
| sides | 1; 1 | 1; a | 1; U | B; B | L/k, 0 | None | None | None |
| pair | None | (1 + a) u | (1 + U) u | None | L or None | c u or None | c u or None | L or None |

Source: M. Gurbuzbalaban and Y. Hu, "Fractional moment-preserving initialization schemes for
training deep neural networks", AISTATS 2021, arXiv 2005.11878.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy.typing as npt

from keras_fracinit.utils.validation import check_order

Array = npt.NDArray[Any]  # of float64, or complex128 where an integral leaves the real line
Slope = tuple[float, float, float]  # (probability, lower, upper), uniform in between
Sides = tuple[tuple[Slope, ...], tuple[Slope, ...]]


class Laplace(NamedTuple):
    """The transform `psi(t) = E exp(-t q)` in three numbers that keep all their digits.

    Attributes:
        psi: `psi(t)`, to full relative accuracy where it is small (large `t`).
        complement: `1 - psi(t)`, to full relative accuracy where it is small (small `t`).
        decay: `-psi'(t) = E[q exp(-t q)]`.
    """

    psi: Array
    complement: Array
    decay: Array


class Law(ABC):
    """The law of `q = phi(z)^2`, `z` standard normal. Immutable, hashable, compared by value."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """`E q = E C`. Its reciprocal is the gain at s = 2."""

    @property
    @abstractmethod
    def mean_square(self) -> float:
        """`E q^2 = 3 E C^2`."""

    @property
    @abstractmethod
    def alive(self) -> float:
        """`P(q > 0)`. Its complement is the probability that one unit is silent."""

    @property
    @abstractmethod
    def floor(self) -> float:
        """The smallest squared slope above 0; for `t` far beyond `1/floor`, `psi` is `P(q = 0)`."""

    @property
    @abstractmethod
    def ceiling(self) -> float:
        """The largest squared slope: `psi` is analytic off a cut from `-1/(2 ceiling)` to -inf."""

    @property
    def exponent(self) -> float:
        """alpha of `q = |phi(z)|^alpha`: 2 for normal weights, less for stable ones."""
        return 2.0

    def check_order(self, s: object) -> float:
        """Checks the order of a moment that a layer can keep."""
        return check_order(s)

    def size(self, width: int) -> float:
        """The typical size of `Q/width` given that one unit is alive: the unit of the race."""
        return self.mean

    @abstractmethod
    def laplace(self, t: Array) -> Laplace:
        """The transform of `q` at `t > 0`, or at complex `t` off the cut."""

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        """The law of `|phi(+-z)|` at each `z > 0`, with random sign and slope, by cases.

        Only heavy-tailed weights need it, see `stable`. Returns probabilities `(cases,)` and
        values `(cases, len(z))`.
        """
        raise ValueError(
            "Heavy-tailed weights need a law with `magnitudes`, which says what becomes of any z. "
            f"Received: {self!r}"
        )

    @abstractmethod
    def overlap(self, shared: bool) -> tuple[float, float]:
        """How much the outputs of two inputs have in common: `(odd + even, even)`.

        phi is an odd part alpha z plus an even part beta |z|. So for jointly normal `u`, `v` of
        correlation c, `E phi(u) phi(v) = odd c + even E|u v|`, with `odd = E alpha alpha'` and
        `even = E beta beta'`. The primes: the random slopes and masks of the two inputs are the
        same draws where `shared`, else independent ones.
        """

    @property
    def sides(self) -> Sides | None:
        """The slopes above and below zero: of each the parts `(probability, lower, upper)`.

        None where phi is not positively homogeneous.
        """
        return None

    @property
    def is_certain(self) -> bool:
        """Whether a unit multiplies its input by one number, whatever the input: `phi(u) = c u`."""
        slopes = {*self.sides[0], *self.sides[1]} if self.sides is not None else set()
        return len(slopes) == 1 and all(low == high for _, low, high in slopes)

    @property
    def pair(self) -> Law | None:
        """The law of the difference `phi(u) - phi(-u)` of a mirrored pair, as a unit of its own.

        It exists where the difference is `c u`, possibly with random c. None where it does not, and
        for linear units, whose pairs would only repeat each other.
        """
        return None


@functools.singledispatch
def law_of(activation: object) -> Law:
    """Finds the law of an activation given in any form; a law is its own.

    Other kinds of object (names, functions, layers) are registered where Keras is imported.

    Args:
        activation: A `Law`, or anything that `keras_fracinit.initializer_for` accepts.

    Returns:
        The law of its squared output on a standard normal.

    Raises:
        ValueError: If the activation is unknown.
    """
    raise ValueError(f"`activation` must have a law. Received: activation={activation!r}")


@law_of.register
def _(activation: Law) -> Law:
    return activation
