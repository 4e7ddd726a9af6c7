"""The laws of smooth activations, against 40-digit arithmetic, closed forms and simulation."""

import copy
import dataclasses
import itertools
import math
import pickle

import mpmath as mp
import numpy as np
import pytest
import smooth_reference
from second_route import relative_error, rows_of

from keras_fracinit import effective_order, gain, log_norm, propagation
from keras_fracinit.laws import Dropout, LeakyReLU, ReLU, Sampled, Smooth
from keras_fracinit.laws.smooth import _NODES, _WEIGHTS, CURVES, NAMES, nodes

# 40-digit arithmetic, by smooth_reference.py.
REFERENCE = rows_of("smooth")
TOLERANCE = 1e-11
pytestmark = pytest.mark.filterwarnings("error")
every_activation = pytest.mark.parametrize("name", NAMES)


def sampled(function, name="f"):
    return Sampled.of(name, function(nodes(doubled=True)))


@every_activation
def test_gain_equals_the_reference(name):
    rows = [row for row in REFERENCE if row["activation"] == name]
    assert len(rows) == len(smooth_reference.ORDERS) * len(smooth_reference.WIDTHS)
    for row in rows:
        value = gain(Smooth(name), row["s"], row["width"])
        assert relative_error(value, row["gain"]) < TOLERANCE, row


@pytest.mark.slow
def test_the_reference_equals_a_third_route():
    for row in REFERENCE:
        if row["width"] == 1 and row["s"] == 0.5:
            truth = smooth_reference.direct(row["activation"], row["s"])
            assert relative_error(row["gain"], truth) < 1e-13, row


@every_activation
def test_curves_equal_40_digit_functions(name):
    phi, curve = smooth_reference.ACTIVATIONS[name], CURVES[name]
    for z in (-9.0, -2.5, -0.3, -1e-9, 1e-20, 0.1, 1.7, 8.0):
        point = np.array([z])
        assert relative_error(float(curve.value(point)[0]), phi(mp.mpf(z))) < 1e-14, z
        slope = mp.diff(phi, mp.mpf(z), h=mp.mpf("1e-25"))
        assert float(curve.slope(point)[0]) == pytest.approx(float(slope), rel=1e-13), z


def test_mean_squares_have_closed_forms():
    # GELU, E z^2 Phi(z)^2: 1/3 + 1/(2 sqrt(3) pi).
    gelu = mp.mpf(1) / 3 + 1 / (2 * mp.sqrt(3) * mp.pi)
    assert relative_error(Smooth("gelu").mean, gelu) < 1e-15
    # ELU, 1/2 + E (exp(z) - 1)^2 below 0.
    below = mp.exp(2) * mp.ncdf(-2) - 2 * mp.exp(0.5) * mp.ncdf(-1) + 0.5
    assert relative_error(Smooth("elu").mean, 0.5 + below) < 1e-15
    # SELU is made so that the mean square of a standard normal is kept.
    assert relative_error(Smooth("selu").mean, 1) < 1e-15
    for name in NAMES:
        assert gain(Smooth(name), 2, 7) == gain(Smooth(name), 2, 10**6) == 1 / Smooth(name).mean


@pytest.mark.parametrize(
    ("name", "slope", "digits"),
    [
        *(("tanh", 0.46, 2), ("elu", 0.89, 2), ("selu", 0.78, 2), ("softplus", 0.49, 2)),
        *(("gelu", 1.144, 3), ("silu", 1.173, 3), ("mish", 1.076, 3)),
    ],
)
def test_slope_of_the_length_map(name, slope, digits):
    # The values of the theory, printed to these digits.
    law = Smooth(name)
    assert round(law.length_slope, digits) == slope
    # Of log sqrt(E phi(r z)^2) in log r, by a difference.
    up, down = (mean_square_at(name, r) for r in (math.exp(1e-4), math.exp(-1e-4)))
    assert law.length_slope == pytest.approx(math.log(up / down) / 4e-4, abs=1e-7)


def mean_square_at(name, r):
    return float((_WEIGHTS * CURVES[name].value(r * _NODES) ** 2).sum())


@pytest.mark.parametrize(("name", "square"), [("gelu", 774), ("silu", 1.05e6), ("mish", 27.2)])
def test_networks_run_away_from_a_point_that_repels(name, square):
    # The theory: from a mean square of 1.25, 50 layers of infinite width.
    r = math.sqrt(1.25)
    for _ in range(50):
        r = math.sqrt(mean_square_at(name, r) / Smooth(name).mean)
    assert r**2 == pytest.approx(square, rel=2e-3)


