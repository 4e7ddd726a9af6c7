"""Says how rare a number must be in healthy networks before it counts as evidence.

A diagnosis looks at many numbers, and each of them strays sometimes. The chances of all verdicts
together are 5 % per healthy network; `ALLOWED` shares them out.

**Walks.** The drift after k layers, over its own standard deviation, is a Gaussian sequence, and
the largest of them decides. With V_k the variance after k layers (`V_k = b^2 V_(k-1) + nu^2`), the
density of the scaled drifts that have stayed within [-c, c] so far follows from layer to layer by
one integral; `reach_of` solves for the c that the largest exceeds with a given probability: 2.33 at
2 % for one layer, 3.0 for twenty. In narrow layers the lower tail is longer than the normal one, as
that of `log(chi^2)`; the first term of Cornish and Fisher's expansion, `(c^2 - 1) skewness / 6`
standard deviations, is added below.

**Angles.** Where the true cosine of the inputs of a layer is c, its outputs for N inputs are
`sqrt(c) g + sqrt(1 - c) e_i`, with independent normal vectors in d dimensions: g is the same for
all inputs. The measured cosine m has

    m / (1 - m)  ~  c / (1 - c) * d / (d - 1) * F,

F with d and (d - 1)(N - 1) degrees of freedom, because only the d - 1 directions across g turn an
output. A cosine speaks against a network if it is above the quantile of this law at c = 0.99, for
it if it is below, and says nothing in between.
With one unit (d = 1) the law is infinite: cosines of scalars are 1 and -1 whatever their angle was.

**Zeros.** All d units of a layer are zero for an input with the probability `(1 - P(q > 0))^d`, and
the share of such inputs exceeds t with at most that probability over t (Markov), since all inputs
share the weights.

Source: for F, the one-way analysis of variance; for the walk, the theory of `propagation`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

# Per healthy network and kind of verdict; together 5 %.
ALLOWED = {"sizes": 0.02, "weights": 0.01, "gradients": 0.01, "angles": 0.005, "zeros": 0.005}


PARALLEL = 0.99  # the cosine from which on inputs count as parallel


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


_GROWTH = 0.03  # of the variance, in steps that are counted one by one


def reach_of(variances: Sequence[float], shares: Sequence[float], chance: float) -> float:
    """Computes how many standard deviations a walk may stray, in either direction.

    Args:
        variances: The variance of each step.
        shares: The share of an earlier drift that is left behind each step.
        chance: The probability that any step ends beyond.

    Returns:
        The factor c of the standard deviation behind each step.
    """
    pairs = [(v, b) for v, b in zip(variances, shares, strict=True) if v > 0.0]
    if not pairs:
        return 0.0
    scale = pairs[0][0]
    rounded = [(float(f"{v / scale:.3g}"), float(f"{b:.3g}")) for v, b in pairs]
    return _reach(tuple(_merged(rounded)), chance)


def _merged(pairs: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Joins steps that hardly move the scaled drift: the nodes could not resolve them."""
    total, variance, share = 0.0, 0.0, 1.0
    for new, left in pairs:
        variance, share = left * left * variance + new, left * share
        after = share * share * total + variance
        if variance >= _GROWTH * after:
            yield variance, share
            total, variance, share = after, 0.0, 1.0


@functools.lru_cache(maxsize=1024)
def _reach(pairs: tuple[tuple[float, float], ...], chance: float) -> float:
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    normal = NormalDist()
    low, high = (-normal.inv_cdf(0.5 * chance / count) for count in (1, len(pairs)))
    if len(pairs) == 1:
        return low
    excess = functools.partial(_log_excess, pairs, chance)
    return float(brentq(excess, low, high + 1e-6, xtol=1e-3))


def _log_excess(pairs: tuple[tuple[float, float], ...], chance: float, reach: float) -> float:
    """The logarithm of the probability that a walk leaves the band, over that allowed."""
    x, weights = reach * _NODES, reach * _WEIGHTS
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    total = pairs[0][0]
    for variance, share in pairs[1:]:
        after = share * share * total + variance
        kept, spread = share * math.sqrt(total / after), math.sqrt(variance / after)
        kernel = np.exp(-0.5 * ((x[:, None] - kept * x) / spread) ** 2)
        kernel /= spread * math.sqrt(2.0 * math.pi)
        density, total = kernel @ (weights * density), after
    return math.log(max(1.0 - float(weights @ density), 1e-12) / chance)


@functools.lru_cache(maxsize=1024)
def third_cumulant(variance: float) -> float:
    """Computes the third cumulant of a log-norm, from its variance.

    The squared norm is taken to follow a gamma distribution, as it does for linear layers: with k
    its shape, the logarithm of the norm has the variance `psi'(k)/4` and the cumulant `psi''(k)/8`.
    """
    from scipy.optimize import brentq
    from scipy.special import polygamma  # type: ignore[import-untyped]

    if variance < 1e-6:  # psi'(k) = 1/k
        return -2.0 * variance**2
    log_shape = brentq(lambda x: polygamma(1, math.exp(x)) / (4.0 * variance) - 1.0, -20.0, 20.0)
    return float(polygamma(2, math.exp(log_shape))) / 8.0


class Angles(NamedTuple):
    """Between which cosines an output says nothing on whether its inputs are parallel."""

    apart: float
    parallel: float


@functools.lru_cache(maxsize=1024)
def angles_at(width: float, samples: int, chance: float = ALLOWED["angles"]) -> Angles:
    """Computes what cosines of an output of `width` live units say of `samples` inputs."""
    from scipy.stats import f as fisher  # type: ignore[import-untyped]

    if width <= 1.0 or samples < 2:
        return Angles(-math.inf, math.inf)
    others = (width - 1.0) * (samples - 1.0)
    factor = PARALLEL / (1.0 - PARALLEL) * width / (width - 1.0)
    ends = (factor * law(chance, width, others) for law in (fisher.ppf, fisher.isf))
    return Angles(*(float(ratio / (1.0 + ratio)) for ratio in ends))
