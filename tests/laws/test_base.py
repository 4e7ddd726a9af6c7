"""The table of laws and their members, in the docstring of `laws.base`, against the laws."""

import numpy as np
import pytest

from keras_fracinit import laws
from keras_fracinit.laws import (
    Dropout,
    LeakyReLU,
    Linear,
    RandomizedLeakyReLU,
    ReLU,
    Sampled,
    Slopes,
    Smooth,
    Stable,
    base,
)
from keras_fracinit.laws.smooth import nodes

SAMPLED = Sampled.of("f", np.arctan(nodes(doubled=True)))
LAWS = {
    "Linear": [Linear()],
    "ReLU, LeakyReLU": [ReLU(), LeakyReLU(-0.3)],
    "RandomizedLeakyReLU": [RandomizedLeakyReLU(0.0, 1.0), RandomizedLeakyReLU()],
    "Slopes": [Slopes(((0.5, 1.0, 2.0), (0.5, 0.0, 0.0)))],
    "Dropout": [Dropout(ReLU(), 0.25)],
    "Smooth": [Smooth("tanh"), Smooth("gelu")],
    "Sampled": [SAMPLED],
    "Stable": [Stable(ReLU(), 1.5), Stable(Smooth("tanh"), 1.5)],
}
ARGUMENTS = {
    "size": (64,),
    "laplace": (np.array([1e-3, 1.0, 1e3]),),
    "magnitudes": (np.array([0.5, 2.0]),),
    "overlap": (False,),
}


def table():
    """`{member: {column: cell}}`."""
    lines = [line for line in base.__doc__.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {member: dict(zip(head[1:], cells, strict=True)) for member, *cells in rows}


def member_of(law, name):
    found = getattr(law, name)
    return found(*ARGUMENTS[name]) if name in ARGUMENTS else found


TABLE = table()


def test_the_table_has_every_law_and_every_member():
    assert all(list(row) == list(LAWS) for row in TABLE.values())
    classes = {type(law) for column in LAWS.values() for law in column}
    public = (getattr(laws, name) for name in laws.__all__)
    assert classes == {x for x in public if isinstance(x, type) and issubclass(x, laws.Law)} - {
        laws.Law
    }
    members = {name for name in vars(laws.Law) if not name.startswith("_")}
    assert set(TABLE) == members - {"check_order", "is_certain"}


@pytest.mark.parametrize("column", LAWS)
@pytest.mark.parametrize("name", ["sides", "pair"])
def test_members_are_none_where_the_table_says_so(column, name):
    cell = TABLE[name][column]
    for law in LAWS[column]:
        if "or None" not in cell:
            assert (getattr(law, name) is None) == (cell == "None"), law


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("column", LAWS)
def test_members_refuse_where_the_table_says_so(column, name):
    for law in LAWS[column]:
        if TABLE[name][column] == "refuses":
            with pytest.raises(ValueError, match="Received: "):
                member_of(law, name)
        else:
            member_of(law, name)


@pytest.mark.parametrize("name", TABLE)
def test_dropout_refuses_where_its_law_does(name):
    for column in ("Smooth", "Sampled"):
        if TABLE[name][column] == "refuses":
            with pytest.raises(ValueError, match="Received: "):
                member_of(Dropout(LAWS[column][0], 0.25), name)


@pytest.mark.parametrize("name", ["mean", "mean_square", "alive", "floor", "ceiling", "exponent"])
def test_numbers_of_the_table(name):
    cells = TABLE[name]
    assert member_of(Linear(), name) == float(cells["Linear"])
    a, upper, square, fourth = -0.3, 1 / 3, (1 / 3**3 - 1 / 8**3) / 3, (1 / 3**5 - 1 / 8**5) / 5
    moments = {"E U^2": square / (1 / 3 - 1 / 8), "E U^4": fourth / (1 / 3 - 1 / 8)}
    known = {"a": a, "u": upper, "L": member_of(ReLU(), name), "k": 0.75, "min": min, "max": max}
    for column, law in (
        ("ReLU, LeakyReLU", LeakyReLU(a)),
        ("RandomizedLeakyReLU", RandomizedLeakyReLU()),
        ("Dropout", Dropout(ReLU(), 0.25)),
    ):
        formula = cells[column].partition(";")[0]
        for moment, value in moments.items():
            formula = formula.replace(moment, repr(value))
        for word, product in (("^", "**"), ("3 (", "3*("), ("k L", "k*L")):
            formula = formula.replace(word, product)
        assert member_of(law, name) == pytest.approx(eval(formula, known), rel=1e-12), column