@every_activation
def test_gradient_factor(name):
    law, slope = Smooth(name), CURVES[name].slope(np.random.default_rng(0).normal(size=400_000))
    sample = slope**2 / law.mean
    error = sample.std() / math.sqrt(sample.size)
    assert abs(sample.mean() - law.gradient_factor) < 4 * error


@every_activation
def test_the_moment_is_kept_in_a_simulation(name):
    law, width, draws = Smooth(name), 8, 200_000
    z = np.random.default_rng(1).normal(size=(draws, width))
    norm = np.linalg.norm(CURVES[name].value(z), axis=1) / math.sqrt(width)
    for s in (0.5, 1.0, 2.0):
        kept = (norm * math.sqrt(gain(law, s, width))) ** s
        assert abs(kept.mean() - 1) < 4 * kept.std() / math.sqrt(draws), s
    mean, variance = log_norm(law, 0, width)
    sample = np.log(norm) + 0.5 * math.log(gain(law, 0, width))
    assert mean == pytest.approx(0.0, abs=1e-14)
    assert abs(sample.mean()) < 4 * sample.std() / math.sqrt(draws)
    fourth = ((sample - sample.mean()) ** 4).mean()
    assert abs(sample.var() - variance) < 4 * math.sqrt((fourth - variance**2) / draws)


@every_activation
def test_dropout_is_a_mixture_over_the_units_left(name):
    law, width, rate = Smooth(name), 5, 0.3
    for s in (0.1, 1.0, 1.9):
        moment = sum(
            math.comb(width, k)
            * (1 - rate) ** k
            * rate ** (width - k)
            * (k / gain(law, s, k) / (1 - rate) ** 2) ** (s / 2)
            for k in range(1, width + 1)
        )
        truth = width / moment ** (2 / s)
        assert relative_error(gain(Dropout(law, rate), s, width), truth) < TOLERANCE


@every_activation
def test_no_nan_and_no_warning(name):
    for law, s, width in itertools.product(
        (Smooth(name), Dropout(Smooth(name), 0.5)), (0.0, 1e-9, 0.01, 1.99), (1, 2, 33, 10**6)
    ):
        if s == 0.0 or law.alive == 1.0 or width > 33:
            assert 0 < gain(law, s, width) < math.inf
            mean, variance = log_norm(law, s, width)
            assert math.isfinite(mean)
            assert variance > 0


@every_activation
def test_asymptotic_is_off_by_the_square_of_the_width(name):
    law = Smooth(name)
    narrow, wide = (gain(law, 1, d) - gain(law, 1, d, "asymptotic") for d in (1000, 10_000))
    assert narrow / wide == pytest.approx(100, rel=0.05)


def test_orders_up_to_two_can_be_read_back():
    law = Smooth("gelu")
    assert effective_order(law, 16, gain=gain(law, 0.7, 16)) == pytest.approx(0.7, rel=1e-9)
    assert effective_order(law, 16, gain=gain(law, 2, 16)) == 2.0
    with pytest.raises(ValueError, match=r"above 2.*homogeneous activations only.*'gelu'"):
        effective_order(law, 16, gain=1.0)
    with pytest.raises(ValueError, match="angles between inputs are known for positively"):
        propagation.correlation_map(law, 0.5)


@every_activation
def test_values_at_the_nodes_are_enough(name):
    law, exact = sampled(CURVES[name].value, name), Smooth(name)
    for s, width in itertools.product((0, 0.1, 1, 2), (1, 64)):
        assert gain(law, s, width) == pytest.approx(gain(exact, s, width), rel=1e-14)
    assert law.error < 1e-14
    assert law.length_slope == pytest.approx(exact.length_slope, abs=1e-8)
    assert law.gradient_factor == pytest.approx(exact.gradient_factor, rel=1e-5)


def test_homogeneous_activations_come_out_as_from_their_own_laws():
    for law, twin in (
        (ReLU(), sampled(lambda z: np.maximum(z, 0))),
        (LeakyReLU(0.1), sampled(lambda z: np.where(z > 0, z, 0.1 * z))),
    ):
        assert twin.alive == pytest.approx(law.alive, rel=1e-14)
        assert twin.length_slope == pytest.approx(1.0, rel=1e-8)
        for s, width in itertools.product((0, 0.1, 1, 2), (1, 4, 64)):
            assert relative_error(gain(twin, s, width), gain(law, s, width)) < TOLERANCE


