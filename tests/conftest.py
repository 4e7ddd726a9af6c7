"""Devices of the test session, which must exist before a backend starts."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Eight virtual devices for keras.distribution. JAX compiles every sampler for every new shape, for
# seconds where the rank is high; without optimization it takes a tenth of that.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
    ]
)

import hypothesis
import keras
import pytest

# The same examples on every run, and no deadline: a busy machine is no counterexample.
hypothesis.settings.register_profile("reproducible", derandomize=True, deadline=None)
hypothesis.settings.load_profile("reproducible")

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


# Free of the backend: once is enough, and the first of three runs is TensorFlow's.
collect_ignore = (
    []
    if keras.backend.backend() == "tensorflow"
    else [
        *("laws", "propagation", "plots"),
        "tuner/test_resuming.py",
    ]
)


@pytest.fixture(autouse=True)
def _fixed_seed():
    """Every test draws the same numbers wherever it runs, so none fails by chance of order."""
    keras.utils.set_random_seed(20261123)
