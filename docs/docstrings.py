"""Makes Markdown of what the docstrings of the package write in plain text."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.append(str(Path(__file__).parent))  # this file is loaded by its path
from formulas import is_formula, to_latex

_HEADINGS = ("Example", "Call arguments")
_SECTION = re.compile(r"^[A-Z][a-z]+( [a-z]+)?:$")
_CHOICE = re.compile(r'^( +)("\w+"(?: \(default\))?(?:, "\w+")*: .*)')
_ARGUMENT = re.compile(r"^    (\w+): ")
_CODE = re.compile(r"(?<![`\w])`([^`]+)`(?!`)")


class Docstrings(griffe.Extension):
    """Applied to every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = to_markdown(with_formulas(obj.docstring.value))


def with_formulas(text: str) -> str:
    """LaTeX for the formulas between backticks, and for those on indented lines of their own."""
    lines: list[str] = []
    section = False
    for line in text.expandtabs().splitlines():
        if line.strip() and not line.startswith(" "):
            section = bool(_SECTION.match(line))
        if line.startswith("    ") and not section:
            lines += _displayed(line)
        else:
            lines.append(line)
    return _CODE.sub(_inline, "\n".join(lines))


def _displayed(line: str) -> list[str]:
    """A formula in the middle of the page, or one with the words behind it in a line of a list."""
    *formulas, last = re.split(r" {2,}", line.strip())
    if formulas and re.match(r"[a-z]{2,} [a-z]{2,} ", last):
        return [f"- ${to_latex('  '.join(formulas))}$, {last}"]
    return ["$$", to_latex(line), "$$", ""]


def _inline(match: re.Match[str]) -> str:
    return f"${to_latex(match[1])}$" if is_formula(match[1]) else match[0]


def to_markdown(text: str) -> str:
    """Fences around examples, headings for what Google's style has none for, lists of choices."""
    lines: list[str] = []
    fenced = listed = calling = False
    for line in text.splitlines():
        if line.startswith(">>>") and not fenced:
            lines.append("```pycon")
            fenced = True
        if fenced and not line.strip():
            lines.append("```")
            fenced = False
        choice = None if fenced else _CHOICE.match(line)
        if choice:  # `"name": what it means`, on a line of its own within an argument
            lines += [] if listed else [""]
            line = f"{choice[1]}- {choice[2]}"
        elif line.strip() in {f"{heading}:" for heading in _HEADINGS}:
            line = f"**{line.strip()}**"
        calling = line == "**Call arguments:**" or (calling and line.startswith("    "))
        if calling:
            line = _ARGUMENT.sub(r"\n- **`\1`** &ndash; ", line)
        listed = bool(choice) or (listed and line.startswith("        "))
        lines.append(line)
    return "\n".join([*lines, "```"] if fenced else lines)
