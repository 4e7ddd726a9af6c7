"""The slope of a leaky ReLU for a depth: numbers of the theory, the defining property, limits."""

import itertools

import pytest

from keras_fracinit.laws import LeakyReLU
from keras_fracinit.propagation import correlation_map, propagate, slope_for

# The values of the theory, printed to three digits: by depth and the cosine of orthogonal inputs.
TABLE = {
    10: {0.5: 0.450, 0.7: 0.276},
    20: {0.5: 0.584, 0.7: 0.447, 0.9: 0.181},
    40: {0.5: 0.689, 0.7: 0.582, 0.9: 0.378},
    100: {0.5: 0.793, 0.7: 0.717, 0.9: 0.570},
    1000: {0.5: 0.930, 0.7: 0.902, 0.9: 0.844},
}
ROWS = [(depth, cosine, slope) for depth, row in TABLE.items() for cosine, slope in row.items()]


@pytest.mark.parametrize(("depth", "cosine", "slope"), ROWS)
def test_the_numbers_of_the_theory(depth, cosine, slope):
    assert round(slope_for(depth, cosine), 3) == slope


@pytest.mark.parametrize("start", [-0.5, 0.0, 0.3])
@pytest.mark.parametrize("depth", [1, 2, 17, 150])
def test_so_many_layers_take_one_cosine_to_the_other(depth, start):
    for cosine in (0.4, 0.8, 0.99):
        slope = slope_for(depth, cosine, start)
        assert 0.0 <= slope <= 1.0
        c = start
        for _ in range(depth):
            c = correlation_map(LeakyReLU(slope), c)
        if slope:
            assert c == pytest.approx(cosine, abs=1e-11)
            stack = propagate([8] * depth, LeakyReLU(slope), s=1.0).collapse(start)
            assert stack.cosines[-1] == pytest.approx(cosine, abs=1e-11)
        else:
            assert c <= cosine  # plain ReLU layers stay below it


def test_where_plain_relu_is_enough_the_slope_is_zero():
    # The theory: ten ReLU layers reach 0.87, so the root for 0.9 would be negative.
    assert slope_for(10, 0.9) == 0.0 < slope_for(10, 0.86)
    assert slope_for(1, 0.32) == 0.0 < slope_for(1, 0.31)  # 1/pi


def test_it_grows_with_depth_and_falls_with_the_cosine():
    by_depth = [slope_for(depth, 0.7) for depth in (10, 30, 100, 1000, 10_000)]
    by_cosine = [slope_for(50, cosine) for cosine in (0.05, 0.2, 0.5, 0.9, 0.95)]
    assert all(a < b for a, b in itertools.pairwise(by_depth))
    assert all(a > b for a, b in itertools.pairwise(by_cosine))
    assert 0.96 < by_depth[-1] < 1.0
    assert slope_for(50, 1e-9) > 0.9999  # a linear network keeps the angle


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "`depth`.*depth=0"),
        ((100_001,), ValueError, "`depth`.*depth=100001"),
        ((2.5,), TypeError, "`depth`.*depth=2.5"),
        ((True,), TypeError, "`depth`"),
        ((10, 1.0), ValueError, "`cosine` must satisfy start < cosine < 1.*cosine=1.0"),
        ((10, 0.0), ValueError, "`cosine` must satisfy start < cosine < 1.*start=0.0"),
        ((10, 0.3, 0.3), ValueError, "`cosine` must satisfy start < cosine < 1"),
        ((10, "0.5"), TypeError, "`cosine`"),
        ((10, float("nan")), ValueError, "`cosine`"),
        ((10, 0.5, -1.1), ValueError, "`start` must satisfy -1 <= start <= 1.*start=-1.1"),
        ((10, 0.5, None), TypeError, "`start`"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        slope_for(*arguments)
