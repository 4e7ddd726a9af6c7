"""Turns the formulas of docstrings, which are plain text, into LaTeX for the pages.

`E |y|^s` becomes `\\mathbb{E}\\, \\left|y\\right|^{s}`. A group in parentheses behind `^`, `_` or
`sqrt` loses them; Greek letters and functions are known by name; other words of more than one
letter stay upright.
"""

from __future__ import annotations

import re

_GREEK = (
    *("alpha", "beta", "delta", "kappa", "lambda", "mu", "nu", "phi", "pi", "psi", "sigma"),
    *("theta", "Gamma"),
)
_FUNCTIONS = ("cos", "cosh", "exp", "log", "max", "min", "sin", "sinh", "sum")
_SYMBOLS = {
    **{name: f"\\{name}" for name in (*_GREEK, *_FUNCTIONS)},
    "phi": "\\varphi",
    "chi2": "\\chi^2",
    "E": "\\mathbb{E}",
    "Var": "\\mathrm{Var}",
    "inf": "\\infty",
    "in": "\\in",
    **{"<=": "\\le", ">=": "\\ge", "->": "\\to", "+-": "\\pm", "~": "\\sim", "*": "\\cdot"},
    **{"{": "\\{", "}": "\\}", "...": "\\dots"},
}
_TOKEN = re.compile(
    r"(?P<gap> {2,})|(?P<space> )|(?P<name>[A-Za-z]{2,}\d?(?:_[a-z]{2,})+|[A-Za-z]+\d?)"
    r"|(?P<number>\d+(?:\.\d+)?)|(?P<sign><=|>=|->|\+-|\.\.\.|[^\w ])|(?P<script>_)"
)
_CLOSING = {"(": ")", "[": "]"}
# Signs that stand in a formula and in no code of the docstrings.
_SIGN_OF_A_FORMULA = re.compile(
    r"\^|\|[^|]+\||\b(?:phi|psi|sigma)\b|\bsqrt\(|\bE[ \[]| ~ |\bN\(0, |\bP\("
    r"|^(?:[dgnzCQUV]|W_ij|m_s|\w/\w|[A-Z] [a-z])$|\d/alpha|^\w [<>]=? \d$"
    r"|\b[A-Za-z]_\w\b.* [=<>+-]"
)
_SIGN_OF_CODE = re.compile(r"""["':{}@\\]|\.\w|//|\w=|\*\*|^\^?$""")
_PRIME = re.compile(r"(?<=\w)'(?=[ (]|$)")


def is_formula(text: str) -> bool:
    """Whether what stands between backticks in a docstring is a formula, and not code."""
    code = _SIGN_OF_CODE.search(_PRIME.sub("", text))
    return bool(_SIGN_OF_A_FORMULA.search(text)) and not code


def to_latex(text: str) -> str:
    """LaTeX for one formula; raises ValueError if a parenthesis or bracket has no partner."""
    text = text.strip().replace("`", "")
    tokens = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]
    latex, end = _sequence(tokens, 0, None)
    if end != len(tokens):
        raise ValueError(f"{tokens[end][1]!r} closes nothing in the formula {text!r}")
    return re.sub(r" +", " ", latex).strip()


def _sequence(tokens: list[tuple[str, str]], at: int, closing: str | None) -> tuple[str, int]:
    """The LaTeX of tokens up to the closing sign that is awaited, and where that is."""
    parts: list[str] = []
    opened = False
    while at < len(tokens):
        token = tokens[at][1]
        if token in _CLOSING.values():
            break
        if token == "|":
            spaced = {kind for kind, _ in tokens[at - 1 : at + 2]} == {
                "space",
                "sign",
            } and not opened
            parts.append("\\mid " if spaced else "\\right|" if opened else "\\left|")
            opened = opened != (not spaced)
            at += 1
        elif token in ("^", "_"):
            inner, at = _atom(tokens, at + 1, bare=True)
            parts.append(f"{token}{{{inner}}}")
        else:
            inner, at = _atom(tokens, at, bare=False)
            parts.append(inner)
    if closing is not None and (at == len(tokens) or tokens[at][1] != closing):
        raise ValueError(f"{closing!r} is missing in the formula {''.join(t for _, t in tokens)!r}")
    return "".join(parts), at


def _atom(tokens: list[tuple[str, str]], at: int, bare: bool) -> tuple[str, int]:
    """One symbol or group, and where the next begins; `bare` drops the parentheses of a group."""
    if at == len(tokens):
        raise ValueError("`^` or `_` stands at the end of a formula")
    kind, token = tokens[at]
    if bare and token in "+-":
        inner, end = _atom(tokens, at + 1, bare)
        return token + inner, end
    if token in _CLOSING:
        inner, end = _sequence(tokens, at + 1, _CLOSING[token])
        return (inner if bare else f"{token}{inner}{_CLOSING[token]}"), end + 1
    if token == "sqrt" and tokens[at + 1 : at + 2] == [("sign", "(")]:
        inner, end = _atom(tokens, at + 1, bare=True)
        return f"\\sqrt{{{inner}}}", end
    if kind == "gap":
        return " \\quad ", at + 1
    in_words = token == "sum" and _is_word(tokens, at + 2)  # "the sum of ..."
    if token in _SYMBOLS and not in_words:
        applied = token in ("E", *_FUNCTIONS) and tokens[at + 1 : at + 2] == [("space", " ")]
        return _SYMBOLS[token] + ("\\, " if applied else " "), at + 1
    if kind == "name" and len(token) > 1 and not bare:
        return _words(tokens, at)
    return token, at + 1


def _is_word(tokens: list[tuple[str, str]], at: int) -> bool:
    """Whether a word of more than one letter, which is no symbol, stands at a place."""
    kind, token = tokens[at] if at < len(tokens) else ("", "")
    return kind == "name" and len(token) > 1 and token not in (*_SYMBOLS, "sqrt")


def _words(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    """Words that follow each other, upright, with a space where a symbol stands beside them."""
    end = at + 1
    while tokens[end : end + 1] == [("space", " ")] and _is_word(tokens, end + 1):
        end += 2
    words = "".join(token for _, token in tokens[at:end]).replace("_", "\\_")
    before = " " if at > 1 and _is_beside(tokens, at - 1, at - 2) else ""
    after = " " if _is_beside(tokens, end, end + 1) else ""
    return f"\\text{{{before}{words}{after}}}", end


def _is_beside(tokens: list[tuple[str, str]], space: int, other: int) -> bool:
    """Whether a space stands at one place, and a symbol or group, no operator, at the other."""
    if max(space, other) >= len(tokens) or tokens[space][0] != "space":
        return False
    kind, token = tokens[other]
    return kind in ("name", "number") or token in "()[]|"
