"""What stands in several files of the project says the same in each."""

import pathlib
import re
import tomllib

import keras

import keras_fracinit as kf

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FILES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "Makefile", ".ci/run"),
        *(".github/workflows/ci.yml", ".pre-commit-config.yaml", "docs/cite.md"),
        *("docs/index.md", "docs/guide/stability.md", "docs/guide/which.md"),
    )
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = PROJECT["urls"]["Homepage"]
RAW = HOME.replace("//github.com/", "//raw.githubusercontent.com/")
LINK = re.compile(r"\]\(([^)]*)\)")
MAKE = re.compile(r"(?:`|^ {4}|\" )make ((?:[a-z-]+ ?)+)", re.M)
# https://keepachangelog.com
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def minimum(package):
    (requirement,) = [r for r in PROJECT["dependencies"] if r.startswith(f"{package}>=")]
    return requirement.partition(">=")[2]


def test_the_readme_is_short_and_says_how_to_begin():
    readme = FILES["README.md"]
    assert len(readme.splitlines()) <= 120
    for words in ("pip install keras-fracinit", "make demo", "make test", "## Do I need it?"):
        assert words in readme
    assert f"Keras >= {minimum('keras')}" in readme
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or later" in readme
    extras = re.findall(r"`(?:keras-fracinit)?\[(\w+)\]`", readme)
    assert set(extras) == {"jax", "torch", "plots"} <= set(PROJECT["optional-dependencies"])


def test_all_pages_give_the_same_result_of_learning():
    table = re.search(r"^\| SGD \|(.*)\|$", FILES["docs/guide/which.md"], re.M)[1]
    accuracies = [cell.split()[0] for cell in table.split("|")]
    assert len(accuracies) == 4
    for name in ("README.md", "docs/index.md"):
        assert set(re.findall(r"\b0\.\d{3}\b", FILES[name])) == set(accuracies), name


def test_the_links_of_the_readme_are_absolute_and_lead_to_files_that_exist():
    # A package index shows the page without the rest of the repository.
    links = LINK.findall(FILES["README.md"])
    assert len(links) > 10
    for link in links:
        assert link.startswith("https://"), link
        for start in (f"{HOME}/blob/main/", f"{HOME}/tree/main/", f"{RAW}/main/"):
            if link.startswith(start):
                assert (ROOT / link.removeprefix(start).partition("#")[0]).exists(), link


def test_all_files_name_one_address():
    texts = [*FILES.values(), *(page.read_text() for page in PAGES), *PROJECT["urls"].values()]
    own = re.compile(r"https://(?:raw\.githubusercontent|github)\.com/([\w-]+/keras-fracinit)\b")
    found = [name for text in texts for name in own.findall(text)]
    assert set(found) == {HOME.removeprefix("https://github.com/")}
    assert all(HOME in FILES[name] for name in ("README.md", "CITATION.cff", "docs/cite.md"))


def test_the_version_is_that_of_the_citation_and_of_the_changelog():
    version, citation = PROJECT["version"], FILES["CITATION.cff"]
    assert re.search(r"^version: (.*)$", citation, re.M)[1] == version
    assert f"version = {{{version}}}" in FILES["docs/cite.md"]
    released = re.search(r"^date-released: (.*)$", citation, re.M)[1]
    assert f"## [{version}] - {released}" in FILES["CHANGELOG.md"]
    for name in ("CITATION.cff", "docs/cite.md", "README.md"):
        assert "2005.11878" in FILES[name]


def test_the_changelog_has_the_format_that_it_names():
    headings = re.findall(r"^(#+) (.*)$", FILES["CHANGELOG.md"], re.M)
    assert headings[:2] == [("#", "Changelog"), ("##", "[Unreleased]")]
    for level, text in headings[2:]:
        if level == "###":
            assert text in KINDS
        else:
            assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", text), text


def test_python_versions_are_those_that_the_workflow_runs():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert f">={named[0]}" == PROJECT["requires-python"]
    workflow = FILES[".github/workflows/ci.yml"]
    assert re.findall(r'"(3\.\d+)"', workflow) == named
    assert "- run: .ci/run\n" in workflow
    assert f"Python {named[0]} to {named[-1]}" in FILES["docs/guide/stability.md"]


def test_targets_of_make_that_files_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", FILES["Makefile"], re.M))
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        for words in MAKE.findall(FILES[name]):
            unknown = set(words.split()) - targets
            assert not unknown, (name, unknown)


def test_the_hooks_are_the_checks_of_make():
    for tool in ("ruff check", "ruff format", "mypy"):
        assert f"entry: .venv/bin/{tool}" in FILES[".pre-commit-config.yaml"]
        assert f"$(BIN)/{tool}" in FILES["Makefile"]


def test_saved_names_are_those_that_the_page_promises():
    promised = re.findall(r"^\| `(keras_fracinit>\w+)`", FILES["docs/guide/stability.md"], re.M)
    known = {
        name
        for name, thing in keras.saving.get_custom_objects().items()
        if thing.__module__.partition(".")[0] == kf.__name__
    }
    assert set(promised) == known
    assert len(set(promised)) == len(promised)
