"""Sets up the test session: devices, caches, the tests that a backend runs, and their order."""

import gc
import os
from importlib.metadata import distributions
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Eight virtual devices for keras.distribution. JAX spends most of its time on compiling operations
# for new shapes: without optimization, and with fusions emitted without MLIR, a third of that. JAX
# 0.11 has no other emitters, and ends the process that asks for them.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false"
        if any(d.name == "jaxlib" and d.version.startswith("0.10.") for d in distributions())
        else "",
    ]
)
# Every executable is kept for the next session, however quickly it was compiled.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis
import pytest

# The same examples on every run, and no deadline: a busy machine is no counterexample.
hypothesis.settings.register_profile("reproducible", derandomize=True, deadline=None)
hypothesis.settings.load_profile("reproducible")

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")


def pytest_configure(config):
    """Splits the processor into two devices; not where other processes run the tests."""
    controls = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if BACKEND == "tensorflow" and not controls:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)


# Independent of the backend, so they run once, with TensorFlow: mathematics, pictures, what is read
# from the graph of a model and from numbers, and searches whose training is a script.
ONCE = [
    *("utils", "laws", "propagation", "plots", "cli"),
    *(f"graph/test_{name}.py" for name in ("depth", "operations", "pairing")),
    *(f"planning/test_{name}.py" for name in ("branches", "plan_smooth")),
    *(f"diagnosis/test_{name}.py" for name in ("calibration", "evidence", "mirrored_diagnosis")),
    *(f"diagnosis/test_{name}.py" for name in ("normalization_modes", "smooth_walks", "walks")),
    *(f"tuner/test_{name}.py" for name in ("distributed_tuning", "divergence", "mlp")),
    *(f"tuner/test_{name}.py" for name in ("reference", "resuming", "search", "search_space")),
    *(f"project/test_{name}.py" for name in ("contributing", "docs", "formulas", "notebook")),
    "project/test_project_files.py",
]
# This file has no examples, and folders have files of its name, which may be loaded in its place.
collect_ignore = ["conftest.py", *([] if BACKEND == "tensorflow" else ONCE)]
# The slow tests of what each backend does in its own way: training, tracing, devices, exports and
# the memory of draws. All other slow tests run once: what they do with numbers and files is the
# same everywhere, and the quick ones show on every backend that it gets there.
SLOW_EVERYWHERE = (
    *("tests/models/", "tests/callbacks/test_processes.py"),
    *("tests/callbacks/test_unchanged_training.py", "tests/callbacks/test_logger_copies.py"),
    *(f"tests/callbacks/test_logger_{name}.py" for name in ("history", "probes", "steps")),
    *("tests/planning/test_large_kernels.py", "tests/project/test_random_models.py"),
    "tests/initializers/test_distribution.py",
    "tests/initializers/test_pairs.py::test_a_traced_draw_has_the_same_bits",
    "tests/initializers/test_saving.py::test_export_as_saved_model",
)


# Examples of docstrings that search.
LONG_EXAMPLES = ("keras_fracinit.tuner.analysis.results", "keras_fracinit.tuner.resuming.resumable")
# Costly tests of many cases: those with one of these words in their id are quick, all others slow.
QUICK_CASES = {
    "test_a_fault_in_a_record_costs_one_warning": ["the pass", "the files"],
    "test_activations_are_those_of_layer_output": ["mlp"],
    "test_batches_are_counted_where_the_optimizer_of_the_model_stands_still": [
        "OwnStep-None-2",
        "frozen-None-2",
    ],
    "test_each_call_of_a_layer_is_one_row": ["nested", "subclassed"],
    "test_gradients_under_a_policy_of_one_type": ["bfloat16"],
    "test_one_unit_has_the_closed_moment": ["1.5", "1.01-Li", "1.01-R", "1.99-Le"],
    "test_simulated_networks_follow_the_exact_law_and_not_the_normal": ["ReLU()"],
    "test_the_gain_equals_40_digit_arithmetic": ["ReLU", "tanh"],
    "test_the_moment_is_kept_where_the_width_changes": ["relu"],
    "test_a_network_that_runs_away_from_its_operating_point_is_told_so": ["gelu"],
    "test_a_walk_ends_where_signals_of_other_sizes_come_in": ["squeeze", "add"],
    "test_activations_and_operations_that_pass_a_signal_on_are_followed": ["relu"],
    "test_sizes_behind_smooth_activations_are_those_of_the_length_map": ["tanh-0.05", "softplus"],
    "test_the_factor_of_an_operation_is_not_charged_to_the_kernels_behind_it": ["operator"],
    "test_what_a_layer_of_the_users_ends_with_is_known": ["-5_1"],
    "test_wrappers_padding_and_noise_are_no_fault_of_kernels": ["TimeDistributed"],
    "test_a_signal_stops_all": ["15"],
    "test_a_diverged_run_is_worse_than_all_others": ["min"],
    "test_a_search_keeps_every_execution": ["bayesian", "grid", "hyperband"],
    "test_a_simulated_layer_keeps_the_moment": ["Linear()", "relu"],
    "test_an_activation_that_attracts_is_healthy_and_its_theory_is_told_as_far_as_known": ["tanh"],
    "test_alpha_2_is_the_normal_distribution": ["Linear()", "LeakyReLU", "tanh"],
    "test_every_kind_of_model_is_seen": ["mlp", "nested", "subclassed"],
    "test_looking_changes_nothing": ["mlp", "subclassed"],
    "test_models_pickle_and_copy": ["relu-", "callable", "tanh"],
    "test_saved_models_reload": ["relu", "tanh", "gelu", "callable"],
    "test_stable_layers_keep_it_in_the_norm_of_their_own": ["linear", "gelu"],
    "test_the_largest_kernels_are_those_of_the_initializer": ["normal"],
    "test_the_moment_is_kept_over_depth": ["relu-", "leaky", "tanh"],
    "test_the_same_test_catches_he": ["relu"],
    "test_training_starts_and_ends_finite": ["orthogonal", "callable"],
    "test_twenty_layers_may_share_one_instance": ["relu-", "linear-stable"],
}


def pytest_collection_modifyitems(config, items):
    """Chooses what is slow, and what only the run with TensorFlow has; puts slow tests first.

    No worker is to begin a long test when the others have finished. One backend runs what is
    marked with `once`, and the slow tests outside of `SLOW_EVERYWHERE`.
    """
    for item in items:
        words = QUICK_CASES.get(getattr(item, "originalname", None))
        if item.name in LONG_EXAMPLES or (words and not any(w in item.name for w in words)):
            item.add_marker(pytest.mark.slow)
    if BACKEND != "tensorflow":
        once = [item for item in items if _is_once(item)]
        config.hook.pytest_deselected(items=once)
        items[:] = [item for item in items if not _is_once(item)]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _is_once(item):
    slow = item.get_closest_marker("slow") and not item.nodeid.startswith(SLOW_EVERYWHERE)
    return bool(slow or item.get_closest_marker("once"))


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
    import keras

    keras.utils.set_random_seed(20261123)
