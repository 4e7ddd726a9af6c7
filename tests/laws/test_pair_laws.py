"""The law of the difference of a mirrored pair, `phi(u) - phi(-u)`: table, gains and depth."""

import itertools
import math

import keras
import numpy as np
import pytest
from cases import quick
from second_route import by_laplace, by_mixture, relative_error

from keras_fracinit import effective_order, gain, log_norm
from keras_fracinit.laws import (
    Dropout,
    LeakyReLU,
    Linear,
    RandomizedLeakyReLU,
    ReLU,
    Slopes,
    Smooth,
    Stable,
    law_of,
)
from keras_fracinit.laws.smooth import CURVES
from keras_fracinit.propagation import propagate

TOLERANCE = 1e-11
SIGMAS = 4.0
DRAWS = 200_000


def _name(value):
    """The id of a case, the same in every process: a function shows its address as text."""
    return getattr(value, "__name__", None) or getattr(value, "name", None) or str(value)


def registered(function):
    return keras.saving.register_keras_serializable(package="tests_pairs")(function)


@registered
def wavy(x):
    """2 x + cos(x): its even part is anything, its odd part is 2 x."""
    return 2.0 * x + keras.ops.cos(x)


@registered
def bent_far_out(x):
    """A ReLU that ends at 100, so its odd part is x up to there only."""
    return keras.ops.clip(x, 0.0, 100.0)


# The table.


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        *(("relu", 1.0), ("gelu", 1.0), ("silu", 1.0), ("swish", 1.0), ("softplus", 1.0)),
        *(("hard_silu", 1.0), ("squareplus", 1.0), ("sparse_plus", 1.0), ("log_sigmoid", 1.0)),
        *((LeakyReLU(0.3), 1.3), (LeakyReLU(-0.4), 0.6), (LeakyReLU(-3.0), 2.0)),
        ("leaky_relu", 1.2),
        (keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25)), 1.25),
        (wavy, 4.0),
    ],
    ids=_name,
)
def test_the_difference_is_a_linear_unit_of_this_slope(activation, slope):
    pair = law_of(activation).pair
    assert pair.is_certain
    assert pair.mean == pytest.approx(slope**2, rel=1e-12)
    for s, width in itertools.product((0, 1, 2), (1, 16)):
        expected = gain(Linear(), s, width) / slope**2
        assert gain(pair, s, width) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", [name for name in CURVES if CURVES[name].pair_slope])
def test_named_activations_have_their_slope_at_every_size(name):
    u = np.logspace(-6, 3, 91)
    phi = CURVES[name].value
    size = np.maximum(np.abs(phi(u)), u)
    assert np.abs(phi(u) - phi(-u) - CURVES[name].pair_slope * u).max() <= 4e-16 * size.max()


@pytest.mark.parametrize(
    "activation",
    [
        *("linear", "tanh", "elu", "selu", "mish", "sigmoid", "softsign", "relu6", "hard_tanh"),
        *(None, LeakyReLU(1.0), LeakyReLU(-1.0), Dropout(Linear(), 0.2), bent_far_out),
        *(Dropout(Smooth("gelu"), 0.1), Dropout(Smooth("tanh"), 0.1), Dropout(LeakyReLU(-1), 0.3)),
        Stable(Linear(), 1.5),
    ],
    ids=_name,
)
def test_without_a_linear_odd_part_there_is_no_law(activation):
    assert law_of(activation).pair is None


def test_laws_that_coincide():
    assert LeakyReLU(0.0).pair == ReLU().pair == Linear()
    assert RandomizedLeakyReLU(0.3, 0.3).pair == LeakyReLU(0.3).pair
    assert RandomizedLeakyReLU(0.0, 0.0).pair == Linear()
    assert LeakyReLU(-2.0).pair == Linear()  # 1 - 2: only its size enters a moment
    assert Dropout(ReLU(), 0.3).pair == Dropout(Linear(), 0.3)
    assert Dropout(LeakyReLU(0.0), 0.3).pair == Dropout(Linear(), 0.3)
    assert Dropout(Dropout(ReLU(), 0.1), 0.2).pair == Dropout(Dropout(Linear(), 0.1), 0.2)
    assert Dropout(LeakyReLU(0.3), 0.0).pair.mean == pytest.approx(LeakyReLU(0.3).pair.mean)
    assert Stable(ReLU(), 1.5).pair == Stable(Linear(), 1.5)
    assert Stable(Smooth("silu"), 1.2).pair == Stable(Linear(), 1.2)
    assert hash(LeakyReLU(0.3).pair) == hash(Slopes(((1.0, 1.3, 1.3),)))


