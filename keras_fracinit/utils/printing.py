"""Renders tables and numbers as text."""

from __future__ import annotations

import io
import math
from typing import Any

WIDTH = 160  # characters of a line, whether a terminal, a file or a log shows it


def render(renderable: Any) -> str:
    """Renders an object as rich prints it, without colors."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(renderable)
    return text.getvalue()


def format_number(value: float, digits: int = 4) -> str:
    """Formats a number; nan (not applicable) becomes an empty string."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"
