"""The package as a whole: what it imports, in which order, and whether its words are true."""

import ast
import json
import math
import pathlib
import subprocess
import sys

import keras
import pytest

import keras_fracinit as kf

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_fracinit"

# A file imports only files before it.
ORDER = [
    *(
        "_validation",
        "_printing",
        "_patterns",
        "laws",
        "moments",
        "smooth",
        "stable",
        "_operating_point",
        "orders",
        "_spectrum",
        "_correlation",
        "propagation",
    ),
    *("estimators", "_fans"),
    *("layers", "activations", "_sampling", "initializers", "smooth_initializers", "_choice"),
    *("_recording", "models"),
    *("_kernels", "_graph", "_units", "_sources", "_drawn", "_stacks"),
    *("_values", "_changes", "_slots", "planning"),
    *("_probe", "_files", "_records", "callbacks"),
    *("_observing", "_walks", "_verdicts", "diagnosis"),
    *("_tables", "_drawing", "_drawing_diagnosis", "plots"),
    *("_trials", "_search_space", "_hypermodel", "_resuming", "tuner"),
    *("_cli_files", "_cli", "__main__"),
]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_files_import_only_files_above_them():
    files = {path.stem: path for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert set(files) == set(ORDER)
    for position, name in enumerate(ORDER):
        for module in imported_modules(files[name]):
            package, _, inner = module.partition(".")
            if package == "keras_fracinit" and inner:
                assert ORDER.index(inner.partition(".")[0]) < position, (name, module)
            assert not module.startswith("keras.src"), (name, module)


def test_the_mathematics_is_free_of_keras():
    for name in (*ORDER[: ORDER.index("_fans") + 1], "_files"):
        modules = {module.partition(".")[0] for module in imported_modules(PACKAGE / f"{name}.py")}
        assert not modules & {"keras", "tensorflow", "jax", "torch"}, name


def test_import_loads_nothing_heavy():
    code = (
        "import sys, json, keras; before = set(sys.modules); import keras_fracinit; "
        "print(json.dumps(sorted(m.partition('.')[0] for m in set(sys.modules) - before)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(json.loads(output.stdout.splitlines()[-1]))
    assert "keras_fracinit" in loaded
    assert not loaded & {"tensorflow", "keras_tuner", "matplotlib", "pandas", "scipy", "sklearn"}


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="The backend is TensorFlow.")
def test_other_backends_never_load_tensorflow():
    code = "import keras_fracinit, sys; print([m for m in sys.modules if m == 'tensorflow'])"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert output.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(kf.__all__))
def test_public_names_are_documented(name):
    public = getattr(kf, name)
    assert public.__doc__
    # Records and modules are shown by what returns them and what is in them.
    if name not in ("estimators", "laws", "propagation", "LayerScale", "LogNorm"):
        assert "Example:" in public.__doc__
        assert ">>>" in public.__doc__


def significant(value):
    return f"{value:.2g}"


def readme_row(width):
    ratios = [math.sqrt(kf.gain("relu", s, width) / 2) for s in (1.5, 1, 0.5, 0)]
    mean = (kf.gain("relu", 2, width) / kf.gain("relu", 1, width)) ** 50
    medians = [math.exp(100 * kf.log_norm("relu", s, width).mean) for s in (2, 1, 0)]
    cells = [f"{ratio:.4f}" for ratio in ratios] + [significant(x) for x in (mean, *medians)]
    return f"| {width} | " + " | ".join(cells) + " |"


@pytest.mark.parametrize("width", [8, 16, 32, 64, 256, 1024])
def test_the_table_of_the_readme_is_what_the_package_computes(width):
    assert readme_row(width) in (ROOT / "README.md").read_text()