@pytest.mark.parametrize(
    ("law", "certain"),
    [
        *((Linear(), True), (LeakyReLU(0.3).pair, True), (ReLU(), False), (LeakyReLU(0.3), False)),
        *((RandomizedLeakyReLU(0.1, 0.6).pair, False), (Dropout(ReLU(), 0.3).pair, False)),
        *((Dropout(LeakyReLU(0.3), 0.3).pair, False), (Smooth("gelu"), False)),
    ],
    ids=_name,
)
def test_a_unit_is_certain_if_it_multiplies_by_one_number(law, certain):
    assert law.is_certain == certain


# Random slopes and masks, against simulation: the two units of a pair draw for themselves.


def leaky(slope):
    return lambda rng, z: np.where(z > 0, z, slope * z)


def randomized(low, high):
    return lambda rng, z: np.where(z > 0, z, rng.uniform(low, high, z.shape) * z)


def dropped(phi, rate):
    return lambda rng, z: phi(rng, z) * (rng.random(z.shape) >= rate) / (1 - rate)


RANDOM = [
    (ReLU(), leaky(0.0)),
    (LeakyReLU(0.3), leaky(0.3)),
    (LeakyReLU(-0.4), leaky(-0.4)),
    (RandomizedLeakyReLU(0.1, 0.6), randomized(0.1, 0.6)),
    (RandomizedLeakyReLU(0.0, 2.0), randomized(0.0, 2.0)),
    (Dropout(ReLU(), 0.3), dropped(leaky(0.0), 0.3)),
    (Dropout(LeakyReLU(0.3), 0.3), dropped(leaky(0.3), 0.3)),
    (Dropout(LeakyReLU(-2.0), 0.3), dropped(leaky(-2.0), 0.3)),
    (Dropout(RandomizedLeakyReLU(0.1, 0.6), 0.2), dropped(randomized(0.1, 0.6), 0.2)),
    (Dropout(Dropout(LeakyReLU(0.2), 0.1), 0.2), dropped(dropped(leaky(0.2), 0.1), 0.2)),
]
random_laws = pytest.mark.parametrize(("law", "phi"), RANDOM, ids=[str(law) for law, _ in RANDOM])


def assert_mean(sample, expected):
    error = sample.std() / math.sqrt(sample.size)
    assert abs(sample.mean() - expected) <= SIGMAS * error + 1e-12 * abs(expected)


@random_laws
def test_the_law_of_the_difference_is_that_of_a_simulation(law, phi):
    rng, pair = np.random.default_rng(3), law.pair
    z = rng.standard_normal(DRAWS)
    q = (phi(rng, z) - phi(rng, -z)) ** 2
    assert_mean(q, pair.mean)
    assert_mean(q**2, pair.mean_square)
    assert_mean((q > 0).astype(float), pair.alive)
    slopes = q[q > 0] / z[q > 0] ** 2
    assert slopes.max() <= pair.ceiling * (1 + 1e-9)
    for t in (0.01, 1.0, 30.0):
        found = pair.laplace(np.array([t]))
        assert_mean(np.exp(-t * q), found.psi[0])
        assert_mean(-np.expm1(-t * q), found.complement[0])
        assert_mean(q * np.exp(-t * q), found.decay[0])


