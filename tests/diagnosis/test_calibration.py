"""Healthy networks are left alone and sick ones found: some of those of benchmarks/diagnosis.py."""

import sys
from pathlib import Path

import keras
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import diagnosis as benchmark


def judged(case):
    keras.utils.clear_session(free_memory=False)
    return benchmark.kinds_of(case)


@pytest.mark.slow
def test_of_thirty_healthy_networks_at_most_five_are_accused():
    accused = {number: judged(benchmark.healthy(number)) for number in range(30)}
    assert sum(map(bool, accused.values())) <= 5, accused


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(benchmark.SICK))
def test_sick_networks_are_found(kind):
    count = 1 if kind in ("collapsed", "gradients") else 3  # these are deep
    cases = [judged(benchmark.sick(kind, 64, number)) for number in range(count)]
    expected = benchmark.SICK[kind].verdicts
    assert all(not expected.isdisjoint(found) for found in cases), cases


@pytest.mark.slow
def test_a_network_is_the_same_one_for_the_same_number():
    first, second = (benchmark.healthy(9) for _ in range(2))
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        assert (one == other).all()
