"""Tests what `propagate` and `correlation_map` take and refuse, and how their records print."""

import math

import numpy as np
import pytest

import keras_fracinit as kf
from keras_fracinit import gain
from keras_fracinit.laws import Dropout, LeakyReLU, Linear, ReLU, Smooth
from keras_fracinit.propagation import correlation_map, propagate

pytestmark = pytest.mark.filterwarnings("error")


def test_each_argument_is_one_for_all_or_one_per_layer():
    alike = propagate([8, 16], "relu", s=1)
    assert propagate((8, np.int64(16)), ["relu", ReLU()], s=[1, 1.0]) == alike
    assert propagate(np.array([8, 16]), "relu", gain=[gain("relu", 1, d) for d in (8, 16)]) == alike
    mixed = propagate([8, 16], ["relu", None], s=[0.5, 2], dropout=[0.0, 0.3])
    assert [layer.law for layer in mixed.layers] == [ReLU(), Dropout(Linear(), 0.3)]
    assert [layer.gain for layer in mixed.layers] == [gain("relu", 0.5, 8), 0.7]
    assert hash(alike) == hash(propagate([8, 16], "relu", s=1))


def test_an_initializer_is_propagated_by_its_gain():
    initializer = kf.FracReLU(s=0.7, dropout=0.1)
    scale = initializer.describe((32, 32))
    p = propagate([32], "relu", s=0.7, dropout=0.1)
    assert p.layers[0].gain == scale.gain
    assert p.mean == pytest.approx(scale.log_norm_mean, abs=1e-15)
    assert math.sqrt(p.variance) == pytest.approx(scale.log_norm_std, rel=1e-13)


def test_records_print_readably():
    text = str(propagate([8] * 4, LeakyReLU(0.1), s=0))
    assert text.startswith("4 layers: log r ")
    assert "a random walk" in text
    assert len(text.splitlines()) == 2
    assert "every moment grows" in str(propagate([8], None, gain=2.0))
    assert str(propagate([64] * 20, "relu", s=1).collapse()) == (
        "cosine 0 -> 0.9484 in 20 layers, limit 1; K = 0.3001, 1 - c < 0.01 from layer 57"
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: propagate([], "relu", s=1), ValueError, "`widths` must not be empty"),
        (lambda: propagate(8, "relu", s=1), TypeError, "`widths` must be a sequence"),
        (lambda: propagate([8, 0], "relu", s=1), ValueError, "1 <= width <= .* width=0"),
        (lambda: propagate([8.0], "relu", s=1), TypeError, "`width` must be an integer"),
        (lambda: propagate([8], "relu"), ValueError, "one of `s` and `gain` must be given"),
        (lambda: propagate([8], "relu", s=1, gain=2), ValueError, "one of `s` and `gain`"),
        (lambda: propagate([8], "relu", s=2.5), ValueError, "`s` must satisfy 0 <= s <= 2"),
        (lambda: propagate([8], "relu", s="1"), TypeError, "`s` must be a real number"),
        (lambda: propagate([8], "relu", gain=-1), ValueError, "`gain` must not be negative"),
        (lambda: propagate([8], "relu", gain=0), ValueError, "`gain` must be positive"),
        (lambda: propagate([8], "relu", s=1, dropout=1), ValueError, "0 <= dropout < 1"),
        (lambda: propagate([8], "relu", s=1, dropout="0"), TypeError, "`dropout` must be"),
        (lambda: propagate([8], "tanh", s=1), ValueError, "at one size of the signal only.*'tanh'"),
        (
            lambda: propagate([8], ["gelu"], gain=2, dropout=0.1),
            ValueError,
            "no product of independent factors.*'gelu'",
        ),
        (
            lambda: propagate([8], Dropout(Smooth("elu"), 0.1), s=1),
            ValueError,
            "at one size of the signal only.*'elu'",
        ),
        (lambda: propagate([8], "sigmoid", s=1), ValueError, "one size.*'sigmoid'"),
        (lambda: correlation_map("tanh", 0.5), ValueError, "angles between inputs.*'tanh'"),
        (
            lambda: propagate([8, 8], "relu", s=[1, 1, 1]),
            ValueError,
            "`s` must be one for all layers or one for each of the 2. Received: s of length 3",
        ),
        (lambda: propagate([8, 8], ["relu"], s=1), ValueError, "`activation` must be one for"),
        (lambda: propagate([1], "relu", s=0.001), ValueError, r"P\(Q = 0\) = 0.5"),
        (lambda: propagate([8], None, gain=2).tail_index(), ValueError, "the network explodes"),
        (lambda: propagate([8], None, s=1).cdf(math.nan), ValueError, "`x` must be finite"),
        (lambda: propagate([8], None, s=1).cdf(0, "normal"), ValueError, "`method` must be one"),
        (lambda: propagate([8], None, s=1).quantile(1), ValueError, "0 < q < 1. Received: q=1"),
        (lambda: propagate([8], None, s=1).quantile("a"), TypeError, "`q` must be a real number"),
        (
            lambda: propagate([8], None, s=1).probability_below(0),
            ValueError,
            "`threshold` must be positive. Received: threshold=0",
        ),
        (lambda: propagate([8], None, s=1).probability_above(-1), ValueError, "`threshold` must"),
        (lambda: propagate([8], None, s=1).log_moment(0), ValueError, "`order` must be positive"),
        (lambda: propagate([8], None, s=1).collapse(1.1), ValueError, "-1 <= start <= 1"),
        (lambda: correlation_map("relu", -2), ValueError, "-1 <= c <= 1. Received: c=-2"),
        (lambda: correlation_map("relu", "0"), TypeError, "`c` must be a real number"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
