"""Shows records as tables: as text that fits 80 columns, and as HTML in notebooks.

The text is plain ASCII but for the names of layers, since an encoding that lacks the lines of a
frame would end a program that prints it.
"""

from __future__ import annotations

import html
import io
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, NamedTuple

NARROW, WIDE = 80, 200  # characters of a line, wherever it is shown but on a terminal
_SHORT = 24  # rows of a table in a notebook; a longer one is shown in part
_ENDS, _NOTABLE = 4, 12  # rows that are shown of it: at either end, and between
_MEMBERS = 6  # members of a tuple that are shown


def format_number(value: float, digits: int = 4) -> str:
    """Formats a number; nan (not applicable) becomes an empty string."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"


class Column(NamedTuple):
    """A column of a table. Numbers are set to the right, text to the left."""

    name: str
    cells: Sequence[str]
    is_text: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text, with remarks below it. Columns that are empty are left out.

    Attributes:
        columns: The columns, of the same length.
        remarks: Sentences below the table.
        notable: The rows that a short form must not leave out.
    """

    columns: Sequence[Column]
    remarks: Sequence[str] = ()
    notable: Collection[int] = ()

    @property
    def filled(self) -> list[Column]:
        """The columns that say anything."""
        return [column for column in self.columns if any(column.cells)]

    def __rich__(self) -> Any:
        from rich import table
        from rich.box import Box
        from rich.console import Group
        from rich.text import Text

        rule = Box("\n".join(["    ", "    ", " -- ", *["    "] * 5]) + "\n", ascii=True)
        grid = table.Table(
            box=rule, show_edge=False, pad_edge=False, collapse_padding=True, header_style="bold"
        )
        for column in self.filled:
            side: Any = "left" if column.is_text else "right"
            grid.add_column(Text(column.name), justify=side, overflow="fold", vertical="top")
        for row in zip(*(column.cells for column in self.filled), strict=True):
            grid.add_row(*map(Text, row))  # as Text a cell is no markup: "[b]" is a name
        remarks = [Text(remark, overflow="fold") for remark in self.remarks]
        return Group(grid, *([Text()] if remarks else []), *remarks)

    def to_string(self, width: int = NARROW) -> str:
        """Renders the table as lines of at most this many characters."""
        return render(self, width)

    def to_html(self, header: bool = True, whole: bool = False) -> str:
        """Renders the table, or the notable part of a long one, as HTML."""
        import pandas as pd

        rows = list(zip(*(column.cells for column in self.filled), strict=True))
        names = [column.name.replace("\n", " ") for column in self.filled]
        frame = pd.DataFrame(rows if whole else self._shortened(rows), columns=names)
        texts = [place for place, column in enumerate(self.filled, 1) if column.is_text]
        # The style of one table is that of all tables of its class in a notebook.
        name = "-".join(["keras-fracinit", *map(str, texts)])
        with pd.option_context("display.max_colwidth", None):
            table = frame.to_html(index=False, header=header, border=0, classes=name)
        style = "".join(
            f"\n.{name} :is(th, td){cells} {{{rules}}}"
            for cells, rules in [
                ("", "text-align: right; white-space: nowrap; padding: 0.2em 0.6em"),
                *((f":nth-child({at})", "text-align: left; white-space: normal") for at in texts),
            ]
        )
        remarks = "".join(f"<div>{html.escape(remark)}</div>\n" for remark in self.remarks)
        return f"<div>\n<style>{style}</style>\n{table}\n{remarks}</div>"

    def _shortened(self, rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        """The first, last and notable rows, with the number of those that are left out."""
        if len(rows) <= _SHORT:
            return list(rows)
        kept = {*range(_ENDS), *range(len(rows) - _ENDS, len(rows))}
        kept |= {*sorted({*self.notable} - kept)[:_NOTABLE]}
        shown: list[Sequence[str]] = []
        for is_kept, group in groupby(range(len(rows)), kept.__contains__):
            places = list(group)
            if is_kept or len(places) == 1:
                shown += [rows[place] for place in places]
            else:
                blanks = [""] * (len(rows[0]) - 1)
                shown.append([f"... {len(places)} more", *blanks])
        return shown


class Shown:
    """Gives a record that has a table its text, and its HTML in notebooks."""

    def _table(self, wide: bool = False) -> Table:
        raise NotImplementedError

    def to_string(self, wide: bool = False) -> str:
        """Renders the table as text.

        Args:
            wide: Whether to show all columns, in lines of up to 200 characters in place of 80.

        Returns:
            The lines that `print` shows.
        """
        return self._table(wide).to_string(WIDE if wide else NARROW)

    def __str__(self) -> str:
        return self.to_string()

    def __rich__(self) -> Table:
        return self._table()

    def _repr_html_(self) -> str:
        return self._table().to_html()


def record_html(record: Any, *others: str) -> str:
    """Renders the fields of a record, and other attributes of it, as a table of two columns."""
    names = getattr(record, "_fields", None) or [field.name for field in fields(record)]
    shown = [*names, *others]
    values = [_brief(getattr(record, name)) for name in shown]
    table = Table([Column("name", shown, True), Column("value", values, True)])
    return table.to_html(header=False, whole=True)


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_brief(key)}: {_brief(item)}" for key, item in value.items())
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        runs = ((item, len(list(run))) for item, run in groupby(map(_brief, value)))
        several = [f"{count} x {item}" if count > 1 else item for item, count in runs]
        if len(several) > _MEMBERS:
            several = [*several[:2], f"... {len(several) - 4} more", *several[-2:]]
        return ", ".join(several)
    return str(value)


def footnotes(notes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Numbers the notes of rows: the same ones once. Gives the marks of the rows, and the notes."""
    numbers = {note: number for number, note in enumerate(dict.fromkeys(filter(None, notes)), 1)}
    marks = [str(numbers[note]) if note else "" for note in notes]
    return marks, [f"{number}: {note}" for note, number in numbers.items()]


def render(renderable: Any, width: int = NARROW) -> str:
    """Renders an object as rich prints it, without colors and spaces at the ends of lines."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(renderable)
    lines = (line.rstrip() + "\n" for line in text.getvalue().splitlines())
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return "".join(lines).encode(encoding, "backslashreplace").decode(encoding)
