"""The notebook of first steps, as it was last run. `make examples` runs it again."""

import base64
import json
import pathlib
import re

import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "first_steps.ipynb"


@pytest.fixture(scope="module")
def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


@pytest.fixture(scope="module")
def code(cells):
    return [cell for cell in cells if cell["cell_type"] == "code"]


def outputs_of(code, line):
    """What the one cell shows that ends in this line, by type."""
    (cell,) = (cell for cell in code if "".join(cell["source"]).splitlines()[-1] == line)
    (output,) = cell["outputs"]
    return {kind: "".join(text) for kind, text in output["data"].items()}


def test_it_goes_from_a_model_to_a_search(cells):
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    steps = ["Load", "Diagnose", "Cure", "Train", "See", "Tune"]
    assert texts[0].startswith("# First steps\n")
    assert re.findall(r"^## (.*)$", "\n".join(texts), re.MULTILINE) == steps


def test_it_was_run_from_top_to_bottom_without_a_word_on_stderr(code):
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    for cell in code:
        for output in cell["outputs"]:
            assert output["output_type"] in ("execute_result", "stream")
            assert output.get("name") != "stderr", output


def test_records_are_tables_and_pictures_are_pictures(code):
    for line in ("diagnosis", "kf.plan(model, s=1.0)"):
        assert "<table" in outputs_of(code, line)["text/html"]
    for line in ("plots.diagnosis(diagnosis)", "plots.compare(histories)"):
        png = base64.b64decode(outputs_of(code, line)["image/png"])
        assert png.startswith(b"\x89PNG")


def test_nothing_of_a_machine_is_in_it():
    assert not re.search(r"/(root|home|tmp|work|Users)/", NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.parametrize("link", ["set", "whole", "see", "tune"])
def test_its_links_lead_to_the_guides(link, cells):
    target = f"../docs/guide/{link}.md"
    assert f"]({target})" in "".join(cells[-1]["source"])
    assert (NOTEBOOK.parent / target).is_file()
