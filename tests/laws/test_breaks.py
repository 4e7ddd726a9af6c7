"""Activations with jumps, kinks and zeros: where they are found, and the laws that follow."""

import math

import mpmath as mp
import numpy as np
import pytest
from second_route import relative_error

from keras_fracinit import gain
from keras_fracinit.laws import Sampled
from keras_fracinit.laws.breaks import find_borders
from keras_fracinit.laws.curves import CURVES, NAMES
from keras_fracinit.laws.quadrature import nodes, rule_of

pytestmark = pytest.mark.filterwarnings("error")


def in_float32(function):
    def evaluate(z):
        return function(z.astype("float32")).astype("float32").astype("float64")

    return evaluate


def law_of(function):
    evaluate = in_float32(function)
    borders = find_borders(evaluate, evaluate(nodes(True)))
    return Sampled.of("f", evaluate(nodes(True, borders)), borders=borders)


def normal_cdf(z):
    return mp.erfc(-mp.mpf(z) / mp.sqrt(2)) / 2


# name: function, its places, and the same function for 40-digit arithmetic.
CASES = {
    "hard shrink": (
        lambda z: np.where(np.abs(z) > 0.5, z, 0.0),
        [0.5],
        lambda z: z if abs(z) > 0.5 else 0,
    ),
    "soft shrink": (
        lambda z: np.sign(z) * np.maximum(np.abs(z) - 0.5, 0.0),
        [0.5],
        lambda z: max(abs(z) - 0.5, 0),
    ),
    "hard tanh": (lambda z: np.clip(z, -1.0, 1.0), [1.0], lambda z: min(abs(z), 1)),
    "step": (lambda z: np.where(z > 0.3, 1.0, 0.0), [0.3], lambda z: 1 if z > 0.3 else 0),
    "dead zone": (
        lambda z: np.where(z > 1.25, z, np.where(z < -0.75, z, 0.0)),
        [0.75, 1.25],
        lambda z: z if z > 1.25 or z < -0.75 else 0,
    ),
    "zero": (lambda z: z - np.float32(0.75), [0.75], lambda z: z - 0.75),
    "quantized": (np.round, [k + 0.5 for k in range(6)], lambda z: mp.nint(z)),
    "steep": (lambda z: np.tanh(100.0 * (z - 1.0)), [1.0], lambda z: mp.tanh(100 * (z - 1))),
}
every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_every_jump_kink_and_zero_is_found(name):
    function, places, _ = CASES[name]
    borders = np.array(law_of(function).borders)
    for place in places:
        # Of a kink, an error of 1e-5 makes one of 1e-10 in a moment.
        assert np.abs(borders - place).min() < 2e-5, place


@pytest.mark.parametrize("name", NAMES)
def test_a_smooth_activation_has_none(name):
    evaluate = in_float32(CURVES[name].value)
    assert find_borders(evaluate, evaluate(nodes(True))) == ()


@pytest.mark.parametrize("s", [0.1, 1.0, 2.0])
@every_case
def test_the_gain_is_as_exact_as_float32_and_the_error_says_so(name, s):
    function, places, exact = CASES[name]
    law = law_of(function)
    ends = sorted({mp.mpf(p) * sign for p in places for sign in (1, -1)} | {-13, 0, 13})
    ends += [0.95, 1.05] if name == "steep" else []
    moment = mp.quad(lambda z: abs(mp.mpf(exact(z))) ** s * mp.npdf(z), sorted(ends))
    error = relative_error(gain(law, s, 1), moment ** (-2 / mp.mpf(s)))
    assert error < law.error_at(s) < 3e-7 / s + 1e-7
    assert law.error == max(law.error_at(1.0), law.error_at(2.0))


@pytest.mark.parametrize("s", [0.1, 1.0])
def test_the_gain_of_a_step_at_any_width(s):
    # The sum of its squares is binomial.
    width, alive = 5, normal_cdf(-0.3)
    moment = sum(
        mp.binomial(width, k) * alive**k * (1 - alive) ** (width - k) * mp.mpf(k) ** (s / 2)
        for k in range(1, width + 1)
    )
    law = law_of(CASES["step"][0])
    assert relative_error(gain(law, s, width), width * moment ** (-2 / mp.mpf(s))) < 1e-6


def test_slopes_are_those_between_the_breaks():
    # hard tanh: E z phi phi' = E[z^2; |z| < 1], E phi'^2 = P(|z| < 1).
    law, inside = law_of(CASES["hard tanh"][0]), 1 - 2 * normal_cdf(-1)
    square = inside - 2 * mp.npdf(1)
    mean = square + 2 * normal_cdf(-1)
    assert relative_error(law.length_slope, square / mean) < 1e-6
    assert relative_error(law.gradient_factor, inside / mean) < 1e-4
    # A step has no slope but where it jumps, and there the size of the signal counts: the mean
    # square at size r is P(z > 0.3/r).
    law = law_of(CASES["step"][0])
    assert law.gradient_factor < 1e-9
    slope = 0.5 * 0.3 * mp.npdf(0.3) / normal_cdf(-0.3)
    assert relative_error(law.length_slope, slope) < 1e-6


def test_error_is_that_of_the_order_asked_for():
    # Without its places a jump is off by the more the smaller the order.
    law = Sampled.of("f", CASES["hard shrink"][0](nodes(True)))
    truth = {s: mp.quad(lambda z, s=s: z**s * mp.npdf(z), [0.5, 13]) * 2 for s in (0.1, 1.0, 2.0)}
    for s, moment in truth.items():
        error = relative_error(gain(law, s, 1), moment ** (-2 / mp.mpf(s)))
        assert 0.2 * law.error_at(s) < error < 5 * law.error_at(s)
    assert law.error_at(0.1) > 5 * law.error_at(1.0)
    assert math.isfinite(law.error_at(0.0))


def test_more_places_than_can_be_integrated_between_are_left_to_the_error():
    law = law_of(lambda z: np.round(3.5 * z))
    assert law.borders == ()
    steps = [(k, normal_cdf((k - 0.5) / 3.5), normal_cdf((k + 0.5) / 3.5)) for k in range(1, 45)]
    moment = 2 * sum(k**2 * (above - below) for k, below, above in steps)
    error = relative_error(gain(law, 2, 1), 1 / moment)
    assert 0.1 * law.error_at(2.0) < error < 10 * law.error_at(2.0)


def test_rules_in_pieces_are_exact():
    for borders in ((0.3,), (1e-4, 0.3, 0.31, 5.0)):
        for doubled in (False, True):
            z, weights, slopes_of = rule_of(borders, doubled)
            assert (np.diff(z[1]) > 0.0).all()
            for power, moment in ((0, 1.0), (2, 1.0), (4, 3.0), (1, 0.0)):
                assert float((weights * z**power).sum()) == pytest.approx(moment, abs=1e-13)
            inside = np.abs(z) > 1e-3
            assert slopes_of(np.sin(z))[inside] == pytest.approx(np.cos(z)[inside], abs=1e-8)
