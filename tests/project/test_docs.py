"""The documentation: its code prints what it says, its reference is complete, its links exist."""

import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re
import sys

import pandas as pd
import pytest
from cases import quick

import keras_fracinit as kf
from keras_fracinit import (
    callbacks,
    diagnosis,
    estimators,
    initializers,
    laws,
    layers,
    models,
    planning,
    plots,
    propagation,
    tuner,
)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))

from _learning import guide

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = [page.relative_to(DOCS).as_posix() for page in PAGES]
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)


WITH_CODE = [name for name in NAMES if ">>>" in (DOCS / name).read_text()]
# They search, or train.
LONG = ["guide/see.md", "guide/tune.md", "guide/whole.md", "theory/mirrored.md", "theory/sums.md"]


@pytest.mark.parametrize("name", quick((*(n for n in WITH_CODE if n not in LONG),), *LONG))
def test_the_code_of_a_page_prints_what_the_page_says(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failed, tried = doctest.testfile(str(DOCS / name), module_relative=False, encoding="utf-8")
    assert tried
    assert not failed


def test_every_derivation_has_code_that_checks_it():
    pages = {page for page in DOCS.glob("theory/*.md") if page.stem != "index"}
    assert len(pages) == 16
    for page in pages:
        assert "## Check" in page.read_text(), page
        assert ">>>" in page.read_text(), page


def documented():
    """What the directives of the reference name, by path."""
    paths = {path for page in PAGES for path in DIRECTIVE.findall(page.read_text())}
    found = {}
    for path in sorted(paths):
        module, _, name = path.rpartition(".")
        try:
            found[path] = importlib.import_module(path)
        except ModuleNotFoundError:
            found[path] = getattr(importlib.import_module(module), name)
    return found


def files(package):
    """The modules of a package, or a module itself."""
    if not hasattr(package, "__path__"):
        return [package]
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def own(package):
    """The classes and functions that a package defines for others."""
    for module in files(package):
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_"):
                yield name, thing


PACKAGES = (
    *(callbacks, diagnosis, estimators, initializers, laws, layers, models, planning),
    *(plots, propagation, tuner),
)


def public():
    for module in (kf, *PACKAGES):
        for name in getattr(module, "__all__", [name for name, _ in own(module)]):
            thing = getattr(module, name)
            if callable(thing) or inspect.ismodule(thing):
                yield f"{module.__name__}.{name}", thing


def test_every_public_name_is_in_the_reference():
    things = [id(thing) for thing in documented().values()]
    names = [name for name, thing in public() if id(thing) not in things]
    assert names == []


def test_whatever_has_an_example_is_in_the_reference():
    things = [id(thing) for thing in documented().values()]
    for module in PACKAGES:
        for name, thing in own(module):
            if "Example:" in (thing.__doc__ or ""):
                assert id(thing) in things, f"{module.__name__}.{name}"


def test_nothing_is_in_the_reference_twice():
    found = documented()
    assert len({id(thing) for thing in found.values()}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_and_pages_that_a_page_names_exist(name):
    page = DOCS / name
    for target in re.findall(r"\]\(([^)#]*)", page.read_text()):
        if target and not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def test_every_page_can_be_reached():
    listed = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == NAMES


def test_examples_and_files_that_the_pages_name_exist():
    for page in PAGES:
        for path in re.findall(r"`((?:examples|benchmarks|tests)/[\w./]+)`", page.read_text()):
            assert (ROOT / path).exists(), (page, path)


RESULTS = pd.read_csv(ROOT / "benchmarks" / "results" / "learning" / "learning.csv")
WHICH = (DOCS / "guide" / "which.md").read_text()


def test_the_tables_of_the_guide_are_those_of_the_results():
    assert set(guide.TABLES) == set(re.findall(r"<!-- learning: ([\w-]+) -->", WHICH))
    assert guide.filled(WHICH, RESULTS) == WHICH
    for table in guide.TABLES.values():
        assert len(guide.rows_of(table, RESULTS)) > 5


def test_the_tasks_of_the_guide_have_the_scores_of_their_linear_models():
    written = re.findall(
        r"^\| [^|]+\|[ \d,]+\|[ \d,]+\|[ \d]+\| (0\.\d{3}) \|$", WHICH, re.MULTILINE
    )
    plain = RESULTS[(RESULTS.family == "dense") & (RESULTS.dataset != "quintic")]
    assert {float(score) for score in written} == set(plain.linear.round(3))


@pytest.mark.parametrize(
    ("method", "above", "words"),
    [
        ("mirrored", 11, "mirrored weights are above HeNormal in {} of {} settings"),
        ("slope 0.7", 12, "slope for 0.7 in all {1}"),
    ],
)
def test_the_counts_of_the_guide_are_those_of_the_results(method, above, words):
    rows = RESULTS.query(
        "family == 'dense' and activation == 'relu' and width == 64 and depth == 40 "
        f"and precision == 'float32' and method == '{method}'"
    )
    assert (rows.difference_low > 0).sum() == above
    assert (rows.difference_high < 0).sum() == 0
    flowing = " ".join(WHICH.split())
    assert words.format(above, len(rows)) in flowing
    if method == "mirrored":
        readme = " ".join((ROOT / "README.md").read_text().split())
        assert f"above HeNormal in {above} of {len(rows)} combinations" in readme
