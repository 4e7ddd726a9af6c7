"""Lays a plan out as a table: the columns that fit 80 characters, or all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keras_fracinit.propagation.orders import EffectiveOrder
from keras_fracinit.utils.printing import Column, Table, footnotes, format_number

if TYPE_CHECKING:
    from keras_fracinit.planning.report import Change


def table_of(changes: Sequence[Change], remark: str, wide: bool) -> Table:
    """Makes the table, with each note once below it."""

    def column(name: str, cell: Callable[[Change], str], is_text: bool = False) -> Column:
        return Column(name, [cell(change) for change in changes], is_text)

    said = [f"skipped, because {c.skipped}" if c.skipped else c.note for c in changes]
    marks, notes = footnotes(said)
    path = column("variable", lambda change: change.path, is_text=True)
    fan_in = column("fan-in", lambda change: f"{change.fan_in:g}" if change.width else "")
    order = column("s", lambda change: format_number(change.s))
    gain = column("gain", lambda change: format_number(change.gain))
    pairs = column("pairs", lambda change: change.pairs, is_text=True)
    note = Column("note", marks)
    columns = [path, fan_in, pairs, order, gain, column("stddev", _stddev), note]
    if wide:
        columns = [
            path,
            column("kind", lambda change: change.kind, is_text=True),
            fan_in,
            column("width", lambda change: str(change.width or "")),
            column("law", _law, is_text=True),
            pairs,
            order,
            gain,
            column("stddev", _stddev),
            column("order before", _order),
            note,
        ]
    return Table(columns, [*notes, *filter(None, [remark])], _notable(changes, said))


def _notable(changes: Sequence[Change], said: Sequence[str]) -> list[int]:
    """Finds the first change of each kind, law and note."""
    first: dict[tuple[object, ...], int] = {}
    for place, change in enumerate(changes):
        first.setdefault((change.kind, change.law, change.pairs, change.s, said[place]), place)
    return list(first.values())


def _law(change: Change) -> str:
    """The law, with as many digits of its parameters as the other columns have."""
    return re.sub(r"\d+\.\d{4,}", lambda number: format_number(float(number[0])), change.law) or (
        change.activation
    )


def _stddev(change: Change) -> str:
    before = format_number(change.stddev_before)
    return before if change.skipped else f"{before} -> {format_number(change.stddev)}"


def _order(change: Change) -> str:
    if not change.law:
        return ""
    return EffectiveOrder(change.order_before, change.order_censored).text(4)
