"""Tests when two draws of an initializer are the same, and when each is new."""

import itertools

import keras
import numpy as np
import pytest
from cases import WEIGHTS, drawn_from, numpy

import keras_fracinit as kf


@drawn_from(*WEIGHTS)
def test_without_a_seed_every_call_draws_afresh(case, weights):
    initializer = case.make(**weights)
    draws = [numpy(initializer((4, 4))) for _ in range(20)]
    assert all((a != b).any() for a, b in itertools.combinations(draws, 2))


@drawn_from("untruncated_normal", "stable")
def test_twenty_layers_may_share_one_instance(case, weights):
    initializer = case.make(**weights)
    dense = [keras.layers.Dense(4, kernel_initializer=initializer) for _ in range(20)]
    einsum = [
        keras.layers.EinsumDense("ab,bc->ac", 4, kernel_initializer=initializer) for _ in range(20)
    ]
    for layers in (dense, einsum):
        for layer in layers:
            layer.build((None, 4))
        kernels = [numpy(layer.kernel) for layer in layers]
        assert all((a != b).any() for a, b in itertools.combinations(kernels, 2))


def test_set_random_seed_makes_unseeded_draws_repeatable():
    def draw():
        keras.utils.set_random_seed(42)
        initializer = kf.FracReLU()
        return np.stack([numpy(initializer((3, 3))) for _ in range(3)])

    np.testing.assert_array_equal(draw(), draw())


@pytest.mark.parametrize("seed", [0, 5, np.int64(5), np.uint8(5), 2**32 - 1], ids=repr)
def test_an_integer_seed_repeats_the_values(seed):
    initializer = kf.FracReLU(seed=seed)
    np.testing.assert_array_equal(numpy(initializer((4, 4))), numpy(initializer((4, 4))))
    assert type(initializer.get_config()["seed"]) is int


def test_a_seed_generator_works_as_in_keras():
    ours, theirs = (keras.random.SeedGenerator(3) for _ in range(2))
    one, two = (
        kf.FracReLU(2, seed=ours),
        keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=theirs),
    )
    for _ in range(2):
        np.testing.assert_array_equal(numpy(one((4, 4))), numpy(two((4, 4))))
    clone = kf.FracReLU.from_config(one.get_config())
    assert isinstance(clone.seed, keras.random.SeedGenerator)


def test_query_and_key_of_attention_differ():
    layer = keras.layers.MultiHeadAttention(2, 4, kernel_initializer=kf.FracLinear())
    layer.build((None, 3, 8), (None, 3, 8))
    query, key = numpy(layer.query_dense.kernel), numpy(layer.key_dense.kernel)
    assert query.shape == key.shape
    assert (query != key).any()
