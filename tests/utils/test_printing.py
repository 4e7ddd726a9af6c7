"""Records as text of 80 columns in any encoding, and as HTML in notebooks."""

import io
import math
import sys
from dataclasses import replace
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from rich.console import Console

import keras_fracinit as kf
from keras_fracinit import diagnose, plan, propagation
from keras_fracinit.utils.printing import Column, Table

layers = keras.layers
X = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")


def mlp(depth, activation="relu", name="hidden"):
    hidden = [layers.Dense(16, activation, name=f"{name}_{i}") for i in range(depth)]
    head = layers.Dense(2, "softmax", name="head")
    return keras.Sequential([keras.Input((6,)), *hidden, head], name="net")


def sick(depth):
    """The scale of its kernels is a fifth of He's."""
    keras.utils.set_random_seed(0)
    model = mlp(depth)
    for layer in model.layers:
        layer.kernel.assign(0.2 * layer.kernel)
    return model


class Cells(HTMLParser):
    """The texts of the cells of a table, row by row, and what stands beside it."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.beside, self._inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside = tag if tag in ("td", "th", "style") else self._inside
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._inside = None if tag == self._inside else self._inside

    def handle_data(self, data):
        if self._inside in ("td", "th"):
            self.rows[-1][-1] += data
        elif data.strip() and self._inside is None:
            self.beside.append(data)


@pytest.fixture(scope="module")
def records():
    model = sick(8)
    return {
        "diagnosis": diagnose(model, X),
        "plan": plan(model, s=1.0),
        "mirrored plan": plan(model, mirrored=True),
        "smooth plan": plan(mlp(3, "tanh"), s=1.0),
    }


@pytest.mark.parametrize("kind", ["diagnosis", "plan", "mirrored plan", "smooth plan"])
def test_a_record_fits_80_columns_in_plain_letters(kind, records):
    text, wide = str(records[kind]), records[kind].to_string(wide=True)
    assert 60 < max(map(len, text.splitlines())) <= 80
    assert 80 < max(map(len, wide.splitlines())) <= 200
    assert text.isascii()
    assert wide.isascii()
    rows = [line for line in text.splitlines() if line.startswith(("net/", "input"))]
    assert len(rows) == len(records[kind])  # no cell is broken into lines


def test_each_note_stands_once_below_the_table(records):
    lines = str(records["smooth plan"]).splitlines()
    below = lines[lines.index("", 1) :]
    assert [line[:2] for line in below if line[1:2] == ":"] == ["1:", "2:", "3:"]
    marks = [line.split()[-1] for line in lines if line.startswith("net/")]
    assert marks == ["1", "2", "2", "3"]
    assert "3: skipped, because softmax follows" in " ".join(below)


def test_a_column_without_a_cell_is_left_out(records):
    assert "pairs" not in str(records["plan"])
    assert "pairs" in str(records["mirrored plan"])
    table = Table([Column("name", ["a"], True), Column("nothing", [""])])
    assert "nothing" not in table.to_string()
    assert "nothing" not in table.to_html()


def test_the_text_is_the_same_on_every_terminal(records, monkeypatch):
    text = str(records["plan"])
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert str(records["plan"]) == text


def test_rich_prints_a_record(records):
    for kind, record in records.items():
        file = io.StringIO()
        Console(file=file, width=80).print(record)
        lines = [line.rstrip() for line in file.getvalue().splitlines()]
        assert lines == str(record).splitlines(), kind


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8", "cp437"])
def test_any_encoding_can_print_a_record(encoding, monkeypatch):
    model = mlp(2, "tanh", name="weiß_[red]→")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    for record in (plan(model, s=1.0), diagnose(model, X)):
        print(record)
        print(record.to_string(wide=True))
    sys.stdout.flush()
    text = written.getvalue().decode(encoding)
    name = "\nnet/weiß_[red]→_1".encode(encoding, "backslashreplace").decode(encoding)
    assert text.count(name) == 4


def test_a_notebook_shows_a_short_model_whole(records):
    record = records["smooth plan"]
    found = Cells(record._repr_html_())
    assert found.rows[0] == ["variable", "fan-in", "s", "gain", "stddev", "note"]
    assert [row[0] for row in found.rows[1:]] == [change.path for change in record]
    assert found.beside[0].startswith("1: ")


def test_a_notebook_shows_the_notable_rows_of_a_long_model():
    table = Table([Column("row", list(map(str, range(100))), True)], notable=[20, 50, 51, 99])
    rows = [row[0] for row in Cells(table.to_html()).rows[1:]]
    ends = ["0", "1", "2", "3"], ["96", "97", "98", "99"]
    middle = ["... 16 more", "20", "... 29 more", "50", "51", "... 44 more"]
    assert rows == [*ends[0], *middle, *ends[1]]
    everything = Table(table.columns, notable=range(100))
    assert len(Cells(everything.to_html()).rows) - 1 == 4 + 12 + 1 + 4
    almost = Table([Column("row", list(map(str, range(25))), True)], notable=[4, 6])
    assert [row[0] for row in Cells(almost.to_html()).rows[1:]][4:7] == ["4", "5", "6"]


def test_a_long_diagnosis_shows_where_the_signal_leaves_its_band(records):
    diagnosis = replace(records["diagnosis"], layers=4 * records["diagnosis"].layers)
    found = Cells(diagnosis._repr_html_())
    shown = {row[0] for row in found.rows}
    left = next(layer.path for layer in diagnosis if layer.size < layer.low)
    assert {"input", left, diagnosis.layers[-1].path} <= shown
    counted = [int(row[0].split()[1]) for row in found.rows if row[0].startswith("...")]
    assert sum(counted) == len(diagnosis) - (len(found.rows) - 1 - len(counted)) > 10
    assert "".join(found.beside).replace("\n", "") == "".join(diagnosis.verdicts)


def test_names_are_no_tags():
    long = "<script>" + 200 * "x"
    text = Table([Column("<b>", [long], True)], ["a < b"]).to_html()
    assert "<script>" not in text
    assert Cells(text).rows == [["<b>"], [long]]
    assert Cells(text).beside == ["a < b"]


RECORDS = {
    "scale": (lambda: kf.FracReLU(s=1.0).describe((64, 32)), {"fan_in": "64", "width": "32"}),
    "smooth scale": (
        lambda: kf.FracActivation("gelu").describe((8, 8)),
        {"length_slope": str(kf.laws.Smooth("gelu").length_slope)},
    ),
    "log-norm": (lambda: kf.log_norm("linear", 0, 4), {"mean": "0"}),
    "stack": (
        lambda: propagation.propagate([8] * 10, "relu", s=0),
        {"death_probability": "0.0384", "lyapunov": "0"},
    ),
    "collapse": (
        lambda: propagation.propagate([8] * 30, "relu", s=0).collapse(),
        {"cosines": "0, 0.31831, ... 27 more, "},
    ),
    "change": (lambda: plan(sick(2))["net/head/kernel"], {"kind": "dense", "gain": "nan"}),
    "layer": (lambda: diagnose(sick(2), X)["net/head"], {"depth": "3"}),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_notebook_shows_the_fields_of_a_record(kind):
    make, expected = RECORDS[kind]
    record = make()
    found = dict(Cells(record._repr_html_()).rows)
    for name, value in expected.items():
        if isinstance(getattr(record, name), float) and not math.isnan(getattr(record, name)):
            assert float(found[name]) == pytest.approx(float(value), abs=0.01)
        else:
            assert found[name].startswith(value)
