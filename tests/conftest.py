"""Sets up the test session: devices, caches, the tests that a backend runs, and their order."""

import gc
import os
from pathlib import Path

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
# Every executable is kept for the next session, however quickly it was compiled.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

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


# Independent of the backend, so they run once, with TensorFlow.
ONCE = [
    *("laws", "propagation", "plots", "cli"),
    *("tuner/test_resuming.py", "project/test_docs.py", "project/test_contributing.py"),
]
collect_ignore = [] if keras.backend.backend() == "tensorflow" else ONCE


def pytest_collection_modifyitems(items):
    """Puts slow tests first: no worker is to begin a long one when the others have finished."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish():
    """Exempts the imported modules from garbage collection.

    Keras and KerasTuner collect garbage for every model of a search, a third of a second each with
    TensorFlow's objects in memory: about half the time of a small search.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fixed_seed():
    """Every test draws the same numbers wherever it runs, so none fails by chance of order."""
    keras.utils.set_random_seed(20261123)
