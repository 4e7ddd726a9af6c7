"""The formulas of docstrings, as the pages of the reference show them."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("formulas", ROOT / "docs" / "formulas.py")
formulas = importlib.util.module_from_spec(spec)
spec.loader.exec_module(formulas)

# Written by hand, as a person would write them for LaTeX.
LATEX = {
    "E |y|^s = E |x|^s": r"\mathbb{E}\,\left|y\right|^{s}=\mathbb{E}\,\left|x\right|^{s}",
    "r = |A|/sqrt(units)": r"r=\left|A\right|/\sqrt{\text{units}}",
    "W_ij ~ N(0, g/n)": r"W_{ij}\sim N(0,g/n)",
    "Q = sum_j |z_j|^(1/alpha)": r"Q=\sum_{j}\left|z_{j}\right|^{1/\alpha}",
    "V_k = b^2 V_(k-1) + nu^2": r"V_{k}=b^{2}V_{k-1}+\nu^{2}",
    "E[log Q | Q > 0]": r"\mathbb{E}[\log\,Q\mid Q>0]",
    "c t^-kappa,  t >= 0": r"c t^{-\kappa},\quad t\ge 0",
    "sum of q": r"\text{sum of }q",
    "fan_in * stddev^2": r"\text{fan\_in}\cdot\text{stddev}^{2}",
    "phi'(z) -> inf": r"\varphi'(z)\to\infty",
}
CODE = ["x + y", "(k - 1) // 2", "alpha=1.5", "s", "~", "None | int", "{quantity}/slope/s1", "E"]


def without_free_spaces(latex):
    """LaTeX ignores spaces, but those that end the name of a command and those within words."""
    for sign in "\\^_={}()[]|/+-,'>":
        latex = latex.replace(f" {sign}", sign).replace(f"{sign} ", sign)
    return latex.replace("  ", " ")


@pytest.mark.parametrize("plain", LATEX)
def test_a_formula_becomes_latex(plain):
    latex = formulas.to_latex(plain)
    assert without_free_spaces(latex) == without_free_spaces(LATEX[plain])


def test_code_between_backticks_stays_code_and_formulas_do_not():
    assert [code for code in CODE if formulas.is_formula(code)] == []
    formal = [plain for plain in LATEX if not plain.startswith("sum ")]
    assert [plain for plain in formal if not formulas.is_formula(plain)] == []


@pytest.mark.parametrize("plain", ["E (|y|/d)^(s", "a)", "a^", "[x)"])
def test_what_is_no_formula_is_refused(plain):
    with pytest.raises(ValueError, match="formula"):
        formulas.to_latex(plain)
