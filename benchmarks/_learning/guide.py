"""Writes the tables of docs/guide/which.md from `learning.csv`, between marks in the page.

A table stands between `<!-- learning: NAME -->` and `<!-- end -->`, NAME a key of `TABLES`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "which.md"
MARKED = re.compile(r"(<!-- learning: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
LABELS = {
    "He (Keras)": "HeNormal",
    "Xavier": "Xavier (Keras' default)",
    "He sqrt2": "He",
    "orthogonal": "orthogonal, He's gain",
    "orthogonal 1": "orthogonal, gain 1",
    **{name: name for name in ("LSUV", "ZerO", "LeCun", "authors", "delta-orthogonal")},
    "ours s=0": "s = 0",
    "ours s=0.5": "s = 0.5",
    "ours s=1": "s = 1",
    "ours s=1.5": "s = 1.5",
    "He": "s = 2",
    "mirrored": "mirrored",
    **{f"mirrored s={s}": f"mirrored Gaussian, s = {s}" for s in ("2", "1", "0.5", "0")},
    "slope 0.9": "slope for a cosine of 0.9",
    "slope 0.7": "slope for 0.7",
    "slope 0.9 s=2": "slope for 0.9, Gaussian",
    "slope 0.7 s=2": "slope for 0.7, Gaussian",
    "mirrored slope 0.9": "mirrored, slope for 0.9",
    **{f"smooth s={s}": f"`FracActivation`, s = {s}" for s in ("0", "1", "2")},
    "gradient s=1": "the gradient's gain, s = 1",
    "geometric s=1": "the geometric mean, s = 1",
    "mirrored center": "mirrored, center taps",
    "mirrored center s=2": "mirrored Gaussian, center taps",
    "zero": '`branches="zero"`',
    "isometry": '`branches="isometry"`',
    "stable 1.8": "stable, tail index 1.8",
    "stable 1.5": "stable, tail index 1.5",
    "stable 1.2": "stable, tail index 1.2",
}


class Column(NamedTuple):
    """Cells over which a column takes its means.

    Attributes:
        title: The heading.
        query: A query of the figures.
    """

    title: str
    query: str


class Table(NamedTuple):
    """Methods in rows, groups of cells in columns.

    Attributes:
        columns: The groups of cells.
        value: "mean (worst)": the mean over cells of the mean score, and the worst run of all;
            "mean (dead)": the same mean, and the share of dead runs.
    """

    columns: tuple[Column, ...]
    value: str = "mean (worst)"


_TASKS = {
    "digits": "digits",
    "mnist": "MNIST",
    "cancer": "cancer",
    "product": "sign of x1 x2",
    "spirals": "spirals",
    "teacher": "random network",
}


def _smooth(activation: str, depth: int, dataset: str = "digits") -> Column:
    plain = f"activation == '{activation}' and family == 'dense' and depth == {depth}"
    name = {"gelu": "GELU", "silu": "SiLU", "selu": "SELU"}.get(activation, activation)
    task = "" if dataset == "digits" else f", {_TASKS[dataset]}"
    title = f"{name}, {depth} layers{task}"
    return Column(title, f"{plain} and dataset == '{dataset}'")


_WIDE = "family == 'dense' and activation == 'relu' and width == 64 and precision == 'float32'"
_WINDOWS = "block == 'conv' and dataset == 'digits'"
TABLES: dict[str, Table] = {
    "depth": Table(
        tuple(
            Column(f"{depth} layers, {count} tasks", f"{_WIDE} and depth == {depth}")
            for depth, count in ((10, 6), (20, 6), (40, 6), (100, 2))
        )
    ),
    "deepest": Table(
        tuple(
            Column(f"{label}, {depth:,}", f"{_WIDE} and dataset == '{task}' and depth == {depth}")
            for depth in (200, 1000)
            for task, label in (("digits", "digits"), ("teacher", "random network"))
        )
    ),
    "forty": Table(
        tuple(
            Column(label, f"{_WIDE} and dataset == '{task}' and depth == 40")
            for task, label in _TASKS.items()
        )
    ),
    "narrow16": Table(
        tuple(
            Column(
                f"{label}, {depth}",
                f"block == 'narrow16' and dataset == '{task}' and depth == {depth}",
            )
            for task, label in (("digits", "digits"), ("mnist", "MNIST"))
            for depth in (10, 20, 40)
        )
    ),
    "others": Table(
        tuple(
            Column(title, f"block == 'others' and activation == '{name}'")
            for name, title in (
                ("leaky", "leaky ReLU, 0.1"),
                ("linear", "linear"),
                ("rrelu", "randomized leaky ReLU"),
                ("dropout", "ReLU, dropout 0.1"),
            )
        )
    ),
    "smooth": Table(
        (
            _smooth("tanh", 20),
            _smooth("tanh", 40),
            _smooth("tanh", 40, "teacher"),
            _smooth("gelu", 20),
            _smooth("gelu", 40),
            _smooth("gelu", 40, "teacher"),
            _smooth("silu", 20),
            _smooth("selu", 20),
        )
    ),
    "conv": Table(
        (
            *(
                Column(
                    f"ReLU, {depth}",
                    f"{_WINDOWS} and activation == 'relu' and depth == {depth}",
                )
                for depth in (10, 20, 40)
            ),
            Column("GELU, 20", f"{_WINDOWS} and activation == 'gelu'"),
            Column("MNIST, ReLU, 20", "block == 'conv' and dataset == 'mnist7'"),
        )
    ),
    "residual": Table(
        (
            *(
                Column(
                    f"{_TASKS[task]}, {depth}",
                    f"block == 'residual' and dataset == '{task}' and depth == {depth}",
                )
                for task in ("digits", "product", "teacher")
                for depth in (10, 50)
            ),
            Column("convolutional, 10", "block == 'convresidual'"),
        )
    ),
    "orders": Table(
        (
            *(
                Column(
                    f"polynomial, {width} units",
                    f"dataset == 'quintic' and width == {width} and optimizer == 'adam'",
                )
                for width in (2, 4, 8)
            ),
            Column("polynomial, 8, SGD", "dataset == 'quintic' and optimizer == 'sgd'"),
            Column(
                "digits, 8, SGD", "block == 'narrow' and dataset == 'digits' and optimizer == 'sgd'"
            ),
            Column(
                "digits, 8, Adam",
                "block == 'narrow' and dataset == 'digits' and optimizer == 'adam'",
            ),
        ),
        "mean (dead)",
    ),
    "orders-deep": Table(
        (
            Column("float16, 8 units", "block == 'half' and width == 8"),
            Column("float16, 16 units", "block == 'half' and width == 16"),
            Column("bottleneck of 2", "block == 'autoencoder' and bottleneck == 2"),
            Column("bottleneck of 4", "block == 'autoencoder' and bottleneck == 4"),
        ),
        "mean (dead)",
    ),
}


def rows_of(table: Table, figures: pd.DataFrame) -> list[list[str]]:
    """Makes the lines of a table, the first of which are headings."""
    groups = [figures.query(column.query) for column in table.columns]
    names = list(dict.fromkeys(m for group in groups for m in group.method if m in LABELS))
    means: dict[str, list[float | None]] = {name: [] for name in names}
    texts: dict[str, list[str]] = {name: [] for name in names}
    for group in groups:
        cells = group.name.nunique()
        for name in names:
            own = group[group.method == name]
            if not cells or len(own) < cells:
                means[name].append(None)
                texts[name].append("")
                continue
            mean = own["mean"].mean()
            more = (
                f"{own.dead.mean():.0%}"
                if table.value.endswith("dead)")
                else f"{own.worst.min():.3f}"
            )
            means[name].append(mean)
            texts[name].append(f"{mean:.3f} ({more})")
    best = [
        max((m[i] for m in means.values() if m[i] is not None), default=None)
        for i in range(len(groups))
    ]
    lines = [["", *(column.title for column in table.columns)]]
    known = [f"{group.linear.mean():.3f}" if len(group) else "" for group in groups]
    lines.append(["a linear model", *known])
    for name in names:
        if not any(texts[name]):
            continue
        marked = [
            f"**{text}**" if text and means[name][i] == best[i] else text
            for i, text in enumerate(texts[name])
        ]
        lines.append([LABELS[name], *marked])
    return lines


def markdown(lines: list[list[str]], rule: str = "---") -> str:
    """Writes a table whose first line is the headings; `rule` aligns all columns but one."""
    rules = ["---", *[rule] * (len(lines[0]) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rules, *lines[1:]])


def filled(text: str, figures: pd.DataFrame) -> str:
    """Writes the tables into a page."""

    def table(match: re.Match[str]) -> str:
        begin, name, _, end = match.groups()
        return f"{begin}\n{markdown(rows_of(TABLES[name], figures), '---:')}\n\n{end}"

    return MARKED.sub(table, text)


def update(folder: Path) -> None:
    """Writes the tables of the guide from the figures in a folder, and copies its picture."""
    shutil.copyfile(folder / "depths.png", PAGE.parents[1] / "learning.png")
    figures = pd.read_csv(folder / "learning.csv")
    PAGE.write_text(filled(PAGE.read_text(), figures))
