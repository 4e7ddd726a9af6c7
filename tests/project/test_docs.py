"""The documentation: its code prints what it says, its reference is complete, its links exist."""

import csv
import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re

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


# The rows of the guide's table, by the names in the file of results.
ROWS = {
    "He": "the same, not truncated",
    "ours s=1.5": "s = 1.5",
    "ours s=1": "s = 1",
    "ours s=0.5": "s = 0.5",
    "ours s=0": "s = 0",
    "s tuned": "s tuned",
    "random walk": "random walk",
    "orthogonal": "orthogonal, He's gain",
    "LSUV": "LSUV",
    "Xavier": "Xavier",
}
SETTINGS = ("relu", "leaky", "linear", "rrelu", "dropout")


def test_the_table_of_forty_settings_is_that_of_the_results():
    page = (DOCS / "guide" / "which.md").read_text()
    with (ROOT / "benchmarks" / "results" / "learning" / "learning.csv").open() as file:
        results = [row for row in csv.DictReader(file) if row["activation"] in SETTINGS]
    assert len({row["name"] for row in results}) == 40
    for method, title in ROWS.items():
        own = [row for row in results if row["method"] == method]
        line = re.search(rf"^\| {re.escape(title)} \|(.*)\|$", page, re.MULTILINE)[1]
        for cell, activation in zip(line.split("|"), SETTINGS, strict=True):
            found = [float(row["difference"]) for row in own if row["activation"] == activation]
            written = float(cell.strip(" *"))
            assert abs(written - sum(found) / len(found)) < 6e-4, (method, activation)
    better = {
        m: sum(float(r["difference_low"]) > 0 for r in results if r["method"] == m) for m in ROWS
    }
    worse = {
        m: sum(float(r["difference_high"]) < 0 for r in results if r["method"] == m) for m in ROWS
    }
    assert f"above HeNormal in {better['orthogonal']} settings and below it in none" in page
    assert worse["orthogonal"] == 0
    assert f"comes next ({better['LSUV']}, {worse['LSUV']})" in page
    orders = [f"ours s={s}" for s in (0, 0.5, 1, 1.5)]
    for counts, words in ((better, "it in {} to {} settings"), (worse, "below it in {} to {}.")):
        numbers = [counts[m] for m in orders]
        assert words.format(min(numbers), max(numbers)) in page
