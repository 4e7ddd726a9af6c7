"""Makes tables of the saved cells: CSV, Markdown, and for the console."""

from __future__ import annotations

import math
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from _learning import cells
from _learning.cells import Block
from _learning.figures import frame, load, orders
from _learning.guide import markdown
from _learning.methods import TUNED
from _learning.pictures import draw

__all__ = ["draw", "frame", "load", "orders", "print_tables", "write_tables"]

Row = dict[str, str]
COLUMNS = 12  # cells that a table has side by side
LINE = "linear model"
LEGEND = (
    "In brackets 95% intervals: bootstrap over seeds, Wilson for shares. Scores are test "
    "accuracies, or shares of explained variance where targets are real. Rates were chosen on "
    "other seeds by the mean less one standard deviation of the validation score. Dead: the "
    "training score never left chance, or the run diverged. Steps: the median until the training "
    "score is half the way from chance to 1. Passes: the interval of the mean lies above the score "
    "of a linear model."
)
ABOVE = (
    "above, below: in how many cells the 95% interval of the paired difference is on that side of "
    "zero; passes: in how many the interval of the mean lies above the linear model"
)


class Part(NamedTuple):
    """Some cells of a block, whose methods are compared in one table.

    Attributes:
        title: The activation, where a block has several.
    """

    block: Block
    title: str
    figures: pd.DataFrame


def parts(figures: pd.DataFrame) -> Iterator[Part]:
    """Splits figures by block and activation: what is learnt depends on both."""
    for block in cells.BLOCKS:
        own = figures[figures.block == block.name]
        for activation, group in own.groupby("activation", sort=False):
            several = len({cell.activation for cell in block.cells}) > 1
            yield Part(block, f"{block.title}: {activation}" if several else block.title, group)


def _score(value: float) -> str:
    return f"{value:.3f}"