@random_laws
def test_its_gain_is_that_of_a_simulation(law, phi):
    rng, width = np.random.default_rng(4), 8
    z = rng.standard_normal((DRAWS // width, width))
    size = np.linalg.norm(phi(rng, z) - phi(rng, -z), axis=1) / math.sqrt(width)
    for s in (0.5, 1.0, 2.0):
        assert_mean((size * math.sqrt(gain(law.pair, s, width))) ** s, 1.0)
    alive = np.log(size[size > 0])
    mean, variance = log_norm(law.pair, 1.0, width)
    sample = alive + 0.5 * math.log(gain(law.pair, 1.0, width))
    assert_mean(sample, mean)
    assert_mean((sample - mean) ** 2, variance)


@random_laws
def test_what_two_inputs_have_in_common_is_that_of_a_simulation(law, phi):
    rng, c = np.random.default_rng(5), 0.6
    u, w = rng.standard_normal((2, DRAWS))
    v = c * u + math.sqrt(1 - c * c) * w
    outputs = [phi(rng, x) - phi(rng, -x) for x in (u, v)]
    total, even = law.pair.overlap(shared=False)
    assert even == 0.0
    assert_mean(outputs[0] * outputs[1], total * c)
    shared, even = law.pair.overlap(shared=True)
    assert (shared, even) == (pytest.approx(law.pair.mean, rel=1e-12), 0.0)


# Gains, by another route in 40-digit arithmetic.

MIXTURES = [
    LeakyReLU(0.3).pair,
    RandomizedLeakyReLU(0.1, 0.6).pair,
    Dropout(LeakyReLU(0.3), 0.3).pair,
    Dropout(RandomizedLeakyReLU(0.1, 0.6), 0.2).pair,
    Dropout(RandomizedLeakyReLU(0.0, 1e-3), 0.2).pair,
    Dropout(Dropout(LeakyReLU(-2.0), 0.1), 0.2).pair,
]
ORDERS, WIDTHS = (0.1, 1.0, 1.3), (1, 2, 8, 64)
_QUICK = set(zip(range(0, len(MIXTURES), 2), itertools.cycle(ORDERS), itertools.cycle(WIDTHS)))


@pytest.mark.parametrize(
    ("place", "s", "width"),
    [
        pytest.param(*row, marks=() if row in _QUICK else pytest.mark.slow)
        for row in itertools.product(range(len(MIXTURES)), ORDERS, WIDTHS)
    ],
)
def test_gains_of_random_slopes_equal_40_digit_arithmetic(place, s, width):
    law = MIXTURES[place]
    assert relative_error(gain(law, s, width), by_laplace(law, s, width)) < TOLERANCE


@pytest.mark.parametrize("width", quick(WIDTHS[:3], WIDTHS[3]))
@pytest.mark.parametrize("s", ORDERS)
def test_gains_under_dropout_equal_a_mixture_over_the_units_left(s, width):
    law = Dropout(ReLU(), 0.3).pair
    assert relative_error(gain(law, s, width), by_mixture(law, s, width)) < TOLERANCE


@pytest.mark.parametrize("law", MIXTURES, ids=str)
def test_orders_zero_and_two(law):
    assert gain(law, 2, 7) == pytest.approx(1 / law.mean, rel=1e-15)
    assert gain(law, 1e-9, 7) == pytest.approx(gain(law, 0, 7), rel=1e-6) or law.alive < 1


# What follows from the law: depth.


@pytest.mark.parametrize("law", [ReLU(), LeakyReLU(0.3), RandomizedLeakyReLU(0.1, 0.6)], ids=str)
def test_a_stack_of_differences(law):
    pair, width, depth = law.pair, 16, 20
    stack = propagate([width] * depth, pair, s=1.0)
    assert stack.log_moment(1.0) == pytest.approx(0.0, abs=1e-10)
    assert stack.death_probability == 0.0
    assert stack.tail_index() == pytest.approx(1.0, rel=1e-8)
    assert stack.mean == pytest.approx(depth * log_norm(pair, 1.0, width).mean, rel=1e-9)
    assert stack.cdf(stack.quantile(0.2)) == pytest.approx(0.2, abs=1e-9)
    if pair.is_certain:
        linear = propagate([width] * depth, Linear(), s=1.0)
        assert stack.quantile(0.05) == pytest.approx(linear.quantile(0.05), rel=1e-9)
        # Differences are linear in the input: every cosine is kept.
        assert stack.collapse(start=0.3).cosines == pytest.approx([0.3] * (depth + 1), abs=1e-12)
        assert math.isinf(stack.collapse().layers)


def test_random_slopes_keep_inputs_apart():
    cosines = propagate([16] * 5, RandomizedLeakyReLU(0.1, 0.6).pair, s=1.0).collapse(0.5).cosines
    # Two samples multiply by slopes of their own: the cosine falls by (E B)^2/E B^2 at each layer.
    factor = 1.35**2 / RandomizedLeakyReLU(0.1, 0.6).pair.mean
    np.testing.assert_allclose(cosines, 0.5 * factor ** np.arange(6), rtol=1e-12)


@random_laws
def test_the_effective_order_inverts_the_gain(law, phi):
    for s in (0.5, 1.3, 3.0) if law.pair.alive == 1 else (0.5, 1.3):
        if s <= 2:
            scale = gain(law.pair, s, 8)
            assert effective_order(law.pair, 8, gain=scale) == pytest.approx(s, rel=1e-7)
    assert effective_order(law.pair, 8, gain=gain(law.pair, 2, 8)) == pytest.approx(2.0, abs=1e-12)


def test_dead_pairs_are_those_of_the_mask():
    law = Dropout(LeakyReLU(0.3), 0.3).pair  # dead where both masks are 0
    stack = propagate([4], law, s=1.0)
    assert stack.death_probability == pytest.approx(0.09**4, rel=1e-12)
