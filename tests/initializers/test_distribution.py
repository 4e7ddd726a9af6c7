"""Replicated and sharded training: every replica the same kernel, every shard its part of it."""

import keras
import numpy as np
import pytest
from cases import CASES, EVERY, MIRRORED, assert_drawn_at, covering, draws, numpy

import keras_fracinit as kf

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute belongs to TensorFlow."
)
on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution shards on JAX only."
)
X = np.random.default_rng(0).standard_normal((32, 16)).astype("float32")


def mirrored():
    """Two replicas, without collective operations: their keys clash in one process."""
    import tensorflow as tf

    reduction = tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)


def train(case, weights, seed):
    options = {**weights, "seed": seed}
    model = keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(16, kernel_initializer=case.make(**options)),
            case.activation(),
            kf.RandomizedLeakyReLU(),
            keras.layers.Dense(8, kernel_initializer=case.make(**options)),
        ]
    )
    initial = numpy(model.layers[0].kernel)
    model.compile("sgd", "mse")
    history = model.fit(X, X[:, :8], batch_size=16, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    return model, initial


DRAWS = draws(EVERY, "untruncated_normal", "orthogonal", "stable")
SEEDS = ("seed", [None, 3])
ONCE = ["orthogonal", "stable"]  # a sampler sees of a case its scale alone


@on_tensorflow
@pytest.mark.slow
@covering(DRAWS, SEEDS, once=ONCE, others=False)
def test_mirrored_strategy_gives_replicas_equal_kernels(case, weights, seed):
    strategy = mirrored()
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model, initial = train(case, weights, seed)
    for layer in (model.layers[0], model.layers[-1]):
        replicas = [numpy(value) for value in layer.kernel.value.values]
        assert len(replicas) == 2
        np.testing.assert_array_equal(*replicas)
    if seed is not None:
        alone = case.make(**weights, seed=seed)((16, 16))
        np.testing.assert_array_equal(initial, numpy(alone))


@pytest.fixture
def distributed():
    """Sets a distribution for one test."""
    yield keras.distribution.set_distribution
    keras.distribution.set_distribution(None)


def model_parallel():
    mesh = keras.distribution.DeviceMesh((2, 4), ["batch", "model"])
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*kernel"] = (None, "model")
    return keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


MAKES = ("make", [keras.distribution.DataParallel, model_parallel])


@on_jax
@covering(DRAWS, MAKES, SEEDS, once=ONCE, others=False)
def test_keras_distribution_shards_what_is_drawn(case, weights, make, seed, distributed):
    assert len(keras.distribution.list_devices()) == 8
    expected = numpy(case.make(**weights, seed=3)((16, 16)))
    distributed(make())
    model, initial = train(case, weights, seed)
    sharding = model.layers[0].kernel.value.sharding
    assert len(sharding.device_set) == 8
    assert sharding.is_fully_replicated == (make is keras.distribution.DataParallel)
    if seed is not None:
        np.testing.assert_array_equal(initial, expected)


# A sampler sees of a case its scale alone; a law that is sampled, and pairs, are traced with it.
SHARDED = draws(CASES[:1], "untruncated_normal", "truncated_normal", "uniform", "stable")
SHARDED += draws([CASES[-1], MIRRORED[1]], "untruncated_normal")


@on_jax
@pytest.mark.parametrize(("case", "weights"), SHARDED)
def test_kernels_too_large_for_one_device_are_drawn_sharded(case, weights, distributed):
    # 4 bytes x 8 devices x this is over 250 MiB: Keras then traces the initializer under jit.
    shape = (4096, 2048)
    distributed(model_parallel())
    initializer = case.make(**weights)
    layers = [keras.layers.Dense(shape[1], kernel_initializer=initializer) for _ in range(2)]
    for layer in layers:
        layer.build((None, shape[0]))
        assert not layer.kernel.value.sharding.is_fully_replicated
    first, second = (numpy(layer.kernel) for layer in layers)
    assert (first != second).mean() > 0.99
    for kernel in (first, second):
        assert_drawn_at(initializer.describe(shape), kernel)


def moments_of_training(path):
    """The history of a training that is the same wherever it runs, and the file beside it."""
    layers = [
        keras.layers.Dense(16, "relu", kernel_initializer=kf.FracReLU(seed=seed)) for seed in (1, 2)
    ]
    model = keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(8, "linear")])
    model.layers[-1].kernel.assign(keras.ops.eye(16, 8))
    model.compile("sgd", "mse")
    logger = kf.MomentLogger(
        (X, X[:, :8]), (0, 1, 2), kf.models.QUANTITIES, every=1, tail_index=True, path=path
    )
    model.fit(X, X[:, :8], batch_size=16, epochs=2, verbose=0, shuffle=False, callbacks=[logger])
    history = logger.history[logger.history.statistic != "seconds"]
    assert len(path.read_text().splitlines()) == 1 + len(logger.history)  # written once
    assert list(history.step.unique()) == [0, 1, 2, 3, 4]
    return history


def assert_same_moments(distributed, alone):
    assert len(distributed) == len(alone) > 500
    for column in ("value", "stderr"):
        np.testing.assert_allclose(
            distributed[column], alone[column], rtol=2e-4, atol=1e-6, err_msg=column
        )


@pytest.mark.slow
@on_tensorflow
def test_moments_under_mirrored_strategy_are_those_of_one_device(tmp_path):
    alone = moments_of_training(tmp_path / "alone.csv")
    with mirrored().scope():
        replicated = moments_of_training(tmp_path / "mirrored.csv")
    assert_same_moments(replicated, alone)


@on_jax
@pytest.mark.parametrize("make", [keras.distribution.DataParallel, model_parallel])
def test_moments_under_keras_distribution_are_those_of_one_device(make, tmp_path, distributed):
    alone = moments_of_training(tmp_path / "alone.csv")
    distributed(make())
    assert_same_moments(moments_of_training(tmp_path / "distributed.csv"), alone)
