"""Tests that `gain` prints the numbers of the library, and refuses a gain that there is not."""

import math

import pytest
from command_line import refused

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.cli.main import main
from keras_fracinit.laws import Smooth


def quantities(text):
    """The two columns of the table."""
    rows = [line.strip().rsplit("  ", 1) for line in text.splitlines()]
    return {name.strip(): value.strip() for name, value in rows}


@pytest.mark.parametrize(
    ("options", "law", "he", "fan_in"),
    [
        ("--width 64", "relu", 2.0, 64),
        ("--width 8 --s 0.5 --fan-in 100", "relu", 2.0, 100),
        ("--width 8 --s 0 --activation linear", "linear", 1.0, 8),
        ("--width 8 --s 2 --activation leaky_relu", "leaky_relu", 2 / 1.04, 8),
        (
            "--width 8 --s 1.5 --activation leaky_relu --negative-slope -0.5",
            laws.LeakyReLU(-0.5),
            1.6,
            8,
        ),
        (
            "--width 8 --dropout 0.3 --activation relu",
            laws.Dropout(laws.ReLU(), 0.3),
            2.0,
            8,
        ),
    ],
)
def test_the_gain_is_that_of_the_library(options, law, he, fan_in, capsys):
    words = ["gain", *options.split()]
    assert main(words) == 0
    found = quantities(capsys.readouterr().out)
    s = float(words[words.index("--s") + 1]) if "--s" in words else 1.0
    width = int(words[words.index("--width") + 1])
    gain = kf.gain(law, s, width)
    reference = "LeCun" if law == "linear" else "He"
    numbers = {
        "gain": gain,
        f"gain of {reference}": he,
        "ratio of the gains": gain / he,
        f"stddev at fan-in {fan_in}": math.sqrt(gain / fan_in),
        f"ratio to that of {reference}": math.sqrt(gain / he),
    }
    for name, expected in numbers.items():
        assert float(found[name]) == pytest.approx(expected, rel=1e-12), name
    death = float(found["P(all units are zero)"])
    assert death == pytest.approx(kf.death_probability(law, width), rel=1e-5)
    mean, _, spread = found["log-norm per layer"].split()
    assert float(mean) == pytest.approx(kf.log_norm(law, s, width).mean, rel=1e-5)
    assert float(spread) ** 2 == pytest.approx(kf.log_norm(law, s, width).variance, rel=1e-4)


def test_the_gain_of_a_smooth_activation_says_how_long_it_holds(capsys):
    assert main(["gain", "--width", "64", "--activation", "gelu", "--dropout", "0.1"]) == 0
    found = quantities(capsys.readouterr().out)
    law = laws.Dropout(Smooth("gelu"), 0.1)
    assert float(found["gain"]) == pytest.approx(kf.gain(law, 1, 64), rel=1e-12)
    assert float(found["gain of s=2"]) == pytest.approx(1 / Smooth("gelu").mean, rel=1e-12)
    assert float(found["gradient factor"]) == pytest.approx(Smooth("gelu").gradient_factor, 1e-5)
    assert float(found["slope of the length map"]) == pytest.approx(
        Smooth("gelu").length_slope, 1e-5
    )
    assert found["unit size"].startswith("REPELS")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--width 64 --s 2.5", "`s` must satisfy 0 <= s <= 2. Received: s=2.5"),
        ("--width 64 --s nan", "`s` must be finite"),
        ("--width 64 --s one", "argument --s: invalid float value: 'one'"),
        ("--width 0", "`width` must satisfy 1 <= width"),
        ("--width 64 --fan-in 0", "`fan_in` must satisfy 1 <= fan_in"),
        ("--width 64 --activation softmax", "which softmax does not"),
        ("--width 64 --activation nonsense", "Received: activation='nonsense'"),
        ("--width 64 --dropout 1", "`dropout` must satisfy 0 <= dropout < 1"),
        ("--width 64 --negative-slope 0.1", "`negative_slope` must go with the activation"),
        ("--width 1 --s 0.001 --dropout 0.9", "use a larger s"),
        ("", "the following arguments are required: --width"),
        ("--wid 64", "the following arguments are required: --width"),  # no abbreviations
    ],
)
def test_a_gain_that_there_is_not_is_refused(options, message, capsys, folder):
    assert message.lower() in refused(capsys, "gain", *options.split()).lower()
