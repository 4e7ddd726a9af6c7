"""How what prints as a table becomes text."""

from __future__ import annotations

import io
import math
from typing import Any

WIDTH = 160  # of the lines, wherever they go


def render(renderable: Any) -> str:
    """What rich prints of it, without colors."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(renderable)
    return text.getvalue()


def format_number(value: float, digits: int = 4) -> str:
    """Nothing of nan, which stands for what there is not."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"
