"""Tests that pictures refuse a history or an argument that makes no sense, and say why."""

import math

import pandas as pd
import pytest
from pictures import NAN, THEORY, VALUES, frame

from keras_fracinit.plots import compare, heatmap, profile


@pytest.mark.parametrize("draw", [heatmap, profile, lambda bad, **_: compare({"a": bad, "b": bad})])
@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        ({"step": [0]}, TypeError, "`history` must be a DataFrame.* Received: history=<class"),
        (
            frame(VALUES).drop(columns=["call", "stderr"]),
            ValueError,
            r"must have the columns step, .*Received: history.columns=\['step', 'epoch', ",
        ),
        (frame(VALUES)[:0], ValueError, r"rows about layers. Received: len\(history\)=0"),
        (
            frame(VALUES).query("layer == ''"),
            ValueError,
            r"rows about layers. Received: len\(history\)=6",
        ),
    ],
)
def test_a_bad_history_is_refused(draw, history, error, message):
    with pytest.raises(error, match=message):
        draw(history)


BAD = [
    (
        "quantity",
        "weights",
        ValueError,
        "must be one of 'activations'. Received: quantity='weights'",
    ),
    ("quantity", "logger", ValueError, "'activations'. Received: quantity='logger'"),
    ("statistic", "zeros", ValueError, "must be one of 's_scale'. Received: statistic='zeros'"),
    ("statistic", "slope", ValueError, "must be one of 's_scale'. Received: statistic='slope'"),
    ("order", 0.75, ValueError, "must be one of 0.5, 1. Received: order=0.75"),
    ("order", "1", TypeError, "`order` must be a real number. Received: order='1'"),
]
BAD_STEPS = [
    (12, ValueError, r"the nearest to 12 is 10. Received: steps=\[12\]"),
    ([0, 24], ValueError, r"the nearest to 24 is 25. Received: steps=\[0, 24\]"),
    ([-1], ValueError, r"the nearest to -1 is 0. Received: steps=\[-1\]"),
    ([], ValueError, r"`steps` must hold a step or more. Received: steps=\[\]"),
    ([0.0], TypeError, "`steps` must be an integer. Received: steps="),
    ("0", TypeError, "`steps` must be an integer. Received: steps="),
]
BAD_THEORY = [
    (THEORY[:2], 1.0, ValueError, r"`theory` must have 3 records.* Received: len\(theory\)=2"),
    (THEORY[0], 1.0, TypeError, "`theory` must be a list of records. Received: theory=<class"),
    ([*THEORY[:2], 3.0], 1.0, TypeError, r"Received: theory\[2\].log_norm_mean=None"),
    (THEORY, None, ValueError, "`start` must be positive.* Received: start=None"),
    (THEORY, 0.0, ValueError, "`start` must be positive.* Received: start=0.0"),
    (THEORY, NAN, ValueError, "`start` must be finite. Received: start=nan"),
    (THEORY, "1", TypeError, "`start` must be a real number. Received: start='1'"),
]


@pytest.fixture
def two_orders(history):
    return pd.concat([frame(VALUES, order=0.5), history])


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD)
def test_what_the_frame_does_not_hold_is_refused(two_orders, name, value, error, message):
    for draw in (heatmap, profile):
        with pytest.raises(error, match=message):
            draw(two_orders, **{name: value})
    with pytest.raises(error, match=message) as caught:
        compare({"a": two_orders, "b": two_orders}, **{name: value})
    assert caught.value.__notes__ == ["In the run 'a'."]


@pytest.mark.parametrize(("steps", "error", "message"), BAD_STEPS)
def test_bad_steps_are_refused(history, steps, error, message):
    with pytest.raises(error, match=message):
        profile(history, steps=steps)
    only = history[history.step == 0]
    with pytest.raises(ValueError, match="nearest to 10 is 0") as caught:
        compare({"a": history, "b": only}, steps=[10])
    assert caught.value.__notes__ == ["In the run 'b'."]


@pytest.mark.parametrize(("theory", "start", "error", "message"), BAD_THEORY)
def test_a_bad_theory_is_refused(history, theory, start, error, message):
    with pytest.raises(error, match=message):
        profile(history, theory=theory, start=start)
    with pytest.raises(error, match=message) as caught:
        compare({"a": history, "b": history}, theory={"b": theory}, start=start)
    assert caught.value.__notes__ == ["In the run 'b'."]


def test_a_theory_of_another_statistic_is_refused():
    history = frame(VALUES, statistic="log_norm_mean", order=NAN)
    with pytest.raises(ValueError, match=r"`theory` goes with .* Received: statistic='log_norm_m"):
        profile(history, "log_norm_mean", theory=THEORY, start=1.0)


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        ((1.0, 1.0), ValueError, r"must satisfy 0 < low < high. Received: limits=\(1.0, 1.0\)"),
        ((2.0, 1.0), ValueError, r"must satisfy 0 < low < high. Received: limits=\(2.0, 1.0\)"),
        ((0.0, 1.0), ValueError, r"must satisfy 0 < low < high. Received: limits=\(0.0, 1.0\)"),
        ((0.5, math.inf), ValueError, "`limits` must be finite. Received: limits=inf"),
        ((None, 1.0), TypeError, "`limits` must be a real number. Received: limits=None"),
        ((1.0, 2.0, 3.0), TypeError, "`limits` must be a pair of numbers. Received: limits="),
        (1.0, TypeError, "`limits` must be a pair of numbers. Received: limits=1.0"),
    ],
)
def test_bad_limits_are_refused(history, limits, error, message):
    with pytest.raises(error, match=message):
        heatmap(history, limits=limits)


def test_linear_limits_must_ascend():
    history = frame(VALUES, statistic="log_norm_mean", order=NAN)
    with pytest.raises(ValueError, match=r"must satisfy low < high. Received: limits=\(0, -1\)"):
        heatmap(history, "log_norm_mean", limits=(0, -1))


def test_bad_runs_are_refused(history):
    with pytest.raises(TypeError, match=r"`runs` must be a dict .*Received: runs=<class"):
        compare([history, history])
    with pytest.raises(ValueError, match=r"`runs` must hold two or more. Received: runs=\['a'\]"):
        compare({"a": history})
    runs = {"a": history, "b": history}
    for theory in ({"c": THEORY}, THEORY):
        with pytest.raises(
            ValueError, match=r"`theory` must be a dict by names.* Received: theory="
        ):
            compare(runs, theory=theory, start=1.0)
