"""The laws of smooth activations: sums of point masses, exact for pre-activations of unit size.

tanh, GELU, SiLU and their like are not positively homogeneous: a signal of twice the size does not
give twice the output, and no scale of the weights keeps a moment at every size. At one size one
does. Where the pre-activations `W x` have root mean square 1 they are standard normal, and
the squared output of a unit is `q = phi(z)^2` as it stands. Its transform is a sum over nodes,

    psi(t) = E exp(-t phi(z)^2) = sum of w_k exp(-t phi(z_k)^2),

and everything in `moments` follows from it: `gain` is the scale whose fixed point is that size.

Whether a network stays there is another matter. In a wide layer the size r of the pre-activations
becomes `sqrt(g E phi(r z)^2)` in the next one, the length map, with fixed point 1. Its slope there
says whether a deviation shrinks with depth (tanh, ELU, SELU, softplus: the point attracts) or grows
(GELU, SiLU, Mish: it repels, and a deep network runs away from it, up or down).

The nodes are those of `quadrature`: in one piece for a smooth activation, in several between the
jumps, kinks and zeros of any other.

Source: theory of `keras_fracinit.gain`; B. Poole, S. Lahiri, M. Raghu, J. Sohl-Dickstein and S.
Ganguli, "Exponential expressivity in deep neural networks through transient chaos", NIPS 2016, for
the length map.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from keras_fracinit.laws.base import Array, Laplace, Law
from keras_fracinit.laws.curves import CURVES as CURVES
from keras_fracinit.laws.curves import NAMES as NAMES
from keras_fracinit.laws.homogeneous import Dropout, slope_law
from keras_fracinit.laws.quadrature import Borders, Rule, rule_of, split
from keras_fracinit.laws.quadrature import nodes as nodes
from keras_fracinit.utils.validation import check_choice

_TINY = 1e-300


# A homogeneous activation of slope a has |a z| < |a| exp(-55) with about the probability exp(-55).
# The window of the race, which ends at exp(110), is wide enough for that, see `moments`.
_LOG_RARE = -55.0


_NODES, _WEIGHTS, _ = rule_of()


def transform(t: Array, masses: Iterable[tuple[Array, Array]], at_zero: float = 0.0) -> Laplace:
    """Computes the transform of point masses, given by weights and places, and of one at 0."""
    psi, complement, decay = np.full_like(t, at_zero), np.zeros_like(t), np.zeros_like(t)
    for weights, q in masses:
        exponent = np.multiply.outer(-t, q)
        alive = np.exp(exponent)
        psi = psi + alive @ weights
        complement = complement - np.expm1(exponent) @ weights
        decay = decay + alive @ (weights * q)
    # Where q stays away from 0 both vanish for large t, and their logarithms are taken.
    psi, decay = (np.where(np.abs(x) < _TINY, _TINY, x) for x in (psi, decay))
    return Laplace(psi, complement, decay)


class PointMass(Law):
    """The law of `q = phi(z)^2` for pre-activations of unit root mean square, by its nodes.

    It serves orders up to 2 alone: beyond, `psi` would be needed where the nodes do not reach.
    """

    activation: str
    borders: Borders = ()

    @property
    def rule(self) -> Rule:
        """The nodes at which the activation is known, and their weights."""
        return rule_of(self.borders)

    @abstractmethod
    def curve(self) -> tuple[Array, Array]:
        """Evaluates `phi` and `phi'` at the nodes."""

    @abstractmethod
    def value(self, z: Array) -> Array:
        """Evaluates `phi` anywhere."""

    def at(self, size: float) -> Sampled:
        """The law of `q = phi(z)^2` for pre-activations of another root mean square."""
        with np.errstate(all="ignore"):
            values = self.value(size * _NODES)
        return Sampled(f"{self.activation} at {size:g}", values.tobytes(), math.nan)

    def length_map(self, log_sizes: Array) -> Array:
        """Computes `log sqrt(E phi(r z)^2)` for the logarithms of root mean squares r.

        It is interpolated, to 1e-3, and goes on as a power of r where r is extremely small or
        large; below exp(-700) it counts as that.
        """
        return np.maximum(_interpolated(log_sizes, *_length_table(self)), -700.0)

    @functools.cached_property
    def mean(self) -> float:
        return float((self.rule.weights * self._q).sum())

    @functools.cached_property
    def mean_square(self) -> float:
        return float((self.rule.weights * self._q**2).sum())

    @functools.cached_property
    def alive(self) -> float:
        above = self._q > 0.0
        return 1.0 if above.all() else float(self.rule.weights[above].sum())

    @functools.cached_property
    def floor(self) -> float:
        """Gives the floor of a homogeneous activation that is next to 0 at least as often."""
        above = self._q > 0.0
        return floor_of(self._q[above], self.rule.weights[above])

    @property
    def ceiling(self) -> float:
        self._refuse("moments of an order above 2, and scales that keep them,")

    @functools.cached_property
    def length_slope(self) -> float:
        """`d log r_out / d log r_in` of the length map at r = 1, `E[z phi(z) phi'(z)]/E q`.

        Below 1 in size the unit root mean square attracts, above 1 it repels. The q map and the c
        map of Poole et al. (2016) are the length map and `correlation_map`.
        """
        # Integrated by parts, which holds where phi jumps, too.
        z, weights, _ = self.rule
        return float((weights * (z * z - 1.0) * self._q).sum()) / (2.0 * self.mean)

    @functools.cached_property
    def gradient_factor(self) -> float:
        """The factor of a squared gradient in a wide, square layer: `E phi'(z)^2 / E q`.

        It is the chi of mean-field theory (Schoenholz et al. 2017), at unit root mean square and at
        s = 2; at finite width and s < 2 it is larger by the factor `g E q`.
        """
        _, slopes = self.curve()
        return float((self.rule.weights * slopes**2).sum()) / self.mean

    @functools.cached_property
    def slope_kurtosis(self) -> float:
        """`E phi'(z)^4 / (E phi'(z)^2)^2`, which says how much a gradient fluctuates."""
        _, slopes = self.curve()
        far = np.abs(self.rule.nodes) > 1e-3  # nearer, differences of values lose all digits
        weights = self.rule.weights[far] / self.rule.weights[far].sum()
        square = float(weights @ slopes[far] ** 2)
        return float(weights @ slopes[far] ** 4) / square**2

    @property
    def _q(self) -> Array:
        values, _ = self.curve()
        return np.square(values)

    def laplace(self, t: Array) -> Laplace:
        values, _ = self.curve()
        return transform(t, [(self.rule.weights.ravel(), np.square(values).ravel())])

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        self._refuse("heavy-tailed weights, which look at the activation far out,")

    def overlap(self, shared: bool) -> tuple[float, float]:
        self._refuse("angles between inputs")

    @property
    @abstractmethod
    def pair_slope(self) -> float | None:
        """c, where `phi(u) - phi(-u) = c u` for all u; None where that does not hold."""

    @property
    def pair(self) -> Law | None:
        """Exact at every size of the signal: the even part cancels in the difference."""
        return None if self.pair_slope is None else slope_law(self.pair_slope)

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(
            "The law of a smooth activation is that of pre-activations of unit root mean square; "
            f"{what} are known for positively homogeneous activations only. "
            f"Received: {self.activation!r}"
        )


def _interpolated(x: Array, places: Array, values: Array) -> Array:
    """Interpolates between the places, and goes on as a straight line beyond them."""
    found = np.interp(x, places, values)
    for end, inner, beyond in ((0, 1, x < places[0]), (-1, -2, x > places[-1])):
        slope = (values[end] - values[inner]) / (places[end] - places[inner])
        found = np.where(beyond, values[end] + slope * (x - places[end]), found)
    return found


@functools.lru_cache(maxsize=32)
def _length_table(law: PointMass) -> tuple[Array, Array]:
    """The length map on a grid: logarithms of sizes before and behind the activation."""
    places = np.linspace(-16.0, 16.0, 257)
    with np.errstate(all="ignore"):
        squares = [(_WEIGHTS * law.value(math.exp(place) * _NODES) ** 2).sum() for place in places]
        return places, np.maximum(0.5 * np.log(squares), -700.0)


def floor_of(q: Array, weights: Array) -> float:
    """Gives the squared slope of a homogeneous activation that is next to 0 at least as often."""
    order = np.argsort(q)
    below = np.cumsum(weights[order])
    rare = float(q[order][np.searchsorted(below, below[-1] * math.exp(_LOG_RARE))])
    # The 64 is for a q that stays away from 0: psi is exp(-64) there, not 1/e.
    return rare * math.exp(-2.0 * _LOG_RARE) / 64.0


@dataclass(frozen=True)
class Smooth(PointMass):
    """A smooth activation of Keras, computed in float64: exact where `W x` has size 1.

    The relative error of `gain` is at most 1e-11 for s >= 0.1, as that of the other laws.

    Args:
        activation: "tanh", "gelu" (the exact one, Keras' default), "silu", "elu" (alpha = 1),
            "selu", "softplus" or "mish".

    Raises:
        ValueError: If there is no such activation here.

    Example:

    >>> from keras_fracinit import gain
    >>> from keras_fracinit.laws import Smooth
    >>> round(gain(Smooth("tanh"), s=1, width=64), 6)
    2.542447
    >>> round(Smooth("tanh").length_slope, 3), round(Smooth("gelu").length_slope, 3)
    (0.461, 1.144)

    Source: theory of `keras_fracinit.gain`; Poole et al., NIPS 2016, for the length map.
    """

    activation: str

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, NAMES)

    def curve(self) -> tuple[Array, Array]:
        return _named_curve(self.activation)

    @property
    def pair_slope(self) -> float | None:
        return CURVES[self.activation].pair_slope

    def value(self, z: Array) -> Array:
        return CURVES[self.activation].value(z)

    def magnitudes(self, z: Array) -> tuple[Array, Array]:
        phi = CURVES[self.activation].value
        return np.array([0.5, 0.5]), np.abs([phi(z), phi(-z)])


@functools.lru_cache
def _named_curve(name: str) -> tuple[Array, Array]:
    curve = CURVES[name]
    return curve.value(_NODES), curve.slope(_NODES)


@dataclass(frozen=True)
class Sampled(PointMass):
    """Any activation, given by its values at the nodes: see `Sampled.of`.

    Attributes:
        activation: The name of the function.
        values: The values, as the bytes of float64: hashed once, compared fast.
        error: The relative change of the gain of a layer of one unit with twice as many nodes, at
            s = 1 or 2, whichever is larger. At any other order it is `error_at(s)`.
        pair_slope: c, where `phi(u) - phi(-u) = c u` was found for all u; None where it was not.
        borders: The distances from 0 at which the integration is cut: jumps, kinks and zeros.
        finer: The values at twice as many nodes, likewise.
    """

    activation: str
    values: bytes = field(repr=False)
    error: float = field(repr=False, compare=False)
    pair_slope: float | None = field(default=None, repr=False, compare=False)
    borders: Borders = field(default=(), repr=False)
    finer: bytes = field(default=b"", repr=False, compare=False)

    @classmethod
    def of(
        cls,
        activation: str,
        values: Array,
        pair_slope: float | None = None,
        borders: Borders = (),
    ) -> Sampled:
        """Makes the law of an activation with these values at `nodes(True, borders)`."""
        if not np.isfinite(values).all():
            where = float(nodes(True, borders)[~np.isfinite(values)][0])
            raise ValueError(
                "`activation` must be finite between -13 and 13. "
                f"Received: {activation!r}, which is not at {where:.6g}"
            )
        if np.ptp(values) == 0.0:
            raise ValueError(
                "`activation` must not be a constant: no scale of the weights changes what it puts "
                f"out. Received: {activation!r}, which is {values.flat[0]:g} everywhere"
            )
        plain, finer = (np.ascontiguousarray(part).tobytes() for part in split(values, borders))
        law = cls(activation, plain, 0.0, pair_slope, borders, finer)
        return replace(law, error=max(law.error_at(1.0), law.error_at(2.0)))

    def error_at(self, s: float) -> float:
        """Estimates the relative error of the gain of a layer of one unit, at the order s.

        It is the change with twice as many nodes (at s = 0 of the gain given survival), and the
        effect of jumps that are as close to a border as numbers in float32 are to each other.
        """
        if not self.finer:  # pickled by 0.1
            return self.error
        logarithms = []
        for rule, data in ((self.rule, self.values), (rule_of(self.borders, True), self.finer)):
            size = np.abs(np.frombuffer(data).reshape(rule.nodes.shape))
            alive = size > 0.0
            size, weights = size[alive], rule.weights[alive]
            if s == 0.0:
                logarithms.append(2.0 * float(weights @ np.log(size)) / float(weights.sum()))
            else:
                logarithms.append(2.0 / s * math.log(float(weights @ size**s)))
        place = 2.0**-23 if self.borders else 0.0
        return abs(math.expm1(logarithms[1] - logarithms[0])) + 2.0 / (s or 1.0) * place

    def value(self, z: Array) -> Array:
        """Interpolates between the nodes, and goes on as a straight line beyond them."""
        values, places = np.frombuffer(self.values).reshape(2, -1), self.rule.nodes
        places = np.concatenate([places[0, ::-1], places[1]])
        curve = np.concatenate([values[0, ::-1], values[1]])
        return _interpolated(z, places, curve)

    def curve(self) -> tuple[Array, Array]:
        values = np.frombuffer(self.values).reshape(self.rule.nodes.shape)
        return values, self.rule.slopes_of(values)


_NEITHER = 1e-4  # a slope this close to 1 counts as 1


def point_mass_of(law: Law | None) -> PointMass | None:
    """Finds the law of a smooth activation behind any dropout; None for other activations."""
    while isinstance(law, Dropout):
        law = law.law
    return law if isinstance(law, PointMass) else None


def check_every_size(law: Law, what: str) -> Law:
    """Refuses the law of a smooth activation where a law must hold at every size of the signal."""
    if (found := point_mass_of(law)) is not None:
        raise ValueError(
            "`activation` must be positively homogeneous, phi(c u) = c phi(u) for c > 0: the law "
            f"of a smooth one holds at one size of the signal only, and {what}. "
            f"Received: {found.activation!r}"
        )
    return law


def fate_of(length_slope: float) -> str:
    """Says in words whether the operating point attracts a signal that is off it."""
    size = abs(length_slope)
    if abs(size - 1.0) < _NEITHER:
        return "neither attracts nor repels"
    return "attracts" if size < 1.0 else "REPELS: deep networks run away from it"


def caveat_of(length_slope: float) -> str:
    """Says in words how long a scale holds that is exact at the operating point."""
    return (
        "exact at unit root mean square of the pre-activations only, which "
        f"{fate_of(length_slope)} (slope of the length map {length_slope:.4f})"
    )