@pytest.mark.parametrize("s", [0.1, 1.0, 1.9])
def test_other_shapes_near_zero_and_far_from_it(s):
    # z^3: E|z|^(3 s) = 2^(3s/2) Gamma((3s + 1)/2)/sqrt(pi). The transform falls as t^(-1/6).
    cube = 2 ** (1.5 * s) * math.gamma(1.5 * s + 0.5) / math.sqrt(math.pi)
    assert relative_error(gain(sampled(lambda z: z**3), s, 1), cube ** (-2 / s)) < 1e-10
    # exp(z), never near 0 at any speed: E exp(s z) = exp(s^2/2).
    assert relative_error(gain(sampled(np.exp), s, 1), math.exp(-s)) < 1e-10
    # sqrt(1 + z^2), which stays away from 0.
    truth = mp.quad(lambda z: (1 + z * z) ** mp.mpf(s / 2) * mp.npdf(z), [-12, -3, 0, 3, 12])
    value = gain(sampled(lambda z: np.sqrt(1 + z * z)), s, 1)
    assert relative_error(value, truth ** (-2 / mp.mpf(s))) < 1e-10


def test_the_estimated_error_is_that_of_a_kink():
    law = sampled(lambda z: np.clip(z, -1, 1))  # hard tanh, of kinks between the nodes
    # E clip(z)^2 = P(|z| < 1) - 2 npdf(1) + P(|z| > 1).
    truth = 1 / (1 - 2 * mp.npdf(1))
    assert 0.1 * law.error < relative_error(gain(law, 2, 1), truth) < 2 * law.error < 1e-3


def test_laws_are_values():
    law = sampled(np.tanh)
    assert Smooth("tanh") == Smooth("tanh") != Smooth("gelu")
    assert hash(law) == hash(sampled(np.tanh))
    assert law == pickle.loads(pickle.dumps(law)) != sampled(np.arctan)
    assert "values" not in repr(law)


@pytest.mark.parametrize("make", [lambda: Smooth("gelu"), lambda: sampled(np.tanh)])
def test_a_law_that_was_used_equals_a_new_one(make):
    law = make()
    names = ("mean", "mean_square", "alive", "floor", "length_slope", "gradient_factor")
    numbers = [getattr(law, name) for name in names]
    copies = [make(), copy.deepcopy(law), pickle.loads(pickle.dumps(law))]
    assert len({law, *copies}) == 1
    for other in copies:
        assert other == law
        assert dataclasses.asdict(other) == dataclasses.asdict(make())
        assert [getattr(other, name) for name in names] == numbers


@every_activation
def test_the_length_map_is_the_size_behind_the_activation_at_every_size(name):
    """The root mean square of phi(r z), by quadrature; far out a power of r, or a constant."""
    value, sizes = CURVES[name].value, np.array([-7.3, -3.0, -0.77, 0.0, 1.9, 6.1])
    for law in (Smooth(name), sampled(value)):
        found = law.length_map(sizes)
        for size, mapped in zip(np.exp(sizes), found, strict=True):
            square = float((_WEIGHTS * value(size * _NODES) ** 2).sum())
            assert mapped == pytest.approx(0.5 * math.log(square), abs=2e-3)
            assert law.at(size).mean == pytest.approx(square, rel=1e-3)
        at_point = law.length_map(np.array([-0.01, 0.01]))
        assert np.ptp(at_point) / 0.02 == pytest.approx(law.length_slope, abs=0.02)
        far = law.length_map(np.array([-30.0, -29.0, 29.0, 30.0]))
        slopes = np.diff(far)[[0, 2]]
        assert slopes == pytest.approx(np.round(slopes), abs=1e-3)  # 0 or 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Smooth("relu"), "`activation` must be one of 'tanh'.*activation='relu'"),
        (lambda: Smooth(None), "`activation` must be one of"),
        (lambda: sampled(np.zeros_like), "must not be a constant.*'f', which is 0 everywhere"),
        (
            lambda: sampled(lambda z: np.where(z > 2, math.nan, z)),
            "`activation` must be finite.*'f', which is not at 2.0",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
