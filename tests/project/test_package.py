"""The package as a whole: what it imports, in which order, and whether its words are true."""

import ast
import graphlib
import importlib
import json
import math
import pathlib
import re
import subprocess
import sys
import tomllib

import keras
import pytest

import keras_fracinit as kf

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "keras_fracinit"
LONGEST = 400  # lines of a file

# Each package or module of the top folder, by level: it imports only those of levels before it.
LEVELS = [
    {"utils"},
    {"laws", "estimators"},
    {"layers", "propagation", "models"},
    {"activations", "callbacks"},
    {"initializers"},
    {"graph"},
    {"planning", "diagnosis"},
    {"plots", "tuner"},
    {"cli"},
    {"__main__"},
]
MATHEMATICS = {"utils", "laws", "propagation", "estimators"}
OLD_PATHS = {
    "smooth": "laws.smooth",
    "stable": "laws.stable",
    "moments": "propagation.moments",
    "orders": "propagation.orders",
    "smooth_initializers": "initializers.smooth",
    "_changes": "planning.report",
}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py" and path.stem not in OLD_PATHS
}


def unit_of(name):
    return name.partition(".")[0]


def imported_modules(path):
    """The modules that a file imports, but for those that only type checkers see."""
    tree = ast.parse(path.read_text())
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def own_imports(path):
    """The files of the package that a file imports, by their names in `FILES`."""
    names = (name.removeprefix("keras_fracinit.") for name in imported_modules(path))
    return {name for name in names if name in FILES}


def test_packages_import_only_packages_of_lower_levels():
    level = {unit: number for number, units in enumerate(LEVELS) for unit in units}
    assert {unit_of(name) for name in FILES} == set(level)
    for name, path in FILES.items():
        for module in imported_modules(path):
            assert not module.startswith("keras.src"), (name, module)
            package, _, inner = module.partition(".")
            if package == "keras_fracinit" and unit_of(inner) in level:
                own, other = unit_of(name), unit_of(inner)
                assert other == own or level[other] < level[own], (name, module)


def test_no_files_import_each_other_in_a_circle():
    graph = {name: own_imports(path) for name, path in FILES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_mathematics_is_free_of_backends():
    for name, path in FILES.items():
        if unit_of(name) in MATHEMATICS:
            modules = {unit_of(module) for module in imported_modules(path)}
            allowed = {"keras"} if name == "utils.layer_calls" else set()
            assert not modules & {"keras", "tensorflow", "jax", "torch"} - allowed, name


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_is_short_and_says_what_it_is_for(name):
    text = FILES[name].read_text()
    assert len(text.splitlines()) <= LONGEST
    first = ast.get_docstring(ast.parse(text)).splitlines()[0]
    assert first.endswith((".", ":"))


@pytest.mark.parametrize(("old", "new"), OLD_PATHS.items())
def test_old_paths_lead_to_the_new_ones_and_warn(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, f"keras_fracinit.{old}", raising=False)
    message = re.escape(f"keras_fracinit.{old} is now keras_fracinit.{new}")
    with pytest.warns(DeprecationWarning, match=message):
        before = importlib.import_module(f"keras_fracinit.{old}")
    after = importlib.import_module(f"keras_fracinit.{new}")
    public = [name for name in vars(after) if not name.startswith("_")]
    own = [n for n in public if getattr(vars(after)[n], "__module__", "") == after.__name__]
    assert own
    assert all(getattr(before, name) is getattr(after, name) for name in own)


@pytest.mark.slow
def test_import_loads_nothing_heavy_and_other_packages_at_first_use():
    code = (
        "import sys, json, keras; before = set(sys.modules); import keras_fracinit as kf\n"
        "loaded = sorted(m.partition('.')[0] for m in set(sys.modules) - before)\n"
        "names = ['plots', 'tuner']\n"
        "early = [n for n in names if f'keras_fracinit.{n}' in sys.modules]\n"
        "found = [getattr(kf, n).__name__ for n in names]\n"
        "print(json.dumps([loaded, early, found, sorted({*names, '__version__'} & {*dir(kf)})]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded, early, found, listed = json.loads(output.stdout.splitlines()[-1])
    assert "keras_fracinit" in loaded
    heavy = {"tensorflow", "keras_tuner", "matplotlib", "pandas", "scipy", "sklearn"}
    assert not heavy & set(loaded)
    assert early == []
    assert found == ["keras_fracinit.plots", "keras_fracinit.tuner"]
    assert listed == ["__version__", "plots", "tuner"]


def test_the_version_is_that_of_pyproject():
    from keras_fracinit import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert kf.__version__ == __version__ == project["version"]


def test_other_names_are_no_attributes():
    assert not hasattr(kf, "plotz")
    assert set(kf.__all__) <= set(dir(kf))


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


def guide_row(width):
    ratios = [math.sqrt(kf.gain("relu", s, width) / 2) for s in (1.5, 1, 0.5, 0)]
    mean = (kf.gain("relu", 2, width) / kf.gain("relu", 1, width)) ** 50
    medians = [math.exp(100 * kf.log_norm("relu", s, width).mean) for s in (2, 1, 0)]
    cells = [f"{ratio:.4f}" for ratio in ratios] + [significant(x) for x in (mean, *medians)]
    return f"| {width} | " + " | ".join(cells) + " |"


@pytest.mark.parametrize("width", [8, 16, 32, 64, 256, 1024])
def test_the_table_of_the_guide_is_what_the_package_computes(width):
    assert guide_row(width) in (ROOT / "docs" / "guide" / "which.md").read_text()