def _range(row: Any, name: str, form: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if math.isnan(row[name]) else f"{row[name]:{form}} [{low:{form}}, {high:{form}}]"


def _steps(row: Any) -> str:
    ends = [row[f"steps_to_half{end}"] for end in ("", "_low", "_high")]
    middle, low, high = ("never" if math.isinf(n) else f"{n:.0f}" for n in ends)
    return middle if middle == low == high else f"{middle} [{low}, {high}]"


def of_cell(figures: pd.DataFrame) -> list[Row]:
    """Makes the table of one cell: a row for each method, and one for a linear model."""
    rows = [
        {
            "method": row.method if math.isnan(row.s) else f"{row.method} ({row.s:g})",
            "rate": f"{row.rate:g}",
            "mean": _range(row, "mean", ".3f"),
            "passes": "yes" if row.passes else "",
            f"minus {row.reference}": _range(row, "difference", "+.3f"),
            "worst": _score(row.worst),
            "dead": _range(row, "dead", ".0%"),
            "steps": _steps(row),
        }
        for _, row in figures.iterrows()
    ]
    line = dict.fromkeys(rows[0], "") | {"method": LINE, "mean": _score(figures.linear.iloc[0])}
    return [*rows, line]


def summary(figures: pd.DataFrame) -> list[Row]:
    """Summarizes each method over its cells, of which some may not be finished."""
    rows = []
    for method, group in figures.groupby("method", sort=False):
        row = {
            "method": str(method),
            "cells": str(len(group)),
            "mean": _score(group["mean"].mean()),
            "passes": str(group.passes.sum()),
            f"minus {group.reference.iloc[0]}": f"{group.difference.mean():+.3f}",
            "above": str((group.difference_low > 0).sum()),
            "below": str((group.difference_high < 0).sum()),
            "mean of the worst": _score(group.worst.mean()),
            "dead": f"{group.dead.mean():.1%}",
            "diverged": f"{group.diverged.mean():.1%}",
        }
        rows.append(row)
    lines = figures.groupby("name").linear.first()
    own = {"method": LINE, "cells": str(len(lines)), "mean": _score(lines.mean())}
    return [*rows, dict.fromkeys(rows[0], "") | own]


def matrices(
    part: Part, columns: int = COLUMNS
) -> Iterator[tuple[list[Row], set[tuple[str, str]]]]:
    """Makes tables of means, methods x cells, and lists the highest: pairs of method and cell.

    A star marks a mean whose interval lies above the linear model.
    """
    figures = part.figures
    every = list(figures.name.unique())
    for first in range(0, len(every), columns):
        some = figures[figures.name.isin(every[first : first + columns])]
        rows: dict[str, Row] = {m: {"method": m} for m in [*some.method.unique(), LINE]}
        best = set()
        for name, group in some.groupby("name", sort=False):
            for row in rows.values():
                row[str(name)] = ""
            for _, one in group.iterrows():
                rows[one.method][str(name)] = _score(one["mean"]) + ("*" if one.passes else "")
            rows[LINE][str(name)] = _score(group.linear.iloc[0])
            rivals = group[group.method != TUNED]
            best |= {(m, str(name)) for m in rivals.method[rivals["mean"] == rivals["mean"].max()]}
        yield list(rows.values()), best


def by_order(table: pd.DataFrame) -> list[Row]:
    """Makes a table of the comparison with s = 2, a row for each cell and kind of weights."""
    rows = []
    every = sorted(table.s.unique(), reverse=True)
    for (name, weights), group in table.groupby(["name", "weights"], sort=False):
        row = {"cell": str(name), "weights": str(weights)}
        of = {one.s: one for _, one in group.iterrows()}
        for s in every:
            dead = f", {of[s].dead:.0%} dead" if s in of and of[s].dead > 0.0 else ""
            if s == 2.0:
                row["s=2"] = _score(of[s]["mean"]) + dead
            else:
                row[f"s={s:g}"] = _range(of[s], "mean_difference", "+.3f") + dead if s in of else ""
        rows.append(row)
    return rows


def orders_summary(table: pd.DataFrame) -> list[Row]:
    """Summarizes the comparison with s = 2 over cells."""
    others = table[table.s != 2.0]
    return [
        {
            "weights": str(weights),
            "s": f"{s:g}",
            "cells": str(len(group)),
            "minus s=2": f"{group.mean_difference.mean():+.4f}",
            "above": str((group.mean_difference_low > 0).sum()),
            "below": str((group.mean_difference_high < 0).sum()),
            "dead minus s=2": f"{group.dead_difference.mean():+.1%}",
            "dead more": str((group.dead_difference_low > 0).sum()),
            "dead less": str((group.dead_difference_high < 0).sum()),
        }
        for (weights, s), group in others.groupby(["weights", "s"], sort=False)
    ]


# --- Markdown ------------------------------------------------------------------------------------


def _markdown(rows: list[Row]) -> str:
    return markdown([list(rows[0]), *(list(row.values()) for row in rows)])


def _bold(rows: list[Row], best: set[tuple[str, str]]) -> list[Row]:
    return [
        {key: f"**{text}**" if (row["method"], key) in best else text for key, text in row.items()}
        for row in rows
    ]


def _about(saved: dict[str, dict[str, Any]], names: list[str]) -> str:
    """Says once what the cells of a block share."""

    def listed(key: str) -> list[str]:
        return list(
            dict.fromkeys(
                ", ".join(f"{name} {value}" for name, value in saved[cell][key].items())
                for cell in names
            )
        )

    runs = [r for cell in names for r in saved[cell]["methods"].values()]
    devices = ", ".join(sorted({r["device"] for r in runs}))
    hours = sum(r["seconds"] for r in runs) / 3600.0
    settings, versions = "; or ".join(listed("settings")), "; or ".join(listed("versions"))
    return f"Settings: {settings}. Versions: {versions}. Run in {hours:.2f} hours on {devices}."


def write_tables(figures: pd.DataFrame, saved: dict[str, dict[str, Any]], folder: Path) -> None:
    """Writes `learning.csv`, `orders.csv` and `learning.md`."""
    figures.to_csv(folder / "learning.csv", index=False, float_format="%.5g")
    compared = orders(saved)
    compared.to_csv(folder / "orders.csv", index=False, float_format="%.5g")
    text = ["# Learning from different initializations", LEGEND]
    for block in cells.BLOCKS:
        own = figures[figures.block == block.name]
        if not len(own):
            continue
        names = list(own.name.unique())
        text += [f"# {block.title}", _about(saved, names)]
        if missing := len(block.cells) - len(names):
            text.append(f"{missing} of {len(block.cells)} cells are not there.")
        for part in parts(own):
            text += [f"## Summary: {part.title}", f"{ABOVE}.", _markdown(summary(part.figures))]
            text.append("Mean scores; bold: the highest; star: passes the linear model.")
            text += [_markdown(_bold(rows, best)) for rows, best in matrices(part)]
        table = compared[compared.block == block.name] if len(compared) else compared
        if len(table):
            text += [f"## Orders, paired with s = 2: {block.title}"]
            text += [_markdown(orders_summary(table)), _markdown(by_order(table))]
        for name, group in own.groupby("name", sort=False):
            text += [f"## {name}", _markdown(of_cell(group))]
    (folder / "learning.md").write_text("\n\n".join(text) + "\n")


# --- console -------------------------------------------------------------------------------------


def _print(
    console: Console,
    title: str,
    rows: list[Row],
    caption: str = "",
    best: Set[tuple[str, str]] = frozenset(),
    narrow: bool = False,
) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in rows[0]:
        words = column in ("method", "cell", "weights")
        header = column.replace("-", "\n") if narrow else column
        table.add_column(header, justify="left" if words else "right", no_wrap=words)
    for row in rows:
        cells = ((row.get("method", ""), key, text) for key, text in row.items())
        table.add_row(*(f"[bold]{t}[/bold]" if (m, k) in best else t for m, k, t in cells))
    console.print(f"[bold]{title}[/bold]")  # a title of the table would be as narrow as that
    console.print(table)
    if caption:
        console.print(f"[dim]{caption}[/dim]\n")


def print_tables(
    console: Console, figures: pd.DataFrame, full: bool, compared: pd.DataFrame | None = None
) -> None:
    """Prints means and summaries of all parts; of each cell too if asked, or if they are few.

    Args:
        compared: The comparison of orders, of which the cells in `figures` are printed.
    """
    if full or figures.name.nunique() <= 4:
        for name, group in figures.groupby("name", sort=False):
            _print(console, str(name), of_cell(group))
    for part in parts(figures):
        for rows, best in matrices(part):
            title = (
                f"{part.title}: mean test scores (bold: the highest; *: passes the linear model)"
            )
            _print(console, title, rows, best=best, narrow=True)
        _print(console, part.title, summary(part.figures), ABOVE)
    if compared is None or not len(compared):
        return
    compared = compared[compared.name.isin(figures.name)]
    for block in cells.BLOCKS:
        table = compared[compared.block == block.name]
        if len(table):
            title = f"Orders, paired with s = 2: {block.title}"
            _print(console, title, by_order(table))
            _print(console, title, orders_summary(table))
